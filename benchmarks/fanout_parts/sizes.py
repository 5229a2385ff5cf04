"""How much is measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Numbers of items, for the whole benchmark."""

    rounds: int = 3
    relax: int = 2000
    peers: int = 49 + 4
    """Of the relaxations, for those that would take too long; each pair of metals once."""
    start: int = 4
    """Of the relaxations, to tell what the start of such a contestant takes: one of each size."""
    tuning: int = 200
    """Of the relaxations, for the bare pool's chunks."""
    few: int = 1000
    many: int = 10_000
    records: int = 5000
    record_rounds: int = 1
    line: tuple[int, ...] = (100, 1000, 3000, 10_000)


QUICK = Sizes(1, 24, 8, 4, 16, 40, 200, 50, 1, (20, 40, 200))
"""To see that everything runs."""
