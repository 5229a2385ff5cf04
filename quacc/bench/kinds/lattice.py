"""Lattice constants: how far the model's own crystal is from the one that is given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ase import Atoms

from quacc.bench.kinds import Metric, Observation, observed
from quacc.errors import StructureError
from quacc.recipes.tools.verbs import Job, check, gather_each, submit
from quacc.recipes.tools.workflow import Calculator, workflow

VERSION = 1
QUANTITIES = {
    "a": {"title": "lattice constant a", "unit": "Å"},
    "c": {"title": "lattice constant c", "unit": "Å"},
}
METRICS = {
    f"{name}_error": Metric(f"error of {name}", "%", "crystals", "mean") for name in QUANTITIES
}


@workflow
def measure(
    atoms: Atoms,
    relax_job: Job = "relax_job",
    *,
    calculator: Calculator | None = None,
    fmax: float = 0.005,
) -> Observation:
    """Relax the cell of a crystal and the atoms in it.

    Parameters
    ----------
    atoms
        A cubic cell, or a hexagonal one with c as its third vector.
    fmax
        Of the relaxation (eV/Å).

    Raises
    ------
    StructureError
        Its cell is neither.
    NotConvergedError
    """
    lengths, angles = np.split(atoms.cell.cellpar(), 2)
    cubic = np.allclose(angles, 90) and np.allclose(lengths, lengths[0])
    if not cubic and not (
        np.allclose(angles[:2], 90)
        and np.isclose(lengths[0], lengths[1])
        and np.isclose(np.abs(angles[2] - 90), 30)
    ):
        raise StructureError("A cubic or a hexagonal cell is needed.")
    keywords: Any = {"relax_cell": True, "fmax": fmax, "require_convergence": True}
    check(relax_job, atoms, **keywords)
    results = gather_each([submit(relax_job, atoms, **keywords)], ["the crystal"], "lattice")
    found = results[0]["atoms"].cell.lengths()
    values = {"a": found.mean()} if cubic else {"a": found[:2].mean(), "c": found[2]}
    return observed(values, results)


def errors(values: Mapping[str, float], reference: Mapping[str, float]) -> dict[str, float]:
    return {
        f"{name}_error": 100 * abs(values[name] / reference[name] - 1)
        for name in QUANTITIES
        if name in values and name in reference
    }
