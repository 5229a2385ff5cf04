"""Many jobs of one flow: looked up in the database, packed into task runs, and gathered.

Everything happens in the thread that asks for it: whoever adds calls or waits for results gives the
dispatcher its turns.
"""

from __future__ import annotations

import heapq
import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

import httpx
from prefect.context import FlowRunContext
from prefect.exceptions import PrefectException
from prefect.futures import PrefectFuture

from quacc.cache.claims import Claims
from quacc.cache.equals import EqualKeys, own_copy
from quacc.cache.results import ResultsCache
from quacc.cluster.attempts import DELAY, RETRIES, passes
from quacc.cluster.blame import Blame, Judgement
from quacc.cluster.packing import DEATHS, Chunk, Packing
from quacc.cluster.transport import Outcome, unpack
from quacc.errors import (
    InputError,
    LostWorkerError,
    PreemptedError,
    QuaccError,
    SubmissionError,
    can_pass,
    is_machines,
)
from quacc.prefect.chunk_run import ItemsFailedError, Load
from quacc.prefect.daskrunner import DaskRunner
from quacc.prefect.fanout.calls import Call, Counts, Job
from quacc.prefect.internals import ConcurrencySlotAcquisitionError
from quacc.prefect.lifecycle import watch
from quacc.prefect.width import innermost_runner, width_of
from quacc.runners.job import calculation_of
from quacc.runners.raised import in_words, is_signal

logger = logging.getLogger(__name__)

_RETIRED = 1.0
"""Seconds after which a bad place gets no more work."""

_FAULTS = 5
"""Task runs in a row that Prefect, and not a job, may fail before the work is given up."""


