"""Counts of items over time, and the rate and time left that follow: no clock, no output."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

_WINDOW = 60.0
"""Seconds that the rate looks back, at least."""


class View(NamedTuple):
    """What is to be shown; ``over`` at the end."""

    done: int
    total: int | None
    text: str
    over: bool

    @property
    def percent(self) -> float:
        """Percentage done; 0 where nobody knows how many there are."""
        if self.total is None:
            return 0.0
        return min(100.0 * self.done / self.total, 100.0) if self.total else 100.0


class Pace:
    """How far a number of items is; every method takes the time (s, of whatever clock).

    The rate is that of items that were worked on, cached ones aside, over the last minute, or
    the last third of the time since the first one ended where that is longer; over all the time
    where none ended lately.
    """

    def __init__(self, total: int | None, now: float) -> None:
        self.total = total
        self.computed = self.cached = self.failed = 0
        self.began = now
        self.first: float | None = None
        self.ended: float | None = None
        self._samples = deque([(now, 0)])  # (time, items worked on)

    @property
    def done(self) -> int:
        """Items that ended in whatever way."""
        return self.computed + self.cached + self.failed

    def count(
        self, now: float, *, computed: int, cached: int, failed: int, total: int | None = None
    ) -> None:
        """Take the numbers of items so far."""
        worked = computed + failed
        if worked > self.computed + self.failed:
            self.first = now if self.first is None else self.first
            # A sample now and then is enough, so that their number stays small.
            if now - self._samples[-1][0] >= self._window(now) / 30:
                self._samples.append((now, worked))
        self.computed, self.cached, self.failed = computed, cached, failed
        self.total = self.total if total is None else total

    def end(self, now: float) -> None:
        """Take the time of the end."""
        self.ended = now

    def _window(self, now: float) -> float:
        return max(_WINDOW, (now - (self.first or now)) / 3)

    def rate(self, now: float) -> float | None:
        """Items per second; None before the first one ended."""
        worked = self.computed + self.failed
        while len(self._samples) > 1 and self._samples[1][0] <= now - self._window(now):
            self._samples.popleft()
        for time_then, worked_then in (self._samples[0], (self.began, 0)):
            if worked > worked_then and now > time_then:
                return (worked - worked_then) / (now - time_then)
        return None

    def view(self, now: float) -> View:
        """Return what to show: done of total, cached, failed, rate and time left."""
        done = f"{self.done:,}" if self.total is None else f"{self.done:,} of {self.total:,}"
        aside = [
            f"{count:,} {what}"
            for count, what in ((self.cached, "cached"), (self.failed, "failed"))
            if count
        ]
        text = f"{done} done" + (f" ({', '.join(aside)})" if aside else "")
        if self.ended is not None:
            text += f" in {_duration(self.ended - self.began)}"
            if self.total is not None and self.done < self.total:
                text = f"stopped: {text}"
        elif rate := self.rate(now):
            text += f", {_per_time(rate)}"
            if self.total is not None:
                text += f", {_duration((self.total - self.done) / rate)} left"
        return View(self.done, self.total, text, self.ended is not None)


def _duration(seconds: float) -> str:
    for limit, unit, length in ((100, "s", 1), (6000, "min", 60)):
        if seconds < limit:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 3600:.1f} h" if seconds < 172800 else f"{seconds / 86400:.1f} days"


def _per_time(rate: float) -> str:
    for unit, length in (("s", 1), ("min", 60), ("h", 3600)):
        if (count := rate * length) >= 1 or unit == "h":
            break
    return f"{count:,.0f}/{unit}" if count >= 10 else f"{count:.1f}/{unit}"
