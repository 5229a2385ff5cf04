"""Convex hull: formation energies of a set of crystals, and how far each is from stable."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from quacc.atoms import as_atoms
from quacc.atoms.convert import StructureLike, about_name
from quacc.errors import ParameterError, StructureError, require_bool
from quacc.extras import check_free
from quacc.recipes.tools.phases import check_phase, entries_of, relax_options, with_elements
from quacc.recipes.tools.verbs import Job, check_chain, gather, submit_chain
from quacc.recipes.tools.workflow import Calculator, finish, keywords, workflow
from quacc.schemas import FlowResult

UNITS = {"phases": "energies eV per atom"}
REFERENCES = ("Ong2008", "Ong2013")


class HullResult(FlowResult):
    """Phases, the most stable first; ``atoms`` is the one of lowest formation energy."""

    elements: list[str]
    phases: list[dict[str, Any]]
    """One each: ``formula``, ``energy``, ``formation_energy``, ``above_hull`` (eV per atom),
    ``stable``, ``composition`` (atomic fractions), ``converged``, ``key``."""


@workflow
def hull_flow(
    structures: Sequence[StructureLike],
    relax_job: Job = "relax_job",
    static_job: Job | None = "static_job",
    *,
    calculator: Calculator | None = None,
    relax_cell: bool = True,
    relax_kwargs: Mapping[str, Any] | None = None,
    static_kwargs: Mapping[str, Any] | None = None,
) -> HullResult:
    """Relax crystals and compute formation energies and distances from the convex hull.

    Per atom, relative to the most stable crystal of each element (Ong et al., Chem. Mater. 20,
    1798 (2008); pymatgen). An element that is not among the structures is added in the crystal
    that its name stands for.

    Parameters
    ----------
    structures
        Crystals; a gas is a molecule, such as O2.
    relax_job, static_job
        Relax each, and compute its energy; no ``static_job`` takes it from the relaxation.
    relax_cell
        Relax the cells of crystals, too.
    relax_kwargs, static_kwargs
        Keywords of the jobs, such as ``{"fmax": 0.005}``.
    calculator
        Name of the calculator whose jobs they are, such as emt, or a mapping of its name and its
        parameters; by default, the setting ``calculator``.

    Raises
    ------
    InputError
        Before anything is computed.
    JobsFailedError
        Some crystals failed; carries the results of the others.
    """
    require_bool(relax_cell=relax_cell)
    relax_kwargs = keywords("relax_kwargs", relax_kwargs, ["relax_cell"])
    static_kwargs = keywords("static_kwargs", static_kwargs)
    if isinstance(structures, str | Mapping) or hasattr(structures, "pbc") or not len(structures):
        raise ParameterError("hull_flow takes several structures, in a list.")
    atoms = [as_atoms(one) for one in structures]
    for one in atoms:
        check_phase(one)
        check_free(one, "a hull")
    if not any(one.pbc.all() for one in atoms):
        raise StructureError("There is no crystal among the structures, so there is no hull.")
    elements = sorted({symbol for one in atoms for symbol in one.symbols})
    atoms = with_elements(atoms, elements, "The hull", "structures")
    last_step = None if static_job is None else (static_job, static_kwargs)
    todo = [
        (one, (relax_job, relax_options(one, relax_kwargs, relax_cell)), last_step) for one in atoms
    ]
    for steps in todo:
        check_chain(*steps)
    chains = [submit_chain(*steps) for steps in todo]
    results = gather(chains, [one.get_chemical_formula() for one in atoms], "hull_flow")
    phases = _phases(results)
    best = min(phases, key=lambda phase: phase["formation_energy"])
    last = next(chain[-1] for chain in results if chain[-1]["key"] == best["key"])
    parameters = {
        "relax_cell": relax_cell,
        "relax_kwargs": relax_kwargs,
        "static_kwargs": static_kwargs,
    }
    jobs = [result for chain in results for result in chain]
    properties = {"elements": elements, "phases": phases}
    warnings = [text for one in structures for text in about_name(one)]
    result: HullResult = finish(
        "hull_flow", last["atoms"], jobs, parameters, properties, UNITS, warnings
    )
    return result


def _phases(results: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    from pymatgen.analysis.phase_diagram import PhaseDiagram

    entries = entries_of(chain[-1] for chain in results)
    diagram = PhaseDiagram(entries)
    phases = []
    for entry, chain in zip(entries, results, strict=True):
        above = float(diagram.get_e_above_hull(entry) or 0.0)
        phases.append(
            {
                "formula": chain[-1]["formula"],
                "energy": float(entry.energy_per_atom),
                "formation_energy": float(diagram.get_form_energy_per_atom(entry)),
                "above_hull": above,
                "stable": above < 1e-8,
                "composition": {
                    str(element): float(part)
                    for element, part in entry.composition.fractional_composition.items()
                },
                "converged": chain[0].get("converged") is not False,
                "key": chain[-1]["key"],
            }
        )
    return sorted(phases, key=lambda phase: (phase["above_hull"], phase["formation_energy"]))


def summarise(result: HullResult) -> str:
    stable = [phase["formula"] for phase in result["phases"] if phase["stable"]]
    return (
        f"{len(result['phases'])} phases of {'-'.join(result['elements'])}, of which "
        f"{len(stable)} are stable: {', '.join(stable)}"
    )


def tabulate(result: HullResult) -> list[dict[str, Any]]:
    return [
        {
            "phase": phase["formula"],
            "energy (eV/atom)": phase["energy"],
            "formation energy (eV/atom)": phase["formation_energy"],
            "above hull (meV/atom)": phase["above_hull"] * 1e3,
            "stable": "yes" if phase["stable"] else "no",
            "converged": phase["converged"],
        }
        for phase in result["phases"]
    ]


def _with_subscripts(formula: str) -> str:
    return re.sub(r"(\d+)", r"$_{\1}$", formula)


def _write(axes: Any, text: str, point: tuple[float, float], by: Any, *, va: str) -> None:
    axes.annotate(text, point, xytext=by, textcoords="offset points", ha="center", va=va)


def draw(result: HullResult, figure: Any) -> None:
    """Draw the hull of two elements; of others, the distance of each phase from it."""
    axes = figure.add_subplot()
    phases = result["phases"]
    if len(result["elements"]) == 2:
        second = result["elements"][1]
        points = [(one["composition"].get(second, 0.0), one["formation_energy"]) for one in phases]
        axes.plot(*zip(*points, strict=True), "o", color="C1", label="above the hull")
        lower = sorted(point for point, one in zip(points, phases, strict=True) if one["stable"])
        axes.plot(*zip(*lower, strict=True), "o-", color="C0", label="stable")
        named: set[str] = set()
        for point, one in sorted(zip(points, phases, strict=True), key=lambda pair: pair[0]):
            name = _with_subscripts(one["formula"])
            if one["stable"] and 0 < point[0] < 1:  # the hull rises from it
                _write(axes, name, point, (0, -6), va="top")
            elif name not in named:  # the lowest of its composition
                _write(axes, name, point, (0, 5), va="bottom")
            named.add(name)
        axes.margins(y=0.15)
        axes.set(xlabel=f"atomic fraction of {second}", ylabel="formation energy (eV/atom)")
        axes.legend()
        return
    names = [_with_subscripts(one["formula"]) for one in phases]
    axes.barh(range(len(phases)), [1e3 * one["above_hull"] for one in phases])
    axes.set_yticks(range(len(phases)), names)
    axes.invert_yaxis()
    axes.set(xlabel="above the hull (meV/atom)")
