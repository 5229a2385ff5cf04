"""``run``: a workflow on this machine's cores, with neither a server nor Dask.

The same jobs, keys and database as with Prefect: what is known is not computed again, and each
result is stored as soon as it is there.
"""

from __future__ import annotations

import copy
import heapq
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Protocol

from quacc.cache.claims import Claims
from quacc.cache.equals import EqualKeys
from quacc.cache.questions import question
from quacc.cache.results import ASKED, ResultsCache, is_outcome
from quacc.cluster.attempts import DELAY, RETRIES, passes
from quacc.cluster.cores import Cores, usable_cores
from quacc.cluster.packing import DEATHS
from quacc.cluster.transport import pack, unpack
from quacc.errors import LostWorkerError, StoreError, TimeLimitError, require_count
from quacc.recipes.tools import strands
from quacc.recipes.tools.verbs import bare, innermost
from quacc.recipes.tools.workflow import resolved
from quacc.runners.calculation import Calculation
from quacc.runners.job import calculation_of, plan_of
from quacc.settings import overrides
from quacc.store import Store

_WAIT = 0.5
"""Seconds between two looks at the clock."""


class Tell(Protocol):
    """Told how many jobs have ended: computed, from the database, and failed, of how many."""

    def __call__(self, computed: int, cached: int, failed: int, total: int) -> object: ...


def run(
    workflow: Callable[..., Any],
    *args: Any,
    cores: int | None = None,
    tell: Tell = lambda computed, cached, failed, total: None,
    **kwargs: Any,
) -> Any:
    """Run a workflow on this machine's cores; return its result.

    What the results database has is taken from there, also the whole result. A run that is
    interrupted goes on when the same is called again.

    Parameters
    ----------
    workflow
        Such as :func:`quacc.recipes.workflows.eos_flow`, or one of your own in the same verbs.
    *args, **kwargs
        Of the workflow.
    cores
        Jobs at the same time; None: as many as this process has cores.
    tell
        Called when a job ends.

    Raises
    ------
    InputError
        Before anything is computed.
    JobsFailedError
        Some jobs failed; the others' results are in the database.
    """
    with Here(cores, tell) as here:
        result = here.run(workflow, *args, **kwargs)
    if is_outcome(result) and here.problem:
        result["warnings"].append(here.problem)
    return result


