"""A cluster of Slurm jobs that never hangs: what it cannot do, it tells."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from distributed.deploy.cluster import Cluster
from tornado.ioloop import PeriodicCallback

from quacc.cluster import slurm
from quacc.cluster.attempts import Cause
from quacc.cluster.batch import BatchCluster
from quacc.cluster.jobqueue import SLURMCluster
from quacc.cluster.pool import ENDED, LOST_AFTER, WAITING, JobState, Pool
from quacc.cluster.processes import signature
from quacc.cluster.slurm_job import SlurmJob
from quacc.locations import expand_user

logger = logging.getLogger(__name__)

LOOK_EVERY = 10.0
"""Seconds between two looks at the queue: one squeue for all jobs of a run."""

FIRST_LOOK = 3.0
"""Seconds after a submission: mistakes in a script show at once."""

_LAST_TRIES = 60.0
"""Seconds for which the end of a run tries to reach Slurm."""

_SETTLED = 2.0
"""Seconds after which Slurm knows that a job has ended with its worker."""


class SlurmCluster(BatchCluster, SLURMCluster):
    """A ``SLURMCluster`` that replaces lost jobs, and says why it cannot work.

    Parameters
    ----------
    pending_timeout, worker_timeout
        See :class:`quacc.cluster.pool.Pool`.
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
        self.logs = Path(expand_user(log_directory)).absolute()
        self.logs.mkdir(parents=True, exist_ok=True, mode=0o700)  # others' logs are not for all
        self._pool = Pool(pending_timeout, worker_timeout)
        self._states: dict[str, JobState] = {}
        self._looking = asyncio.Lock()
        self._nodes: set[str] | None = None
        self._asked_for_nodes = -LOOK_EVERY
        self._doubts: set[asyncio.Future[None]] = set()
        self._trouble = False  # somebody may want to read the logs
        super().__init__(pending_timeout=pending_timeout, log_directory=str(self.logs), **kwargs)

    async def _start(self) -> None:
        await super()._start()
        self._look_often = PeriodicCallback(self._look, LOOK_EVERY * 1000)
        self._look_often.start()

    @property
    def unused_variables(self) -> list[str]:
        """Return the environment's ``SBATCH_*`` variables that jobs are submitted without."""
        job: SlurmJob = self._dummy_job
        return job.environment()[1]

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
        if excuse := self.scheduler.excuse(worker):
            return Cause.SILENCE, f"Slurm job {job_id}: {excuse}"
        started = time.monotonic()
        while True:
            state = await self._state(job_id)
            if state.state in ENDED | WAITING:
                break
            # A worker that is back proves that its process alone had died. Else Slurm may need
            # some time to find out that a node has failed.
            back = any(str(one.name) == worker for one in self.scheduler.workers.values())
            waited = time.monotonic() - started
            if (back and waited > _SETTLED) or waited > LOST_AFTER:
                break
            await asyncio.sleep(0.5)
        message = f"Slurm job {job_id}: {slurm.in_words(state)}"
        if state.state in ("TIMEOUT", "PREEMPTED", "DEADLINE"):
            return Cause.WALLTIME, message
        if state.state in ("FAILED", "OUT_OF_MEMORY"):
            alone = self.workers_of_job == 1
            if death := self.scheduler.death(worker):
                message = f"{death}; {message}"
            return Cause.CRASH if alone else Cause.SHARED, message
        if state.state == "COMPLETED":
            return Cause.SILENCE, message
        if state.state != "RUNNING" or not back:
            return Cause.OUTSIDE, f"{message}, but its worker is gone"
        cause, how = await self.scheduler.how_it_died(worker)
        return cause, f"{how}, in Slurm job {job_id}"

    def has_other_nodes(self, places: Collection[str]) -> bool:
        """Return whether the partition has other nodes that are up."""
        if time.monotonic() > self._asked_for_nodes + LOOK_EVERY:
            self._nodes = slurm.nodes_up(self._dummy_job.partition)
            self._asked_for_nodes = time.monotonic()
        return self._nodes is None or bool(self._nodes - set(places))

    async def _state(self, job_id: str) -> JobState:
        try:
            found = await slurm.states([job_id])
        except OSError:  # Slurm does not answer now; what it said last must do
            return self._states.get(job_id, JobState("RUNNING"))
        return found.get(job_id, JobState("GONE"))

    def _watch_job(self, name: str, job_id: str) -> None:
        self._pool.submitted(name, job_id, time.monotonic())
        self.loop.call_later(FIRST_LOOK, self._look_now)

    def _fail(self, text: str) -> None:
        self._trouble = True
        super()._fail(text)

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
                found = await slurm.states(ids)
            except OSError as error:
                self.report(f"Slurm does not answer: {error}")
                return
        states = {job_id: found.get(job_id, JobState("GONE")) for job_id in ids}
        for job_id, state in states.items():
            if state != self._states.get(job_id):
                self._states[job_id] = state
                self.report(f"Slurm job {job_id}: {slurm.in_words(state)}")
        verdict = self._pool.look(time.monotonic(), states, self.connected())
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
                f"job is {slurm.in_words(verdict.waited)}."
            )

    def _job_refused(self, name: str, message: str) -> None:
        if slurm.is_unanswered(message) and self.status.name != "closing":
            # sbatch has had no answer; the controller may have taken the job nevertheless.
            self.report(f"Slurm did not answer whether it takes another job: {message}")
            self._doubts.add(asyncio.ensure_future(self._find_job(name, message)))
        else:
            super()._job_refused(name, message)

    async def _find_job(self, name: str, message: str) -> None:
        """Look for a job of which nobody knows whether Slurm has taken it."""
        job = self.workers.get(name)
        missing = 0
        while job is not None and missing < 2 and name in self.workers:
            await asyncio.sleep(_SETTLED)  # what has waited for the controller comes in meanwhile
            try:
                found = await slurm.named(job.own_name)
            except OSError:
                continue
            if found:
                job.job_id = next(iter(found.values()))
                self._job_submitted(name, job.job_id)
                return
            missing += 1
        if name in self.workers:
            super()._job_refused(name, message)

    async def _cancel_all(self) -> None:
        """Cancel the jobs of this run, those included that Slurm took without a word."""
        end = time.monotonic() + _LAST_TRIES
        run = f"{slurm.tag_of(signature())}-{self._name}-"
        while True:
            try:
                found = await slurm.named(run)
                await slurm.cancel({*found.values(), *self._running_ids()})
                return
            except OSError as error:
                if time.monotonic() > end:
                    logger.error(
                        "Slurm does not answer (%s): jobs named …-%s… may run on, until they find "
                        "that this flow has ended.",
                        error,
                        run,
                    )
                    return
                await asyncio.sleep(_SETTLED)

    def _running_ids(self) -> list[str]:
        return [job.job_id for job in self.workers.values() if job.job_id]

    def _give_up_job(self, name: str) -> None:
        self._pool.forget(name)
        super()._give_up_job(name)

    async def _close(self) -> None:
        if (often := getattr(self, "_look_often", None)) is not None:
            often.stop()
        for doubt in self._doubts:
            doubt.cancel()
        if self.status.name in ("running", "failed"):
            async with self._lock:  # no job is just being submitted
                await self._cancel_all()
                for job in self.workers.values():
                    job.job_id = None
        await super()._close()
        if not self._trouble:  # people pay for files
            for job_id in self.job_ids.values():
                (self.logs / f"{job_id}.log").unlink(missing_ok=True)
