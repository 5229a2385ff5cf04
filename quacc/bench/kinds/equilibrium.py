"""Compounds relaxed by the model: energies of formation, and how far the crystal changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ase import Atoms

from quacc.atoms.modify import rattle
from quacc.bench.kinds import Metric, Observation, observed
from quacc.errors import StructureError, require_number
from quacc.recipes.tools.verbs import Job, check, gather_each, submit
from quacc.recipes.tools.workflow import Calculator, workflow

VERSION = 1
QUANTITIES = {
    "formation_energy": {"title": "energy of formation", "unit": "eV/atom"},
    "rmsd": {"title": "root mean square of the atoms' deviations", "unit": "Å"},
    "volume_change": {"title": "change of the volume", "unit": "%"},
}
METRICS = {
    "formation_energy_error": Metric("error of the energy of formation", "eV/atom", "crystals"),
    "rmsd": Metric("deviation of the atoms", "Å", "crystals"),
    "volume_error": Metric("error of the volume", "%", "crystals"),
}


@workflow
def measure(
    atoms: Atoms,
    relax_job: Job = "relax_job",
    *,
    calculator: Calculator | None = None,
    others: Mapping[str, Atoms],
    fmax: float = 0.05,
    stdev: float = 0.05,
) -> Observation:
    """Relax a compound whose atoms are shaken, and the crystals of its elements.

    Parameters
    ----------
    atoms
        The compound, as the reference relaxed it.
    others
        A crystal of each element, by its symbol.
    fmax
        Of the relaxations (eV/Å).
    stdev
        By how much the compound's atoms are shaken, so that it may leave a saddle point (Å).

    Raises
    ------
    StructureError
        An element has no crystal.
    NotConvergedError
    """
    require_number(stdev=stdev)
    symbols = [*atoms.symbols]
    if lacking := {*symbols} - {*others}:
        raise StructureError(f"There is no crystal of {', '.join(sorted(lacking))}.")
    names = [*dict.fromkeys(symbols)]
    structures = [rattle(atoms, stdev, seed=0), *(others[one] for one in names)]
    keywords: Any = {"relax_cell": True, "fmax": fmax, "require_convergence": True}
    for structure in structures:
        check(relax_job, structure, **keywords)
    futures = [submit(relax_job, one, **keywords) for one in structures]
    results = gather_each(futures, ["the compound", *names], "equilibrium")
    each = [one["results"]["energy"] / len(one["atoms"]) for one in results]
    parts = sum(
        energy * symbols.count(name) for name, energy in zip(names, each[1:], strict=True)
    ) / len(symbols)
    relaxed = results[0]["atoms"]
    values = {
        "formation_energy": each[0] - parts,
        "rmsd": deviation(atoms, relaxed),
        "volume_change": 100 * (relaxed.get_volume() / atoms.get_volume() - 1),
    }
    return observed(values, results)


def deviation(atoms: Atoms, moved: Atoms) -> float:
    """Return the root mean square of the atoms' ways, in a cell midway and without drift (Å).

    Of the same atoms in the same order; the way is the shortest one.
    """
    ways = moved.get_scaled_positions(wrap=False) - atoms.get_scaled_positions(wrap=False)
    ways -= ways[0]  # so that no way crosses half a cell because all have drifted
    ways -= np.round(ways)
    ways -= ways.mean(axis=0)
    between = ways @ ((atoms.cell.array + moved.cell.array) / 2)
    return float(np.sqrt((between**2).sum(axis=1).mean()))


def errors(values: Mapping[str, float], reference: Mapping[str, float]) -> dict[str, float]:
    found = {"rmsd": values["rmsd"]} if "rmsd" in values else {}
    if "volume_change" in values:
        found["volume_error"] = abs(values["volume_change"])
    if "formation_energy" in values and "formation_energy" in reference:
        difference = values["formation_energy"] - reference["formation_energy"]
        found["formation_energy_error"] = abs(difference)
    return found
