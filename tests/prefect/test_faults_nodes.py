"""Jobs that raise what nobody expects, and machines that are at fault.

docs/faults.md has a row for each of these tests.
"""

import asyncio
import errno
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import cloudpickle
import dask
import pytest
from prefect import flow, task
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner

from quacc.cluster import slurm as words
from quacc.cluster.deaths import in_words
from quacc.errors import CalculationError, JobsFailedError, LostWorkerError
from quacc.prefect import as_task, fan_out, make_runner
from quacc.store import Store
from tests.prefect.programs import Script, Server

pytestmark = pytest.mark.usefixtures("prefect_server")

cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Panic(BaseException):
    """What pyo3 raises when Rust panics is such a class."""


def panics_at_three(item):
    if item == 3:
        raise Panic("like a Rust panic")
    if item == 4:
        raise GeneratorExit
    if item == 5:
        raise asyncio.CancelledError
    if item == 6:
        raise SystemExit(6)
    return item


@pytest.mark.parametrize(
    "runner", [make_runner, ThreadPoolTaskRunner, lambda: ProcessPoolTaskRunner(max_workers=2)]
)
def test_items_that_raise_what_is_no_exception_fail_alone(runner):
    @flow(task_runner=runner())
    def campaign():
        return fan_out(panics_at_three, range(8), batch=4).results()

    with pytest.raises(JobsFailedError, match="Panic: like a Rust panic") as failed:
        campaign()
    assert [one.__notes__ for one in failed.value.exceptions] == [
        [f"structure: (item {number})"] for number in (3, 4, 5, 6)
    ]
    assert failed.value.results == [0, 1, 2, 7]


@pytest.mark.parametrize(
    ("as_ours", "runner"),
    [(task, make_runner), (as_task, make_runner), (as_task, ThreadPoolTaskRunner)],
)
def test_tasks_that_raise_what_is_no_exception_fail(runner, as_ours):
    @flow(task_runner=runner())
    def campaign():
        futures = [as_ours(panics_at_three).submit(item) for item in (2, 3, 4, 5)]
        states = []
        for future in futures:
            future.wait()
            states.append(future.state)
        return [state.result(raise_on_failure=False) for state in states]

    found = campaign()
    assert found[0] == 2
    assert [str(one) for one in found[1:]] == [
        "The job raised Panic: like a Rust panic",
        "The job raised GeneratorExit",
        "The job raised CancelledError",
    ]


def log_call(log, item):
    with open(log, "a") as stream:
        stream.write(f"{item}\n")


def counted(log):
    return [int(line) for line in log.read_text().split()]


def on_a_full_disk(item, log, error=None):
    log_call(log, item)
    if os.environ["SLURMD_NODENAME"] == "n1":
        raise error or OSError(errno.ENOSPC, "No space left on device")
    time.sleep(0.05)
    return item


@pytest.mark.slurm
@pytest.mark.parametrize("error", [None, ValueError("nobody knows why")])
def test_a_node_that_fails_whatever_runs_there(slurm, on_slurm, tmp_path, error):
    """It takes items at a hundred times the speed of the other node."""
    on_slurm |= {"n_workers": 2, "job_extra_directives": ["-N 1", "--exclusive"]}
    log = tmp_path / "log"

    @flow(task_runner=make_runner(on_slurm))
    def campaign():
        return fan_out(on_a_full_disk, range(60), log=log, error=error).results()

    assert campaign() == list(range(60))


@pytest.mark.slurm
def test_a_task_on_a_node_that_fails_whatever_runs_there(slurm, on_slurm, tmp_path):
    on_slurm |= {"job_extra_directives": ["-N 1", "--exclusive"]}

    @flow(task_runner=make_runner(on_slurm))
    def campaign():
        futures = [task(on_a_full_disk).submit(item, tmp_path / "log") for item in range(3)]
        return [future.result() for future in futures]

    assert campaign() == [0, 1, 2]


@pytest.mark.slurm
def test_a_fault_of_the_only_node_is_named(slurm, on_slurm, tmp_path):
    slurm.call("scontrol", "update", "nodename=n2", "state=drain", "reason=test")

    @flow(task_runner=make_runner(on_slurm))
    def campaign():
        return fan_out(on_a_full_disk, range(5), log=tmp_path / "log").results()

    with pytest.raises(JobsFailedError, match="5 of 5 .*No space left on device"):
        campaign()
    assert len(counted(tmp_path / "log")) == 10


