"""Which alloy binds an adsorbate how strongly? A catalyst is looked for where it binds neither
too much nor too little.

    python recipes/adsorption_on_alloys.py                 O on copper and its alloys, with EMT
    python recipes/adsorption_on_alloys.py Cu Pd --partners Au --adsorbate N --reference N2

Needs: two or more metals, which become the fcc crystals M and the L1₂ alloys M₃X, and a calculator
with forces. Every site of each closest-packed surface is tried, (111) of all crystals.
"""

from typing import Any

from ase import Atoms
from ase.build import bulk
from ase.data import atomic_numbers, reference_states
from prefect import flow

from quacc.atoms.slabs import make_slabs
from quacc.cli.script import calculator as calculator_of
from quacc.cli.script import script
from quacc.prefect import fan_out
from quacc.prefect.show.artifacts import show_table
from quacc.recipes.tools.workflow import workflow_of_job
from quacc.recipes.workflows import adsorption_flow

relax_flow = workflow_of_job("relax")
METALS, PARTNERS = ["Cu"], ["Pd", "Au"]


@flow
def adsorption_on_alloys(
    metals: list[str] = METALS,
    partners: list[str] = PARTNERS,
    adsorbate: str = "O",
    reference: str = "O2",
    calculator: str = "emt",
) -> list[dict[str, Any]]:
    """Return the most stable site and its adsorption energy on each crystal.

    Parameters
    ----------
    metals
        Of fcc crystals.
    partners
        Metals that take a quarter of the places.
    adsorbate
        An atom's symbol.
    reference
        The gas that energies refer to.
    calculator
        Its name, and its keywords.
    """
    named = calculator_of(calculator)
    crystals = {metal: l12(metal, metal) for metal in metals}
    crystals |= {f"{m}3{x}": l12(m, x) for m in metals for x in partners if x != m}
    slabs = []
    relaxed = fan_out(relax_flow, crystals.values(), calculator=named, relax_cell=True).results()
    for crystal in relaxed:
        cut = make_slabs(crystal, min_thickness=6.0, min_vacuum=12.0, min_lateral=5.0)
        slabs.append(next(one.atoms for one in cut if one.miller == (1, 1, 1)))
    results = fan_out(
        adsorption_flow,
        slabs,
        adsorbate=Atoms(adsorbate),
        reference=reference,
        calculator=named,
        relax_kwargs={"fmax": 0.05},
    ).results()
    rows = [
        {
            "crystal": name,
            "site": result["sites"][0]["site"],
            "adsorption energy (eV)": result["sites"][0]["adsorption_energy"],
            "height (Å)": result["sites"][0]["height"],
        }
        for name, result in zip(crystals, results, strict=True)
    ]
    rows.sort(key=lambda row: row["adsorption energy (eV)"])
    show_table(rows, key="adsorption", description=f"{adsorbate} on (111), the strongest first")
    return rows


def l12(metal: str, partner: str) -> Atoms:
    """Return the fcc crystal in which the partner has the corners of the cube."""
    lengths = [reference_states[atomic_numbers[one]]["a"] for one in (metal, partner)]
    crystal = bulk(metal, "fcc", a=0.75 * lengths[0] + 0.25 * lengths[1], cubic=True)
    crystal.symbols[0] = partner
    return crystal


if __name__ == "__main__":
    script(adsorption_on_alloys)
