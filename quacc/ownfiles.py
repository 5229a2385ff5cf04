"""Files and folders that nobody else can have written or replaced."""

from __future__ import annotations

import os
import stat
from functools import cache
from pathlib import Path
from uuid import uuid4


def read_own(path: Path, *, secret: bool = False) -> bytes:
    """Return the content of a file of this user's that no other user can have written.

    Parameters
    ----------
    secret
        Others must not be able to read it, either.

    Raises
    ------
    PermissionError
        It belongs to another user, or others may write to it; the message says which.
    OSError
        It can't be read.
    """
    # A link may lead anywhere, and opening a named pipe could wait for ever.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with open(os.open(path, flags), "rb") as stream:
        reason = why_foreign(os.fstat(stream.fileno()), secret=secret)
        if reason is None and not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            reason = "is no regular file"
        if reason is not None:
            raise PermissionError(f"{path} {reason}")
        return stream.read()


def write_own(path: Path, content: bytes) -> None:
    """Write a file that nobody else can read; whoever reads it sees the old one, or all of this.

    Raises
    ------
    OSError
        It can't be written.
    """
    partial = path.with_name(f".{path.name}-{uuid4().hex}")
    try:
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def why_foreign(status: os.stat_result, *, secret: bool = False) -> str | None:
    """Return why a file or folder is not this user's alone; None if it is."""
    if status.st_uid != os.geteuid():
        return f"belongs to another user (number {status.st_uid})"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "may be written by other users"
    if secret and status.st_mode & (stat.S_IRGRP | stat.S_IROTH):
        return "may be read by other users"
    return None


def read_trusted(path: Path, *, anyones: bool = False) -> bytes:
    """Return the content of a file that says what is run.

    Parameters
    ----------
    anyones
        It may belong to another user, because this one has named it.

    Raises
    ------
    PermissionError
        Another user than root owns it, or all users may write to it; the message says which.
    OSError
        It can't be read.
    """
    with path.open("rb") as stream:
        status = os.fstat(stream.fileno())
        if not anyones and not _is_trusted(status.st_uid):
            raise PermissionError(f"it belongs to another user (number {status.st_uid})")
        if status.st_mode & stat.S_IWOTH:
            raise PermissionError("every user may write to it: run chmod o-w")
        return stream.read()


def why_unsafe(folder: Path, *, anyones: bool = False) -> str | None:
    """Return why somebody else could replace what is in a folder, or the folder; None if not.

    Shared folders such as ``/tmp`` are safe where their owner is root and nobody can rename what
    is another's (the "sticky" bit).

    Parameters
    ----------
    anyones
        It may belong to another user, because this one has named it.
    """
    folder = folder.resolve()
    if not anyones and is_foreign(folder):
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
    return path.exists() and not _is_trusted(path.stat().st_uid)


def _is_trusted(owner: int) -> bool:
    return owner in (0, os.geteuid()) or owner == _root_outside()


@cache
def _root_outside() -> int:
    """Return as whom root appears in a container that knows this user alone."""
    try:
        if Path("/proc/self/uid_map").read_text().split()[2] != "4294967295":
            return int(Path("/proc/sys/kernel/overflowuid").read_text())
    except (OSError, IndexError):  # another system
        pass
    return 0
