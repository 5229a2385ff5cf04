"""Flow runs as jobs of a real Slurm: how they end, are refused, and are cancelled.

Nothing is lost, nothing runs twice, nothing is left behind.
"""

import getpass
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import get_current_settings
from typer.testing import CliRunner

from quacc.cli.main import app
from quacc.recipes.emt.slabs import bulk_to_slabs_flow
from quacc.store import Store
from tests.deploy.pool import pool_of
from tests.deploy.servers import as_another

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.timeout(900),  # interpreters that start on a loaded machine
]


OVER_MEMORY = """
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherParams=OverMemoryKill
JobAcctGatherFrequency=2
"""


@pytest.fixture(scope="module")
def pool(devcluster, prefect_server):
    with tempfile.TemporaryDirectory(prefix="quacc-pool-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # others can look into it
        with pool_of(devcluster, folder, more=OVER_MEMORY) as pool:
            pool.start()
            yield pool


def test_a_run_is_one_job(pool):
    run = pool.run("quick", "normal")
    pool.wait(run, "Completed")
    pool.check_clean(run)
    assert pool.marked("normal", "quick") == 1
    assert pool.look(run).infrastructure_pid == pool.jobs(run)[0]
    [log] = pool.results.glob(f"slurm-logs/*{run}*")
    assert "this is in the log" in log.read_text()
    assert log.parent.stat().st_mode & 0o077 == 0


def test_a_workflow_of_quaccs_uses_the_nodes_of_its_job(pool):
    """One job, and in it a step with a worker on each node."""
    parameters = {"atoms": "Cu", "calculator": "emt"}
    fields = {"site": "devcluster", "nodes": 2, "memory": "3GB"}
    run = pool.start_run("quacc.prefect.workflows.eos_flow", parameters, fields)
    pool.wait(run, "Completed")
    pool.check_clean(run)
    recipes = [row.recipe for row in Store(pool.results / "results.db").select()]
    assert "emt.eos_flow" in recipes
    assert len(recipes) > 3
    [job] = pool.jobs(run)
    for node in ("n1", "n2"):
        log = (pool.cluster.folder / "log" / f"slurmd.{node}.log").read_text()
        assert f"launch task StepId={job}.0" in log


def test_a_form_filled_on_the_command_line_is_a_job_with_a_table(pool):
    """What docs/deployments.md says, in a pool of type slurm."""
    name = f"slabs-{os.getpid()}"

    def quacc(*words):
        done = CliRunner().invoke(app, ["deployment", *words], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    words = ["build", "bulk_to_slabs", "--pool", pool.name, "--name", name, "-c", "emt"]
    assert f"bulk_to_slabs_flow/{name} is new." in quacc(*words, "--site", "devcluster")
    told = quacc("run", name, "--set", "atoms=Cu", "--wait")
    assert told.splitlines()[-1] == "Completed"
    run = UUID(told.splitlines()[0].split()[-1])
    pool.check_clean(run)
    [job] = pool.jobs(run)
    assert pool.look(run).infrastructure_pid == job
    assert f"_JobId={job} " in f"_{pool.cluster.call('scontrol', 'show', 'job', job)}"
    with get_client(sync_client=True) as client:
        only = {"artifacts": {"flow_run_id": {"any_": [str(run)]}, "type": {"any_": ["table"]}}}
        [table] = client.request("POST", "/artifacts/filter", json=only).json()
    shown = {row["surface"]: row["surface energy (J/m²)"] for row in json.loads(table["data"])}
    here = bulk_to_slabs_flow("Cu")["surfaces"]  # without Prefect and Slurm
    expected = {"({}{}{})".format(*one["miller"]): one["surface_energy"] for one in here}
    assert shown == pytest.approx(expected, rel=1e-5)
    assert f"bulk_to_slabs_flow/{name} is removed." in quacc("rm", name)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"partition": "nowhere"}, "partition"),
        ({"memory": "900GB"}, "memory"),
        ({"constraint": "gold"}, "constraint"),
        ({"directives": ["--no-such-option"]}, "directives"),
        ({"site": "nowhere"}, "site"),
    ],
)
def test_what_slurm_refuses_names_the_field(pool, fields, field):
    run = pool.run("quick", "refused", **fields)
    state = pool.wait(run, "Crashed")
    assert field in state.message
    pool.check_clean(run, jobs=None)  # Slurm may remember what it refused
    assert not pool.marked("refused", "quick")


