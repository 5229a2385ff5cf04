"""Energies of interaction: of molecules together, over that of each alone, none of them relaxed."""

from __future__ import annotations

from collections.abc import Mapping

from ase import Atoms

from quacc.bench.kinds import Metric, Observation, observed
from quacc.errors import StructureError
from quacc.recipes.tools.verbs import Job, check, gather_each, submit
from quacc.recipes.tools.workflow import Calculator, workflow

VERSION = 1
QUANTITIES = {"energy": {"title": "energy of interaction", "unit": "eV"}}
METRICS = {"energy_error": Metric("error of the energy of interaction", "eV", "pairs")}


@workflow
def measure(
    atoms: Atoms,
    static_job: Job = "static_job",
    *,
    calculator: Calculator | None = None,
    others: Mapping[str, Atoms],
) -> Observation:
    """Compute the energy of molecules over the sum of each alone; negative where they attract.

    Parameters
    ----------
    others
        The molecules alone, by any name.

    Raises
    ------
    StructureError
        There are fewer than two, or they are not what the structure consists of.
    """
    if len(others) < 2:
        raise StructureError(f"Two molecules are needed, not {len(others)}.")
    parts = sorted(number for one in others.values() for number in one.numbers.tolist())
    if parts != sorted(atoms.numbers.tolist()):
        raise StructureError(f"{', '.join(others)} together are not the structure.")
    structures = [atoms, *others.values()]
    for structure in structures:
        check(static_job, structure)
    futures = [submit(static_job, one) for one in structures]
    results = gather_each(futures, ["all", *others], "interaction")
    together, *alone = (one["results"]["energy"] for one in results)
    return observed({"energy": together - sum(alone)}, results)


def errors(values: Mapping[str, float], reference: Mapping[str, float]) -> dict[str, float]:
    if "energy" not in values or "energy" not in reference:
        return {}
    return {"energy_error": abs(values["energy"] - reference["energy"])}
