"""One Prefect server for one run, where none is configured."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

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
    temporary_settings,
)


@contextmanager
def prefect_api() -> Iterator[bool]:
    """Make sure that there is a Prefect API inside the ``with`` block.

    Yields False where one is configured (``PREFECT_API_URL``, or ``prefect cloud login``).
    Else starts one server, for this process and all its workers, on the loopback, with a
    password that is never shown, and yields True. Its records stay in Prefect's own database,
    where ``prefect server start`` shows them later.
    """
    if PREFECT_API_URL.value():
        yield False
        return
    password = f"quacc:{secrets.token_urlsafe(32)}"
    server = SubprocessASGIServer()
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
                    APILogWorker.drain_all()
                    EventsWorker.drain_all()
        finally:
            server.stop()