def test_what_can_never_start_says_so(pool):
    run = pool.run("quick", "never", nodes=50)
    state = pool.wait(run, "Queued (PartitionConfig)")
    assert "more than the partition has, such as nodes" in state.message
    pool.cancel(run)
    pool.wait(run, "Cancelled")
    pool.check_clean(run)


def test_what_the_form_refuses(pool):
    """Before anything is submitted, or even scheduled."""
    from prefect.exceptions import PrefectHTTPStatusError

    for fields in ({"walltime": "ten minutes"}, {"nodes": 0}, {"memory": "1 Gallon"}):
        with pytest.raises(PrefectHTTPStatusError, match=next(iter(fields))):
            pool.run("quick", "form", **fields)


def test_a_flow_that_fails_has_told_it(pool):
    run = pool.run("fails", "fails")
    state = pool.wait(run, "Failed")
    assert "a fault of the flow" in state.message
    pool.check_clean(run)


def test_a_flow_that_dies_is_told_with_its_last_words(pool):
    run = pool.run("dies", "dies")
    state = pool.wait(run, "Crashed")
    assert "exit status 3" in state.message
    assert "last words" in state.message
    pool.check_clean(run)


def test_too_much_memory_used(pool):
    run = pool.run("hungry", "hungry")
    state = pool.wait(run, "Crashed")
    assert "used more memory than it asked for. Ask for more: the field memory" in state.message
    pool.check_clean(run)


def test_no_python(pool):
    run = pool.run("quick", "nopython", python="/no/such/python")
    state = pool.wait(run, "Crashed")
    assert "did not find its Python" in state.message
    assert "prologue and python" in state.message
    pool.check_clean(run)


def test_a_scancel_by_a_person(pool):
    run = pool.run("holds", "scancel")
    pool.until(lambda: pool.marked("scancel", "holds"))
    pool.cluster.call("scancel", *pool.jobs(run))
    state = pool.wait(run, "Cancelled")
    assert f"was cancelled with scancel by {getpass.getuser()}" in state.message
    pool.check_clean(run)


def test_cancelled_while_it_waits(pool):
    blocker = pool.run("holds", "blocker", nodes=2, cores=2)
    pool.until(lambda: pool.marked("blocker", "holds"))
    run = pool.run("quick", "queued")
    state = pool.wait(run, "Queued (Resources)", "Queued (Priority)")
    assert "the nodes are busy" in state.message or "other jobs go first" in state.message
    [record] = pool.results.glob(f"prefect-jobs/*/{run}")
    assert (record / "environment").stat().st_mode & 0o777 == 0o600
    assert record.stat().st_mode & 0o077 == record.parent.stat().st_mode & 0o077 == 0
    secret = pool.env["PREFECT_API_AUTH_STRING"]
    assert secret in (record / "environment").read_text()
    job = pool.jobs(run)[0]
    for told in (
        (record / "job.sh").read_text(),
        pool.cluster.call("scontrol", "show", "job", "-dd", job),
        pool.cluster.call("scontrol", "write", "batch_script", job, "-"),
        pool.log.read_text(),
    ):
        assert secret not in told
    begun = pool.cancel(run)
    pool.until(lambda: str(run) not in pool.squeue(), 30)
    pool.wait(run, "Cancelled")
    assert time.monotonic() - begun < 30
    pool.check_clean(run)
    assert not pool.marked("queued", "quick")
    # The one that runs.
    begun = pool.cancel(blocker)
    pool.until(lambda: str(blocker) not in pool.squeue(), 30)
    state = pool.wait(blocker, "Cancelled")
    assert time.monotonic() - begun < 30
    assert "was cancelled" in state.message
    pool.check_clean(blocker)


