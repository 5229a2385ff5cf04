"""Copies of a Prefect server's database: made while it runs, put back while it does not.

The password is not in them.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit
from uuid import uuid4

from quacc.cluster.certificates import make_private
from quacc.deploy.launch import lock, refuse_elsewhere
from quacc.deploy.server import last_database
from quacc.errors import SettingsError
from quacc.locations import is_url, redact
from quacc.prefect.lifecycle.running import folder, home

_BUSY = 60.0  # s


def backup(file: Path | None = None) -> Path:
    """Copy the database, whether the server runs or not; return the file.

    Parameters
    ----------
    file
        Where to; a new file in the folder ``backups``, if not given.

    Raises
    ------
    SettingsError
        The file exists, or the copy cannot be made.
    """
    make_private(home())
    database = last_database(folder())
    if file is None:
        kind = "dump" if is_url(database) else "db"
        file = folder() / "backups" / f"{time.strftime('%Y-%m-%dT%H-%M-%S')}.{kind}"
        make_private(file.parent.parent)
        make_private(file.parent)
    file = file.absolute()
    if file.exists():
        raise SettingsError(f"{file} exists. Name another file; backups replace nothing.")
    if not file.parent.is_dir():
        raise SettingsError(f"There is no folder {file.parent}. Make it first.")
    partial = file.with_name(f".{file.name}-{uuid4().hex}")
    try:
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        if is_url(database):
            _run("pg_dump", database, "--format=custom", "--no-owner", f"--file={partial}")
        else:
            _copy(Path(database), partial, alone=True)
        with partial.open("rb") as stream:
            os.fsync(stream.fileno())
        try:
            os.link(partial, file)  # fails where another one has been quicker
        except FileExistsError:
            raise SettingsError(f"{file} exists. Name another file.") from None
    finally:
        partial.unlink(missing_ok=True)
    return file


def restore(file: Path) -> Path | None:
    """Put a copy in the place of the database, all of it or nothing.

    Returns
    -------
    Path | None
        A copy of what was there before; None where nothing was.

    Raises
    ------
    SettingsError
        The server runs, or the file is no whole copy of a database of Prefect's.
    """
    if not file.is_file():
        raise SettingsError(f"There is no file {file}.")
    place = folder()
    make_private(home())
    make_private(place)
    with lock(place) as taken:
        if taken is None:
            raise SettingsError("The server runs. Stop it first: quacc server stop.")
        refuse_elsewhere(place)
        database = last_database(place)
        if is_url(database):
            _require_dump(file)
            before: Path | None = backup()
            _run(
                "pg_restore", database, "--clean", "--if-exists", "--no-owner",
                "--single-transaction", "--exit-on-error", str(file),
            )  # fmt: skip
            return before
        _require_whole(file, of_prefect=True)
        before = backup() if Path(database).exists() else None
        _copy(file, Path(database))  # one transaction of SQLite's
        return before


def _copy(source: Path, target: Path, *, alone: bool = False) -> None:
    """Copy a database that others may use into another one.

    Parameters
    ----------
    alone
        Nobody else uses the target.
    """
    if not source.exists():
        raise SettingsError(f"There is no database {source} yet.")
    try:
        with (
            closing(sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True, timeout=_BUSY)) as old,
            closing(sqlite3.connect(target, timeout=_BUSY)) as new,
        ):
            old.backup(new)
            if alone:  # all in one file
                new.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as error:
        raise SettingsError(f"{source} could not be copied to {target}: {error}.") from None
    _require_whole(target)


def _require_whole(file: Path, *, of_prefect: bool = False) -> None:
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as database:
            [found] = database.execute("PRAGMA quick_check").fetchone()
            if of_prefect:
                database.execute("SELECT id FROM flow_run LIMIT 1")
                database.execute("SELECT version_num FROM alembic_version")
    except sqlite3.Error as error:
        found = str(error)
    if found != "ok":
        raise SettingsError(f"{file} is no whole copy of a Prefect server's database: {found}.")


def _require_dump(file: Path) -> None:
    listing = subprocess.run(
        [_program("pg_restore"), "--list", str(file)], capture_output=True, text=True, check=False
    )
    if listing.returncode or " flow_run " not in listing.stdout:
        reason = listing.stderr.strip() or "it has no table flow_run"
        raise SettingsError(f"{file} is no dump of a Prefect server's database: {reason}.")


def _run(program: str, database: str, *words: str) -> None:
    """Run a program of PostgreSQL's; the password is not on its command line."""
    parts = urlsplit(database)
    bare = urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", "@")))
    password = {} if parts.password is None else {"PGPASSWORD": unquote(parts.password)}
    done = subprocess.run(
        [_program(program), f"--dbname={bare}", "--no-password", *words],
        env=os.environ | password,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SettingsError(
            f"{program} of {redact(database)} failed: {redact(done.stderr.strip())}"
        )


def _program(name: str) -> str:
    if found := shutil.which(name):
        return found
    raise SettingsError(
        f"The program {name} is not here. Install PostgreSQL's client programs (on Debian, "
        "postgresql-client), of the server's version or a later one."
    )
