"""The verbs' futures where jobs are packed: what a workflow submits, and waits for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from prefect.futures import PrefectFuture

from quacc.cache.claims import Claims
from quacc.cache.results import ResultsCache
from quacc.prefect.fanout.calls import Call, Job
from quacc.prefect.fanout.dispatcher import Dispatcher
from quacc.prefect.frozen import frozen_arguments
from quacc.recipes.tools import strands

_WAIT = 1.0
"""Seconds between two looks at the clock."""


class Slot:
    """What a job of a workflow will return."""

    def __init__(self, packer: Packer) -> None:
        self._packer = packer
        self.done = False
        self.value: Any = None
        self.error: Exception | None = None
        self.run: PrefectFuture[Any] | None = None
        """The task run that computed it."""
        self.followers: list[Callable[[], None]] = []

    def result(self) -> Any:
        """Wait for the job; return its result, or raise what it raised."""
        strands.wait(self, self._packer.wait)
        if self.error is not None:
            raise self.error
        return self.value

    def end(self, value: Any, error: Exception | None) -> None:
        """Take the outcome, and let the jobs that wait for it go on."""
        self.value, self.error, self.done = value, error, True
        followers, self.followers = self.followers, []
        for follow in followers:
            follow()


class Packer:
    """Packs the jobs of one workflow.

    Parameters
    ----------
    cache
        Where results are looked up, and kept.
    tell
        Told how many jobs have ended, of how many.
    time_limit
        Of each job (s).
    """

    def __init__(
        self,
        cache: ResultsCache,
        tell: Callable[[int, int], None],
        time_limit: float | None = None,
    ) -> None:
        self.claims = Claims()
        self._dispatcher = Dispatcher(
            self._deliver, cache, time_limit=time_limit, claims=self.claims
        )
        self._tell = tell
        self._slots: dict[int, Slot] = {}
        self._count = 0
        self._new: list[Call] = []
        self._lock = threading.RLock()

    def submit(self, job: Job, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Slot:
        """Start a job on an item, or on what a job before it returns."""
        with self._lock:
            slot = Slot(self)
            self._count += 1
            args, kwargs = frozen_arguments(args, kwargs)
            call = Call(job, args, kwargs, self._count)
            self._slots[call.number] = slot
            item = args[0] if args else None
            if isinstance(item, Slot) and not item.done:
                item.followers.append(lambda: self._follow(call, item))
            elif isinstance(item, Slot):
                self._follow(call, item)
            elif isinstance(item, PrefectFuture):
                item.add_done_callback(
                    lambda future: self._dispatcher.post(lambda: self._follow_run(call, future))
                )
            else:
                self._new.append(call)
            # Otherwise all workers have enough to do, or more may come that is computed with it.
            if not self._dispatcher.packing.waiting and len(self._new) >= call.at_once:
                self.turn()
            return slot

    def turn(self, wait: float = 0.0) -> None:
        """Start what can start, and take what has ended; wait for something to end (s)."""
        with self._lock:
            while self._new:  # those that follow what is in the database come here, too
                new, self._new = self._new, []
                self._dispatcher.add(new)
            self._dispatcher.turn(0.0 if self._new else wait)

    def wait(self) -> None:
        """Wait a moment for something to end."""
        self.turn(_WAIT)

    def close(self, *, wait: bool) -> None:
        """Start nothing more; wait for all that was submitted, if asked."""
        while wait and self._slots and not self._dispatcher.stopped:
            self.turn(_WAIT)
        self._dispatcher.close(end=False)

    def _follow(self, call: Call, before: Slot) -> None:
        if before.error is not None:
            self._slots.pop(call.number).end(None, before.error)
            return
        call.args = (before.value, *call.args[1:])
        call.after = before.run
        self._new.append(call)

    def _follow_run(self, call: Call, run: PrefectFuture[Any]) -> None:
        try:
            call.args = (run.result(), *call.args[1:])
        # Of the run that this job waits for.
        except Exception as error:
            self._slots.pop(call.number).end(None, error)
            return
        call.after = run
        self._new.append(call)

    def _deliver(self, call: Call, value: Any, error: Exception | None) -> None:
        slot = self._slots.pop(call.number)
        slot.run = call.run
        slot.end(value, error)
        self._tell(self._dispatcher.counts.ended, self._count)
