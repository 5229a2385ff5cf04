"""What a calculator in another Python costs: EMT on 32 atoms, here and there by turns.

python benchmarks/environments.py                  measure, print, write environments.json
python benchmarks/environments.py --update-docs    put it into docs/benchmarks.md
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from report import run

RESULT = Path(__file__).resolve().with_suffix(".json")
START, END = (
    "<!-- table: benchmarks/environments.py -->",
    "<!-- end of the environments' table -->",
)
CALLS = 300


def measure_all() -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="quacc-benchmark-") as home:
        os.environ["HOME"] = home
        return measure()


def measure() -> dict[str, float]:
    """Return times (ms) of one energy with its forces and stress; medians."""
    from ase.build import bulk
    from ase.calculators.calculator import all_changes

    from quacc.recipes.emt.core import static_job
    from quacc.settings import change_settings

    structures = [bulk("Cu", cubic=True, a=3.5 + 1e-4 * i) * (2, 2, 2) for i in range(CALLS)]
    here = static_job.plan(structures[0]).check()
    start = time.perf_counter()
    with change_settings(environments={"emt": sys.executable}):
        there = static_job.plan(structures[0]).check()
    begun = (time.perf_counter() - start) * 1e3
    calculators = {"here": here._calculator(None), "there": there._calculator(None)}
    times: dict[str, list[float]] = {name: [] for name in calculators}
    for number, atoms in enumerate(structures):
        for name in sorted(calculators, reverse=bool(number % 2)):
            calculators[name].reset()
            start = time.perf_counter()
            calculators[name].calculate(atoms, ["energy", "forces", "stress"], all_changes)
            times[name].append((time.perf_counter() - start) * 1e3)
        assert calculators["here"].results["energy"] == calculators["there"].results["energy"]
    more = [there - here for here, there in zip(times["here"], times["there"], strict=True)]
    found = {name: statistics.median(values) for name, values in times.items()}
    return found | {"more": statistics.median(more), "start": begun}


def table(results: dict[str, Any]) -> str:
    lines = [
        "| EMT, 32 atoms | ms |",
        "|---|---|",
        f"| in this Python | {results['here']:.2f} |",
        f"| in another one | {results['there']:.2f} |",
        f"| more, median of the pairs (target 1) | **{results['more']:.2f}** |",
        f"| its start, once | {results['start']:.0f} |",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    run(__doc__, RESULT, (START, END), measure_all, table)
