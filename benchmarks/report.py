"""What all benchmarks share: the frame of a report, and its place in docs/benchmarks.md."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "benchmarks.md"


def frame(command: str, versions: dict[str, Any], results: dict[str, Any]) -> dict[str, Any]:
    """Return results with when, on what and with what they were measured."""
    return {
        "command": command,
        "date": date.today().isoformat(),
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "cpu": _cpu_name(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
        },
        "versions": versions,
        "results": results,
    }


def save(report: dict[str, Any], path: Path) -> None:
    path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")


def measured_on(report: dict[str, Any], versions: dict[str, str]) -> str:
    """Return the sentence under a table; ``versions`` by the names to print."""
    machine = report["machine"]
    what = [f"Python {machine['python']}", *(f"{name} {one}" for name, one in versions.items())]
    cpu = f"{machine['cpu']}, {machine['cores']} cores"
    return f"Measured on {report['date']}: {cpu}, {', '.join(what)}."


def update_docs(table: str, start: str, end: str) -> None:
    """Put a table between two marks of the page."""
    text, count = re.subn(
        f"(?s){re.escape(start)}.*?{re.escape(end)}",
        lambda _: f"{start}\n{table}\n{end}",
        PAGE.read_text(),
    )
    if count != 1:
        raise SystemExit(f"{PAGE} has {count} places for a table after {start}.")
    PAGE.write_text(text)


def run(
    description: str | None,
    result: Path,
    marks: tuple[str, str],
    measure: Callable[[], dict[str, Any]],
    table: Callable[[dict[str, Any]], str],
) -> None:
    """Measure, print and save; or put into the page what was saved, as the command line says.

    Parameters
    ----------
    description
        For the help.
    result
        Where the report is kept, named like the script.
    marks
        Around the place on the page.
    measure, table
        Return the results, and the lines that show them.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--update-docs", action="store_true", help="measure nothing")
    update = parser.parse_args().update_docs
    if not update:
        versions = {name: version(name) for name in ("ase", "numpy")}
        save(frame(f"python benchmarks/{result.stem}.py", versions, measure()), result)
    report = json.loads(result.read_text())
    names = {"ASE": report["versions"]["ase"], "NumPy": report["versions"]["numpy"]}
    text = f"{table(report['results'])}\n\n{measured_on(report, names)}"
    if update:
        update_docs(text, *marks)
    else:
        print(text)


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
