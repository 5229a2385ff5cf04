"""What goes wrong on a supercomputer, made to go wrong on a real Slurm.

docs/faults.md has a row for each of these tests.
"""

import logging
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from uuid import UUID

import cloudpickle
import psutil
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.states import Cancelling

from quacc.cluster.batch import BatchCluster
from quacc.cluster.dask_config import CONFIG
from quacc.cluster.slurm_cluster import SlurmCluster
from quacc.cluster.slurm_job import SlurmJob
from quacc.errors import LostWorkerError, PreemptedError, SubmissionError
from quacc.prefect import make_runner
from quacc.recipes.emt.core import md_job, relax_job
from quacc.settings import change_settings, get_settings
from quacc.store import Store
from tests.prefect.programs import Script, Server, states

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("prefect_server")]

cloudpickle.register_pickle_by_value(sys.modules[__name__])


class OtherQueue(BatchCluster):
    """What is left for PBS, SGE and LSF, where nobody asks the queue."""

    job_cls = SlurmJob


STEPS = 250


def crystal():
    atoms = bulk("Cu", cubic=True) * (2, 2, 2)
    atoms.rattle(0.05, seed=1)
    return atoms


def counted(job, log, pause, *args, **kwargs):
    """Call a job; take a pause at every force call, and add a character to a file."""

    def calculate(self, *args, **kwargs):
        with open(log, "ab") as stream:
            stream.write(b".")
        time.sleep(pause)
        return calculate_emt(self, *args, **kwargs)

    calculate_emt, EMT.calculate = EMT.calculate, calculate
    try:
        return job(*args, **kwargs)
    finally:
        EMT.calculate = calculate_emt


def long_md(log, pause=0.03):
    return counted(md_job, log, pause, crystal(), steps=STEPS, dynamics="Langevin", seed=3)


def long_relaxation(log, pause=0.03):
    return counted(relax_job, log, pause, crystal(), fmax=1e-15, steps=STEPS, optimizer="FIRE")


def tick(log, count):
    """Take a second for every step, and write no checkpoint."""
    for _ in range(count):
        with open(log, "ab") as stream:
            stream.write(b".")
        time.sleep(1)
    return os.environ["SLURM_JOB_ID"]


def hog():
    held = []
    while True:
        held.append(os.urandom(20_000_000))


def wait_until(condition, seconds=60, told=str):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"it did not happen in time: {told()}"
        time.sleep(0.1)


def calls(log):
    return log.stat().st_size if log.exists() else 0


