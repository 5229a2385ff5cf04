"""What the database could not take: files beside it, or elsewhere, that later runs bring in.

A record is a marker, its length, its SHA-256, and the rows in the codec's format. One that a
kill has cut short is skipped.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import mmap
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from quacc.errors import SettingsError, StoreError
from quacc.locations import home, is_url, redact
from quacc.ownfiles import why_foreign
from quacc.store.codec import decode, to_binary
from quacc.store.columns import Columns
from quacc.store.connection import RejectedError
from quacc.store.largefiles import beside
from quacc.store.rows import Row

logger = logging.getLogger(__name__)

Entry = Sequence[Row]
"""The rows of one result."""

_MARK = b"\0quacc1\n"
_HEAD = len(_MARK) + 8 + 32
_TOGETHER = 200
"""Results that are brought in in one transaction."""


@dataclass
class Pending:
    """What is in the journal."""

    files: list[Path] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    damaged: int = 0
    """Bytes that are no whole record."""
    unreadable: list[str] = field(default_factory=list)
    """Why files cannot be read."""


class Journal:
    """The journal of one database and one user; any of the user's processes may add to it."""

    def __init__(self, location: str | Path) -> None:
        self._location = location
        self._tried: dict[Path, tuple[int, ...]] = {}
        """What was left of each file after the last try."""

    def append(self, entries: Sequence[Entry]) -> Path:
        """Write results to the first place that takes them, and return it.

        Raises
        ------
        StoreError
            No place takes them; says why.
        """
        records = b"".join(_record(entry) for entry in entries)
        faults = []
        for path in self._places():
            try:
                _prepare(path)
                with _locked(path) as descriptor:
                    _append(descriptor, records)
                return path
            except OSError as error:
                faults.append(f"{path}: {error.strerror or error}")
        raise StoreError(f"They cannot be set aside either ({'; '.join(faults)}).")

    def pending(self) -> Pending:
        """Return what waits to be brought in."""
        found = Pending()
        for path in self.files():
            try:
                with _locked(path, create=False) as descriptor:
                    for rows, record, damaged in _read(descriptor):
                        found.damaged += damaged
                        found.keys += [rows[-1].key if rows else "?"] if record else []
                found.files.append(path)
            except FileNotFoundError:  # another process has brought it in
                continue
            except OSError as error:
                found.unreadable.append(str(error))
        return found

    def bring_in(
        self, write: Callable[[Sequence[Row]], int], *, again: bool = False
    ) -> dict[str, str]:
        """Store all that the database takes now; return what it rejects, key by key, and why.

        Parameters
        ----------
        again
            Try also what has been rejected before.

        Raises
        ------
        StoreError
            The database cannot be written; nothing is lost.
        """
        rejected: dict[str, str] = {}
        for path in self.files():
            if again or self._tried.get(path) != _state(path):
                try:
                    with _locked(path, create=False) as descriptor:
                        left = _bring_in(descriptor, path, write, redact(self._location))
                except FileNotFoundError:  # another process has been quicker
                    continue
                except OSError as error:
                    logger.error("Results that were set aside cannot be read: %s", error)
                    left = {}
                rejected |= left
                self._tried[path] = _state(path)
        return rejected

    def files(self) -> list[Path]:
        """Return the files that there are."""
        return [path for path in self._places() if os.path.lexists(path)]

    def _places(self) -> Iterator[Path]:
        user = os.geteuid()
        if isinstance(self._location, str) and is_url(self._location):
            from quacc.settings import get_settings

            name = beside(self._location)
            yield get_settings().results_dir / f"{name}.journal-{user}"
        else:
            yield Path(f"{self._location}.journal-{user}")
            digest = hashlib.sha256(os.fsencode(self._location)).hexdigest()[:12]
            name = f"{Path(self._location).stem}-{digest}"
        with suppress(SettingsError):  # there is no home
            state = os.environ.get("XDG_STATE_HOME") or home() / ".local" / "state"
            yield Path(state, "quacc", f"{name}.journal")
        yield Path(tempfile.gettempdir(), f"quacc-journal-{user}", f"{name}.journal")


def _prepare(path: Path) -> None:
    """Make the folders elsewhere; never one that has vanished."""
    if path.suffix == ".journal":
        path.parent.parent.mkdir(parents=True, exist_ok=True)
        path.parent.mkdir(exist_ok=True, mode=0o700)
        if (reason := why_foreign(os.lstat(path.parent))) is not None:
            raise PermissionError(f"{path.parent} {reason}")


