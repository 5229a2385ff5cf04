"""Energies of atomization: of the atoms of a molecule, over that of the molecule."""

from __future__ import annotations

from collections.abc import Mapping

from ase import Atoms

from quacc.bench.kinds import Metric, Observation, observed
from quacc.errors import StructureError
from quacc.recipes.tools.verbs import Job, check, gather_each, submit
from quacc.recipes.tools.workflow import Calculator, workflow

VERSION = 1
QUANTITIES = {"energy": {"title": "energy of atomization", "unit": "eV"}}
METRICS = {"energy_error": Metric("error of the energy of atomization", "eV", "molecules")}


@workflow
def measure(
    atoms: Atoms,
    static_job: Job = "static_job",
    *,
    calculator: Calculator | None = None,
    others: Mapping[str, Atoms],
) -> Observation:
    """Compute the energy that it takes to part a molecule into atoms; its geometry is given.

    Parameters
    ----------
    others
        One atom of each element, by its symbol.

    Raises
    ------
    StructureError
        An element has no atom.
    """
    symbols = [*atoms.symbols]
    if lacking := {*symbols} - {*others}:
        raise StructureError(f"There is no single atom of {', '.join(sorted(lacking))}.")
    names = [*dict.fromkeys(symbols)]
    structures = [atoms, *(others[one] for one in names)]
    for structure in structures:
        check(static_job, structure)
    futures = [submit(static_job, one) for one in structures]
    results = gather_each(futures, ["the molecule", *names], "atomization")
    molecule, *single = (one["results"]["energy"] for one in results)
    parts = sum(energy * symbols.count(name) for name, energy in zip(names, single, strict=True))
    return observed({"energy": parts - molecule}, results)


def errors(values: Mapping[str, float], reference: Mapping[str, float]) -> dict[str, float]:
    if "energy" not in values or "energy" not in reference:
        return {}
    return {"energy_error": abs(values["energy"] - reference["energy"])}
