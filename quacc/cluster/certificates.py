"""Folders of one run, in which nobody else can write or read anything."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from uuid import uuid4

from quacc.cluster.processes import is_dead, signature
from quacc.errors import SettingsError
from quacc.locations import expand_user
from quacc.ownfiles import why_unsafe

logger = logging.getLogger(__name__)


def make_folder(base: str | Path, prefix: str = "run-") -> Path:
    """Return a new folder for this run; what killed runs have left there is removed.

    Parameters
    ----------
    base
        Where; the folder is made where it is missing.
    prefix
        The beginning of the names of such folders.

    Raises
    ------
    SettingsError
        Somebody else could put another folder in its place.
    """
    base = Path(expand_user(str(base))).absolute()
    base.mkdir(parents=True, exist_ok=True, mode=0o700)
    if reason := why_unsafe(base):
        raise SettingsError(
            f"Somebody else could replace files of this run in {base}: {reason}. Name a folder of "
            "your own, as in `export TMPDIR=FOLDER`, or take away the permission with "
            "`chmod go-w`."
        )
    for old in base.glob(f"{prefix}*"):
        process = old.name.removeprefix(prefix).rpartition("-")[0]
        if is_dead(process) and old.lstat().st_uid == os.getuid():
            shutil.rmtree(old, ignore_errors=True)
    folder = base / f"{prefix}{signature()}-{uuid4().hex}"
    folder.mkdir(mode=0o700)  # fails where there is anything of this name
    return folder


def make_private(folder: Path) -> None:
    """Let nobody else look into a folder of this user's that holds Prefect's records."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    status = folder.stat()
    if status.st_uid == os.getuid() and status.st_mode & 0o077:
        folder.chmod(0o700)
        if (folder / "prefect.db").exists():
            logger.warning("Others could read %s; its mode is 0700 from now on.", folder)
