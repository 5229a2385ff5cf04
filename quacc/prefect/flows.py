"""``as_flow``: a serial workflow as a Prefect flow, every job a task run of its own."""

from __future__ import annotations

import copy
import functools
import inspect
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ParamSpec, TypeVar, cast

from prefect import Flow, Task
from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture, PrefectWrappedFuture
from prefect.runtime import flow_run
from prefect.settings import (
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_TASKS_REFRESH_CACHE,
    temporary_settings,
)
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from quacc.cache.questions import question
from quacc.cache.results import ASKED, FLOW_RUN, ResultsCache, is_outcome
from quacc.cluster.transport import refuse_on_worker
from quacc.errors import StoreError
from quacc.prefect.fanout.calls import Job
from quacc.prefect.fanout.futures import Packer, Slot
from quacc.prefect.lifecycle.forgotten import end_also_forgotten
from quacc.prefect.lifecycle.watch import pass_on
from quacc.prefect.show.artifacts import show_outcome
from quacc.prefect.tasks import as_task, describe, formula, full_name, short_name
from quacc.recipes.tools import strands
from quacc.recipes.tools.verbs import bare, innermost
from quacc.recipes.tools.workflow import resolved
from quacc.runners.job import plan_of
from quacc.store import Store

logger = logging.getLogger(__name__)

_P = ParamSpec("_P")
_R = TypeVar("_R")

_AT_ONCE = 64
"""Workflows of :meth:`Storing.each` that have begun and not ended."""

_MOMENT = 10.0
"""How long the end of a run waits for results that can be read but are not kept yet (s)."""


def as_flow(serial: Callable[_P, _R], **options: Any) -> Flow[_P, _R]:
    """Return a Prefect flow that runs a serial workflow, every job a task run of its own.

    The jobs among the workflow's arguments are looked up in the results database and packed into
    task runs as :func:`quacc.prefect.fan_out` does; a few get a task run each. Those that are
    tasks already stay as they are. They run on the task runner of the enclosing flow, or on the
    flow's own where it was given one or there is no enclosing flow. Every result goes to the
    results database as soon as its job ends, the workflow's own result at the end.

    Parameters
    ----------
    serial
        A plain function, written with the verbs of :mod:`quacc.recipes.tools.verbs`, whose
        parameters that hold jobs are functions, tasks, names, or None.
    **options
        Of ``prefect.flow``.
    """
    signature = inspect.signature(serial)
    # Prefect shows defaults in the dashboard and stores them as JSON, so that there a job is
    # known by its name.
    jobs = {
        as_task(parameter.default).name: parameter.default
        for parameter in signature.parameters.values()
        if callable(parameter.default) and parameter.default is not parameter.empty
    }
    names = {job: name for name, job in jobs.items()}

    @functools.wraps(serial)
    def run(*args: Any, **kwargs: Any) -> Any:
        if context := FlowRunContext.get():
            end_also_forgotten(context.client)
        store = Store()
        store.check_writable()
        with Storing(store) as storing:
            given = signature.bind(*args, **kwargs)
            for name, value in given.arguments.items():
                given.arguments[name] = jobs.get(value, value) if isinstance(value, str) else value
            result = storing.run(serial, *given.args, **given.kwargs)
        if is_outcome(result):
            if storing.cache.problem:
                result["warnings"].append(storing.cache.problem)
            show_outcome(result)
        return result

    run.serial = serial  # type: ignore[attr-defined]
    run.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[
            parameter.replace(default=names[parameter.default])
            if any(parameter.default is job for job in jobs.values())
            else parameter
            for parameter in signature.parameters.values()
        ]
    )

    settings: dict[str, Any] = {
        "name": full_name(serial),
        "flow_run_name": lambda: run_name(
            serial, next(iter(flow_run.get_parameters().values()), None)
        ),
        # Structures and jobs are checked by the jobs; pydantic would try to rebuild them.
        "validate_parameters": False,
    }
    return cast(Flow[_P, _R], JobFlow(run, **(settings | options)))


def run_name(serial: Callable[..., Any], structure: Any) -> str:
    """Return the name of a flow run, such as "eos Cu"."""
    return f"{short_name(innermost(serial)).removesuffix('_flow')} {formula(structure)}".strip()


