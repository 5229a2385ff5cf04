"""``AllocationCluster``: the nodes of the Slurm job that the flow runs in, as Dask workers.

The flow runs in the batch script, on the first node, and one ``srun`` starts the workers on all
of them. (dask-jobqueue's SLURMRunner would want the whole script started by ``srun`` once for
every task, two of which then compute nothing, and speaks no TLS by default.)
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from distributed import Security
from distributed.deploy.spec import ProcessInterface, SpecCluster

from quacc.cluster import slurm
from quacc.cluster.attempts import Cause
from quacc.cluster.certificates import make_folder
from quacc.cluster.scheduler import WorkScheduler
from quacc.cluster.slurm_env import for_step
from quacc.errors import (
    MissingProgramError,
    ParameterError,
    SubmissionError,
    TimeUpError,
    require_count,
)

_PATIENCE = 10.0
"""Seconds for workers to end by themselves before Slurm kills them."""
_LINES = 20
"""The last lines of srun's output that an error repeats."""


class AllocationCluster(SpecCluster):
    """Dask workers on all nodes of the Slurm job that this process runs in.

    Parameters
    ----------
    n_workers
        By default the number of tasks that the job was submitted with (``--ntasks``,
        ``--ntasks-per-node``), or else as many as its CPUs can hold, at ``--cpus-per-task``
        or one each.
    interface
        Network interface between the nodes, such as ``ib0``.
    preload
        Modules that a worker loads first.
    python
        The interpreter on the nodes.
    srun_options
        Further options of ``srun``.
    secure
        Scheduler and workers speak TLS, with certificates made for this run, which lie in a
        folder that nobody else can read and are removed at the end.
    shared_temp_directory
        A folder that all nodes see, for the certificates.

    Attributes
    ----------
    problem : SubmissionError | None
        Set, and given to ``on_problem``, when all workers have ended too early.

    Raises
    ------
    ParameterError
        This process is not inside a Slurm job, or is one of several that srun started.
    MissingProgramError
        There is no ``srun``.
    """

    def __init__(
        self,
        n_workers: int | None = None,
        *,
        interface: str | None = None,
        preload: Sequence[str] = ("quacc.cluster.worker",),
        python: str = sys.executable,
        srun_options: Sequence[str] = (),
        secure: bool = True,
        shared_temp_directory: str = "~/.cache/quacc",
        **kwargs: Any,
    ) -> None:
        step = _step(os.environ, n_workers)
        if shutil.which("srun") is None:
            raise MissingProgramError(
                "There is no program srun, which starts the workers, although this is a Slurm "
                "job. Add the folder of Slurm's programs to PATH, or load its module."
            )
        self.problem: SubmissionError | None = None
        self.on_problem: Callable[[SubmissionError], None] = lambda problem: None
        self.report: Callable[[str], None] = lambda text: None
        self.job_id = os.environ["SLURM_JOB_ID"]
        self._keys: Path | None = None
        security = Security.temporary() if secure else None
        options: dict[str, Any] = {
            "protocol": "tls://" if secure else "tcp://",
            "security": security,
            "interface": interface,
            "dashboard_address": "127.0.0.1:0",
        }
        # On one node, nobody else's network is needed; in a shell that salloc opened on a login
        # node, the one node is elsewhere.
        if interface is None and _one_node_here(os.environ):
            options["host"] = "127.0.0.1"
        command = [
            *("srun", *step, *srun_options, python, "-P", "-m", "quacc.cluster.dask_worker"),
            *("--nthreads", "1", "--death-timeout", "60"),
            *("--no-dashboard", "--dashboard-address", "127.0.0.1:0"),
            # Slurm limits the job's memory; Dask's own limit would pause workers for good.
            *("--memory-limit", "0"),
            *(("--interface", interface) if interface else ()),
            *(word for module in preload for word in ("--preload", module)),
            *("--preload-nanny", "quacc.cluster.deaths"),
            *(self._tls_options(security, shared_temp_directory) if security else ()),
        ]
        super().__init__(
            scheduler={"cls": WorkScheduler, "options": options},
            workers={"step": {"cls": _Step, "options": {"command": command, "lost": self._lost}}},
            security=security,
            **{"silence_logs": "error", **kwargs},
        )

    async def cause_of(self, worker: str) -> tuple[Cause, str]:
        """Return why a worker was lost, for decisions and for people."""
        if worker in self.scheduler.left:
            return Cause.WALLTIME, f"Slurm job {self.job_id} ends"
        if excuse := self.scheduler.excuse(worker):
            return Cause.SILENCE, excuse
        cause, how = await self.scheduler.how_it_died(worker)
        return cause, f"{how}, in Slurm job {self.job_id}"

    def _tls_options(self, security: Security, folder: str) -> list[str]:
        """Write the workers' certificates; return the options that name the files."""
        self._keys = make_folder(folder)
        options = []
        for name, content in security.get_tls_config_for_role("worker").items():
            if name in ("ca_file", "cert", "key"):
                file = Path(self._keys, f"{name}.pem")
                file.write_text(content)
                options += [f"--tls-{name.replace('_', '-')}", str(file)]
        return options

    def _lost(self, output: str, end: float | None) -> None:
        if self.scheduler.left or (end is not None and time.time() > end - 60):
            self.problem = TimeUpError(
                f"The time of Slurm job {self.job_id} is up. Submit the same script again: what "
                "is finished is in the results database, and the rest goes on."
            )
        else:
            self.problem = SubmissionError(
                f"All workers in Slurm job {self.job_id} have ended before the flow did. srun and "
                f"the workers said:\n{output}"
            )
        self.on_problem(self.problem)

    async def _close(self) -> None:
        for step in self.workers.values():
            step.closing = True
        if self.status.name == "running" and self.problem is None:
            # Told so, they let calculations write their checkpoints; srun would kill them.
            for address in list(self.scheduler.workers):
                self.scheduler.close_worker(address)
        await super()._close()
        if self._keys is not None:
            shutil.rmtree(self._keys, ignore_errors=True)


