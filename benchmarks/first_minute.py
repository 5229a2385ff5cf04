"""What the first commands cost, beside importing ASE: CPU time of all their processes.

    python benchmarks/first_minute.py                  measure, print, write first_minute.json
    python benchmarks/first_minute.py --update-docs    put first_minute.json into docs/benchmarks.md

``--before ENVIRONMENT`` measures another version, in an environment of its own, in turns with this
one.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from report import frame, measured_on, save, update_docs

HERE = Path(__file__).resolve().parent
RESULT = HERE / "first_minute.json"
START, END = (
    "<!-- table: benchmarks/first_minute.py -->",
    "<!-- end of the first minute's table -->",
)

_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER: whose parent has ended is a child of this process

BASE = "import ase.calculators.emt, ase.optimize, ase.build"
SLABS = ["run", "bulk_to_slabs", "Cu"]
LOCAL: dict[str, tuple[list[str], float]] = {
    "quacc run bulk_to_slabs Cu": (SLABS, 4),
    "the same again": (SLABS, 2),
    "quacc results ls": (["results", "ls"], 1),
    "quacc --help": (["--help"], 0.3),
}
TRACKED: dict[str, tuple[list[str], float]] = {
    "quacc run bulk_to_slabs Cu --prefect": ([*SLABS, "--prefect"], 12),
    "the same again, tracked": ([*SLABS, "--prefect"], 6),
}
BESIDE = "the same again, tracked, beside `quacc server start`"
SHOWN = {name: target for name, (_, target) in {**LOCAL, **TRACKED}.items()} | {BESIDE: 6}


def environment_of(home: Path) -> dict[str, str]:
    names = ("QUACC_", "PREFECT_")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(names)}
    return environment | {
        "HOME": str(home),
        "PREFECT_HOME": str(home / "prefect"),
        "QUACC_RESULTS_DIR": str(home / "results"),
        "DO_NOT_TRACK": "1",
    }


def cost(command: list[str], home: Path, beside: psutil.Process | None = None) -> float:
    """Return the CPU time of a command and all that it starts (s).

    Parameters
    ----------
    beside
        A process that goes on, whose CPU time meanwhile counts, too.
    """

    def spent() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        other = beside.cpu_times() if beside else None
        return used.ru_utime + used.ru_stime + (other.user + other.system if other else 0)

    before = spent()
    subprocess.run(command, env=environment_of(home), cwd=home, check=True, capture_output=True)
    wait_for_children(beside)
    return spent() - before


def wait_for_children(but: psutil.Process | None = None) -> None:
    """Wait also for what nobody has waited for, which is this process's."""
    while left := [one for one in psutil.Process().children() if one != but]:
        os.waitpid(left[0].pid, 0)


def cost_beside_a_server(program: str, home: Path) -> float:
    """Return what a tracked run costs, and its server meanwhile (s)."""
    quacc = partial(subprocess.run, env=environment_of(home), check=True, capture_output=True)
    quacc([program, "server", "start"])
    try:
        word = json.loads((home / "prefect" / "quacc-server" / "running.json").read_text())
        return cost([program, *SLABS, "--prefect"], home, psutil.Process(word["pid"]))
    finally:
        quacc([program, "server", "stop"])
        wait_for_children()  # else the server's time would be that of the next command


def one_round(environment: Path, *, old: bool) -> dict[str, float]:
    """Return the cost of each command as a multiple of importing ASE."""
    program = str(environment / "bin" / "quacc")
    base = [str(environment / "bin" / "python"), "-c", BASE]
    found = {}
    for commands in (LOCAL, TRACKED):
        with tempfile.TemporaryDirectory() as folder:
            for name, (words, _) in commands.items():
                words = [word for word in words if not (old and word == "--prefect")]
                unit = cost(base, Path(folder))
                found[name] = cost([program, *words], Path(folder)) / unit
            if commands is TRACKED and not old:
                found[BESIDE] = cost_beside_a_server(program, Path(folder)) / cost(
                    base, Path(folder)
                )
    return found


def measure(rounds: int, before: Path | None) -> dict[str, Any]:
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    here = Path(sys.prefix)
    sides = {"now": here} | ({} if before is None else {"before": before})
    for environment in sides.values():  # so that everything is compiled
        subprocess.run([environment / "bin" / "quacc", "calculators"], check=True)
    samples: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for turn in range(rounds):
        for side in sorted(sides, reverse=bool(turn % 2)):
            samples[side].append(one_round(sides[side], old=side == "before"))
            print(turn, side, {name: round(one, 2) for name, one in samples[side][-1].items()})
    return {
        side: {name: [one[name] for one in many] for name in many[0]}
        for side, many in samples.items()
    }


def table(results: dict[str, Any]) -> str:
    header = "| CPU time, multiples of importing ASE | now | target | before |\n|---|---|---|---|\n"
    lines = []
    for name, target in SHOWN.items():
        shown = [
            f"{statistics.median(results[side][name]):.2f}" if name in results.get(side, {}) else ""
            for side in ("now", "before")
        ]
        lines.append(f"| {name} | **{shown[0]}** | ≤ {target:g} | {shown[1]} |\n")
    return header + "".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--before", type=Path)
    parser.add_argument("--update-docs", action="store_true")
    chosen = parser.parse_args()
    if not chosen.update_docs:
        results = measure(chosen.rounds, chosen.before)
        versions = {name: version(name) for name in ("quacc", "ase", "numpy", "prefect")}
        save(frame("python benchmarks/first_minute.py", versions, results), RESULT)
        print(table(results))
        return
    report = json.loads(RESULT.read_text())
    names = {"ASE": "ase", "Prefect": "prefect"}
    words = measured_on(report, {name: report["versions"][key] for name, key in names.items()})
    update_docs(f"{table(report['results'])}\n{words}", START, END)


if __name__ == "__main__":
    main()
