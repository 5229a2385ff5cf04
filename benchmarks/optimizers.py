"""How many force calls relaxations take: 158 structures, and 12 whose cells relax as well.

    python benchmarks/optimizers.py                  count, print, write optimizers.json
    python benchmarks/optimizers.py --update-docs    put optimizers.json into docs/benchmarks.md

Every figure is a ratio to ASE's BFGS with its defaults, which starts from the same structure and
ends below the same largest force. Counts do not depend on the machine. MOPAC must be installed.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, optimize
from ase.build import add_adsorbate, bulk, fcc100, fcc110, fcc111, molecule
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.mopac import MOPAC
from ase.collections import g2, s22
from ase.constraints import FixAtoms
from ase.filters import FrechetCellFilter
from ase.optimize.precon import PreconLBFGS
from report import frame, measured_on, save, update_docs

from quacc.calculators import mopac
from quacc.runners.relax import Calls

HERE = Path(__file__).resolve().parent
RESULT = HERE / "optimizers.json"
START, END = "<!-- table: benchmarks/optimizers.py -->", "<!-- end of the optimizers' table -->"

FMAX, STEPS = 0.01, 1000
"""eV/Å, and when an optimizer has failed."""
SAME = 1e-3
"""Energies (eV) that differ by more are of other minima."""
COVALENT = (("C", "diamond", 3.567), ("SiC", "zincblende", 4.36), ("BN", "zincblende", 3.615))
ARGON = {"sigma": 3.4, "epsilon": 0.0104, "rc": 9.0, "ro": 8.0}
KINDS = ("crystal", "slab", "adsorbate", "molecule", "crude", "cell")
QUACC = "`relax_job`"
FOR_CELLS = ["BFGS", "LBFGS", "BFGSLineSearch"]
METALS = ("Al", "Cu", "Ag", "Au", "Ni", "Pd", "Pt")
WITH_PM7 = (
    "CH3CH2OH", "C6H6", "CH3COOH", "C2H6SO", "CH3NO2", "isobutane", "C4H4NH", "SiF4",
)  # fmt: skip
CRUDE = (
    "CH3", "CH3CH2O", "NO2", "CH3CO", "PF3", "ClF3", "Si2H6", "SO2", "C5H5N", "bicyclobutane",
    "trans-butane", "C3H9C", "N2H4", "H2O2", "CH3CONH2", "C2H6SO", "biphenyl",
)  # fmt: skip
RADICALS = CRUDE[:4]
DIMERS = (
    "Water_dimer", "Ammonia_dimer", "Formic_acid_dimer", "Formamide_dimer",
    "Uracil_dimer_h-bonded", "Ethene_dimer", "Benzene-water_complex", "Benzene_dimer_T-shaped",
    "Phenol_dimer", "Adenine-thymine_Watson-Crick_complex",
)  # fmt: skip

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
    """Yield kind and structure; the same every time.

    40 crystals (28 alloys of metals, 6 covalent ones, 6 of argon), 30 slabs, 20 with adsorbates, 38
    rattled molecules of 3 to 12 atoms, 30 crude starts of up to 30 atoms: molecules stretched and
    rattled more, dimers with and without hydrogen bonds, clusters of water. Then 12 cells.
    """
    for number in range(28):
        yield "crystal", alloy(number)
    for number in range(6):
        yield "crystal", covalent(number)
        yield "crystal", argon(number)
    for number in range(30):
        yield "slab", slab(number)
    for number in range(20):
        yield "adsorbate", adsorbate(number)
    names = [name for name in g2.names if 3 <= len(molecule(name)) <= 12]
    closed = [name for name in names if not molecule(name).get_initial_magnetic_moments().any()]
    for number, name in enumerate(closed[:: len(closed) // 30][:30]):
        atoms = molecule(name)
        atoms.rattle(0.05, rng=np.random.default_rng(2000 + number))
        atoms.calc = xtb("GFN2-xTB", 0.1)
        yield "molecule", atoms
    for number, name in enumerate(WITH_PM7):
        atoms = molecule(name)
        atoms.rattle(0.05, rng=np.random.default_rng(7000 + number))
        atoms.calc = mopac.CODE.build(mopac.CODE.complete({}), Path(tempfile.mkdtemp()))
        yield "molecule", atoms
    for number in range(len(CRUDE) + len(DIMERS) + 3):
        yield "crude", crude(number)
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


def adsorbate(number: int) -> Atoms:
    """Return atoms in hollows, half of them guessed, half of them relaxed and then rattled.

    In EMT, molecules fall apart on metals: of CO, both atoms are adsorbed.
    """
    name, build = ("O", "H", "N", "CO", "C")[number % 5], (fcc111, fcc100, fcc110)[number % 3]
    size = (2, 3, 3) if build is fcc110 else (2, 2, 3)
    atoms = build(("Cu", "Pt", "Pd", "Ni")[number // 5], size, vacuum=8.0, periodic=True)
    fixed = [atom.index for atom in atoms if atom.tag == 3]
    for place, symbol in enumerate(name):
        site = "fcc" if build is fcc111 else "hollow"
        add_adsorbate(atoms, symbol, 1.2, site, offset=(place / 2, place / 2))
    atoms.set_constraint(FixAtoms(fixed))
    atoms.calc = EMT()
    if number % 2:
        atoms.rattle(0.02, rng=np.random.default_rng(number))
        optimize.BFGS(atoms, logfile=None).run(fmax=FMAX / 2, steps=STEPS)
    atoms.rattle(0.1, rng=np.random.default_rng(9000 + number))
    return atoms


def crude(number: int) -> Atoms:
    random = np.random.default_rng(4000 + number)
    unpaired = False
    if number < len(CRUDE):
        atoms, unpaired = molecule(CRUDE[number]), CRUDE[number] in RADICALS
        atoms.set_initial_magnetic_moments(None)
        atoms.positions *= 1.05
        atoms.rattle(0.1, rng=random)
    elif number < len(CRUDE) + len(DIMERS):
        atoms = s22[DIMERS[number - len(CRUDE)]]
        atoms.rattle(0.05, rng=random)
    else:
        atoms = Atoms()
        for place in list(np.ndindex(2, 2, 2))[: (3, 4, 6)[number - len(CRUDE) - len(DIMERS)]]:
            water = molecule("H2O")
            water.rotate(random.uniform(0, 360), random.normal(size=3))
            water.translate(2.9 * np.array(place))
            atoms += water
    atoms.calc = xtb("GFN2-xTB", 0.1, **({"multiplicity": 2} if unpaired else {}))
    return atoms


def xtb(method: str, accuracy: float, **more: Any) -> Any:
    from tblite.ase import TBLite

    return TBLite(method=method, verbosity=0, accuracy=accuracy, **more)


def relax_with_quacc(kind: str, atoms: Atoms) -> dict[str, Any]:
    """Return force calls and energy (eV) of ``relax_job`` as it is without options."""
    from quacc.recipes.emt import core as emt
    from quacc.recipes.lj import core as lj
    from quacc.recipes.mopac import core as with_mopac
    from quacc.recipes.tblite import core as tblite

    code, options = emt, {}
    if isinstance(atoms.calc, LennardJones):
        code, options = lj, ARGON
    elif isinstance(atoms.calc, MOPAC):
        code = with_mopac
    elif not isinstance(atoms.calc, EMT):
        code = tblite
        names = {"method", "accuracy", "multiplicity"} & atoms.calc.parameters.keys()
        options = {name: atoms.calc.parameters[name] for name in names}
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
        print(f"{number + 1} of 170: {kind} {atoms.symbols}", file=sys.stderr, flush=True)
        names = FOR_CELLS if kind == "cell" else list(OPTIMIZERS)
        if kind == "crude":  # whose steps are many: it would invert matrices of 10,000 rows
            names = [name for name in names if name != "GPMin"]
        runs = {name: relax(name, kind, atoms) for name in names}
        runs[QUACC] = relax_with_quacc(kind, atoms)
        found.append({"kind": kind, "formula": str(atoms.symbols), "n": len(atoms), "runs": runs})
    return {"fmax": FMAX, "systems": found, "summary": summarise(found)}


def summarise(found: list[dict[str, Any]]) -> dict[str, Any]:
    summary = {}
    for name in (QUACC, *OPTIMIZERS):
        fewer: dict[str, list[float]] = {kind: [] for kind in ("all", *KINDS)}
        failed = elsewhere = lower = 0
        for one in found:
            if name not in one["runs"]:
                continue
            base, run = one["runs"]["BFGS"], one["runs"][name]
            if run["calls"] is None:
                failed += 1
                continue
            elsewhere += abs(run["energy"] - base["energy"]) > SAME
            lower += run["energy"] - base["energy"] < -SAME
            for kind in (one["kind"], *(["all"] if one["kind"] != "cell" else [])):
                fewer[kind].append(base["calls"] / run["calls"])
        summary[name] = {
            "fewer": {
                kind: math.exp(np.log(values).mean()) if values else None
                for kind, values in fewer.items()
            },
            "worst": min([*fewer["all"], *fewer["cell"]], default=None),
            "failed": failed,
            "other_minima": int(elsewhere),
            "lower": int(lower),
        }
    return summary


def table(report: dict[str, Any]) -> str:
    lines = [
        "| optimizer | BFGS's calls over its own: all | crystals | slabs | adsorbates "
        "| molecules | crude ones | cells | worst | not converged | other minimum | lower |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, one in report["results"]["summary"].items():
        fewer = one["fewer"]
        numbers = " | ".join(_number(fewer[kind]) for kind in KINDS)
        lines.append(
            f"| {name} | **{_number(fewer['all'])}** | {numbers} | {_number(one['worst'])} "
            f"| {one['failed']} | {one['other_minima']} | {one['lower']} |"
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
