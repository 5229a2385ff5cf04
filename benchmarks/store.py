"""How the results database grows: 10^3, 10^4 and 10^5 results, in SQLite and PostgreSQL.

    python benchmarks/store.py                  build, measure, print, write store.json
    python benchmarks/store.py --update-docs    put store.json into docs/benchmarks.md

Every figure is a ratio of wall times: the same question to the large and to the small database,
which take turns. PostgreSQL is measured where Debian's server is installed; it is started in a
temporary folder, as for the tests.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from report import frame, measured_on, save, update_docs

HERE = Path(__file__).resolve().parent
RESULT = HERE / "store.json"
START, END = "<!-- table: benchmarks/store.py -->", "<!-- end of the database's table -->"
sys.path += [str(HERE), str(HERE.parent / "tests" / "store")]

SIZES = (1_000, 10_000, 100_000)
LOOKUP = 10_000  # keys
BATCH = 500

TITLES = {
    "add": "store a result (in batches of 500)",
    "find": "look up many keys, each (10,000 keys, or all)",
    "missing": "look up many unknown keys, each",
    "ls": "`ls`",
    "formula": "`ls --formula`, 1 % of the rows",
    "recipe": "`ls --recipe`, a quarter",
    "calculator": "`ls --calculator`, a quarter",
    "since": "`ls --since`",
    "until": "`ls --until`",
    "combined": "`ls` with all of these",
    "nothing": "`ls --formula` of nothing",
    "show": "`show` with 6 characters",
    "rm": "`rm` of one",
    "export": "`export` to .csv, each row",
}


def key(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def build(location: str, size: int) -> tuple[Any, float]:
    """Fill a database with copies of one result that differ in what is asked for."""
    from ase.build import bulk

    from quacc.recipes.emt.core import static_job
    from quacc.store import Store

    one, store = static_job(bulk("Cu", cubic=True) * (1, 1, 4)), Store(location)
    jobs = [("emt.static_job", "emt"), ("emt.relax_job", "emt"), ("mopac.relax_job", "mopac")]
    jobs.append(("mopac.static_job", "mopac"))
    start = time.perf_counter()
    for first in range(0, size, BATCH):
        batch: list[Any] = [
            {
                **one,
                "key": key(i),
                "name": jobs[i % 4][0],
                "calculator": {**one["calculator"], "name": jobs[i % 4][1]},
                "formula": f"AuCu{2 + i % 101}",  # a prime, so that all combinations occur
                "results": {**one["results"], "energy": -i / 7},
            }
            for i in range(first, first + BATCH)
        ]
        store.add(batch)
    return store, (time.perf_counter() - start) / size


def questions(store: Any, size: int) -> dict[str, Callable[[], float]]:
    """Return what is measured; each call gives seconds."""
    from quacc.cli.exports import write_csv

    rows = list(store.select())
    rng = random.Random(0)
    keys = [key(i) for i in rng.sample(range(size), min(size, LOOKUP))]
    prefixes = {row.key[:6]: 0 for row in rows}
    for row in rows:
        prefixes[row.key[:6]] += 1
    unique = [k[:6] for k in keys if prefixes[k[:6]] == 1]
    middle = rows[size // 2].created
    every = {"formula": "AuCu7", "recipe": "emt.relax_job", "calculator": "emt", "since": middle}

    def timed(call: Callable[[], Any], parts: int = 1) -> Callable[[], float]:
        def measure() -> float:
            start = time.perf_counter()
            call()
            return (time.perf_counter() - start) / parts

        return measure

    def listing(**filters: Any) -> Callable[[], float]:
        return timed(lambda: list(store.select(**filters, limit=51)))  # as `ls` does

    def remove() -> float:
        whole = store.find([rng.choice(keys)])
        seconds = timed(lambda: store.remove(whole))()
        store.add(whole.values())
        return seconds

    def export() -> None:
        with tempfile.TemporaryDirectory() as folder:
            write_csv(Path(folder) / "all.csv", store, list(store.select()))

    return {
        "find": timed(lambda: store.find(keys), len(keys)),
        "missing": timed(lambda: store.find([k[::-1] for k in keys]), len(keys)),
        "ls": listing(),
        "formula": listing(formula="AuCu7"),
        "recipe": listing(recipe="emt.relax_job"),
        "calculator": listing(calculator="mopac"),
        "since": listing(since=middle),
        "until": listing(until=middle),
        "combined": listing(**every),
        "nothing": listing(formula="Xe"),
        "show": timed(lambda: store.get(rng.choice(unique))),
        "rm": remove,
        "export": timed(export, size),
    }


def measure(locations: dict[int, str], rounds: int) -> dict[str, Any]:
    seconds: dict[str, dict[int, list[float]]] = {name: {} for name in TITLES}
    asked = {}
    for size, location in locations.items():
        print(f"Storing {size} results in {location.partition(':')[0]} …", file=sys.stderr)
        store, cost = build(location, size)
        seconds["add"][size] = [cost]
        asked[size] = questions(store, size)
    for _ in range(rounds):
        for name in next(iter(asked.values())):
            for size in asked:
                seconds[name].setdefault(size, []).append(asked[size][name]())
    report = {}
    smallest, *_, largest = locations
    for name, times in seconds.items():
        pairs = zip(times[smallest], times[largest], strict=True)
        report[name] = {
            "ratio": round(statistics.median(large / small for small, large in pairs), 2),
            "ms": {str(size): round(1e3 * statistics.median(t), 3) for size, t in times.items()},
        }
    return report


@contextmanager
def databases(sizes: tuple[int, ...]) -> Iterator[dict[str, dict[int, str]]]:
    """Yield the locations of new databases."""
    from postgres_server import QUOTED, missing, new_database, running_server

    with tempfile.TemporaryDirectory(prefix="quacc-benchmark-") as folder:
        files = {size: f"{folder}/{size}.db" for size in sizes}
        if reason := missing():
            print(f"Without PostgreSQL: {reason}.", file=sys.stderr)
            yield {"SQLite": files}
            return
        with running_server() as server:
            url = f"postgresql://quacc:{QUOTED}@{server}"
            served = {size: new_database(url, f"rows_{size}") for size in sizes}
            yield {"SQLite": files, "PostgreSQL": served}


def table(report: dict[str, Any]) -> str:
    """Return the report as a table in Markdown."""
    results, (smallest, *_, largest) = report["results"], report["sizes"]
    kinds = list(results)
    head = " | ".join(f"{kind}, ms | {largest:,} rows / {smallest:,}" for kind in kinds)
    lines = [f"| | {head} |", "|---" * (1 + 2 * len(kinds)) + "|"]
    for name, title in TITLES.items():
        both = [results[kind][name] for kind in kinds]
        cells = [f"{one['ms'][str(largest)]:.3g} | **{one['ratio']:.2g}**" for one in both]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    lines += ["", measured_on(report, report["versions"])]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="of every question (5)")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="rows")
    parser.add_argument("--update-docs", action="store_true", help="measure nothing")
    options = parser.parse_args()
    if options.update_docs:
        update_docs(table(json.loads(RESULT.read_text())), START, END)
        return
    os.environ["OMP_NUM_THREADS"] = "1"
    with databases(tuple(options.sizes)) as kinds:
        results = {kind: measure(locations, options.rounds) for kind, locations in kinds.items()}
    versions = {"ASE": version("ase"), "SQLite": sqlite3.sqlite_version}
    report = frame("python benchmarks/store.py", versions, results)
    report["sizes"] = list(options.sizes)
    save(report, RESULT)
    print(table(report))


if __name__ == "__main__":
    main()
