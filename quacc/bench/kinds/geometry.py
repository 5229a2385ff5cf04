"""Geometries of molecules: how far the model's own minimum is from the one that is given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import minimize_rotation_and_translation
from ase.neighborlist import natural_cutoffs, neighbor_list
from numpy.typing import NDArray

from quacc.bench.kinds import Metric, Observation, observed
from quacc.recipes.tools.verbs import Job, check, gather_each, submit
from quacc.recipes.tools.workflow import Calculator, workflow

VERSION = 1
QUANTITIES = {
    "bond_deviation": {"title": "mean deviation of bond lengths", "unit": "Å"},
    "rmsd": {"title": "root mean square of the atoms' deviations", "unit": "Å"},
}
METRICS = {name: Metric(one["title"], one["unit"], "molecules") for name, one in QUANTITIES.items()}


@workflow
def measure(
    atoms: Atoms,
    relax_job: Job = "relax_job",
    *,
    calculator: Calculator | None = None,
    fmax: float = 0.01,
) -> Observation:
    """Relax a molecule; return how far its atoms have gone, after it is turned and moved back.

    Bonds are those of the given geometry, up to 1.2 times the sum of the covalent radii.

    Parameters
    ----------
    fmax
        Of the relaxation (eV/Å).

    Raises
    ------
    NotConvergedError
    """
    keywords: Any = {"fmax": fmax, "require_convergence": True}
    check(relax_job, atoms, **keywords)
    results = gather_each([submit(relax_job, atoms, **keywords)], ["the molecule"], "geometry")
    relaxed = results[0]["atoms"].copy()
    values = {"rmsd": rmsd(atoms, relaxed)}
    if len(before := bonds(atoms, atoms)):
        values["bond_deviation"] = float(np.abs(bonds(atoms, relaxed) - before).mean())
    return observed(values, results)


def bonds(atoms: Atoms, moved: Atoms) -> NDArray[Any]:
    """Return the distances in one structure (bonds,) of what is bonded in another (Å)."""
    first, second = neighbor_list("ij", atoms, natural_cutoffs(atoms, 1.2))
    once = first < second
    between = moved.positions[second[once]] - moved.positions[first[once]]
    return np.asarray(np.linalg.norm(between, axis=1))


def rmsd(atoms: Atoms, moved: Atoms) -> float:
    """Return the root mean square of the atoms' distances, least for all ways to turn one (Å)."""
    turned = moved.copy()
    minimize_rotation_and_translation(atoms, turned)
    return float(np.sqrt(((turned.positions - atoms.positions) ** 2).sum(axis=1).mean()))


def errors(values: Mapping[str, float], reference: Mapping[str, float]) -> dict[str, float]:
    return dict(values)
