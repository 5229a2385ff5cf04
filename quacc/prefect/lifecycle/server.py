"""One Prefect server for one run, where none is configured."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
from prefect.client.orchestration import get_client
from prefect.events.worker import EventsWorker
from prefect.logging import get_logger
from prefect.logging.handlers import APILogWorker
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_DATABASE_CONNECTION_URL,
    PREFECT_API_URL,
    PREFECT_HOME,
    PREFECT_SERVER_ANALYTICS_ENABLED,
    PREFECT_SERVER_API_AUTH_STRING,
    PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS,
    PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE,
    PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL,
    PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE,
    get_current_settings,
    temporary_settings,
)

from quacc.cluster.certificates import make_private
from quacc.cluster.loopback import no_proxy_for_loopback
from quacc.errors import SettingsError
from quacc.ownfiles import why_untrusted
from quacc.prefect.lifecycle import running
from quacc.prefect.lifecycle.new_database import fill

logger = get_logger(__name__)

_PROGRAM = """
import os, signal, sys, threading
from pathlib import Path

def end_with_parent():
    sys.stdin.buffer.read()  # returns when the process that holds the other end is gone
    os.kill(os.getpid(), signal.SIGTERM)

threading.Thread(target=end_with_parent, daemon=True).start()
os.umask(0o077)  # the database, wherever it is, holds what flows were given

import socket, uvicorn

if len(sys.argv) > 2:
    from quacc.prefect.lifecycle import new_database

    new_database.make(*map(Path, sys.argv[2:]))

server = uvicorn.Server(
    uvicorn.Config(
        "prefect.server.api.server:create_app", factory=True, log_level="error", lifespan="on"
    )
)
server.run(sockets=[socket.socket(fileno=int(sys.argv[1]))])
if not server.started:
    sys.exit(3)
"""

_REGISTER = "PREFECT_API_BLOCKS_REGISTER_ON_START"

TUNING = {
    # Prefect's 20 s are too short for a loaded login node.
    PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS: 180,
    PREFECT_SERVER_ANALYTICS_ENABLED: False,
    # With its defaults the server drops records when tasks end quickly.
    PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE: 100,
    PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE: 100,
    PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL: 1,
}


@contextmanager
def prefect_api() -> Iterator[bool]:
    """Make sure that there is a Prefect API inside the ``with`` block.

    Yields False where one is configured (``PREFECT_API_URL``, or ``prefect cloud login``), and
    where the server of ``quacc server start`` runs, which is used then.
    Else starts one server, for this process and all its workers, on the loopback, with a
    password that is never shown, and yields True. It ends with the block, or with the process
    in whatever way that ends. Its records stay in Prefect's own database, where
    ``quacc server start`` shows them later.

    Raises
    ------
    SettingsError
        The configured API does not answer.
    """
    no_proxy_for_loopback()  # a script may have named a proxy since
    if PREFECT_API_URL.value():
        _check_api()
        yield False
        return
    if lasting := running.find():
        with lasting.used():
            yield False
        return
    server = _Server()
    with temporary_settings(
        TUNING
        | {
            PREFECT_API_AUTH_STRING: server.password,
            PREFECT_SERVER_API_AUTH_STRING: server.password,
        }
    ):
        try:
            server.start()
            with temporary_settings({PREFECT_API_URL: server.api_url}):
                try:
                    yield True
                finally:  # what was reported must arrive before the server goes
                    drain()
        finally:
            server.stop()


def drain() -> None:
    """Wait until everything that this process reports has arrived."""
    # In a thread: where an event loop runs, as in notebooks, they would return coroutines.
    with ThreadPoolExecutor(1) as pool:
        for worker in (APILogWorker, EventsWorker):
            pool.submit(worker.drain_all).result()


class _Server:
    """A server for one run, which neither Ctrl-C nor its parent's death surprises.

    It does what Prefect's own temporary server does, which takes seconds to import.
    """

    def __init__(self) -> None:
        self.password = f"quacc:{secrets.token_urlsafe(32)}"
        self._socket = listener()
        self._process: subprocess.Popen[Any] | None = None
        self.port = int(self._socket.getsockname()[1])
        self.api_url = f"http://127.0.0.1:{self.port}/api"

    def start(self) -> None:
        """Start the server; returns when it answers.

        Raises
        ------
        RuntimeError
            It has ended, or does not answer in time.
        """
        logger.info("Starting a temporary Prefect server on %s", self.api_url.removesuffix("/api"))
        self._process = start_process(self._socket)
        deadline = time.monotonic() + PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS.value()
        with httpx.Client() as client:
            while self._process.poll() is None and time.monotonic() < deadline:
                with suppress(httpx.TransportError):
                    if client.get(f"{self.api_url}/health").is_success:
                        return
                time.sleep(0.1)
        status = self._process.poll()
        what = "does not answer" if status is None else f"has ended with exit status {status}"
        raise RuntimeError(f"The temporary Prefect server {what}; what it printed is above.")

    def stop(self) -> None:
        self._socket.close()
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def listener(port: int = 0) -> socket.socket:
    """Take a port, which the server is given open: nobody else can answer there before it."""
    held = socket.socket()
    held.bind(("127.0.0.1", port))
    return held


def start_process(held: socket.socket) -> subprocess.Popen[Any]:
    """Start the process of a server, which takes over the socket."""
    home = PREFECT_HOME.value().absolute()
    make_private(home)
    new = _new_database(home)
    # The kinds of blocks of all installed collections are in a database from its beginning. To look
    # for new ones, the server would import each collection.
    known = {} if new or not (home / "prefect.db").exists() else {_REGISTER: "0"}
    with held:
        return subprocess.Popen(
            [sys.executable, "-P", "-c", _PROGRAM, str(held.fileno()), *new],
            pass_fds=[held.fileno()],
            stdin=subprocess.PIPE,
            # A Ctrl-C in the terminal is for the flow, which reports its end to this server.
            start_new_session=True,
            # Prefect's migrations look for modules in the current folder.
            cwd=home if why_untrusted(Path.cwd()) else None,
            env={
                **known,
                **os.environ,
                "PREFECT_UI_ENABLED": "0",
                "PREFECT__SERVER_EPHEMERAL": "1",
                "PREFECT__SERVER_FINAL": "1",
                **get_current_settings().to_environment_variables(exclude_unset=True),
                "PREFECT_HOME": str(home),
            },
        )


def _new_database(folder: Path) -> list[str]:
    """Return the template and the database that the server is to make, if it is to make any."""
    database = folder / "prefect.db"
    if PREFECT_API_DATABASE_CONNECTION_URL.value() != f"sqlite+aiosqlite:///{database}":
        return []
    made = fill(folder)
    return [str(made), str(database)] if made else []


def _check_api() -> None:
    error: Exception | None
    try:
        with get_client(sync_client=True) as client:
            error = client.api_healthcheck()
    except (RuntimeError, httpx.HTTPError) as failure:
        error = failure
    if error is not None:
        raise SettingsError(
            f"The Prefect API at {PREFECT_API_URL.value()} does not answer ({error}). Start that "
            "server, correct PREFECT_API_URL or `prefect config set PREFECT_API_URL=…`, or unset "
            "it to get a server for this run alone."
        )
