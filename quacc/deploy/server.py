"""One Prefect server for a person, or a group: started, looked at, stopped.

Its database is Prefect's own, where temporary servers of runs write too, or any other. A lock on a
file, which the server's process has for its whole life, lets there be one only.
"""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from quacc.cluster.certificates import make_private
from quacc.deploy import databases
from quacc.deploy.launch import chosen_before, listener, lock, popen, refuse_elsewhere, wait_for
from quacc.deploy.log import LOG
from quacc.deploy.serve import CHOICES
from quacc.errors import SettingsError
from quacc.locations import redact
from quacc.ownfiles import write_own
from quacc.prefect.lifecycle.running import (
    LOOPBACK,
    Running,
    credentials,
    credentials_file,
    folder,
    home,
    state_file,
)

_GRACE = 20.0  # s, until a server that was asked to end is killed
_LOOK = 0.1  # s, between two looks whether it has


def start(
    host: str | None = None, port: int | None = None, database: str | None = None
) -> tuple[Running, bool]:
    """Start the server, unless it runs.

    Parameters
    ----------
    host
        Where it listens; the loopback, if not given.
    port
        As the last time, or a free one from 4200 on, if not given.
    database
        See :func:`quacc.deploy.databases.check`. That of Prefect's settings where they name one;
        as the last time; or Prefect's own file, if not given.

    Returns
    -------
    Running, bool
        The server, and whether this call has started it.

    Raises
    ------
    SettingsError
        It cannot start, or runs otherwise than asked for.
    """
    place = _make_folder()
    with lock(place) as taken:
        if taken is not None:
            return _start(place, taken, host, port, database), True
    running = wait_for(place)
    asked = {"host": host, "port": port}
    if database is not None:
        asked["database"] = redact(databases.check(database))
    for name, value in asked.items():
        if value is not None and value != getattr(running, name):
            raise SettingsError(
                f"The server runs already, with {name} = {getattr(running, name)}, not {value}. "
                "Stop it first: quacc server stop."
            )
    return running, False


def stop() -> Running | None:
    """Stop the server; return it, or None where none ran.

    Raises
    ------
    SettingsError
        It runs on another machine, or does not end.
    """
    place = folder()
    if not place.exists():
        return None
    with lock(place) as taken:
        if taken is not None:
            refuse_elsewhere(place)
            state_file(place).unlink(missing_ok=True)
            return None
    running = wait_for(place, answer=False)
    try:
        process = psutil.Process(running.pid)
        for end in (process.terminate, process.kill):  # psutil looks whether it is the same
            if running.is_alive():
                end()
            patience = time.monotonic() + _GRACE
            while running.is_alive() and time.monotonic() < patience:
                time.sleep(_LOOK)
    except psutil.NoSuchProcess:
        pass
    if running.is_alive():
        raise SettingsError(f"The Prefect server, process {running.pid}, was killed and goes on.")
    state_file(place).unlink(missing_ok=True)
    return running


@dataclass(frozen=True)
class Counts:
    """What a running server has."""

    flow_runs: int
    in_progress: int
    """Flow runs that have begun and not ended."""
    task_runs: int
    size: int
    """Of the database (bytes)."""


def counts(running: Running) -> Counts:
    """Ask a server what it has.

    Raises
    ------
    SettingsError
        Its database does not answer, or it does not.
    """
    place = folder()
    password = credentials(place)
    size = databases.size(last_database(place))
    going = {"flow_runs": {"state": {"type": {"any_": ["RUNNING", "CANCELLING"]}}}}

    def ask(what: str, question: Any) -> int:
        try:
            return int(running.ask("POST", f"/{what}/count", question, password=password))
        except ConnectionError as error:
            raise SettingsError(
                f"The Prefect server runs, but cannot tell what it has: {error}. Its log is "
                f"{place / LOG}."
            ) from None

    return Counts(
        flow_runs=ask("flow_runs", {}),
        in_progress=ask("flow_runs", going),
        task_runs=ask("task_runs", {}),
        size=size,
    )


def last_database(place: Path) -> str:
    """Return the database that the server has, or has had; a password may be in it."""
    return str(chosen_before(place).get("database") or home() / "prefect.db")


def _make_folder() -> Path:
    make_private(home())
    place = folder()
    make_private(place)
    return place


def _start(
    place: Path, lock: int, host: str | None, port: int | None, database: str | None
) -> Running:
    refuse_elsewhere(place)
    state_file(place).unlink(missing_ok=True)
    if not credentials_file(place).exists():
        write_own(credentials_file(place), f"quacc:{secrets.token_urlsafe(32)}\n".encode())
    credentials(place)
    before = chosen_before(place)
    host = host or LOOPBACK
    location = databases.check(
        database or databases.of_prefect() or before.get("database") or str(home() / "prefect.db")
    )
    databases.require(location)
    held = listener(host, port, before.get("port"))
    chosen = {"host": host, "port": held.getsockname()[1], "database": location}
    write_own(place / CHOICES, json.dumps(chosen, indent=1).encode())
    process = popen(place, held, lock)
    try:
        return wait_for(place, process)
    except BaseException:
        process.terminate()
        raise