SPY = """
import base64, glob, http.client, json, os, subprocess, sys
folder, port, conf, *jobs = sys.argv[1:]
token = sys.stdin.buffer.read()
os.environ["SLURM_CONF"] = conf
secrets, read = [], {"processes": 0, "files": 0, "slurm": []}
for process in glob.glob("/proc/[0-9]*"):
    for name in ("cmdline", "environ"):
        try:
            text = open(f"{process}/{name}", "rb").read()
        except OSError:
            continue
        read["processes"] += name == "cmdline" and b"quacc.deploy" in text
        secrets += [f"{process}/{name}"] if token in text else []
for place, _, names in os.walk(folder):
    for name in names:
        try:
            text = open(os.path.join(place, name), "rb").read()
        except OSError:
            continue
        read["files"] += 1
        secrets += [os.path.join(place, name)] if token in text else []
asked = [["squeue", "-o", "%all"]]
for job in jobs:
    asked.append(["scontrol", "show", "job", "-dd", job])
    asked.append(["scontrol", "write", "batch_script", job, "-"])
for command in asked:
    done = subprocess.run(command, capture_output=True)
    read["slurm"].append(done.stdout.decode())
    secrets += [command] if token in done.stdout + done.stderr else []
answers = {}
for path in ("admin/version", "flow_runs/count", "work_pools/filter", "logs/filter"):
    path = f"/api/{path}"
    for password in (None, "quacc:", "quacc:quacc"):
        sent = {"Content-Type": "application/json"}
        if password:
            sent["Authorization"] = "Basic " + base64.b64encode(password.encode()).decode()
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=20)
        connection.request("GET" if "admin" in path else "POST", path, "{}", sent)
        answer = connection.getresponse()
        secrets += [path] if token in answer.read() else []
        answers[f"{path} {password}"] = answer.status
print(json.dumps([secrets, read, answers]))
"""


def test_another_user_sees_no_secret_and_gets_401(pool):
    """While one job runs, and another waits; both need the password of the server."""
    runs = pool.run("holds", "seen", nodes=2, cores=2)
    pool.until(lambda: pool.marked("seen", "holds"))
    waits = pool.run("quick", "unseen", nodes=2)
    pool.wait(waits, "Queued (Resources)", "Queued (Priority)")
    token = pool.env["PREFECT_API_AUTH_STRING"].partition(":")[2]
    port = pool.env["PREFECT_API_URL"].rpartition(":")[2].partition("/")[0]
    [running], [waiting] = pool.jobs(runs), pool.jobs(waits)
    given = [str(pool.cluster.folder.parent), port, str(pool.cluster.config), running, waiting]
    secrets, read, answers = as_another(SPY, *given, feed=token)
    assert secrets == []
    assert set(answers.values()) == {401}
    # It did look: at the job's process, at open files, and at both jobs in Slurm.
    assert read["processes"] >= 1
    assert read["files"] >= 3
    assert all(str(run) in read["slurm"][0] for run in (runs, waits))
    # Root finds it in one file: that of the job that waits.
    files = [file for file in pool.cluster.folder.parent.rglob("*") if file.is_file()]
    found = [file for file in files if token.encode() in file.read_bytes()]
    assert found == [*pool.results.glob(f"prefect-jobs/*/{waits}/environment")]
    pool.folder.joinpath("seen", "go").touch()
    for run in (runs, waits):
        pool.wait(run, "Completed")
        pool.check_clean(run)


