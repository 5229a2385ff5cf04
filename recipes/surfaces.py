"""Surface energies of metals; copy this file and edit it.

    python recipes/surfaces.py                         on the cores of this machine
    python recipes/surfaces.py --site NAME             workers as batch jobs, from a login node
    sbatch slurm/flow.sh recipes/surfaces.py           on the nodes of one Slurm job

Interrupted or started twice, it goes on: what is finished is taken from the results database.
"""

from __future__ import annotations

import argparse
from typing import Any

from prefect import flow

from quacc.prefect.lifecycle.server import prefect_api
from quacc.recipes.emt.prefect.slabs import bulk_to_slabs_flow
from quacc.util.wflows import make_runner


@flow
def surfaces(metals: list[str], max_index: int = 1) -> dict[str, Any]:
    """Compute the surface energies of metals, all slabs of one at the same time."""
    return {metal: bulk_to_slabs_flow(metal, max_index=max_index) for metal in metals}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("metals", nargs="*", default=["Al", "Cu", "Ni"])
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--site", help="profile of the machine, such as perlmutter")
    where.add_argument(
        "--inside-allocation", action="store_true", help="on the nodes of this Slurm job"
    )
    parser.add_argument("--max-index", type=int, default=1)
    given = parser.parse_args()

    runner = make_runner(site=given.site, inside_allocation=given.inside_allocation)
    with prefect_api():
        results = surfaces.with_options(task_runner=runner)(given.metals, given.max_index)
    for metal, result in results.items():
        for surface in result["surfaces"]:
            miller = "".join(map(str, surface["miller"]))
            print(f"{metal:3} {miller:6} {surface['surface_energy']:.3f} J/m²")


if __name__ == "__main__":
    main()
