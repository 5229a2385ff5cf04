"""A Slurm pool of a real Prefect server, its worker, and flows to run in it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun
from prefect.settings import get_current_settings
from prefect.states import Cancelling

from quacc.deploy.slurm_worker import SlurmWorker

FLOWS = """
import os, time
from pathlib import Path

from prefect import flow, task


def mark(folder, text):
    with open(Path(folder, text), "a") as stream:
        stream.write(os.environ["SLURM_JOB_ID"] + "\\n")


@flow
def quick(folder):
    mark(folder, "quick")
    secrets = [value for name, value in os.environ.items() if "AUTH" in name]
    assert secrets and os.listdir() == [], os.listdir()
    print("this is in the log", flush=True)
    return 1


@flow
def fails(folder):
    mark(folder, "fails")
    raise ValueError("a fault of the flow")


@flow
def dies(folder):
    mark(folder, "dies")
    print("last words", flush=True)
    os._exit(3)


@flow
def hungry(folder):
    mark(folder, "hungry")
    much = b"x" * 2_000_000_000
    time.sleep(600)


@flow
def dynamics(folder):
    from ase.calculators.emt import EMT
    from quacc.recipes.emt.core import md_job

    calculate = EMT.calculate

    def slowly(self, *args, **kwargs):
        mark(folder, "calls")
        time.sleep(0.2)
        return calculate(self, *args, **kwargs)

    EMT.calculate = slowly
    mark(folder, "dynamics")
    Path(folder, "steps").write_text(str(md_job("Cu", steps=600)["steps"]))


@flow
def holds(folder, name="holds", seconds=600):
    mark(folder, name)
    end = time.monotonic() + seconds
    while time.monotonic() < end and not Path(folder, "go").exists():
        time.sleep(0.1)


@flow
def stubborn(folder):
    mark(folder, "stubborn")
    while True:
        try:
            time.sleep(600)
        except BaseException:
            pass


@task
def step(folder, number):
    mark(folder, f"step{number}")
    Path(folder, f"done{number}").touch()


@flow
def steps(folder):
    mark(folder, "steps")
    for number in (1, 2):
        if not Path(folder, f"done{number}").exists():
            step(folder, number)
        if number == 1 and not Path(folder, "go").exists():
            time.sleep(600)
"""

_WORKER = """
import sys
from quacc.deploy import following, follow, slurm_worker

following.PERIOD = 0.5
slurm_worker._WAIT = (0.5, 1.0)
follow.RENEW = 2.0
{lines}
from prefect.cli import app

