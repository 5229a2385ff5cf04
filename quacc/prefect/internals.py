"""All that quacc uses of Prefect beside its public names; a test asserts that it is there.

Prefect has no way to stop waiting for a server that is gone, to ask for the flow runs around one,
or to give its temporary server a password.
"""

from __future__ import annotations

import logging
import queue
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from typing import Any
from uuid import UUID

from prefect._internal.concurrency import services
from prefect.concurrency._asyncio import ConcurrencySlotAcquisitionError
from prefect.context import FlowRunContext
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker

__all__ = [
    "ConcurrencySlotAcquisitionError",
    "drive",
    "enclosing",
    "give_up_queues",
    "hush",
    "is_entered",
    "is_reporting",
    "leave_state_to_worker",
    "temporary_server",
]


def enclosing(context: FlowRunContext | None) -> Iterator[tuple[UUID, FlowRunContext]]:
    """Yield the ids and contexts of a flow run and of those around it in this process."""
    while context is not None and context.flow_run is not None:
        yield context.flow_run.id, context
        before = context._token.old_value if context._token else None
        context = before if isinstance(before, FlowRunContext) else None


def is_entered(context: FlowRunContext) -> bool:
    """Return whether the flow run is going on."""
    return context._token is not None


def temporary_server() -> Any:
    """Return the temporary server that Prefect has started in this process, if any."""
    from prefect.server.api.server import SubprocessASGIServer

    return SubprocessASGIServer._instances.get(None)


def hush(quiet: bool) -> None:
    """Keep Prefect from printing whatever it cannot tell its server, in full."""
    for name in ("prefect._internal.concurrency", "prefect.events.clients"):
        logging.getLogger(name).disabled = quiet


def leave_state_to_worker() -> None:
    """Let a SIGTERM end the flow runs of this process, and leave their states as they are.

    As ``prefect flow-run execute`` does when it is asked to "relinquish" a run; without a second
    interpreter, whose start takes a loaded node half a minute.
    """
    from prefect._internal import control_listener

    control_listener._set_intent("relinquish")


def drive(flow: Any, result: Any) -> None:
    """Do the rest of the work of a flow that yields, or is a coroutine."""
    from prefect import engine

    engine._drive_run_flow_result(flow, result)


def is_reporting() -> bool:
    """Return whether Prefect still has something to tell its server."""
    return any(map(_busy, list(services._active_services)))


def give_up_queues(reason: str) -> None:
    """Drop what Prefect wants to tell a server that has gone, and let nobody wait for it."""
    for worker in (EventsWorker, APILogWorker):
        worker.drain_all(timeout=0)  # no new items for them
    for service in list(services._active_services):
        for future in _waiting(_emptied(service._queue)):
            if future.set_running_or_notify_cancel():
                future.set_exception(ConnectionError(reason))
        if service._stopped and service._loop and service._done_event:
            service._queue.put_nowait(None)  # its own end, which was among the items
            service._loop.call_soon_threadsafe(service._done_event.set)


def _busy(service: services._QueueServiceBase[Any]) -> bool:
    if service._stopped:
        return service._done_event is not None and not service._done_event.is_set()
    if isinstance(service, services.BatchedQueueService):  # does not count what it is doing
        return service._queue.qsize() > 0
    return service._queue.unfinished_tasks > 0


def _emptied(items: queue.Queue[Any]) -> list[Any]:
    taken = []
    try:
        while True:
            taken.append(items.get_nowait())
            items.task_done()
    except queue.Empty:
        return [item for item in taken if item is not None]


def _waiting(items: Iterable[Any]) -> Iterator[Future[Any]]:
    for item in items:
        if isinstance(item, tuple) and isinstance(item[-1], Future):
            yield item[-1]
