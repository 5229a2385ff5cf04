"""Energies of a structure over another: surfaces, faults, vacancies, barriers and phases.

Positions and cells are the reference's, so that only energies are compared.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from ase import Atoms, units

from quacc.bench.kinds import Metric, Observation, observed
from quacc.errors import ParameterError, StructureError
from quacc.recipes.tools.verbs import Job, check, gather_each, submit
from quacc.recipes.tools.workflow import Calculator, workflow
from quacc.runners.calculation import formula_of

VERSION = 1
QUANTITIES = {
    "surface_energy": {"title": "surface energy", "unit": "J/m²"},
    "fault_energy": {"title": "energy of the fault", "unit": "mJ/m²"},
    "vacancy_energy": {"title": "energy of the vacancy", "unit": "eV"},
    "barrier": {"title": "barrier", "unit": "eV"},
    "phase_energy": {"title": "energy over the stable phase", "unit": "meV/atom"},
}
METRICS = {
    f"{name}_error": Metric(f"error of the {one['title']}", one["unit"], "structures")
    for name, one in QUANTITIES.items()
}


@workflow
def measure(
    atoms: Atoms,
    static_job: Job = "static_job",
    *,
    calculator: Calculator | None = None,
    others: Mapping[str, Atoms],
) -> Observation:
    """Compute the energy of a structure over as many atoms of another.

    Parameters
    ----------
    others
        One structure by the name of the quantity: the crystal that a ``surface_energy`` (of a
        slab's two surfaces), ``fault_energy``, ``vacancy_energy`` or ``phase_energy`` is relative
        to, or the start of a ``barrier``. Surface and fault are perpendicular to the third axis.

    Raises
    ------
    StructureError
        Another composition.
    """
    if len(others) != 1 or not {*others} <= {*QUANTITIES}:
        raise ParameterError(
            f"one other structure is needed, by the name of its quantity, {', '.join(QUANTITIES)}: "
            f"{', '.join(others) or 'there is none'}."
        )
    ((name, other),) = others.items()
    times = len(atoms) / len(other)
    if sorted(atoms.numbers.tolist() * len(other)) != sorted(other.numbers.tolist() * len(atoms)):
        raise StructureError(f"{formula_of(atoms)} is no multiple of {formula_of(other)}.")
    for one in (atoms, other):
        check(static_job, one)
    futures = [submit(static_job, one) for one in (atoms, other)]
    results = gather_each(futures, ["the structure", "the other"], "points")
    energy, base = (one["results"]["energy"] for one in results)
    excess = energy - times * base
    area = float(np.linalg.norm(np.cross(atoms.cell[0], atoms.cell[1])))
    joule = units.kJ / 1000 / (units.m**2)  # per square metre
    value = {
        "surface_energy": excess / (2 * area) / joule if area else excess,
        "fault_energy": 1e3 * excess / area / joule if area else excess,
        "vacancy_energy": excess,
        "barrier": excess,
        "phase_energy": 1e3 * excess / len(atoms),
    }[name]
    return observed({name: value}, results)


def errors(values: Mapping[str, float], reference: Mapping[str, float]) -> dict[str, float]:
    return {
        f"{name}_error": abs(values[name] - reference[name])
        for name in QUANTITIES
        if name in values and name in reference
    }
