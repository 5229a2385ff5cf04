"""Molecular dynamics without a thermostat: does the energy stay?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ase import Atoms

from quacc.bench.kinds import Metric, Observation, curve, observed
from quacc.errors import require_count, require_positive
from quacc.recipes.tools.verbs import Job, check, submit
from quacc.recipes.tools.workflow import Calculator, workflow

VERSION = 1
QUANTITIES: dict[str, Any] = {
    "drift": {"title": "drift of the energy", "unit": "meV/atom/ps"},
    "fluctuation": {"title": "fluctuation of the energy", "unit": "meV/atom"},
}
METRICS = {
    "drift": Metric("|drift| of the energy", "meV/atom/ps", "crystals"),
    "fluctuation": Metric("fluctuation of the energy", "meV/atom", "crystals"),
}


@workflow
def measure(
    atoms: Atoms,
    md_job: Job = "md_job",
    *,
    calculator: Calculator | None = None,
    repeat: int = 2,
    steps: int = 1000,
    timestep: float = 1.0,
    temperature: float = 300.0,
    sample_every: int = 5,
    seed: int = 0,
) -> Observation:
    """Run velocity Verlet; fit a line to the total energy.

    Parameters
    ----------
    repeat
        Cells along each periodic direction.
    steps, timestep
        Of the dynamics (fs).
    temperature
        Of the velocities at the start (K).
    sample_every
        Steps between two points of the line.
    seed
        Of the velocities.
    """
    require_count(repeat=repeat, sample_every=sample_every)
    require_count(minimum=10 * sample_every, steps=steps)
    require_positive(timestep=timestep)
    large = atoms.repeat(np.where(atoms.pbc, repeat, 1).tolist())
    options = {
        "dynamics": "NVE",
        "steps": steps,
        "timestep": timestep,
        "temperature": temperature,
        "sample_every": sample_every,
        "seed": seed,
    }
    check(md_job, large, **options)
    result = submit(md_job, large, **options).result()
    history = result["history"]
    times = history["time"] / 1e3
    energies = 1e3 * (history["energy"] + history["kinetic_energy"]) / len(large)
    slope, start = np.polyfit(times, energies, 1)
    values = {"drift": slope, "fluctuation": np.std(energies - start - slope * times)}
    total = curve(times, energies - energies[0], "time (ps)", "total energy (meV/atom)")
    return observed(values, [result], {"total energy": total})


def errors(values: Mapping[str, float], reference: Mapping[str, float]) -> dict[str, float]:
    return {name: abs(value) for name, value in values.items()}
