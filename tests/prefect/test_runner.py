"""Contract 5: the engine in the flow process, plain functions on the workers."""

import asyncio
import os
import resource
import signal
import socket
import subprocess
import sys
import time
import types
from pathlib import Path

import cloudpickle
import dask_jobqueue
import distributed
import numpy as np
import psutil
import pytest
from ase.build import bulk
from prefect import flow, task
from prefect.context import FlowRunContext, TaskRunContext
from prefect_dask import DaskTaskRunner

from quacc.cluster.keywords import job_script
from quacc.errors import MissingProgramError, ParameterError, StructureError
from quacc.prefect import make_runner
from quacc.recipes.emt.core import relax_job, static_job
from quacc.recipes.emt.prefect.slabs import bulk_to_slabs_flow
from quacc.settings import change_settings, get_settings
from tests.processes import below, look_at

pytestmark = pytest.mark.usefixtures("prefect_server")

# This file is no module that a worker could import.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


def report():
    """Return what a worker knows."""
    return {
        "pid": os.getpid(),
        "prefect": "prefect" in sys.modules,
        "context": "prefect" in sys.modules and TaskRunContext.get() is not None,
        "api": os.environ.get("PREFECT_API_URL"),
    }


def results_dir():
    return str(get_settings().results_dir)


def die_once(path):
    if not Path(path).exists():
        Path(path).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def raises():
    raise StructureError("told by the worker")


async def awaits(value):
    await asyncio.sleep(0)
    return value, os.getpid()


def yields():
    yield 1


def test_it_is_a_dask_task_runner_and_starts_nothing_by_itself():
    before = set(_children())
    runner = make_runner()
    assert isinstance(runner, DaskTaskRunner)
    assert issubclass(
        make_runner({"cores": 1, "memory": "1GB"}).cluster_class, dask_jobqueue.SLURMCluster
    )
    assert set(_children()) == before


def _children():
    """Return the processes below this one, but for Python's own, which ends with it."""
    lines = look_at(below(), psutil.Process.cmdline)
    return [pid for pid, line in lines.items() if "resource_tracker" not in " ".join(line)]


def test_everything_computes_on_workers_the_nested_subflow_too():
    @flow(task_runner=make_runner())
    def inner_and_outer(atoms):
        relaxed = task(relax_job).submit(atoms)
        inside = bulk_to_slabs_flow(relaxed)
        again = bulk_to_slabs_flow(relaxed.result()["atoms"], task(relax_job), None)
        workers = FlowRunContext.get().task_runner.client.run(os.getpid)
        return relaxed.result(), inside, again, list(workers.values())

    before = set(_children())
    relaxed, inside, again, workers = inner_and_outer(bulk("Cu"))
    jobs = [relaxed, again["bulk"], *inside["slabs"], *again["slabs"]]
    assert len(jobs) == 8
    pids = {job["provenance"]["pid"] for job in jobs}
    assert pids <= set(workers)
    assert os.getpid() not in pids
    assert set(_children()) <= before


def test_renaming_a_subflow_does_not_move_its_jobs():
    renamed = bulk_to_slabs_flow.with_options(name="renamed")

    @flow(task_runner=make_runner())
    def outer():
        return renamed("Cu", slab_static_electron=None)

    pids = {slab["provenance"]["pid"] for slab in outer()["slabs"]}
    assert os.getpid() not in pids


def test_workers_know_no_prefect(tmp_path):
    script = tmp_path / "campaign.py"
    script.write_text(
        "from quacc.recipes.emt.core import static_job\n"
        "import sys\n"
        "def loaded(atoms):\n"
        "    static_job(atoms)\n"
        "    return [name for name in sys.modules if name.startswith('prefect')]\n"
        "if __name__ == '__main__':\n"
        "    from prefect import flow, task\n"
        "    from quacc.prefect import make_runner\n"
        "    from quacc.prefect.lifecycle.server import prefect_api\n"
        "    @flow(task_runner=make_runner())\n"
        "    def campaign():\n"
        "        return task(loaded).submit('Cu').result()\n"
        "    with prefect_api():\n"
        "        print('LOADED', campaign())\n"
    )
    from prefect.settings import get_current_settings

    environment = {
        **os.environ,
        **get_current_settings().to_environment_variables(exclude_unset=True),
    }
    told = subprocess.run(
        [sys.executable, script], env=environment, capture_output=True, text=True, check=True
    )
    assert "LOADED []" in told.stdout


def test_changed_settings_travel_with_each_job(tmp_path):
    @flow(task_runner=make_runner())
    def where():
        first = task(results_dir).submit().result()
        with change_settings(results_dir=tmp_path / "inner"):
            second = task(results_dir).submit().result()
        return first, second

    with change_settings(results_dir=tmp_path / "outer"):
        assert where() == (str(tmp_path / "outer"), str(tmp_path / "inner"))


