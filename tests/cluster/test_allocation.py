"""Flows from a login node and inside one Slurm job, with the scripts of the cookbook."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from prefect.settings import get_current_settings

from quacc.cluster.allocation import AllocationCluster, _step
from quacc.errors import ParameterError
from quacc.store import Store

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("environment", "n_workers", "nodes", "tasks", "cpus"),
    [
        ({"SLURM_JOB_NUM_NODES": "1", "SLURM_JOB_CPUS_PER_NODE": "1"}, None, 1, 1, 1),
        ({"SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_CPUS_PER_NODE": "2(x2)"}, None, 2, 4, 1),
        ({"SLURM_JOB_NUM_NODES": "3", "SLURM_JOB_CPUS_PER_NODE": "64(x2),32"}, None, 3, 160, 1),
        (
            {
                "SLURM_JOB_NUM_NODES": "2",
                "SLURM_JOB_CPUS_PER_NODE": "9(x2)",
                "SLURM_CPUS_PER_TASK": "4",
            },
            *(None, 2, 4, 4),
        ),
        ({"SLURM_JOB_NUM_NODES": "2", "SLURM_NTASKS": "2"}, None, 2, 2, 1),
        ({"SLURM_JOB_NUM_NODES": "4", "SLURM_NTASKS": "8"}, 2, 2, 2, 1),
        ({}, None, 1, 1, 1),
    ],
)
def test_workers_fill_what_the_job_was_given(environment, n_workers, nodes, tasks, cpus):
    options = _step({"SLURM_JOB_ID": "7", **environment}, n_workers)
    assert options[:3] == [f"--nodes={nodes}", f"--ntasks={tasks}", f"--cpus-per-task={cpus}"]


def test_outside_a_slurm_job():
    with pytest.raises(ParameterError, match=r"not inside a Slurm job.*sbatch slurm/flow\.sh"):
        AllocationCluster()


def test_a_script_that_srun_started_many_times():
    with pytest.raises(ParameterError, match=r"started this script 4 times"):
        _step({"SLURM_JOB_ID": "7", "SLURM_STEP_NUM_TASKS": "4"}, None)


SCRIPT = """
import json, os, sys, threading
from pathlib import Path
from distributed import Client
from quacc.cluster.allocation import AllocationCluster

def where(_):
    return os.environ["SLURM_JOB_ID"], os.environ["SLURM_NODEID"], os.environ["SLURM_PROCID"]

if __name__ == "__main__":
    lost = threading.Event()
    with AllocationCluster(**json.loads(sys.argv[1])) as cluster:
        cluster.on_problem = lambda problem: lost.set()
        keys = cluster._keys
        told = {"address": cluster.scheduler.address, "modes": [oct(keys.stat().st_mode)]}
        if len(sys.argv) > 2:
            assert cluster.problem or lost.wait(60)
            told["problem"] = str(cluster.problem)
        else:
            with Client(cluster) as client:
                client.wait_for_workers(4, timeout=60)
                told["where"] = list(client.run(where, 0).values())
    told["kept"] = keys.exists()
    Path("told.json").write_text(json.dumps(told))
"""


def run_job(slurm, *command):
    """Submit a job and wait for its end, which `sbatch --wait` notices late; return its id."""
    job = slurm.call("sbatch", "--parsable", "--output=log", "--time=5", *command)
    deadline = time.monotonic() + 120
    while slurm.call("squeue", "-h"):
        assert time.monotonic() < deadline, Path("log").read_text()
        time.sleep(0.2)
    ended = slurm.call("scontrol", "show", "job", job)
    assert "JobState=COMPLETED" in ended, Path("log").read_text()
    return job


def run_script(slurm, *arguments):
    Path("script.py").write_text(SCRIPT)
    wrapped = " ".join(f"'{word}'" for word in (sys.executable, "script.py", *arguments))
    run_job(slurm, "--nodes=2", "--exclusive", "--wrap", wrapped)
    return json.loads(Path("told.json").read_text())


@pytest.mark.slurm
def test_one_srun_starts_workers_on_all_nodes(slurm):
    told = run_script(slurm, "{}")
    assert told["address"].startswith("tls://")
    jobs, nodes, ranks = zip(*told["where"], strict=True)
    assert len(set(jobs)) == 1
    assert sorted(nodes) == ["0", "0", "1", "1"]
    assert sorted(ranks) == ["0", "1", "2", "3"]
    assert told["modes"] == ["0o40700"]
    assert not told["kept"]
    assert slurm.call("squeue", "-h") == ""


@pytest.mark.slurm
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"srun_options": ["--no-such-option"]}, "srun: unrecognized option '--no-such-option'"),
        ({"python": "/no/such/python"}, "/no/such/python: No such file or directory"),
    ],
)
def test_workers_that_cannot_start_are_told(slurm, wrong, words):
    told = run_script(slurm, json.dumps(wrong), "lost")
    assert "have ended before the flow did" in told["problem"]
    assert words in told["problem"]


def results():
    rows = [row for row in Store().select() if row.recipe.endswith("_job")]
    found = Store().find([row.key for row in rows]).values()
    assert len(rows) == 8
    return list(found)


@pytest.mark.slurm
@pytest.mark.usefixtures("prefect_server")  # which has made Prefect's database
def test_a_flow_in_one_slurm_job(slurm):
    # Of the server that is configured nothing answers inside the job.
    slurm.environment |= {"PREFECT_API_URL": "http://192.0.2.1:4200/api"}
    job = run_job(slurm, str(ROOT / "slurm" / "flow.sh"), str(ROOT / "recipes/surfaces.py"), "Cu")
    assert re.search(r"^ *Cu +111 ", Path("log").read_text(), re.MULTILINE)
    assert {result["provenance"]["job_id"] for result in results()} == {job}


@pytest.mark.slurm
@pytest.mark.usefixtures("prefect_server")
def test_a_flow_whose_workers_are_slurm_jobs(slurm):
    server = get_current_settings().to_environment_variables(exclude_unset=True)
    ended = subprocess.run(
        [sys.executable, str(ROOT / "recipes" / "surfaces.py"), "Cu", "--site", "devcluster"],
        env=os.environ | server | slurm.environment,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert ended.returncode == 0, ended.stderr
    assert re.search(r"^ *Cu +111 ", ended.stdout, re.MULTILINE)
    submitted = slurm.call("squeue", "-h", "-t", "all", "-o", "%A").split()
    ids = {job["provenance"]["job_id"] for job in results()}
    assert ids
    assert ids <= set(submitted)
    assert slurm.call("squeue", "-h") == ""