def test_a_flow_that_heeds_no_signal_is_taken_away(pool):
    run = pool.run("stubborn", "stubborn")
    pool.until(lambda: pool.marked("stubborn", "stubborn"))
    begun = pool.cancel(run)
    pool.wait(run, "Cancelled")
    assert time.monotonic() - begun < 40
    pool.check_clean(run)


@pytest.mark.parametrize("delay", [0.0, 0.3, 1.0])
def test_cancelled_within_a_second_of_its_submission(pool, delay):
    run = pool.run("holds", f"quickly{delay}")
    pool.until(lambda: pool.look(run).state_name not in ("Scheduled", "Late"))
    time.sleep(delay)
    begun = pool.cancel(run)
    pool.wait(run, "Cancelled")
    pool.until(lambda: str(run) not in pool.squeue(), 30)
    assert time.monotonic() - begun < 30
    pool.check_clean(run, jobs=None)
    assert len(pool.jobs(run)) <= 1


def test_a_walltime_is_resubmitted_and_goes_on(pool):
    run = pool.run("steps", "walltime")
    pool.until(lambda: pool.marked("walltime", "step1"))
    time.sleep(3)  # until the server has recorded the task run
    (pool.folder / "walltime" / "go").touch()
    [first] = pool.jobs(run)
    pool.cluster.call("scontrol", "update", f"jobid={first}", "EndTime=now+1")
    pool.wait(run, "Completed", seconds=200)
    assert pool.marked("walltime", "steps") == 2
    assert pool.marked("walltime", "step1") == pool.marked("walltime", "step2") == 1
    assert "Resubmitted" in pool.history(run)
    pool.check_clean(run, jobs=2)


def test_dynamics_go_on_from_their_checkpoint(pool):
    """They stop by themselves, before the job ends, and no step is computed twice."""
    run = pool.run("dynamics", "dynamics", walltime="00:02:00")
    pool.wait(run, "Completed", seconds=600)
    jobs = pool.marked("dynamics", "dynamics")
    assert jobs >= 2
    assert "Resubmitted" in pool.history(run)
    assert (pool.folder / "dynamics" / "steps").read_text() == "600"
    assert pool.marked("dynamics", "calls") < 600 + 5 * jobs
    pool.check_clean(run, jobs=jobs)


def test_a_walltime_without_progress_is_the_end(pool):
    run = pool.run("holds", "stuck")
    pool.until(lambda: pool.marked("stuck", "holds"))
    [job] = pool.jobs(run)
    pool.cluster.call("scontrol", "update", f"jobid={job}", "EndTime=now+1")
    state = pool.wait(run, "Crashed", seconds=200)
    assert "used up its walltime" in state.message
    assert "Ask for more time: the field walltime" in state.message
    pool.check_clean(run)


def test_the_commands_of_the_documentation(pool):
    env = pool.env | get_current_settings().to_environment_variables(exclude_unset=True)

    def prefect(*arguments):
        command = [sys.executable, "-m", "prefect", *arguments]
        told = subprocess.run(command, env=env, capture_output=True, text=True, timeout=100)
        assert told.returncode == 0, told
        return told.stdout

    name = f"cli-{os.getpid()}"
    assert name in prefect("work-pool", "create", name, "--type", "slurm")
    assert "slurm" in prefect("work-pool", "inspect", name)
    out = prefect("worker", "start", "--pool", name, "--run-once")
    assert "started" in out


def test_a_node_fails(pool):
    run = pool.run("holds", "node")
    pool.until(lambda: pool.marked("node", "holds"))
    [job] = pool.jobs(run)
    node = pool.cluster.call("squeue", "-h", "-j", job, "-o", "%N")
    pool.cluster.call("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    try:
        state = pool.wait(run, "Crashed")
        assert "lost a node, which failed" in state.message
        pool.check_clean(run)
    finally:
        # Slurm takes a node back by itself when it hears of it.
        if "down" in pool.cluster.call("sinfo", "-h", "-n", node, "-o", "%T"):
            pool.cluster.call("scontrol", "update", f"nodename={node}", "state=resume")
