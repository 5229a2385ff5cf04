"""What a fan-out costs with quacc, with Prefect alone and with other workflow programs.

    python benchmarks/fanout.py                  measure, print, write fanout.json
    python benchmarks/fanout.py --update-docs    put fanout.json into docs/benchmarks.md

Run it with the Python that has this quacc, on a quiet machine. The other programs get
environments of their own, from PyPI. All contestants take turns, each time in a new process with
two workers; what counts are the ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

from fanout_parts import figures
from fanout_parts.measures import measure
from fanout_parts.sizes import QUICK, Sizes
from report import PAGE, frame, save, update_docs

HERE = Path(__file__).resolve().parent
RESULT = HERE / "fanout.json"
PICTURE = PAGE.parent / "fanout.svg"
START, END = "<!-- table: benchmarks/fanout.py -->", "<!-- end of fan_out's table -->"

PARTS = ("W1", "W2", "records", "W3", "W4", "W5")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workdir", type=Path, help="keep the environments in this folder")
    parser.add_argument(
        "--only", default=",".join(PARTS), help="parts to measure again, such as W1,W3"
    )
    parser.add_argument("--quick", action="store_true", help="few items; writes no file")
    parser.add_argument("--update-docs", action="store_true", help="measure nothing")
    options = parser.parse_args()
    if options.update_docs:
        saved = json.loads(RESULT.read_text())
        picture = f"![Time over the number of items]({PICTURE.name})"
        update_docs(f"{figures.table(saved)}\n\n{picture}", START, END)
        figures.plot(saved["results"]["W5"], PICTURE)
        return
    parts = options.only.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"--only: {', '.join(unknown)} is none of {', '.join(PARTS)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what runs is ended, too
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])  # of all that is started, too
    given = options.workdir and nullcontext(options.workdir)
    with given or tempfile.TemporaryDirectory(prefix="quacc-benchmark-") as kept:
        workdir = Path(kept).resolve()
        workdir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=workdir) as scratch:
            os.environ["PREFECT_HOME"] = f"{scratch}/prefect"  # Prefect reads it at import
            os.environ["PYTHONPATH"] = str(HERE)  # of the server
            for name in [name for name in os.environ if name.startswith("PREFECT_API_")]:
                del os.environ[name]
            versions, results = measure(
                parts, QUICK if options.quick else Sizes(), workdir, Path(scratch)
            )
    report = frame("python benchmarks/fanout.py", versions, results)
    if not options.quick:
        if RESULT.exists():
            before = json.loads(RESULT.read_text())
            report["versions"] = before["versions"] | report["versions"]
            report["results"] = before["results"] | report["results"]
        save(report, RESULT)
    print(figures.table(report))


if __name__ == "__main__":
    main()
