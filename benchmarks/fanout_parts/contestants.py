"""One contestant in a process of its own, with the Python of its environment.

    python -m fanout_parts.contestants NAME '{"job": "relax", "items": 100}'

It writes outcome.json into the current folder. Everything is imported before the clock starts,
and the job has run once in this process; workers start while the clock runs.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from ase import Atoms

from fanout_parts import items as work

WORKERS = 2
LOCAL_DASK = {
    "n_workers": WORKERS,
    "threads_per_worker": 1,
    "host": "127.0.0.1",
    "dashboard_address": "127.0.0.1:0",
}


class Run:
    """What to compute, and a clock.

    Parameters
    ----------
    job, items
        See :func:`fanout_parts.items.items`.
    chunk
        Of the bare pool.
    batch
        Of ``fan_out``.
    """

    def __init__(self, job: str, items: int, chunk: int = 1, batch: int | None = None) -> None:
        self.job, self.count, self.chunk, self.batch = job, items, chunk, batch
        # Few are made before the clock starts; many come one by one, so that memory can be flat.
        self.made = list(work.items(job, items)) if job == "relax" else None
        self.energies: dict[int, float] = {}
        self.started = self.ended = 0.0

    def items(self) -> Iterable[Atoms]:
        return self.made or work.items(self.job, self.count)

    def quacc_job(self) -> Callable[..., Any]:
        from quacc.recipes.emt.core import relax_job, static_job

        relax = partial(relax_job, optimizer="BFGS")  # as ase_relax() does
        job: Callable[..., Any] = relax if self.job == "relax" else static_job
        return self.warm(job)

    def ase_job(self) -> Callable[..., Any]:
        return self.warm(work.ase_relax if self.job == "relax" else work.ase_static)

    def warm(self, job: Callable[..., Any], **kwargs: Any) -> Callable[..., Any]:
        """Run a job once, so that what it imports at first use is there."""
        job(next(iter(self.items())), **kwargs)
        return job

    def start(self) -> None:
        self.started = time.perf_counter()

    def got(self, index: int, result: Any) -> None:
        self.energies[index] = work.energy(result)
        self.ended = time.perf_counter()


def bare_ase(run: Run) -> None:
    _bare(run, run.ase_job())


def bare_quacc(run: Run) -> None:
    _bare(run, run.quacc_job())


def _bare(run: Run, job: Callable[..., Any]) -> None:
    run.start()
    with ProcessPoolExecutor(WORKERS) as pool:
        for index, result in enumerate(pool.map(job, run.items(), chunksize=run.chunk)):
            run.got(index, result)


def fan_out(run: Run) -> None:
    from prefect import flow

    from quacc.prefect import fan_out, make_runner

    job = run.quacc_job()

    @flow(task_runner=make_runner())  # the machine is cut down to two cores
    def campaign() -> None:
        for index, result in fan_out(job, run.items(), batch=run.batch):
            run.got(index, result)

    run.start()
    campaign()


def prefect_threads(run: Run) -> None:
    from prefect.task_runners import ThreadPoolTaskRunner

    _prefect(run, ThreadPoolTaskRunner(max_workers=WORKERS))


def prefect_processes(run: Run) -> None:
    from prefect.task_runners import ProcessPoolTaskRunner

    _prefect(run, ProcessPoolTaskRunner(max_workers=WORKERS))


def prefect_dask(run: Run) -> None:
    from prefect_dask import DaskTaskRunner

    _prefect(run, DaskTaskRunner(cluster_kwargs=LOCAL_DASK))


def _prefect(run: Run, runner: Any) -> None:
    from prefect import flow, task

    job = task(run.quacc_job())

    @flow(task_runner=runner)
    def campaign() -> None:
        futures = [job.submit(atoms) for atoms in run.items()]
        for index, future in enumerate(futures):
            run.got(index, future.result())

    run.start()
    campaign()


def public_prefect(run: Run) -> None:
    """quacc 1.8.2, whose jobs are Prefect tasks that submit themselves."""
    from prefect_dask import DaskTaskRunner

    from quacc import flow
    from quacc.recipes.emt.core import relax_job

    @flow(task_runner=DaskTaskRunner(cluster_kwargs=LOCAL_DASK))
    def campaign() -> None:
        futures = [relax_job(atoms, **PUBLIC_KEYWORDS) for atoms in run.items()]
        for index, future in enumerate(futures):
            run.got(index, future.result())

    run.start()
    campaign()


def public_parsl(run: Run) -> None:
    """quacc 1.8.2, whose jobs are Parsl apps."""
    import parsl
    from parsl.config import Config
    from parsl.executors import HighThroughputExecutor
    from parsl.providers import LocalProvider

    from quacc.recipes.emt.core import relax_job

    executor = HighThroughputExecutor(
        address="127.0.0.1",
        cores_per_worker=1,
        max_workers_per_node=WORKERS,
        provider=LocalProvider(init_blocks=1, max_blocks=1),
    )
    run.start()
    with parsl.load(Config(executors=[executor])):
        futures = [relax_job(atoms, **PUBLIC_KEYWORDS) for atoms in run.items()]
        for index, future in enumerate(futures):
            run.got(index, future.result())


PUBLIC_KEYWORDS = {"opt_params": {"fmax": work.FMAX, "max_steps": work.STEPS}}


def executorlib(run: Run) -> None:
    from executorlib import SingleNodeExecutor

    job = run.ase_job()
    run.start()
    with SingleNodeExecutor(
        max_workers=WORKERS, block_allocation=True, hostname_localhost=True
    ) as executor:
        futures = [executor.submit(job, atoms) for atoms in run.items()]
        for index, future in enumerate(futures):
            run.got(index, future.result())


def jobflow(run: Run) -> None:
    """Local runs of jobflow take one process; it stores plain data only."""
    from jobflow import Flow, job, run_locally

    run.ase_job()
    run.start()
    jobs = [job(work.ase_relax_in_json)(atoms.todict()) for atoms in run.items()]
    responses = run_locally(Flow(jobs), log=False)
    for index, one in enumerate(jobs):
        run.got(index, responses[one.uuid][1].output)


CONTESTANTS = {
    function.__name__: function
    for function in (
        bare_ase,
        bare_quacc,
        fan_out,
        prefect_threads,
        prefect_processes,
        prefect_dask,
        public_prefect,
        public_parsl,
        executorlib,
        jobflow,
    )
}


def peak_memory(process: str | int = "self") -> float:
    """Return the most memory (MiB) that a process has had at a time, as Linux counts it."""
    status = Path(f"/proc/{process}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else float("nan")


def main(name: str, options: str) -> None:
    run = Run(**json.loads(options))
    CONTESTANTS[name](run)
    outcome = {
        "seconds": run.ended - run.started,
        "until_returned": time.perf_counter() - run.started,
        "peak_memory": peak_memory(),
        "energies": [run.energies[index] for index in range(run.count)],
    }
    Path("outcome.json").write_text(json.dumps(outcome))


if __name__ == "__main__":
    main(*sys.argv[1:])