class _Step(ProcessInterface):
    """The one srun behind all workers."""

    def __init__(
        self,
        scheduler: str,
        command: Sequence[str],
        lost: Callable[[str, float | None], None],
        name: str,
    ) -> None:
        super().__init__(scheduler, name)
        self.command = [*command, scheduler]
        self.lost = lost
        self.output: deque[str] = deque(maxlen=_LINES)
        self.closing = False

    async def start(self) -> None:
        self.end = await _job_end(os.environ)
        environment = {"DASK_DISTRIBUTED__LOGGING__DISTRIBUTED": "warning", **for_step(os.environ)}
        if self.end is not None:
            environment["_QUACC_JOB_END"] = str(self.end)
        self.process = await asyncio.create_subprocess_exec(
            *self.command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            # Ctrl-C is for the flow, which ends the workers in order.
            start_new_session=True,
            env=environment,
        )
        self.watching = asyncio.create_task(self._watch())
        await super().start()

    async def _watch(self) -> None:
        """Pass on what srun and the workers print, until they have ended."""
        assert self.process.stdout
        async for line in self.process.stdout:
            text = line.decode(errors="replace")
            self.output.append(text)
            if not self.closing:
                print(text, end="", file=sys.stderr, flush=True)
        code = await self.process.wait()
        if not self.closing:
            self.lost(f"{''.join(self.output)}(srun ended with exit code {code})", self.end)

    async def close(self) -> None:
        self.closing = True
        for number in (signal.SIGTERM, signal.SIGKILL, None):
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(self.watching), _PATIENCE)
                break
            if number is not None:
                with suppress(ProcessLookupError):
                    self.process.send_signal(number)
        await super().close()


def _step(environment: Mapping[str, str], n_workers: int | None) -> list[str]:
    """Return srun's options for one task a worker, on all nodes of the Slurm job.

    Raises
    ------
    ParameterError
        There is no Slurm job, or this process is one of several that srun started.
    """
    if "SLURM_JOB_ID" not in environment:
        raise ParameterError(
            "This process is not inside a Slurm job, so there are no nodes to compute on. Submit "
            "the script with `sbatch slurm/flow.sh`, or let the workers be Slurm jobs of their "
            "own: make_runner(site=…)."
        )
    tasks = int(environment.get("SLURM_STEP_NUM_TASKS", 1))
    if tasks > 1:
        raise ParameterError(
            f"srun has started this script {tasks} times. Start it once, with plain `python`, in "
            "the batch script; it starts its workers with srun itself."
        )
    cpus = int(environment.get("SLURM_CPUS_PER_TASK", 1))
    nodes = int(environment.get("SLURM_JOB_NUM_NODES", 1))
    if n_workers is not None:
        require_count(n_workers=n_workers)
    elif "SLURM_NTASKS" in environment:
        n_workers = int(environment["SLURM_NTASKS"])
    else:
        n_workers = sum(max(1, count // cpus) for count in _cpus_per_node(environment))
    return [
        f"--nodes={min(nodes, n_workers)}",
        f"--ntasks={n_workers}",
        f"--cpus-per-task={cpus}",
        # Programs that workers start with srun need the same cores.
        "--overlap",
        "--export=ALL",
        "--cpu-bind=none",
        # A worker that ends takes no others with it.
        "--kill-on-bad-exit=0",
        "--wait=0",
    ]


def _cpus_per_node(environment: Mapping[str, str]) -> list[int]:
    """Return the CPUs of every node, from Slurm's ``2(x3),1``."""
    text = environment.get("SLURM_JOB_CPUS_PER_NODE") or environment.get("SLURM_CPUS_ON_NODE", "1")
    counts: list[int] = []
    for count, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", text):
        counts += [int(count)] * int(times or 1)
    return counts


def _one_node_here(environment: Mapping[str, str]) -> bool:
    return environment.get("SLURM_JOB_NUM_NODES") == "1" and "SLURMD_NODENAME" in environment


async def _job_end(environment: Mapping[str, str]) -> float | None:
    """Return when the Slurm job ends (epoch seconds); older Slurm tells only when asked."""
    with suppress(KeyError, ValueError):
        return float(environment["SLURM_JOB_END_TIME"])
    return await slurm.job_end(environment["SLURM_JOB_ID"])
