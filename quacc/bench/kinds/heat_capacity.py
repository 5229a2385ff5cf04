"""Phonons of crystals: the heat capacity, and whether the crystal is stable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms, units

from quacc.bench.kinds import Metric, Observation, curve, observed
from quacc.errors import require_positive
from quacc.recipes.tools.verbs import Job
from quacc.recipes.tools.workflow import Calculator, workflow
from quacc.recipes.workflows.phonon import phonon_flow

VERSION = 1
QUANTITIES = {
    "heat_capacity": {"title": "heat capacity at constant volume", "unit": "J/mol/K"},
    "lowest_frequency": {"title": "lowest frequency", "unit": "THz"},
    "unstable": {"title": "has imaginary modes", "unit": ""},
}
METRICS = {
    "heat_capacity_error": Metric("error of the heat capacity", "J/mol/K", "crystals"),
    "unstable": Metric("share with imaginary modes", "", "crystals"),
}


@workflow
def measure(
    atoms: Atoms,
    relax_job: Job = "relax_job",
    static_job: Job = "static_job",
    *,
    calculator: Calculator | None = None,
    temperature: float = 300.0,
    supercell: Sequence[int] | None = None,
    min_length: float = 12.0,
    relax_kwargs: Mapping[str, Any] | None = None,
) -> Observation:
    """Compute the phonons of a crystal; ``heat_capacity`` is of a mole of the cell that is given.

    Parameters
    ----------
    temperature
        Of the heat capacity (K).
    supercell, min_length, relax_kwargs
        See :func:`quacc.recipes.workflows.phonon.phonon_flow`.
    """
    require_positive(temperature=temperature)
    result = phonon_flow(
        atoms,
        relax_job,
        static_job,
        supercell=supercell,
        min_length=min_length,
        relax_kwargs=relax_kwargs,
        t_max=temperature,
        t_step=temperature,
    )
    cells = len(atoms) / len(result["primitive"])
    found = np.interp(
        temperature, result["thermal"]["temperatures"], result["thermal"]["heat_capacity"]
    )
    values = {
        "heat_capacity": cells * found / (units.J / units.mol),
        "lowest_frequency": result["lowest_frequency"],
        "unstable": float(not result["stable"]),
    }
    density = curve(
        result["dos"]["frequencies"], result["dos"]["density"], "frequency (THz)", "density (1/THz)"
    )
    return observed(values, [result], {"density": density})


def errors(values: Mapping[str, float], reference: Mapping[str, float]) -> dict[str, float]:
    found = {"unstable": values["unstable"]} if "unstable" in values else {}
    if "heat_capacity" in values and "heat_capacity" in reference:
        found["heat_capacity_error"] = abs(values["heat_capacity"] - reference["heat_capacity"])
    return found
