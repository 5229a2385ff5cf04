"""The Prefect server that contestants report to: quacc's own, in a process that can be watched."""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from fanout_parts.contestants import peak_memory

BOUND = 180.0
"""The longest that we wait for records (s)."""


class Server:
    """A running server.

    Parameters
    ----------
    environment
        Prefect's settings that lead to it.
    database
        Its SQLite file.
    """

    def __init__(self, environment: dict[str, str], database: Path, process: psutil.Process):
        self.environment, self.database, self.process = environment, database, process
        self.address = environment["PREFECT_API_URL"].removesuffix("/api")

    def counts(self) -> dict[str, float]:
        """Return what it has been asked, its CPU time (s), and its database's size (B)."""
        times = self.process.cpu_times()
        return httpx.get(f"{self.address}/counts").json() | {
            "cpu": times.user + times.system,
            "bytes": self._query(
                "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
            )[0][0],
        }

    def peak_memory(self) -> float:
        """Return the most memory (MiB) that it has had."""
        return peak_memory(self.process.pid)

    def records(self) -> dict[str, Any]:
        """Return how many task runs there are by their state, and how many states by type."""
        runs = "SELECT state_type, count(*) FROM task_run GROUP BY state_type"
        states = "SELECT type, count(*) FROM task_run_state GROUP BY type"
        return {"runs": dict(self._query(runs)), "states": dict(self._query(states))}

    def wait_for_records(self, quiet: float = 2.5) -> dict[str, Any]:
        """Wait until none has arrived for so long (s), and return how many there are.

        The server writes every second.
        """
        end = time.monotonic() + BOUND
        before, since = self.records(), time.monotonic()
        while time.monotonic() - since < quiet and time.monotonic() < end:
            time.sleep(0.5)
            if (now := self.records()) != before:
                before, since = now, time.monotonic()
        return before

    def _query(self, statement: str) -> list[Any]:
        # Read from the file, so that the server is asked nothing.
        with sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=60) as connection:
            return connection.execute(statement).fetchall()


@contextmanager
def running_server(folder: Path) -> Iterator[Server]:
    """Start the server that quacc starts where none is configured, with an empty database."""
    from prefect.client.orchestration import get_client
    from prefect.settings import (
        PREFECT_API_DATABASE_CONNECTION_URL,
        get_current_settings,
        temporary_settings,
    )

    from quacc.prefect.lifecycle import server

    plain, counting = "prefect.server.api.server:create_app", "fanout_parts.app:create_app"
    if counting not in server._PROGRAM:
        server._PROGRAM = server._PROGRAM.replace(plain, counting)
        assert counting in server._PROGRAM, "another application is started"
    database = Path(tempfile.mkdtemp(prefix="server-", dir=folder)) / "prefect.db"
    url = f"sqlite+aiosqlite:///{database}"
    before = set(psutil.Process().children())
    with temporary_settings({PREFECT_API_DATABASE_CONNECTION_URL: url}), server.prefect_api():
        [process] = set(psutil.Process().children()) - before
        with get_client(sync_client=True) as client:
            client.request("GET", "/admin/version")  # the first request takes a second
        environment = get_current_settings().to_environment_variables(exclude_unset=True)
        yield Server(environment, database, process)
