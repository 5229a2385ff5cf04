"""Open the database behind a location: an SQLite file, or PostgreSQL by URL.

ASE's own schema and row format are used throughout, but not ASE's connection handling: its
lock file outlives a killed process, its tables are created one statement at a time, and it
commits in the middle of a large batch.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from quacc.errors import StoreError
from quacc.locations import is_url, redact

TIMEOUT = 60.0
"""How long to wait for another writer (s)."""

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
    """Yield ASE's database object, connected; None if there is nothing to read yet.

    With ``write``, everything done inside is one transaction that excludes other writers.
    """
    kind = _postgresql if is_url(location) else _sqlite
    with kind(location, write) as database:
        yield database


@contextmanager
def _sqlite(location: str | Path, write: bool) -> Iterator[Any]:
    from ase.db.sqlite import SQLite3Database

    path = Path(location)
    database: Any = SQLite3Database(str(path), use_lock_file=False, serial=True)
    try:
        if not write and not path.exists():
            yield None
            return
        if write:
            path.parent.mkdir(parents=True, exist_ok=True)
        address = f"{path.as_uri()}?mode={'rwc' if write else 'rw'}"
        with closing(
            sqlite3.connect(address, uri=True, timeout=TIMEOUT, isolation_level=None)
        ) as connection:
            database.connection = connection
            if not write:
                tables = "SELECT COUNT(*) FROM sqlite_master WHERE name='systems'"
                is_empty = connection.execute(tables).fetchone()[0] == 0
                if not is_empty:
                    database._initialize(connection)
                yield None if is_empty else database
                return
            # ASE creates the tables one by one, and commits after the last: begin first, so
            # that a process killed in between leaves none of them.
            connection.execute("BEGIN IMMEDIATE")
            database._initialize(connection)
            if not connection.in_transaction:
                connection.execute("BEGIN IMMEDIATE")
            connection.execute(SUMMARY_INDEX)
            for name, columns in INDICES.items():
                connection.execute(f"CREATE INDEX IF NOT EXISTS {name} ON {columns}")
            yield database
            connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise StoreError(f"Results database {path}: {error}.{_sqlite_help(error)}") from error
    except OSError as error:
        raise StoreError(f"Results database {path}: {error}") from error


def _sqlite_help(error: sqlite3.Error) -> str:
    text = str(error)
    if "locked" in text:
        return f" Another process has been writing for more than {TIMEOUT:.0f} s; try again."
    if "not a database" in text:
        return " The file is something else; choose another name."
    if "readonly" in text or "unable to open" in text:
        return " Check that you may write to the file and its folder."
    if "disk I/O" in text or "locking protocol" in text:
        return " The file system may lack file locking; put the database on another one."
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
    try:
        connection = psycopg2.connect(url, connect_timeout=10)
    except psycopg2.Error as error:
        # `from None`: the original message may hold the password.
        raise StoreError(
            f"Cannot reach the results database {redact(url)}: {_without_password(error, url)}. "
            "Check that the server runs, and the host, user, password and database name."
        ) from None
    try:
        register_default_jsonb(connection, loads=str)  # text, as in SQLite; the codec reads it
        database.connection = Connection(connection)
        cursor = connection.cursor()
        if write:
            # Two processes may create the tables at once.
            cursor.execute(f"SET lock_timeout = {int(TIMEOUT * 1000)}")
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_ADVISORY_LOCK])
            database._initialize(database.connection)
            cursor.execute("LOCK TABLE systems IN SHARE ROW EXCLUSIVE MODE")
            for name, columns in INDICES.items():
                cursor.execute("SELECT to_regclass(%s)", [name])
                if cursor.fetchone()[0] is None:  # `IF NOT EXISTS` would lock the table
                    cursor.execute(f"CREATE INDEX {name} ON {columns}")
            yield database
            connection.commit()
            return
        cursor.execute("SELECT to_regclass('systems')")
        is_empty = cursor.fetchone()[0] is None
        if not is_empty:
            database._initialize(database.connection)
        yield None if is_empty else database
    except psycopg2.Error as error:
        raise StoreError(
            f"Results database {redact(url)}: {_without_password(error, url)}."
        ) from None
    finally:
        with suppress(psycopg2.Error):
            connection.close()  # rolls back what has not been committed


def _without_password(error: Exception, url: str) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    secrets = re.findall(r"://[^:/@]*:([^@]*)@|(?i:pass\w*)=([^&]*)", url)
    for secret in {part for pair in secrets for part in pair if part}:
        for spelling in (secret, unquote(secret)):
            text = text.replace(spelling, "***")
    return text
