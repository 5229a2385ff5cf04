"""Surfaces, faults, vacancies, a barrier and phases by pw.x, at fixed positions and cells.

python benchmarks/points.py             compute what is not yet in quacc/bench/shipped/points-*.json
python benchmarks/points.py --finer     the same with finer settings, for what is not converged
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk, diamond111, fcc100, fcc111

SHIPPED = Path(__file__).resolve().parents[1] / "quacc" / "bench" / "shipped"
VACUUM = 6.0  # Å on either side
AL, SI = 3.97, 5.47  # Å, about those of LDA and PBE with these pseudopotentials

# Wide, so that few k-points suffice (Marzari et al., Phys. Rev. Lett. 82, 3296 (1999)).
SMEARING = {"system": {"occupations": "smearing", "smearing": "cold", "degauss": 0.04}}
# Of the points of each file: the functional, pseudopotential, cutoffs (Ry), spacing of k-points
# (1/Å, without 2π), and what of it is finer where the error is estimated.
SETS: dict[str, dict[str, Any]] = {
    "points-lda": {
        "level": "LDA (pw.x, Al.pz-vbc.UPF)",
        "keywords": {
            "pseudopotentials": {"Al": "Al.pz-vbc.UPF"},
            "ecutwfc": 12.0,
            "ecutrho": 48.0,
            "kspacing": 0.035,
            "input_data": SMEARING,
        },
        "finer": {"ecutwfc": 16.0, "ecutrho": 64.0, "kspacing": 0.025},
    },
    "points-pbe": {
        "level": "PBE (pw.x, Si.pbe-rrkj.UPF)",
        "keywords": {
            "pseudopotentials": {"Si": "Si.pbe-rrkj.UPF"},
            "ecutwfc": 20.0,
            "ecutrho": 80.0,
            "kspacing": 0.04,
            "input_data": SMEARING,
        },
        "finer": {"ecutwfc": 28.0, "ecutrho": 112.0, "kspacing": 0.03},
    },
}


def periodic(slab: Atoms) -> Atoms:
    """pw.x has three axes that repeat."""
    slab.pbc = True
    return slab


def cleaved() -> Atoms:
    """Six layers of silicon, cut where one bond is to each atom of a plane."""
    slab = diamond111("Si", (1, 1, 8), a=SI)
    order = np.argsort(slab.positions[:, 2])
    del slab[[order[0], order[-1]]]  # which have three bonds to the outside
    slab.center(VACUUM, axis=2)
    return periodic(slab)


def faulted(slip: float) -> Atoms:
    """Six layers of aluminium, with one plane slipped along <112> by a part of the whole fault."""
    whole = fcc111("Al", (1, 1, 6), a=AL)
    step = AL / np.sqrt(3)
    cell = np.array(whole.cell)
    # After six layers the stacking ABC has come twice; the cell's tilt is the slip.
    cell[2] = [0, -slip * AL / np.sqrt(6), 6 * step]
    return Atoms(whole.symbols, whole.positions, cell=cell, pbc=True)


def without(atoms: Atoms, index: int) -> Atoms:
    del atoms[index]
    return atoms


def hop() -> tuple[Atoms, Atoms]:
    """A vacancy, and the atom beside it halfway into it."""
    whole = bulk("Al", a=AL) * (2, 2, 2)
    middle = whole.copy()
    middle.positions[1] += whole.get_distance(1, 0, mic=True, vector=True) / 2
    return without(whole, 0), without(middle, 0)


def points() -> dict[str, dict[str, tuple[str, Atoms, Atoms]]]:
    """Name the quantity, the structure, and what it is relative to."""
    aluminium, silicon = bulk("Al", a=AL), bulk("Si", a=SI)
    vacancy, middle = hop()
    dense = AL / 2 ** (1 / 3)  # of two atoms in a cube, at the same density
    hcp = AL / np.sqrt(2)
    tin = SI * 0.88
    return {
        "points-lda": {
            "Al(111)": (
                "surface_energy",
                periodic(fcc111("Al", (1, 1, 5), a=AL, vacuum=VACUUM)),
                aluminium,
            ),
            "Al(100)": (
                "surface_energy",
                periodic(fcc100("Al", (1, 1, 5), a=AL, vacuum=VACUUM)),
                aluminium,
            ),
            "Al unstable fault": ("fault_energy", faulted(0.5), faulted(0)),
            "Al intrinsic fault": ("fault_energy", faulted(1), faulted(0)),
            "Al vacancy": ("vacancy_energy", vacancy, aluminium),
            "Al hop": ("barrier", middle, vacancy),
            "Al hcp": (
                "phase_energy",
                bulk("Al", "hcp", a=hcp, c=hcp * np.sqrt(8 / 3)),
                aluminium,
            ),
            "Al bcc": ("phase_energy", bulk("Al", "bcc", a=dense), aluminium),
        },
        "points-pbe": {
            "Si(111)": (
                "surface_energy",
                cleaved(),
                silicon,
            ),
            "Si vacancy": ("vacancy_energy", without(bulk("Si", a=SI, cubic=True), 0), silicon),
            "Si beta-tin": (
                "phase_energy",
                Atoms(
                    "Si4",
                    scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5], [0, 0.5, 0.25], [0.5, 0, 0.75]],
                    cell=[tin, tin, 0.55 * tin],
                    pbc=True,
                ),
                silicon,
            ),
            "Si sc": ("phase_energy", bulk("Si", "sc", a=2.53), silicon),
        },
    }


def row(name: str, quantity: str, atoms: Atoms, other: Atoms, value: float) -> dict[str, Any]:
    return {
        "name": name,
        "quantity": quantity,
        "value": round(value, 4),
        "structure": plain(atoms),
        "relative_to": plain(other),
    }


def plain(atoms: Atoms) -> dict[str, Any]:
    return {
        "numbers": atoms.numbers.tolist(),
        "positions": atoms.positions.round(6).tolist(),
        "cell": np.array(atoms.cell).round(6).tolist(),
    }


def rounded(atoms: Atoms) -> Atoms:
    """What the file has is what is computed."""
    return Atoms(**plain(atoms), pbc=True)


def compute(only: list[str], finer: bool) -> None:
    from quacc.bench.kinds.points import measure

    for file, rows in points().items():
        if only and not {*only} & {*rows}:
            continue
        keywords = SETS[file]["keywords"]
        path = SHIPPED / f"{file}.json"
        found = json.loads(path.read_text("utf-8")) if path.exists() else {"points": []}
        done = {one["name"]: one for one in found["points"]}
        for name, (quantity, structure, crystal) in rows.items():
            if only and name not in only:
                continue
            atoms, other = rounded(structure), rounded(crystal)
            begun = time.monotonic()

            def value(**more: Any) -> float:
                calculator = {"name": "espresso", **keywords, **more}  # noqa: B023
                given = {"calculator": calculator, "others": {quantity: other}}  # noqa: B023
                return float(measure(atoms, **given)["values"][quantity])  # noqa: B023

            if name not in done or done[name]["structure"] != plain(atoms):
                done[name] = row(name, quantity, atoms, other, value())
            if finer and "finer" not in done[name]:
                done[name]["finer"] = round(value(**SETS[file]["finer"]), 4)
            spent = time.monotonic() - begun
            print(name, done[name]["value"], done[name].get("finer"), f"{spent:.0f} s", flush=True)
            pseudopotential = next(iter(keywords["pseudopotentials"].values()))
            content = Path("/usr/share/espresso/pseudo", pseudopotential).read_bytes()
            found = {
                "level": SETS[file]["level"],
                "made_by": "benchmarks/points.py: quacc's points with espresso, single points",
                "keywords": keywords,
                "finer": SETS[file]["finer"],
                "pseudopotential_sha256": hashlib.sha256(content).hexdigest(),
                "points": [done[one] for one in rows if one in done],
            }
            path.write_text(json.dumps(found) + "\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="of points; all if there are none")
    parser.add_argument("--finer", action="store_true", help="with the finer settings, too")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="quacc-points-") as home:
        os.environ["HOME"] = home
        os.environ["QUACC_RESULTS_DIR"] = f"{home}/results"
        compute(args.names, args.finer)


if __name__ == "__main__":
    main()
