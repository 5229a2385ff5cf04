"""What becomes of the Slurm job of a flow run: decisions only, so that they are tested without
a cluster.

At each look, the follower is told the time, what Slurm says about the job, and what Prefect says
about the flow run, in this order: a flow reports its end before its job ends, so that a flow run
that has not ended *after* its job has will not report it any more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from quacc.cluster.pool import ENDED, WAITING
from quacc.deploy import endings

YOUNG = 600.0
"""Slurm is asked about a job at each poll for so long (s) after its submission, ..."""

SLOW = 30.0
"""... and after that every so many seconds, unless the flow run is cancelled or has ended."""

LEASE = 300.0
"""How long a slot of a deployment's concurrency limit is held (s), as Prefect's engine does."""

RENEW = 60.0
"""Seconds between two renewals of that lease."""

GRACE = 12.0
"""Seconds that a cancelled flow has to end by itself, after a SIGTERM."""

LINGER = 120.0
"""Seconds that a job may go on after its flow has reported its end."""

AGAIN = 10.0
"""Seconds between two cancellations of a job that does not end."""

EARLY = 60.0
"""Slurm may send its notice so much earlier than it was asked to (s), as sbatch's manual says."""

FINAL = frozenset({"COMPLETED", "FAILED", "CRASHED", "CANCELLED"})
"""Prefect's types of states of runs that have ended."""

TIME_IS_UP = 75
"""Exit status of a flow that has stopped, before its notice, because its job has no time left."""

STOPPED = frozenset({"TIMEOUT", "PREEMPTED"})
"""Slurm's states of jobs that ended through no fault of theirs before they were done."""


@dataclass(frozen=True)
class Job:
    """What Slurm says about the job."""

    state: str
    """In Slurm's words, such as RUNNING; GONE if it no longer knows the job."""
    reason: str = ""
    """Why it waits or has ended, such as Priority."""
    start: str = ""
    """When Slurm expects to start it, if it says so: 2026-11-30T12:00:00."""
    exit_code: int = 0
    """Of the batch script, if it has ended."""
    signal: int = 0
    """That ended the batch script."""
    ran: float | None = None
    """Seconds it ran, if it has ended and Slurm tells."""
    limit: float | None = None
    """Its walltime (s), if it has one."""
    by: str = ""
    """Who cancelled it, as far as is known."""
    progress: bool = False
    """Whether it computed something that the next attempt need not compute again."""

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def waits(self) -> bool:
        return self.state in WAITING


@dataclass(frozen=True)
class Run:
    """What Prefect says about the flow run."""

    type: str
    """Of its state, such as PENDING; DELETED if the server does not know it."""
    lease: UUID | None = None
    """Of the slot of its deployment's concurrency limit."""


@dataclass(frozen=True)
class Report:
    """Tell why the job waits: a state, still of the type PENDING."""

    name: str
    message: str


@dataclass(frozen=True)
class Renew:
    """Go on holding the slot of the deployment's concurrency limit."""

    lease: UUID


@dataclass(frozen=True)
class Terminate:
    """Send SIGTERM to the batch script."""


@dataclass(frozen=True)
class Cancel:
    """Take the job away from Slurm."""


@dataclass(frozen=True)
class Resubmit:
    """Let the flow run be submitted again."""

    message: str


@dataclass(frozen=True)
class Finish:
    """Tell how the flow run ended, and follow the job no longer."""

    type: Literal["CANCELLED", "CRASHED"]
    message: str


@dataclass(frozen=True)
class Forget:
    """Follow the job no longer; its flow run has reported its end, or nobody asks for it."""


Action = Report | Renew | Terminate | Cancel | Resubmit | Finish | Forget


