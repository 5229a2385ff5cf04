"""``fan_out``: one job on many items, at nearly the speed of the bare calculators."""

from __future__ import annotations

import gc
import logging
import shlex
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from contextlib import closing, contextmanager, suppress
from itertools import chain, islice
from math import inf
from typing import Any

from prefect import Flow
from prefect.context import FlowRunContext
from prefect.exceptions import TerminationSignal

from quacc.cache.claims import Claims
from quacc.cache.questions import is_workflow, serial_of
from quacc.cache.results import ResultsCache
from quacc.cluster.transport import refuse_on_worker
from quacc.errors import (
    JobsFailedError,
    ParameterError,
    StructureError,
    require_bool,
    require_count,
    require_positive,
)
from quacc.prefect.daskrunner import DaskRunner
from quacc.prefect.fanout.calls import Call, Counts, Job
from quacc.prefect.fanout.dispatcher import Dispatcher
from quacc.prefect.fanout.many_flows import ManyFlows
from quacc.prefect.frozen import frozen, frozen_items
from quacc.prefect.lifecycle.forgotten import end_also_forgotten
from quacc.prefect.show.progress import Progress, in_notebook
from quacc.prefect.tasks import as_task
from quacc.prefect.width import innermost_runner
from quacc.recipes.tools.verbs import bare, check, innermost
from quacc.recipes.tools.workflow import resolved
from quacc.store import Store

logger = logging.getLogger(__name__)

_BLOCK = 500
"""Items that are looked up in the database at a time."""

_PATIENCE = 0.5
"""After this time (s) a block is taken as it is, where items come slowly."""

_READY = 1000
"""Results that wait for whoever takes them; while there are more, nothing is started."""

_WAIT = 0.5
"""Seconds between two looks at the clock."""


def fan_out(
    job: Callable[..., Any],
    items: Iterable[Any],
    *,
    batch: int | None = None,
    refresh: bool = False,
    time_limit: float | None = None,
    **kwargs: Any,
) -> FanOut:
    """Run a job on many items, inside a Prefect flow, on its task runner.

    Nothing happens before the results are asked for. What is in the results database is not
    computed again. The rest is packed into chunks that take about ten seconds each, one Prefect
    task run a chunk; every result is stored as soon as it is there. An item that fails, or kills
    its workers, spoils no other.

    Parameters
    ----------
    job
        A plain function that takes an item first, or a ``functools.partial`` of one; of a task,
        the function. Or a workflow, such as :func:`quacc.recipes.workflows.eos_flow` or its Prefect
        form: its body runs here, and its jobs on the workers, packed with those of the others.
    items
        Structures, results, or whatever the job takes. An iterator is taken bit by bit.
    batch
        Items of a chunk; 1 makes every item a task run of its own. None chooses by what items
        take.
    refresh
        Compute also what is in the database, and replace it there.
    time_limit
        Give up an item that takes longer (s). Its worker process is started anew, so this needs
        workers of :func:`quacc.prefect.make_runner`.
    **kwargs
        Of the job.

    Raises
    ------
    ParameterError
        A keyword makes no sense to this function or to the job.
    """
    if batch is not None:
        require_count(batch=batch)
    if time_limit is not None:
        require_positive(time_limit=time_limit)
    require_bool(refresh=refresh)
    if isinstance(items, str | Mapping) or not isinstance(items, Iterable) or hasattr(items, "pbc"):
        raise ParameterError(
            f"fan_out takes many items, such as a list of structures, not {_short(items)}."
        )
    of_flows = is_workflow(job)
    job = serial_of(job) if of_flows else bare(job)
    flow: Any = innermost(job)
    if isinstance(flow, Flow):
        raise ParameterError(
            f"fan_out cannot run many of the Prefect flow {flow.name!r} at once. Write it as a "
            "plain function with the verbs of quacc.recipes.tools.verbs, and pass as_flow of it."
        )
    options: dict[str, Any] = {"batch": batch, "refresh": refresh, "time_limit": time_limit}
    return FanOut(job, items, kwargs, of_flows=of_flows, **options)


