"""The process of the Prefect server of ``quacc server start``.

``python -m quacc.deploy.serve FOLDER SOCKET``, with the number of an open socket. The password and
the database's address come from files of FOLDER that are this user's alone, and go into variables
of this process: from its command line, and from the environment that it was started with, nobody
learns them.
"""

from __future__ import annotations

import json
import os
import platform
import socket
import sys
import threading
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import quacc
from quacc.cluster.processes import signature
from quacc.deploy.log import LOG, keep_small
from quacc.locations import redact
from quacc.ownfiles import read_own, write_own
from quacc.prefect.lifecycle.running import Running, credentials, state_file

CHOICES = "chosen.json"
"""The file of the folder that says where the server listens, and which database it has."""


def main() -> None:
    """Serve until a signal ends this process."""
    place, held = Path(sys.argv[1]), socket.socket(fileno=int(sys.argv[2]))
    os.umask(0o077)  # the database holds what flows were given
    threading.Thread(target=keep_small, args=(place / LOG,), daemon=True).start()
    chosen = json.loads(read_own(place / CHOICES, secret=True))
    write_own(state_file(place), _word(chosen).text().encode())
    os.environ |= {
        "PREFECT_SERVER_API_AUTH_STRING": credentials(place),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": _database_url(chosen["database"]),
        "PREFECT_SERVER_UI_API_URL": "/api",  # at the dashboard's address, whatever that is
        # Prefect's own place, beside its code, may be of another user, for that user alone.
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(place / "page"),
        "PREFECT__SERVER_FINAL": "1",
    }
    _make_database(place.parent, chosen["database"])
    if not chosen["database"].startswith("/"):
        _ask_for_patience()

    import uvicorn

    server = uvicorn.Server(
        uvicorn.Config(
            "prefect.server.api.server:create_app",
            factory=True,
            log_level="warning",
            lifespan="on",
            timeout_graceful_shutdown=5,  # s; dashboards and flows keep connections open
        )
    )
    server.run(sockets=[held])
    state_file(place).unlink(missing_ok=True)
    if not server.started:
        sys.exit(3)


def _ask_for_patience() -> None:
    """Answer 503, not 500, while PostgreSQL cannot be reached.

    Prefect's clients try again after the one; the other ends a flow, whose result is then lost.
    """
    from prefect.server.api import server

    known = server.is_client_retryable_exception
    server.is_client_retryable_exception = lambda exc: isinstance(exc, OSError) or known(exc)


def _database_url(database: str) -> str:
    """Return the address as SQLAlchemy takes it."""
    if database.startswith("/"):
        return f"sqlite+aiosqlite:///{database}"
    return f"postgresql+asyncpg://{database.partition('://')[2]}"


def _make_database(home: Path, database: str) -> None:
    """Make Prefect's own database from a copy where there is none, which is quicker."""
    from quacc.prefect.lifecycle import new_database

    for more in ("", "-wal", "-shm"):  # of a server that was not quacc's
        if os.path.exists(f"{database}{more}"):
            os.chmod(f"{database}{more}", 0o600)
    if Path(database) == home / "prefect.db" and (source := new_database.fill(home)):
        new_database.make(source, home / "prefect.db")


def _word(chosen: dict[str, Any]) -> Running:
    return Running(
        process=signature(),
        pid=os.getpid(),
        machine=platform.node(),
        host=chosen["host"],
        port=chosen["port"],
        started=time.time(),
        database=redact(chosen["database"]),
        prefect=version("prefect"),
        quacc=quacc.__version__,
    )


if __name__ == "__main__":
    main()
