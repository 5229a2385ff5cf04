"""What a campaign of 1,000 items asks Prefect's API, route by route.

    python benchmarks/api_calls.py                  measure, print, write api_calls.json
    python benchmarks/api_calls.py --update-docs    put api_calls.json into docs/benchmarks.md

Prefect Cloud limits requests, and messages of logs and events, per minute.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
from report import frame, measured_on, save, update_docs

HERE = Path(__file__).resolve().parent
RESULT = HERE / "api_calls.json"
START, END = "<!-- table: benchmarks/api_calls.py -->", "<!-- end of the table of API calls -->"

CAMPAIGNS = {
    "fan_out": ("`fan_out` of 1,000 items", 1000),
    "tasks": ("100 tasks of `as_task`", 100),
}

SCRIPT = """
import sys
from prefect import flow
from quacc.prefect import as_task, fan_out, make_runner
from quacc.recipes.emt.core import static_job
from ase.build import bulk

def items(count):
    return [bulk("Cu", a=3.4 + 0.0002 * i) for i in range(count)]

@flow(task_runner=make_runner())
def campaign(kind, count):
    if kind == "fan_out":
        fan_out(static_job, items(count)).results()
    else:
        for future in [as_task(static_job).submit(one) for one in items(count)]:
            future.result()

if __name__ == "__main__":
    campaign(sys.argv[1], int(sys.argv[2]))
"""


def measure(folder: Path) -> dict[str, Any]:
    from fanout_parts.server import running_server

    found = {}
    script = folder / "campaign.py"
    script.write_text(SCRIPT)
    with running_server(folder) as server:
        for kind, (_, items) in CAMPAIGNS.items():
            before, started = _routes(server.address), time.perf_counter()
            subprocess.run(
                [sys.executable, script, kind, str(items)],
                cwd=folder,
                env=os.environ | server.environment | {"QUACC_RESULTS_DIR": str(folder / kind)},
                check=True,
            )
            seconds = time.perf_counter() - started
            server.wait_for_records()
            asked = Counter(_routes(server.address)) - Counter(before)
            found[kind] = {"items": items, "seconds": seconds, "routes": dict(asked)}
    return found


def _routes(address: str) -> dict[str, int]:
    routes: dict[str, int] = httpx.get(f"{address}/routes").json()
    return routes


def totals(routes: dict[str, int]) -> dict[str, int]:
    """Return what counts for each of Prefect Cloud's two limits."""
    events = sum(count for name, count in routes.items() if name.startswith("websocket"))
    messages = routes.get("log messages", 0)
    requests = sum(
        count
        for name, count in routes.items()
        if not name.startswith(("websocket", "log ")) and not name.endswith("/api/logs/")
    )
    return {"requests": requests, "logs": messages, "events": events}


def table(results: dict[str, Any]) -> str:
    header = "| | requests | messages of logs | events |\n|---|---|---|---|\n"
    lines = []
    for kind, (name, _) in CAMPAIGNS.items():
        found = totals(results[kind]["routes"])
        lines.append(
            f"| {name} | {found['requests']:,} | {found['logs']:,} | {found['events']:,} |\n"
        )
    return header + "".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--update-docs", action="store_true")
    chosen = parser.parse_args()
    if not chosen.update_docs:
        with tempfile.TemporaryDirectory(prefix="quacc-benchmark-") as folder:
            os.environ["PREFECT_HOME"] = f"{folder}/prefect"  # Prefect reads it at import
            os.environ["PYTHONPATH"] = str(HERE)  # of the server
            for name in [name for name in os.environ if name.startswith("PREFECT_API_")]:
                del os.environ[name]
            results = measure(Path(folder))
        versions = {name: version(name) for name in ("quacc", "prefect")}
        report = frame("python benchmarks/api_calls.py", versions, results)
        for kind, one in results.items():
            print(kind, round(one["seconds"]), "s", totals(one["routes"]))
            for route, count in sorted(one["routes"].items(), key=lambda pair: -pair[1]):
                print(f"  {count:6} {route}")
        save(report, RESULT)
        return
    report = json.loads(RESULT.read_text())
    words = measured_on(report, {"Prefect": report["versions"]["prefect"]})
    update_docs(f"{table(report['results'])}\n{words}", START, END)


if __name__ == "__main__":
    main()
