"""Energies, enthalpies and Gibbs energies of gas reactions, from their equations.

    python recipes/reaction_energies.py                    three reactions, with GFN2-xTB
    python recipes/reaction_energies.py "N2 + 3 H2 -> 2 NH3" --temperature 700 --calculator pyscf

Needs: equations with names of the G2 set of molecules, and a calculator of molecules; the default
is tblite (`pip install quacc[tblite]`). Molecules that several reactions share are computed once.
"""

from typing import Any

from prefect import flow

from quacc.cli.script import calculator as calculator_of
from quacc.cli.script import script
from quacc.prefect import fan_out
from quacc.prefect.show.artifacts import show_table
from quacc.recipes.workflows import reaction_flow

REACTIONS = ["N2 + 3 H2 -> 2 NH3", "CO + H2O -> CO2 + H2", "CO + 3 H2 -> CH4 + H2O"]


@flow
def reaction_energies(
    reactions: list[str] = REACTIONS, calculator: str = "tblite", temperature: float = 298.15
) -> list[dict[str, Any]]:
    """Return the energies of each reaction (eV).

    Parameters
    ----------
    reactions
        Equations.
    calculator
        Its name, and its keywords.
    temperature
        Of all gases (K), at 1 bar.
    """
    results = fan_out(
        reaction_flow, reactions, calculator=calculator_of(calculator), temperature=temperature
    ).results()
    rows = [
        {
            "reaction": reaction,
            "energy (eV)": result["reaction_energy"],
            "enthalpy (eV)": result["reaction_enthalpy"],
            "Gibbs energy (eV)": result["reaction_gibbs_energy"],
        }
        for reaction, result in zip(reactions, results, strict=True)
    ]
    show_table(rows, key="reactions", description=f"Reactions at {temperature} K")
    return rows


if __name__ == "__main__":
    script(reaction_energies)
