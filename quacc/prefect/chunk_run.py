"""What the task run of one chunk computes, on whatever task runner."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from quacc.cluster.packing import Chunk
from quacc.cluster.transport import (
    Outcome,
    pack_calls,
    pack_error,
    run_calls,
    run_calls_at_once,
)
from quacc.errors import QuaccError, TimeLimitError
from quacc.prefect.lifecycle.watch import InterruptedJob
from quacc.runners.checkpoint import progress_of
from quacc.runners.raised import in_words
from quacc.settings import overrides

_ITEM = 10**9  # more than the steps of any calculation

_LISTED = 10
"""Failures, and formulas, that a log line lists."""


class ItemsFailedError(QuaccError):
    """Some items of a chunk failed; the others have their outcomes.

    Attributes
    ----------
    outcomes : list[Outcome]
        Of all items, if they could not be told one by one.
    """

    def __init__(self, message: str, outcomes: Sequence[Outcome] = ()) -> None:
        super().__init__(message, outcomes)
        self.outcomes = list(outcomes)

    def __str__(self) -> str:
        return str(self.args[0])


class Load:
    """The items of one chunk, for its task run.

    Parameters
    ----------
    chunk
        What it is for the packing.
    function
        The plain function.
    calls
        The packed arguments of each item, by number.
    names
        Short names of the items, such as formulas.
    keys
        Of the items that have one.
    what
        The job, for people, such as relax.
    time_limit
        For each item (s).
    tell
        Takes each outcome as soon as it is there, from any thread.
    """

    def __init__(
        self,
        chunk: Chunk,
        function: Callable[..., Any],
        calls: Mapping[int, bytes],
        *,
        names: Mapping[int, str],
        keys: Mapping[int, str],
        what: str,
        time_limit: float | None,
        tell: Callable[[Load, Outcome], None],
    ) -> None:
        self.chunk = chunk
        self.function = function
        self.calls = dict(calls)
        self.names = dict(names)
        self.keys = dict(keys)
        self.what = what
        self.time_limit = time_limit
        self.announce: Callable[[], None] = lambda: get_run_logger().info("%s", self.contents())
        self.streamed = False
        """Outcomes come one by one."""
        self.cancelled = False
        self._tell = tell
        self._failures: list[str] = []
        self._since: float | None = None  # the item being computed, if it is known to be
        self._lock = threading.Lock()

    def __reduce__(self) -> Any:
        calls = self._pack(overrides())
        return _Copy, (calls, self.chunk.budget, self.names, self.title, self.contents())

    @property
    def title(self) -> str:
        """The name of its task run."""
        names = [name for name in self.names.values() if name]
        if len(self.names) == 1:
            return " ".join([self.what, *names])
        # No ellipsis, which the dashboard's graph cannot draw.
        ends = f": {names[0]} ... {names[-1]}" if names else ""
        if names and set(names) == {names[0]}:
            ends = f" {names[0]}"
        return f"{self.what} {len(self.names)}{ends}"

    def contents(self) -> str:
        """Return a line that tells what is in it."""
        counts = Counter(name or "?" for name in self.names.values()).most_common()
        listed = ", ".join(f"{count} {name}" for name, count in counts[:_LISTED])
        more = f", and {len(counts) - _LISTED} more formulas" if len(counts) > _LISTED else ""
        first, last = min(self.names), max(self.names)
        return f"{self.what} of {len(self.names)} structures, {first} to {last}: {listed}{more}"

    def begin(self) -> None:
        """Note that the next item is being computed from now on."""
        with self._lock:
            self._since = time.monotonic()

    def take(self, outcome: Outcome) -> bool:
        """Take an item's outcome; return whether it is the first one."""
        with self._lock:
            if self.calls.pop(outcome.number, None) is None:
                return False
            self._since = time.monotonic()
            if outcome.failure:
                self._failures.append(_failure(self.names, outcome))
        self._tell(self, outcome)
        return True

    def fail(self, number: int, error: Exception) -> None:
        """Take an error as the outcome of an item, unless it has one."""
        seconds = time.monotonic() - (self._since or time.monotonic())
        self.take(Outcome(number, pack_error(error), seconds, in_words(error)))

    @property
    def first(self) -> int:
        """The first item that is left."""
        return next(iter(self.calls))

    def progress(self, steps: int | None) -> int:
        """Return how far it is: finished items, and steps of the one being computed."""
        with self._lock:
            done = len(self.names) - len(self.calls)
            key = self.keys.get(self.first) if self.calls else None
        if steps is None:
            steps = (progress_of(key) if key else None) or 0
        return done * _ITEM + steps

    def how_far(self, progress: int) -> str:
        """Put this into words."""
        done, steps = divmod(progress, _ITEM)
        return f"structure {done + 1} of {len(self.names)}, step {steps}"

    def check(self) -> None:
        """Raise unless it may go on.

        Raises
        ------
        TimeLimitError
            The item that is being computed takes too long.
        InterruptedJob
            Nobody wants the load any more.
        """
        if self.cancelled and self.calls:  # else its end is on the way
            raise InterruptedJob("The fan-out ended before this job did.")
        with self._lock:
            if self.time_limit is None or self._since is None or not self.calls:
                return
            if time.monotonic() - self._since > self.time_limit:
                raise TimeLimitError(
                    f"{self.what} of {self.names[self.first]} (item {self.first}) took longer "
                    f"than its time limit of {self.time_limit:g} s.",
                    self.first,
                )

    def packed(self, settings: Mapping[str, Any]) -> bytes:
        """Return what is left, for :func:`quacc.cluster.transport.run_calls`."""
        with self._lock:
            self._since = None
            return self._pack(settings)

    def _pack(self, settings: Mapping[str, Any]) -> bytes:
        return pack_calls(settings, self.function, list(self.calls.items()), self.chunk.at_once)

    @property
    def failed(self) -> int:
        """How many items have failed."""
        return len(self._failures)

    def raise_failures(self) -> None:
        """Raise an :class:`ItemsFailedError` if items have failed."""
        _raise(self._failures, len(self.names))


