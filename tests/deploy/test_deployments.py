"""``quacc deployment`` on a real Prefect server, and runs on a real worker."""

import os
import signal
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime

import httpx
import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId
from prefect.client.schemas.objects import StateType
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Pending
from typer.testing import CliRunner

from quacc.cli.main import app
from quacc.deploy import deployments
from quacc.deploy.runs import wait
from quacc.errors import InputError, ParameterError, StructureError

pytestmark = pytest.mark.usefixtures("server")


DATABASE = """
import sys
from pathlib import Path
from quacc.prefect.lifecycle import new_database

if made := new_database.fill(Path(sys.argv[1])):
    new_database.make(made, Path(sys.argv[1], "prefect.db"))
"""
"""Makes a server's database in seconds; its own migrations take longer."""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server as people start it: the temporary one, which others share, starts no schedules."""
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    home = {**os.environ, "PREFECT_HOME": str(folder), "PREFECT_API_URL": url}
    home |= {"PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    words = ["server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"]
    subprocess.run([sys.executable, "-c", DATABASE, str(folder)], env=home, check=True)
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", *words],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=home,
        )
    try:
        wait_for(lambda: answers(f"{url}/health"), 200)
        with temporary_settings({PREFECT_API_URL: url}):
            yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def answers(url):
    try:
        return httpx.get(url).is_success
    except httpx.HTTPError:
        return False


def wait_for(condition, seconds=280):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(1)
    return found


@pytest.fixture
def client():
    with get_client(sync_client=True) as found:
        yield found


@pytest.fixture
def pool(client, tmp_path):
    """A work pool whose flows start in a folder with a socket, which nobody can copy."""
    from prefect.workers.process import ProcessWorker

    folder = tmp_path / "start"
    folder.mkdir()
    template = ProcessWorker.get_default_base_job_template()
    template["variables"]["properties"]["working_dir"]["default"] = str(folder)
    name = tmp_path.parent.name + tmp_path.name
    made = WorkPoolCreate(name=name, type="process", base_job_template=template)
    client.create_work_pool(made)
    with socket.socket(socket.AF_UNIX) as one:
        os.chdir(folder)  # its whole path may be too long for a socket
        one.bind("socket")
        os.chdir(tmp_path)
        yield name
    client.delete_work_pool(name)


@pytest.fixture
def worker(server, pool, tmp_path):
    """A worker that looks into the pool, and runs one flow at a time."""
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--limit", "1"]
    with open(tmp_path / "worker.log", "w") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PREFECT_API_URL": server, "PREFECT_WORKER_QUERY_SECONDS": "2"},
            start_new_session=True,
        )
        yield process
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def command(*words, code=0):
    """Return what ``quacc deployment`` prints."""
    done = CliRunner().invoke(app, ["deployment", *words], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.output


def runs(client, one, *kinds):
    chosen = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[one.stored.id]))
    found = client.read_flow_runs(flow_run_filter=chosen, limit=200)
    return [each for each in found if not kinds or each.state.type in kinds]


def test_building_says_what_changed_and_nothing_the_second_time(client, pool):
    words = ["build", "eos", "--pool", pool, "--name", pool, "-c", "emt"]
    printed = command(*words)
    assert f"eos_flow/{pool} is new." in printed
    assert "No worker is running" in printed
    first = deployments.deployment(client, pool)
    assert f"eos_flow/{pool} is unchanged." in command(*words)
    again = deployments.deployment(client, pool)
    assert again.stored.id == first.stored.id
    assert again.stored.updated == first.stored.updated
    assert "changed: parameters." in command(*words, "--set", "points=9")
    assert deployments.deployment(client, pool).stored.parameters["points"] == 9


def test_a_schedule_needs_all_that_the_workflow_needs(client, pool):
    words = ["build", "eos", "--pool", pool, "--name", pool, "--interval", "12h"]
    with pytest.raises(ParameterError, match="atoms, calculator is missing"):
        command(*words)
    assert deployments.deployments(client, pool) == []
    with pytest.raises(InputError, match="There is no work pool 'nowhere'"):
        command("build", "eos", "--pool", "nowhere", "--name", pool)
    assert deployments.deployments(client, pool) == []


def test_a_schedule_is_changed_paused_and_removed(client, pool):
    words = ["build", "eos", "--pool", pool, "--name", pool, "-c", "emt", "--set", "atoms=Cu"]
    assert "every 12:00:00, Europe/Berlin" in command(
        *words, "--interval", "12h", "--tz", "Europe/Berlin"
    )
    printed = command(*words, "--cron", "0 6 * * mon", "--queue", "soon")
    assert "changed: work_queue_name, schedule" in printed
    one = deployments.deployment(client, pool)
    assert [each.schedule.cron for each in one.stored.schedules] == ["0 6 * * mon"]
    assert one.stored.work_queue_name == "soon"
    assert pool in command("ls")
    shown = command("inspect", f"eos_flow/{pool}")
    assert "cron 0 6 * * mon, UTC" in shown
    assert "quacc.deploy.entrypoints.eos" in shown
    command("pause", pool)
    assert deployments.deployment(client, pool).stored.paused
    assert "changed: schedule" in command(*words, "--rrule", "FREQ=DAILY", "--queue", "soon")
    assert deployments.deployment(client, pool).stored.paused  # as it was
    command("resume", pool)
    assert not deployments.deployment(client, pool).stored.paused
    assert "changed: work_queue_name, schedule" in command(*words)
    assert deployments.deployment(client, pool).stored.schedules == []
    command("rm", pool)
    assert deployments.deployments(client, pool) == []
    with pytest.raises(InputError, match="There is no deployment"):
        command("rm", pool)


def test_a_site_reaches_the_flow_as_its_environment(client, pool):
    command("build", "eos", "--pool", pool, "--name", pool, "--site", "devcluster")
    one = deployments.deployment(client, pool)
    assert one.stored.job_variables == {"env": {"QUACC_SITE": "devcluster"}}


def test_what_makes_no_sense_starts_no_run(client, pool):
    command("build", "eos", "--pool", pool, "--name", pool, "-c", "emt")
    one = deployments.deployment(client, pool)
    with pytest.raises(ParameterError, match="no 'fmaxx'"):
        command("run", pool, "--set", "atoms=Cu", "--set", "fmaxx=1")
    with pytest.raises(StructureError, match="There is no file"):
        command("run", pool, "--set", "atoms=/none/cu.cif")
    assert runs(client, one) == []
    # Whoever asks the server itself is refused by it.
    for given in ({"atoms": "Cu", "fmaxx": 1}, {"atoms": "Cu", "points": 2}, {"points": 7}):
        with pytest.raises(PrefectHTTPStatusError, match="409"):
            client.create_flow_run_from_deployment(one.stored.id, parameters=given)
    assert runs(client, one) == []


def test_runs_that_wait_are_stopped(client, pool):
    command("build", "eos", "--pool", pool, "--name", pool, "-c", "emt")
    printed = command("run", pool, "--set", "atoms=Cu", "--set", "points=5")
    one = deployments.deployment(client, pool)
    (waiting,) = runs(client, one)
    assert str(waiting.id) in printed
    assert waiting.parameters == {"calculator": "emt", "atoms": "Cu", "points": 5}
    assert "1 runs of it are cancelled" in command("stop", pool)
    assert [each.state.type for each in runs(client, one)] == [StateType.CANCELLED]
    command("rm", pool)


def test_a_worker_runs_it_in_an_empty_folder(client, pool, worker, tmp_path):
    """It starts in one that cannot be copied, as Prefect would do."""
    text = "Cu\n1.0\n0 1.8 1.8\n1.8 0 1.8\n1.8 1.8 0\nCu\n1\nDirect\n0 0 0"
    command("build", "static", "--pool", pool, "--name", pool, "-c", "emt")
    printed = command("run", pool, "--set", f"atoms={text}", "--wait")
    assert printed.splitlines()[-1] == "Completed"
    one = deployments.deployment(client, pool)
    assert [each.name for each in runs(client, one)] == ["static Cu"]
    assert [each.name for each in (tmp_path / "start").iterdir()] == ["socket"]

    # Asked from the server itself, it is the flow that finds out what the calculator cannot do.
    made = client.create_flow_run_from_deployment(one.stored.id, parameters={"atoms": "Si"})
    state = wait(client, made.id, lambda state: None)
    assert state.is_failed()
    assert "Si" in state.message


def test_a_schedule_of_seconds_runs_twice_changes_and_leaves_nothing(client, pool, worker):
    words = ["build", "static", "--pool", pool, "--name", pool, "-c", "emt", "--set", "atoms=Al"]
    command(*words, "--interval", "5s")
    one = deployments.deployment(client, pool)
    wait_for(lambda: len(runs(client, one, StateType.COMPLETED)) >= 2)
    command(*words, "--interval", "1d")
    now = datetime.now(UTC)
    starts = [each.next_scheduled_start_time for each in runs(client, one, StateType.SCHEDULED)]
    assert {(one.hour, one.minute, one.second) for one in starts if one > now} <= {(0, 0, 0)}
    command("stop", pool)
    command("rm", pool)
    assert deployments.deployments(client, pool) == []
    ended = {StateType.COMPLETED, StateType.CANCELLED}
    assert {each.state.type for each in runs(client, one)} <= ended


def test_a_run_that_goes_on_is_stopped(client, pool, worker):
    command("build", "md", "--pool", pool, "--name", pool, "-c", "emt")
    given = ["--set", "atoms=Cu", "--set", "steps=100000000"]
    command("run", pool, *given, "--set", "sample_every=1000000")
    one = deployments.deployment(client, pool)
    wait_for(lambda: runs(client, one, StateType.RUNNING))
    with pytest.raises(InputError, match="End them with `quacc deployment stop"):
        command("rm", pool)
    assert "1 runs of it are cancelled" in command("stop", pool)
    assert [each.state.type for each in runs(client, one)] == [StateType.CANCELLED]
    command("rm", pool)


def test_a_run_that_its_worker_has_let_go_is_stopped(client, pool, monkeypatch):
    """As where it is cancelled while it is submitted: nobody ends it but who stops it."""
    monkeypatch.setattr("quacc.deploy.runs._UNSEEN", 1.0)
    command("build", "eos", "--pool", pool, "--name", pool, "-c", "emt")
    command("run", pool, "--set", "atoms=Cu")
    one = deployments.deployment(client, pool)
    (waiting,) = runs(client, one)
    client.set_flow_run_state(waiting.id, Pending())
    assert "1 runs of it are cancelled" in command("stop", pool)
    assert [each.state.type for each in runs(client, one)] == [StateType.CANCELLED]


@pytest.mark.parametrize("moment", [0, 1, 2, 4])
def test_a_run_is_stopped_at_any_moment_of_its_start(client, pool, worker, moment):
    command("build", "md", "--pool", pool, "--name", pool, "-c", "emt")
    given = ["--set", "atoms=Cu", "--set", "steps=100000000"]
    command("run", pool, *given, "--set", "sample_every=1000000")
    one = deployments.deployment(client, pool)
    wait_for(lambda: runs(client, one, StateType.PENDING, StateType.RUNNING))
    time.sleep(moment)
    command("stop", pool)
    assert [each.state.type for each in runs(client, one)] == [StateType.CANCELLED]
    assert not psutil.Process(worker.pid).children(recursive=True)
