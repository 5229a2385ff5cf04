"""Energy against volume over a wide range: one minimum, and nothing else?

Turns, tortuosity and Spearman's coefficients as MLIP Arena has them for its equations of state.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from scipy.stats import spearmanr

from quacc.atoms.modify import in_cell
from quacc.bench.curves import tortuosity, turns
from quacc.bench.kinds import Metric, Observation, curve, observed, without_reference
from quacc.bench.probe import Probed, check_probe, probe, submit_probe
from quacc.errors import ParameterError, StructureError, require_count, require_positive
from quacc.recipes.tools.verbs import Job
from quacc.recipes.tools.workflow import Calculator

VERSION = 1
QUANTITIES: dict[str, Any] = {
    "flips": {"title": "turns of the energy", "unit": ""},
    "tortuosity": {"title": "tortuosity", "unit": ""},
    "compression": {"title": "Spearman's ρ of E(V), compressed", "unit": ""},
    "tension": {"title": "Spearman's ρ of E(V), expanded", "unit": ""},
}
METRICS = {
    name: Metric(
        one["title"], one["unit"], "crystals", better="higher" if name == "tension" else "lower"
    )
    for name, one in QUANTITIES.items()
}


def measure(
    atoms: Atoms,
    probe_job: Job = probe,
    *,
    calculator: Calculator,
    points: int = 21,
    smallest: float = 0.6,
    largest: float = 1.6,
) -> Observation:
    """Scale the cell in all directions alike; compute the energies.

    Parameters
    ----------
    points
        Volumes.
    smallest, largest
        Times the crystal's.
    """
    require_count(minimum=5, points=points)
    require_positive(smallest=smallest, largest=largest)
    if not largest > smallest:
        raise ParameterError(f"The volumes go up, not from {smallest!r} to {largest!r}.")
    if not atoms.pbc.all():
        raise StructureError(f"Only a crystal has a volume, not pbc={atoms.pbc.tolist()}.")
    check_probe(atoms, calculator)
    scales = np.linspace(smallest, largest, points)
    cells = [in_cell(atoms, atoms.cell * scale ** (1 / 3)) for scale in scales]
    found: Probed = submit_probe(probe_job, cells, calculator).result()
    volumes = scales * atoms.get_volume() / len(atoms)
    energies = found["energies"] / len(atoms)
    energy = curve(volumes, energies - energies.min(), "volume (Å³/atom)", "energy (eV/atom)")
    return observed(judged(energies), [], {"energy": energy})


def judged(energies: NDArray[Any]) -> dict[str, float]:
    """Return the numbers of energies by volume, (points,)."""
    lowest = int(np.argmin(energies))
    found = {
        "flips": float(turns(energies)),
        "compression": _order(energies[: lowest + 1]),
        "tension": _order(energies[lowest:]),
    }
    around = tortuosity(energies)
    return found if around is None else {**found, "tortuosity": around}


def _order(energies: NDArray[Any]) -> float:
    """Return Spearman's coefficient with the volume; 0 for fewer than three, or for equal ones."""
    if len(energies) < 3 or not np.ptp(energies):
        return 0.0
    return float(spearmanr(np.arange(len(energies)), energies).statistic)


errors = without_reference(METRICS)
