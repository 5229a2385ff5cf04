"""Open the database behind a location: an SQLite file, or PostgreSQL by URL.

ASE's own schema and row format are used throughout, but not ASE's connection handling: its
lock file outlives a killed process, its tables are created one statement at a time, and it
commits in the middle of a large batch.
"""

from __future__ import annotations

import os
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

from quacc.errors import StoreError
from quacc.locations import is_url, redact

TIMEOUT = 60.0
"""How long to wait for another writer, or for a server that has answered before (s)."""

_written: dict[str, tuple[str, int]] = {}
"""The databases that this process has written to: what marks each, and a file's inode."""


_answering: set[str] = set()
"""The servers that are waited for, should they be away."""


class RejectedError(StoreError):
    """A result cannot be kept as it is; others can."""


class VanishedError(StoreError):
    """The database that this process has written to is no longer there."""


def wait_for(location: str | Path) -> None:
    """Let the next call wait for a server, although it has not answered yet."""
    _answering.add(str(location))


def forget(location: str | Path) -> None:
    """Let a new database take the place of one that has vanished."""
    _written.pop(str(location), None)


_ADVISORY_LOCK = 78_221_167  # any number, the same in every process

# `ls` reads only this index: natoms and the recipe lie behind the big arrays in a row, and
# SQLite would have to walk through those. PostgreSQL does not keep them there.
SUMMARY_INDEX = (
    "CREATE INDEX IF NOT EXISTS quacc_summary ON systems"
    "(ctime, id, unique_id, calculator, natoms, energy, key_value_pairs)"
)

# For filters; and to find what belongs to a row, which must go when the row is deleted. ASE has
# no index for that, so that its own `delete` reads whole tables, in PostgreSQL once per row.
INDICES = {
    "quacc_texts": "text_key_values(key, value, id)",
    "quacc_text_ids": "text_key_values(id, key)",
    "quacc_number_ids": "number_key_values(id)",
    "quacc_species_ids": "species(id)",
    "quacc_key_ids": "keys(id)",
}


@contextmanager
def open_database(location: str | Path, *, write: bool) -> Iterator[Any]:
    """Yield a database with its ``connection``; None if there is nothing to read yet.

    With ``write``, it is ASE's database object, and everything done inside is one transaction that
    excludes other writers.
    """
    kind = _postgresql if is_url(location) else _sqlite
    with kind(location, write) as database:
        yield database


@contextmanager
def _sqlite(location: str | Path, write: bool) -> Iterator[Any]:
    path = Path(location)
    try:
        _check_there(path)
        if not write and not path.exists():
            yield None
            return
        if write:
            path.parent.mkdir(parents=True, exist_ok=True)
        address = f"{path.as_uri()}?mode={'rwc' if write else 'rw'}"
        with closing(
            sqlite3.connect(address, uri=True, timeout=TIMEOUT, isolation_level=None)
        ) as connection:
            if not write:
                if _is_empty(connection, path):
                    yield None
                elif _version(connection) <= _VERSION:  # without ASE, which takes long to import
                    yield SimpleNamespace(connection=connection)
                else:  # which refuses a format that is newer than itself
                    database = _of_ase(path, connection)
                    database._initialize(connection)
                    yield database
                return
            database = _of_ase(path, connection)
            # ASE creates the tables one by one, and commits after the last: begin first, so
            # that a process killed in between leaves none of them.
            connection.execute("BEGIN IMMEDIATE")
            _is_empty(connection, path)
            database._initialize(connection)
            if not connection.in_transaction:
                connection.execute("BEGIN IMMEDIATE")
            connection.execute(SUMMARY_INDEX)
            for name, columns in INDICES.items():
                connection.execute(f"CREATE INDEX IF NOT EXISTS {name} ON {columns}")
            try:
                mark = _check_mark(database, path)
                inode = _inode(path)
                yield database
                connection.execute("COMMIT")
            finally:
                # Closing alone keeps the lock, as long as a traceback holds a cursor.
                if connection.in_transaction:
                    connection.rollback()
            _written.setdefault(str(path), (mark, inode))
            _check_there(path)
    except sqlite3.Error as error:
        message = f"Results database {path}: {error}.{_sqlite_help(error)}"
        raise (RejectedError if _is_rejection(error) else StoreError)(message) from error
    except OSError as error:
        raise StoreError(f"Results database {path}: {error}.") from error


_VERSION = 9
"""Version of ASE's format, which quacc reads itself."""


def _version(connection: sqlite3.Connection) -> int:
    with suppress(sqlite3.OperationalError):  # old formats have no such table
        statement = "SELECT value FROM information WHERE name = 'version'"
        for (version,) in connection.execute(statement):
            return int(version)
    return 0


def _of_ase(path: Path, connection: sqlite3.Connection) -> Any:
    from ase.db.sqlite import SQLite3Database

    database: Any = SQLite3Database(str(path), use_lock_file=False, serial=True)
    database.connection = connection
    return database


def _inode(path: Path) -> int:
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return -1


def _check_there(path: Path) -> None:
    """Raise a VanishedError if the file is not the one that this process has written to."""
    known = _written.get(str(path))  # which another thread may forget
    if known is not None and (inode := _inode(path)) != known[1]:
        what = "it is no longer there" if inode < 0 else "another file has taken its place"
        raise _vanished(path, what)