class Here:
    """This machine's cores, for several workflows.

    Parameters
    ----------
    cores, tell
        As of :func:`run`.
    """

    def __init__(
        self,
        cores: int | None = None,
        tell: Tell = lambda computed, cached, failed, total: None,
    ) -> None:
        if cores is not None:
            require_count(cores=cores)
        self._cores = usable_cores() if cores is None else cores
        self._tell = tell

    def __enter__(self) -> Here:
        store = Store()
        store.check_writable()
        self._work = _Work(ResultsCache(store), self._cores, self._tell)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._work.close()
        if error is not None and self._work.cache.problem:
            error.add_note(self._work.cache.problem)

    @property
    def problem(self) -> str | None:
        """What could not be stored."""
        return self._work.cache.problem

    def run(self, workflow: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run a workflow; return its result. See :func:`run`."""
        work = self._work
        bound = resolved(workflow, args, kwargs)
        asked = question(workflow, bound.args, bound.kwargs)
        if asked is not None and (found := work.cache.answers([asked])):
            return found[asked]
        for name, value in bound.arguments.items():
            if callable(value):
                bound.arguments[name] = _Job(value, work)
        result = workflow(*bound.args, **bound.kwargs)
        if is_outcome(result):
            work.cache.leaving = True  # it has been computed, and is returned in any case
            work.cache.keep(result if asked is None else {**result, ASKED: asked})
            work.cache.leaving = False
        return result

    def each(
        self,
        calls: Sequence[Callable[[], Any]],
        *,
        at_once: int | None = None,
        deadline: float | None = None,
    ) -> Iterator[tuple[int, Any, Exception | None]]:
        """Call functions that :meth:`run` workflows, at the same time; yield each one's outcome.

        Parameters
        ----------
        at_once
            How many; None: a few for each core.
        deadline
            A ``time.monotonic()`` at which all that runs is killed; what has not ended then ends
            with a TimeLimitError.
        """
        self._work.make_ready()
        at_once = at_once or 4 * self._cores
        turn = self._work.wait
        yield from strands.each(calls, turn, at_once=at_once, deadline=deadline)
        self._work.drop()


class _Job:
    """A job of the workflow."""

    def __init__(self, function: Callable[..., Any], work: _Work) -> None:
        self.fn = bare(function)
        self.ours = plan_of(self.fn) is not None
        self.work = work

    def submit(self, *args: Any, **kwargs: Any) -> _Call:
        return self.work.submit(self, args, kwargs)


class _Call:
    """One job on one item, and what it will return."""

    def __init__(
        self, job: _Job, args: tuple[Any, ...], kwargs: dict[str, Any], number: int
    ) -> None:
        self.job, self.args, self.kwargs, self.number = job, args, kwargs, number
        self.calculation: Calculation[Any] | None = None
        self.tries = self.deaths = 0
        self.done = False
        self.value: Any = None
        self.error: Exception | None = None
        self.followers: list[_Call] = []

    def __deepcopy__(self, memo: Any) -> _Call:
        return self

    @property
    def key(self) -> str | None:
        return None if self.calculation is None else self.calculation.key

    def asked(self) -> Calculation[Any] | None:
        return self.calculation

    def result(self) -> Any:
        """Wait for the job; return its result, or raise what it raised."""
        strands.wait(self, self.job.work.wait)
        if self.error is not None:
            raise self.error
        return self.value


class _Work:
    """The jobs of one workflow: looked up, computed on the cores, and kept."""

    def __init__(self, cache: ResultsCache, cores: int, tell: Tell) -> None:
        self.cache = cache
        self._claims = Claims()
        self._cores = Cores(cores)
        self._told = tell
        self._new: list[_Call] = []
        self._ready: list[_Call] = []
        self._later: list[tuple[float, int]] = []
        self._calls: dict[int, _Call] = {}
        self._equals: EqualKeys[_Call] = EqualKeys(cache, self._claims)
        self._counts = {"computed": 0, "cached": 0, "failed": 0}
        self._total = 0

    def submit(self, job: _Job, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Call:
        """Start a job on an item, or on what a job before it returns."""
        self._total += 1
        call = _Call(job, args, kwargs, self._total)
        item = args[0] if args else None
        try:  # as they are now
            call.args, call.kwargs = copy.deepcopy((args, kwargs))
        # Whatever the arguments' own code raises.
        except Exception as error:
            self._end(call, None, error)
            return call
        if isinstance(item, _Call) and not item.done:
            item.followers.append(call)
        else:
            self._begin(call)
        if self._cores.are_free and not self._ready:
            self.turn(0)
        return call

    def turn(self, wait: float) -> None:
        """Start what can start, and take what has ended; wait for something to end (s).

        Raises
        ------
        StoreError
            Nothing could be stored for some minutes, so that no more is computed.
        """
        if self.cache.stop is not None:
            raise self.cache.stop
        self._claims.beat()
        while self._later and self._later[0][0] <= time.monotonic():
            self._ready.append(self._calls[heapq.heappop(self._later)[1]])
        while self._new:  # those that follow what is in the database come here, too
            new, self._new = self._new, []
            self._identify(new)
        while self._ready and self._cores.are_free:
            self._compute(self._ready.pop(0))
        if wait and not self._new:
            for number, packed, how in self._cores.ended(wait):
                self._take(self._calls[number], packed, how)

    def wait(self) -> None:
        """Wait a moment for something to end."""
        self.turn(_WAIT)

    def make_ready(self) -> None:
        """Start the workers, which takes long once this process has threads."""
        self._cores.make_ready()

    def drop(self) -> None:
        """Kill what nobody waits for any more, and start none of it."""
        self._cores.kill()
        self._new, self._ready, self._later = [], [], []
        for call in list(self._calls.values()):
            self._finish(call, None, TimeLimitError("It was ended.", call.number))

    def close(self) -> None:
        """End all that runs, and write what is waiting."""
        self.cache.leaving = True
        for number, packed, _ in self._cores.close():
            with suppress(Exception):  # of a job that was stopped
                if packed is not None:
                    self.cache.keep(unpack(packed), ours=self._calls[number].job.ours)
        self.cache.close()
        self._claims.close()

    def _begin(self, call: _Call) -> None:
        """Take a call whose item is there."""
        if isinstance(item := call.args[0] if call.args else None, _Call):
            if item.error is not None:
                self._end(call, None, item.error)
                return
            call.args = (copy.deepcopy(item.value), *call.args[1:])
        self._calls[call.number] = call
        self._new.append(call)

    def _identify(self, calls: list[_Call]) -> None:
        accepted: list[_Call] = []
        for call in calls:
            try:
                call.calculation = calculation_of(call.job.fn, call.args, call.kwargs)
            # Whatever the arguments' own code raises, too.
            except Exception as error:
                self._finish(call, None, error)
            else:
                accepted.append(call)
        self._look_up(accepted)

    def _look_up(self, calls: list[_Call]) -> None:
        """End the calls that are known; the others become ready, each key once."""
        asked = [call.calculation for call in calls if call.calculation is not None]
        found = iter(self.cache.find(asked) if asked else [])
        for call in calls:
            result = None if call.calculation is None else next(found)
            if result is not None:
                self._finish(call, result, None, computed=False)
            elif self._equals.is_first(call):
                self._ready.append(call)

    def _compute(self, call: _Call) -> None:
        there, taken = self._equals.elsewhere([call])
        if call.key in there:
            self._finish(call, there[call.key], None, computed=False)
            return
        if call.key in taken:
            self._again(call, self._equals.pause())
            return
        try:
            packed = pack(overrides(), call.job.fn, call.args, call.kwargs)
        # Whatever the argument's own code raises.
        except Exception as error:
            self._finish(call, None, error)
        else:
            self._cores.start(call.number, packed)

    def _again(self, call: _Call, pause: float) -> None:
        heapq.heappush(self._later, (time.monotonic() + pause, call.number))

    def _take(self, call: _Call, packed: bytes | None, how: str) -> None:
        """Take what a worker has sent, or that it is dead."""
        if packed is None:
            call.deaths += 1
            if call.deaths < DEATHS:
                self._again(call, 0.0)
                return
            name = getattr(innermost(call.job.fn), "__name__", "The job")
            message = f"{name} killed {DEATHS} worker processes, the last one by {how}."
            self._finish(call, None, LostWorkerError(message))
            return
        try:
            value = unpack(packed)
        # Whatever the job raised.
        except Exception as error:
            call.tries += 1
            if passes(error) and call.tries <= RETRIES:
                self._again(call, DELAY)
            else:
                self._finish(call, None, error)
        else:
            self._finish(call, value, None)

    def _finish(
        self, call: _Call, value: Any, error: Exception | None, *, computed: bool = True
    ) -> None:
        """End a call, and those that wait for the same key."""
        if error is None and computed:
            with suppress(StoreError):  # which the next turn raises
                self.cache.keep(value, ours=call.job.ours)
        for other, its_value, its_error in self._equals.end(call, value, error):
            self._end(other, its_value, its_error, computed=False)
        self._end(call, value, error, computed=computed)

    def _end(
        self, call: _Call, value: Any, error: Exception | None, *, computed: bool = True
    ) -> None:
        self._calls.pop(call.number, None)
        kind = "failed" if error is not None else "computed" if computed else "cached"
        self._counts[kind] += 1
        call.value, call.error, call.done = value, error, True
        self._told(**self._counts, total=self._total)
        followers, call.followers = call.followers, []
        for follower in followers:
            self._begin(follower)
