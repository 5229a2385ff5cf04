"""What becomes of batch jobs: decisions only, so that they are tested without a cluster.

The cluster tells what it sees (jobs submitted, the queue's states, workers connected); the pool
answers which jobs to give up and replace, and when to give up altogether.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

FAILED_STARTS = 2
"""Maximum number of jobs in a row that end without a worker; one may be a bad node."""

LOST_AFTER = 60.0
"""A running job none of whose workers has been heard of for so long (s) is replaced."""

ENDED = frozenset(
    {
        "BOOT_FAIL",
        "CANCELLED",
        "COMPLETED",
        "DEADLINE",
        "FAILED",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "PREEMPTED",
        "REVOKED",
        "TIMEOUT",
        "GONE",
    }
)
"""Slurm's states of jobs that are over; GONE are those that it no longer knows."""

WAITING = frozenset(
    {"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"}
)


@dataclass(frozen=True)
class JobState:
    """What the queue says about a job."""

    state: str
    """In Slurm's words, such as RUNNING."""
    reason: str = ""
    """Why it waits or has ended, such as Priority."""


@dataclass
class _Job:
    id: str
    submitted: float
    running: float | None = None
    completing: float | None = None
    joined: bool = False  # a worker of it has been connected
    seen: float = 0.0  # when one was last


@dataclass
class Verdict:
    """What to do now."""

    replace: list[str] = field(default_factory=list)
    """Names of jobs to cancel and forget."""
    unstarted: str | None = None
    """The id of the last of the jobs that ended without a worker, when there were too many."""
    waited: JobState | None = None
    """What the queue says about a job that has been waiting for too long."""


class Pool:
    """The batch jobs of one cluster.

    Parameters
    ----------
    pending_timeout
        Give up when no worker is there and a job has waited for so long (s); None: never.
    worker_timeout
        A running job that has brought no worker after so long (s) has failed to start.
    """

    def __init__(self, pending_timeout: float | None, worker_timeout: float) -> None:
        self.pending_timeout = pending_timeout
        self.worker_timeout = worker_timeout
        self.jobs: dict[str, _Job] = {}
        self.failed_starts = 0

    def submitted(self, name: str, job_id: str, now: float) -> None:
        self.jobs[name] = _Job(job_id, now)

    def joined(self, name: str, now: float) -> None:
        """Note that a worker of a job is connected."""
        if name in self.jobs:
            self.jobs[name].joined, self.jobs[name].seen = True, now
            self.failed_starts = 0

    def forget(self, name: str) -> None:
        self.jobs.pop(name, None)

    def look(
        self, now: float, states: Mapping[str, JobState], connected: Collection[str]
    ) -> Verdict:
        """Judge all jobs.

        Parameters
        ----------
        now
            Seconds, on any clock.
        states
            By job id; those that are not among them are left alone.
        connected
            Names of the jobs that have a connected worker.
        """
        verdict = Verdict()
        failed_job: _Job | None = None
        for name, job in list(self.jobs.items()):
            if name in connected:
                # Whatever the queue says: Slurm may take a node for dead whose jobs run on.
                self.joined(name, now)
                continue
            state = states.get(job.id)
            if state is None:  # submitted since they were asked for
                continue
            failed = self._judge(job, state, now)
            if failed is None:
                if state.state in WAITING and not connected and self._too_long(job, now):
                    verdict.waited = state
                continue
            verdict.replace.append(name)
            del self.jobs[name]
            if failed:
                self.failed_starts += 1
                failed_job = job
        # While another job works or starts, these may have met a bad node.
        if failed_job and self.failed_starts >= FAILED_STARTS and not connected:
            older = [job for job in self.jobs.values() if job.submitted <= failed_job.submitted]
            if not any(job.running is not None for job in older):
                verdict.unstarted = failed_job.id
        return verdict

    def _judge(self, job: _Job, state: JobState, now: float) -> bool | None:
        """Return None for a job to keep; else whether it has failed to start."""
        if state.state in ENDED:
            cancelled = state.state == "CANCELLED" and job.running is None
            return not (job.joined or cancelled)
        if state.state in WAITING:
            # Requeued: it would wait for minutes, and a new job starts as soon.
            return False if job.running is not None or job.joined else None
        if state.state == "COMPLETING":  # for ever, on a node that does not answer
            job.completing = now if job.completing is None else job.completing
            return not job.joined if now - job.completing > LOST_AFTER else None
        if state.state != "RUNNING":  # configuring, suspended, …
            return None
        if job.running is None:
            job.running = now
        if job.joined:
            return False if now - job.seen > LOST_AFTER else None
        return True if now - job.running > self.worker_timeout else None

    def _too_long(self, job: _Job, now: float) -> bool:
        return self.pending_timeout is not None and now - job.submitted > self.pending_timeout