def test_exceptions_come_back_as_they_were():
    @flow(task_runner=make_runner())
    def fails():
        future = task(raises).submit()
        future.wait()
        return future.state

    state = fails(return_state=True)
    with pytest.raises(StructureError, match="told by the worker"):
        state.result()


def test_a_killed_worker_is_an_exception_that_retries_help(tmp_path):
    @flow(task_runner=make_runner())
    def survives():
        return task(die_once, retries=1).submit(tmp_path / "died").result()

    assert survives() != os.getpid()

    @flow(task_runner=make_runner())
    def perishes():
        future = task(die, retries=1).submit()
        future.wait()
        states = future.state
        return states.name, type(states.result(raise_on_failure=False)).__name__

    assert perishes() == ("Failed", "LostWorkerError")


def test_what_a_worker_cannot_import_is_an_error_at_once(monkeypatch):
    module = types.ModuleType("only_here")
    exec("def job(): return 1", module.__dict__)
    monkeypatch.setitem(sys.modules, "only_here", module)

    @flow(task_runner=make_runner())
    def fails():
        future = task(module.job).submit()
        future.wait()
        return future.state.result(raise_on_failure=False)

    error = fails()
    assert isinstance(error, MissingProgramError)
    assert "No module named 'only_here'" in str(error)


def test_async_tasks_and_generators():
    @flow(task_runner=make_runner())
    def both():
        value, pid = task(awaits).submit(3).result()
        with pytest.raises(ParameterError, match="is a generator"):
            task(yields).submit()
        return value, pid

    value, pid = both()
    assert value == 3
    assert pid != os.getpid()


def test_chains_of_many_tasks():
    @flow(task_runner=make_runner())
    def chains():
        relaxed = [task(relax_job).submit("Cu", fmax=0.1 + 0.01 * n) for n in range(40)]
        return [future.result() for future in [task(static_job).submit(r) for r in relaxed]]

    results = chains()
    assert {result["name"] for result in results} == {"emt.static_job"}
    assert len(results) == 40


def test_nobody_else_gets_in():
    @flow(task_runner=make_runner())
    def address():
        runner = FlowRunContext.get().task_runner
        where = runner.client.scheduler.address
        with pytest.raises((OSError, TypeError)):
            distributed.Client(where.replace("tls://", "tcp://"), timeout=3)
        return where

    where = address()
    assert where.startswith("tls://127.0.0.1:")


@pytest.mark.parametrize(
    ("cluster_kwargs", "told"),
    [
        ({"core": 1, "memory": "1GB"}, r"Unknown keyword 'core'.*Did you mean 'cores'\?"),
        ({"cores": 1}, "lacks memory"),
        ({}, "lacks cores and memory"),
    ],
)
def test_wrong_cluster_keywords(cluster_kwargs, told):
    with pytest.raises(ParameterError, match=told):
        make_runner(cluster_kwargs)


def test_slurm_defaults_that_keep_a_flow_from_hanging():
    runner = make_runner({"cores": 1, "memory": "1GB"})
    assert runner.adapt_kwargs == {"minimum_jobs": 0, "maximum_jobs": 1}
    assert runner.cluster_kwargs["security"] is True
    assert runner.cluster_kwargs["scheduler_options"] == {"dashboard_address": "127.0.0.1:0"}
    adaptive = make_runner({"cores": 1, "memory": "1GB"}, adapt_kwargs={"maximum_jobs": 2})
    assert adaptive.adapt_kwargs == {"maximum_jobs": 2}


def test_the_job_script_takes_what_the_cluster_takes():
    script = job_script({"cores": 2, "memory": "1GB", "n_workers": 3, "queue": "regular"})
    assert "#SBATCH -p regular" in script
    assert "--nthreads" in script


def test_the_server_asks_for_credentials(prefect_server):
    import httpx
    from prefect.settings import PREFECT_API_URL

    url = PREFECT_API_URL.value()
    assert url.startswith("http://127.0.0.1:")
    assert httpx.post(f"{url}/flow_runs/filter", json={}).status_code == 401
    port = int(url.split(":")[2].split("/")[0])
    others = socket.gethostbyname(socket.gethostname())
    if others != "127.0.0.1":
        with pytest.raises(OSError, match="refused"):
            socket.create_connection((others, port), timeout=2)


def test_tls_can_be_declined():
    runner = make_runner({"cores": 1, "memory": "1GB", "security": None})
    assert runner.cluster_kwargs["security"] is None
    assert "protocol" not in runner.cluster_kwargs


