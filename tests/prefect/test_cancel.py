"""Cancelled, Ctrl-C, SIGTERM, kill -9: the program of a user ends with all that it started.

Finished results are in the database, and the states are true.
"""

import contextvars
import os
import signal
import subprocess
import sys
import threading
import time

import cloudpickle
import pytest
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.settings import get_current_settings
from prefect.states import Cancelling

from quacc.prefect import make_runner
from quacc.prefect.lifecycle.watch import FlowEndedEarly
from quacc.store import Store
from tests.prefect.programs import Script, states

cloudpickle.register_pickle_by_value(sys.modules[__name__])
pytestmark = pytest.mark.usefixtures("prefect_server")

PLAIN = "as_flow(campaign_flow, task_runner=make_runner())('Cu')"
# The flow's body, in the main thread, waits for something else than jobs.
SLEEPS = f"""
    def wait(jobs):
        time.sleep(600)

    {PLAIN}
"""
THREAD = f"""
    thread = threading.Thread(target=lambda: {PLAIN})
    thread.start()
    thread.join()
"""
NESTED = """
    @flow(task_runner=make_runner())
    def outer():
        print("run", FlowRunContext.get().flow_run.id, flush=True)
        as_flow(campaign_flow)("Cu")

    outer()
"""
# The flow that submits has a task runner of its own, the one around it has Prefect's.
OWN_RUNNER = """
    @flow
    def outer():
        print("run", FlowRunContext.get().flow_run.id, flush=True)
        try:
            as_flow(campaign_flow, task_runner=make_runner())("Cu")
        except Exception:
            time.sleep(600)

    outer()
"""


def by_api(run):
    """Do what the button in the dashboard does, and the command."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run, Cancelling())


def by_command(run):
    env = os.environ | get_current_settings().to_environment_variables(exclude_unset=True)
    command = [sys.executable, "-m", "prefect", "flow-run", "cancel", str(run)]
    told = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert told.returncode == 0, told


@pytest.mark.parametrize(
    ("lines", "which", "cancel"),
    [
        (PLAIN, 0, by_command),
        (SLEEPS, 0, by_api),
        (THREAD, 0, by_api),
        (NESTED, 0, by_api),
        (NESTED, 1, by_api),
        (OWN_RUNNER, 0, by_api),
    ],
    ids=["plain", "sleeps", "thread", "outer", "inner", "own-runner"],
)
def test_cancelled(lines, which, cancel):
    with Script(lines) as program:
        program.wait_for("started")
        runs = program.runs()
        cancel(runs[which])
        program.wait(seconds=30)
        told = program.told()
        assert "was cancelled." in told
        for run in runs:
            state, _ = states(run)
            assert state == "Cancelled"
        _, jobs = states(runs[-1])
        assert jobs == ["external Cu: Crashed", "external Cu: Crashed", "relax Cu: Completed"]
        assert [row.recipe for row in Store().select()] == ["emt.relax_job"]


@pytest.mark.parametrize("name", ["INT", "TERM"])
def test_signals(name):
    with Script(PLAIN) as program:
        program.wait_for("started")
        if name == "INT":
            os.killpg(program.process.pid, signal.SIGINT)  # as a terminal does
        else:
            program.process.send_signal(signal.SIGTERM)
        assert program.wait(seconds=30) != 0
        state, jobs = states(program.runs()[0])
        assert state == "Crashed"
        assert jobs == ["external Cu: Crashed", "external Cu: Crashed", "relax Cu: Completed"]
        assert [row.recipe for row in Store().select()] == ["emt.relax_job"]


def test_kill_takes_everything_with_it():
    with Script(PLAIN) as program:
        program.wait_for("started")
        time.sleep(2)  # results are written together, every second
        program.process.kill()
        program.wait(seconds=30)
        assert [row.recipe for row in Store().select()] == ["emt.relax_job"]


def hold(seconds):
    time.sleep(seconds)


def test_a_session_goes_on_after_a_cancelled_flow():
    ids = []

    @flow(task_runner=make_runner())
    def campaign(seconds):
        ids.append(FlowRunContext.get().flow_run.id)
        task(hold).submit(0).result()
        return task(hold, retries=3).submit(seconds).result()

    def cancel_soon():
        while not ids:
            time.sleep(0.1)
        time.sleep(5)
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(ids[0], Cancelling())

    terminal, interrupt = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    canceller = threading.Thread(target=contextvars.copy_context().run, args=(cancel_soon,))
    canceller.start()
    with pytest.raises(FlowEndedEarly, match="was cancelled"):
        campaign(600)
    canceller.join()
    assert states(ids[0])[0] == "Cancelled"
    assert signal.getsignal(signal.SIGTERM) is terminal
    assert signal.getsignal(signal.SIGINT) is interrupt
    campaign(0)
    assert states(ids[1])[0] == "Completed"
