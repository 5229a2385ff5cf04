"""One job on many structures: a folder, a database, a trajectory, a CSV file of names."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from quacc.atoms.convert import StructureLike
from quacc.atoms.read import read_structures
from quacc.recipes.tools.verbs import Job, check, gather_each, submit
from quacc.recipes.tools.workflow import Calculator, finish, keywords, workflow
from quacc.schemas import FlowResult

UNITS = {"rows": "energy eV, energy_per_atom eV"}


class BatchResult(FlowResult):
    """Many results; ``atoms`` is the last structure's."""

    rows: list[dict[str, Any]]
    """One each, in the order of the source: ``structure`` (its name there), ``formula``,
    ``natoms``, ``energy`` and ``energy_per_atom`` (eV), ``converged``, ``key``."""


@workflow
def batch_flow(
    source: str | os.PathLike[str] | Sequence[StructureLike],
    job: Job = "static_job",
    *,
    calculator: Calculator | None = None,
    job_kwargs: Mapping[str, Any] | None = None,
) -> BatchResult:
    """Run any job on every structure of a folder, database, trajectory, CSV file or list.

    Parameters
    ----------
    source
        See :func:`quacc.atoms.read.read_structures`.
    job
        Any job, such as ``relax_job``.
    job_kwargs
        Its keywords.
    calculator
        Name of the calculator whose jobs they are, such as emt, or a mapping of its name and its
        parameters; by default, the setting ``calculator``.

    Raises
    ------
    InputError
        Before anything is computed; says which structure makes no sense.
    JobsFailedError
        Some structures failed; carries the results of the others.
    """
    job_kwargs = keywords("job_kwargs", job_kwargs)
    structures = read_structures(source)
    for _, atoms in structures:
        check(job, atoms, **job_kwargs)
    futures = [submit(job, atoms, **job_kwargs) for _, atoms in structures]
    names = [name for name, _ in structures]
    results = gather_each(futures, names, "batch_flow")
    rows = []
    for name, one in zip(names, results, strict=True):
        energy = float(one["results"].get("energy", np.nan))
        natoms = len(one["atoms"])
        rows.append(
            {
                "structure": name,
                "formula": one["formula"],
                "natoms": natoms,
                "energy": energy,
                "energy_per_atom": energy / natoms,
                "converged": one.get("converged"),
                "key": one["key"],
            }
        )
    last = results[-1]["atoms"]
    parameters = {"source": names, "job_kwargs": job_kwargs}
    result: BatchResult = finish("batch_flow", last, results, parameters, {"rows": rows}, UNITS)
    return result


def summarise(result: BatchResult) -> str:
    undone = sum(row["converged"] is False for row in result["rows"])
    text = f"{len(result['rows'])} structures"
    return f"{text}, {undone} not converged" if undone else text


def tabulate(result: BatchResult) -> list[dict[str, Any]]:
    return [
        {
            "structure": row["structure"],
            "formula": row["formula"],
            "atoms": row["natoms"],
            "energy (eV)": row["energy"],
            "energy per atom (eV)": row["energy_per_atom"],
            "converged": row["converged"],
            "key": row["key"][:10],
        }
        for row in result["rows"]
    ]


def draw(result: BatchResult, figure: Any) -> None:
    axes = figure.add_subplot()
    energies = sorted(row["energy_per_atom"] for row in result["rows"])
    axes.plot(range(1, len(energies) + 1), energies, "o-", markersize=3)
    axes.set(xlabel="structure, by energy", ylabel="energy per atom (eV)")
