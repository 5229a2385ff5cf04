"""Surfaces of a crystal: relax it, carve its slabs, relax each, compare energies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ase import units

from quacc.atoms.convert import StructureLike, as_atoms
from quacc.atoms.slabs import Slab, make_slabs
from quacc.atoms.vacuum import VACUUM, gap
from quacc.errors import ParameterError
from quacc.extras import check_free
from quacc.recipes.tools.verbs import Job, check_chain, gather, submit_chain
from quacc.recipes.tools.workflow import (
    Calculator,
    finish,
    keywords,
    other_reference,
    require_result,
    require_same_reference,
    workflow,
)
from quacc.recipes.tools.wulff import draw_wulff, hkl, wulff
from quacc.schemas import SlabsResult, Surface

REFERENCES = ("Sun2013", "Tran2016", "Ong2013")

_NAME = "bulk_to_slabs_flow"
_J_PER_M2 = units.m**2 / units.J


@workflow
def bulk_to_slabs_flow(
    atoms: StructureLike,
    slab_relax_electron: Job = "relax_job",
    slab_static_electron: Job | None = "static_job",
    *,
    calculator: Calculator | None = None,
    max_index: int = 1,
    min_thickness: float = 10.0,
    min_vacuum: float = 20.0,
    min_lateral: float = 0.0,
    symmetric_only: bool = False,
    relax_kwargs: Mapping[str, Any] | None = None,
    static_kwargs: Mapping[str, Any] | None = None,
) -> SlabsResult:
    """Relax a crystal, carve its slabs, relax each: surface energies and the Wulff shape.

    The surface energy is ``(E_slab - n / n_bulk E_bulk) / 2A``, with the area A of one side
    (Sun and Ceder, Surf. Sci. 617, 53 (2013)), from relaxed slabs and the relaxed bulk. The
    Wulff shape is pymatgen's (Tran et al., Sci. Data 3, 160080 (2016)), from the lowest surface
    energy of each set of Miller indices and the symmetry of the crystal. A warning names the
    planes that it lacks or has only a mean of two sides for.

    Parameters
    ----------
    atoms
        The crystal. Of a structure, cell and positions are relaxed first. The result of a job
        is taken as it is, energy included; one of another calculator is refused.
    slab_relax_electron
        The job that relaxes the crystal and every slab.
    slab_static_electron
        The job that computes the energy of every relaxed structure; None takes it from the
        relaxation.
    max_index, min_thickness, min_vacuum, min_lateral, symmetric_only
        Lengths in Å; see :func:`quacc.atoms.slabs.make_slabs`.
    relax_kwargs, static_kwargs
        Keywords of the jobs, such as ``{"fmax": 0.005}``.
    calculator
        Name of the calculator whose jobs they are, such as emt, or a mapping of its name and its
        parameters; by default, the setting ``calculator``.

    Returns
    -------
    SlabsResult
        ``surfaces`` holds one row a surface, with ``surface_energy`` in J/m².

    Raises
    ------
    InputError
        Before anything is computed.
    CalculationError
        The crystal itself failed.
    JobsFailedError
        Some slabs failed; carries the results of the others.
    """
    relax, static = slab_relax_electron, slab_static_electron
    relax_kwargs = keywords("relax_kwargs", relax_kwargs, ["relax_cell"])
    static_kwargs = keywords("static_kwargs", static_kwargs, ["relax_cell"])
    carve: dict[str, Any] = {
        "max_index": max_index,
        "min_thickness": min_thickness,
        "min_vacuum": min_vacuum,
        "min_lateral": min_lateral,
        "symmetric_only": symmetric_only,
    }
    first: Any = atoms
    bulk_given = isinstance(first, Mapping) and "results" in first
    if bulk_given:
        require_result(first)
    # Carving and checking cost little, and refuse bad input before any computing starts.
    slabs = make_slabs(first, **carve)
    check_free(as_atoms(first), "a surface")
    if not slabs:
        raise ParameterError(
            f"{_NAME}: no slab fits max_index={max_index}, symmetric_only={symmetric_only}. "
            "Allow higher indices or asymmetric slabs."
        )
    last = None if static is None else (static, static_kwargs)
    steps = ((relax, relax_kwargs), last)
    of_bulk = steps if bulk_given else ((relax, {**relax_kwargs, "relax_cell": True}), last)
    calculations = check_chain(first, *of_bulk)
    warnings: list[str] = []
    if bulk_given:
        warnings += require_same_reference(first, "the crystal", calculations[-1])
        bulk_results = [first]
    else:
        bulk_results = [job.result() for job in submit_chain(first, *of_bulk)]
        slabs = make_slabs(bulk_results[-1], **carve)
    bulk: Any = bulk_results[-1]

    chains = [submit_chain(slab.atoms, *steps) for slab in slabs]
    names = [
        f"{slab.atoms.get_chemical_formula()} ({' '.join(map(str, slab.miller))}) "
        f"termination {slab.termination}"
        for slab in slabs
    ]
    results = gather(chains, names, _NAME, bulk_results)

    rows = [
        (_surface(slab, chain, bulk), chain[-1]) for slab, chain in zip(slabs, results, strict=True)
    ]
    rows.sort(key=lambda row: (row[0]["surface_energy"] is None, row[0]["surface_energy"] or 0.0))
    jobs = [*bulk_results, *(result for chain in results for result in chain)]
    if differ := other_reference(bulk, results[0][-1]):  # of jobs of the user's own
        warnings.append(
            f"The energies of the crystal and of the slabs have different zeros ({differ}): the "
            "surface energies mean nothing."
        )
    if any(chain[0]["parameters"].get("relax_cell") for chain in results):
        warnings.append(
            "The slabs' cells were relaxed, vacuum included: the surface energies mean nothing."
        )
    if any(gap(one["atoms"], 2) < VACUUM for one in (chain[-1] for chain in results)):
        warnings.append(
            f"Slabs are less than {VACUUM:g} Å from their images: they act on one another. Take a "
            "larger min_vacuum."
        )
    parameters = {**carve, "relax_kwargs": relax_kwargs, "static_kwargs": static_kwargs}
    surfaces = [surface for surface, _ in rows]
    shape, notes = wulff(bulk["atoms"], surfaces, max_index)
    properties = {
        "surfaces": surfaces,
        "wulff": shape,
        "bulk": bulk,
        "slabs": [result for _, result in rows],
    }
    units = {"surfaces": "surface_energy J/m², area Å², energy_per_atom eV", "wulff": "J/m²"}
    result: SlabsResult = finish(
        _NAME, bulk["atoms"], jobs, parameters, properties, units, [*warnings, *notes]
    )
    return result


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
        "lowest": gamma if slab.symmetric or gamma is None else 0.0,
        "highest": gamma if slab.symmetric or gamma is None else 2 * gamma,
        "symmetric": slab.symmetric,
        "converged": relaxed["converged"],
        "steps": relaxed["steps"],
        "key": last["key"],
    }


def summarise(result: SlabsResult) -> str:
    known = [one for one in result["surfaces"] if one["surface_energy"] is not None]
    if not known:
        return f"{len(result['surfaces'])} surfaces, none with the composition of the crystal"
    best = known[0]
    text = (
        f"{len(result['surfaces'])} surfaces; {hkl(best['miller'])} costs least, "
        f"{best['surface_energy']:.3f} J/m²"
    )
    if shape := result.get("wulff"):
        text += f"; Wulff shape {shape['surface_energy']:.3f} J/m² on average"
    return text


def tabulate(result: SlabsResult) -> list[dict[str, Any]]:
    facets = (result.get("wulff") or {}).get("facets", [])
    parts = {tuple(facet["miller"]): 100 * facet["area_fraction"] for facet in facets}
    rows = []
    for one in result["surfaces"]:
        low, high = one.get("lowest"), one.get("highest")
        rows.append(
            {
                "surface": hkl(one["miller"]),
                "termination": one["termination"],
                "atoms": one["natoms"],
                "steps": one["steps"],
                "energy per atom (eV)": one["energy_per_atom"],
                "surface energy (J/m²)": one["surface_energy"],
                # Of two sides that differ, only the mean is known.
                "each side": "" if low is None or low == high else f"{low:.3g} to {high:.3g}",
                # The lowest of these Miller indices is the one that is seen.
                "Wulff shape (%)": parts.pop(tuple(one["miller"]), None),
                "converged": one["converged"],
            }
        )
    if not any(row["each side"] for row in rows):
        for row in rows:
            del row["each side"]
    return rows


def draw(result: SlabsResult, figure: Any) -> None:
    if result["wulff"] is None:
        raise ParameterError(
            "There is no Wulff shape to draw: it takes positive surface energies, from slabs with "
            "the composition of the crystal, of planes that enclose a volume."
        )
    draw_wulff(result, figure)