sys.argv[1:] = {arguments}
sys.exit(app())
"""
"""``prefect worker start``, with shorter waits."""


class Pool:
    """A pool, whose jobs see the flows above.

    Parameters
    ----------
    cluster
        The Slurm.
    folder
        For results, and what flows leave.
    settings
        Environment variables for the worker.
    """

    def __init__(self, cluster: Any, folder: Path, settings: dict[str, str] | None = None) -> None:
        self.cluster = cluster
        self.name = f"hpc-{uuid4().hex[:8]}"
        self.folder = folder
        self.results = folder / "results"
        self.results.mkdir(parents=True)
        self.folder.joinpath("poolflows.py").write_text(FLOWS)
        self.env = os.environ | {
            **get_current_settings().to_environment_variables(exclude_unset=True),
            "SLURM_CONF": str(cluster.config),
            "QUACC_RESULTS_DIR": str(self.results),
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            **(settings or {}),
        }
        self.defaults = {
            "cores": 1,
            "memory": "500MB",
            "walltime": "00:10:00",
            "env": {"PYTHONPATH": str(folder)},
        }
        self._workers: list[subprocess.Popen[bytes]] = []
        self.log = folder / "worker.log"
        with get_client(sync_client=True) as client:
            client.create_work_pool(
                WorkPoolCreate(
                    name=self.name,
                    type="slurm",
                    base_job_template=SlurmWorker.get_default_base_job_template(),
                )
            )

    def start(self, *lines: str, limit: int | None = None) -> subprocess.Popen[bytes]:
        """Start a worker, with further lines of Python for it to run first."""
        arguments = ["worker", "start", "--pool", self.name]
        arguments += ["--limit", str(limit)] if limit else []
        code = _WORKER.format(lines="\n".join(lines), arguments=arguments)
        with self.log.open("ab") as stream:
            worker = subprocess.Popen(
                [sys.executable, "-c", code], env=self.env, stdout=stream, stderr=stream
            )
        self._workers.append(worker)
        return worker

    def stop(self) -> None:
        for worker in self._workers:
            if worker.poll() is None:
                worker.terminate()
        for worker in self._workers:
            try:
                worker.wait(30)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()

    def deploy(self, flow: str, limit: int | None = None) -> UUID:
        with get_client(sync_client=True) as client:
            return client.create_deployment(
                flow_id=client.create_flow_from_name(flow),
                name=uuid4().hex,
                entrypoint=flow if "." in flow else f"poolflows.{flow}",
                work_pool_name=self.name,
                concurrency_limit=limit,
                job_variables=self.defaults,
                enforce_parameter_schema=False,
            )

    def run(self, flow: str | UUID, where: str, **fields: Any) -> UUID:
        """Start a flow, or a deployment; what it leaves is in the folder of this name."""
        marks = self.folder / where
        marks.mkdir(exist_ok=True)
        return self.start_run(flow, {"folder": str(marks)}, fields)

    def start_run(
        self, flow: str | UUID, parameters: dict[str, Any], fields: dict[str, Any]
    ) -> UUID:
        deployment = self.deploy(flow) if isinstance(flow, str) else flow
        with get_client(sync_client=True) as client:
            return client.create_flow_run_from_deployment(
                deployment, parameters=parameters, job_variables=fields
            ).id

    def look(self, run: UUID) -> FlowRun:
        with get_client(sync_client=True) as client:
            return client.read_flow_run(run)

    def wait(self, run: UUID, *names: str, seconds: float = 120) -> Any:
        """Wait until the state of a flow run has one of these names; return the state."""
        return self.until(
            lambda: next((s for s in [self.look(run).state] if s and s.name in names), None),
            seconds,
            lambda: self.look(run).state,
        )

    def until(
        self, look: Callable[[], Any], seconds: float = 120, tell: Callable[[], Any] = lambda: ""
    ) -> Any:
        """Wait for what is true, and return it."""
        end = time.monotonic() + seconds
        while not (found := look()):
            if time.monotonic() > end:
                pytest.fail(f"{tell()!r}\n{self.squeue()}\n{self.log.read_text()[-8000:]}")
            time.sleep(0.2)
        return found

    def cancel(self, run: UUID) -> float:
        """Do what the button in the dashboard does; return the time."""
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(run, Cancelling())
        return time.monotonic()

    def squeue(self) -> str:
        return str(self.cluster.call("squeue", "-h", "-o", "%A %T %j"))

    def jobs(self, run: UUID) -> list[str]:
        """Return the ids of all jobs of a flow run that Slurm remembers."""
        listed = self.cluster.call("squeue", "-h", "-t", "all", "-o", "%A %j").splitlines()
        return [line.split()[0] for line in listed if str(run) in line]

    def history(self, run: UUID) -> list[str]:
        """Return the names of the states of a flow run, in their order."""
        with get_client(sync_client=True) as client:
            states = client.request(
                "GET", "/flow_run_states/", params={"flow_run_id": str(run)}
            ).json()
        return [each["name"] for each in sorted(states, key=lambda each: each["timestamp"])]

    def marked(self, where: str, name: str) -> int:
        """Return how many jobs left a mark."""
        file = self.folder / where / name
        return len(file.read_text().splitlines()) if file.exists() else 0

    def check_clean(self, run: UUID, jobs: int | None = 1, seconds: float = 30) -> None:
        """Nothing is left of a flow run, and it had so many jobs and one last state."""
        self.until(lambda: str(run) not in self.squeue(), seconds)
        self.until(lambda: not list(self.results.glob(f"prefect-jobs/*/{run}")), seconds)
        assert jobs is None or len(self.jobs(run)) == jobs
        final = {"Completed", "Failed", "Crashed", "Cancelled"}
        assert len([name for name in self.history(run) if name in final]) == 1


@contextmanager
def pool_of(
    devcluster: Any, folder: Path, settings: dict[str, str] | None = None, more: str = ""
) -> Iterator[Pool]:
    """Yield a pool of a Slurm of its own, with further lines in its configuration."""
    with devcluster.DevCluster(folder / "slurm", more=more) as cluster:
        pool = Pool(cluster, folder / "pool", settings)
        try:
            yield pool
        finally:
            pool.stop()
