"""A Prefect server that dies in the middle of a flow."""

import time
from pathlib import Path

import pytest
from prefect.settings import temporary_settings

from quacc.store import Store
from tests.prefect.programs import Script, Server, states

PLAIN = "as_flow(campaign_flow, task_runner=make_runner())('Cu')"
HURRY = """
    lifecycle.PERIOD, lifecycle.PATIENCE, lifecycle.GRACE = 1, 10, 3
"""
SLEEPS = f"""
    def wait(jobs):
        time.sleep(600)

    {PLAIN}
"""
# Each asks the server at its start: for slots of its tags, and for a run of its own.
MORE = f"""
    from prefect import task

    def wait(jobs):
        print("go on", flush=True)
        time.sleep(5)
        more = [task(external_job, tags=["a"]).submit("Cu", os.getcwd()) for _ in range(20)]
        as_flow(campaign_flow)("Cu")

    {PLAIN}
"""
BACK = f"""
    def external_job(structure, folder):
        Path(folder, f"{{os.getpid()}}-{{time.time()}}.began").touch()
        while not Path(folder, "back").exists():
            time.sleep(0.1)

    def campaign_flow(structure, relax=relax_job, external=external_job):
        print("run", FlowRunContext.get().flow_run.id, flush=True)
        submit(relax, structure).result()
        job = submit(external, structure, folder=os.getcwd())
        print("started", flush=True)
        job.result()
        return submit(relax, "Ag").result() | {{"name": "campaign_flow"}}

    {PLAIN}
    print("completed", flush=True)
"""
AT_THE_END = f"""
    def campaign_flow(structure):
        print("run", FlowRunContext.get().flow_run.id, flush=True)
        print("started", flush=True)
        while not Path("gone").exists():
            time.sleep(0.1)

    {PLAIN}
    print("completed", flush=True)
"""


@pytest.mark.parametrize("lines", [SLEEPS, MORE], ids=["sleeps", "more"])
def test_a_server_that_stays_away_ends_the_flow(lines, tmp_path):
    with Server(tmp_path / "prefect") as server, Script(HURRY, lines, env=server.env) as program:
        program.wait_for("started")
        time.sleep(1)
        server.kill()
        assert program.wait(seconds=150) != 0
    assert f"The Prefect server at {server.url} is gone" in program.told()
    assert [row.recipe for row in Store().select()] == ["emt.relax_job"]


def test_a_server_that_comes_back_is_told_everything(tmp_path):
    with Server(tmp_path / "prefect") as server, Script(BACK, env=server.env) as program:
        program.wait_for("started")
        server.kill()
        time.sleep(10)
        server.start()
        Path("back").touch()
        program.wait_for("completed")
        assert program.wait(seconds=60) == 0
        with temporary_settings(server.settings()):
            state, jobs = states(program.runs()[0])
    assert state == "Completed"
    assert jobs == ["external Cu: Completed", "relax Ag: Completed", "relax Cu: Completed"]


def test_a_flow_may_end_while_its_server_is_away(tmp_path):
    env = {"PREFECT_CLIENT_MAX_RETRIES": "0"}  # so that some seconds are a long time
    with (
        Server(tmp_path / "prefect") as server,
        Script(AT_THE_END, env=server.env | env) as program,
    ):
        program.wait_for("started")
        server.kill()
        Path("gone").touch()
        time.sleep(5)
        server.start()
        program.wait_for("completed")
        assert program.wait(seconds=60) == 0
        with temporary_settings(server.settings()):
            assert states(program.runs()[0])[0] == "Completed"
