"""How the items of a fan-out are packed into chunks: decisions only, tested without a cluster.

The driver tells what happens (items come, end, or are lost with their worker); the packing answers
which chunk to start next, and which items are to blame. Chunks hold items that are expected to take
about the same time, so that nothing short waits behind something long, and get smaller at the end,
so that all workers finish together (guided self-scheduling: Polychronopoulos and Kuck, IEEE Trans.
Comput. C-36, 1425 (1987)).
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

SECONDS = 10.0
"""What a chunk is to take: much longer than its bookkeeping (about 0.05 s)."""

SHORTEST = 0.5
"""At the end of a fan-out, chunks get no shorter than this (s)."""

CHUNKS_A_SECOND = 5.0
"""More workers get longer chunks, so that the Prefect API sees no more task runs than this."""

PER_WORKER = 3
"""Chunks for every worker that what is left is divided into."""

MOST = 400
"""Items of a chunk."""

APART = 32
"""Up to this many items get task runs of their own."""

DEATHS = 3
"""An item whose worker died so often, the last times with this item alone, is to blame."""

_UNHEARD = 0.09  # s, until an outcome has left the worker, which gathers some
_MEMORY = 0.9  # of earlier items, in the running mean of what items take


@dataclass
class Item:
    """One item that is not finished."""

    id: int
    kind: Hashable
    """Items of different kinds are never in one chunk."""
    size: int
    """Its class of sizes: a power of two of atoms."""
    at_once: int = 1
    """How many like it a worker computes at the same time."""
    most: int = MOST
    """Maximum number of items in its chunk."""
    deaths: int = 0


@dataclass
class Chunk:
    """Items that one worker computes, one after the other or some at once."""

    id: int
    items: list[Item]
    seconds: float | None
    """What it is expected to take; None if nobody knows."""
    left: dict[int, Item] = field(default_factory=dict)
    """What has no outcome yet, in order."""

    def __post_init__(self) -> None:
        self.left = {item.id: item for item in self.items}

    @property
    def at_once(self) -> int:
        """How many of them a worker computes at the same time."""
        return min(item.at_once for item in self.items)

    @property
    def budget(self) -> float:
        """After this time (s) a worker hands back what it has not begun."""
        return math.inf if self.seconds is None else 2 * max(self.seconds, SHORTEST)


class Packing:
    """The items that wait and run.

    Parameters
    ----------
    batch
        Items of a chunk; None chooses from what items take.

    Attributes
    ----------
    workers : int
        How many there are, or will be.
    to_come : float
        Items that will be added later; infinite if nobody knows how many.
    running : dict[int, Chunk]
        By their numbers.
    waiting : int
        Items that are in no chunk.
    """

    def __init__(self, batch: int | None = None) -> None:
        self.batch = batch
        self.workers = 1
        self.to_come = 0.0
        self.running: dict[int, Chunk] = {}
        self.waiting = 0
        # By kind and size. What comes first is what jobs that follow others are taken from.
        self._queues: dict[tuple[Hashable, int], deque[Item]] = {}
        self._seconds: dict[tuple[Hashable, int], float] = {}  # that an item takes
        self._seen: dict[Hashable, int] = {}
        self._chunks = 0

    def add(self, item: int, kind: Hashable = None, natoms: int = 1, at_once: int = 1) -> None:
        """Let an item wait for its turn."""
        size = 0 if self.batch else max(natoms, 1).bit_length()
        self._seen[kind] = self._seen.get(kind, 0) + 1
        self._wait([Item(item, kind, size, at_once)])

    def next(self) -> Chunk | None:
        """Return the chunk to start now, if any.

        Two for each worker: the next is there when one ends, and what comes later can still be
        packed by what is known then.
        """
        if not self.waiting or len(self.running) > 2 * self.workers:
            return None
        queue = max(self._eligible(), key=self._urgency)
        items = self._take(self._queues[queue], self._count(queue))
        self.waiting -= len(items)
        each = self._seconds.get(queue)
        seconds = None if each is None or self.batch else each * len(items)
        self._chunks += 1
        chunk = self.running[self._chunks] = Chunk(self._chunks, items, seconds)
        return chunk

    def ended(self, chunk: Chunk, item: int, seconds: float | None) -> bool:
        """Note that an item has an outcome; return whether it is the first one.

        ``seconds`` is None where they say nothing about others, such as those of a failure.
        """
        done = chunk.left.pop(item, None)
        if done is None or seconds is None:
            return done is not None
        queue = done.kind, done.size
        before = self._seconds.get(queue, seconds)
        self._seconds[queue] = _MEMORY * before + (1 - _MEMORY) * seconds
        return True

    def closed(self, chunk: Chunk) -> None:
        """Note that a chunk has come back; what it has not computed waits again."""
        del self.running[chunk.id]
        left, chunk.left = chunk.left, {}
        self._wait(left.values())

    def died(self, chunk: Chunk, *, streamed: bool) -> list[int]:
        """Note that a chunk was lost with its worker; return the items that are to blame.

        Parameters
        ----------
        streamed
            Outcomes came one by one. Then the first item that is left was being computed, unless
            the last outcomes were lost, so it is run again alone, or in a smaller chunk where many
            may have been lost, or several were computed at once. Else any of them may be guilty.
        """
        del self.running[chunk.id]
        left, chunk.left = list(chunk.left.values()), {}
        if not left:
            return []
        suspects = left[: self._unheard(left[0])] if streamed else left
        if len(suspects) == 1:
            suspects[0].most = 1
            suspects[0].deaths += 1
            if suspects[0].deaths >= DEATHS and len(chunk.items) == 1:
                self._wait(left[1:])
                return [suspects[0].id]
        for item in suspects:
            item.most = min(item.most, max(1, len(suspects) // 2))
        self._wait(left)
        return []

    def _unheard(self, item: Item) -> int:
        """Return how many items like this, the first one left, may be what a worker died of.

        Those that may have ended unheard of, and those that were computed at once.
        """
        seconds = max(self._seconds.get((item.kind, item.size), 0.0), 1e-6)
        return item.at_once + int(_UNHEARD / seconds)

    def _wait(self, items: Iterable[Item]) -> None:
        for item in items:
            self._queues.setdefault((item.kind, item.size), deque()).append(item)
            self.waiting += 1

    def _eligible(self) -> list[tuple[Hashable, int]]:
        """Return the queues with items, but for those about which enough is being found out."""
        filled = [name for name, items in self._queues.items() if items]
        if self.batch:
            return filled
        tried = Counter(
            (item.kind, item.size)
            for chunk in self.running.values()
            if chunk.seconds is None
            for item in chunk.left.values()
        )
        open_ = [one for one in filled if one in self._seconds or tried[one] < self.workers]
        return open_ or filled

    def _urgency(self, queue: tuple[Hashable, int]) -> tuple[int, float]:
        # What follows other jobs, so that chains end; then what takes longest, or is not known.
        kind = list(self._seen).index(queue[0])
        return kind, self._seconds.get(queue, math.inf)

    def _count(self, queue: tuple[Hashable, int]) -> int:
        """Return how many items the next chunk is to have."""
        if self.batch:
            return self.batch
        few = self._few(queue)
        each = self._seconds.get(queue)
        if each is None or self._seen[queue[0]] + self.to_come <= APART:
            return few
        least = self.workers / CHUNKS_A_SECOND
        share = max(SHORTEST, self._share(least))
        return max(few, min(MOST, int(min(max(SECONDS, least), share) / max(each, 1e-6))))

    def _few(self, queue: tuple[Hashable, int]) -> int:
        """Return the least number of items for a chunk: those that are computed at once.

        Fewer where there are not enough for all workers.
        """
        at_once = self._queues[queue][0].at_once
        if at_once == 1:
            return 1
        left = [item for chunk in self.running.values() for item in chunk.left.values()]
        running = sum((item.kind, item.size) == queue for item in left)
        return min(at_once, math.ceil((running + len(self._queues[queue])) / self.workers))

    def _share(self, least: float) -> float:
        """Return a chunk's share (s) of what waits and will come."""
        known = self._seconds
        mean = sum(known.values()) / len(known)
        waiting = sum(len(items) * known.get(name, mean) for name, items in self._queues.items())
        if math.isinf(self.to_come):  # perhaps nothing comes any more
            return max(least, waiting / self.workers)
        return (waiting + self.to_come * mean) / (PER_WORKER * self.workers)

    @staticmethod
    def _take(queue: deque[Item], count: int) -> list[Item]:
        items: list[Item] = []
        while queue and len(items) < min(count, queue[0].most):
            count = min(count, queue[0].most)
            items.append(queue.popleft())
        return items
