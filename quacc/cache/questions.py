"""What a workflow is asked for, as one key, so that its result is found again as a whole."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ase import Atoms

from quacc.atoms import as_atoms
from quacc.atoms.convert import about_name
from quacc.errors import QuaccError
from quacc.key import digest
from quacc.recipes.tools.verbs import bare, innermost
from quacc.recipes.tools.workflow import body_of, calculator_name, resolved
from quacc.runners.job import calculation_of, plan_of

_FILES = {
    "bulk_to_slabs": "slabs",
    "molecule": "molecules",
    "phonon": "phonons",
    "reaction": "molecules",
}
"""Names of files that others had when keys with them were stored."""

_LATER = {
    ("freq_job", "low_modes"): "harmonic",
    ("freq_job", "translation_barrier"): None,
    ("freq_job", "rotation_barrier"): None,
    ("freq_job", "rotational_minima"): None,
    ("freq_job", "site_area"): None,
    ("eos_flow", "relax_shape"): False,
    ("relax_job", "pressure"): 0.0,
}
"""Parameters that came when keys were stored without them, and defaults that change nothing."""

_NOT_ASKED = frozenset(
    {"provenance", "directory", "trajectory", "input_atoms", "costs", "flow_run"}
)


def is_workflow(function: Any) -> bool:
    """Tell whether a function is a workflow of quacc's, or of the user's by ``as_flow``."""
    function = innermost(function)
    return getattr(function, "serial", None) is not None or body_of(function) is not None


def serial_of(function: Any) -> Callable[..., Any]:
    """Return the plain function of a workflow, with what partials around it give."""
    if isinstance(function, functools.partial):
        return functools.partial(serial_of(function.func), *function.args, **function.keywords)
    serial: Callable[..., Any] = getattr(function, "serial", function)
    return serial


def question(workflow: Callable[..., Any], args: Sequence[Any], kwargs: Any) -> str | None:
    """Return the key of what a workflow is asked for.

    The workflow and its version, structures with all that they carry, all parameters after
    defaults, and what decides the numbers of the jobs. None where that cannot be told: for
    workflows and jobs of the user's own, for programs that are not here, and for what the
    workflow will refuse.
    """
    body = body_of(innermost(workflow))
    if body is None or not body.__module__.startswith("quacc.recipes."):
        return None
    try:
        given = resolved(workflow, args, kwargs).arguments
        calculator = calculator_name(given.pop("calculator", None))
        jobs = {key: bare(value) for key, value in given.items() if callable(value)}
        first = next(iter(given))
        structure, notes = given[first], []
        if first == "atoms" and not isinstance(structure, Mapping | list | tuple):
            # Of a file, what is in it now.
            structure, notes = as_atoms(structure), about_name(structure)
            given = {**given, first: structure}
        described = {
            key: _of_job(jobs[key], structure)
            if key in jobs
            else _with_defaults(key, value, jobs)
            if key.endswith("_kwargs")
            else _of_value(value)
            for key, value in given.items()
            if not _is_later(body.__name__, key, value)
        }
        file = body.__name__.removesuffix("_flow")
        module = f"quacc.recipes.{calculator}.{_FILES.get(file, file)}"
        return digest([module, body.__name__, _version(body), described, notes])
    # Whatever is wrong, the workflow says it, and better.
    except (QuaccError, TypeError, ValueError, LookupError):
        return None


def _version(function: Callable[..., Any]) -> int:
    module = sys.modules[function.__module__]
    return int(getattr(module, "VERSION", 1))


def _of_job(job: Callable[..., Any], structure: Any) -> Any:
    """Return what decides the numbers of a job: the key that it would have with its defaults."""
    calculation = calculation_of(job, (structure,), {})
    if calculation is None:
        raise LookupError
    return calculation.key


def _with_defaults(name: str, kwargs: Any, jobs: Mapping[str, Any]) -> Any:
    """Return a job's keywords, its own defaults included."""
    kwargs = {} if kwargs is None else dict(kwargs)
    wanted = f"{name.removesuffix('_kwargs')}_job"
    for job in jobs.values():
        plan = plan_of(job)
        if plan is not None and plan.name == wanted:
            parameters = list(inspect.signature(job).parameters.values())[1:]
            of_code = {**plan.code.keywords, **plan.code.options}  # they count as they are given
            defaults = {
                one.name: one.default
                for one in parameters
                if one.default is not one.empty and one.name not in of_code
            }
            whole = defaults | kwargs
            return {key: one for key, one in whole.items() if not _is_later(wanted, key, one)}
    return kwargs


def _is_later(function: str, name: str, value: Any) -> bool:
    return (function, name) in _LATER and value == _LATER[function, name]


def _of_value(value: Any) -> Any:
    """Return a form of an argument in which all counts that the workflow may pass on."""
    if isinstance(value, str | os.PathLike) and os.path.exists(value):
        raise LookupError("a file, whose contents may be others the next time")
    if isinstance(value, Atoms):
        arrays = {name: array for name, array in value.arrays.items() if name != "positions"}
        return [value, arrays, dict(value.info), value.get_celldisp()]
    if isinstance(value, Mapping):
        return {key: _of_value(one) for key, one in value.items() if key not in _NOT_ASKED}
    if isinstance(value, list | tuple):
        return [_of_value(one) for one in value]
    return value
