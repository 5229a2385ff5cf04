"""What flows are computing at the moment, so that two of one campaign compute nothing twice.

Each flow has a file beside the database, locked while it lives, with the keys that it has taken.
The operating system takes the lock away from a flow that is dead, so that nobody ever waits for it.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from quacc.locations import is_url
from quacc.ownfiles import why_foreign
from quacc.settings import get_settings
from quacc.store.largefiles import beside

logger = logging.getLogger(__name__)

_BEAT, _SILENT = 10.0, 60.0
"""Seconds after which a flow shows that it goes on, and is not waited for: it may be stopped."""

_TAKEN, _LEFT = "+", "-"


@dataclass
class _Other:
    """Another flow's file."""

    offset: int = 0
    beat: int = 0
    heard: float = 0.0
    """When its beat was seen to change."""
    keys: set[str] = field(default_factory=set)


class Claims:
    """The keys that this flow is computing, and those that others are.

    Where no file can be written or locked, nothing is known of others, which costs only time.
    """

    def __init__(self, location: str | Path | None = None) -> None:
        settings = get_settings()
        location = settings.database if location is None else location
        name = f"{settings.results_dir}/{beside(str(location))}" if is_url(location) else location
        self._folder = Path(f"{name}.running")
        self._descriptor = -1
        self._name = ""
        self._mine: set[str] = set()
        self._others: dict[str, _Other] = {}
        self._broken = False
        self._beaten = 0.0

    def beat(self) -> None:
        """Show that this flow goes on."""
        if self._descriptor >= 0 and time.monotonic() - self._beaten > _BEAT:
            self._beaten = time.monotonic()
            with suppress(OSError):
                os.utime(self._descriptor)

    def take(self, keys: Iterable[str]) -> set[str]:
        """Take keys; return those that another flow has taken, which are not this one's."""
        wanted = set(keys) - self._mine
        if self._broken or not wanted:
            return set()
        try:
            if self._descriptor < 0:
                self._open()
            # First say it, then look: of two that do so at once, one or both see the other.
            self._write(_TAKEN, wanted)
            taken = wanted & self._of_others()
            self._write(_LEFT, taken)
        except OSError as error:
            self._broken = True
            logger.info("Other flows are not told what this one computes: %s", error)
            return set()
        self._mine |= wanted - taken
        return taken

    def leave(self, key: str) -> None:
        """Let others have a key, such as that of a failure."""
        if key in self._mine:
            self._mine.remove(key)
            with suppress(OSError):
                self._write(_LEFT, [key])

    def close(self) -> None:
        """Let others have all; its results are in the database."""
        if self._descriptor >= 0:
            with suppress(OSError):
                (self._folder / self._name).unlink()
            os.close(self._descriptor)
            self._descriptor = -1
            with suppress(OSError):
                self._folder.rmdir()

    def _open(self) -> None:
        for _ in range(10):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            name = f"{os.uname().nodename}-{os.getpid()}-{os.urandom(4).hex()}"
            flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW
            try:
                if reason := why_foreign(self._folder.lstat()):  # who could claim for ever
                    raise PermissionError(f"{self._folder} {reason}")
                descriptor = os.open(self._folder / f".{name}", flags, 0o600)
            except FileNotFoundError:  # another flow has just removed the folder
                continue
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Seen by others only now that it is locked.
            os.rename(self._folder / f".{name}", self._folder / name)
            self._descriptor, self._name = descriptor, name
            return
        raise OSError("its folder is removed again and again")

    def _write(self, sign: str, keys: Iterable[str]) -> None:
        text = "".join(f"{sign}{key}\n" for key in keys)
        if text:
            os.write(self._descriptor, text.encode())

    def _of_others(self) -> set[str]:
        names = {name for name in os.listdir(self._folder) if name != self._name and name[0] != "."}
        for name in self._others.keys() - names:
            del self._others[name]
        for name in names:
            self._read(name)
        now = time.monotonic()
        living = [other.keys for other in self._others.values() if now - other.heard < _SILENT]
        return set().union(*living)

    def _read(self, name: str) -> None:
        path = self._folder / name
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:  # it has ended, or is somebody else's
            self._others.pop(name, None)
            return
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # it lives
                other = self._others.setdefault(name, _Other())
                beat = os.fstat(descriptor).st_mtime_ns
                if beat != other.beat:
                    other.beat, other.heard = beat, time.monotonic()
                os.lseek(descriptor, other.offset, os.SEEK_SET)
                lines = os.read(descriptor, 1 << 24).decode(errors="replace").split("\n")
                for line in lines[:-1]:
                    change = other.keys.add if line[:1] == _TAKEN else other.keys.discard
                    change(line[1:])
                    other.offset += len(line) + 1
            else:  # it is dead
                self._others.pop(name, None)
                with suppress(OSError):
                    path.unlink()
        finally:
            os.close(descriptor)
