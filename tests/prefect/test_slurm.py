"""``make_runner`` on a real Slurm."""

import getpass
import itertools
import os
import re
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import cloudpickle
import distributed
import psutil
import pytest
from prefect import flow, task
from prefect.context import FlowRunContext
from prefect.futures import as_completed

from quacc.recipes.emt.prefect.slabs import bulk_to_slabs_flow
from quacc.store import Store
from quacc.util.wflows import make_runner
from tests.processes import look_at

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("prefect_server")]

cloudpickle.register_pickle_by_value(sys.modules[__name__])


def test_every_job_of_a_subflow_runs_inside_a_slurm_job(slurm, on_slurm, tmp_path):
    on_slurm |= {"n_workers": 2, "log_directory": str(tmp_path / "my logs")}
    runner = make_runner(on_slurm)
    seen = {}

    @flow(task_runner=runner)
    def outer():
        result = bulk_to_slabs_flow("Cu")
        client = FlowRunContext.get().task_runner.client
        seen["jobs"] = slurm.call("squeue", "-h", "-o", "%A").split()
        seen["keys"] = list(FlowRunContext.get().task_runner._keys.iterdir())
        seen["modes"] = {oct(file.stat().st_mode & 0o777) for file in seen["keys"]}
        address = client.scheduler.address
        assert address.startswith("tls://127.0.0.1:")
        with pytest.raises((OSError, TypeError)):
            distributed.Client(address.replace("tls://", "tcp://"), timeout=3)
        return result

    result = outer()
    jobs = Store().find(result["jobs"]).values()
    assert len(jobs) == 8
    ids = {job["provenance"]["job_id"] for job in jobs}
    assert ids
    assert ids <= set(seen["jobs"])
    assert os.getpid() not in {job["provenance"]["pid"] for job in jobs}
    assert seen["modes"] == {"0o600"}
    assert not any(file.exists() for file in seen["keys"])
    assert slurm.call("squeue", "-h", "-o", "%A", "-t", "running,pending") == ""


def test_a_folder_whose_sockets_would_have_too_long_names_is_refused(tmp_path, devcluster):
    with pytest.raises(SystemExit, match="too long a path for Slurm"):
        devcluster.DevCluster(tmp_path / ("long" * 20)).start()


def test_clusters_that_start_at_once_share_no_ports(tmp_path_factory, devcluster):
    clusters = [devcluster.DevCluster(tmp_path_factory.mktemp("slurm"), nodes=1) for _ in range(4)]
    try:
        with ThreadPoolExecutor() as threads:
            list(threads.map(devcluster.DevCluster.start, clusters))
        assert [cluster.idle() for cluster in clusters] == [1, 1, 1, 1]
        texts = [cluster.config.read_text() for cluster in clusters]
        ports = [port for text in texts for port in re.findall(r"Port=\[?(\d+)", text)]
        assert len(set(ports)) == len(ports) == 8
        # The port of a daemon that is away is taken by no other.
        port = int(re.findall(r"SlurmctldPort=(\d+)", texts[0])[0])
        with socket.socket(type=socket.SOCK_DGRAM) as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))
    finally:
        for cluster in clusters:
            cluster.stop()


def test_the_devcluster_leaves_nothing_behind(tmp_path_factory, devcluster):
    with devcluster.DevCluster(tmp_path_factory.mktemp("slurm"), nodes=3) as cluster:
        assert cluster.idle() == 3
        cluster.call("sbatch", "-o", "/dev/null", "--wrap", "sleep 300")
        daemons = cluster.running()
        assert len(daemons) == 4
        assert {psutil.Process(one).username() for one in daemons} == {getpass.getuser()}
        listening = [
            address.laddr.ip
            for one in daemons
            for address in psutil.Process(one).net_connections("inet")
            if address.status == "LISTEN"
        ]
        assert set(listening) == {"127.0.0.1"}
    assert cluster.running() == []
    left = look_at(daemons, psutil.Process.status)
    assert set(left.values()) <= {psutil.STATUS_ZOMBIE}


def hold(folder):
    """The first in a Slurm job takes long, its neighbours are quick."""
    try:
        (folder / os.environ["SLURM_JOB_ID"]).touch(exist_ok=False)
    except FileExistsError:
        time.sleep(8)
    else:
        time.sleep(28)
    return os.environ["SLURM_JOB_ID"], os.getpid()


def test_jobs_come_and_go_with_the_work(slurm, on_slurm, monkeypatch, tmp_path):
    """A job goes when all of its workers are idle, and never takes a busy one along."""
    monkeypatch.setattr("quacc.cluster.batch.IDLE_FOR", 2)
    del on_slurm["n_workers"]
    on_slurm |= {"cores": 2, "memory": "2GB"}
    jobs = {}

    def running():
        return len(slurm.call("squeue", "-h", "-o", "%A", "-t", "running,pending").split())

    @flow(task_runner=make_runner(on_slurm, max_jobs=2))
    def campaign():
        first = [task(hold).submit(tmp_path) for _ in range(4)]
        list(itertools.islice(as_completed(first), 2))
        jobs["two tasks left"] = running()
        time.sleep(8)  # half of the workers of each job are idle
        jobs["half idle"] = running()
        results = [future.result() for future in first]
        time.sleep(10)
        jobs["idle"] = running()
        return results, task(os.getenv).submit("SLURM_JOB_ID").result()

    results, later = campaign()
    assert len({job for job, _ in results}) == 2
    assert len({process for _, process in results}) == 4
    assert later not in {job for job, _ in results}
    assert jobs == {"two tasks left": 2, "half idle": 2, "idle": 0}
    assert running() == 0
