"""Surface energies of crystals, such as one's own CIF file.

    python recipes/surfaces.py                             three metals, with EMT
    python recipes/surfaces.py my.cif --calculator "espresso kspacing=0.03" --max-index 2
    python recipes/surfaces.py --site NAME                 workers as batch jobs, from a login node
    sbatch slurm/flow.sh recipes/surfaces.py               on the nodes of one Slurm job

Needs: crystals (files, or elements by name), and a calculator with forces. Copy this file and edit
it. Interrupted or started twice, it goes on: what is finished is taken from the results database.
"""

from typing import Any

from prefect import flow

from quacc.cli.script import calculator as calculator_of
from quacc.cli.script import script
from quacc.prefect import fan_out
from quacc.prefect.show.artifacts import show_table
from quacc.recipes.workflows import bulk_to_slabs_flow

METALS = ["Al", "Cu", "Ni"]


@flow
def surfaces(
    crystals: list[str] = METALS, calculator: str = "emt", max_index: int = 1
) -> list[dict[str, Any]]:
    """Return surface energies, and parts of the Wulff shape.

    Parameters
    ----------
    crystals
        Files such as CIF or POSCAR, or elements.
    calculator
        Its name, and its keywords.
    max_index
        Largest Miller index.
    """
    results = fan_out(
        bulk_to_slabs_flow, crystals, calculator=calculator_of(calculator), max_index=max_index
    ).results()
    rows = [
        {
            "crystal": crystal,
            "surface": "".join(map(str, surface["miller"])),
            "termination": surface["termination"],
            "energy (J/m²)": surface["surface_energy"],
        }
        for crystal, result in zip(crystals, results, strict=True)
        for surface in result["surfaces"]
    ]
    show_table(rows, key="surfaces", description="Surface energies")
    return rows


if __name__ == "__main__":
    script(surfaces)
