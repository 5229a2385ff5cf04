"""Twice as much has twice the energy: supercells, and copies that are far apart."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from quacc.bench.kinds import Metric, Observation, observed, without_reference
from quacc.bench.probe import Probed, check_probe, probe, submit_probe
from quacc.errors import require_count, require_positive
from quacc.recipes.tools.verbs import Job
from quacc.recipes.tools.workflow import Calculator

VERSION = 1
QUANTITIES: dict[str, Any] = {
    f"{name}_{what}": {"title": f"|Δ{symbol}| of {title}", "unit": unit}
    for name, title in [("supercell", "supercells"), ("copies", "two copies far apart")]
    for what, symbol, unit in [("energy", "E", "meV/atom"), ("force", "F", "eV/Å")]
}
METRICS = {
    name: Metric(
        f"{'largest ' if name.endswith('force') else ''}{one['title']}",
        one["unit"],
        "crystals",
        "max" if name.endswith("force") else "mean",
    )
    for name, one in QUANTITIES.items()
}


def measure(
    atoms: Atoms,
    probe_job: Job = probe,
    *,
    calculator: Calculator,
    repeat: int = 2,
    distance: float = 30.0,
) -> Observation:
    """Compare energies for each atom, and forces, with those of more of the same.

    Parameters
    ----------
    repeat
        Cells along each periodic direction.
    distance
        Between the two copies, which are the atoms of the cell without their images (Å); those of
        the supercell where the cell has one atom.
    """
    require_count(minimum=2, repeat=repeat)
    require_positive(distance=distance)
    large = atoms.repeat(np.where(atoms.pbc, repeat, 1).tolist())
    # Not one atom, which some potentials refuse.
    alone = large.copy() if len(atoms) == 1 else atoms.copy()
    alone.pbc = False
    alone.cell = None
    for one in (atoms, alone):
        check_probe(one, calculator)
    other = alone.copy()
    other.positions[:, 0] += np.ptp(alone.positions[:, 0]) + distance
    structures = [atoms, large, alone, alone + other]
    found: Probed = submit_probe(probe_job, structures, calculator).result()
    energies = found["energies"] / [len(one) for one in structures]
    values = {}
    for number, name in enumerate(("supercell", "copies")):
        one, more = 2 * number, 2 * number + 1
        values[f"{name}_energy"] = 1e3 * abs(float(energies[more] - energies[one]))
        values[f"{name}_force"] = _largest(found["forces"][one], found["forces"][more])
    return observed(values, [])


def _largest(one: NDArray[Any], more: NDArray[Any]) -> float:
    """Return the largest difference between the forces on an atom and on its copies."""
    return float(np.abs(more.reshape(-1, *one.shape) - one).max())


errors = without_reference(METRICS)
