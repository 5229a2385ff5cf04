"""Molecular dynamics that gets hotter and hotter: how far does it come?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ase import Atoms

from quacc.atoms.check import check_structure
from quacc.bench.kinds import Metric, Observation, curve, observed, without_reference
from quacc.errors import (
    NotFiniteError,
    ParameterError,
    StructureError,
    require_count,
    require_positive,
)
from quacc.recipes.tools.verbs import Job, check, submit
from quacc.recipes.tools.workflow import Calculator, workflow

VERSION = 1
QUANTITIES: dict[str, Any] = {"survived": {"title": "part of the ramp survived", "unit": "%"}}
METRICS = {
    "survived": Metric("part of the ramp survived", "%", "crystals", better="higher"),
}


@workflow
def measure(
    atoms: Atoms,
    md_job: Job = "md_job",
    *,
    calculator: Calculator | None = None,
    repeat: int = 2,
    coldest: float = 300.0,
    hottest: float = 3000.0,
    stages: int = 10,
    steps: int = 100,
    timestep: float = 1.0,
    friction: float = 0.01,
    too_hot: float = 5.0,
    sample_every: int = 5,
    seed: int = 0,
) -> Observation:
    """Run Langevin dynamics at one temperature after the other, in a fixed cell.

    It ends where the energy or a force is not finite, where two atoms are closer than half the sum
    of their covalent radii, or where the atoms move as at ``too_hot`` times the temperature asked
    for, which a thermostat allows only what falls apart. What melts has survived.

    Parameters
    ----------
    repeat
        Cells along each periodic direction.
    coldest, hottest, stages
        Temperatures (K), equally spaced.
    steps, timestep
        Steps at each temperature, and the length of one (fs).
    friction
        Of the thermostat (1/fs).
    too_hot
        Times the temperature.
    sample_every
        Steps between two looks at the atoms.
    seed
        Of the velocities, and of the thermostat.
    """
    require_count(repeat=repeat, steps=steps, sample_every=sample_every)
    require_count(minimum=2, stages=stages)
    require_positive(coldest=coldest, too_hot=too_hot)
    if not hottest > coldest:
        raise ParameterError(f"A ramp goes up, not from {coldest!r} K to {hottest!r} K.")
    if steps % sample_every:
        raise ParameterError(f"{steps} steps cannot be looked at every {sample_every}.")
    now = atoms.repeat(np.where(atoms.pbc, repeat, 1).tolist())
    options = {
        "dynamics": "Langevin",
        "steps": steps,
        "timestep": timestep,
        "friction": friction,
        "sample_every": sample_every,
        "trajectory": True,
    }
    check(md_job, now, temperature=coldest, seed=seed, **options)
    results, warnings, times, seen = [], [], [], []
    survived, end = 0, ""
    for number, temperature in enumerate(np.linspace(coldest, hottest, stages)):
        try:
            result = submit(
                md_job, now, temperature=float(temperature), seed=seed + number, **options
            ).result()
        except NotFiniteError as error:  # which is what is measured
            end = str(error)
        else:
            results.append(result)
            history = result["history"]
            times += [*(history["time"] + number * steps * timestep)]
            seen += [*history["temperature"]]
            good, end = _good(result, too_hot * temperature)
            survived += good * sample_every
        if end:
            warnings.append(f"At {temperature:.0f} K, after {survived} steps: {end}")
            break
        now = result["atoms"]
    curves = {"temperature": curve(times, seen, "time (fs)", "temperature (K)")}
    return observed({"survived": 100 * survived / (stages * steps)}, results, curves, warnings)


def _good(result: Mapping[str, Any], hottest: float) -> tuple[int, str]:
    """Return how many looks the atoms have survived, beside that at the start; what ended it."""
    frames = zip(result["trajectory"], result["history"]["temperature"], strict=True)
    for number, (frame, temperature) in enumerate(frames):
        survived = max(number - 1, 0)
        if temperature > hottest:
            return survived, f"the atoms move as at {temperature:.0f} K."
        try:
            check_structure(frame)
        except StructureError as error:
            return survived, str(error)
    return number, ""


errors = without_reference(METRICS)