class Dispatcher:
    """Runs calls in task runs of chunks, on the task runner of the flow.

    Parameters
    ----------
    deliver
        Takes each call with its value, or with the exception that it ended with.
    cache
        Where results are looked up, and kept.
    batch
        Calls of a task run; None chooses.
    refresh
        Compute also what is in the database.
    time_limit
        For each call (s).
    claims
        Keeps other flows from computing the same at the same time.
    """

    def __init__(
        self,
        deliver: Callable[[Call, Any, Exception | None], None],
        cache: ResultsCache,
        *,
        batch: int | None = None,
        refresh: bool = False,
        time_limit: float | None = None,
        claims: Claims | None = None,
    ) -> None:
        self.packing = Packing(batch)
        self._claims = None if refresh else claims
        self._equals: EqualKeys[Call] = EqualKeys(cache, self._claims)
        self.counts = Counts()
        self._deliver = deliver
        self._refresh = refresh
        self._time_limit = time_limit
        self._cache = cache
        self._jobs: list[Job] = []
        self._calls: dict[int, Call] = {}
        self._computed: set[str] = set()  # keys, in a run that refreshes
        self._later: list[tuple[float, int]] = []  # when to try which call again
        self._loads: dict[int, Load] = {}
        self._events: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._faults = 0
        self._blame = Blame()
        self._runner: DaskRunner | None = None
        self._held: dict[int, Exception] = {}  # failures that may be a machine's
        self.stopped = False
        self._told = False
        self._lock = threading.RLock()

    @property
    def busy(self) -> bool:
        """Whether calls wait or run."""
        return bool(self._calls)

    @property
    def waiting(self) -> int:
        """How many calls are in no task run, those included that others compute for them."""
        return len(self._calls) - sum(len(chunk.left) for chunk in self.packing.running.values())

    def add(self, calls: Sequence[Call]) -> None:
        """Take calls; those whose results are in the database end at once."""
        with self._lock:
            accepted = [call for call in calls if self._identify(call)]
            asked = [call for call in accepted if call.key is not None]
            if self._refresh:
                asked = [call for call in asked if call.key in self._computed]
            found: dict[int, Any] = {}
            if asked:
                results = self._cache.find([call.calculation for call in asked if call.calculation])
                found = {call.number: result for call, result in zip(asked, results, strict=True)}
            for call in accepted:
                if (result := found.get(call.number)) is not None:
                    self._end(call, result, None, computed=False)
                else:
                    self._wait(call)

    def _identify(self, call: Call) -> bool:
        """Give a call its key, if it has one; end it, and return False, if it is refused."""
        if not call.job.is_recipe:
            return True
        try:
            call.calculation = calculation_of(call.job.function, call.args, dict(call.kwargs))
        except InputError as error:
            self._end(call, None, error)
            return False
        call.key = call.calculation.key if call.calculation else None
        return True

    def _wait(self, call: Call) -> None:
        self._calls[call.number] = call
        if self._equals.is_first(call):
            call.calculation = None
            self._pack(call)

    def _pack(self, call: Call) -> None:
        if call.job not in self._jobs:
            self._jobs.append(call.job)
        # A limit is for one calculation, and blames it.
        at_once = 1 if self._time_limit else call.at_once
        self.packing.add(call.number, self._jobs.index(call.job), call.natoms, at_once)

    def turn(self, wait: float = 0.0) -> None:
        """Start what can start, and take what has ended; wait for something to end (s)."""
        with self._lock:
            if self._claims is not None:
                self._claims.beat()
            self._start()
            try:
                event = self._events.get(timeout=wait) if wait else self._events.get_nowait()
                while True:
                    event()
                    event = self._events.get_nowait()
            except Empty:
                pass
            self._start()

    def post(self, event: Callable[[], None]) -> None:
        """Let something happen at the next turn; from any thread."""
        self._events.put(event)

    @property
    def behind(self) -> bool:
        """Whether something has happened since the last turn."""
        return not self._events.empty()

    def close(self, *, end: bool) -> None:
        """Start nothing more, and take what has ended.

        Parameters
        ----------
        end
            End what runs, where that is possible; not needed where the flow ends.
        """
        with self._lock:
            for load in self._loads.values():
                load.cancelled = end
            self.stopped = True
            self.turn()

    def _start(self) -> None:
        if self.stopped:
            return
        while self._later and self._later[0][0] <= time.monotonic():
            _, number = heapq.heappop(self._later)
            self._pack(self._calls[number])
        context = FlowRunContext.get()
        runner = innermost_runner(context.task_runner) if context else None
        if isinstance(runner, DaskRunner):
            self._runner, self._blame.retired = runner, runner.retired
        if self._held and not (self.packing.waiting or self.packing.running or self._later):
            self._settle(self._blame.idle())
        if not self.packing.waiting:
            return
        self.packing.workers = width_of(context.task_runner if context else None)
        while chunk := self.packing.next():
            self._submit(chunk)

    def _leave_out(self, chunk: Chunk) -> None:
        """Take out of a chunk what other flows have computed since, or compute at the moment."""
        calls = [self._calls[item.id] for item in chunk.items]
        there, taken = self._equals.elsewhere(calls)
        for call in calls:
            if call.key in there:
                self.packing.ended(chunk, call.number, None)
                self._finish(call, there[call.key], None, computed=False)
            elif call.key in taken:
                self.packing.ended(chunk, call.number, None)
                self._again(call, self._equals.pause())
        if taken and not self._told:
            self._told = True
            logger.warning(
                "Another flow is computing some of the same; what it has in progress is waited for."
            )

    def _again(self, call: Call, pause: float) -> None:
        heapq.heappush(self._later, (time.monotonic() + pause, call.number))

    def _submit(self, chunk: Chunk) -> None:
        packed: dict[int, bytes] = {}
        self._leave_out(chunk)
        for item in list(chunk.left.values()):
            call = self._calls[item.id]
            args = call.args
            try:
                packed[item.id] = call.pack()
            # Whatever the argument's own code raises.
            except BaseException as error:
                if is_signal(error):
                    raise
                message = InputError(f"{call.name} cannot be sent to a worker: {in_words(error)}")
                self.packing.ended(chunk, item.id, None)
                self._finish(call, None, message)
        if not packed:
            self.packing.closed(chunk)
            return
        calls = [self._calls[number] for number in packed]
        job = calls[0].job
        load = Load(
            chunk,
            job.function,
            packed,
            names={call.number: call.name for call in calls},
            keys={call.number: call.key for call in calls if call.key},
            what=job.what,
            time_limit=self._time_limit,
            tell=lambda load, outcome: self.post(lambda: self._take(load, outcome)),
        )
        if len(chunk.items) == 1 and job.announce and args:
            load.announce = partial(job.announce, args, calls[0].kwargs)
        self._loads[chunk.id] = load
        # The edges of the graph in the dashboard; Prefect runs nothing after what failed.
        before = {id(call.after): call.after for call in calls if call.after is not None}
        completed = [run for run in before.values() if run.state.is_completed()]
        future = job.task.submit(load, wait_for=completed)
        for call in calls:
            call.run = future
        future.add_done_callback(lambda future: self.post(lambda: self._end_of(load, future)))

    def _take(self, load: Load, outcome: Outcome) -> None:
        seconds = None if outcome.failure else outcome.seconds
        if not self.packing.ended(load.chunk, outcome.number, seconds):
            return
        self._faults = 0
        call = self._calls[outcome.number]
        try:
            value = unpack(outcome.packed)
        # Whatever the job raised, or the result's own code when it is unpacked.
        except Exception as error:
            self._failed(call, error, outcome.node, outcome.worker)
        else:
            if outcome.worker and self._runner:
                place = self._runner.place_of(outcome.node, outcome.worker)
                self._settle(self._blame.succeeded(call.number, place))
            self._finish(call, value, None)

    def _failed(self, call: Call, error: Exception, node: str, worker: str) -> None:
        """Decide what becomes of a call that has failed on a worker."""
        machine = is_machines(error)
        judged = isinstance(error, QuaccError) and not machine
        if worker and self._runner and not judged:
            self._held[call.number] = error
            place = self._runner.place_of(node, worker)
            judgement = self._blame.failed(
                call.number,
                place,
                machine=machine or passes(error),
                elsewhere=self._runner.elsewhere(place),
            )
            if judgement.retire:
                self._runner.retire(place, worker, in_words(error))
            self._settle(judgement)
        else:
            self._give_up(call, error)

    def _settle(self, judgement: Judgement) -> None:
        """Do what was decided about failures."""
        for number in judgement.again:
            del self._held[number]
            self._again(self._calls[number], _RETIRED)
        for number in judgement.blamed:
            self._give_up(self._calls[number], self._held.pop(number))

    def _give_up(self, call: Call, error: Exception) -> None:
        """End a call with its error, unless that may pass."""
        if passes(error) and call.tries <= RETRIES:
            call.tries += 1
            self._again(call, DELAY)
        else:
            self._finish(call, None, error)

    def _end_of(self, load: Load, future: PrefectFuture[Any]) -> None:
        """Take the end of a task run."""
        del self._loads[load.chunk.id]
        try:
            future.wait()  # else its state would be asked from the API
            state: Any = future.state
            value = state.result(raise_on_failure=False, _sync=True)
        # Whatever Prefect's engine raises; nobody would end the items if this went on.
        except Exception as error:
            value = error
        outcomes = value.outcomes if isinstance(value, ItemsFailedError) else value
        if isinstance(outcomes, list):
            for outcome in outcomes:
                self._take(load, outcome)
        if isinstance(value, BaseException) and not isinstance(value, ItemsFailedError):
            self._lost(load, value)
        else:
            self.packing.closed(load.chunk)

    def _lost(self, load: Load, error: BaseException) -> None:
        """Decide what becomes of the items of a task run that failed as a whole."""
        if not isinstance(error, Exception) or isinstance(error, SubmissionError | PreemptedError):
            self.stopped = True
            raise error
        if isinstance(error, httpx.HTTPError | PrefectException | ConcurrencySlotAcquisitionError):
            self._faults += 1
            if self._faults >= _FAULTS:
                self.stopped = True
                raise error
            time.sleep(watch.PERIOD)
            self.packing.closed(load.chunk)
        elif can_pass(error):
            for number in self.packing.died(load.chunk, streamed=load.streamed):
                call = self._calls[number]
                message = f"{call.job.what} of {call.name} killed {DEATHS} workers: {error}"
                self._finish(call, None, LostWorkerError(message))
        else:  # such as a function that the workers cannot import
            cause = error.__cause__
            node, worker = getattr(cause, "node", ""), getattr(cause, "worker", "")
            for number in list(load.chunk.left):
                self.packing.ended(load.chunk, number, None)
                self._failed(self._calls[number], own_copy(error), node, worker)
            self.packing.closed(load.chunk)

    def _finish(
        self, call: Call, value: Any, error: Exception | None, *, computed: bool = True
    ) -> None:
        """End a call, and those that wait for the same key."""
        del self._calls[call.number]
        if error is None and computed:
            self._cache.keep(value, replace=self._refresh, ours=call.job.is_recipe)
            if self._refresh and call.key:
                self._computed.add(call.key)
        for other, its_value, its_error in self._equals.end(call, value, error):
            del self._calls[other.number]
            other.run = call.run
            self._end(other, its_value, its_error, computed=False)
        self._end(call, value, error, computed=computed)

    def _end(
        self, call: Call, value: Any, error: Exception | None, *, computed: bool = True
    ) -> None:
        if error is not None:
            self.counts.failed += 1
        elif computed:
            self.counts.computed += 1
        else:
            self.counts.cached += 1
        self._deliver(call, value, error)
