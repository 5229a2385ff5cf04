"""Folders for the certificates of one run, which the user alone can read."""

from __future__ import annotations

import shutil
from pathlib import Path
from uuid import uuid4

from quacc.locations import expand_user
from quacc.prefect.processes import is_dead, signature

_PREFIX = "run-"


def make_folder(base: str | Path) -> Path:
    """Return a new folder for this run; what killed runs have left there is removed."""
    base = Path(expand_user(str(base)))
    base.mkdir(parents=True, exist_ok=True, mode=0o700)
    for old in base.glob(f"{_PREFIX}*"):
        if is_dead(old.name.removeprefix(_PREFIX).rpartition("-")[0]):
            shutil.rmtree(old, ignore_errors=True)
    folder = base / f"{_PREFIX}{signature()}-{uuid4().hex[:8]}"
    folder.mkdir(mode=0o700)
    return folder
