"""Databases that a Prefect server can have: an SQLite file, or PostgreSQL by its address."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import Any

from quacc.errors import SettingsError
from quacc.locations import check_location, expand_user, is_url, redact

_TIMEOUT = 15.0  # s


def check(database: str) -> str:
    """Return the absolute path of an SQLite file, or the address of a PostgreSQL database.

    Parameters
    ----------
    database
        ``postgresql://user@host/database``, with or without a password, or a file's name.

    Raises
    ------
    SettingsError
        It is neither.
    """
    if not is_url(database):
        path = Path(expand_user(database)).absolute()
        if path.suffix == ".db" and path.parent.is_dir():
            return str(path)
        raise SettingsError(
            f"{database!r} cannot be the server's database. Give postgresql://user@host/database, "
            "or the name of a file in a folder that exists, which ends in .db."
        )
    try:
        return str(
            check_location(re.sub(r"^postgres(ql)?(\+asyncpg)?://", "postgresql://", database))
        )
    except ValueError as error:
        raise SettingsError(
            f"{redact(database)} cannot be the server's database: {error}."
        ) from None


def refuse_password(database: str) -> None:
    """Refuse the address of a database that comes from a command line, if a password is in it.

    Raises
    ------
    SettingsError
        The message says where to put it.
    """
    if is_url(database) and redact(database) != database:
        raise SettingsError(
            "Everybody on this machine can read command lines, so that a password must not be in "
            "one; change it, if others are here. Leave it out and keep it in ~/.pgpass, or let the "
            "address be read from a file of yours: --database - < FILE."
        )


def of_prefect() -> str | None:
    """Return the database that Prefect's settings name, if they do."""
    from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL, PREFECT_HOME

    url = PREFECT_API_DATABASE_CONNECTION_URL.value()
    kind, slashes, path = url.partition(":///")
    if kind != "sqlite+aiosqlite":
        return url
    if not slashes or "?" in path or not path.startswith("/"):
        raise SettingsError(
            f"PREFECT_SERVER_DATABASE_CONNECTION_URL is {url}, where no server can keep its "
            "records. Unset it, or name a file by its absolute path."
        )
    return None if Path(path) == PREFECT_HOME.value().absolute() / "prefect.db" else path


def require(database: str) -> None:
    """Make sure that a database can be reached.

    Raises
    ------
    SettingsError
        It cannot be.
    """
    if is_url(database):
        ask(database, "SELECT 1")
    elif not os.access(Path(database).parent, os.W_OK):
        raise SettingsError(f"{Path(database).parent} cannot be written to.")


def size(database: str) -> int:
    """Return the room that a database takes (bytes)."""
    if is_url(database):
        return int(ask(database, "SELECT pg_database_size(current_database())"))
    files = (Path(f"{database}{more}") for more in ("", "-wal"))
    return sum(file.stat().st_size for file in files if file.exists())


def ask(database: str, statement: str) -> Any:
    """Return the one value that a PostgreSQL server answers.

    Raises
    ------
    SettingsError
        It does not.
    """
    import asyncpg

    async def fetch() -> Any:
        connection = await asyncpg.connect(database, timeout=_TIMEOUT)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    try:
        return asyncio.run(fetch())
    except (OSError, TimeoutError, ValueError, asyncpg.PostgresError) as error:
        raise SettingsError(
            f"The database {redact(database)} does not answer: {type(error).__name__}: "
            f"{redact(str(error))}. See that PostgreSQL runs there, that the database was created "
            "(createdb), and that its user may log in."
        ) from None
