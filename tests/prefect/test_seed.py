"""The examples that users were promised, as they were printed.

Added are only the imports that they forgot, and the runner's right variable name.
"""

import pytest
from ase.build import bulk, molecule
from prefect import flow, task

from quacc.recipes.emt.core import relax_job, static_job

pytestmark = pytest.mark.usefixtures("prefect_server")


def test_serial():
    @flow
    def workflow(atoms):
        future1 = task(relax_job).submit(atoms)
        future2 = task(static_job).submit(future1.result()["atoms"])
        return future2.result()

    result = workflow(bulk("Cu"))
    assert result["name"] == "emt.static_job"
    assert result["results"]["energy"] == static_job(relax_job("Cu"))["results"]["energy"]


def test_futures_need_no_unpacking():
    @flow
    def workflow(atoms):
        future1 = task(relax_job).submit(atoms)
        future2 = task(static_job).submit(future1)
        return future2.result()

    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=0)
    result = workflow(atoms)
    assert result["results"]["energy"] == static_job(relax_job(atoms))["results"]["energy"]


def test_parallel():
    @flow
    def workflow(atoms1, atoms2):
        future1 = task(relax_job).submit(atoms1)
        future2 = task(relax_job).submit(atoms2)
        return {"result1": future1.result(), "result2": future2.result()}

    result = workflow(bulk("Cu"), molecule("N2"))
    assert result["result1"]["formula"] == "Cu"
    assert result["result2"]["formula"] == "N2"
    assert result["result2"]["converged"]


def test_the_inefficient_way():
    from quacc.recipes.emt.slabs import bulk_to_slabs_flow

    @flow
    def workflow(atoms):
        future1 = task(relax_job).submit(atoms)
        future2 = task(bulk_to_slabs_flow).submit(
            future1.result()["atoms"], slab_static_electron=None
        )
        return future2.result()

    result = workflow(bulk("Cu"))
    assert len(result["slabs"]) == 3
    assert {slab["name"] for slab in result["slabs"]} == {"emt.relax_job"}


def test_the_efficient_way():
    from quacc.recipes.emt import slabs
    from quacc.recipes.emt.prefect.slabs import bulk_to_slabs_flow

    @flow
    def workflow(atoms):
        future1 = task(relax_job).submit(atoms)
        result = bulk_to_slabs_flow(future1.result()["atoms"], task(relax_job), None)
        return result

    result = workflow(bulk("Cu"))
    serial = slabs.bulk_to_slabs_flow(bulk("Cu"), slab_static_electron=None)
    assert result["surfaces"] == serial["surfaces"]
    assert result["key"] == serial["key"]


def test_make_runner():
    from quacc.cluster.keywords import job_script
    from quacc.util.wflows import make_runner

    cluster_kwargs = {
        # Dask worker options
        "n_workers": 1,  # number of Slurm jobs to launch
        "cores": 1,  # total number of cores (per Slurm job) for Dask worker
        "memory": "4GB",  # total memory (per Slurm job) for Dask worker
        # SLURM options
        "shebang": "#!/bin/bash",
        "account": "AccountName",
        "walltime": "00:10:00",  # DD:HH:SS
        "job_mem": "0",  # all memory on node
        "job_script_prologue": ["source ~/.bashrc", "conda activate quacc"],
        "job_directives_skip": ["-n", "--cpus-per-task"],  # Slurm directives we can skip
        "job_extra_directives": ["-N 1", "-q debug", "-C cpu"],
        "python": "python",  # Python executable name
    }

    runner = make_runner(cluster_kwargs)

    @flow(task_runner=runner)
    def workflow(atoms): ...

    assert workflow.task_runner is runner
    lines = job_script(cluster_kwargs).splitlines()
    assert lines[0] == "#!/bin/bash"
    for line in (
        "#SBATCH -A AccountName",
        "#SBATCH --mem=0",
        "#SBATCH -t 00:10:00",
        "#SBATCH -N 1",
        "#SBATCH -q debug",
        "#SBATCH -C cpu",
        "source ~/.bashrc",
        "conda activate quacc",
    ):
        assert line in lines
    assert not [line for line in lines if line.startswith(("#SBATCH -n", "#SBATCH --cpus"))]
    assert lines[-1].startswith(
        "python -P -m quacc.cluster.dask_worker tls://<scheduler> --name <worker> --nthreads 1 "
        "--memory-limit 3.73GiB --nanny --death-timeout 60"
    )


def test_changing_the_runner_of_an_imported_flow(monkeypatch):
    from quacc.recipes.emt.prefect.slabs import bulk_to_slabs_flow
    from quacc.util.wflows import make_runner

    monkeypatch.setattr(bulk_to_slabs_flow, "task_runner", make_runner())
    import os

    pids = {slab["provenance"]["pid"] for slab in bulk_to_slabs_flow("Cu")["slabs"]}
    assert os.getpid() not in pids
