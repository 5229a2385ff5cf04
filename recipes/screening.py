"""Which alloys of two metals are stable? Copy this file and edit it.

    python recipes/screening.py                        on the cores of this machine
    python recipes/screening.py --site NAME            workers as batch jobs, from a login node
    sbatch slurm/flow.sh recipes/screening.py          on the nodes of one Slurm job

Relaxes every ordered arrangement of two metals on the fcc lattice with up to four atoms in the
cell, 574 structures for EMT's seven metals, and compares their formation energies. Interrupted or
started twice, it goes on: what is finished is taken from the results database.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import combinations, permutations, product
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, reference_states
from matplotlib.figure import Figure
from prefect import flow
from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
from pymatgen.core import Element
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from quacc.prefect import fan_out
from quacc.prefect.lifecycle.server import prefect_api
from quacc.prefect.show.artifacts import show_picture, show_table
from quacc.recipes.emt.core import relax_job
from quacc.util.wflows import make_runner

METALS = ["Ag", "Al", "Au", "Cu", "Ni", "Pd", "Pt"]
FCC = np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
ENERGY = "formation energy (meV/atom)"


@flow(flow_run_name="alloys with up to {size} atoms in the cell")
def screening(metals: list[str], size: int = 4) -> list[dict[str, Any]]:
    """Relax all alloys; return one row each, the most stable first."""
    pairs = list(combinations(metals, 2))
    orders = [order for count in range(2, size + 1) for order in orderings(count)]
    structures = [on_fcc([metal], np.eye(3), np.zeros((1, 3))) for metal in metals]
    structures += [
        on_fcc([pair[kind] for kind in kinds], cell, sites)
        for pair in pairs
        for cell, sites, kinds in orders
    ]

    entries: list[PDEntry] = []
    for index, result in fan_out(relax_job, structures, relax_cell=True, require_convergence=True):
        alloy = result["atoms"]
        facts = {
            "space group": space_group(structures[index]),
            "volume (Å³/atom)": alloy.get_volume() / len(alloy),
            "key": result["key"],
        }
        entries.append(PDEntry(str(alloy.symbols), result["results"]["energy"], attribute=facts))

    rows, hulls = [], []
    for pair in pairs:
        both = {Element(metal) for metal in pair}
        hull = PhaseDiagram([entry for entry in entries if set(entry.elements) <= both])
        hulls.append(hull)
        rows += [row(entry, hull) for entry in hull.all_entries if not entry.is_element]
    rows.sort(key=lambda row: (row[ENERGY], row["key"]))
    show_table(rows, key="alloys", description="All alloys, the most stable first")
    show_picture(picture(hulls), key="alloys-hulls", description="Formation energies and hulls")
    return rows


def orderings(size: int) -> Iterator[tuple[np.ndarray, np.ndarray, tuple[int, ...]]]:
    """Yield all ways to order two kinds of atoms on the fcc lattice, that many to a cell.

    None has a smaller cell, and no rotation or shift of the lattice makes one from another: those
    of Hart and Forcade, Phys. Rev. B 77, 224115 (2008). Each is compared as it fills a box of
    size³ primitive cells, which holds whole cells of every shape.

    Yields
    ------
        The cell's vectors and the atoms' positions, in vectors of the primitive cell, and the
        atoms' kinds, 0 or 1.
    """
    box = np.array(list(product(range(size), repeat=3)))
    number = size ** np.array([2, 1, 0])  # of a point of the box
    shifts = (box[:, None] + box) % size @ number
    turns = [
        np.rint(FCC @ np.diag(signs)[list(axes)] @ np.linalg.inv(FCC)).astype(int)
        for axes in permutations(range(3))
        for signs in product((1, -1), repeat=3)
    ]
    images = np.concatenate([shifts[:, box @ turn % size @ number] for turn in turns])
    seen: set[bytes] = set()
    for cell in cells(size):
        inverse = np.rint(size * np.linalg.inv(cell)).astype(int)
        _, first, site = np.unique(
            box @ inverse % size, axis=0, return_index=True, return_inverse=True
        )
        for kinds in product((0, 1), repeat=size):
            filled = np.array(kinds, dtype=np.uint8)[site.ravel()]
            if filled.tobytes() not in seen:
                seen.update(image.tobytes() for image in filled[images])
                if len({shifted.tobytes() for shifted in filled[shifts]}) == size:
                    yield cell, box[first], kinds


def cells(size: int) -> Iterator[np.ndarray]:
    """Yield one cell for each superlattice of that many sites, in Hermite's normal form."""
    for a, c in product(range(1, size + 1), repeat=2):
        f, rest = divmod(size, a * c)
        if not rest:
            for b, d, e in product(range(c), range(f), range(f)):
                yield np.array([[a, b, d], [0, c, e], [0, 0, f]])


