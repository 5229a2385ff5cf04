"""A cluster of Slurm jobs that never hangs: what it cannot do, it tells."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from distributed.deploy.cluster import Cluster
from tornado.ioloop import PeriodicCallback

from quacc.errors import SubmissionError
from quacc.prefect import slurm
from quacc.prefect.attempts import Cause
from quacc.prefect.jobqueue import SLURMCluster
from quacc.prefect.pool import ENDED, WAITING, JobState, Pool
from quacc.prefect.scheduler import WorkAdaptive, WorkScheduler
from quacc.prefect.slurmjob import SlurmJob

LOOK_EVERY = 10.0
"""Seconds between two looks at the queue: one squeue for all jobs of a run."""

FIRST_LOOK = 3.0
"""Seconds after a submission: mistakes in a script show at once."""

RETRY_AFTER = 15.0
"""Seconds until a job is submitted again that Slurm could not take just now."""

IDLE_FOR = 60
"""Seconds that a job without work is kept: the next stage of a workflow is often near."""


class SlurmCluster(SLURMCluster):
    """A ``SLURMCluster`` that replaces lost jobs, and says why it cannot work.

    Parameters
    ----------
    pending_timeout, worker_timeout
        See :class:`quacc.prefect.pool.Pool`.
    **kwargs
        Of ``dask_jobqueue.SLURMCluster``.
    """

    job_cls = SlurmJob

    def __init__(
        self,
        *,
        pending_timeout: float | None = None,
        worker_timeout: float = 300.0,
        log_directory: str | None = None,
        **kwargs: Any,
    ) -> None:
        if log_directory is None:
            from quacc.settings import get_settings

            log_directory = str(get_settings().results_dir / "slurm-logs")
        self.logs = Path(log_directory).expanduser().absolute()
        self.problem: SubmissionError | None = None
        self.on_problem: Callable[[SubmissionError], None] = lambda problem: None
        self.report: Callable[[str], None] = lambda text: None
        self.job_ids: dict[str, str] = {}  # of all jobs so far, by name
        self._pool = Pool(pending_timeout, worker_timeout)
        self._states: dict[str, JobState] = {}
        self._numbers = itertools.count()
        self._looking = asyncio.Lock()
        self._trouble = False  # somebody may want to read the logs
        super().__init__(
            scheduler_cls=WorkScheduler,
            log_directory=str(self.logs),
            submitted=self._job_submitted,
            refused=self._job_refused,
            **kwargs,
        )

    @property
    def workers_of_job(self) -> int:
        """Workers that one job brings."""
        return int(self._dummy_job.worker_processes)

    @property
    def threads(self) -> int:
        """Calculations that one worker runs at a time."""
        return int(self._dummy_job.worker_process_threads)

    async def _start(self) -> None:
        await super()._start()
        self._look_often = PeriodicCallback(self._look, LOOK_EVERY * 1000)
        self._look_often.start()

    def adapt(self, *args: Any, **kwargs: Any) -> Any:
        """Let the number of jobs follow the work; see ``JobQueueCluster.adapt``."""
        options = {"Adaptive": WorkAdaptive, "interval": "1s", "wait_count": IDLE_FOR}
        adaptive = super().adapt(*args, **(options | kwargs))
        self.scheduler.on_work = lambda: self.loop.add_callback(adaptive.adapt)
        return adaptive

    async def cause_of(self, worker: str) -> tuple[Cause, str]:
        """Return why a worker was lost, for decisions and for people."""
        name = self.job_names().get(worker, worker.rsplit("-", 1)[0])
        name = worker if worker in self.job_ids else name
        job_id = self.job_ids.get(name)
        self._trouble = True
        if job_id is None:
            return Cause.OUTSIDE, "its Slurm job is unknown"
        if worker in self.scheduler.left:
            return Cause.WALLTIME, f"Slurm job {job_id} ends"
        silent = self.scheduler.was_silent(worker)
        started = time.monotonic()
        while True:
            state = await self._state(job_id)
            if state.state in ENDED | WAITING:
                break
            # A job that ends with its worker is known to do so after a second or two.
            if time.monotonic() - started > (3 if state.state == "RUNNING" else 20):
                break
            await asyncio.sleep(0.5)
        told = f"Slurm job {job_id}: {slurm.in_words(state)}"
        if state.state in ("TIMEOUT", "PREEMPTED", "DEADLINE"):
            return Cause.WALLTIME, told
        if state.state in ("FAILED", "OUT_OF_MEMORY"):
            alone = self.workers_of_job == 1
            return Cause.CRASH if alone else Cause.SHARED, told
        if silent or state.state == "COMPLETED":
            return Cause.SILENCE, f"{told}, but it was not heard of for too long"
        if state.state != "RUNNING":
            return Cause.OUTSIDE, told
        limit = self._dummy_job.worker_process_memory
        return Cause.CRASH, (
            f"its process was killed in Slurm job {job_id}, most often because it used more "
            f"than its {limit} of memory"
        )

    async def _state(self, job_id: str) -> JobState:
        try:
            found = await slurm.states([job_id])
        except OSError:  # Slurm does not answer now; what it said last must do
            return self._states.get(job_id, JobState("RUNNING"))
        return found.get(job_id, JobState("GONE"))

    def _job_submitted(self, name: str, job_id: str) -> None:
        self.job_ids[name] = job_id
        self._pool.submitted(name, job_id, time.monotonic())
        self.loop.call_later(FIRST_LOOK, self._look_now)

    def _job_refused(self, name: str, told: str) -> None:
        alive = any(job.job_id for job in self.workers.values())
        if alive or slurm.can_pass(told):
            self.report(f"Slurm does not take another job just now: {told}")
            self.loop.call_later(RETRY_AFTER, self._give_up_job, name)
            return
        field = slurm.field_to_change(told)
        change = f" Change {field} in cluster_kwargs or the site's profile." if field else ""
        self._fail(f"Slurm refused the job: {told}.{change} Nothing has been computed.")

    def _fail(self, text: str) -> None:
        self.problem = SubmissionError(text)
        self._trouble = True
        self._adaptive.stop()
        self.on_problem(self.problem)

    def _update_worker_status(self, op: str, msg: Any) -> None:
        # SpecCluster would cancel a job as soon as one of its workers goes, but a nanny starts
        # the worker again; what became of the job, only Slurm knows.
        if op == "add":
            names = self.job_names()
            for worker in msg["workers"].values():
                if name := names.get(str(worker["name"])):
                    self._pool.joined(name, time.monotonic())
        Cluster._update_worker_status(self, op, msg)
        if op == "remove":
            for delay in (1, 4):
                self.loop.call_later(delay, self._look_now)

    def _look_now(self) -> None:
        if self.status.name == "running":
            self._soon = asyncio.ensure_future(self._look())

    async def _look(self) -> None:
        async with self._looking:
            for name in self._pool.jobs.keys() - self.worker_spec.keys():
                self._pool.forget(name)  # closed, because there was no work for it
            if not self._pool.jobs:
                return
            ids = {job.id for job in self._pool.jobs.values()}
            try:
                states = await slurm.states(ids)
            except OSError as error:
                self.report(f"Slurm does not answer: {error}")
                return
        for job_id in ids:
            state = states.get(job_id, JobState("GONE"))
            if state != self._states.get(job_id):
                self._states[job_id] = state
                self.report(f"Slurm job {job_id}: {slurm.in_words(state)}")
        of_worker = self.job_names()
        connected = {
            of_worker[str(worker.name)]
            for worker in self.scheduler.workers.values()
            if str(worker.name) in of_worker
        }
        verdict = self._pool.look(time.monotonic(), states, connected)
        for name in verdict.replace:
            self._give_up_job(name)
        if verdict.unstarted:
            log = self.logs / f"{verdict.unstarted}.log"
            self._fail(
                "Slurm jobs start, but no worker connects from them. The last one's log "
                f"({log}) ends with:\n{slurm.tail(log)}"
            )
        elif verdict.waited and not self._pool.failed_starts:
            self._fail(
                f"No worker after {self._pool.pending_timeout:g} s (pending_timeout): the Slurm "
                f"job is {slurm.in_words(verdict.waited)}. Nothing has been computed."
            )

    def job_names(self) -> dict[str, str]:
        """Return the job of every worker, by name."""
        count = self.workers_of_job
        suffixes = [f"-{i}" for i in range(count)] if count > 1 else [""]
        return {f"{name}{suffix}": name for name in self.job_ids for suffix in suffixes}

    def _give_up_job(self, name: str) -> None:
        """Cancel a job and forget it; another one is submitted if there is work."""
        self._pool.forget(name)
        self.worker_spec.pop(name, None)
        job = self.workers.pop(name, None)
        if job is not None:
            self._futures.add(asyncio.ensure_future(job.close()))

    def _new_worker_name(self, worker_number: int) -> str:
        # Never one again: Dask refuses a worker whose name one has that it takes for alive.
        return f"{self._name}-{next(self._numbers)}"

    async def _close(self) -> None:
        if (often := getattr(self, "_look_often", None)) is not None:
            often.stop()
        if self.status.name in ("running", "failed"):
            async with self._lock:  # no job is just being submitted
                running = [job for job in self.workers.values() if job.job_id]
                await slurm.cancel(job.job_id for job in running)
                for job in running:
                    job.job_id = None
        await super()._close()
        if not self._trouble:  # people pay for files
            for job_id in self.job_ids.values():
                (self.logs / f"{job_id}.log").unlink(missing_ok=True)
