"""Forces and stresses of given structures against those of a calculator that is trusted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ase import Atoms, units

from quacc.bench.kinds import Metric, Observation, observed
from quacc.recipes.tools.verbs import Job, check, submit
from quacc.recipes.tools.workflow import Calculator, workflow

VERSION = 1
QUANTITIES: dict[str, Any] = {
    "force_error": {"title": "mean |ΔF|", "unit": "meV/Å"},
    "mean_force": {"title": "mean |F| of the reference", "unit": "meV/Å"},
    "stress_error": {"title": "mean |Δσ|", "unit": "GPa"},
    "energy": {"title": "energy", "unit": "eV/atom"},
}
METRICS = {
    "force_error": Metric("mean |ΔF|", "meV/Å", "structures"),
    "stress_error": Metric("mean |Δσ|", "GPa", "structures"),
}

FORCES, STRESS = "reference_forces", "reference_stress"
"""Where a structure has the reference: an array (eV/Å), and in its info (eV/Å³, Voigt)."""


@workflow
def measure(
    atoms: Atoms, static_job: Job = "static_job", *, calculator: Calculator | None = None
) -> Observation:
    """Compute energy, forces and stress, and how far they are from the reference.

    Each error is a mean over components, so that a model of forces that are all zero has the mean
    force of the reference.
    """
    bare = atoms.copy()
    bare.info = {}
    expected: Any = bare.arrays.pop(FORCES, None)
    check(static_job, bare)
    result = submit(static_job, bare).result()
    found = result["results"]
    values = {"energy": found["energy"] / len(atoms)}
    if expected is not None:
        values["force_error"] = 1e3 * np.abs(found["forces"] - expected).mean()
        values["mean_force"] = 1e3 * np.abs(expected).mean()
    if STRESS in atoms.info and "stress" in found:
        difference = np.abs(found["stress"] - np.array(atoms.info[STRESS]))
        values["stress_error"] = difference.mean() / units.GPa
    return observed(values, [result])


def errors(values: Mapping[str, float], reference: Mapping[str, float]) -> dict[str, float]:
    return {name: values[name] for name in METRICS if name in values}
