"""Where a benchmark ran: what may decide its times, and which versions its numbers."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import quacc


def context() -> dict[str, Any]:
    """Return versions, git commit, processor, cores, GPU, load and time, as JSON has them."""
    return {
        "quacc": quacc.__version__,
        "ase": metadata.version("ase"),
        "python": platform.python_version(),
        "cpu": _processor(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "gpu": _gpu(),
        "load": round(os.getloadavg()[0], 2),
        "git": _commit(),
        "started": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }


@cache
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        return next(
            line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")
        )
    except (OSError, StopIteration):  # no Linux
        return platform.processor() or platform.machine()


@cache
def _gpu() -> str | None:
    return _said("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")


@cache
def _commit() -> str | None:
    """Return the commit of quacc's own checkout; None in a wheel."""
    root = Path(quacc.__file__).parent.parent
    return commit_of(root) if (root / ".git").exists() else None


def commit_of(folder: Path) -> str | None:
    """Return the commit that a folder is at, with "+" if it was changed; None without Git."""
    commit = _said("git", "-C", str(folder), "rev-parse", "--short=12", "HEAD")
    changed = _said("git", "-C", str(folder), "status", "--porcelain", "--untracked-files=no")
    return commit and f"{commit}{'+' if changed else ''}"


def _said(program: str, *arguments: str) -> str | None:
    if shutil.which(program) is None:
        return None
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60)
    return done.stdout.strip() or None if done.returncode == 0 else None
