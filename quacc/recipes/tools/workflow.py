"""What all workflows share: the jobs of a calculator, the structure to start from, the result."""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import FunctionType
from typing import Any, ParamSpec, TypeVar

from ase import Atoms

from quacc.atoms import as_atoms
from quacc.atoms.convert import StructureLike, about_name
from quacc.calculators import code_names, get_code
from quacc.calculators.presets import merge, preset
from quacc.errors import InputError, ParameterError, StructureError, plain, suggest
from quacc.key import digest
from quacc.recipes.tools.verbs import Job, bare, check, innermost, submit
from quacc.runners.calculation import Calculation, formula_of
from quacc.runners.job import plan_of

Calculator = str | Mapping[str, Any]
"""The name of a calculator, such as ``"emt"``, or a mapping of its name and its parameters, such as
``{"name": "lj", "epsilon": 0.0104, "sigma": 3.4}``; ``"preset"`` in it names one or several presets
(:mod:`quacc.calculators.presets`), above which the parameters win."""

_P = ParamSpec("_P")
_R = TypeVar("_R")


def workflow(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Return a workflow whose jobs may be given by name.

    A parameter holds a job if its name ends with "job", or its default is a job or the name of
    one; the signature shows a job of quacc's by its name. A name such as "lj.relax_job" is a
    calculator's; one such as "relax_job" is that of the workflow's ``calculator``.
    """
    signature = inspect.signature(function)
    parameters = [
        one if (name := _name_of(one.default)) is None else one.replace(default=name)
        for one in signature.parameters.values()
    ]
    return _workflow(function, signature.replace(parameters=parameters), function.__module__)


def _name_of(default: Any) -> str | None:
    """Return the name of a job of quacc's, whose own representation is an address."""
    plan = plan_of(default) if isinstance(default, FunctionType) else None
    if plan is None or plan.code.name not in code_names() or plan.name not in _JOBS:
        return None
    return plan.recipe if getattr(_core(plan.code.name), plan.name, None) is default else None


def with_calculator(function: Callable[_P, _R], calculator: str) -> Callable[_P, _R]:
    """Return a workflow of the module that calls this, with a calculator as its default."""
    signature = inspect.signature(function)
    parameters = [
        one.replace(default=calculator) if one.name == "calculator" else one
        for one in signature.parameters.values()
    ]
    module = sys._getframe(1).f_globals["__name__"]
    return _workflow(function, signature.replace(parameters=parameters), module)


def _workflow(
    function: Callable[_P, _R], signature: inspect.Signature, module: str
) -> Callable[_P, _R]:
    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        bound = resolved(call, args, kwargs)
        result = function(*bound.args, **bound.kwargs)
        calculator = bound.arguments.get("calculator")
        if isinstance(calculator, Mapping) and isinstance(result, dict) and "parameters" in result:
            # Beside the key, which has it by way of the jobs.
            result["parameters"]["calculator"] = plain(dict(calculator))
        return result

    call.__module__ = module
    call.__signature__ = signature  # type: ignore[attr-defined]
    _BODIES[call] = _BODIES.get(function, function)
    return call


_BODIES: dict[Callable[..., Any], Callable[..., Any]] = {}


def body_of(function: Any) -> Callable[..., Any] | None:
    """Return the function that a workflow was made of; None for anything that is no workflow."""
    return _BODIES.get(function) if isinstance(function, FunctionType) else None


def workflow_of_job(name: str) -> Callable[..., Any]:
    """Return a workflow that is one job of a calculator, such as relax."""

    def flow(
        atoms: StructureLike,
        job: Job = f"{name}_job",
        *,
        calculator: Calculator | None = None,
        **options: Any,
    ) -> Any:
        check(job, atoms, **options)
        return submit(job, atoms, **options).result()

    flow.__name__ = flow.__qualname__ = f"{name}_flow"
    return workflow(flow)


def resolved(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> inspect.BoundArguments:
    """Return the arguments of a workflow, defaults included, with functions for names of jobs.

    Of a function that is not decorated with :func:`workflow`, only names such as "lj.relax_job"
    are taken for jobs.

    Raises
    ------
    InputError
        There is no such calculator, or no such job; or none is given where one is needed; or the
        calculator's parameters do not reach its jobs.
    """
    bound = inspect.signature(function).bind(*args, **kwargs)
    bound.apply_defaults()
    inner = innermost(function)
    if body_of(inner) is None:
        for name in job_parameters(function):
            value = bound.arguments.get(name)
            if isinstance(value, str) and _is_job_name(value):
                bound.arguments[name] = _job(value, None, inner.__name__)
        return bound
    calculator = bound.arguments.get("calculator")
    chosen = None if calculator is None else _named(calculator)
    if chosen is not None and isinstance(calculator, Mapping):  # presets may change from now on
        bound.arguments["calculator"] = {"name": chosen[0], **chosen[1]}
    names = job_parameters(function)
    for name in names:
        value = bound.arguments.get(name)
        if isinstance(value, str):
            bound.arguments[name] = _job(value, chosen, inner.__name__)
    if chosen is not None and chosen[1]:
        _check_reached({name: bound.arguments.get(name) for name in names}, *chosen)
        for one in bound.signature.parameters.values():
            if one.name.endswith("_kwargs") or one.kind is one.VAR_KEYWORD:
                _put_above(bound.arguments, one.name, *chosen)
    return bound


def _put_above(
    arguments: dict[str, Any], name: str, code: str, parameters: Mapping[str, Any]
) -> None:
    """Let the keywords for a job win over those of the calculator where these would remain."""
    given, job = arguments.get(name), name.removesuffix("_kwargs")
    plans = {key: plan_of(bare(value)) for key, value in arguments.items() if callable(value)}
    its = [plan for key, plan in plans.items() if key in (job, f"{job}_job")]
    its = its or [plan for plan in plans.values() if plan and plan.name == f"{job}_job"]
    its = its or ([] if name.endswith("_kwargs") else [*plans.values()])
    if not isinstance(given, Mapping) or not any(plan and plan.code.name == code for plan in its):
        return
    merged = merge(code, parameters, given)
    out = {one: None for one in parameters if one not in merged}
    added = {one: merged[one] for one, value in given.items() if isinstance(value, Mapping)}
    arguments[name] = {**given, **out, **added}


def _is_job_name(text: str) -> bool:
    code, _, job = text.rpartition(".")
    return job in _JOBS and code in code_names()


def _check_reached(jobs: Mapping[str, Any], code: str, parameters: Mapping[str, Any]) -> None:
    """Refuse parameters of a calculator that one of its jobs, or none at all, would have."""
    reached = False
    for name, job in jobs.items():
        function = bare(job)
        plan = plan_of(function)
        if plan is None or plan.code.name != code:
            continue
        reached = True
        given = function.keywords if isinstance(function, partial) else {}
        if digest([given.get(key) for key in parameters]) != digest([*parameters.values()]):
            raise ParameterError(
                f"The parameters of calculator={{'name': {code!r}, …}} do not reach {name}, which "
                f"is given as a function. Name it, as {name}='{plan.recipe}', or give it a "
                "functools.partial with the same parameters."
            )
    if not reached:
        raise ParameterError(
            f"The parameters of calculator={{'name': {code!r}, …}} reach none of the jobs, which "
            f"are others than those of {code}. Leave the calculator out."
        )


def job_parameters(function: Callable[..., Any]) -> list[str]:
    """Return the names of the parameters that hold jobs."""
    return [
        one.name
        for one in inspect.signature(function).parameters.values()
        if one.name.endswith("job")
        or (isinstance(one.default, str) and one.default.rpartition(".")[2] in _JOBS)
        or (callable(one.default) and one.default is not one.empty)
    ]


_JOBS = frozenset(
    {
        "static_job",
        "relax_job",
        "md_job",
        "freq_job",
        "neb_job",
        "ts_job",
        "bands_job",
        "dos_job",
        "dfpt_job",
        "work_function_job",
    }
)

_PARTIALS: dict[str, Callable[..., Any]] = {}
"""Jobs with parameters, each made once, so that what is packed by job is packed together."""


def _job(name: str, chosen: tuple[str, dict[str, Any]] | None, workflow: str) -> Job:
    """Return the job of this name, of the calculator chosen unless it names another one."""
    code, dot, job = name.rpartition(".")
    if not dot:
        chosen = chosen or (_default(workflow), {})
        code = chosen[0]
    parameters = chosen[1] if chosen is not None and chosen[0] == code else {}
    core = _core(get_code(code).name)
    if job in _JOBS and not hasattr(core, job):
        able = [one for one in code_names() if hasattr(_core(one), job)]
        raise ParameterError(f"{code} has no {job}. Calculators that have it: {', '.join(able)}.")
    if job not in _JOBS:
        names = sorted(f"{code}{dot}{one}" if dot else one for one in _JOBS if hasattr(core, one))
        others = "" if dot else ", and those of other calculators, such as emt.relax_job"
        raise ParameterError(
            f"{name!r} is no job.{suggest(name, names)} There are {', '.join(names)}{others}."
        )
    found: Callable[..., Any] = getattr(core, job)
    if not parameters:
        return found
    return _PARTIALS.setdefault(digest([code, job, parameters]), partial(found, **parameters))


def _core(code: str) -> Any:
    return importlib.import_module(f"quacc.recipes.{code}.core")


def calculator_name(calculator: Calculator | None) -> str:
    """Return the name of a calculator; empty for None."""
    return "" if calculator is None else _named(calculator)[0]


def _named(calculator: Any) -> tuple[str, dict[str, Any]]:
    """Return the name and the parameters of a calculator."""
    if isinstance(calculator, str):
        return get_code(calculator).name, {}
    named = isinstance(calculator, Mapping) and isinstance(calculator.get("name"), str)
    if named and all(isinstance(key, str) for key in calculator):
        code, presets = calculator["name"], calculator.get("preset", [])
        given = {key: value for key, value in calculator.items() if key not in ("name", "preset")}
        get_code(code).complete(given)
        if presets:
            names = [presets] if isinstance(presets, str) else presets
            given = merge(code, preset(code, *names), given)
        return code, given
    raise ParameterError(
        "A calculator is a name such as 'emt', or its name and parameters such as "
        f"{{'name': 'lj', 'epsilon': 0.0104, 'sigma': 3.4}}, not {calculator!r}."
    )


def _default(workflow: str) -> str:
    from quacc.settings import get_settings

    calculator = get_settings().calculator
    if calculator is None:
        raise ParameterError(
            f"{workflow} needs a calculator: pass calculator='emt', or set one for all workflows "
            f"with `quacc settings set calculator emt`. There are {', '.join(code_names())}."
        )
    try:
        return get_code(calculator).name
    except InputError as error:
        raise InputError(f"The setting calculator = {calculator!r}: {error}") from None


class _CheckedError(BaseException):  # which nothing on the way takes for a failure
    """Ends a workflow that has done all its checks."""


class _Checking:
    """Stands for a job, up to its first submission."""

    def __init__(self, job: Job, submissions: list[Submission] | None) -> None:
        self.fn = job
        self._submissions = submissions

    def submit(self, item: Any, **kwargs: Any) -> Any:
        if self._submissions is None:
            raise _CheckedError
        self._submissions.append(Submission(self.fn, item, kwargs))
        return self._submissions[-1]


@dataclass(frozen=True)
class Submission:
    """A job that a workflow would submit; an item of another one is the result of that."""

    job: Any
    item: Any
    kwargs: Mapping[str, Any]

    def result(self) -> Any:
        """End the workflow, which has to know the result to go on."""
        raise _CheckedError


def check_workflow(workflow: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """Let a workflow do its checks, and end before it submits a job.

    Raises
    ------
    InputError, MissingProgramError
    """
    _until_submitted(None, workflow, args, kwargs)


def first_submissions(workflow: Callable[..., Any], *args: Any, **kwargs: Any) -> list[Submission]:
    """Let a workflow do its checks; return the jobs it would submit before it needs a result.

    Raises
    ------
    InputError, MissingProgramError
    """
    found: list[Submission] = []
    _until_submitted(found, workflow, args, kwargs)
    return found


def _until_submitted(
    submissions: list[Submission] | None,
    workflow: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> None:
    bound = resolved(workflow, args, kwargs)
    for name, one in bound.arguments.items():
        if callable(one):
            bound.arguments[name] = _Checking(one, submissions)
    with suppress(_CheckedError):
        workflow(*bound.args, **bound.kwargs)


def keywords(job: str, given: Any, taken: Iterable[str] = ()) -> dict[str, Any]:
    """Return the keywords that the user gives to one of a workflow's jobs.

    Raises
    ------
    ParameterError
        They are no keywords, or the workflow decides them itself.
    """
    given = {} if given is None else given
    if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
        raise ParameterError(f"{job} must be keywords such as {{'fmax': 0.01}}, not {given!r}.")
    for name in ("atoms", *taken):
        if name in given:
            raise ParameterError(f"{job} cannot hold {name!r}: the workflow decides it.")
    return dict(given)


def start(
    structure: StructureLike,
    relax_job: Job | None,
    relax_kwargs: Mapping[str, Any],
    cell: bool = True,
) -> tuple[Atoms, list[Any]]:
    """Return the structure to work on, relaxed, and the results that it comes from.

    A result is taken as it is; so is any structure if there is no job.
    """
    if isinstance(structure, Mapping):
        return as_atoms(structure), [structure] if "results" in structure else []
    if relax_job is None:
        return as_atoms(structure), []
    options = {"relax_cell": True, **relax_kwargs} if cell else relax_kwargs
    result = submit(relax_job, structure, **options).result()
    return result["atoms"], [result]


def check_start(
    structure: StructureLike,
    relax_job: Job | None,
    relax_kwargs: Mapping[str, Any],
    cell: bool = True,
    crystal: bool = True,
) -> Atoms:
    """Return the structure as given; let the job refuse what :func:`start` would give it.

    Raises
    ------
    StructureError
        It must be a crystal, but is none; or it is only a part of a result.
    """
    atoms = as_atoms(structure)
    if isinstance(structure, Mapping) and "results" in structure:
        require_result(structure)
    if crystal and not atoms.pbc.all():
        raise StructureError(
            f"This takes a crystal, periodic in three directions, but {formula_of(atoms)} has "
            f"pbc={atoms.pbc.tolist()}. {' '.join(about_name(structure))}".rstrip()
        )
    if relax_job is not None and not isinstance(structure, Mapping):
        check(relax_job, structure, **({"relax_cell": True} if cell else {}), **relax_kwargs)
    return atoms


def require_result(given: Mapping[str, Any]) -> None:
    """Raise a StructureError for a dictionary that is not the whole result of a job."""
    needed = ("atoms", "name", "formula", "key", "calculator", "parameters", "warnings")
    missing = [name for name in needed if name not in given]
    if missing or "energy" not in (given["results"] or {}):
        raise StructureError(
            "The dictionary given as the crystal is not the whole result of a job: it lacks "
            f"{', '.join(missing) or 'an energy'}. Pass the result as the job returned it, or only "
            "its ['atoms']."
        )


def require_same_reference(
    given: Mapping[str, Any], what: str, calculation: Calculation[Any] | None
) -> list[str]:
    """Refuse a result whose energy cannot be compared with that of a calculation.

    Parameters
    ----------
    given
        The result.
    what
        It, for people.
    calculation
        None where nothing is known of it.

    Returns
    -------
    list[str]
        Warnings, such as about another version of the code.

    Raises
    ------
    ParameterError
        Another code, functional, pseudopotential or the like, so that the zero is another one.
    """
    if calculation is None:
        return []
    calculator = calculation.calculator
    ours = {"calculator": calculator, "parameters": calculation.parameters}
    if differ := other_reference(given, ours):
        raise ParameterError(
            f"The energy of {what} has another zero than those that would be computed ({differ}), "
            "so that their difference means nothing. Compute it with the same calculator and "
            "keywords, or pass the structure alone."
        )
    if given["calculator"]["version"] != calculator["version"]:
        return [
            f"The energy of {what} is from {given['calculator']['version']}, the others are from "
            f"{calculator['version']}: see that both give the same energies."
        ]
    return []


def other_reference(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Return in words what makes the energies of two results incomparable; empty if nothing."""
    first, second = reference_of(one), reference_of(other)
    names = [name for name in second if digest(first.get(name)) != digest(second[name])]
    return "; ".join(f"{name}: {first.get(name)!r} and {second[name]!r}" for name in names)


def reference_of(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides the zero of a result's energy."""
    calculator = result["calculator"]
    name = calculator["name"]
    code = get_code(name) if name in code_names() else None
    words = () if code is None else [one for one in code.keywords if one not in code.converging]
    return {
        "calculator": name,
        "files": calculator["fingerprint"].replace(calculator["version"], "").split()[1:],
        **{one: plain(result["parameters"].get(one)) for one in words},
    }


def finish(
    workflow: str,
    atoms: Atoms,
    jobs: Sequence[Mapping[str, Any]],
    parameters: Mapping[str, Any],
    properties: Mapping[str, Any],
    units: Mapping[str, str],
    warnings: Iterable[str] = (),
) -> Any:
    """Return a workflow's result.

    Parameters
    ----------
    workflow
        Name of the function.
    atoms
        The structure that the properties belong to.
    jobs
        All results, those that decide the numbers last.
    """
    name = f"{jobs[-1]['calculator']['name']}.{workflow}"
    keys = list(dict.fromkeys(job["key"] for job in jobs))
    calculators = {job["calculator"]["fingerprint"]: job["calculator"] for job in jobs}
    notes = [text for job in jobs for text in job["warnings"]]
    return {
        "name": name,
        "formula": formula_of(atoms),
        "key": digest([name, dict(parameters), keys]),
        "atoms": atoms,
        "parameters": plain(dict(parameters)),
        **properties,
        "units": {name: unit for name, unit in units.items() if name in properties},
        "jobs": keys,
        "calculators": list(calculators.values()),
        "converged": all(job.get("converged") is not False for job in jobs),
        "warnings": [*dict.fromkeys([*notes, *warnings])],
    }
