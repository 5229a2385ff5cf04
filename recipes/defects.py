"""Formation energies of point defects, where the crystal is in equilibrium with other phases.

    python recipes/defects.py                              Cu₃Au against Cu, CuAu and Au, with EMT
    python recipes/defects.py crystal.cif --competing other.cif --calculator chgnet

Needs: a crystal, the phases that compete with it (files, or names such as O2), a calculator with
stresses, and `pip install quacc[defects]`. Elements are added by themselves.
"""

from typing import Any

from ase import Atoms
from ase.build import bulk
from prefect import flow

from quacc.cli.script import calculator as calculator_of
from quacc.cli.script import script
from quacc.prefect.show.artifacts import show_table
from quacc.prefect.workflows import defects_flow

COMPETING, KINDS = ["CuAu"], ["vacancy", "antisite"]


@flow
def defects(
    crystal: str = "Cu3Au",
    competing: list[str] = COMPETING,
    calculator: str = "emt",
    kinds: list[str] = KINDS,
    min_length: float = 7.0,
) -> list[dict[str, Any]]:
    """Return the formation energy (eV) of each defect, under each chemical condition.

    Parameters
    ----------
    crystal
        A file such as CIF or POSCAR; Cu3Au and CuAu are known here.
    competing
        Phases that limit the chemical potentials.
    calculator
        Its name, and its keywords.
    kinds
        Of vacancy, antisite, interstitial.
    min_length
        Of the supercell (Å).
    """
    result = defects_flow(
        structure(crystal),
        competing=[structure(text) for text in competing],
        kinds=kinds,
        min_length=min_length,
        calculator=calculator_of(calculator),
    )
    conditions = [f"with {' and '.join(one['phases'])} (eV)" for one in result["conditions"]]
    rows = [
        {
            "defect": defect["name"],
            **dict(zip(conditions, defect["formation_energies"], strict=True)),
            "moved": defect["moved"],
        }
        for defect in result["defects"]
    ]
    show_table(rows, key="defects", description=f"Point defects of {result['formula']}")
    return rows


def structure(text: str) -> Atoms | str:
    """Return the ordered alloys of copper and gold, and anything else as it is."""
    gold = {"Cu3Au": [0], "CuAu": [0, 3]}
    if text not in gold:
        return text
    crystal = bulk("Cu", a=3.8, cubic=True)
    crystal.symbols[gold[text]] = "Au"
    return crystal


if __name__ == "__main__":
    script(defects)
