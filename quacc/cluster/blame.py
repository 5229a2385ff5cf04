"""Whether a failure is the item's own or its machine's: decisions only.

What a bad machine fails is run again elsewhere, and the machine is used no more in this run. An
item is to blame when it fails in two places.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

STRIKES = 2
"""A place is bad where this number of items in a row fail for a cause that machines have."""

ROW = 5
"""The same for causes that nobody knows, while another place works."""

FRUITLESS = 3
"""Places given up without a success anywhere; more would bring none either."""

MOST = 10
"""Failures of one item; it is to blame then, wherever they were."""


@dataclass
class Judgement:
    """What to do now."""

    blamed: list[Any] = field(default_factory=list)
    """Items whose last failure is their own."""
    again: list[Any] = field(default_factory=list)
    """Items to run again, elsewhere."""
    retire: bool = False
    """Whether the place is to be used no more."""


class Blame:
    """The failures of one run.

    Parameters
    ----------
    retired
        Places that are used no more; may be shared.
    """

    def __init__(self, retired: set[str] | None = None) -> None:
        self.retired: set[str] = set() if retired is None else retired
        self._strikes: dict[str, set[Hashable]] = defaultdict(set)
        self._held: dict[str, list[Any]] = defaultdict(list)
        self._failed_in: dict[Hashable, set[str]] = defaultdict(set)
        self._failures: dict[Hashable, int] = defaultdict(int)
        self._good: set[str] = set()
        self._fruitless = 0

    def succeeded(self, item: Hashable, place: str) -> Judgement:
        """Take a success: what failed before it in the same place is to blame."""
        self._forget(item)
        self._good.add(place)
        self._fruitless = 0
        self._strikes.pop(place, None)
        return self._blame(self._held.pop(place, []))

    def failed(self, item: Hashable, place: str, *, machine: bool, elsewhere: bool) -> Judgement:
        """Take a failure.

        Parameters
        ----------
        item
            What failed.
        place
            A node or a worker.
        machine
            The cause is one that machines have.
        elsewhere
            There are other places than this one.
        """
        works = bool(self._good - self.retired - {place})  # another place
        self._failures[item] += 1
        bad = place in self.retired
        if not (bad and works):
            self._failed_in[item].add(place)
        if len(self._failed_in[item]) > 1 or self._failures[item] >= MOST:
            return self._blame([item])
        if machine:
            return self._strike(item, place, elsewhere=elsewhere, works=works)
        if bad:
            return Judgement(again=[item], retire=True)
        held = self._held[place]
        held.append(item)
        if len(held) < ROW or not (works and elsewhere):
            return Judgement()
        self.retired.add(place)
        self._strikes[place].update(held)
        return Judgement(again=self._held.pop(place), retire=True)

    def _strike(self, item: Hashable, place: str, *, elsewhere: bool, works: bool) -> Judgement:
        hopeless = not elsewhere or (self._fruitless >= FRUITLESS and not works)
        if hopeless and self._failures[item] > 1:
            return self._blame([item])
        strikes = self._strikes[place]
        strikes.add(item)
        if place not in self.retired and len(strikes) >= STRIKES and not hopeless:
            self.retired.add(place)
            self._fruitless += 1
        return Judgement(again=[item], retire=place in self.retired)

    def idle(self) -> Judgement:
        """Note that nothing else runs or waits: what is still held is to blame."""
        held = [item for items in self._held.values() for item in items]
        self._held.clear()
        return self._blame(held)

    def _blame(self, items: list[Any]) -> Judgement:
        for item in items:
            for place in self._failed_in[item]:
                self._strikes[place].discard(item)
                if len(self._failed_in[item]) > 1 and not self._strikes[place]:
                    self.retired.discard(place)  # it was these items, not the place
            self._forget(item)
        return Judgement(blamed=items)

    def _forget(self, item: Hashable) -> None:
        self._failed_in.pop(item, None)
        self._failures.pop(item, None)
