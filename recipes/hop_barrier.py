"""Barriers of an adatom's hop on (100) surfaces, to see on which it is mobile.

    python recipes/hop_barrier.py                          Au on Al, Cu and Pd, with EMT
    python recipes/hop_barrier.py Ag Cu --adatom Cu --images 7

Needs: fcc metals, and a calculator with forces. For a hop of your own, call `neb_flow` with two
structures or files whose atoms are in the same order.
"""

from typing import Any

import numpy as np
from ase import Atoms, units
from ase.build import add_adsorbate, fcc100
from ase.constraints import FixAtoms
from prefect import flow

from quacc.cli.script import calculator as calculator_of
from quacc.cli.script import script
from quacc.prefect.show.artifacts import show_table
from quacc.prefect.workflows import neb_flow

METALS = ["Al", "Cu", "Pd"]
RATE = "hops at 300 K (1/s)"


@flow
def hop_barrier(
    metals: list[str] = METALS, adatom: str = "Au", calculator: str = "emt", images: int = 5
) -> list[dict[str, Any]]:
    """Return the barrier (eV) of the hop from hollow to hollow, and its rate (10¹² tries a second).

    Parameters
    ----------
    metals
        Of the surfaces.
    adatom
        Its symbol.
    calculator
        Its name, and its keywords.
    images
        Between the ends of the path.
    """
    rows = []
    for metal in metals:
        result = neb_flow(
            *ends(metal, adatom),
            neb_kwargs={"images": images},
            calculator=calculator_of(calculator),
        )
        rate = 1e12 * np.exp(-result["barrier"] / (units.kB * 300))
        rows.append({"surface": f"{metal}(100)", "barrier (eV)": result["barrier"], RATE: rate})
    rows.sort(key=lambda row: row["barrier (eV)"])
    show_table(rows, key="hops", description=f"Hops of {adatom} from hollow to hollow")
    return rows


def ends(metal: str, adatom: str) -> list[Atoms]:
    """Return the adatom in a hollow, and in the next one; the lowest layer is held."""
    initial = fcc100(metal, (2, 2, 3), vacuum=6)
    add_adsorbate(initial, adatom, 1.7, "hollow")
    initial.set_constraint(FixAtoms(mask=initial.get_tags() == 3))
    final = initial.copy()
    final.positions[-1, 0] += final.cell[0, 0] / 2
    return [initial, final]


if __name__ == "__main__":
    script(hop_barrier)