class Noticed(logging.Handler):
    """Notes when the person is told of a fault."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.time = None

    def emit(self, record):
        self.time = self.time or time.monotonic()


@pytest.fixture
def strike(slurm, record_property):
    """Run a function on a worker, and let a fault happen in the middle.

    Returns the result, and the Slurm job and the process that were hit. Records, for the table in
    the documentation, how long it took until the person was told.
    """

    def strike(runner, function, log, fault, **kwargs):
        seen = {}

        @flow(task_runner=runner)
        def campaign():
            future = task(function).submit(log, **kwargs)
            wait_until(lambda: calls(log) > 60)
            [seen["job"]] = slurm.call("squeue", "-h", "-o", "%A", "-t", "running").split()
            client = FlowRunContext.get().task_runner.client
            seen["pid"] = next(iter(client.run(os.getpid).values()))
            seen["time"] = time.monotonic()
            fault(seen)
            return future.result()

        noticed, told = Noticed(), logging.getLogger("prefect.task_runs")
        told.addHandler(noticed)
        try:
            with change_settings(checkpoint_interval=1):
                result = campaign()
        finally:
            told.removeHandler(noticed)
            if noticed.time:
                record_property("seconds", round(noticed.time - seen["time"], 1))
        nothing_left(slurm)
        # Pauses bound the steps of a checkpoint interval; the structure where it went on is
        # evaluated again, too.
        twice = calls(log) - len(result["history"]["energy"])
        assert 0 <= twice <= 1 / 0.03 + 10
        record_property("twice", twice)
        return result, seen

    return strike


def nothing_left(slurm):
    wait_until(lambda: slurm.call("squeue", "-h", "-o", "%A") == "", 30)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    log = tmp_path_factory.mktemp("uninterrupted") / "log"
    return {job.__name__: job(log, pause=0) for job in (long_md, long_relaxation)}


def same(result, reference):
    assert result["steps"] == reference["steps"]
    for name, values in reference["history"].items():
        assert result["history"][name] == pytest.approx(values, abs=1e-8)
    assert result["atoms"].positions == pytest.approx(reference["atoms"].positions, abs=1e-8)


def test_the_walltime(slurm, on_slurm, tmp_path, uninterrupted):
    """Of two jobs at once; Slurm looks at the clock every 30 s."""
    on_slurm["n_workers"] = 2
    logs = {function: tmp_path / function.__name__ for function in (long_md, long_relaxation)}
    hit = []

    @flow(task_runner=make_runner(on_slurm))
    def campaign():
        futures = {
            function: task(function).submit(log, pause=0.2) for function, log in logs.items()
        }
        wait_until(lambda: all(calls(log) > 20 for log in logs.values()))
        hit.extend(slurm.call("squeue", "-h", "-o", "%A", "-t", "running").split())
        for job in hit:
            slurm.call("scontrol", "update", f"jobid={job}", "EndTime=now+2")
        return {function: future.result() for function, future in futures.items()}

    for function, result in campaign().items():
        same(result, uninterrupted[function.__name__])
        assert result["provenance"]["job_id"] not in hit
        assert result["provenance"]["attempts"] == 2
        # The structure where it went on is evaluated again; no step is.
        assert calls(logs[function]) <= len(result["history"]["energy"]) + 3
    nothing_left(slurm)


@pytest.mark.parametrize("queue", [SlurmCluster, OtherQueue])
def test_scancel(slurm, on_slurm, strike, tmp_path, uninterrupted, queue):
    def cancel(seen):
        slurm.call("scancel", seen["job"])

    log = tmp_path / "log"
    runner = make_runner(on_slurm, cluster_class=queue)
    result, seen = strike(runner, long_relaxation, log, cancel)
    same(result, uninterrupted["long_relaxation"])
    assert result["provenance"]["job_id"] != seen["job"]
    assert calls(log) <= len(result["history"]["energy"]) + 3


def test_a_node_that_goes_down(slurm, on_slurm, strike, tmp_path, uninterrupted):
    def down(seen):
        node = slurm.call("squeue", "-h", "-o", "%N", "-j", seen["job"])
        slurm.call("scontrol", "update", f"nodename={node}", "state=down", "reason=test")

    log = tmp_path / "log"
    result, seen = strike(make_runner(on_slurm), long_md, log, down)
    same(result, uninterrupted["long_md"])
    assert result["provenance"]["job_id"] != seen["job"]


def test_a_job_that_is_requeued(slurm, on_slurm, strike, tmp_path, uninterrupted):
    def requeue(seen):
        slurm.call("scontrol", "requeue", seen["job"])

    on_slurm["job_extra_directives"] = ["-N 1", "--requeue"]
    log = tmp_path / "log"
    result, seen = strike(make_runner(on_slurm), long_md, log, requeue)
    same(result, uninterrupted["long_md"])
    assert result["provenance"]["job_id"] != seen["job"]


def test_a_worker_that_is_killed(slurm, on_slurm, strike, tmp_path, uninterrupted):
    """Nobody else runs in it, so that the calculation may be to blame: Prefect's retries."""

    def kill(seen):
        os.kill(seen["pid"], signal.SIGKILL)

    log = tmp_path / "log"
    with pytest.raises(LostWorkerError, match="its process was killed.*in Slurm job"):
        strike(make_runner(on_slurm), long_md, log, kill)


def test_a_worker_that_is_stopped(slurm, on_slurm, strike, tmp_path, uninterrupted, monkeypatch):
    def stop(seen):
        os.kill(seen["pid"], signal.SIGSTOP)

    log = tmp_path / "log"
    monkeypatch.setitem(CONFIG, "distributed.scheduler.worker-ttl", "5s")
    result, seen = strike(make_runner(on_slurm), long_md, log, stop)
    same(result, uninterrupted["long_md"])
    assert not psutil.pid_exists(seen["pid"])