def test_how_many_jobs():
    given = {"cores": 1, "memory": "1GB"}

    def jobs(*args, **kwargs):
        return tuple(make_runner(*args, **kwargs).adapt_kwargs.values())

    assert jobs(given) == (0, 1)
    assert jobs(given | {"n_workers": 3}) == (3, 3)
    assert jobs(given | {"n_workers": 3}, min_jobs=0) == (0, 3)
    assert jobs(given, max_jobs=5) == (0, 5)
    assert jobs(site="devcluster") == (0, 2)
    assert jobs(site="devcluster", max_jobs=7) == (0, 7)
    assert jobs({"n_workers": 3}, site="devcluster") == (3, 3)


@pytest.mark.parametrize(
    ("kwargs", "told"),
    [
        ({"max_jobs": 3}, "max_jobs is for batch jobs"),
        ({"pending_timeout": 3}, "pending_timeout is for batch jobs"),
        ({"site": "local", "min_jobs": 1}, "min_jobs is for batch jobs"),
        ({"site": "devcluster", "min_jobs": 3, "max_jobs": 2}, "min_jobs=3 is more than"),
        ({"site": "devcluster", "max_jobs": 0}, "max_jobs must be a whole number"),
        ({"site": "devcluster", "worker_timeout": 0}, "worker_timeout must be"),
        ({"site": "devcluster", "wall_time": "1"}, "Did you mean .walltime"),
        ({"walltime": "1"}, "make_runner has no keyword 'walltime'"),
    ],
)
def test_wrong_keywords(kwargs, told):
    with pytest.raises(ParameterError, match=told):
        make_runner(**kwargs)


def sleep(seconds):
    time.sleep(seconds)
    return os.getpid()


def test_a_task_that_times_out_leaves_its_worker_free():
    one_worker = make_runner()
    one_worker.cluster_kwargs["n_workers"] = 1

    @flow(task_runner=one_worker)
    def times_out():
        task(sleep).submit(0).result()  # the worker is there
        late = task(sleep, timeout_seconds=1).submit(600)
        late.wait()
        return late.state.name, task(sleep).submit(0).result()

    name, pid = times_out()
    assert name == "TimedOut"
    assert pid != os.getpid()


def test_a_dask_client_of_the_users_own_is_left_alone():
    with distributed.LocalCluster(1, threads_per_worker=1, dashboard_address=None) as cluster:
        with distributed.Client(cluster) as client:
            theirs = set(client.run(os.getpid).values())

            @flow(task_runner=make_runner())
            def mine():
                return task(sleep).submit(0).result()

            assert mine() not in theirs


def test_an_interrupt_before_the_start_counts():
    runner = make_runner()
    runner.interrupt("too early")
    with runner, pytest.raises(KeyboardInterrupt, match="too early"):
        runner.submit(task(sleep), {"seconds": 0})


def test_a_failed_task_keeps_nothing_on_its_worker():
    @flow(task_runner=make_runner())
    def fails():
        futures = [task(raises).submit() for _ in range(3)]
        for future in futures:
            future.wait()
        cluster = FlowRunContext.get().task_runner.client.cluster
        wait_until(lambda: not cluster.scheduler.tasks)
        return futures

    fails(return_state=True)


def wait_until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_script_without_a_guard(tmp_path):
    # Workers would run it again, each starting workers of its own.
    script = tmp_path / "unguarded.py"
    script.write_text(
        """
import os
from prefect import flow, task
from quacc.prefect import make_runner

print("started", flush=True)

class Answer(Exception):
    pass

def job(number):
    if number == 2:
        raise Answer(os.getpid())
    return number, os.getpid()

@flow(task_runner=make_runner())
def campaign():
    value, pid = task(job).submit(1).result()
    assert (value, pid != os.getpid()) == (1, True)
    try:
        task(job).submit(2).result()
    except Answer as answer:
        assert answer.args != (os.getpid(),)
        print("answered")

campaign()
"""
    )
    from prefect.settings import get_current_settings

    server = get_current_settings().to_environment_variables(exclude_unset=True)
    told = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        env=os.environ | server,
        timeout=120,
    )
    assert told.returncode == 0, told.stderr
    assert told.stdout.count("started") == 1
    assert "answered" in told.stdout


def page_faults():
    """Return how often the system gave memory to a calculation with arrays of 1 MiB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(100):
        np.ones(2**17)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_workers_keep_freed_memory_for_the_next_array():
    @flow(task_runner=make_runner())
    def parent():
        return task(page_faults).submit().result()

    pages = 100 * 2**20 / resource.getpagesize()
    assert parent() < pages / 10
