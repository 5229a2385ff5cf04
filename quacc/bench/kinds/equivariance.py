"""Turned, shifted, renumbered: energy and forces must follow."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from scipy.spatial.transform import Rotation

from quacc.bench.kinds import Metric, Observation, observed, without_reference
from quacc.bench.probe import Probed, check_probe, probe, submit_probe
from quacc.errors import require_count
from quacc.recipes.tools.verbs import Job
from quacc.recipes.tools.workflow import Calculator

VERSION = 1
_WHAT = {"rotation": "turned", "translation": "shifted", "permutation": "renumbered"}
QUANTITIES: dict[str, Any] = {
    f"{name}_{what}": {"title": f"largest |Δ{symbol}|, {how}", "unit": unit}
    for name, how in _WHAT.items()
    for what, symbol, unit in [("energy", "E", "meV/atom"), ("force", "F", "eV/Å")]
}
METRICS = {
    name: Metric(one["title"], one["unit"], "crystals", "max") for name, one in QUANTITIES.items()
}


def measure(
    atoms: Atoms,
    probe_job: Job = probe,
    *,
    calculator: Calculator,
    samples: int = 3,
    seed: int = 0,
) -> Observation:
    """Compare energy and forces of a structure with those of what must be the same one.

    Parameters
    ----------
    samples
        Random rotations, translations and permutations, each.
    seed
        Of the random numbers.
    """
    require_count(samples=samples)
    require_count(minimum=0, seed=seed)
    check_probe(atoms, calculator)
    rng = np.random.default_rng(seed)
    rotations = Rotation.random(samples, random_state=rng).as_matrix()
    orders = [rng.permutation(len(atoms)) for _ in range(samples)]
    orders[0] = np.arange(len(atoms))[::-1]  # another one in any case, unless it is one atom
    lengths = np.where(atoms.pbc, atoms.cell.lengths(), 10.0)
    structures = [
        atoms,
        *(_turned(atoms, rotation) for rotation in rotations),
        *(_shifted(atoms, lengths * rng.uniform(-1, 1, 3)) for _ in range(samples)),
        *(atoms[order] for order in orders),
    ]
    found: Probed = submit_probe(probe_job, structures, calculator).result()
    energies, forces = found["energies"], found["forces"]
    expected = [
        *(forces[0] @ rotation.T for rotation in rotations),
        *[forces[0]] * samples,
        *(forces[0][order] for order in orders),
    ]
    off = [np.abs(one - other).max() for one, other in zip(forces[1:], expected, strict=True)]
    values = {}
    for number, name in enumerate(_WHAT):
        its = slice(number * samples, (number + 1) * samples)
        energy = np.abs(energies[1:][its] - energies[0]).max() / len(atoms)
        values[f"{name}_energy"] = 1e3 * float(energy)
        values[f"{name}_force"] = float(max(off[its]))
    return observed(values, [])


def _turned(atoms: Atoms, rotation: Any) -> Atoms:
    """Return a structure whose every vector v is now ``rotation @ v``."""
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ rotation.T)
    turned.positions = atoms.positions @ rotation.T
    return turned


def _shifted(atoms: Atoms, vector: Any) -> Atoms:
    shifted = atoms.copy()
    shifted.positions += vector
    return shifted


errors = without_reference(METRICS)
