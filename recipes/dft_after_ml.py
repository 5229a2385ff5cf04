"""Relax with a cheap potential first, then with the dear code: how many dear steps are saved?

    python recipes/dft_after_ml.py                         rattled silicon: Tersoff, then pw.x
    python recipes/dft_after_ml.py a.cif b.cif --cheap chgnet --dear "vasp kspacing=0.03"

Needs: structures, a cheap calculator such as a machine-learned potential, and a dear one; the
default is pw.x with silicon's pseudopotential of Debian's. The saving is measured by relaxing each
structure without the cheap one, too: do it for a few of many, and then without --compare.
"""

from typing import Any

from ase import Atoms
from ase.build import bulk
from prefect import flow

from quacc.cli.script import calculator as calculator_of
from quacc.cli.script import script
from quacc.prefect import fan_out
from quacc.prefect.show.artifacts import show_table
from quacc.recipes.workflows import double_relax_flow

STRUCTURES = ["rattled silicon"]
CHEAP = "tersoff potential=Si.tersoff"
DEAR = "espresso pseudopotentials.Si=Si.pz-vbc.UPF ecutwfc=16 ecutrho=64 kspacing=0.06"


@flow
def dft_after_ml(
    structures: list[str] = STRUCTURES,
    cheap: str = CHEAP,
    dear: str = DEAR,
    fmax: float = 0.02,
    compare: bool = True,
) -> list[dict[str, Any]]:
    """Return energies (eV), and how many force calls of the dear calculator were saved.

    Parameters
    ----------
    structures
        Files such as CIF or POSCAR, or names.
    cheap
        The first calculator's name, and its keywords.
    dear
        The second one's.
    fmax
        Force at which both end (eV/Å).
    compare
        Relax each with the dear one alone, too.
    """
    first = calculator_of(cheap)
    name = first.pop("name")
    results = fan_out(
        double_relax_flow,
        [silicon() if text == STRUCTURES[0] else text for text in structures],
        pre_relax_job=f"{name}.relax_job",
        calculator=calculator_of(dear),
        compare=compare,
        pre_relax_kwargs={**first, "fmax": fmax},
        relax_kwargs={"fmax": fmax},
    ).results()
    rows = [
        {
            "structure": text,
            "energy (eV)": result["energy"],
            "dear calls": result["dear_calls"],
            "without the cheap one": result["direct_calls"],
            "saved": result["saved"],
        }
        for text, result in zip(structures, results, strict=True)
    ]
    show_table(rows, key="saved", description=f"{dear.split()[0]} after {name}")
    return rows


def silicon() -> Atoms:
    """Return a primitive cell of silicon, whose atoms are 0.1 Å from their places."""
    atoms = bulk("Si", a=5.38)
    atoms.rattle(0.1, seed=0)
    return atoms


if __name__ == "__main__":
    script(dft_after_ml)
