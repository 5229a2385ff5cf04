"""How a flow ends that someone cancels, or whose Prefect server goes away for good.

Prefect changes a cancelled run's state and leaves its process to itself, and a flow whose server
has gone waits for it in every queue. So a thread asks the server, every few seconds, for the runs
that a task runner works for. Where one was cancelled, or nobody answers for too long, it
interrupts the task runner: its jobs end, which ends the flow that waits for them.

Cancelling any run of a nest of flows ends the whole nest, as Prefect does with the flows of
deployments: all of them live in one process.
"""

from __future__ import annotations

import contextvars
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.context import FlowRunContext
from prefect.events.worker import EventsWorker
from prefect.exceptions import Abort, TerminationSignal
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Cancelled, Crashed

from quacc.prefect.internals import (
    enclosing,
    give_up_queues,
    hush,
    is_entered,
    is_reporting,
)
from quacc.prefect.lifecycle import orphans
from quacc.prefect.lifecycle.forgotten import end_also_forgotten

logger = logging.getLogger(__name__)

PERIOD = 4.0
"""Seconds between two questions to the server."""

PATIENCE = 600.0
"""Seconds without an answer after which a server is lost. Until then what was sent to workers goes
on, and what follows waits: a server that is mended, or moved, must not end a campaign."""

LAST_WORDS = 75.0
"""The same, once the flow has ended, and only its last reports wait for the server."""

GRACE = 5.0
"""Seconds that an interrupted flow has to notice, before a signal wakes it up."""

_SETTLED = 1.0  # the first task run asks, too, and a server on SQLite answers two with a 503
_TIMEOUT = 30.0  # a server under load answers late
_FAILURES = 3  # questions without an answer; else a process that was stopped blames the server
_DRAIN = 10.0


class InterruptedJob(KeyboardInterrupt):
    """The flow ended before this job did.

    For Prefect this is a Ctrl-C: no retries, the state Crashed, and ``except Exception`` in a
    flow does not hold it up.
    """


class FlowEndedEarly(Abort, KeyboardInterrupt):
    """The flow was cancelled, or its server is gone.

    For Prefect's engine, the run's state is known to the server, or can't be told; for
    everybody else this is a Ctrl-C from afar.
    """

    def __init__(self, message: str, state: State[Any], error: BaseException | None = None) -> None:
        super().__init__(message)
        self.state = state
        for note in getattr(error, "__notes__", ()):
            self.add_note(note)