def _check_mark(database: Any, location: str | Path) -> str:
    """Return what marks this database, and no other; raise a VanishedError if it is another."""
    cursor = database.connection.cursor()
    cursor.execute("SELECT value FROM information WHERE name = ?", ["quacc_mark"])
    found = cursor.fetchone()
    mark: str = found[0] if found else uuid4().hex
    known = _written.get(str(location))
    if known is not None and mark != known[0]:
        raise _vanished(location, "another one has taken its place")
    if not found:
        cursor.execute("INSERT INTO information VALUES (?, ?)", ["quacc_mark", mark])
    return mark


def _is_empty(connection: sqlite3.Connection, path: Path) -> bool:
    tables = "SELECT COUNT(*) FROM sqlite_master WHERE name='systems'"
    is_empty: bool = connection.execute(tables).fetchone()[0] == 0
    if is_empty and str(path) in _written:
        raise _vanished(path, "it has been emptied")
    return is_empty


def _vanished(location: str | Path, what: str) -> VanishedError:
    return VanishedError(
        f"Results database {redact(location)}: {what}, and what has been stored there is lost. "
        "Put it back if you can; run again to begin a new one."
    )


def _is_rejection(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:  # such as a type that is not supported
        return isinstance(error, sqlite3.DataError | sqlite3.ProgrammingError)
    return code & 0xFF in (
        sqlite3.SQLITE_TOOBIG,
        sqlite3.SQLITE_CONSTRAINT,
        sqlite3.SQLITE_MISMATCH,
    )


def _sqlite_help(error: sqlite3.Error) -> str:
    text = str(error)
    if "locked" in text:
        return f" Another process has been writing for more than {TIMEOUT:.0f} s; try again."
    if "not a database" in text:
        return (
            " The file is something else, or has been overwritten; choose another name, or put "
            "a copy of the database in its place."
        )
    if "malformed" in text:
        return (
            " The file is damaged: `quacc results check` says how far. Move it away, run again to "
            "begin a new one, and save what can be read with `quacc results merge`."
        )
    if "is full" in text:
        return " Make room on its disk."
    if "readonly" in text or "unable to open" in text:
        return " Check that you may write to the file and its folder."
    if "disk I/O" in text or "locking protocol" in text:
        return (
            " The disk may be full, or the file system without file locking; put the database on "
            "another one."
        )
    return ""


@contextmanager
def _postgresql(location: str | Path, write: bool) -> Iterator[Any]:
    url = str(location)
    try:
        import psycopg2
        from ase_db_backends.postgresql import Connection, PostgreSQLDatabase
        from psycopg2.extras import register_default_jsonb
    except ImportError as error:
        raise StoreError(
            f"The results database {redact(url)} needs a package that is not installed "
            f"({error.name}): run `pip install ase-db-backends psycopg2-binary`."
        ) from error

    database = PostgreSQLDatabase(url, serial=True)
    deadline = time.monotonic() + (TIMEOUT if url in _answering else 0)
    while True:
        try:
            connection = psycopg2.connect(url, connect_timeout=10)
            _answering.add(url)
            break
        except psycopg2.Error as error:
            if time.monotonic() < deadline:  # it may be starting anew
                time.sleep(0.5)
                continue
            _answering.discard(url)  # the next call need not wait as long again
            # `from None`: the original message may hold the password.
            raise StoreError(
                f"Cannot reach the results database {redact(url)}: "
                f"{_without_password(error, url)}. Check that the server runs, and the host, "
                "user, password and database name."
            ) from None
    try:
        register_default_jsonb(connection, loads=str)  # text, as in SQLite; the codec reads it
        database.connection = Connection(connection)
        cursor = connection.cursor()
        if write:
            # Two processes may create the tables at once.
            cursor.execute(f"SET lock_timeout = {int(TIMEOUT * 1000)}")
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_ADVISORY_LOCK])
            if url in _written:
                _has_systems(cursor, url)
            database._initialize(database.connection)
            cursor.execute("LOCK TABLE systems IN SHARE ROW EXCLUSIVE MODE")
            for name, columns in INDICES.items():
                cursor.execute("SELECT to_regclass(%s)", [name])
                if cursor.fetchone()[0] is None:  # `IF NOT EXISTS` would lock the table
                    cursor.execute(f"CREATE INDEX {name} ON {columns}")
            mark = _check_mark(database, url)
            yield database
            connection.commit()
            _written[url] = mark, 0
            return
        has_systems = _has_systems(cursor, url)
        if has_systems:
            database._initialize(database.connection)
        yield database if has_systems else None
    except psycopg2.Error as error:
        message = f"Results database {redact(url)}: {_without_password(error, url)}."
        code = error.pgcode or ""
        refused = isinstance(error, psycopg2.DataError | psycopg2.IntegrityError)
        refused |= not code and isinstance(error, psycopg2.ProgrammingError)  # e.g. a type
        # Bad data, a limit of the program's, or more than can be allocated at once.
        refused |= code[:2] in ("22", "23", "54") or "invalid memory alloc" in message
        raise (RejectedError if refused else StoreError)(message) from None
    finally:
        with suppress(psycopg2.Error):
            connection.close()  # rolls back what has not been committed


def _has_systems(cursor: Any, url: str) -> bool:
    cursor.execute("SELECT to_regclass('systems')")
    found: bool = cursor.fetchone()[0] is not None
    if not found and url in _written:
        raise _vanished(url, "its tables are no longer there")
    return found


def _without_password(error: Exception, url: str) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    secrets = re.findall(r"://[^:/@]*:([^@]*)@|(?i:pass\w*)=([^&]*)", url)
    for secret in {part for pair in secrets for part in pair if part}:
        for spelling in (secret, unquote(secret)):
            text = text.replace(spelling, "***")
    return text[:500]  # it may quote a whole row