@pytest.mark.parametrize("queue", [SlurmCluster, OtherQueue])
def test_a_partition_that_is_not_there(slurm, on_slurm, queue):
    on_slurm["queue"] = "nowhere"

    @flow(task_runner=make_runner(on_slurm, cluster_class=queue))
    def campaign():
        return task(relax_job).submit("Cu").result()

    started = time.monotonic()
    with pytest.raises(SubmissionError, match=r"invalid partition specified.*Change queue"):
        campaign()
    assert time.monotonic() - started < 60
    nothing_left(slurm)


@pytest.mark.parametrize("queue", [SlurmCluster, OtherQueue])
def test_jobs_that_stay_pending(slurm, on_slurm, queue):
    slurm.call("scontrol", "update", "nodename=n1,n2", "state=drain", "reason=test")
    told = r"PENDING \(.*(DOWN|nodes)" if queue is SlurmCluster else r"from the jobs (\d+)\."

    @flow(task_runner=make_runner(on_slurm, cluster_class=queue, pending_timeout=3))
    def campaign():
        return task(relax_job).submit("Cu").result()

    with pytest.raises(SubmissionError, match=rf"No worker after 3 s .*{told}") as caught:
        campaign()
    if queue is OtherQueue:
        [job] = re.findall(told, str(caught.value))
        assert "JobState=CANCELLED" in slurm.call("scontrol", "show", "job", job)
    nothing_left(slurm)


def test_a_python_that_is_not_there(slurm, on_slurm):
    on_slurm["python"] = "/no/such/python"

    @flow(task_runner=make_runner(on_slurm))
    def campaign():
        return task(relax_job).submit("Cu").result()

    with pytest.raises(SubmissionError, match="/no/such/python: No such file"):
        campaign()
    nothing_left(slurm)


def test_too_much_memory(slurm, on_slurm):
    on_slurm |= {"n_workers": 2, "memory": "400MB"}

    @flow(task_runner=make_runner(on_slurm))
    def campaign():
        neighbours = [task(tick).submit(Path("log"), 8) for _ in range(2)]
        guilty = task(hog).submit()
        guilty.wait()
        return guilty.state, [one.result() for one in neighbours]

    state, neighbours = campaign()
    assert state.is_failed()
    with pytest.raises(LostWorkerError, match="more than its .* of memory"):
        state.result()
    assert len(neighbours) == 2
    nothing_left(slurm)


def test_slurmd_that_is_killed_while_its_job_runs_on(
    slurm, on_slurm, strike, tmp_path, uninterrupted
):
    """Slurm takes the node for dead, but the worker is there: its work is not done twice."""

    def kill(seen):
        node = slurm.call("squeue", "-h", "-o", "%N", "-j", seen["job"])
        os.kill(int((slurm.folder / "run" / f"slurmd.{node}.pid").read_text()), signal.SIGKILL)

    log = tmp_path / "log"
    result, seen = strike(make_runner(on_slurm), long_md, log, kill, pause=0.2)
    same(result, uninterrupted["long_md"])
    told = slurm.call("squeue", "-h", "-t", "all", "-o", "%T", "-j", seen["job"])
    assert told in ("NODE_FAIL", "CANCELLED")
    assert result["provenance"]["job_id"] == seen["job"]
    assert result["provenance"]["attempts"] == 1
    assert calls(log) == len(result["history"]["energy"])
    wait_until(lambda: not psutil.pid_exists(seen["pid"]))


def test_a_worker_that_dies_with_finished_results(slurm, on_slurm, tmp_path):
    logs = [tmp_path / str(number) for number in range(6)]

    @flow(task_runner=make_runner(on_slurm, worker_timeout=60))
    def campaign():
        finished = [task(counted).submit(md_job, log, 0, crystal(), steps=3) for log in logs]
        for future in finished:
            future.wait()
        [job] = slurm.call("squeue", "-h", "-o", "%A", "-t", "running").split()
        slurm.call("scancel", job)
        last = task(counted).submit(md_job, tmp_path / "last", 0, crystal(), steps=3)
        return [future.result() for future in (*finished, last)], job

    results, job = campaign()
    assert [calls(log) for log in logs] == [4] * 6
    assert {result["provenance"]["job_id"] for result in results[:-1]} == {job}
    assert results[-1]["provenance"]["job_id"] != job
    nothing_left(slurm)


