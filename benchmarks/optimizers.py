"""How many force calls relaxations take: 100 rattled systems, each with every optimizer.

    python benchmarks/optimizers.py                  count, print, write optimizers.json
    python benchmarks/optimizers.py --update-docs    put optimizers.json into docs/benchmarks.md

Every figure is a ratio to ASE's BFGS with its defaults, which starts from the same structure and
ends below the same largest force. Counts do not depend on the machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, optimize
from ase.build import bulk, fcc100, fcc110, fcc111, molecule
from ase.calculators.emt import EMT
from ase.collections import g2
from ase.constraints import FixAtoms
from ase.optimize.precon import PreconLBFGS
from report import frame, measured_on, save, update_docs

HERE = Path(__file__).resolve().parent
RESULT = HERE / "optimizers.json"
START, END = "<!-- table: benchmarks/optimizers.py -->", "<!-- end of the optimizers' table -->"

FMAX, STEPS = 0.01, 1000
"""eV/Å, and when an optimizer has failed."""
SAME = 1e-3
"""Energies per atom (eV) that differ by more are of other minima."""
METALS = ("Al", "Cu", "Ag", "Au", "Ni", "Pd", "Pt")

OPTIMIZERS: dict[str, Callable[[Atoms], Any]] = {
    "BFGS": lambda atoms: optimize.BFGS(atoms, logfile=None),
    "LBFGS": lambda atoms: optimize.LBFGS(atoms, logfile=None),
    "FIRE": lambda atoms: optimize.FIRE(atoms, logfile=None),
    "BFGSLineSearch": lambda atoms: optimize.BFGSLineSearch(atoms, logfile=None),
    "GoodOldQuasiNewton": lambda atoms: optimize.GoodOldQuasiNewton(atoms, logfile=None),
    "PreconLBFGS, Exp": lambda atoms: PreconLBFGS(atoms, logfile=None, precon="Exp"),
    "GPMin": lambda atoms: optimize.GPMin(atoms, logfile=None, trajectory=None),
}


class Calls:
    """Counts what a calculator computes."""

    def __init__(self, atoms: Atoms) -> None:
        self.count = 0
        self._calculate = atoms.calc.calculate
        atoms.calc.calculate = self

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        self.count += 1
        self._calculate(*args, **kwargs)


def systems() -> Iterator[tuple[str, Atoms]]:
    """Yield kind and structure: 40 crystals, 30 slabs, 30 molecules; the same every time."""
    for number in range(40):
        random = np.random.default_rng(number)
        one, other = METALS[number % 7], METALS[number // 7 % 7]
        lengths = [bulk(metal, cubic=True).cell.lengths()[0] for metal in (one, other)]
        size = ((1, 1, 1), (2, 1, 1), (2, 2, 1), (2, 2, 2))[number % 4]
        atoms = bulk(one, cubic=True, a=sum(lengths) / 2) * size
        atoms.symbols[random.permutation(len(atoms))[: len(atoms) // 2]] = other
        atoms.rattle(0.1, rng=random)
        atoms.calc = EMT()
        yield "crystal", atoms
    for number in range(30):
        random = np.random.default_rng(1000 + number)
        build = (fcc111, fcc100, fcc110)[number % 3]
        atoms = build(METALS[number % 7], (2, 2, 4), vacuum=8.0, periodic=True)
        atoms.rattle(0.1, rng=random)
        atoms.set_constraint(FixAtoms(mask=[atom.tag > 2 for atom in atoms]))
        atoms.calc = EMT()
        yield "slab", atoms
    from tblite.ase import TBLite

    names = [name for name in g2.names if 3 <= len(molecule(name)) <= 12]
    closed = [name for name in names if not molecule(name).get_initial_magnetic_moments().any()]
    for number, name in enumerate(closed[:: len(closed) // 30][:30]):
        atoms = molecule(name)
        atoms.rattle(0.05, rng=np.random.default_rng(2000 + number))
        atoms.calc = TBLite(method="GFN2-xTB", verbosity=0, accuracy=0.1)
        yield "molecule", atoms


def relax(name: str, atoms: Atoms) -> dict[str, Any]:
    """Return force calls and energy (eV) of a relaxation; no calls if it did not converge."""
    calculator = atoms.calc
    atoms = atoms.copy()
    calculator.reset()
    atoms.calc = calculator
    vars(calculator).pop("calculate", None)
    calls = Calls(atoms)
    try:
        converged = OPTIMIZERS[name](atoms).run(fmax=FMAX, steps=STEPS)
    except (RuntimeError, np.linalg.LinAlgError) as error:  # a failure of the optimizer
        return {"calls": None, "failed": str(error)}
    energy = float(atoms.get_potential_energy())
    return {"calls": calls.count if converged else None, "energy": energy}


def measure() -> dict[str, Any]:
    found = []
    for number, (kind, atoms) in enumerate(systems()):
        print(f"{number + 1} of 100: {kind} {atoms.symbols}", file=sys.stderr, flush=True)
        runs = {name: relax(name, atoms) for name in OPTIMIZERS}
        found.append({"kind": kind, "formula": str(atoms.symbols), "n": len(atoms), "runs": runs})
    return {"fmax": FMAX, "systems": found, "summary": summarise(found)}


def summarise(found: list[dict[str, Any]]) -> dict[str, Any]:
    summary = {}
    for name in OPTIMIZERS:
        fewer: dict[str, list[float]] = {"all": [], "crystal": [], "slab": [], "molecule": []}
        failed = elsewhere = 0
        for one in found:
            base, run = one["runs"]["BFGS"], one["runs"][name]
            if run["calls"] is None:
                failed += 1
                continue
            elsewhere += abs(run["energy"] - base["energy"]) / one["n"] > SAME
            for kind in ("all", one["kind"]):
                fewer[kind].append(base["calls"] / run["calls"])
        summary[name] = {
            "fewer": {
                kind: statistics.median(values) if values else None
                for kind, values in fewer.items()
            },
            "worst": min(fewer["all"], default=None),
            "failed": failed,
            "other_minima": int(elsewhere),
        }
    return summary


def table(report: dict[str, Any]) -> str:
    lines = [
        "| optimizer | BFGS's calls over its own: all | crystals | slabs | molecules | worst "
        "| not converged | other minimum |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, one in report["results"]["summary"].items():
        fewer = one["fewer"]
        numbers = " | ".join(_number(fewer[kind]) for kind in ("crystal", "slab", "molecule"))
        lines.append(
            f"| {name} | **{_number(fewer['all'])}** | {numbers} | {_number(one['worst'])} "
            f"| {one['failed']} | {one['other_minima']} |"
        )
    versions = {"ASE": report["versions"]["ase"], "tblite": report["versions"]["tblite"]}
    return "\n".join([*lines, "", measured_on(report, versions)])


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--update-docs", action="store_true", help="measure nothing")
    if not parser.parse_args().update_docs:
        from importlib.metadata import version

        versions = {name: version(name) for name in ("ase", "tblite")}
        save(frame("python benchmarks/optimizers.py", versions, measure()), RESULT)
    report = json.loads(RESULT.read_text())
    print(table(report))
    if parser.parse_args().update_docs:
        update_docs(table(report), START, END)


if __name__ == "__main__":
    main()
