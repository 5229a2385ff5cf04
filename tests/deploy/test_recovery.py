"""Workers, Slurm's controller and Prefect's server that are killed, and come back.

Nothing is lost, nothing runs twice, nothing is left behind.
"""

import os
import signal
import time
from contextlib import contextmanager

import pytest

from tests.deploy.pool import pool_of
from tests.prefect.programs import Server, reporting_to

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.timeout(900),  # interpreters that start on a loaded machine
]


@pytest.fixture
def pool(devcluster, prefect_server, tmp_path_factory):
    with pool_of(devcluster, tmp_path_factory.mktemp("p")) as pool:
        yield pool


def test_jobs_of_a_killed_worker_are_followed_again(pool):
    """One runs, one waits, one dies meanwhile; the limit counts what was found."""
    worker = pool.start(limit=3)
    runs = pool.run("holds", "runs", nodes=2, cores=1)
    dies = pool.run("holds", "dies")
    pool.until(lambda: pool.marked("runs", "holds") and pool.marked("dies", "holds"))
    waits = pool.run("quick", "waits", nodes=2, cores=2)
    pool.until(lambda: pool.jobs(waits))
    worker.kill()
    worker.wait()
    pool.cluster.call("scancel", *pool.jobs(dies))
    fourth = pool.run("quick", "fourth", nodes=2, cores=2)
    fifth = pool.run("quick", "fifth")
    pool.start(limit=2)
    state = pool.wait(dies, "Cancelled")
    assert "with scancel by" in state.message
    pool.check_clean(dies)
    pool.wait(waits, "Queued (Resources)", "Queued (Priority)")
    time.sleep(4)  # some polls
    assert not pool.jobs(fourth)
    assert not pool.jobs(fifth)
    pool.folder.joinpath("runs", "go").touch()
    for run in (runs, waits, fourth, fifth):
        pool.wait(run, "Completed")
        pool.check_clean(run)
    for where in ("waits", "fourth", "fifth"):
        assert pool.marked(where, "quick") == 1
    assert pool.marked("runs", "holds") == 1


def test_a_worker_that_is_asked_to_end_leaves_its_jobs(pool):
    worker = pool.start()
    run = pool.run("holds", "leaves")
    pool.until(lambda: pool.marked("leaves", "holds"))
    worker.send_signal(signal.SIGTERM)
    worker.wait(30)
    assert str(run) in pool.squeue()
    assert pool.look(run).state_name == "Running"
    pool.start()
    pool.until(lambda: "again" in pool.log.read_text())
    pool.cancel(run)
    pool.wait(run, "Cancelled")
    pool.check_clean(run)


DIES = """
import os, signal
from quacc.cluster import slurm
from quacc.deploy import batch_job, slurm_worker

def die():
    os.kill(os.getpid(), signal.SIGKILL)
"""
AFTER_SBATCH = """
submit = slurm.submit

async def submit_and_die(*arguments):
    await submit(*arguments)
    die()

slurm.submit = submit_and_die
"""
BEFORE_SBATCH = """
async def die_instead(*arguments):
    die()

slurm.submit = die_instead
"""
BEFORE_THE_SCRIPT = """
batch_job.write = lambda *arguments: die()
"""
AFTER_PENDING = """
async def run_and_die(*arguments, **more):
    die()

slurm_worker.SlurmWorker.run = run_and_die
"""


@pytest.mark.parametrize(
    "moment",
    [AFTER_SBATCH, BEFORE_SBATCH, BEFORE_THE_SCRIPT, AFTER_PENDING],
    ids=["after-sbatch", "before-sbatch", "before-the-script", "after-pending"],
)
def test_killed_around_sbatch(pool, moment):
    run = pool.run("quick", "once")
    worker = pool.start(DIES, moment)
    worker.wait(120)
    assert worker.returncode == -signal.SIGKILL
    assert pool.look(run).state_name not in ("Scheduled", "Late")  # nobody would hand it out
    pool.start()
    pool.wait(run, "Completed")
    assert pool.marked("once", "quick") == 1
    pool.check_clean(run)


@contextmanager
def away(pool, seconds):
    """Kill Slurm's controller, and start it again."""
    pid = int((pool.cluster.folder / "run" / "slurmctld.pid").read_text())
    os.kill(pid, signal.SIGTERM)
    pool.until(lambda: not os.path.exists(f"/proc/{pid}"), 30)
    yield
    time.sleep(seconds)
    pool.cluster.call("slurmctld")
    pool.until(lambda: pool.cluster.idle() or pool.squeue(), 60)


def test_slurms_controller_is_away(pool):
    pool.cluster.timeout = 3
    pool.start()
    ends = pool.run("holds", "ends")
    stays = pool.run("holds", "stays")
    pool.until(lambda: pool.marked("ends", "holds") and pool.marked("stays", "holds"))
    with away(pool, 10):
        pool.folder.joinpath("ends", "go").touch()
        comes = pool.run("quick", "comes")  # meanwhile
        pool.wait(ends, "Completed")
    pool.wait(comes, "Completed")
    assert pool.look(stays).state_name == "Running"
    pool.cancel(stays)
    pool.wait(stays, "Cancelled")
    for run in (ends, stays, comes):
        pool.check_clean(run)
    assert pool.marked("comes", "quick") == 1


def test_prefects_server_is_killed_and_back(devcluster, tmp_path_factory):
    folder = tmp_path_factory.mktemp("p")
    with Server(folder / "home") as server, reporting_to(server):
        with pool_of(devcluster, folder, server.env) as pool:
            worker = pool.start()
            ends = pool.run("holds", "ends")
            stays = pool.run("holds", "stays")
            pool.until(lambda: pool.marked("ends", "holds") and pool.marked("stays", "holds"))
            server.kill()
            pool.folder.joinpath("ends", "go").touch()
            [killed] = [job for job in pool.squeue().splitlines() if str(stays) in job]
            pool.cluster.call("scancel", killed.split()[0])
            time.sleep(15)
            server.start()
            pool.wait(ends, "Completed")
            state = pool.wait(stays, "Cancelled")
            assert "with scancel by" in state.message
            later = pool.run("quick", "later")
            pool.wait(later, "Completed")
            assert worker.poll() is None
            for run in (ends, stays, later):
                pool.check_clean(run)


def test_a_limit_holds_while_a_job_queues_longer_than_its_lease(devcluster, tmp_path_factory):
    folder = tmp_path_factory.mktemp("p")
    server = Server(folder / "home")
    server.env["PREFECT_SERVER_CONCURRENCY_INITIAL_DEPLOYMENT_LEASE_DURATION"] = "30"
    server.env["PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS"] = "1"
    with server, reporting_to(server), pool_of(devcluster, folder, server.env) as pool:
        pool.start("following.LEASE = 60.0")  # the shortest that can be asked for
        blocker = pool.run("holds", "blocker", nodes=2, cores=2)
        pool.until(lambda: pool.marked("blocker", "holds"))
        deployment = pool.deploy("quick", limit=1)
        first = pool.run(deployment, "first")
        pool.until(lambda: pool.jobs(first))
        second = pool.run(deployment, "second")
        pool.wait(second, "AwaitingConcurrencySlot")
        end = time.monotonic() + 100  # both leases, and a round of the service that ends them
        while time.monotonic() < end:
            assert not pool.jobs(second)
            time.sleep(1)
        assert pool.jobs(first)
        pool.folder.joinpath("blocker", "go").touch()
        for run in (first, second):
            pool.wait(run, "Completed")
            pool.check_clean(run)
        pool.wait(blocker, "Completed")