class FanOut:
    """The results of a fan-out; use :func:`fan_out`.

    Iterate over it for ``(index, result)`` as results come, in any order: memory stays flat.
    :meth:`results` waits for all, :meth:`result_keys` leaves them in the database. Any of these
    does the work, and can be done once.

    All raise a :class:`quacc.errors.JobsFailedError` after the last result, if items have failed:
    one exception each, with a note that names the item.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        items: Iterable[Any],
        kwargs: dict[str, Any],
        *,
        batch: int | None,
        refresh: bool,
        time_limit: float | None,
        of_flows: bool,
    ) -> None:
        self._job = Job(function)
        self._of_flows = of_flows
        self._items = frozen_items(items)
        self._kwargs = frozen(kwargs)
        self._options: dict[str, Any] = {
            "batch": batch,
            "refresh": refresh,
            "time_limit": time_limit,
        }
        self._ready: deque[tuple[int, Any]] = deque()
        self._failures: list[tuple[int, str, Exception]] = []
        self.counts = Counts()
        """How many items have been computed, were cached, and failed so far."""
        self._begun = False
        self._taken = 0
        self._total: int | None = len(items) if isinstance(items, Sized) else None

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        if self._begun:
            raise RuntimeError("This fan-out has been run; call fan_out again.")
        self._begun = True
        refuse_on_worker("fan_out", "the plain job in a loop")
        context = FlowRunContext.get()
        if context is None:
            raise ParameterError(
                "fan_out belongs inside a Prefect flow, whose task runner computes. In a plain "
                "loop, quacc.prefect.cached(job) takes results from the database, too."
            )
        end_also_forgotten(context.client)
        runner = innermost_runner(context.task_runner)
        if self._options["time_limit"] is not None and not isinstance(runner, DaskRunner):
            raise ParameterError(
                "time_limit needs workers that can be ended: give the flow "
                "task_runner=make_runner()."
            )
        return self._run()

    def results(self) -> list[Any]:
        """Return all results, in the order of the items.

        Raises
        ------
        JobsFailedError
            Some items failed; carries the results of the others.
        """
        found: dict[int, Any] = {}
        try:
            for index, result in self:
                found[index] = result
        except JobsFailedError as error:
            error.results = [found[index] for index in sorted(found)]
            raise
        return [found[index] for index in sorted(found)]

    def result_keys(self) -> list[str]:
        """Return the keys of all results, in the order of the items.

        Raises
        ------
        JobsFailedError
            Some items failed.
        ParameterError
            The job is none of quacc's, so that its results have no keys.
        """
        if not (self._job.is_recipe or self._of_flows):
            raise ParameterError(
                f"Results of {self._job.what} have no keys: it is no job of quacc's."
            )
        found = {index: result["key"] for index, result in self}
        return [found[index] for index in sorted(found)]

    def _run(self) -> Iterator[tuple[int, Any]]:
        try:
            yield from self._until_ended()
        except GeneratorExit:  # the loop over it was left
            raise
        except BaseException as error:
            if not isinstance(error, Exception):  # Ctrl-C and its like
                print(self._how_to_go_on(), file=sys.stderr)
            raise
        self._raise_failures()

    def _until_ended(self) -> Iterator[tuple[int, Any]]:
        source = self._numbered()
        store = Store()
        if self._job.is_recipe or self._of_flows:
            store.check_writable()
        with (
            _old_objects_left_alone(),
            closing(Claims()) as claims,  # others may have what it took once that is stored
            closing(ResultsCache(store)) as cache,
            Progress(self._job.task.name, self._total) as progress,
        ):
            kind = ManyFlows if self._of_flows else Dispatcher
            work = kind(self._deliver, cache, claims=claims, **self._options)
            self.counts = work.counts
            more, end = True, True
            try:
                while more or work.busy:
                    wanted = more and work.waiting < _BLOCK
                    if wanted:
                        more = self._add_block(source, work)
                    work.turn(0 if wanted or self._ready else _WAIT)
                    while self._ready:
                        yield self._ready.popleft()
                        if work.behind and len(self._ready) < _READY:
                            work.turn()
                    self._tell(progress)
            except (KeyboardInterrupt, SystemExit, TerminationSignal):
                end = False  # the flow ends, and what it runs
                raise
            finally:
                cache.leaving = True
                work.close(end=end)
                self._tell(progress)

    def _numbered(self) -> Iterator[tuple[int, Any]]:
        """Number the items, once the first has shown that the keywords make sense."""
        source = iter(self._items)
        first = list(islice(source, 1))
        if self._of_flows:
            self._check_keywords()
            return enumerate(chain(first, source))
        for item in first:
            # A structure that makes no sense is an error of its own.
            with suppress(StructureError):
                check(as_task(self._job.function), item, **self._kwargs)
        return enumerate(chain(first, source))

    def _check_keywords(self) -> None:
        try:
            resolved(self._job.function, (None,), self._kwargs)
        except TypeError as error:
            raise ParameterError(f"{self._job.task.name}: {error}.") from None

    def _add_block(self, source: Iterator[tuple[int, Any]], work: Dispatcher | ManyFlows) -> bool:
        """Take some items; return whether there are more."""
        end = time.monotonic() + _PATIENCE
        calls: list[Call] = []
        for index, item in source:
            calls.append(Call(self._job, (item,), self._kwargs, index))
            if len(calls) == _BLOCK or time.monotonic() > end:
                break
        else:
            self._total = self._taken + len(calls)
        self._taken += len(calls)
        work.packing.to_come = inf if self._total is None else self._total - self._taken
        work.add(calls)
        return self._total is None or self._taken < self._total

    def _deliver(self, call: Call, value: Any, error: Exception | None) -> None:
        if error is None:
            self._ready.append((call.number, value))
        else:
            name = f"{call.name} (item {call.number})".lstrip()
            self._failures.append((call.number, name, error))

    def _tell(self, progress: Progress) -> None:
        counts = self.counts
        progress.update(
            computed=counts.computed, cached=counts.cached, failed=counts.failed, total=self._total
        )

    def _how_to_go_on(self) -> str:
        done = self.counts.computed + self.counts.cached
        of = "" if self._total is None else f" of {self._total}"
        kept = (
            "are in the results database"
            if self._job.is_recipe or self._of_flows
            else "were computed"
        )
        again = "Run the cell again to go on."
        if not in_notebook():
            again = f"To go on, run it again:\n  {shlex.join(sys.orig_argv)}"
        return f"\n{self._job.task.name} was interrupted: {done}{of} {kept}. {again}"

    def _raise_failures(self) -> None:
        if not self._failures:
            return
        self._failures.sort(key=lambda failure: failure[0])
        failures = [(name, error) for _, name, error in self._failures]
        raise JobsFailedError.of(self._job.task.name, failures, self._total)


@contextmanager
def _old_objects_left_alone() -> Iterator[None]:
    """Let the garbage collector look only at objects that are made from now on.

    Otherwise it goes through all of Prefect's objects again and again, a tenth of a second each
    time.
    """
    if gc.get_freeze_count():  # somebody has thought of it
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 100 else f"{text[:100]} …"
