"""Elastic constants of a family of crystals, side by side.

    python recipes/elastic_family.py                       fcc metals, with EMT
    python recipes/elastic_family.py a.cif b.cif --calculator "espresso kspacing=0.03"

Needs: crystals (files, or elements by name), and a calculator with forces, or better stresses.
All strained cells of all crystals are computed side by side; started again, it goes on.
"""

from typing import Any

from prefect import flow

from quacc.cli.script import calculator as calculator_of
from quacc.cli.script import script
from quacc.prefect import fan_out
from quacc.prefect.show.artifacts import show_table
from quacc.recipes.workflows import elastic_flow

METALS = ["Al", "Ni", "Cu", "Pd", "Ag", "Pt", "Au"]


@flow
def elastic_family(
    crystals: list[str] = METALS,
    calculator: str = "emt",
    strain: float = 0.005,
) -> list[dict[str, Any]]:
    """Return elastic constants and moduli (GPa), the stiffest crystal first.

    Parameters
    ----------
    crystals
        Files such as CIF or POSCAR, or elements.
    calculator
        Its name, and its keywords.
    strain
        The largest.
    """
    results = fan_out(
        elastic_flow, crystals, calculator=calculator_of(calculator), strain=strain
    ).results()
    rows = [
        {
            "crystal": crystal,
            "C11": result["elastic_tensor"][0, 0],
            "C12": result["elastic_tensor"][0, 1],
            "C44": result["elastic_tensor"][3, 3],
            "bulk (GPa)": result["bulk_modulus"],
            "shear (GPa)": result["shear_modulus"],
            "anisotropy": result["universal_anisotropy"],
            "stable": result["stable"],
        }
        for crystal, result in zip(crystals, results, strict=True)
    ]
    rows.sort(key=lambda row: -row["bulk (GPa)"])
    show_table(rows, key="elastic-family", description="Elastic constants, the stiffest first")
    return rows


if __name__ == "__main__":
    script(elastic_family)
