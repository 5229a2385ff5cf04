"""Order a crystal with partly occupied sites: which arrangement of its atoms costs least."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from quacc.atoms.convert import StructureLike
from quacc.atoms.disorder import (
    arrange,
    as_disordered,
    composition,
    oxidation_states_of,
    rounded,
    space_group,
    supercells,
)
from quacc.atoms.modify import three_counts
from quacc.errors import (
    ParameterError,
    StructureError,
    require_bool,
    require_count,
    require_number,
)
from quacc.recipes.tools.verbs import Job, check, check_meshes, gather_each, submit
from quacc.recipes.tools.workflow import Calculator, finish, keywords, workflow
from quacc.runners.calculation import formula_of
from quacc.schemas import FlowResult

UNITS = {"orderings": "energy, relative and ewald_energy eV per atom", "oxidation_states": "e"}
REFERENCES = ("Hart2008", "Toukmaji1996", "Ong2013")


class OrderResult(FlowResult):
    """Ordered structures of a disordered crystal; ``atoms`` is the one of the lowest energy."""

    orderings: list[dict[str, Any]]
    """By energy, one each: ``name`` (counts by Ewald energy), ``energy``, ``relative`` (to the
    lowest) and ``ewald_energy`` (eV per atom; None without oxidation states), ``degeneracy``
    (arrangements that the symmetry of the disordered crystal makes equivalent), ``space_group``
    before relaxation, ``natoms``, ``converged``, ``key``, ``atoms``."""
    oxidation_states: dict[str, float] | None
    """Charges of the elements in the Ewald energies (e)."""
    cells: int
    """Number of primitive cells in each."""
    arrangements: int
    """How many there are in all the supercells."""
    inequivalent: int
    """How many of them symmetry tells apart."""


@workflow
def order_flow(
    structure: StructureLike,
    relax_job: Job = "relax_job",
    *,
    calculator: Calculator | None = None,
    supercell: Sequence[int] | None = None,
    limit: int = 10,
    oxidation_states: Mapping[str, float] | None = None,
    relax_cell: bool = True,
    relax_kwargs: Mapping[str, Any] | None = None,
) -> OrderResult:
    """Order a crystal with partly occupied sites, and compare the orderings.

    All arrangements of the atoms are enumerated (as Hart and Forcade do, Phys. Rev. B 77, 224115
    (2008)), those that are equivalent by symmetry merged, and those with the lowest electrostatic
    energies of point charges (Ewald's sum: Toukmaji and Board, Comput. Phys. Commun. 95, 73
    (1996); pymatgen) relaxed. Where no oxidation states are known, as in alloys, all are relaxed,
    and must be no more than ``limit``.

    An ordered structure has no entropy of mixing, and long-range order that the crystal may lack.

    Parameters
    ----------
    structure
        The crystal: a CIF file with occupancies, or Atoms that ASE read from one. What the
        occupancies of a site lack to 1 is vacant.
    relax_job
        Relaxes each ordering.
    supercell
        How often to repeat the cell along its vectors. By default, all supercells, of every shape,
        of the smallest size in which the occupancies are whole numbers of atoms.
    limit
        Maximum number of orderings that are relaxed.
    oxidation_states
        Of each element, such as ``{"Li": 1, "Co": 3, "O": -2}``; by default, guessed by pymatgen.
    relax_cell
        Relax the cells, too.
    relax_kwargs
        Keywords of the job, such as ``{"fmax": 0.01}``.
    calculator
        Name of the calculator whose jobs they are, such as emt, or a mapping of its name and its
        parameters; by default, the setting ``calculator``.

    Raises
    ------
    InputError
        Before anything is computed; among them, there are too many arrangements.
    JobsFailedError
        Some orderings failed; carries the results of the others.
    """
    require_count(limit=limit)
    require_bool(relax_cell=relax_cell)
    relax_kwargs = keywords("relax_kwargs", relax_kwargs, ["relax_cell"])
    repeats = None if supercell is None else three_counts(supercell)
    crystal = as_disordered(structure)
    cells = supercells(crystal, repeats)
    contents = composition(crystal, cells)
    charges = _charges(contents, oxidation_states)
    found, number, crowded = arrange(crystal, cells, charges, limit)
    if not found:
        raise StructureError("In every arrangement some atoms overlap. Check the occupancies.")
    if charges is None and number > limit:
        raise ParameterError(
            f"There are {number} inequivalent orderings, more than limit={limit}, and without "
            f"oxidation states nothing says which to take: pymatgen guesses none for "
            f"{formula_of(found[0].atoms)}. Pass oxidation_states, limit={number}, or a smaller "
            "supercell."
        )
    options = {**relax_kwargs, "relax_cell": relax_cell}
    check_meshes([check(relax_job, one.atoms, **options) for one in found])
    futures = [submit(relax_job, one.atoms, **options) for one in found]
    names = [f"ordering {count}" for count in range(1, len(found) + 1)]
    results = gather_each(futures, names, "order_flow")

    rows = [
        {
            "name": name,
            "energy": float(result["results"]["energy"]) / len(one.atoms),
            "ewald_energy": one.ewald,
            "degeneracy": one.degeneracy,
            "space_group": space_group(one.atoms),
            "natoms": len(one.atoms),
            "converged": result.get("converged") is not False,
            "key": result["key"],
            "atoms": result["atoms"],
        }
        for name, one, result in zip(names, found, results, strict=True)
    ]
    rows.sort(key=lambda row: row["energy"])
    for row in rows:
        row["relative"] = row["energy"] - rows[0]["energy"]
    warnings = rounded(crystal, cells)
    if charges is not None:
        origin = "given" if oxidation_states is not None else "guessed by pymatgen"
        states = ", ".join(f"{element} {charge:+.3g}" for element, charge in charges.items())
        warnings.append(
            f"Ewald energies are of point charges, {origin}: {states}. They rank orderings before "
            "anything is computed, and know no other bonds."
        )
    if number > len(found):
        warnings.append(
            f"Of {number} inequivalent orderings, the {len(found)} of the lowest Ewald energies "
            "were relaxed; another one may be lower."
        )
    if crowded:
        warnings.append(f"{crowded} inequivalent orderings, whose atoms overlap, are left out.")
    properties = {
        "orderings": rows,
        "oxidation_states": charges,
        "cells": cells.size,
        "arrangements": cells.arrangements,
        "inequivalent": number,
    }
    parameters = {
        "supercell": repeats,
        "limit": limit,
        "oxidation_states": None if oxidation_states is None else charges,
        "relax_cell": relax_cell,
        "relax_kwargs": relax_kwargs,
    }
    best = rows[0]["atoms"]
    result: OrderResult = finish(
        "order_flow", best, results, parameters, properties, UNITS, warnings
    )
    return result


def _charges(contents: Mapping[str, int], given: Any) -> dict[str, float] | None:
    if given is not None:
        if not isinstance(given, Mapping):
            raise ParameterError(
                f"oxidation_states must be such as {{'Li': 1, 'O': -2}}, not {given!r}."
            )
        for element, charge in given.items():
            require_number(**{f"oxidation_states of {element}": charge})
    return oxidation_states_of(contents, given)


def summarise(result: OrderResult) -> str:
    rows = result["orderings"]
    text = (
        f"{result['inequivalent']} orderings in {result['cells']} primitive "
        f"cell{'s' * (result['cells'] > 1)}; lowest is {rows[0]['name']}, "
        f"{rows[0]['space_group']}"
    )
    return text if len(rows) < 2 else f"{text}, by {1e3 * rows[1]['relative']:.1f} meV per atom"


def tabulate(result: OrderResult) -> list[dict[str, Any]]:
    return [
        {
            "ordering": row["name"],
            "space group": row["space_group"],
            "atoms": row["natoms"],
            "degeneracy": row["degeneracy"],
            "Ewald (eV/atom)": row["ewald_energy"],
            "energy (eV/atom)": row["energy"],
            "above lowest (meV/atom)": 1e3 * row["relative"],
            "converged": row["converged"],
        }
        for row in result["orderings"]
    ]


def draw(result: OrderResult, figure: Any) -> None:
    """Draw energies against Ewald energies; without these, one below the other."""
    axes = figure.add_subplot()
    rows = result["orderings"]
    above = [1e3 * row["relative"] for row in rows]
    if result["oxidation_states"] is None:
        axes.barh([f"{row['name']}, {row['space_group']}" for row in rows], above)
        axes.invert_yaxis()
        axes.set(xlabel="above the lowest (meV/atom)")
        return
    axes.plot([row["ewald_energy"] for row in rows], above, "o")
    axes.set(xlabel="Ewald energy (eV/atom)", ylabel="above the lowest (meV/atom)")
