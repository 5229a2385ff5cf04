"""Prefect's engine on threads, patient with a server that is away, or slower than the tasks."""

from __future__ import annotations

import contextvars
import inspect
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import TERMINAL_STATES
from prefect.context import FlowRunContext
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.task_runners import ThreadPoolTaskRunner

from quacc.prefect.internals import ConcurrencySlotAcquisitionError
from quacc.prefect.lifecycle import watch as lifecycle

logger = logging.getLogger(__name__)

AHEAD = 1000
"""Task runs that may have ended and are not recorded yet. A server drops what it has no room for:
more than 10,000 events, of which a task run has three or more."""

_LOOK = 1.0
"""Seconds between two looks at what is recorded."""

_STUCK = 30.0
"""After this time (s) without a new record, what is missing is given up."""

_TRIES = 9
"""Prefect waits 1, 2, 4, … seconds between them: about as long as ``lifecycle.PATIENCE``."""

_PASSING = frozenset({408, 429, 502, 503, 504})  # that a server under load, or its proxy, answers


class PatientTaskRunner(ThreadPoolTaskRunner[Any]):
    """Runs tasks in threads; those that start while the server is away start when it is back.

    Prefect asks the server for the concurrency limits of a task's tags, and gives up the task
    where it does not answer, or wants fewer questions, for some tries. It reports the states of
    tasks without asking whether the server keeps up. And a flow that comes to its end while the
    server is away fails after a minute.
    """

    def __enter__(self) -> PatientTaskRunner:
        super().__enter__()
        self._executor = _PatientExecutor(self._max_workers)
        tries = max(PREFECT_CLIENT_MAX_RETRIES.value(), _TRIES)
        self._settings = ExitStack()
        self._settings.enter_context(temporary_settings({PREFECT_CLIENT_MAX_RETRIES: tries}))
        return self

    def __exit__(self, *error: Any) -> None:
        with self._settings:
            super().__exit__(*error)


class _PatientExecutor(ThreadPoolExecutor):
    def __init__(self, max_workers: int) -> None:
        super().__init__(max_workers)
        self._records: dict[UUID, Records] = {}

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        flow = FlowRunContext.get()
        if flow is None or flow.flow_run is None:
            return super().submit(_patiently, call, *args, **kwargs)
        records = self._records.setdefault(flow.flow_run.id, Records(flow.flow_run.id))
        context = contextvars.copy_context()  # has the server's address

        def run() -> Any:
            context.run(records.wait)
            try:
                return _patiently(call, *args, **kwargs)
            finally:
                records.count()

        return super().submit(run)


class Records:
    """How many task runs of a flow run have ended, and how many of them the server has recorded."""

    def __init__(self, flow_run: UUID) -> None:
        self.flow_run = flow_run
        self.ended = 0
        self.recorded = 0
        self.lost = 0
        """How many nobody waits for any more."""
        self._counting = threading.Lock()
        self._asking = threading.Lock()  # one thread asks, the others wait for the answer

    def count(self) -> None:
        """Note that a task run has ended."""
        with self._counting:
            self.ended += 1

    @property
    def behind(self) -> int:
        """How many are still to be recorded."""
        return self.ended - self.recorded - self.lost

    def wait(self) -> None:
        """Wait while the server is far behind."""
        if self.behind <= AHEAD:
            return
        with self._asking, get_client(sync_client=True) as client:
            changed = time.monotonic()
            while self.behind > AHEAD:
                try:
                    recorded = self._recorded(client)
                except httpx.HTTPError:  # the task run that waits here finds out more
                    return
                if recorded > self.recorded:
                    self.recorded, changed = recorded, time.monotonic()
                elif time.monotonic() - changed > _STUCK:
                    logger.warning(
                        "The Prefect server has recorded %d task runs of %d, and no more for %.0f "
                        "s; some may be missing in its dashboard.",
                        self.recorded,
                        self.ended,
                        _STUCK,
                    )
                    self.lost += self.behind
                else:
                    time.sleep(_LOOK)

    def _recorded(self, client: Any) -> int:
        answer = client.request(
            "POST",
            "/task_runs/count",
            json={
                "flow_runs": {"id": {"any_": [str(self.flow_run)]}},
                "task_runs": {
                    "state": {"type": {"any_": [each.value for each in TERMINAL_STATES]}}
                },
            },
        )
        return int(answer.json())


def _patiently(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    end = time.monotonic() + lifecycle.PATIENCE
    while True:
        try:
            return call(*args, **kwargs)
        except ConcurrencySlotAcquisitionError as error:
            # A coroutine cannot be run again.
            if (
                not _passes(error.__cause__)
                or time.monotonic() > end
                or any(map(inspect.iscoroutine, args))
            ):
                raise
            time.sleep(lifecycle.PERIOD)


def _passes(error: BaseException | None) -> bool:
    """Return whether a server may answer the same question later."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in _PASSING
    return isinstance(error, httpx.TransportError)