class Watch:
    """Watches over the runs that one task runner works for.

    Create it in the thread that runs the flow.

    Parameters
    ----------
    interrupt
        Called, from another thread, with the reason as a sentence. From then on the runner
        accepts no jobs, and the jobs in flight raise :class:`InterruptedJob`.
    """

    def __init__(self, interrupt: Callable[[str], None]) -> None:
        self.interrupt = interrupt
        self.reason: str | None = None
        """Why the flow was ended, if it was."""
        self._state: State[Any] | None = None
        self._contexts: dict[UUID, FlowRunContext] = {}
        self._signed: set[UUID] = set()
        self._flow_thread = threading.get_ident()
        self._lock = threading.RLock()
        self._left = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def see(self) -> None:
        """Watch over the flow run that submits just now, and those that it runs in."""
        with self._lock:
            for run, context in enclosing(FlowRunContext.get()):
                if run in self._contexts:
                    return
                self._contexts[run] = context
                end_also_forgotten(context.client)
                if self._thread is None:
                    url = str(context.client.api_url).rstrip("/")
                    self._thread = threading.Thread(
                        target=contextvars.copy_context().run,
                        args=(self._watch, url),
                        name="quacc-watch",
                        daemon=True,
                    )
                    self._thread.start()

    def leave(self) -> None:
        """Note that the flow's body has ended, so that no signal must wake it up."""
        try:
            with self._lock:
                self._left.set()
        except TerminationSignal:  # it was on its way
            self._left.set()

    def close(self, error: BaseException | None) -> None:
        """Report the end of a flow that was ended early; call it when all else has ended.

        Parameters
        ----------
        error
            The exception that left the flow's body.

        Raises
        ------
        FlowEndedEarly
            The flow was cancelled, or its server is gone.
        """
        self._closed.set()
        if self.reason is None or self._state is None:
            if isinstance(error, TerminationSignal):
                # The process ends with this signal, without flushing anything.
                APILogWorker.drain_all(timeout=_DRAIN)
                EventsWorker.drain_all(timeout=_DRAIN)
            return
        if self._state.is_cancelled() and not _supervised():
            self._report_cancelled()
        if isinstance(error, FlowEndedEarly):
            return
        raise FlowEndedEarly(self.reason, self._state, error) from None

    def _report_cancelled(self) -> None:
        try:
            with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 2}), _client() as client:
                for run in self._runs(ended=True):
                    client.set_flow_run_state(run, Cancelled(message=self.reason), force=True)
        except httpx.HTTPError as error:
            logger.error("The state of the cancelled flow could not be reported: %s", error)

    def _runs(self, *, ended: bool = False) -> list[UUID]:
        with self._lock:
            return [run for run, context in self._contexts.items() if ended or is_entered(context)]

    def _watch(self, url: str) -> None:
        settings = {PREFECT_API_URL: url, PREFECT_CLIENT_MAX_RETRIES: 0}
        with temporary_settings(settings), _client() as client:
            self._ask_until_ended(client, url)

    def _ask_until_ended(self, client: SyncPrefectClient, url: str) -> None:
        self._closed.wait(_SETTLED)
        answered, failures = time.monotonic(), 0
        hush(False)
        self._sign(client, dead=True)
        while not self._ended():
            time.sleep(PERIOD)
            if self._ended():  # and perhaps its server, too
                return
            try:
                cancelled = self._cancelled(client)
            except httpx.HTTPStatusError as error:  # it is there, and has troubles of its own
                answered, failures = time.monotonic(), 0
                logger.warning("The Prefect server could not be asked for this flow: %s", error)
            except httpx.HTTPError as error:
                failures += 1
                if failures == 1:
                    hush(True)
                    logger.warning(
                        "The Prefect server at %s does not answer; the flow ends if it stays "
                        "away for %.0f s.",
                        url,
                        PATIENCE,
                    )
                silence = time.monotonic() - answered
                patience = LAST_WORDS if self._closed.is_set() else PATIENCE
                if silence > patience and failures >= _FAILURES:
                    self._end_lost(url, silence, error)
                    return
            else:
                if failures:
                    hush(False)
                    logger.warning("The Prefect server at %s answers again.", url)
                answered, failures = time.monotonic(), 0
                if cancelled:
                    self._end_cancelled(cancelled)
                    return
                self._sign(client)

    def _sign(self, client: SyncPrefectClient, *, dead: bool = False) -> None:
        """Leave word of whose runs these are; report those of others that were killed."""
        if _supervised():
            return
        new = set(self._runs()) - self._signed
        try:
            orphans.sign(client, new)
            self._signed |= new
            if dead:
                orphans.report_dead(client)
        except httpx.HTTPError as error:
            logger.warning("The Prefect server was not told where this flow runs: %s", error)

    def _ended(self) -> bool:
        """Return whether nothing is left that a lost server could hold up."""
        return self._closed.is_set() and not is_reporting()

    def _cancelled(self, client: SyncPrefectClient) -> FlowRun | None:
        states = [StateType.CANCELLING, StateType.CANCELLED]
        runs = self._runs()
        found = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(
                id=FlowRunFilterId(any_=runs),
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=states)),
            ),
            sort=FlowRunSort.ID_DESC,
            limit=1,
        )
        return found[0] if found and not _supervised() and not self._left.is_set() else None

    def _end_cancelled(self, run: FlowRun) -> None:
        reason = f"The flow run {run.name!r} was cancelled."
        self._end(reason, Cancelled(message=reason))

    def _end_lost(self, url: str, silence: float, error: Exception) -> None:
        reason = (
            f"The Prefect server at {url} is gone: no answer for {silence:.0f} s "
            f"({type(error).__name__}: {error}). Run the flow again, with a server that answers, "
            "to go on."
        )
        give_up_queues(reason)
        self._end(reason, Crashed(message=reason))

    def _end(self, reason: str, state: State[Any]) -> None:
        if self._closed.is_set():
            return
        logger.error("%s", reason)
        self.reason, self._state = reason, state
        self.interrupt(reason)
        if self._left.wait(GRACE):
            return
        # The flow's body does not wait for jobs; it sleeps, computes, or waits for the server.
        # Signals reach the main thread only. During flows, Prefect turns this one into an
        # exception.
        main = threading.main_thread()
        handled = callable(signal.getsignal(signal.SIGTERM))
        with self._lock:
            if handled and main.ident == self._flow_thread and not self._left.is_set():
                signal.pthread_kill(main.ident, signal.SIGTERM)


def pass_on(error: BaseException | None) -> None:
    """Raise what Prefect's engine needs for a subflow that ends with its parent.

    Parameters
    ----------
    error
        The exception that left the subflow's body.
    """
    if isinstance(error, InterruptedJob):
        message = str(error)
        raise FlowEndedEarly(message, Crashed(message=message), error) from None


def _supervised() -> bool:
    """Return whether one of Prefect's workers watches over this process, and reports its end."""
    return os.environ.get("PREFECT__ENABLE_CANCELLATION_AND_CRASHED_HOOKS", "true") == "false"


def _client() -> SyncPrefectClient:
    # A client of its own: the flow's may be waiting between two attempts.
    return get_client(sync_client=True, httpx_settings={"timeout": _TIMEOUT})
