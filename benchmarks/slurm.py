"""What quacc's task runner costs and saves on Slurm, next to plain prefect-dask.

    python benchmarks/slurm.py                  measure, print, write slurm.json
    python benchmarks/slurm.py --update-docs    put slurm.json into docs/benchmarks.md

Both submit to the same real Slurm, the one of slurm/devcluster, and report to the same Prefect
server. They take turns, each time in a new process with a new runner, and every figure is the
ratio of two such neighbours.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date, datetime
from importlib.machinery import SourceFileLoader
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULT = HERE / "slurm.json"
PAGE = HERE.parent / "docs" / "benchmarks.md"

JOB = {
    "n_workers": 1,
    "cores": 1,
    "memory": "1GB",
    "walltime": "00:30:00",
    "python": sys.executable,
    "interface": "lo",
}
"""Of both runners: one Slurm job with one worker."""

STEPS, PAUSE = 250, 0.15
"""Of the dynamics, and how long each force call sleeps (s), as if the code were slow."""
DYNAMICS = {"timestep": 1.0, "temperature": 300.0, "friction": 0.01}
"""fs, K and 1/fs."""
SEED = 3

CHECK = 30.0
"""Slurm looks so often for jobs whose time is up (s)."""
BOUND = 300.0
"""A run that takes longer has no result (s)."""

MEASURES = {
    "first_result": "from calling a flow to its first result (s)",
    "redone": "after a walltime: steps redone, of 100 done",
    "restart": "from the first job's last force call to the next job's first (s)",
    "until_result": "from the first job's last force call to the result (s)",
}
"""Key of each figure in the result: how the table calls it."""


# --- in the measured processes, which run one flow each, and on their workers ------------------


def _runner(side: str, *, adapt: bool) -> Any:
    if side == "ours":
        from quacc.prefect import make_runner

        return make_runner(JOB)
    import dask_jobqueue  # noqa: F401  (else the flow's time would have its import)
    from prefect_dask import DaskTaskRunner

    return DaskTaskRunner(
        cluster_class="dask_jobqueue.SLURMCluster",
        cluster_kwargs=JOB,
        # Else it waits for ever after the walltime.
        adapt_kwargs={"minimum_jobs": 1, "maximum_jobs": 1} if adapt else None,
    )


def first_worker(side: str) -> dict[str, float]:
    """Return how long a flow takes to its first result."""
    from prefect import flow, task

    from quacc.recipes.emt.core import relax_job

    @flow(task_runner=_runner(side, adapt=False))
    def campaign() -> float:
        task(relax_job).submit("Cu").result()
        return time.monotonic()

    start = time.monotonic()
    return {"first_result": campaign() - start}


def walltime_worker(side: str) -> dict[str, float]:
    """Return the final energy of a dynamics, and when it arrived."""
    from prefect import flow, task

    @flow(task_runner=_runner(side, adapt=True))
    def campaign() -> dict[str, float]:
        job = task(dynamics) if side == "ours" else task(dynamics, retries=3)
        energy = job.submit(side, os.getcwd()).result()
        return {"energy": energy, "arrived": time.time()}

    return campaign()


def dynamics(side: str, folder: str) -> float:
    """Run the same dynamics with quacc or with ASE alone; note every force call in a file."""
    from ase.build import bulk
    from ase.calculators.emt import EMT
    from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
    from numpy.random import default_rng

    def calculate(self: EMT, *args: Any, **kwargs: Any) -> None:
        with open(f"{folder}/calls", "a") as stream:
            stream.write(f"{time.time()} {os.environ['SLURM_JOB_ID']}\n")
        time.sleep(PAUSE)
        calculate_emt(self, *args, **kwargs)

    atoms = bulk("Cu", cubic=True) * (3, 3, 3)
    MaxwellBoltzmannDistribution(
        atoms, temperature_K=DYNAMICS["temperature"], rng=default_rng(SEED)
    )
    Path(folder, "ready").touch()
    while not Path(folder, "go").exists():
        time.sleep(0.05)
    calculate_emt, EMT.calculate = EMT.calculate, calculate
    try:
        return (_quacc_dynamics if side == "ours" else _ase_dynamics)(atoms)
    finally:
        EMT.calculate = calculate_emt


def _quacc_dynamics(atoms: Any) -> float:
    from quacc.recipes.emt.core import md_job

    result = md_job(atoms, dynamics="Langevin", steps=STEPS, seed=SEED, **DYNAMICS)
    return result["results"]["energy"]


def _ase_dynamics(atoms: Any) -> float:
    from ase import units
    from ase.calculators.emt import EMT
    from ase.md.langevin import Langevin
    from numpy.random import default_rng

    atoms.calc = EMT()
    integrator = Langevin(
        atoms,
        DYNAMICS["timestep"] * units.fs,
        temperature_K=DYNAMICS["temperature"],
        friction=DYNAMICS["friction"] / units.fs,
        fixcm=False,
        rng=default_rng(SEED),
    )
    integrator.run(STEPS)
    return float(atoms.get_potential_energy())


WORKERS: dict[str, Callable[[str], dict[str, float]]] = {
    "first": first_worker,
    "walltime": walltime_worker,
}


# --- in the process that measures --------------------------------------------------------------


class Laboratory:
    """A Slurm cluster, a Prefect server, and folders for the runs.

    Parameters
    ----------
    slurm
        A started ``DevCluster``.
    root
        An empty folder.
    server
        Prefect's settings that lead to the server, as environment variables.
    """

    def __init__(self, slurm: Any, root: Path, server: dict[str, str]) -> None:
        self.slurm, self.root, self.server = slurm, root, server
        slurm.call("scontrol", "setdebug", "debug2")  # so that it logs when it looks at times

    def first_result(self, side: str) -> dict[str, float] | None:
        """Return the seconds from calling a flow to its first result."""
        with self._started("first", side) as (process, folder):
            return self._outcome(process, folder)

    def walltime(self, side: str) -> dict[str, float] | None:
        """Return what a walltime in the middle of a dynamics costs; None if it never ended."""
        with self._started("walltime", side) as (process, folder):
            wait_until((folder / "ready").exists)
            wait_until(lambda: time.time() > self._next_check() - STEPS * PAUSE / 2)
            (folder / "go").touch()
            wait_until((folder / "calls").exists)
            job = _calls(folder)[0][1]
            self.slurm.call("scontrol", "update", f"jobid={job}", "EndTime=now+2")
            outcome = self._outcome(process, folder)
        calls = _calls(folder)
        first = [when for when, where in calls if where == job]
        if outcome is None:
            return None
        if abs(outcome["energy"] - self.energy) > 1e-6:
            raise SystemExit(f"{side}: energy {outcome['energy']}, so not the same dynamics.")
        if len(first) == len(calls):
            raise SystemExit(f"{side}: the walltime came after the end.")
        return {
            "done": len(first) - 1,
            "redone": len(calls) - STEPS - 1,
            "restart": next(when for when, where in calls if where != job) - first[-1],
            "until_result": outcome["arrived"] - first[-1],
        }

    def _next_check(self) -> float:
        """Return when Slurm looks at the jobs' times again."""
        log = (self.slurm.folder / "log" / "slurmctld.log").read_text()
        stamp = re.findall(r"\[(\S+)\] debug2: Testing job time limits", log)[-1]
        return datetime.fromisoformat(stamp).timestamp() + CHECK
