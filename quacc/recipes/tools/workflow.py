"""What all workflows share: the jobs of a calculator, the structure to start from, the result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ase import Atoms

from quacc.atoms import as_atoms
from quacc.atoms.convert import StructureLike, about_name
from quacc.errors import ParameterError, StructureError, plain
from quacc.key import digest
from quacc.recipes.tools.verbs import Job, check, submit
from quacc.runners.calculation import formula_of


class OfCode:
    """Stands for a job of the calculator's, until the workflow is bound to one."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"the calculator's {self.name}"


RELAX: Any = OfCode("relax_job")
STATIC: Any = OfCode("static_job")
FREQ: Any = OfCode("freq_job")
MD: Any = OfCode("md_job")
NEB: Any = OfCode("neb_job")


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
    told = [text for job in jobs for text in job["warnings"]]
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
        "warnings": [*dict.fromkeys([*told, *warnings])],
    }
