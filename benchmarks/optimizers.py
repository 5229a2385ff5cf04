"""How many force calls relaxations take: 100 rattled systems, and 12 whose cells relax as well.

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
from ase.calculators.lj import LennardJones
from ase.collections import g2
from ase.constraints import FixAtoms
from ase.filters import FrechetCellFilter
from ase.optimize.precon import PreconLBFGS
from report import frame, measured_on, save, update_docs

from quacc.runners.relax import Calls

HERE = Path(__file__).resolve().parent
RESULT = HERE / "optimizers.json"
START, END = "<!-- table: benchmarks/optimizers.py -->", "<!-- end of the optimizers' table -->"

FMAX, STEPS = 0.01, 1000
"""eV/Å, and when an optimizer has failed."""
SAME = 1e-3
"""Energies per atom (eV) that differ by more are of other minima."""
COVALENT = (("C", "diamond", 3.567), ("SiC", "zincblende", 4.36), ("BN", "zincblende", 3.615))
ARGON = {"sigma": 3.4, "epsilon": 0.0104, "rc": 9.0, "ro": 8.0}
KINDS = ("crystal", "slab", "molecule", "cell")
QUACC = "`relax_job`"
FOR_CELLS = ("BFGS", "LBFGS", "BFGSLineSearch")
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


def systems() -> Iterator[tuple[str, Atoms]]:
    """Yield kind and structure: 40 crystals, 30 slabs, 30 molecules; the same every time.

    Of the crystals, 28 are alloys of metals, 6 are covalent and 6 are of argon. Then 12 cells.
    """
    for number in range(28):
        yield "crystal", alloy(number)
    for number in range(6):
        yield "crystal", covalent(number)
        yield "crystal", argon(number)
    for number in range(30):
        yield "slab", slab(number)
    names = [name for name in g2.names if 3 <= len(molecule(name)) <= 12]
    closed = [name for name in names if not molecule(name).get_initial_magnetic_moments().any()]
    for number, name in enumerate(closed[:: len(closed) // 30][:30]):
        atoms = molecule(name)
        atoms.rattle(0.05, rng=np.random.default_rng(2000 + number))
        atoms.calc = xtb("GFN2-xTB", 0.1)
        yield "molecule", atoms
    for number in range(4):
        for atoms in (alloy(number), covalent(number), argon(number)):
            strain = 0.02 * np.random.default_rng(3000 + number).normal(size=(3, 3))
            atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
            yield "cell", atoms


def alloy(number: int) -> Atoms:
    random = np.random.default_rng(number)
    one, other = METALS[number % 7], METALS[number // 7 % 7]
    lengths = [bulk(metal, cubic=True).cell.lengths()[0] for metal in (one, other)]
    size = ((1, 1, 1), (2, 1, 1), (2, 2, 1), (2, 2, 2))[number % 4]
    atoms = bulk(one, cubic=True, a=sum(lengths) / 2) * size
    atoms.symbols[random.permutation(len(atoms))[: len(atoms) // 2]] = other
    atoms.rattle(0.1, rng=random)
    atoms.calc = EMT()
    return atoms


def covalent(number: int) -> Atoms:
    name, kind, length = COVALENT[number % 3]
    atoms = bulk(name, kind, a=length, cubic=True)
    atoms.rattle(0.05 if number < 3 else 0.1, rng=np.random.default_rng(number))
    atoms.calc = xtb("GFN1-xTB", 0.5)
    return atoms


def argon(number: int) -> Atoms:
    atoms = bulk("Ar", a=5.26, cubic=True) * (1 + number % 2, 1, 1)
    atoms.rattle(0.1 + 0.02 * number, rng=np.random.default_rng(number))
    atoms.calc = LennardJones(**ARGON)
    return atoms


def slab(number: int) -> Atoms:
    build = (fcc111, fcc100, fcc110)[number % 3]
    atoms = build(METALS[number % 7], (2, 2, 4), vacuum=8.0, periodic=True)
    atoms.rattle(0.1, rng=np.random.default_rng(1000 + number))
    atoms.set_constraint(FixAtoms(mask=[atom.tag > 2 for atom in atoms]))
    atoms.calc = EMT()
    return atoms


def xtb(method: str, accuracy: float) -> Any:
    from tblite.ase import TBLite

    return TBLite(method=method, verbosity=0, accuracy=accuracy)


def relax_with_quacc(kind: str, atoms: Atoms) -> dict[str, Any]:
    """Return force calls and energy (eV) of ``relax_job`` as it is without options."""
    from quacc.recipes.emt import core as emt
    from quacc.recipes.lj import core as lj
    from quacc.recipes.tblite import core as tblite

    code, options = emt, {}
    if isinstance(atoms.calc, LennardJones):
        code, options = lj, ARGON
    elif not isinstance(atoms.calc, EMT):
        code = tblite
        options = {name: atoms.calc.parameters[name] for name in ("method", "accuracy")}
    result = code.relax_job(atoms, relax_cell=kind == "cell", fmax=FMAX, steps=STEPS, **options)
    calls = result["force_calls"] if result["converged"] else None
    return {"calls": calls, "energy": result["results"]["energy"]}


def relax(name: str, kind: str, atoms: Atoms) -> dict[str, Any]:
    """Return force calls and energy (eV) of a relaxation; no calls if it did not converge."""
    calculator = atoms.calc
    atoms = atoms.copy()
    calculator.reset()
    atoms.calc = calculator
    vars(calculator).pop("calculate", None)
    calls = Calls(atoms.calc)
    target = FrechetCellFilter(atoms) if kind == "cell" else atoms
    try:
        converged = OPTIMIZERS[name](target).run(fmax=FMAX, steps=STEPS)
    except (RuntimeError, np.linalg.LinAlgError) as error:  # a failure of the optimizer
        return {"calls": None, "failed": str(error)}
    energy = float(atoms.get_potential_energy())
    return {"calls": calls.count if converged else None, "energy": energy}


def measure() -> dict[str, Any]:
    found = []
    for number, (kind, atoms) in enumerate(systems()):
        print(f"{number + 1} of 112: {kind} {atoms.symbols}", file=sys.stderr, flush=True)
        names = FOR_CELLS if kind == "cell" else OPTIMIZERS
        runs = {name: relax(name, kind, atoms) for name in names}
        runs[QUACC] = relax_with_quacc(kind, atoms)
        found.append({"kind": kind, "formula": str(atoms.symbols), "n": len(atoms), "runs": runs})
    return {"fmax": FMAX, "systems": found, "summary": summarise(found)}


def summarise(found: list[dict[str, Any]]) -> dict[str, Any]:
    summary = {}
    for name in (QUACC, *OPTIMIZERS):
        fewer: dict[str, list[float]] = {kind: [] for kind in ("all", *KINDS)}
        failed = elsewhere = 0
        for one in found:
            if name not in one["runs"]:
                continue
            base, run = one["runs"]["BFGS"], one["runs"][name]
            if run["calls"] is None:
                failed += 1
                continue
            elsewhere += abs(run["energy"] - base["energy"]) / one["n"] > SAME
            for kind in (one["kind"], *(["all"] if one["kind"] != "cell" else [])):
                fewer[kind].append(base["calls"] / run["calls"])
        summary[name] = {
            "fewer": {
                kind: statistics.median(values) if values else None
                for kind, values in fewer.items()
            },
            "worst": min([*fewer["all"], *fewer["cell"]], default=None),
            "failed": failed,
            "other_minima": int(elsewhere),
        }
    return summary


def table(report: dict[str, Any]) -> str:
    lines = [
        "| optimizer | BFGS's calls over its own: all | crystals | slabs | molecules | cells "
        "| worst | not converged | other minimum |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, one in report["results"]["summary"].items():
        fewer = one["fewer"]
        numbers = " | ".join(_number(fewer[kind]) for kind in KINDS)
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
