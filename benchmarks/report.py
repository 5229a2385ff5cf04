"""What all benchmarks share: the frame of a report, and its place in docs/benchmarks.md."""

from __future__ import annotations

import json
import os
import platform
import re
from datetime import date
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


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
