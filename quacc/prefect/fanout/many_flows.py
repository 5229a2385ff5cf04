"""Many workflows at once: their bodies run on threads here, their jobs on the workers.

One dispatcher packs the jobs of all. Everything but the bodies happens in the thread that gives the
turns, so that nothing here needs a lock: bodies post what they want, and wait.
"""

from __future__ import annotations

import contextvars
import copy
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from prefect.context import FlowRunContext

from quacc.cache.questions import question
from quacc.cache.results import ASKED, ResultsCache, is_outcome
from quacc.prefect.fanout.calls import Call, Counts, Job
from quacc.prefect.fanout.dispatcher import Dispatcher
from quacc.prefect.width import width_of
from quacc.recipes.tools.workflow import resolved
from quacc.runners.raised import sendable

_LEAST, _MOST = 32, 512
"""Workflows in progress: enough to keep the workers busy, which get some each."""
_EACH = 4

_PATIENCE = 5.0
"""Seconds to wait for a body that does not end, once nothing more is started."""


class _GivenUp(BaseException):
    """Ends a body whose jobs nobody waits for any more."""


class _Slot:
    """What a job of a workflow will return."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.value: Any = None
        self.error: BaseException | None = None
        self.run: Any = None
        self.followers: list[tuple[Call, _Slot]] = []

    def result(self) -> Any:
        """Wait for the job; return its result, or raise what it raised."""
        self.ended.wait()
        if self.error is not None:
            raise self.error
        return self.value


class _PackedJob:
    """A job of a workflow, whose calls are packed with those of all the others."""

    def __init__(self, function: Callable[..., Any], flows: ManyFlows) -> None:
        self.job = flows.job(function)
        self.fn = self.job.function
        self.flows = flows

    def submit(self, *args: Any, **kwargs: Any) -> _Slot:
        slot = _Slot()
        self.flows.post(lambda: self.flows.start(self.job, args, kwargs, slot))
        return slot


class ManyFlows:
    """Runs workflows; what :class:`quacc.prefect.fanout.dispatcher.Dispatcher` is for jobs.

    Parameters
    ----------
    deliver
        Takes each call of the workflow with its result, or with the exception that it ended with.
    cache
        Where results are looked up, and kept.
    **options
        Of the dispatcher of the jobs.
    """

    def __init__(
        self,
        deliver: Callable[[Call, Any, Exception | None], None],
        cache: ResultsCache,
        *,
        refresh: bool = False,
        **options: Any,
    ) -> None:
        self.counts = Counts()
        self._deliver = deliver
        self._cache = cache
        self._refresh = refresh
        self._work = Dispatcher(self._job_ended, cache, refresh=refresh, **options)
        self.packing = self._work.packing
        self._jobs: dict[Any, Job] = {}
        self._jobs_lock = threading.Lock()
        self._waiting: deque[Call] = deque()
        self._running: dict[int, threading.Thread] = {}
        self._same: dict[str, list[Call]] = {}  # by the question that is being answered
        self._slots: dict[int, _Slot] = {}
        self._new: list[Call] = []
        self._count = 0
        self._stopped = False

    @property
    def busy(self) -> bool:
        """Whether workflows wait or run."""
        return bool(self._waiting or self._running)

    @property
    def waiting(self) -> int:
        """How many workflows have not begun."""
        return len(self._waiting)

    @property
    def behind(self) -> bool:
        """Whether something has happened since the last turn."""
        return self._work.behind

    def post(self, event: Callable[[], None]) -> None:
        """Let something happen at the next turn; from any thread."""
        self._work.post(event)

    def job(self, function: Callable[..., Any]) -> Job:
        """Return the job that a function is, one for all workflows; from any thread."""
        with self._jobs_lock:
            if function not in self._jobs:
                self._jobs[function] = Job(function)
            return self._jobs[function]

    def add(self, calls: Sequence[Call]) -> None:
        """Take workflows; those whose results are in the database end at once."""
        for call in calls:
            call.args = copy.deepcopy(call.args)
            call.key = question(call.job.function, call.args, call.kwargs)
        keys = [call.key for call in calls if call.key is not None]
        found = {} if self._refresh else self._cache.answers(keys)
        for call in calls:
            if call.key in found:
                self.counts.cached += 1
                self._deliver(call, copy.deepcopy(found[call.key]), None)
            elif call.key in self._same:
                self._same[call.key].append(call)
            else:
                if call.key is not None:
                    self._same[call.key] = []
                self._waiting.append(call)

    def turn(self, wait: float = 0.0) -> None:
        """Start what can start, and take what has ended; wait for something to end (s)."""
        self._begin()
        while True:
            self._add_jobs()
            self._work.turn(0.0 if self._new else wait)
            wait = 0.0
            if not (self._new or self._work.behind):
                return

    def close(self, *, end: bool) -> None:
        """Start nothing more, and let all bodies end."""
        self._stopped = True
        self._waiting.clear()
        self._work.close(end=end)
        for slot in list(self._slots.values()):
            self._end(slot, None, _GivenUp())
        for thread in list(self._running.values()):
            thread.join(_PATIENCE)
            self._work.turn()

    def start(self, job: Job, args: tuple[Any, ...], kwargs: dict[str, Any], slot: _Slot) -> None:
        """Start a job on an item, or on what a job before it returns."""
        if self._stopped:
            self._end(slot, None, _GivenUp())
            return
        self._count += 1
        call = Call(job, args, kwargs, self._count)
        self._slots[call.number] = slot
        item = args[0] if args else None
        if not isinstance(item, _Slot):
            self._new.append(call)
        elif item.ended.is_set():
            self._follow(call, slot, item)
        else:
            item.followers.append((call, slot))

    def _begin(self) -> None:
        context = FlowRunContext.get()
        width = width_of(context.task_runner if context else None)
        most = min(_MOST, max(_LEAST, _EACH * width))
        while self._waiting and len(self._running) < most:
            call = self._waiting.popleft()
            thread = threading.Thread(
                target=contextvars.copy_context().run,
                args=(self._run, call),
                name=f"quacc-{call.job.what}-{call.number}",
                daemon=True,
            )
            self._running[call.number] = thread
            thread.start()

    def _run(self, call: Call) -> None:
        """Run the body of a workflow, on a thread of its own."""
        value, error = None, None
        try:
            bound = resolved(call.job.function, call.args, call.kwargs)
            for name, given in bound.arguments.items():
                if callable(given):
                    bound.arguments[name] = _PackedJob(given, self)
            value = call.job.function(*bound.args, **bound.kwargs)
        except Exception as raised:
            error = raised
        except BaseException as raised:  # nobody else sees what a thread raises
            error = sendable(raised)
        self.post(lambda: self._ended(call, value, error))

    def _ended(self, call: Call, value: Any, error: Exception | None) -> None:
        del self._running[call.number]
        if self._stopped:
            return
        if is_outcome(value):
            asked = {} if call.key is None else {ASKED: call.key}
            self._cache.keep({**value, **asked}, replace=self._refresh)
        self._tell(call, value, error)
        for other in self._same.pop(call.key, []) if call.key is not None else []:
            if error is None:
                self.counts.cached += 1
                self._deliver(other, copy.deepcopy(value), None)
            else:
                self._tell(other, None, copy.copy(error))
        self._begin()

    def _tell(self, call: Call, value: Any, error: Exception | None) -> None:
        if error is None:
            self.counts.computed += 1
        else:
            self.counts.failed += 1
        self._deliver(call, value, error)

    def _add_jobs(self) -> None:
        while self._new:  # those that follow what is in the database come here, too
            new, self._new = self._new, []
            self._work.add(new)

    def _follow(self, call: Call, slot: _Slot, before: _Slot) -> None:
        if before.error is not None:
            self._slots.pop(call.number)
            self._end(slot, None, before.error)
            return
        call.args = (before.value, *call.args[1:])
        call.after = before.run
        self._new.append(call)

    def _job_ended(self, call: Call, value: Any, error: Exception | None) -> None:
        slot = self._slots.pop(call.number)
        slot.run = call.run
        self._end(slot, value, error)

    def _end(self, slot: _Slot, value: Any, error: BaseException | None) -> None:
        slot.value, slot.error = value, error
        followers, slot.followers = slot.followers, []
        slot.ended.set()
        for call, follower in followers:
            self._follow(call, follower, slot)
