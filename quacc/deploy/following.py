"""Follows the jobs of a worker: asks Slurm and Prefect, and does what the follower decides."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Crashed, Pending, Scheduled

from quacc.cluster import slurm
from quacc.cluster.pool import ENDED
from quacc.deploy import endings
from quacc.deploy.follow import (
    LEASE,
    Action,
    Cancel,
    Finish,
    Follower,
    Forget,
    Job,
    Renew,
    Report,
    Resubmit,
    Run,
    Terminate,
)
from quacc.deploy.records import Record
from quacc.settings import get_settings

Log = logging.Logger | logging.LoggerAdapter[Any]

PERIOD = 5.0
"""Seconds between two polls."""

_PAGE = 200
"""Flow runs that Prefect's API returns at once."""


@dataclass
class Followed:
    """One flow run's job."""

    record: Record
    follower: Follower
    logger: Log
    """Of the flow run."""
    over: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it is followed no longer."""


class Following:
    """All jobs that one worker follows.

    Parameters
    ----------
    client
        Returns that of the worker.
    logger
        Of the worker.
    """

    def __init__(self, client: Callable[[], PrefectClient], logger: Log) -> None:
        self.jobs: dict[UUID, Followed] = {}
        self._client = client
        self._logger = logger
        self._troubles: dict[str, str] = {}
        self._running = False

    def add(self, record: Record, logger: Log) -> Followed:
        """Follow a job from now on; :meth:`watch` must run."""
        follower = Follower(
            record.job,
            time.monotonic(),
            attempt=record.attempt,
            attempts=record.attempts,
            notice=record.notice,
        )
        followed = self.jobs[record.run] = Followed(record, follower, logger)
        return followed

    async def watch(self) -> None:
        """Follow the jobs until there are none; returns at once where another call does."""
        if self._running:
            return
        self._running = True
        try:
            while self.jobs:
                await self.poll()
                await asyncio.sleep(PERIOD)
        finally:
            self._running = False

    async def poll(self) -> None:
        """Look at all jobs once."""
        now = time.monotonic()
        followed_now = dict(self.jobs)  # others come while the answers are on their way
        jobs = await self._ask_slurm(now, followed_now)
        # After Slurm: a flow tells its end before its job ends.
        runs = await self.ask_prefect(list(followed_now))
        for run, followed in followed_now.items():
            seen = None if runs is None else runs[run]
            for action in followed.follower.look(now, jobs.get(run), seen):
                try:
                    await self._do(followed, action)
                except (OSError, httpx.HTTPError, ObjectNotFound) as error:
                    followed.logger.warning("%s: %s", type(action).__name__, error)

    def trouble(self, who: str, error: Exception | None) -> None:
        """Say once that somebody does not answer, and once that they do again."""
        if error is not None and who not in self._troubles:
            self._logger.warning("%s does not answer (%s); jobs go on.", who, error)
            self._troubles[who] = str(error)
        elif error is None and self._troubles.pop(who, None) is not None:
            self._logger.warning("%s answers again.", who)

    async def _ask_slurm(self, now: float, jobs: dict[UUID, Followed]) -> dict[UUID, Job]:
        due = {run: one for run, one in jobs.items() if one.follower.due(now)}
        if not due:
            return {}
        try:
            listed = {one.id: one for one in await slurm.mine()}
        except OSError as error:
            self.trouble("Slurm", error)
            return {}
        self.trouble("Slurm", None)
        found = {}
        for run, followed in due.items():
            seen = listed.get(followed.follower.job_id)
            if seen is None or seen.state.state in ENDED:
                if (job := await self._ended(followed)) is not None:
                    found[run] = job
            else:
                found[run] = Job(seen.state.state, seen.state.reason, seen.start)
        return found

    async def _ended(self, followed: Followed) -> Job | None:
        """Return how a job ended that is not among the living; None if nobody answers."""
        record = followed.record
        try:
            kept = await slurm.record(followed.follower.job_id)
            if kept is None:
                return Job("GONE")
            completed = await self.completed(record.run)
        except (OSError, httpx.HTTPError) as error:
            self.trouble("Slurm" if isinstance(error, OSError) else "Prefect", error)
            return None
        log = slurm.tail(Path(record.log))
        return Job(
            endings.true_state(kept.state.state, log),
            kept.state.reason,
            exit_code=kept.exit_code,
            signal=kept.signal,
            ran=kept.ran,
            limit=kept.limit,
            by=kept.by,
            progress=completed > record.completed or _wrote_checkpoint(record.script),
        )

    async def completed(self, run: UUID) -> int:
        """Return how many task runs of a flow run have completed."""
        answer = await self._client().request(
            "POST",
            "/task_runs/count",
            json={
                "flow_runs": {"id": {"any_": [str(run)]}},
                "task_runs": {"state": {"type": {"any_": ["COMPLETED"]}}},
            },
        )
        return int(answer.json())

    async def ask_prefect(self, runs: Sequence[UUID]) -> dict[UUID, Run] | None:
        """Return what Prefect says about flow runs; None if it does not answer."""
        found: dict[UUID, Run] = {}
        try:
            for first in range(0, len(runs), _PAGE):
                some = FlowRunFilterId(any_=list(runs[first : first + _PAGE]))
                read = await self._client().read_flow_runs(
                    flow_run_filter=FlowRunFilter(id=some), limit=_PAGE
                )
                found |= {run.id: as_run(run) for run in read}
            for run in set(runs) - set(found):
                found[run] = await self._read(run)
        except httpx.HTTPError as error:
            self.trouble("Prefect", error)
            return None
        self.trouble("Prefect", None)
        return found

    async def _read(self, run: UUID) -> Run:
        try:
            return as_run(await self._client().read_flow_run(run))
        except ObjectNotFound:
            return Run("DELETED")

    async def _do(self, followed: Followed, action: Action) -> None:
        run, job_id = followed.record.run, followed.follower.job_id
        match action:
            case Report():
                await self.tell(run, Pending(name=action.name, message=action.message))
                followed.logger.info("%s", action.message)
            case Renew():
                await self._client().renew_concurrency_lease(action.lease, LEASE)
            case Terminate():
                followed.logger.info("Cancelling Slurm job %s: SIGTERM.", job_id)
                await slurm.terminate(job_id)
            case Cancel():
                followed.logger.info("Cancelling Slurm job %s.", job_id)
                await slurm.cancel([job_id])
            case Resubmit():
                if await self.tell(run, Scheduled(name="Resubmitted", message=action.message)):
                    followed.logger.warning("%s", action.message)
                    self._leave(followed)
            case Finish():
                if await self.finish(followed.record, action):
                    self._leave(followed)
            case Forget():
                followed.record.remove()
                self._leave(followed)

    async def finish(self, record: Record, finish: Finish) -> bool:
        """Tell how a flow run ended; return whether it has ended."""
        message = finish.message
        if finish.type == "CANCELLED":
            state: State[Any] = Cancelled(message=message)
        else:
            if Path(record.log).is_file():
                message = endings.with_log(message, slurm.tail(Path(record.log)), record.log)
            state = Crashed(message=message)
        if not await self.tell(record.run, state):
            return False  # it has been cancelled since
        record.remove()
        return True

    async def tell(self, run: UUID, state: State[Any]) -> bool:
        """Propose a state that Prefect's rules may refuse; return whether it is the run's now."""
        answer = await self._client().set_flow_run_state(run, state)
        return answer.state is not None and answer.state.type == state.type

    def _leave(self, followed: Followed) -> None:
        del self.jobs[followed.record.run]
        followed.over.set()


def as_run(run: FlowRun) -> Run:
    """Return what matters of a flow run."""
    if run.state is None:
        return Run("PENDING")
    return Run(run.state.type.value, run.state.state_details.deployment_concurrency_lease_id)


def _wrote_checkpoint(script: Path) -> bool:
    """Return whether a calculation has written a checkpoint since a job was submitted."""
    try:
        since = script.stat().st_mtime  # by the clock of the same disk
    except FileNotFoundError:
        return False
    folder = get_settings().results_dir / "checkpoints"
    return any(file.stat().st_mtime > since for file in folder.glob("*") if file.is_file())