def on_a_bad_worker(item, log, bad):
    """Fail in the first process that gets here."""
    log_call(log, item)
    with suppress(FileExistsError):
        bad.symlink_to(str(os.getpid()))
    if os.readlink(bad) == str(os.getpid()):
        raise OSError(errno.EMFILE, "Too many open files")
    time.sleep(0.01)
    return item


def test_a_local_worker_that_fails_whatever_runs_there_is_started_anew(tmp_path):
    @flow(task_runner=make_runner())
    def campaign():
        log, bad = tmp_path / "log", tmp_path / "bad"
        return fan_out(on_a_bad_worker, range(60), log=log, bad=bad).results()

    assert campaign() == list(range(60))


def never_right(item, log):
    log_call(log, item)
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_disk_that_is_full_for_all_workers_is_named(tmp_path):
    @flow(task_runner=make_runner())
    def campaign():
        return fan_out(never_right, range(40), log=tmp_path / "log").results()

    with pytest.raises(JobsFailedError, match="40 of 40 .*No space left on device"):
        campaign()
    assert len(counted(tmp_path / "log")) <= 100


def a_third_fails(item, log):
    log_call(log, item)
    if item % 10 in (3, 6, 9):
        raise CalculationError(f"item {item} has no physics: {'x' * 1000}")
    return item


def test_a_thousand_items_of_which_three_hundred_fail(tmp_path):
    log = tmp_path / "log"

    @flow(task_runner=make_runner())
    def campaign():
        return fan_out(a_third_fails, range(1000), log=log).results()

    with pytest.raises(JobsFailedError, match="300 of 1000 structures failed") as failed:
        campaign()
    wrong = [item for item in range(1000) if item % 10 in (3, 6, 9)]
    assert [one.__notes__ for one in failed.value.exceptions] == [
        [f"structure: (item {item})"] for item in wrong
    ]
    assert failed.value.results == [item for item in range(1000) if item not in wrong]
    assert sorted(counted(log)) == list(range(1000))  # physics is not tried again
    assert len(str(failed.value)) < 30_000


def slowly(item):
    time.sleep(0.5)
    return os.environ["SLURM_JOB_ID"]


@pytest.mark.slurm
def test_a_controller_that_is_silent_while_jobs_are_submitted(
    tmp_path_factory, monkeypatch, devcluster, on_slurm
):
    """It takes the jobs nevertheless, and sbatch has no answer: none is submitted twice."""
    slurm = devcluster.DevCluster(tmp_path_factory.mktemp("slurm"))
    slurm.timeout = 2
    with slurm:
        monkeypatch.setenv("SLURM_CONF", str(slurm.config))
        controller = int((slurm.folder / "run" / "slurmctld.pid").read_text())

        @flow(task_runner=make_runner(on_slurm, max_jobs=2))
        def campaign():
            os.kill(controller, signal.SIGSTOP)
            wake = threading.Timer(15, os.kill, (controller, signal.SIGCONT))
            wake.start()
            try:
                return fan_out(slowly, range(20)).results()
            finally:
                wake.join()

        assert 1 <= len(set(campaign())) <= 2
        listed = slurm.call("squeue", "-h", "-t", "all", "-o", "%A %T").splitlines()
        assert 1 <= len(listed) <= 2
        assert {line.split()[1] for line in listed} <= {"CANCELLED", "COMPLETING"}


@pytest.mark.slurm
def test_jobs_that_wait_for_a_flow_that_was_killed(slurm):
    """The next flow cancels them."""
    tag = words.tag_of("a process that is gone")
    options = ("-o", "/dev/null", "--wrap", "sleep 300")
    slurm.call("sbatch", "-J", f"quacc-{tag}-x-0", *options)
    slurm.call("sbatch", "-J", "quacc", *options)
    assert len(words.cancel_named(tag)) == 1
    time.sleep(1)
    left = slurm.call("squeue", "-h", "-o", "%j", "-t", "running,pending")
    assert left == "quacc"


def dies(how, after=0.0):
    time.sleep(after)
    if how == "exit":
        os._exit(7)
    os.kill(os.getpid(), signal.SIGKILL)
    return time.sleep(60)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("exit", r"ended by itself with exit status 7(; it used [\d.]+MiB of .* of memory.*)?\.$"),
        ("KILL", r"was killed by SIGKILL(; it used [\d.]+MiB of .* of memory.*)?\.$"),
    ],
)
def test_a_worker_that_ends_is_not_said_to_have_used_too_much_memory(how, message):
    @flow(task_runner=make_runner())
    def campaign():
        return task(dies).submit(how).result()

    with pytest.raises(LostWorkerError, match=message):
        campaign()