SCRIPT = """
from ase.build import bulk
from prefect import flow, task
from prefect.context import FlowRunContext
from quacc.prefect import make_runner
from quacc.prefect.lifecycle.server import prefect_api
from quacc.recipes.emt.core import md_job
from quacc.recipes.emt.prefect.slabs import bulk_to_slabs_flow

@flow(task_runner=make_runner({on_slurm}))
def campaign():
    print("RUN", FlowRunContext.get().flow_run.id, flush=True)
    slabs = bulk_to_slabs_flow("Cu")
    print("SLABS", flush=True)
    return task(md_job).submit(bulk("Cu", cubic=True) * (3, 3, 3), steps=1000, seed=7).result()

if __name__ == "__main__":
    with prefect_api():
        result = campaign()
    print("ATTEMPTS", result["provenance"]["attempts"], "STEPS", result["steps"])
"""


def test_a_flow_that_is_killed_and_started_again(slurm, on_slurm, tmp_path):
    script = tmp_path / "campaign.py"
    script.write_text(SCRIPT.format(on_slurm=on_slurm))
    environment = os.environ | {"QUACC_CHECKPOINT_INTERVAL": "1"}
    checkpoints = get_settings().results_dir / "checkpoints"

    def start():
        out = (tmp_path / "out").open("w+")
        return subprocess.Popen([sys.executable, script], env=environment, stdout=out, stderr=out)

    def said():
        return (tmp_path / "out").read_text()

    first = start()
    wait_until(
        lambda: "SLABS" in said() and checkpoints.exists() and any(checkpoints.iterdir()),
        seconds=120,
        told=said,
    )
    stored = {row.key: row.created for row in Store().select()}
    assert len(stored) == 9
    first_run = UUID(said().split("RUN ")[1].split()[0])
    time.sleep(5)  # until the server has recorded what has happened
    first.kill()
    first.wait()
    nothing_left(slurm)
    second = start()
    wait_until(lambda: second.poll() is not None, seconds=300, told=said)  # 80 s where it is alone
    assert "ATTEMPTS 2 STEPS 1000" in said(), said()
    kept = {row.key: row.created for row in Store().select()}
    assert len(kept) == 10
    assert kept.items() > stored.items()  # none was computed, and stored, again
    assert not any(checkpoints.iterdir())
    state, jobs = states(first_run)
    assert state == "Crashed"
    assert {job.split(": ")[1] for job in jobs} == {"Completed", "Crashed"}
    nothing_left(slurm)


def kill_the_whole_job():
    nanny = psutil.Process(os.getppid()).ppid()  # below it, the fork server
    os.kill(nanny, signal.SIGKILL)  # and with it all workers of the job
    time.sleep(60)


def test_a_calculation_that_kills_its_job_does_not_blame_its_neighbour(slurm, on_slurm, tmp_path):
    on_slurm |= {"cores": 2, "job_cpu": 2}

    @flow(task_runner=make_runner(on_slurm))
    def campaign():
        neighbour = task(tick).submit(tmp_path / "log", 5)
        wait_until(lambda: calls(tmp_path / "log") > 0)
        guilty = task(kill_the_whole_job).submit()
        guilty.wait()
        return guilty.state, neighbour.result()

    state, _ = campaign()
    with pytest.raises(LostWorkerError, match="Slurm job"):
        state.result()
    nothing_left(slurm)


def stall():
    """End like a calculation that has used up most of its walltime, and done nothing."""
    time.sleep(7.5)
    raise PreemptedError("stopped", key="0", progress=0, reason="its batch job ends")


