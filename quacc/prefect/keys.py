"""Folders of one run, in which nobody else can write or read anything."""

from __future__ import annotations

import logging
import os
import shutil
import stat
from pathlib import Path
from uuid import uuid4

from quacc.errors import SettingsError
from quacc.locations import expand_user
from quacc.prefect.processes import is_dead, signature

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


def why_unsafe(folder: Path) -> str | None:
    """Return why somebody else could replace what is in a folder, or the folder; None if not.

    Shared folders such as ``/tmp`` are safe where their owner is root and nobody can rename what
    is another's (the "sticky" bit).
    """
    folder = folder.resolve()
    if is_foreign(folder):
        return f"it belongs to another user (number {folder.stat().st_uid})"
    for one in (folder, *folder.parents):
        mode = one.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            return f"everybody may rename what is in {one}"
    return None


def why_untrusted(folder: Path) -> str | None:
    """Return why somebody else may have written what is in a folder; None if not."""
    if folder.resolve().stat().st_mode & stat.S_IWOTH:
        return "everybody may write into it"
    return why_unsafe(folder)


def is_foreign(path: Path) -> bool:
    """Return whether something exists that belongs neither to this user nor to root."""
    return path.exists() and path.stat().st_uid not in (0, os.getuid(), _root_outside())


def _root_outside() -> int:
    """Return as whom root appears in a container that knows this user alone."""
    try:
        if Path("/proc/self/uid_map").read_text().split()[2] != "4294967295":
            return int(Path("/proc/sys/kernel/overflowuid").read_text())
    except (OSError, IndexError):  # another system
        pass
    return 0