@pytest.mark.slurm
def test_a_worker_that_ends_in_a_slurm_job(slurm, on_slurm):
    @flow(task_runner=make_runner(on_slurm))
    def campaign():
        # A nanny whose worker dies before it has seen it start ends the whole job.
        return task(dies).submit("exit", after=2.0).result()

    with pytest.raises(LostWorkerError, match=r"exit status 7.*Slurm job \d+"):
        campaign()


def test_how_processes_end_in_words():
    known = {"memory": 0, "limit": None, "ended_by_nanny": False, "ended_by_kernel": False}
    assert in_words(7, **known) == "its process ended by itself with exit status 7"
    assert in_words(-9, **known) == "its process was killed by SIGKILL"
    assert in_words(-200, **known) == "its process was killed by signal 200"
    seen = known | {"memory": 2**30, "limit": 2**31}
    assert in_words(-9, **seen).endswith(
        "; it used 1.00GiB of 2.00GiB of memory when it was last seen"
    )
    assert "more than its 2.00GiB of memory" in in_words(0, **seen | {"ended_by_nanny": True})
    assert "by the kernel, because" in in_words(-9, **seen | {"ended_by_kernel": True})


class Model:
    """A callable object, which has no name."""

    def __call__(self, item, factor=1):
        if item == 1:
            raise ValueError("no energy")
        return factor * item


@pytest.mark.parametrize(
    ("job", "name"),
    [
        (Model(), "Model"),
        (partial(Model(), factor=2), "Model"),
        (lambda x: 1 / (x - 1), "<lambda>"),
    ],
)
def test_jobs_without_a_name_are_named_in_messages(job, name):
    @flow(task_runner=ThreadPoolTaskRunner())
    def campaign():
        assert as_task(job).submit(2).result() in (1, 2, 4)
        return fan_out(job, range(3)).results()

    with pytest.raises(JobsFailedError, match=f"{name}: 1 of 3 structures failed"):
        campaign()


@pytest.mark.parametrize("how", ["deleted", "exchanged"])
def test_prefects_database_is_deleted_in_mid_run(tmp_path, how):
    lines = """
        def campaign_flow(structure, relax=relax_job):
            print("run", FlowRunContext.get().flow_run.id, flush=True)
            submit(relax, structure).result()
            print("started", flush=True)
            while not Path("gone").exists():
                time.sleep(0.1)
            return submit(relax, "Ag").result()

        print("ENDED", as_flow(campaign_flow, task_runner=make_runner())("Cu")["converged"])
    """
    with Server(tmp_path / "prefect") as server, Script(lines, env=server.env) as program:
        program.wait_for("started")
        server.kill()
        for file in server.home.glob("prefect.db*"):
            file.unlink()
        server.start()
        if how == "deleted":
            for file in server.home.glob("prefect.db*"):
                file.unlink()
        Path("gone").touch()
        status = program.wait(seconds=120)
    assert "no longer knows the flow run" in program.told()
    # A server whose database is deleted answers from a connection to the old one, or with 500.
    assert status in ({0, 1} if how == "deleted" else {0}), program.told()
    last = {0: "ENDED True", 1: "500 Internal Server Error"}
    assert last[status] in program.told()
    assert "ObjectNotFound" not in program.told()
    assert {row.recipe for row in Store().select()} == {"emt.relax_job"}


def with_its_process(item, log, pids):
    (pids / str(os.getpid())).touch()
    log_call(log, item)
    time.sleep(0.2)
    return item


@pytest.mark.parametrize("seconds", [2, 12])
def test_a_worker_that_is_stopped_and_continued(tmp_path, seconds):
    """For less time than Dask waits for a sign of life, and for more."""
    log, pids = tmp_path / "log", tmp_path / "pids"
    pids.mkdir()

    def stop():
        while not list(pids.iterdir()):
            time.sleep(0.1)
        process = int(next(pids.iterdir()).name)
        os.kill(process, signal.SIGSTOP)
        time.sleep(seconds)
        with suppress(ProcessLookupError):  # Dask has ended it
            os.kill(process, signal.SIGCONT)

    @flow(task_runner=make_runner())
    def campaign():
        thread = threading.Thread(target=stop)
        thread.start()
        try:
            return fan_out(with_its_process, range(60), log=log, pids=pids).results()
        finally:
            thread.join()

    with dask.config.set({"distributed.scheduler.worker-ttl": "5s"}):
        assert campaign() == list(range(60))
    # What was being computed when a worker was given up is computed again, and nothing else.
    assert len(counted(log)) <= 60 + (seconds > 5)
    assert set(counted(log)) == set(range(60))
