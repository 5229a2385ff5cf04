"""Draws the figures of the documentation: ``python docs/gallery.py``."""

from pathlib import Path

from ase.build import add_adsorbate, bulk, fcc100

from quacc.recipes import workflows
from quacc.recipes.report import plot
from quacc.recipes.workflows.converge import converge


def alloys() -> list:
    made = [bulk("Cu", cubic=True) for _ in range(5)]
    for count, alloy in enumerate(made):
        alloy.symbols[:count] = "Au"
    return made


def hop() -> list:
    initial = fcc100("Al", (2, 2, 3), vacuum=6)
    add_adsorbate(initial, "Au", 1.7, "hollow")
    final = initial.copy()
    final.positions[-1, 0] += final.cell[0, 0] / 2
    return [initial, final]


FIGURES = {
    "eos": lambda: workflows.eos_flow("Cu", points=11, calculator="emt"),
    "elastic": lambda: workflows.elastic_flow("Cu", calculator="emt"),
    "phonons": lambda: workflows.phonon_flow("Cu", calculator="emt"),
    "qha": lambda: workflows.qha_flow("Cu", supercell=[4, 4, 4], calculator="emt"),
    "surfaces": lambda: workflows.bulk_to_slabs_flow(
        "Cu", max_index=2, slab_static_electron=None, calculator="emt"
    ),
    "adsorption": lambda: workflows.adsorption_flow("Cu", "O", reference="O2", calculator="emt"),
    "neb": lambda: workflows.neb_flow(*hop(), neb_kwargs={"images": 5}, calculator="emt"),
    "stacking_fault": lambda: workflows.stacking_fault_flow("Al", points=25, calculator="emt"),
    "defects": lambda: workflows.defects_flow(
        alloys()[1], relax_kwargs={"fmax": 0.02}, calculator="emt"
    ),
    "reaction": lambda: workflows.reaction_flow("N2 + 3 H2 -> 2 NH3", calculator="emt"),
    "hull": lambda: workflows.hull_flow(alloys(), calculator="emt"),
    "md": lambda: workflows.md_flow(
        bulk("Cu", cubic=True) * 3, temperature=600, timestep=4.0, steps=2000, calculator="emt"
    ),
    "convergence": lambda: converge(
        workflows.eos_flow,
        "step",
        [0.03, 0.02, 0.01, 0.005],
        "Cu",
        of="bulk_modulus",
        tolerance=0.5,
        calculator="emt",
    ),
}

if __name__ == "__main__":
    folder = Path(__file__).parent / "gallery"
    for name, make in FIGURES.items():
        plot(make(), folder / f"{name}.svg")
        print(name)
