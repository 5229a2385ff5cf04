"""``make_runner`` on a real Slurm."""

import getpass
import os
import sys
from pathlib import Path

import distributed
import psutil
import pytest
from prefect import flow
from prefect.context import FlowRunContext

from quacc.recipes.emt.prefect.slabs import bulk_to_slabs_flow
from quacc.store import Store
from quacc.util.wflows import make_runner

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("prefect_server")]


def test_every_job_of_a_subflow_runs_inside_a_slurm_job(slurm, tmp_path):
    runner = make_runner(
        {
            "n_workers": 2,
            "cores": 1,
            "memory": "1GB",
            "walltime": "00:10:00",
            "job_extra_directives": ["-N 1"],
            "python": sys.executable,
            "interface": "lo",
            "log_directory": str(tmp_path / "logs"),
        }
    )
    seen = {}

    @flow(task_runner=runner)
    def outer():
        result = bulk_to_slabs_flow("Cu")
        client = FlowRunContext.get().task_runner.client
        seen["jobs"] = slurm.call("squeue", "-h", "-o", "%A").split()
        seen["keys"] = list((Path.home() / ".cache" / "quacc").iterdir())
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


def test_the_devcluster_leaves_nothing_behind(tmp_path, devcluster):
    with devcluster.DevCluster(tmp_path, nodes=3) as cluster:
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
    zombie = psutil.STATUS_ZOMBIE
    left = [one for one in daemons if psutil.pid_exists(one)]
    assert all(psutil.Process(one).status() == zombie for one in left)