class _Copy:
    """A load in another process: its outcomes go back all at once."""

    def __init__(
        self, calls: bytes, budget: float, names: Mapping[int, str], title: str, contents: str
    ) -> None:
        self.calls = calls
        self.budget = budget
        self.names = names
        self.title = title
        self.contents = contents


def compute(load: Any) -> list[Outcome] | None:
    """Compute a load in this process."""
    if isinstance(load, Load):
        load.announce()
        load.streamed = True
        run_calls(load.packed(overrides()), load.chunk.budget, load.take)
        load.raise_failures()
        return None
    get_run_logger().info("%s", load.contents)
    outcomes = run_calls_at_once(load.calls, load.budget)
    failures = [_failure(load.names, one) for one in outcomes if one.failure]
    _raise(failures, len(load.names), outcomes)
    return outcomes


def compute_elsewhere(load: Load, run: Callable[[Load], None]) -> None:
    """Compute a load by means of a task runner that knows how."""
    load.announce()
    run(load)
    load.raise_failures()


def load_task(job_task: Task[..., Any]) -> Task[..., Any]:
    """Return the task that computes loads of the job of another task."""
    title: Any = _title  # which Prefect calls with the parameters
    return Task(
        compute,
        name=job_task.name,
        tags=job_task.tags,
        task_run_name=title,
        cache_policy=NO_CACHE,
        persist_result=False,
    )


def _title(parameters: dict[str, Any]) -> str:
    return str(parameters["load"].title)


def _failure(names: Mapping[int, str], outcome: Outcome) -> str:
    return f"{names[outcome.number]} (item {outcome.number}): {outcome.failure}"


def _raise(failures: Sequence[str], count: int, outcomes: Sequence[Outcome] = ()) -> None:
    if failures:
        listed = "; ".join(failures[:_LISTED])
        more = f"; and {len(failures) - _LISTED} more" if len(failures) > _LISTED else ""
        of = f"{len(failures)} of {count} structures failed: " if count > 1 else ""
        raise ItemsFailedError(f"{of}{listed}{more}", outcomes)