def test_a_calculation_that_gets_no_further(slurm, on_slurm):
    # Time for a slow start of the worker: an attempt with less than half a walltime does not count.
    @flow(task_runner=make_runner(on_slurm | {"walltime": "00:00:14"}))
    def campaign():
        return task(stall).submit().result()

    with pytest.raises(LostWorkerError, match=r"makes no progress: 2 attempts.*longer\s+walltime"):
        campaign()
    nothing_left(slurm)


@pytest.mark.parametrize("how", ["cancel", "INT", "TERM"])
def test_a_flow_that_is_ended(slurm, on_slurm, how):
    """With external programs running in its Slurm jobs."""
    on_slurm["n_workers"] = 2
    with Script(f"as_flow(campaign_flow, task_runner=make_runner({on_slurm}))('Cu')") as program:
        program.wait_for("started")
        started = time.monotonic()
        [run] = program.runs()
        if how == "cancel":
            with get_client(sync_client=True) as client:  # as the dashboard's button does
                client.set_flow_run_state(run, Cancelling())
        else:
            program.process.send_signal(getattr(signal, f"SIG{how}"))
        assert program.wait(seconds=30) != 0
        nothing_left(slurm)
        assert time.monotonic() - started < 30
        state, jobs = states(run)
    assert state == ("Cancelled" if how == "cancel" else "Crashed")
    assert jobs == ["external Cu: Crashed", "external Cu: Crashed", "relax Cu: Completed"]
    assert [row.recipe for row in Store().select()] == ["emt.relax_job"]


def test_a_prefect_server_that_is_gone_for_good(slurm, on_slurm, tmp_path):
    on_slurm["n_workers"] = 2
    lines = (
        "lifecycle.PERIOD, lifecycle.PATIENCE, lifecycle.GRACE = 1, 10, 3",
        f"as_flow(campaign_flow, task_runner=make_runner({on_slurm}))('Cu')",
    )
    with Server(tmp_path / "prefect") as server, Script(*lines, env=server.env) as program:
        program.wait_for("started")
        time.sleep(1)
        server.kill()
        assert program.wait(seconds=120) != 0
        nothing_left(slurm)
    assert f"The Prefect server at {server.url} is gone" in program.told()
    assert [row.recipe for row in Store().select()] == ["emt.relax_job"]


def slow_steps(log):
    return counted(relax_job, log, 4, crystal(), fmax=1e-12, steps=12, optimizer="FIRE")


def test_steps_that_take_a_good_part_of_the_walltime(slurm, on_slurm, tmp_path):
    """Its worker has time for another calculation, but not for a step of this one."""

    @flow(task_runner=make_runner(on_slurm | {"walltime": "00:01:00"}))
    def campaign():
        return task(slow_steps).submit(tmp_path / "log").result()

    result = campaign()
    assert result["steps"] == 12
    assert result["provenance"]["attempts"] == 2
    assert calls(tmp_path / "log") <= 14
    nothing_left(slurm)


def test_a_node_that_dies(slurm, on_slurm, strike, tmp_path, uninterrupted):
    """At first, Slurm still takes its job for running."""

    def die(seen):
        node = slurm.call("squeue", "-h", "-o", "%N", "-j", seen["job"])
        daemon = int((slurm.folder / "run" / f"slurmd.{node}.pid").read_text())
        worker = psutil.Process(seen["pid"])
        server, nanny, shell, step = worker.parents()[:4]
        os.kill(daemon, signal.SIGKILL)
        for process in (step, shell, nanny, server, worker):
            process.kill()

    log = tmp_path / "log"
    result, seen = strike(make_runner(on_slurm), long_md, log, die)
    same(result, uninterrupted["long_md"])
    assert result["provenance"]["job_id"] != seen["job"]


def test_a_bad_node(slurm, on_slurm):
    """One of two nodes ends every job at once; the other one works."""
    on_slurm |= {
        "n_workers": 2,
        "job_script_prologue": ['[ "$SLURMD_NODENAME" = n1 ] || exit 1'],
    }

    @flow(task_runner=make_runner(on_slurm))
    def campaign():
        return [task(tick).submit(Path("log"), 1) for _ in range(4)]

    campaign()
    nothing_left(slurm)
