"""Phases in equilibrium: which there are, and the chemical potentials at their limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ase import Atoms

from quacc.atoms import as_atoms
from quacc.errors import StructureError
from quacc.runners.calculation import formula_of

_NOBLE = ("He", "Ne", "Ar", "Kr", "Xe", "Rn")

_STABLE = 1e-4
"""eV per atom above other phases that may be rounding, and noise of a code."""


def with_elements(
    structures: Sequence[Atoms], elements: Iterable[str], what: str, given: str
) -> list[Atoms]:
    """Return structures, and the crystals of those elements that none of them is.

    Parameters
    ----------
    what, given
        What needs the elements, and what the user calls the structures, for messages.

    Raises
    ------
    StructureError
        No crystal is known by the name of an element.
    """
    pure = {next(iter(kinds)) for one in structures if len(kinds := {*one.symbols}) == 1}
    found = list(structures)
    for symbol in elements:
        if symbol in pure:
            continue
        reason = "the name stands for an atom"
        try:
            crystal = as_atoms(symbol)
        except StructureError as error:
            reason = str(error)
        else:
            if crystal.pbc.all():
                found.append(crystal)
                continue
        raise StructureError(
            f"{what} needs a crystal of {symbol}, which is not among the {given}, and quacc knows "
            f"none by name ({reason}). Add one, or for a gas its molecule, such as H2."
        )
    return found


def entries_of(results: Iterable[Mapping[str, Any]]) -> list[Any]:
    """Return pymatgen's entries, with composition and energy of each result; ids count them."""
    from pymatgen.core.composition import Composition
    from pymatgen.entries.computed_entries import ComputedEntry

    return [
        ComputedEntry(
            Composition(result["atoms"].get_chemical_formula()),
            result["results"]["energy"],
            entry_id=str(number),
        )
        for number, result in enumerate(results)
    ]


def check_phase(atoms: Atoms) -> None:
    """Raise a StructureError for what is neither a crystal nor a molecule of a gas."""
    formula = atoms.get_chemical_formula()
    if atoms.pbc.any() and not atoms.pbc.all():
        raise StructureError(
            f"The phase {formula} is neither a crystal nor a molecule: it has "
            f"pbc={atoms.pbc.tolist()}."
        )
    if len(atoms) == 1 and not atoms.pbc.any() and formula not in _NOBLE:
        raise StructureError(
            f"The phase {formula} is a free atom, which is no phase of the element. Pass its "
            f"molecule, such as {formula}2, or its crystal."
        )


def relax_options(
    phase: Atoms, relax_kwargs: Mapping[str, Any], relax_cell: bool = True
) -> dict[str, Any]:
    """Return the keywords that relax a phase; a molecule has no cell to relax."""
    return {**relax_kwargs, "relax_cell": relax_cell and bool(phase.pbc.all())}


def competing_phases(host: Atoms, phases: Sequence[Atoms], elements: Sequence[str]) -> list[Atoms]:
    """Return all phases but the crystal itself that the chemical potentials depend on."""
    for one in phases:
        check_phase(one)
        formula = one.get_chemical_formula()
        if foreign := sorted({*one.symbols}.difference(elements)):
            raise StructureError(
                f"The competing phase {formula} has {', '.join(foreign)}, which no defect has: it "
                "limits none of the chemical potentials. Leave it out, or add the element to "
                "substitutions or insertions."
            )
    return with_elements([host, *phases], elements, "A chemical potential", "competing phases")[1:]


def limits(
    perfect: Mapping[str, Any], references: Sequence[Mapping[str, Any]]
) -> tuple[list[dict[str, Any]], float, list[str]]:
    """Return the chemical potentials at all limits, the crystal's energy above hull, warnings."""
    from pymatgen.analysis.phase_diagram import PhaseDiagram

    results = [perfect, *references]
    entries = entries_of(results)
    diagram: Any = PhaseDiagram(entries)  # whose annotations leave open what is known here
    formulas = {
        entry.name: formula_of(result["atoms"])
        for entry, result in zip(entries, results, strict=True)
    }
    host = entries[0]
    decomposed, above = diagram.get_decomp_and_e_above_hull(host)
    warnings = []
    if above > _STABLE:
        names = sorted(formulas[entry.name] for entry in decomposed)
        if names == [formulas[host.name]]:
            products = "another structure of its composition"
        else:
            products = ", ".join(names)
        warnings.append(
            f"{formulas[host.name]} is not stable: it is {1e3 * above:.1f} meV per atom above "
            f"{products}, which the chemical potentials come from."
        )
    pure = {element: entry.energy_per_atom for element, entry in diagram.el_refs.items()}
    conditions: list[dict[str, Any]] = []
    for phases, potentials in diagram.get_all_chempots(host.composition).items():
        conditions.append(
            {
                "phases": sorted(
                    (formulas[name] for name in phases.split("-")),
                    key=lambda formula: (formula != formulas[host.name], formula),
                ),
                "chemical_potentials": {str(one): float(mu) for one, mu in potentials.items()},
                "relative": {str(one): float(mu - pure[one]) for one, mu in potentials.items()},
            }
        )
    native = sorted({*perfect["atoms"].symbols})
    conditions.sort(
        key=lambda one: ([-round(one["relative"][symbol], 6) for symbol in native], one["phases"])
    )
    return conditions, float(above), warnings
