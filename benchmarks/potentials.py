"""CHGNet through fan_out, one structure at a time and several at once, beside a loop of plain ASE.

python benchmarks/potentials.py                  measure, print, write potentials.json
python benchmarks/potentials.py --update-docs    put it into docs/benchmarks.md

CPU time of all processes, one thread each, so that other work on the machine disturbs little.
STATIC and RELAX in the environment are other numbers of structures than 500 and 200.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from report import run

RESULT = Path(__file__).resolve().with_suffix(".json")
START, END = ("<!-- table: benchmarks/potentials.py -->", "<!-- end of the potentials' table -->")
POTENTIALS = Path(__file__).resolve().parents[1] / ".envs" / "ml" / "bin" / "python"
COUNTS = {"static": int(os.environ.get("STATIC", 500)), "relax": int(os.environ.get("RELAX", 200))}
AT_ONCE = (1, 16)
FMAX, STEPS = 0.1, 50
SAME = 1e-5  # of an energy
CLOSE = 2e-3  # eV per atom, of minima that two optimizers find

PLAIN = """
import json, sys, time
from ase.io import read
from ase.optimize import BFGS
from chgnet.model.dynamics import CHGNetCalculator

kind, file, fmax, steps = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
calculator = CHGNetCalculator(use_device="cpu")
structures = read(file, ":")
first = structures[0].copy()
first.calc = calculator
first.get_forces()
begun, energies = time.process_time(), []
for atoms in structures:
    atoms.calc = calculator
    if kind == "relax":
        BFGS(atoms, logfile=None).run(fmax=fmax, steps=steps)
    energies.append(float(atoms.get_potential_energy()))
    atoms.get_forces()
    atoms.get_stress()
print("FOUND", json.dumps([time.process_time() - begun, energies]))
"""


def structures(count: int) -> list[Any]:
    """Return rattled crystals of 2 to 16 atoms."""
    from ase.build import bulk

    kinds = [
        bulk("Cu", cubic=True),
        bulk("Si"),
        bulk("NaCl", "rocksalt", a=5.64, cubic=True),
        bulk("MgO", "rocksalt", a=4.21) * (2, 2, 2),
        bulk("Al", cubic=True),
    ]
    found = []
    for number in range(count):
        atoms = kinds[number % len(kinds)].copy()
        atoms.rattle(0.08, seed=number)
        found.append(atoms)
    return found


def cpu_time() -> float:
    """Return the CPU time (s) of this process and those below it, which go on."""
    import psutil

    mine = psutil.Process()
    spent = 0.0
    for one in [mine, *mine.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            spent += times.user + times.system
    return spent


def plain(kind: str, items: list[Any], folder: Path) -> tuple[float, list[float]]:
    """Return the CPU time (s) of a loop over ASE's calculator, and its energies."""
    from ase.io import write

    file = folder / f"{kind}.traj"
    write(file, items)
    command = [str(POTENTIALS), "-W", "ignore", "-c", PLAIN]
    command += [kind, str(file), str(FMAX), str(STEPS)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("FOUND")]
    seconds, energies = json.loads(line.removeprefix("FOUND"))
    return seconds, energies


def ours(folder: Path, energies: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Return the CPU times (s) of fan_out by kind and number at once, after a few of each."""
    from prefect import flow

    from quacc.prefect import fan_out, make_runner
    from quacc.recipes.chgnet.core import relax_job, static_job

    jobs: dict[str, tuple[Any, dict[str, Any]]] = {
        "static": (static_job, {}),
        "relax": (relax_job, {"fmax": FMAX, "steps": STEPS, "optimizer": "BFGS"}),
    }

    @flow(task_runner=make_runner())
    def campaign() -> dict[str, dict[str, float]]:
        list(fan_out(static_job, structures(8), refresh=True))  # workers start, and load the model
        found: dict[str, dict[str, float]] = {kind: {} for kind in jobs}
        for kind, (job, keywords) in jobs.items():
            items = structures(COUNTS[kind])
            for width in AT_ONCE:
                begun = cpu_time()
                results = fan_out(job, items, refresh=True, at_once=width, **keywords).results()
                found[kind][str(width)] = cpu_time() - begun
                print(kind, width, f"{found[kind][str(width)]:.1f} s", flush=True)
                for atoms, one, energy in zip(items, results, energies[kind], strict=True):
                    off = abs(one["results"]["energy"] - energy)
                    most = SAME * abs(energy) if kind == "static" else CLOSE * len(atoms)
                    assert off <= most, (kind, width, str(atoms.symbols), off)
        return found

    return campaign()


def measure_all() -> dict[str, Any]:
    from quacc.settings import change_settings

    with tempfile.TemporaryDirectory(prefix="quacc-benchmark-") as home:
        os.environ["HOME"] = os.environ["PREFECT_HOME"] = home
        os.environ["OMP_NUM_THREADS"] = "1"
        loops, energies = {}, {}
        for kind, count in COUNTS.items():
            loops[kind], energies[kind] = plain(kind, structures(count), Path(home))
            print(kind, "plain", f"{loops[kind]:.1f} s", flush=True)
        with change_settings(
            results_dir=Path(home) / "results", environments={"chgnet": str(POTENTIALS)}
        ):
            found = ours(Path(home), energies)
        return {"counts": COUNTS, "plain": loops, "fan_out": found}


def table(results: dict[str, Any]) -> str:
    lines = [
        "| CHGNet | plain ASE, s | " + " | ".join(f"`at_once={one}`" for one in AT_ONCE) + " |",
        "|---|---|" + "---|" * len(AT_ONCE),
    ]
    names = {"static": "static calculations", "relax": "relaxations"}
    for kind, name in names.items():
        loop, times = results["plain"][kind], results["fan_out"][kind]
        ratios = " | ".join(f"**{times[str(one)] / loop:.2f}**" for one in AT_ONCE)
        lines.append(f"| {results['counts'][kind]} {name} | {loop:.0f} | {ratios} |")
    return "\n".join(lines)


if __name__ == "__main__":
    run(__doc__, RESULT, (START, END), measure_all, table)
