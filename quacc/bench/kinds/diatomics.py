"""Curves of two equal atoms: smooth, and with the forces of their energies?

Distances, window and metrics are those of matbench-discovery's ``metrics/diatomics`` (2026-07),
which need no reference.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.data import covalent_radii, vdw_alvarez
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from quacc.bench.curves import flips, jump, tortuosity, turns, variation
from quacc.bench.kinds import Metric, Observation, curve, observed, without_reference
from quacc.bench.probe import Probed, check_probe, probe, submit_probe
from quacc.errors import ParameterError, require_count, require_positive
from quacc.recipes.tools.verbs import Job
from quacc.recipes.tools.workflow import Calculator

VERSION = 1
QUANTITIES: dict[str, Any] = {
    "energy_jump": {"title": "jumps of the energy", "unit": "eV"},
    "energy_flips": {"title": "turns of the energy", "unit": ""},
    "tortuosity": {"title": "tortuosity", "unit": ""},
    "force_flips": {"title": "changes of the force's sign", "unit": ""},
    "force_total_variation": {"title": "total variation of the force", "unit": "eV/Å"},
    "force_jump": {"title": "jumps of the force", "unit": "eV/Å"},
    "conservation": {"title": "|F + dE/dr|", "unit": "eV/Å"},
}
METRICS = {name: Metric(one["title"], one["unit"], "elements") for name, one in QUANTITIES.items()}

_NO_STEP = 1e-3
"""eV; smaller steps of the energy are none."""
_NO_FORCE = 1e-2
"""eV/Å; smaller forces have no sign."""
_LEAST = 5
"""Distances that a curve must have."""


def measure(
    atoms: Atoms,
    probe_job: Job = probe,
    *,
    calculator: Calculator,
    points: int = 119,
    shortest: float = 0.1,
    longest: float = 6.0,
    from_radii: float = 0.9,
    to_radii: float = 3.1,
) -> Observation:
    """Compute energy and force of two atoms at many distances.

    Parameters
    ----------
    points
        Distances, equally spaced in their logarithm.
    shortest, longest
        Å.
    from_radii, to_radii
        Distances below ``from_radii`` covalent radii (Cordero 2008) and above ``to_radii`` van der
        Waals radii (Alvarez 2013) are left out.
    """
    require_count(minimum=_LEAST, points=points)
    require_positive(shortest=shortest, longest=longest, from_radii=from_radii, to_radii=to_radii)
    symbol, number = str(atoms.symbols[0]), int(atoms.numbers[0])
    distances = np.geomspace(shortest, longest, points)
    window = from_radii * covalent_radii[number], to_radii * vdw_alvarez.vdw_radii[number]
    # Where no radius is known, nothing is left out.
    distances = distances[~(distances < window[0]) & ~(distances > window[1])]
    if len(distances) < _LEAST:
        raise ParameterError(
            f"{len(distances)} of {points} distances lie between {window[0]:.2f} and "
            f"{window[1]:.2f} Å, where the curve of {symbol} is judged; it takes {_LEAST}."
        )
    check_probe(_pair(symbol, 2 * covalent_radii[number]), calculator)
    pairs = [_pair(symbol, float(distance)) for distance in distances]
    found: Probed = submit_probe(probe_job, pairs, calculator).result()
    energies = found["energies"]
    forces = np.array([one[1, 0] for one in found["forces"]])
    curves = {
        "energy": curve(distances, energies - energies[-1], "distance (Å)", "energy (eV)"),
        "force": curve(distances, forces, "distance (Å)", "force (eV/Å)"),
    }
    return observed(judged(distances, energies, forces), [], curves)


def judged(
    distances: NDArray[Any], energies: NDArray[Any], forces: NDArray[Any]
) -> dict[str, float]:
    """Return the numbers of a curve.

    Parameters
    ----------
    distances
        (points,), growing (Å).
    energies, forces
        (points,), eV and eV/Å; forces that push apart are positive.
    """
    found = {
        "energy_jump": jump(energies, _NO_STEP),
        "energy_flips": float(turns(energies, _NO_STEP)),
        "force_flips": float(flips(forces, _NO_FORCE)),
        "force_total_variation": variation(forces),
        "force_jump": jump(forces),
        "conservation": conservation(distances, energies, forces),
    }
    around = tortuosity(energies)
    return found if around is None else {**found, "tortuosity": around}


def conservation(distances: NDArray[Any], energies: NDArray[Any], forces: NDArray[Any]) -> float:
    """Return the mean |F + dE/dr|, with the slope of a cubic spline through the energies.

    That of the spline alone is below a percent of the mean force.
    """
    return float(np.abs(forces + CubicSpline(distances, energies)(distances, 1)).mean())


def _pair(symbol: str, distance: float) -> Atoms:
    return Atoms([symbol] * 2, [[0, 0, 0], [distance, 0, 0]])


errors = without_reference(METRICS)
