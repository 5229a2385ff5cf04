"""Surfaces of a crystal: relax it, carve its slabs, relax each, compare energies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ase import units

from quacc.atoms.convert import StructureLike
from quacc.atoms.slabs import Slab, make_slabs
from quacc.calculators import code_names, get_code
from quacc.errors import ParameterError, StructureError
from quacc.recipes.common.verbs import Job, check, gather, submit
from quacc.schemas import SlabsResult, Surface
from quacc.store.key import digest

_J_PER_M2 = units.m**2 / units.J


def bulk_to_slabs(
    atoms: StructureLike,
    relax: Job,
    static: Job | None,
    *,
    recipe: str,
    max_index: int = 1,
    min_thickness: float = 10.0,
    min_vacuum: float = 20.0,
    min_lateral: float = 0.0,
    symmetric_only: bool = False,
    relax_kwargs: Mapping[str, Any] | None = None,
    static_kwargs: Mapping[str, Any] | None = None,
) -> SlabsResult:
    """Compute the surface energies of all distinct surfaces of a crystal.

    The surface energy is ``(E_slab - n / n_bulk E_bulk) / 2A``, with the area A of one side
    (Sun and Ceder, Surf. Sci. 617, 53 (2013)), from relaxed slabs and the relaxed bulk.

    Parameters
    ----------
    atoms
        The crystal. Of a structure, cell and positions are relaxed first. The result of a job
        is taken as it is, energy included, so that it should come from the same calculator.
    relax
        Relaxes the crystal and every slab.
    static
        Computes the energy of every relaxed structure; None takes it from the relaxation.
    recipe
        Name of the workflow.
    max_index, min_thickness, min_vacuum, min_lateral, symmetric_only
        See :func:`quacc.atoms.slabs.make_slabs`.
    relax_kwargs, static_kwargs
        Keywords of the jobs, such as ``{"fmax": 0.005}``.

    Raises
    ------
    InputError
        Before anything is computed.
    CalculationError
        The crystal itself failed.
    JobsFailedError
        Some slabs failed; carries the results of the others.
    """
    relax_kwargs = _keywords("relax_kwargs", relax_kwargs)
    static_kwargs = _keywords("static_kwargs", static_kwargs)
    carve: dict[str, Any] = {
        "max_index": max_index,
        "min_thickness": min_thickness,
        "min_vacuum": min_vacuum,
        "min_lateral": min_lateral,
        "symmetric_only": symmetric_only,
    }
    bulk_given = isinstance(atoms, Mapping) and "results" in atoms
    # Carving and checking cost little, and refuse bad input before any computing starts.
    first = _whole_result(atoms) if bulk_given else atoms
    slabs = make_slabs(first, **carve)
    if not slabs:
        raise ParameterError(
            f"{recipe}: no slab fits max_index={max_index}, symmetric_only={symmetric_only}. "
            "Allow higher indices or asymmetric slabs."
        )
    cell = {} if bulk_given else {"relax_cell": True}
    check(relax, first, **relax_kwargs, **cell)
    if static is not None:
        check(static, first, **static_kwargs)
    if bulk_given:
        bulk_results = [first]
    else:
        bulk_jobs = [submit(relax, first, **relax_kwargs, **cell)]
        if static is not None:
            bulk_jobs.append(submit(static, bulk_jobs[-1], **static_kwargs))
        bulk_results = [job.result() for job in bulk_jobs]
        slabs = make_slabs(bulk_results[-1], **carve)
    bulk: Any = bulk_results[-1]

    chains = []
    for slab in slabs:
        chain = [submit(relax, slab.atoms, **relax_kwargs)]
        if static is not None:
            chain.append(submit(static, chain[-1], **static_kwargs))
        chains.append(chain)
    names = [
        f"{slab.atoms.get_chemical_formula()} ({' '.join(map(str, slab.miller))}) "
        f"termination {slab.termination}"
        for slab in slabs
    ]
    results = gather(chains, names, recipe)

    rows = [
        (_surface(slab, chain, bulk), chain[-1]) for slab, chain in zip(slabs, results, strict=True)
    ]
    rows.sort(key=lambda row: (row[0]["surface_energy"] is None, row[0]["surface_energy"] or 0.0))
    jobs = [*bulk_results, *(result for chain in results for result in chain)]
    warnings = sorted({text for job in jobs for text in job["warnings"]})
    if _method(bulk) != _method(results[0][-1]):
        warnings.append(
            f"The bulk energy comes from {_method(bulk)}, the slabs' from "
            f"{_method(results[0][-1])}: the surface energies mean nothing unless both are the "
            "same method."
        )
    if any(chain[0]["parameters"].get("relax_cell") for chain in results):
        warnings.append(
            "The slabs' cells were relaxed, vacuum included: the surface energies mean nothing."
        )
    keys = [job["key"] for job in jobs]
    return {
        "name": recipe,
        "formula": bulk["formula"],
        "key": digest([recipe, carve, keys]),
        "atoms": bulk["atoms"],
        "parameters": {**carve, "relax_kwargs": relax_kwargs, "static_kwargs": static_kwargs},
        "surfaces": [surface for surface, _ in rows],
        "bulk": bulk,
        "slabs": [result for _, result in rows],
        "jobs": keys,
        "warnings": warnings,
    }


def _keywords(name: str, given: Any) -> dict[str, Any]:
    keywords = {} if given is None else given
    if not isinstance(keywords, Mapping) or not all(isinstance(key, str) for key in keywords):
        raise ParameterError(f"{name} must be keywords such as {{'fmax': 0.01}}, not {given!r}.")
    for taken in ("atoms", "relax_cell"):
        if taken in keywords:
            raise ParameterError(
                f"{name} cannot hold {taken!r}: the workflow decides it. The crystal's cell is "
                "relaxed unless the result of a job is given, the slabs' cells never are."
            )
    return dict(keywords)


def _whole_result(given: Any) -> Any:
    """Return the result of a job that is given as the bulk, if it has all that is needed."""
    needed = ("atoms", "name", "formula", "key", "calculator", "parameters", "warnings")
    missing = [name for name in needed if name not in given]
    if missing or "energy" not in (given["results"] or {}):
        raise StructureError(
            "The dictionary given as the crystal is not the whole result of a job: it lacks "
            f"{', '.join(missing) or 'an energy'}. Pass the result as the job returned it, or "
            "only its ['atoms']."
        )
    return given


def _method(result: Any) -> dict[str, Any]:
    """Return what must be equal for energies to be compared: the code and its parameters."""
    name = result["calculator"]["name"]
    known = get_code(name).defaults if name in code_names() else {}
    return {**result["calculator"], **{key: result["parameters"].get(key) for key in known}}


def _surface(slab: Slab, chain: list[Any], bulk: Any) -> Surface:
    relaxed, last = chain[0], chain[-1]
    energy, n = last["results"]["energy"], len(slab.atoms)
    gamma = None
    if slab.stoichiometric:
        per_atom = bulk["results"]["energy"] / len(bulk["atoms"])
        gamma = (energy - n * per_atom) / (2 * slab.area) * _J_PER_M2
    return {
        "miller": list(slab.miller),
        "termination": slab.termination,
        "natoms": n,
        "area": slab.area,
        "energy_per_atom": energy / n,
        "surface_energy": gamma,
        "symmetric": slab.symmetric,
        "converged": relaxed["converged"],
        "steps": relaxed["steps"],
        "key": last["key"],
    }