class Follower:
    """The job of one flow run.

    Parameters
    ----------
    job_id
        Of Slurm.
    now
        When it was submitted, or found again (s, on any clock).
    attempt
        How many jobs this flow run has had, this one included.
    attempts
        How many it may have.
    notice
        How long before its walltime the flow is told to stop (s).
    """

    def __init__(
        self, job_id: str, now: float, *, attempt: int = 1, attempts: int = 1, notice: float = 0
    ) -> None:
        self.job_id = job_id
        self.since = now
        self.attempt, self.attempts = attempt, attempts
        self.notice = notice
        self.job: Job | None = None
        """What Slurm said when it last answered."""
        self._urgent = False  # the flow run is cancelled or has ended: the job is about to end
        self._asked: float | None = None  # when Slurm last answered
        self._renewed: float | None = None
        self._reported = ""
        self._told: float | None = None  # when it got a SIGTERM
        self._cancelled: float | None = None  # when it was last cancelled
        self._final: float | None = None  # since when its flow run has ended

    def due(self, now: float) -> bool:
        """Return whether to ask Slurm about this job now."""
        if self.job is not None and self.job.ended:
            return False
        if self._asked is None or self._urgent or now - self.since < YOUNG:
            return True
        return now - self._asked >= SLOW

    def look(self, now: float, job: Job | None, run: Run | None) -> list[Action]:
        """Decide what to do.

        Parameters
        ----------
        now
            Seconds, on the clock of :meth:`__init__`.
        job
            None if Slurm was not asked, or does not answer.
        run
            None if Prefect does not answer: nothing can be told, and the job goes on.
        """
        if job is not None and not (self.job is not None and self.job.ended):
            self.job, self._asked = job, now
        if run is None:
            return []
        self._urgent = run.type in FINAL or run.type in ("CANCELLING", "DELETED")
        if self.job is not None and self.job.ended:
            return [self._end(self.job, run)]
        if run.type in ("CANCELLING", "CANCELLED", "DELETED"):
            return self._cancel(now)
        if run.type in FINAL:
            self._final = now if self._final is None else self._final
            return self._insist(now) if now - self._final >= LINGER else []
        self._final = self._told = self._cancelled = None
        return [*self._renew(now, run), *self._explain(run)]

    def _end(self, job: Job, run: Run) -> Action:
        """Return what the end of the job means."""
        if run.type in FINAL or run.type in ("DELETED", "SCHEDULED", "PAUSED"):
            return Forget()
        if run.type == "CANCELLING":
            return Finish("CANCELLED", endings.cancelled_in_prefect(self.job_id))
        if job.state == "CANCELLED":
            return Finish("CANCELLED", endings.cancelled_in_slurm(self.job_id, job.by))
        if not self._was_stopped(job):
            why = endings.ended(self.job_id, job.state, job.exit_code, job.signal, job.reason)
            return Finish("CRASHED", why)
        why = endings.stopped(self.job_id, job.state, job.limit)
        if not job.progress:
            return Finish("CRASHED", endings.no_progress(why))
        if self.attempt >= self.attempts:
            return Finish("CRASHED", endings.too_often(why, self.attempts))
        return Resubmit(endings.again(why, self.attempt + 1, self.attempts))

    def _was_stopped(self, job: Job) -> bool:
        if job.state in STOPPED or (job.state == "FAILED" and job.exit_code == TIME_IS_UP):
            return True
        if job.state not in ("COMPLETED", "FAILED") or job.ran is None or job.limit is None:
            return False
        # It ended after its notice, and its flow has said nothing.
        return job.ran >= job.limit - self.notice - EARLY

    def _cancel(self, now: float) -> list[Action]:
        if self.job is None or self.job.waits:  # nothing runs that could end by itself
            return self._insist(now)
        if self._told is None:
            self._told = now
            return [Terminate()]
        return self._insist(now) if now - self._told >= GRACE else []

    def _insist(self, now: float) -> list[Action]:
        if self._cancelled is not None and now - self._cancelled < AGAIN:
            return []
        self._cancelled = now
        return [Cancel()]

    def _renew(self, now: float, run: Run) -> list[Action]:
        if run.type != "PENDING" or run.lease is None:  # once it runs, Prefect's engine does
            return []
        if self._renewed is not None and now - self._renewed < RENEW:
            return []
        self._renewed = now
        return [Renew(run.lease)]

    def _explain(self, run: Run) -> list[Action]:
        if run.type != "PENDING" or self.job is None or not self.job.waits:
            return []
        name = endings.waiting_name(self.job.reason)
        if name == self._reported:
            return []
        self._reported = name
        message = endings.waiting(self.job_id, self.job.state, self.job.reason, self.job.start)
        return [Report(name, message)]
