"""Draws the figures of the documentation: ``python docs/gallery.py``."""

from pathlib import Path

from ase.build import add_adsorbate, bulk, fcc100

from quacc.recipes.emt.adsorption import adsorption_flow
from quacc.recipes.emt.defects import defects_flow
from quacc.recipes.emt.elastic import elastic_flow
from quacc.recipes.emt.eos import eos_flow
from quacc.recipes.emt.hull import hull_flow
from quacc.recipes.emt.md import md_flow
from quacc.recipes.emt.molecules import reaction_flow
from quacc.recipes.emt.neb import neb_flow
from quacc.recipes.emt.phonons import phonon_flow
from quacc.recipes.emt.qha import qha_flow
from quacc.recipes.emt.slabs import bulk_to_slabs_flow
from quacc.recipes.emt.stacking_fault import stacking_fault_flow
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
    "eos": lambda: eos_flow("Cu", points=11),
    "elastic": lambda: elastic_flow("Cu"),
    "phonons": lambda: phonon_flow("Cu"),
    "qha": lambda: qha_flow("Cu", supercell=[4, 4, 4]),
    "surfaces": lambda: bulk_to_slabs_flow("Cu", max_index=2, slab_static_electron=None),
    "adsorption": lambda: adsorption_flow("Cu", "O", reference="O2"),
    "neb": lambda: neb_flow(*hop(), neb_kwargs={"images": 5}),
    "stacking_fault": lambda: stacking_fault_flow("Al", points=25),
    "defects": lambda: defects_flow(alloys()[1], relax_kwargs={"fmax": 0.02}),
    "reaction": lambda: reaction_flow("N2 + 3 H2 -> 2 NH3"),
    "hull": lambda: hull_flow(alloys()),
    "md": lambda: md_flow(bulk("Cu", cubic=True) * 3, temperature=600, timestep=4.0, steps=2000),
    "convergence": lambda: converge(
        eos_flow, "step", [0.03, 0.02, 0.01, 0.005], "Cu", of="bulk_modulus", tolerance=0.5
    ),
}

if __name__ == "__main__":
    folder = Path(__file__).parent / "gallery"
    for name, make in FIGURES.items():
        plot(make(), folder / f"{name}.svg")
        print(name)
