"""The verbs that every workflow is written in: submit a job to an item, gather.

They don't know Prefect. A plain function is called at once; anything with a ``submit``, such
as a Prefect task, gives a future. A future may be the item of the next job, so that the jobs
of one item follow one another without waiting for other items.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from quacc.errors import JobsFailedError, MissingProgramError, ParameterError
from quacc.runners.calculation import Calculation
from quacc.runners.job import planned

Job = Callable[..., Any] | str
"""A plain function, or anything with a ``submit``; to a workflow, also a name such as
``"relax_job"`` or ``"lj.relax_job"``."""


class Done:
    """The outcome of a job that was called at once; looks like a future."""

    def __init__(self, value: Any = None, error: Exception | None = None) -> None:
        self.value = value
        self.error = error

    def result(self) -> Any:
        if self.error:
            raise self.error
        return self.value


def innermost(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function below all partials."""
    while isinstance(function, partial):
        function = function.func
    return function


_STANDING_FOR: WeakKeyDictionary[Callable[..., Any], Callable[..., Any]] = WeakKeyDictionary()


def stand_for(function: Callable[..., Any], job: Callable[..., Any]) -> None:
    """Note that a function is a job, only called in another way."""
    _STANDING_FOR[function] = job


def bare(job: Any) -> Any:
    """Return the plain job that a task, or what :func:`stand_for` knows, is; also in a partial."""
    if isinstance(job, partial):
        inner = bare(job.func)
        return job if inner is job.func else partial(inner, *job.args, **job.keywords)
    if hasattr(job, "submit") and hasattr(job, "fn"):  # a task
        return bare(getattr(job, "plain_job", job.fn))
    try:
        known = _STANDING_FOR.get(job)
    except TypeError:  # it has no hash, or no weak references
        return job
    return job if known is None else bare(known)


def require_job(job: Any) -> None:
    """Raise a ParameterError for what is neither a function nor has a ``submit``."""
    if not (callable(job) or hasattr(job, "submit")):
        raise ParameterError(
            f"{job!r} is no job: pass a function such as quacc.recipes.emt.core.relax_job, or a "
            "Prefect task of one."
        )


def check(job: Job, item: Any, /, **kwargs: Any) -> Calculation[Any] | None:
    """Let a job check its input, without computing anything; return the calculation it is.

    Only for quacc's own jobs; other functions might compute before they check. A job that is
    no job is refused in any case.

    Raises
    ------
    InputError
    MissingProgramError
        Not for a job that may run elsewhere, where the program is.
    """
    require_job(job)
    try:
        calculation = planned(bare(job), (item,), kwargs)
        return None if calculation is None else calculation.check()
    except MissingProgramError:
        if not hasattr(job, "submit"):
            raise
        return None


def submit(job: Any, item: Any, /, **kwargs: Any) -> Any:
    """Start a job on a structure, or on what :func:`submit` returned; return its future."""
    if hasattr(job, "submit"):
        return job.submit(item, **kwargs)
    if isinstance(job, str):
        require_job(job)
    if isinstance(item, Done):
        if item.error:
            return item
        item = item.value
    try:
        return Done(job(item, **kwargs))
    # A failed item must not stop its siblings; gather() raises all failures together.
    except Exception as error:
        return Done(error=error)


Step = tuple[Job, Mapping[str, Any]]
"""A job and its keywords."""


def check_chain(item: Any, *steps: Step | None) -> list[Calculation[Any] | None]:
    """Let jobs that will follow one another check their input; see :func:`check`.

    Jobs of one calculator must compute the same state.
    """
    found = [check(job, item, **kwargs) for job, kwargs in filter(None, steps)]
    check_state(*found)
    return found


def check_state(*calculations: Calculation[Any] | None) -> None:
    """Raise a ParameterError where jobs of one calculator compute another charge or spin."""
    states: dict[str, tuple[Any, str]] = {}
    for one in calculations:
        if one is None or not one.code.electrons:
            continue
        state = {
            "charge": one.code.charge(one.input_atoms, one.parameters),
            "unpaired electrons": one.code.unpaired(one.input_atoms, one.parameters) or 0,
        }
        first, name = states.setdefault(one.code.name, (state, one.recipe))
        if first != state:
            raise ParameterError(
                f"{name} would compute {first}, and {one.recipe} {state}. Say it in the structure, "
                "with initial charges and magnetic moments, or pass the same charge and "
                "multiplicity to both jobs."
            )


def check_meshes(calculations: Sequence[Calculation[Any] | None]) -> None:
    """Raise a ParameterError for one mesh of k-points in cells of several shapes.

    Differences between their energies would be those of the meshes.
    """
    meshes = {
        str(one.parameters["kpts"])
        for one in calculations
        if one is not None and one.parameters.get("kpts") is not None
    }
    cells = {
        tuple(one.input_atoms.cell.cellpar().round(2).tolist())
        for one in calculations
        if one is not None
    }
    if meshes and len(cells) > 1:
        raise ParameterError(
            f"kpts={' and '.join(sorted(meshes))} would be of another density in each of the "
            f"{len(cells)} cells of different shapes that are compared. Pass kspacing instead."
        )


def submit_chain(item: Any, *steps: Step | None) -> list[Any]:
    """Start jobs that follow one another, but for the steps that are None; return futures."""
    chain: list[Any] = []
    for job, kwargs in filter(None, steps):
        chain.append(submit(job, chain[-1] if chain else item, **kwargs))
    return chain


def gather_each(
    futures: Sequence[Any], names: Sequence[str], what: str, before: Sequence[Any] = ()
) -> list[Any]:
    """Return the results of one job an item; see :func:`gather`."""
    chains = [[future] for future in futures]
    return [result for (result,) in gather(chains, names, what, before)]


def gather(
    chains: Sequence[Sequence[Any]], names: Sequence[str], what: str, before: Sequence[Any] = ()
) -> list[list[Any]]:
    """Wait for all jobs; return their results.

    Parameters
    ----------
    chains
        For each item, the futures of its jobs, in order.
    names
        Of the items, for messages.
    what
        The workflow, for messages.
    before
        Results that the workflow has already, for the exception.

    Raises
    ------
    JobsFailedError
        After all have finished: one exception for each item that failed, from the first of its
        jobs that did, and the results of all jobs that succeeded.
    """
    results: list[list[Any]] = []
    failures: list[tuple[str, Exception]] = []
    for chain, name in zip(chains, names, strict=True):
        results.append([])
        for future in chain:
            try:
                results[-1].append(future.result())
            # Recorded with the item's name, and raised below with all others.
            except Exception as error:
                failures.append((name, error))
                break
    if failures:
        done = [*before, *(result for chain in results for result in chain)]
        group = JobsFailedError.of(what, failures, len(chains), done)
        group.add_note("The results of all jobs that succeeded are in this exception's `results`.")
        raise group
    return results
