"""What quacc uses of Prefect beside its public names is there, and nowhere else in use."""

import re
from contextvars import Token
from pathlib import Path

import pytest
from prefect import engine, flow, flow_engine
from prefect._internal.concurrency import services
from prefect.context import FlowRunContext
from prefect.events.worker import EventsWorker

import quacc.prefect
from quacc.prefect.internals import enclosing


@pytest.mark.usefixtures("prefect_server")
def test_the_private_names_exist():
    from prefect.server.api.server import SubprocessASGIServer  # seconds, for every worker

    @flow
    def inner():
        context = FlowRunContext.get()
        assert isinstance(context._token, Token)
        return [run for run, _ in enclosing(context)], context.flow_run.id

    @flow
    def outer():
        return *inner(), FlowRunContext.get().flow_run.id

    around, own, parent = outer()
    assert around == [own, parent]
    assert list(services._active_services)
    service = EventsWorker.instance()
    for name in ("_queue", "_stopped", "_loop", "_done_event"):
        assert hasattr(service, name), name
    assert service._queue.unfinished_tasks >= 0
    assert issubclass(services.BatchedQueueService, services._QueueServiceBase)
    assert isinstance(SubprocessASGIServer._instances, dict)
    assert callable(engine._drive_run_flow_result)
    assert "relinquish" in flow_engine._SUPERVISOR_OWNED_INTENTS
    for name in ("_run_uvicorn_command", "find_available_port", "start"):
        assert callable(getattr(SubprocessASGIServer, name)), name


def test_they_are_in_one_file():
    private = re.compile(
        r"^\s*(from prefect(\.\w+)*\._|import prefect(\.\w+)*\._)|"
        r"\b(SubprocessASGIServer|services?|context)\._[a-z]",
        re.M,
    )
    folder = Path(quacc.prefect.__file__).parent
    using = {file.name for file in folder.rglob("*.py") if private.search(file.read_text())}
    assert using == {"internals.py"}
