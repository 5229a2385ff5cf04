"""Where a millisecond goes: what one short item of a fan-out costs, stage by stage.

python benchmarks/item.py                  measure, print, write item.json
python benchmarks/item.py --update-docs    put item.json into docs/benchmarks.md
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from report import run

RESULT = Path(__file__).resolve().with_suffix(".json")
START, END = "<!-- table: benchmarks/item.py -->", "<!-- end of the item's table -->"
COUNT, ROUNDS = 400, 7


def measure_all() -> dict[str, float]:
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory(prefix="quacc-benchmark-") as home:
        os.environ["HOME"] = os.environ["QUACC_RESULTS_DIR"] = home
        rounds = [measure(number) for number in range(ROUNDS)]
    return {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}


def measure(number: int) -> dict[str, float]:
    """Return the CPU time of each stage (ms an item): a static calculation of 16 atoms with EMT."""
    sys.path.insert(0, str(RESULT.parent))
    from fanout_parts import items as work

    from quacc.cache.results import ResultsCache
    from quacc.cluster.transport import outcome_of, pack_arguments, unpack, unpack_arguments
    from quacc.prefect.frozen import frozen
    from quacc.recipes.emt.core import static_job
    from quacc.runners.job import calculation_of
    from quacc.runners.processstate import capture, own_process, put_back
    from quacc.store import Store

    own_process()
    found: dict[str, float] = {}

    def stage(name: str, function: Callable[[Any], Any], given: Iterable[Any]) -> list[Any]:
        given = list(given)
        start = time.process_time()
        results = [function(one) for one in given]
        found[name] = (time.process_time() - start) * 1e3 / len(given)
        return results

    structures = list(work.items("static", COUNT * (number + 1)))[-COUNT:]  # new ones each round
    static_job(structures[0])
    work.ase_static(structures[0])
    stage("plain ASE", work.ase_static, structures)
    own = stage("copy the structure as it is now", frozen, structures)
    asked = stage("its key", lambda one: calculation_of(static_job, (one,), {}), own)
    sent = stage("pack it for a worker", lambda one: pack_arguments((one,), {}), own)
    given = stage("unpack it", lambda one: unpack_arguments(one)[0][0], sent)
    stage("keep the process as it was", lambda _: put_back(capture()), given)
    results = stage("job", static_job, given)
    packed = stage("pack the result", lambda one: outcome_of(lambda: one)[0], results)
    results = stage("unpack the result", unpack, packed)
    store = Store()
    start = time.process_time()
    with closing(ResultsCache(store)) as cache:
        for result in results:
            cache.keep(result)
    found["store it"] = (time.process_time() - start) * 1e3 / COUNT
    start = time.process_time()
    with closing(ResultsCache(store)) as cache:
        assert None not in cache.find(asked)
    found["or find it stored"] = (time.process_time() - start) * 1e3 / COUNT
    found["checks, key, provenance"] = found.pop("job") - found["plain ASE"]
    return found


FLOW = ("copy the structure as it is now", "its key", "pack it for a worker")
WORKER = ("unpack it", "checks, key, provenance", "keep the process as it was", "pack the result")
BACK = ("unpack the result", "store it")


def table(results: dict[str, Any]) -> str:
    parts = {"flow process": FLOW, "worker": WORKER, "flow process again": BACK}
    lines = ["| where | stage | ms of CPU time an item |", "|---|---|---|"]
    for where, stages in parts.items():
        lines += [f"| {where} | {name} | {results[name]:.3f} |" for name in stages]
    total = sum(results[name] for stages in parts.values() for name in stages)
    lines.append(f"| **together** | | **{total:.2f}** |")
    for name in ("plain ASE", "or find it stored"):
        lines.append(f"| for comparison | {name} | {results[name]:.3f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    run(__doc__, RESULT, (START, END), measure_all, table)
