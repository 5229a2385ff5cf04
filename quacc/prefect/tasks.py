"""``as_task``: a job as a Prefect task that people can read in the dashboard."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ParamSpec, TypeVar, cast

from ase import Atoms
from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.logging import get_run_logger

from quacc.cluster.attempts import RETRIES
from quacc.cluster.transport import refuse_on_worker
from quacc.errors import ParameterError, can_pass
from quacc.prefect.cache_policy import InResultsDatabase
from quacc.prefect.frozen import frozen, frozen_arguments
from quacc.prefect.lifecycle import guard
from quacc.recipes.tools.verbs import bare, innermost
from quacc.runners.job import plan_of
from quacc.runners.raised import is_signal, sendable

guard.install()

_P = ParamSpec("_P")
_R = TypeVar("_R")


def as_task(job: Callable[_P, _R], *, refresh: bool | None = None, **options: Any) -> Task[_P, _R]:
    """Return a Prefect task that calls a job.

    Its runs are named like "relax Cu8", tagged with the recipe's code and the job's name, log
    the structure and the parameters, and are tried again only after errors that can pass
    (:func:`quacc.errors.can_pass`). What a job of quacc's has computed before comes from the
    results database, with the state "Cached"; what it computes goes there. A task is returned
    as it is.

    Parameters
    ----------
    job
        A plain function that takes a structure first, or a ``functools.partial`` of one.
    refresh
        Compute in any case, and write over what is stored; Prefect's ``refresh_cache``.
    **options
        Of ``prefect.task``.
    """
    if refresh is not None:
        options["refresh_cache"] = refresh
    if isinstance(job, Task):
        return job if refresh is None else job.with_options(refresh_cache=refresh)
    return cast(Task[_P, _R], _job_task(bare(job), options))


def _job_task(job: Callable[..., Any], options: dict[str, Any]) -> JobTask:
    function = innermost(job)
    name = short_name(function).removesuffix("_job")

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        announce(job, args, kwargs)
        if plan_of(job) is None:  # it may change them, and they are those of the next attempt
            args, kwargs = frozen_arguments(args, kwargs)
        try:
            return job(*args, **kwargs)
        except BaseException as error:  # Prefect would end the whole flow for a panic
            if isinstance(error, Exception) or is_signal(error):
                raise
            raise sendable(error) from error

    # A partial's own defaults, since Prefect passes every parameter.
    run.__signature__ = inspect.signature(job)  # type: ignore[attr-defined]

    def run_name(parameters: dict[str, Any]) -> str:
        return f"{name} {formula(next(iter(parameters.values()), None))}".strip()

    settings: dict[str, Any] = {
        "name": full_name(function),
        "task_run_name": run_name,
        "tags": {*full_name(function).split(".")[:-1], name},
        # Prefect would hash structures in its own way, which depends on how they came about.
        "cache_policy": InResultsDatabase() if plan_of(job) else NO_CACHE,
        "retries": RETRIES,
        "retry_delay_seconds": 10,
        "retry_condition_fn": _worth_retrying,
    }
    if options.get("persist_result") is False:  # so it is, and Prefect would not cache, too
        del options["persist_result"]
    return JobTask(run, job, **(settings | options))


class JobTask(Task[..., Any]):
    """A task that takes its arguments as they are at the call, and whose cache is quacc's.

    It is not to be called on a worker. A runner that calls the job elsewhere announces it here,
    and sends ``plain_job``.
    """

    plain_job: Callable[..., Any]

    def __init__(self, fn: Callable[..., Any], job: Callable[..., Any], **options: Any) -> None:
        super().__init__(fn, **_by_key(job, options))
        self.plain_job = job

    def announce(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Log what the job is to compute."""
        announce(self.plain_job, args, kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        refuse_on_worker(f"The task {self.name}", "the plain job")
        return super().__call__(*args, **kwargs)

    def submit(self, *args: Any, **options: Any) -> Any:
        """Start a task run; see ``prefect.Task.submit``."""
        refuse_on_worker(f"The task {self.name}", "the plain job")
        args, options = frozen_arguments(args, options)
        return super().submit(*args, **options)

    def map(self, *args: Any, **options: Any) -> Any:
        """Start a task run for each item; see ``prefect.Task.map``."""
        refuse_on_worker(f"The task {self.name}", "the plain job")
        args = tuple(_listed(one) for one in args)
        options = {name: _listed(one) for name, one in options.items()}
        return super().map(*args, **options)

    def with_options(self, **options: Any) -> JobTask:
        """Return a copy with other options; see ``prefect.Task.with_options``."""
        changed: Any = super().with_options(**_by_key(self.plain_job, options))
        changed.__class__ = JobTask  # Prefect makes a plain Task
        changed.plain_job = self.plain_job
        return cast(JobTask, changed)


def wants_no_cache(policy: Any) -> bool:
    """Return whether a task's cache policy is to compute in any case."""
    return policy is None or policy == NO_CACHE


def announce(job: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Log a line that tells a person what a job is to compute."""
    structure, *parameters = _arguments(job, args, kwargs).items()
    listed = ", ".join(f"{key}={value!r}" for key, value in parameters) or "all defaults"
    name = short_name(innermost(job)).removesuffix("_job")
    get_run_logger().info("%s of %s with %s", name, describe(structure[1]), listed)


def _by_key(job: Callable[..., Any], options: dict[str, Any]) -> dict[str, Any]:
    """Return a task's options, those of a quacc job with quacc's cache in the place of Prefect's.

    Prefect's policies know neither the recipe's nor the code's version, and INPUTS takes equal
    inputs of two jobs for the same.

    Raises
    ------
    ParameterError
        The options have a function that makes keys.
    """
    if plan_of(job) is None:
        return options
    if options.get("cache_key_fn") is not None:
        raise ParameterError(
            "cache_key_fn cannot be set for a job of quacc's, which is found by the key of its "
            "calculation. Leave it out; cache_policy=NO_CACHE computes in any case."
        )
    if wants_no_cache(options.get("cache_policy")):
        return options
    return {**options, "cache_policy": InResultsDatabase()}


def _listed(argument: Any) -> Any:
    """Return an argument of ``map``, whose items are taken one by one where they are made."""
    return list(map(frozen, argument)) if isinstance(argument, Iterator) else frozen(argument)


def full_name(function: Callable[..., Any]) -> str:
    """Return ``emt.relax_job`` for a recipe of quacc's, the plain name for others."""
    module = (getattr(function, "__module__", None) or "").split(".")  # None for what exec() made
    is_recipe = module[:2] == ["quacc", "recipes"] and module[2] != "workflows"
    code = f"{module[2]}." if is_recipe else ""
    return f"{code}{short_name(function)}"


def short_name(function: Any) -> str:
    """Return a function's name; that of its class where it has none, as callable objects do."""
    name = getattr(function, "__name__", None)
    return name if isinstance(name, str) and name else type(function).__name__


def _arguments(job: Callable[..., Any], args: Any, kwargs: Any) -> dict[str, Any]:
    """Return what a job gets, by name, the structure first."""
    bound = inspect.signature(job).bind_partial(*args, **kwargs)
    given: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        extra = bound.signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD
        given |= value if extra else {name: value}
    return given


def _worth_retrying(task: Task[..., Any], run: TaskRun, state: State) -> bool:
    error = state.result(raise_on_failure=False)
    return isinstance(error, BaseException) and can_pass(error)


def formula(structure: Any) -> str:
    """Return a short name for whatever a job takes as a structure."""
    if isinstance(structure, Mapping):
        structure = structure.get("atoms")
    if isinstance(structure, Atoms):
        name: str = structure.get_chemical_formula()
        return name
    return structure if isinstance(structure, str) else ""


def describe(structure: Any) -> str:
    """Return a line that tells a person which structure this is."""
    if isinstance(structure, Mapping):
        origin = f" from {structure.get('name')}"
        structure = structure.get("atoms")
    else:
        origin = ""
    if not isinstance(structure, Atoms):
        return f"{structure!r}{origin}"
    text = f"{structure.get_chemical_formula()} ({len(structure)} atom{'s' * (len(structure) > 1)}"
    if structure.pbc.any():
        a, b, c, alpha, beta, gamma = structure.cell.cellpar()
        axes = "".join(
            axis for axis, periodic in zip("abc", structure.pbc, strict=True) if periodic
        )
        text += (
            f", cell {a:.3f} {b:.3f} {c:.3f} Å {alpha:.1f} {beta:.1f} {gamma:.1f}°, "
            f"periodic along {axes}"
        )
    if structure.constraints:
        text += f", {len(structure.constraints)} constraints"
    return f"{text}){origin}"