@contextmanager
def _locked(path: Path, *, create: bool = True) -> Iterator[int]:
    """Yield the file's descriptor, while no other process has it."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    flags |= os.O_CREAT if create else 0
    while True:
        descriptor = os.open(path, flags, 0o600)
        try:
            status = os.fstat(descriptor)
            if (reason := why_foreign(status, secret=True)) is not None:
                raise PermissionError(f"{path} {reason}")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # Whoever had it before may have brought everything in, and removed it.
            if _state(path)[:2] == (status.st_dev, status.st_ino):
                yield descriptor
                return
        finally:
            os.close(descriptor)


def _state(path: Path) -> tuple[int, ...]:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return ()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _append(descriptor: int, records: bytes) -> None:
    end = os.fstat(descriptor).st_size
    rest = memoryview(records)
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    except BaseException:
        os.ftruncate(descriptor, end)
        raise


def _bring_in(
    descriptor: int, path: Path, write: Callable[[Sequence[Row]], int], store: str
) -> dict[str, str]:
    rejected: dict[str, str] = {}
    left: list[bytes] = []
    batch: list[tuple[list[Row], bytes]] = []
    count = damaged = 0

    def flush() -> None:
        nonlocal count
        try:
            write([row for rows, _ in batch for row in rows])
            count += len(batch)
        except RejectedError as error:
            if len(batch) == 1:
                [(rows, record)] = batch
                rejected[rows[-1].key] = str(error)
                left.append(record)
            else:
                several = batch[:]
                for one in several:
                    batch[:] = [one]
                    flush()
        batch.clear()

    for rows, record, torn in _read(descriptor):
        damaged += torn
        if rows:
            batch.append((rows, record))
        elif record:
            rejected[f"record {len(rejected) + 1}"] = "another version of quacc has written it"
            left.append(record)
        if len(batch) == _TOGETHER or sum(len(record) for _, record in batch) > 1e8:
            flush()
    if batch:
        flush()
    if damaged:
        logger.warning("%s: %d bytes were no whole record, and have been left out.", path, damaged)
    if count:
        logger.warning("%d results that had been set aside in %s are in %s.", count, path, store)
    if not left:
        os.unlink(path)
    elif count or damaged:
        partial = path.with_name(f"{path.name}.partial")
        with suppress(FileNotFoundError):
            os.unlink(partial)
        new = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            _append(new, b"".join(left))
        finally:
            os.close(new)
        os.replace(partial, path)
    if rejected:
        shown = "; ".join(f"{key[:10]}: {reason}" for key, reason in list(rejected.items())[:5])
        logger.warning(
            "%d results stay in %s, because %s rejects them (%s).",
            *(len(rejected), path, store, shown),
        )
    return rejected


def _read(descriptor: int) -> Iterator[tuple[list[Row], bytes, int]]:
    """Yield the rows of each record, the record itself, and how many bytes before it are none.

    There are no rows where another version of quacc has written the record.
    """
    size = os.fstat(descriptor).st_size
    if not size:
        return
    with mmap.mmap(descriptor, size, prot=mmap.PROT_READ) as content:
        place = 0
        while place < size:
            start = content.find(_MARK, place)
            if start < 0:
                yield [], b"", size - place
                return
            length = int.from_bytes(content[start + len(_MARK) : start + len(_MARK) + 8], "little")
            end = start + _HEAD + length
            record = content[start:end] if end <= size else b""
            payload = record[_HEAD:]
            if len(record) == _HEAD + length and record[_HEAD - 32 : _HEAD] == _hash(payload):
                yield _rows(payload), record, start - place
                place = end
            else:
                yield [], b"", start + 1 - place
                place = start + 1


def _hash(payload: bytes) -> bytes:
    return hashlib.sha256(payload).digest()


def _record(entry: Entry) -> bytes:
    payload = to_binary([_plain(row) for row in entry])
    return b"".join([_MARK, len(payload).to_bytes(8, "little"), _hash(payload), payload])


def _plain(row: Row) -> Any:
    columns = row.columns
    name, content = row.file or (None, b"")
    return {
        "row": {"key": row.key, "converged": row.converged, "replace": row.replace},
        "columns": {
            "key": columns.key,
            "values": {name: _array(value) for name, value in columns.values.items()},
            "species": [[int(z), int(n)] for z, n in columns.species.items()],
            "pairs": dict(columns.pairs),
        },
        "file": name,
        "content": _array(content),
    }


def _array(value: Any) -> Any:
    return np.frombuffer(value, np.uint8) if isinstance(value, bytes) else value


def _bytes(value: Any) -> Any:
    return value.tobytes() if isinstance(value, np.ndarray) else value


def _rows(payload: bytes) -> list[Row]:
    try:
        return [_row(one) for one in decode(payload)]
    except (KeyError, TypeError, ValueError, AttributeError):
        return []


def _row(one: Any) -> Row:
    columns = one["columns"]
    columns["values"] = {name: _bytes(value) for name, value in columns["values"].items()}
    columns["species"] = dict(columns["species"])
    file = (one["file"], _bytes(one["content"])) if one["file"] else None
    return Row(**one["row"], columns=Columns(**columns), file=file)
