"""One Prefect server for one run, where none is configured."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
from prefect.client.orchestration import get_client
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    PREFECT_SERVER_ANALYTICS_ENABLED,
    PREFECT_SERVER_API_AUTH_STRING,
    PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS,
    PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE,
    PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL,
    PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE,
    get_current_settings,
    temporary_settings,
)

from quacc.errors import SettingsError
from quacc.prefect.loopback import no_proxy_for_loopback

_PROGRAM = """
import os, signal, sys, threading

def end_with_parent():
    sys.stdin.buffer.read()  # returns when the process that holds the other end is gone
    os.kill(os.getpid(), signal.SIGTERM)

threading.Thread(target=end_with_parent, daemon=True).start()

import uvicorn

uvicorn.run(
    "prefect.server.api.server:create_app",
    factory=True,
    host="127.0.0.1",
    port=int(sys.argv[1]),
    log_level="error",
    lifespan="on",
)
"""


@contextmanager
def prefect_api() -> Iterator[bool]:
    """Make sure that there is a Prefect API inside the ``with`` block.

    Yields False where one is configured (``PREFECT_API_URL``, or ``prefect cloud login``).
    Else starts one server, for this process and all its workers, on the loopback, with a
    password that is never shown, and yields True. It ends with the block, or with the process
    in whatever way that ends. Its records stay in Prefect's own database, where
    ``prefect server start`` shows them later.

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
    password = f"quacc:{secrets.token_urlsafe(32)}"
    server = _Server()
    with temporary_settings(
        {
            PREFECT_API_AUTH_STRING: password,
            PREFECT_SERVER_API_AUTH_STRING: password,
            # Prefect's 20 s are too short for a loaded login node.
            PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS: 180,
            PREFECT_SERVER_ANALYTICS_ENABLED: False,
            # With its defaults the server drops records when tasks end quickly.
            PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE: 100,
            PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE: 100,
            PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL: 1,
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


class _Server(SubprocessASGIServer):
    """Prefect's temporary server, which neither Ctrl-C nor its parent's death surprises."""

    def __new__(cls) -> _Server:
        return object.__new__(cls)  # Prefect would hand the same one to a second flow

    def _run_uvicorn_command(self) -> subprocess.Popen[Any]:
        return subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(self.port)],
            stdin=subprocess.PIPE,
            # A Ctrl-C in the terminal is for the flow, which reports its end to this server.
            start_new_session=True,
            env={
                **os.environ,
                "PREFECT_UI_ENABLED": "0",
                "PREFECT__SERVER_EPHEMERAL": "1",
                "PREFECT__SERVER_FINAL": "1",
                **get_current_settings().to_environment_variables(exclude_unset=True),
            },
        )


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
