"""Which of these crystals are dynamically stable? Those without imaginary phonons.

    python recipes/phonon_stability.py                     copper and silver, fcc and bcc, with EMT
    python recipes/phonon_stability.py *.cif --calculator chgnet

Needs: crystals (files, elements, or an element and its lattice, such as Cu-bcc), and a calculator
with forces. Supercells are 12 Å wide unless --min-length says otherwise: converge it.
"""

from typing import Any

from ase import Atoms
from ase.build import bulk
from prefect import flow

from quacc.cli.script import calculator as calculator_of
from quacc.cli.script import script
from quacc.prefect import fan_out
from quacc.prefect.show.artifacts import show_table
from quacc.recipes.workflows import phonon_flow

CRYSTALS = ["Cu", "Cu-bcc", "Ag", "Ag-bcc"]


@flow
def phonon_stability(
    crystals: list[str] = CRYSTALS, calculator: str = "emt", min_length: float = 12.0
) -> list[dict[str, Any]]:
    """Return the lowest frequency (THz, negative where it is imaginary) of each crystal.

    Parameters
    ----------
    crystals
        Files such as CIF or POSCAR, elements, or an element and its lattice.
    calculator
        Its name, and its keywords.
    min_length
        Of the supercells (Å).
    """
    results = fan_out(
        phonon_flow,
        [crystal(text) for text in crystals],
        calculator=calculator_of(calculator),
        min_length=min_length,
    ).results()
    rows = [
        {
            "crystal": name,
            "lowest (THz)": round(result["lowest_frequency"], 3) + 0.0,
            "stable": result["stable"],
            "key": result["key"][:10],
        }
        for name, result in zip(crystals, results, strict=True)
    ]
    rows.sort(key=lambda row: -row["lowest (THz)"])
    show_table(rows, key="phonon-stability", description="Lowest phonons, the stable ones first")
    return rows


def crystal(text: str) -> Atoms | str:
    """Return what Cu-bcc stands for, with the volume of an atom as in the element's crystal."""
    element, _, lattice = text.partition("-")
    if lattice not in ("fcc", "bcc"):
        return text
    volume = bulk(element).get_volume() / len(bulk(element))
    return bulk(element, lattice, a=(volume * {"fcc": 4, "bcc": 2}[lattice]) ** (1 / 3))


if __name__ == "__main__":
    script(phonon_stability)
