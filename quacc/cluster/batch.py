"""Clusters of batch jobs that never hang: what they cannot do, they tell."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Collection
from typing import Any

from distributed.deploy.cluster import Cluster
from distributed.deploy.spec import ProcessInterface

from quacc.cluster import slurm
from quacc.cluster.attempts import Cause
from quacc.cluster.jobqueue import (
    JobQueueCluster,
    LSFCluster,
    LSFJob,
    PBSCluster,
    PBSJob,
    SGECluster,
    SGEJob,
)
from quacc.cluster.scheduler import WorkAdaptive, WorkScheduler
from quacc.errors import SubmissionError

RETRY_AFTER = 15.0
"""Seconds until a job is submitted again that the queue could not take just now."""

IDLE_FOR = 60
"""Seconds that a job without work is kept: the next stage of a workflow is often near."""

_BACK_AFTER = 20.0
"""Seconds in which a nanny has started a worker anew, or the job is taken for lost."""


class ReportingJob:
    """Mixed into a job class of dask-jobqueue's: a refusal is reported, not raised.

    Parameters
    ----------
    submitted, refused
        Called with the job's name, and its id or the queueing system's words.
    excluded
        Returns the nodes that it must not start on.
    """

    def __init__(
        self,
        *args: Any,
        submitted: Callable[[str, str], None] | None = None,
        refused: Callable[[str, str], None] | None = None,
        excluded: Callable[[], Collection[str]] = tuple,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        # With an own worker_command, dask-jobqueue leaves out the number of workers.
        template: str = vars(self)["_command_template"]
        self._command_template = template.replace(
            "-m distributed.cli.dask_worker ", "-P -m quacc.cluster.dask_worker ", 1
        )
        self._submitted, self._refused, self._excluded = submitted, refused, excluded

    @property
    def own_name(self) -> str:
        """The name that no other job has."""
        return str(vars(self).get("name"))

    def set_name(self) -> None:
        """Give the job a name that no other has, where the queue can be asked for it."""

    def exclude(self, nodes: Collection[str]) -> None:
        """Let the job start on none of these nodes, where the queueing system can do that."""

    async def start(self) -> None:
        """Submit the job."""
        job: Any = self
        self.exclude(self._excluded())
        self.set_name()
        try:
            await super().start()  # type: ignore[misc]
        # Raised by dask-jobqueue where the command fails, or is not there.
        except (RuntimeError, OSError, ValueError) as error:
            if self._refused is None:
                raise
            self._refused(str(job.name), _words(error, job.submit_command))
            await ProcessInterface.start(job)
        else:
            if self._submitted is not None:
                self._submitted(str(job.name), job.job_id)

    async def close(self) -> None:
        """Cancel the job."""
        await super().close()  # type: ignore[misc]
        await ProcessInterface.close(self)


class BatchCluster(JobQueueCluster):
    """A cluster of batch jobs, whose number follows the work.

    Parameters
    ----------
    pending_timeout
        Give up when there has been no worker for so long (s).
    **kwargs
        Of dask-jobqueue's class.
    """

    def __init__(self, *, pending_timeout: float | None = None, **kwargs: Any) -> None:
        self.pending_timeout = pending_timeout
        self.problem: SubmissionError | None = None
        self.on_problem: Callable[[SubmissionError], None] = lambda problem: None
        self.report: Callable[[str], None] = lambda text: None
        self.job_ids: dict[str, str] = {}  # of all jobs so far, by name
        self._numbers = itertools.count()
        self._refused_since: float | None = None
        self.excluded: set[str] = set()
        """Nodes that get no more jobs of this run."""
        super().__init__(
            scheduler_cls=WorkScheduler,
            submitted=self._job_submitted,
            refused=self._job_refused,
            excluded=lambda: self.excluded,
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

    def job_names(self) -> dict[str, str]:
        """Return the job of every worker, by name."""
        count = self.workers_of_job
        suffixes = [f"-{i}" for i in range(count)] if count > 1 else [""]
        return {f"{name}{suffix}": name for name in self.job_ids for suffix in suffixes}

    def connected(self) -> set[str]:
        """Return the names of jobs that have a connected worker."""
        names = self.job_names()
        workers = (str(worker.name) for worker in self.scheduler.workers.values())
        return {names[worker] for worker in workers if worker in names}

    def adapt(self, *args: Any, **kwargs: Any) -> Any:
        """Let the number of jobs follow the work; see ``JobQueueCluster.adapt``."""
        options = {"Adaptive": WorkAdaptive, "interval": "1s", "wait_count": IDLE_FOR}
        adaptive = super().adapt(*args, **(options | kwargs))
        self.scheduler.on_work = lambda: self.loop.add_callback(adaptive.adapt)
        return adaptive

    async def cause_of(self, worker: str) -> tuple[Cause, str]:
        """Return why a worker was lost, for decisions and for people."""
        job = f"the batch job {self.job_ids.get(self.job_names().get(worker, ''), 'of ' + worker)}"
        if worker in self.scheduler.left:
            return Cause.WALLTIME, f"{job} ends"
        if excuse := self.scheduler.excuse(worker):
            return Cause.SILENCE, f"{job}: {excuse}"
        end = time.monotonic() + _BACK_AFTER
        while time.monotonic() < end:
            if any(str(one.name) == worker for one in self.scheduler.workers.values()):
                cause, how = await self.scheduler.how_it_died(worker)
                return cause, f"{how}, in {job}"
            await asyncio.sleep(0.5)
        return Cause.OUTSIDE, f"{job} is gone"

    def _job_submitted(self, name: str, job_id: str) -> None:
        self.job_ids[name] = job_id
        self._refused_since = None
        self._watch_job(name, job_id)

    def _watch_job(self, name: str, job_id: str) -> None:
        """Give up when no worker comes; that the queue is asked for nothing is dask-jobqueue's."""
        if self.pending_timeout is not None:
            self.loop.call_later(self.pending_timeout, self._fail_without_workers)

    def _fail_without_workers(self) -> None:
        if self.workers and not self.scheduler.workers and self.problem is None:
            waiting = ", ".join(self.job_ids[name] for name in self.workers if name in self.job_ids)
            self._fail(
                f"No worker after {self.pending_timeout:g} s (pending_timeout), from the jobs "
                f"{waiting}. Ask the queue why they wait, or read their logs."
            )

    def _job_refused(self, name: str, message: str) -> None:
        alive = any(job.job_id for job in self.workers.values())
        now = time.monotonic()
        since = self._refused_since = now if alive else self._refused_since or now
        limit = self.pending_timeout
        too_long = limit is not None and now - since > limit
        if not too_long and (alive or slurm.can_pass(message)):
            self.report(f"The queue does not take another job just now: {message}")
            self.loop.call_later(RETRY_AFTER, self._give_up_job, name)
            return
        if self.excluded:
            message += (
                f" (nodes that failed and are used no more: {', '.join(sorted(self.excluded))})"
            )
        field = slurm.field_to_change(message)
        change = f" Change {field} in cluster_kwargs or the site's profile." if field else ""
        self._fail(f"The queue refused the job: {message}.{change}")

    def _fail(self, text: str) -> None:
        self.problem = SubmissionError(text)
        self._adaptive.stop()
        self.on_problem(self.problem)

    def _update_worker_status(self, op: str, msg: Any) -> None:
        # SpecCluster would cancel a job as soon as one of its workers goes, but a nanny starts
        # the worker again.
        lost = self.scheduler_info["workers"][msg]["name"] if op == "remove" else None
        Cluster._update_worker_status(self, op, msg)
        if job := self.job_names().get(str(lost)):
            self.loop.call_later(_BACK_AFTER, self._replace_if_gone, job)

    def has_other_nodes(self, places: Collection[str]) -> bool:
        """Return whether the queue has other nodes than these; nobody knows before it tries."""
        return True

    def retire(self, address: str) -> None:
        """End the job of a worker whose node fails whatever runs there."""
        worker = self.scheduler.send_no_more(address)
        if worker is not None and (job := self.job_names().get(worker)):
            self._give_up_job(job)

    def _replace_if_gone(self, name: str) -> None:
        if name not in self.connected():
            self._give_up_job(name)

    def _give_up_job(self, name: str) -> None:
        """Cancel a job and forget it; another one is submitted if there is work."""
        self.worker_spec.pop(name, None)
        job = self.workers.pop(name, None)
        if job is not None:
            self._futures.add(asyncio.ensure_future(job.close()))

    def _new_worker_name(self, worker_number: int) -> str:
        # Never one again: Dask refuses a worker whose name one has that it takes for alive.
        return f"{self._name}-{next(self._numbers)}"


class _PBSJob(ReportingJob, PBSJob):
    pass


class _SGEJob(ReportingJob, SGEJob):
    pass


class _LSFJob(ReportingJob, LSFJob):
    pass


class PBSBatchCluster(BatchCluster, PBSCluster):
    """PBS jobs."""

    job_cls = _PBSJob


class SGEBatchCluster(BatchCluster, SGECluster):
    """SGE jobs."""

    job_cls = _SGEJob


class LSFBatchCluster(BatchCluster, LSFCluster):
    """LSF jobs."""

    job_cls = _LSFJob


def _words(error: Exception, command: str) -> str:
    """Return what the queueing system said, out of dask-jobqueue's exception."""
    program = command.split()[0]
    if isinstance(error, FileNotFoundError):
        return f"there is no {program} command here; is this a login node?"
    _, found, message = str(error).partition("stderr:\n")
    text = message if found else str(error)
    lines = [
        line.removeprefix(f"{program}: ").removeprefix("error: ").strip()
        for line in text.splitlines()
    ]
    return "; ".join(line for line in lines if line)
