"""A new database for Prefect's server: a copy of one that has been made before.

Prefect makes one by more than a hundred migrations, which take as long as a small flow.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from uuid import uuid4

import prefect

from quacc.errors import SettingsError
from quacc.locations import home
from quacc.ownfiles import read_own


def template() -> Path | None:
    """Return the file that new databases are copied from, made or not; None without a home."""
    try:
        cache = os.environ.get("XDG_CACHE_HOME") or home() / ".cache"
    except SettingsError:
        return None
    return Path(cache).absolute() / "quacc" / f"prefect-{prefect.__version__}.db"


def fill(folder: Path) -> Path | None:
    """Put a copy of the template into a folder that has no database.

    The server looks at it as at any other, and migrates it where that is needed.

    Returns
    -------
    Path | None
        The template that the server is to make, where the folder has no database still.
    """
    database, source = folder / "prefect.db", template()
    if source is None or any(folder.glob("prefect.db*")):
        return None
    copy = folder / f".{uuid4().hex}"
    try:
        content = read_own(source)
        with open(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(content)
        if not _is_whole(copy):
            return source
        with suppress(FileExistsError):  # another server has been quicker
            os.link(copy, database)
    except (OSError, sqlite3.Error):
        return source
    else:
        return None
    finally:
        for left in folder.glob(f"{copy.name}*"):
            left.unlink()


def _is_whole(database: Path) -> bool:
    with closing(sqlite3.connect(database)) as connection:
        size, pages, wrong = (
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_size", "page_count", "quick_check")
        )
    return wrong == "ok" and database.stat().st_size == size * pages


def make(source: Path, database: Path) -> None:
    """Make the database of a server that has not started yet, and the template of it.

    Whatever goes wrong is left for the server to find.
    """
    from prefect.server.database import provide_database_interface

    copy = source.with_name(f".{uuid4().hex}")
    with suppress(Exception):
        asyncio.run(provide_database_interface().create_db())
        source.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            with closing(sqlite3.connect(database)) as made, closing(sqlite3.connect(copy)) as new:
                made.backup(new)
            copy.replace(source)
        finally:
            copy.unlink(missing_ok=True)