def on_fcc(symbols: list[str], cell: np.ndarray, sites: np.ndarray) -> Atoms:
    """Return atoms on sites of an fcc lattice with the mean of the metals' lattice constants."""
    a = np.mean([reference_states[atomic_numbers[symbol]]["a"] for symbol in symbols])
    return Atoms(symbols, positions=a * sites @ FCC, cell=a * cell @ FCC, pbc=True)


def space_group(atoms: Atoms) -> str:
    """Return the symbol of the space group, such as P4/mmm for L1₀ and Pm-3m for L1₂."""
    return SpacegroupAnalyzer(AseAtomsAdaptor.get_structure(atoms)).get_space_group_symbol()


def row(entry: PDEntry, hull: PhaseDiagram) -> dict[str, Any]:
    """Return what the table says of an alloy."""
    return {
        "alloy": entry.composition.reduced_formula,
        ENERGY: 1000 * hull.get_form_energy_per_atom(entry),
        "above hull (meV/atom)": 1000 * hull.get_e_above_hull(entry),
        **entry.attribute,
    }


def picture(hulls: list[PhaseDiagram]) -> Figure:
    """Draw the formation energies of every pair of metals over the composition."""
    columns = min(len(hulls), 7)
    lines = -(-len(hulls) // columns)
    figure = Figure(figsize=(1.7 * columns, 1.7 * lines), layout="constrained")
    axes = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axis, hull in zip(axes, hulls, strict=False):
        first, second = hull.elements

        def point(entry: PDEntry, second: Any = second, hull: Any = hull) -> tuple[float, float]:
            share = entry.composition.get_atomic_fraction(second)
            return share, 1000 * hull.get_form_energy_per_atom(entry)

        axis.plot(*zip(*map(point, hull.all_entries), strict=True), ".", color="tab:gray")
        stable = sorted(map(point, hull.stable_entries))
        axis.plot(*zip(*stable, strict=True), "o-", color="tab:blue", markersize=4)
        axis.set_title(f"{first}–{second}", fontsize="medium")
    for axis in axes[len(hulls) :]:
        axis.set_axis_off()
    figure.supxlabel("share of the second metal")
    figure.supylabel(ENERGY)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("metals", nargs="*", default=METALS)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--site", help="profile of the machine, such as perlmutter")
    where.add_argument(
        "--inside-allocation", action="store_true", help="on the nodes of this Slurm job"
    )
    parser.add_argument("--size", type=int, default=4, help="most atoms in a cell (4)")
    given = parser.parse_args()

    runner = make_runner(site=given.site, inside_allocation=given.inside_allocation)
    with prefect_api():
        rows = screening.with_options(task_runner=runner)(given.metals, given.size)
    for best in [row for row in rows if row["above hull (meV/atom)"] < 1e-6][:10]:
        print(f"{best['alloy']:8} {best['space group']:8} {best[ENERGY]:7.1f} meV/atom")
    print("`quacc results ls` lists all structures; the dashboard shows the table and the hulls.")


if __name__ == "__main__":
    main()