class JobFlow(Flow[..., Any]):
    """A flow that, called inside another, runs its tasks on that one's task runner.

    Unless it was given one of its own; threads, Prefect's default, give way.
    """

    @property
    def serial(self) -> Callable[..., Any]:
        """The plain workflow."""
        function: Callable[..., Any] = getattr(self.fn, "serial", self.fn)
        return function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        refuse_on_worker(f"The workflow {self.name}", "its plain form")
        parent = FlowRunContext.get()
        if parent is None:
            return super().__call__(*args, **kwargs)
        nested = copy.copy(self)
        # When the parent is retried, Prefect serves persisted results of subflows by their order,
        # whatever they were of. Ours are in the results database, by key.
        nested.persist_result = False
        if not isinstance(self.task_runner, ThreadPoolTaskRunner):
            return Flow.__call__(nested, *args, **kwargs)
        nested.task_runner = _Enclosing(parent.task_runner)
        # The parent's heartbeat tells that this process lives; ending a second one takes a
        # second.
        with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
            return Flow.__call__(nested, *args, **kwargs)

    def with_options(self, *args: Any, **kwargs: Any) -> JobFlow:
        """Return a copy with other options; see ``prefect.Flow.with_options``."""
        changed = super().with_options(*args, **kwargs)
        changed.__class__ = JobFlow  # Prefect makes a plain Flow
        return cast(JobFlow, changed)

    def serialize_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters as a person wants to read them in the dashboard."""
        readable: dict[str, Any] = {}
        for name, value in parameters.items():
            if isinstance(value, Task):
                readable[name] = value.name
            elif callable(value):
                readable[name] = as_task(value).name
            elif isinstance(value, str | int | float | bool | None):
                readable[name] = value
            elif isinstance(value, Mapping) and "atoms" not in value:
                readable |= super().serialize_parameters({name: value})
            else:
                readable[name] = describe(value)
        return readable


class _Enclosing(TaskRunner[PrefectFuture[Any]]):
    """The task runner of an enclosing flow, which a subflow neither starts nor stops."""

    def __init__(self, runner: TaskRunner[Any]) -> None:
        super().__init__()
        self.runner = runner

    def duplicate(self) -> _Enclosing:
        return self

    def submit(self, *args: Any, **kwargs: Any) -> PrefectFuture[Any]:
        return self.runner.submit(*args, **kwargs)

    def __exit__(self, *args: Any) -> None:
        super().__exit__(*args)
        pass_on(args[1])


class Storing:
    """Workflows in a flow run, whose jobs are task runs; their results go to the database at once.

    What cannot be stored stops nothing: at the end of the block, ``problem`` says what it was,
    or a note does on the exception that ended the block.

    Parameters
    ----------
    time_limit
        Of each job (s).
    """

    def __init__(self, store: Store, time_limit: float | None = None) -> None:
        self.cache = ResultsCache(store)
        self.packer = Packer(self.cache, self._tell, time_limit)
        self.submitted = self.ended = 0
        self.running: dict[int, PrefectFuture[Any]] = {}
        """What has not been taken yet, by the order of submission."""
        self.taking = 0
        self.closed = False
        self.changed = threading.Condition()

    def run(self, workflow: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run a workflow; return its result, from the database if it is there.

        Where a job is a task of Prefect's, its own policy decides what is taken from where.
        """
        bound = resolved(workflow, args, kwargs)
        asked = question(workflow, bound.args, bound.kwargs)
        tasks = any(isinstance(value, Task) for value in bound.arguments.values())
        if asked is not None and not tasks and not PREFECT_TASKS_REFRESH_CACHE.value():
            found = self.cache.answers([asked])
            if found:
                logger.info("The result is in the database")
                return found[asked]
        for name, value in bound.arguments.items():
            if callable(value):
                bound.arguments[name] = self.job(value)
        result = workflow(*bound.args, **bound.kwargs)
        if is_outcome(result):  # and not whatever a workflow of the user's own returns
            self.cache.leaving = True  # it has been computed, and is returned in any case
            known = {} if asked is None else {ASKED: asked}
            if (context := FlowRunContext.get()) and context.flow_run:
                known[FLOW_RUN] = str(context.flow_run.id)
            self.cache.keep({**result, **known})
            self.cache.leaving = False
        return result

    def each(
        self,
        calls: Sequence[Callable[[], Any]],
        *,
        at_once: int | None = None,
        deadline: float | None = None,
    ) -> Iterator[tuple[int, Any, Exception | None]]:
        """Call functions that :meth:`run` workflows, at the same time; yield each one's outcome.

        As :meth:`quacc.local.Here.each` does, but that the time limit ends what still runs.
        """
        wait = self.packer.wait
        yield from strands.each(calls, wait, at_once=at_once or _AT_ONCE, deadline=deadline)

    def job(self, job: Callable[..., Any]) -> _StoredJob | _PackedJob:
        return _StoredJob(job, self) if isinstance(job, Task) else _PackedJob(job, self.packer)

    def check(self) -> None:
        """Raise a StoreError if nothing can be stored any more."""
        if self.cache.stop is not None:
            raise self.cache.stop

    def watch(self, future: PrefectFuture[Any], *, ours: bool) -> None:
        with self.changed:
            self.submitted += 1
            number = self.submitted
            self.running[number] = future
        future.add_done_callback(partial(self._end, number, ours))

    def _end(self, number: int, ours: bool, future: PrefectFuture[Any]) -> None:
        with self.changed:
            if self.closed:
                return
            self.taking += 1
        try:
            if _completed(future):
                self.cache.keep(future.result(), ours=ours)
        # Nobody sees what a callback raises.
        except StoreError:  # the next job does
            pass
        except Exception as error:
            logger.error("A result could not be stored in the database: %r", error)
        finally:
            with self.changed:
                del self.running[number]
                self.ended += 1
                self.taking -= 1
                self.changed.notify_all()
            if not self.closed:
                self._tell(self.ended, self.submitted)

    def _is_taken(self) -> bool:
        """Tell whether all that has ended is taken: a result can be read before its callback."""
        return not self.taking and not any(map(_has_ended, self.running.values()))

    def _tell(self, ended: int, submitted: int) -> None:
        logger.info("%d of %d jobs ended", ended, submitted)

    def __enter__(self) -> Storing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: Any
    ) -> None:
        self.cache.leaving = True
        # Otherwise nobody waits for what still runs.
        wait = kind is None or (issubclass(kind, Exception) and self.cache.stop is None)
        self.packer.close(wait=wait)
        with self.changed:
            if wait:
                self.changed.wait_for(lambda: not self.running)
            else:
                self.changed.wait_for(self._is_taken, timeout=_MOMENT)
            self.closed = True
        self.cache.close()
        self.packer.claims.close()
        if error and self.cache.problem:
            error.add_note(self.cache.problem)
        elif error and not isinstance(error, Exception):
            error.add_note(
                f"{self.cache.count} results are in the database: see `quacc results ls`."
            )


def _has_ended(future: PrefectFuture[Any]) -> bool:
    return bool(isinstance(future, PrefectWrappedFuture) and future.wrapped_future.done())


def _completed(future: PrefectFuture[Any]) -> bool:
    try:
        future.wait()  # else the state would be asked from the API
    # Of the engine's, or the end of the flow: whoever waits for the job gets it, too.
    except BaseException:
        return False
    return bool(future.state.is_completed())


class _PackedJob:
    """A function, whose calls are packed."""

    def __init__(self, function: Callable[..., Any], packer: Packer) -> None:
        self.job = Job(function)
        self.fn = self.job.function
        self.packer = packer

    def submit(self, *args: Any, **kwargs: Any) -> Slot:
        return self.packer.submit(self.job, args, kwargs)


class _StoredJob:
    """A task of the user's."""

    def __init__(self, task: Task[..., Any], storing: Storing) -> None:
        self.task = task
        self.storing = storing
        self.ours = plan_of(bare(task)) is not None

    def submit(self, *args: Any, **kwargs: Any) -> PrefectFuture[Any]:
        self.storing.check()
        future = self.task.submit(*args, **kwargs)
        self.storing.watch(future, ours=self.ours)
        return future
