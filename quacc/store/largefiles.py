"""Results too large for a row: files beside the database, each named by its own hash."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Set
from contextlib import suppress
from pathlib import Path

from quacc.errors import StoreError
from quacc.locations import is_url

LARGE = 1_000_000
"""Size (bytes) from which a result goes into a file of its own."""

REFERENCE = "__quacc_file__"
"""Stands in a row for what is in the file of this name."""

_PARTIAL = ".partial-"


def name_of(content: bytes) -> str:
    return f"{hashlib.sha256(content).hexdigest()}.bin"


class LargeFiles:
    """The files that belong to one database."""

    def __init__(self, location: str | Path) -> None:
        if isinstance(location, str) and is_url(location):
            from quacc.settings import get_settings

            self.folder = get_settings().results_dir / f"{beside(location)}.files"
        else:
            self.folder = Path(f"{location}.files")

    def write(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all; whoever calls this holds the database's lock."""
        path = self.folder / name
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with suppress(OSError):
                if name_of(_read(path)) == name:
                    return
            partial = self.folder / f"{_PARTIAL}{os.getpid()}-{name}"
            try:
                with partial.open("wb") as stream:
                    stream.write(content)
                    stream.flush()
                    os.fsync(stream.fileno())
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)
            _sync(self.folder)
        except OSError as error:
            raise StoreError(f"A large result cannot be written: {error}") from error

    def read(self, name: str) -> bytes:
        """Return what is in a file; a StoreError if it is not what was written."""
        if os.path.basename(name) != name:
            raise StoreError(f"{name!r:.80} is not the name of a file.")
        path = self.folder / name
        try:
            content = _read(path)
        except FileNotFoundError:
            raise StoreError(f"it is in the file {path}, which is no longer there") from None
        except OSError as error:
            raise StoreError(f"it is in a file that cannot be read: {error}") from error
        if name_of(content) != name:
            raise StoreError(f"it is in the file {path}, which has been changed or damaged")
        return content

    def names(self) -> set[str]:
        """Return the names of all files, of unfinished ones too."""
        try:
            return {entry.name for entry in os.scandir(self.folder) if _is_ours(entry.name)}
        except OSError:
            return set()

    def remove(self, names: Set[str]) -> int:
        """Remove files, and return how many bytes they had."""
        freed = 0
        for name in names:
            with suppress(OSError):
                size = os.path.getsize(self.folder / name)
                os.unlink(self.folder / name)
                freed += size
        with suppress(OSError):
            self.folder.rmdir()  # if it is empty
        return freed


def _read(path: Path) -> bytes:
    # Opening a named pipe could wait for ever.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
        return stream.read()


def beside(url: str) -> str:
    """Return the beginning of the names of files that belong to a database on a server."""
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    place = f"{parts.hostname}:{parts.port or 5432}{parts.path}"
    return f"postgresql-{hashlib.sha256(place.encode()).hexdigest()[:12]}"


def _is_ours(name: str) -> bool:
    return name.endswith(".bin") or name.startswith(_PARTIAL)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
