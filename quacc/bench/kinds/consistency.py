"""Forces and stress: are they the derivatives of the energy?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.stress import voigt_6_to_full_3x3_strain
from numpy.typing import NDArray

from quacc.atoms.modify import in_cell
from quacc.bench.kinds import Metric, Observation, observed, without_reference
from quacc.bench.probe import Probed, check_probe, has_stress, probe, submit_probe
from quacc.errors import require_count, require_positive
from quacc.recipes.tools.verbs import Job
from quacc.recipes.tools.workflow import Calculator

VERSION = 1
QUANTITIES: dict[str, Any] = {
    "force": {"title": "mean |ΔF|", "unit": "eV/Å"},
    "relative_force": {"title": "mean |ΔF| of mean |F|", "unit": "%"},
    "largest_force": {"title": "largest |ΔF|", "unit": "eV/Å"},
    "stress": {"title": "mean |Δσ|", "unit": "GPa"},
    "relative_stress": {"title": "mean |Δσ| of mean |σ|", "unit": "%"},
    "largest_stress": {"title": "largest |Δσ|", "unit": "GPa"},
}
METRICS = {
    name: Metric(
        one["title"], one["unit"], "crystals", "max" if name.startswith("largest") else "mean"
    )
    for name, one in QUANTITIES.items()
}

_STENCIL = {-2: 1 / 12, -1: -2 / 3, 1: 2 / 3, 2: -1 / 12}
"""Weights of a first derivative whose error is of the fourth power of the step."""


def measure(
    atoms: Atoms,
    probe_job: Job = probe,
    *,
    calculator: Calculator,
    step: float = 0.01,
    strain: float = 0.002,
    most: int = 8,
) -> Observation:
    """Compare each component with the slope of five points of the energy.

    Parameters
    ----------
    step
        Between two positions of an atom (Å).
    strain
        Between two strains of the cell; crystals only, of calculators that have the stress.
    most
        Atoms that are moved, spread over larger structures.
    """
    require_positive(step=step, strain=strain)
    require_count(most=most)
    check_probe(atoms, calculator)
    structures = [atoms]
    chosen = np.unique(np.linspace(0, len(atoms) - 1, min(most, len(atoms))).round().astype(int))
    for index in chosen:
        structures += [_moved(atoms, index, k, n * step) for k in range(3) for n in _STENCIL]
    if stressed := has_stress(atoms, calculator):
        structures += [_strained(atoms, k, n * strain) for k in range(6) for n in _STENCIL]
    found: Probed = submit_probe(probe_job, structures, calculator).result()
    slopes = found["energies"][1:].reshape(-1, len(_STENCIL)) @ [*_STENCIL.values()]
    forces = found["forces"][0][chosen].ravel()
    values = _compared("force", forces, -slopes[: len(forces)] / step)
    stress = found["stresses"][0]
    if stressed and stress is not None:
        numerical = slopes[len(forces) :] / strain / atoms.get_volume()
        values |= _compared("stress", stress / units.GPa, numerical / units.GPa)
    return observed(values, [])


def _compared(what: str, ours: NDArray[Any], numerical: NDArray[Any]) -> dict[str, float]:
    error, size = np.abs(ours - numerical), float(np.abs(numerical).mean())
    found = {what: float(error.mean()), f"largest_{what}": float(error.max())}
    return {**found, f"relative_{what}": 100 * found[what] / size} if size > 0 else found


def _moved(atoms: Atoms, index: int, axis: int, distance: float) -> Atoms:
    moved = atoms.copy()
    moved.positions[index, axis] += distance
    return moved


def _strained(atoms: Atoms, component: int, size: float) -> Atoms:
    """Return a crystal with one of Voigt's six strains."""
    voigt: Sequence[float] = size * np.eye(6)[component]
    return in_cell(atoms, atoms.cell.array @ voigt_6_to_full_3x3_strain(voigt))


errors = without_reference(METRICS)
