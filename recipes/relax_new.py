"""Relax what is new in a folder, a database or a trajectory; copy this file and edit it.

    python recipes/relax_new.py FOLDER                 once, on the cores of this machine

Meant to run often and by itself, see docs/lesson.md: what is known costs nothing, and a run that
found nothing new says so in its state, "NothingNew".
"""

from __future__ import annotations

import argparse
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from quacc.atoms.read import read_structures
from quacc.prefect import fan_out, make_runner
from quacc.prefect.notify import notify
from quacc.prefect.show.artifacts import show_table
from quacc.recipes.emt.core import relax_job


@flow(
    name="relax-new",
    flow_run_name="what is new in {source}",
    task_runner=make_runner(),
    on_failure=[notify],
    on_crashed=[notify],
)
def relax_new(source: str) -> State[list[str]]:
    """Relax atoms and cells; return the keys of all results."""
    structures = read_structures(source)
    work = fan_out(relax_job, [atoms for _, atoms in structures], relax_cell=True)
    results = work.results()
    keys = [result["key"] for result in results]
    new = work.counts.computed
    if not new:
        return Completed(name="NothingNew", message=f"All {len(keys)} are known.", data=keys)
    names = [name for name, _ in structures]
    show_table([row(*pair) for pair in zip(names, results, strict=True)], key="relaxed")
    return Completed(message=f"{new} of {len(keys)} were new.", data=keys)


def row(name: str, result: dict[str, Any]) -> dict[str, Any]:
    atoms = result["atoms"]
    return {
        "structure": name,
        "energy (eV/atom)": result["results"]["energy"] / len(atoms),
        "volume (Å³/atom)": atoms.get_volume() / len(atoms),
        "converged": result["converged"],
        "key": result["key"],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split(";")[0])
    parser.add_argument("source")
    print(relax_new(parser.parse_args().source, return_state=True))
