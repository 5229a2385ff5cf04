"""A Prefect worker whose flow runs are Slurm jobs: ``prefect worker start --pool POOL``."""

from __future__ import annotations

import asyncio
import os
import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx
from prefect.exceptions import InfrastructureNotFound, ObjectNotFound
from prefect.states import Pending
from prefect.workers.base import BaseWorker

from quacc.cluster import slurm
from quacc.cluster.pool import ENDED
from quacc.cluster.slurm_env import for_sbatch
from quacc.cluster.slurm_job import script_options
from quacc.deploy import batch_job, endings
from quacc.deploy.follow import FINAL, LEASE, Finish, Run
from quacc.deploy.following import Following, as_run
from quacc.deploy.records import Record, Records
from quacc.deploy.slurm_fields import SlurmConfiguration, SlurmResult, SlurmVariables
from quacc.deploy.wishes import wishes
from quacc.errors import MissingProgramError, ParameterError, SettingsError, SubmissionError
from quacc.settings import get_settings

if TYPE_CHECKING:
    import anyio.abc
    from prefect.client.schemas.objects import FlowRun
    from prefect.client.schemas.responses import WorkerFlowRunResponse

_DOUBT = 30.0
"""How long a pending run that no worker has put its name to may be another's (s)."""

_WAIT = (5.0, 60.0)
"""Seconds between two tries to submit a job to a Slurm that does not answer: the first, most."""


class SlurmWorker(BaseWorker[SlurmConfiguration, SlurmVariables, SlurmResult]):
    """Submits each flow run as one Slurm job, and follows it to its end.

    It runs on a login node. Jobs go on without it; the next worker of the same pool and person
    follows them again. What it knows of them is in ``results_dir/prefect-jobs``.
    """

    type = "slurm"
    job_configuration = SlurmConfiguration
    job_configuration_variables = SlurmVariables

    _description = "Run each flow run as a Slurm job, submitted with sbatch on a login node."
    _display_name = "Slurm (quacc)"

    _records: Records | None = None

    async def setup(self) -> None:
        """Prepare the worker.

        Raises
        ------
        MissingProgramError
            There is no Slurm here.
        """
        if shutil.which("sbatch") is None:
            raise MissingProgramError(
                "There is no program sbatch here. Start the worker on a login node, with Slurm's "
                "programs in PATH."
            )
        self._following = Following(lambda: self.client, self._logger)
        self._again: set[UUID] = set()  # submitted by this worker in the place of another
        await super().setup()

    async def teardown(self, *exc_info: Any) -> None:
        """End the worker; jobs go on."""
        if self._records is not None:
            self._records.leave()
        await super().teardown(*exc_info)

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """Submit what is scheduled, and follow what another worker has left.

        A server that is away ends Prefect's own workers after some minutes, but not this one.
        """
        try:
            await self._adopt()
            submitted = await super().get_and_submit_flow_runs()
        except httpx.HTTPError as error:
            self._following.trouble("Prefect", error)
            return []
        self._following.trouble("Prefect", None)
        return submitted

    async def _sync_and_initialize(self) -> None:
        try:
            await super()._sync_and_initialize()
        except httpx.HTTPError as error:
            if isinstance(error, httpx.HTTPStatusError) and not error.response.is_server_error:
                raise
            self._following.trouble("Prefect", error)

    async def _get_scheduled_flow_runs(self) -> list[WorkerFlowRunResponse]:
        if self._limit is None:
            return await super()._get_scheduled_flow_runs()
        # Prefect counts what this process has submitted, not what it has found.
        going_on = {*self._following.jobs, *self._again, *self._submitting_flow_run_ids}
        free = self._limit - len(going_on)
        return (await super()._get_scheduled_flow_runs())[:free] if free > 0 else []

    async def _submit_run(self, flow_run: FlowRun) -> None:
        # Before Prefect knows that it is about to be submitted: otherwise a worker that is killed
        # now would leave it pending for ever.
        try:
            if self._the_records().claim(flow_run.id, self.name) is not None:
                await super()._submit_run(flow_run)
                return
        except httpx.HTTPError as error:  # it is looked at again
            self._following.trouble("Prefect", error)
        self._release_limit_slot(flow_run.id)
        self._submitting_flow_run_ids.discard(flow_run.id)

    async def _propose_pending_state(self, flow_run: FlowRun) -> bool:
        ready = await super()._propose_pending_state(flow_run)
        if not ready:  # no slot is free, or somebody else's worker was faster
            record = self._the_records().claim(flow_run.id, self.name)
            if record is not None and record.attempt == 0:
                record.remove()
        return ready

    async def run(
        self,
        flow_run: FlowRun,
        configuration: SlurmConfiguration,
        task_status: anyio.abc.TaskStatus[Any] | None = None,
    ) -> SlurmResult:
        """Submit a flow run, and follow its job to the end."""
        if flow_run.id not in self._following.jobs:
            record = self._the_records().claim(flow_run.id, self.name)
            try:
                submitted = record is not None and await self._job_of(
                    flow_run, configuration, record
                )
            except httpx.HTTPError as error:  # still pending, it is looked at again
                self._following.trouble("Prefect", error)
                submitted = False
            if record is None or not submitted:
                if task_status is not None:
                    task_status.started(None)
                return SlurmResult(identifier="", status_code=0)
            self._follow(record, flow_run)
        followed = self._following.jobs[flow_run.id]
        if task_status is not None:
            task_status.started(followed.record.job)
        await followed.over.wait()
        return SlurmResult(identifier=followed.record.job, status_code=0)

    async def kill_infrastructure(
        self, infrastructure_pid: str, configuration: SlurmConfiguration, grace_seconds: int = 30
    ) -> None:
        """Cancel a job."""
        if not infrastructure_pid.isdecimal():
            raise InfrastructureNotFound(f"{infrastructure_pid!r} is no Slurm job.")
        await slurm.cancel([infrastructure_pid])

    async def _cancel_run(self, flow_run_id: UUID) -> None:
        """Do nothing: whoever follows the job reads the state, and does it."""

    def _the_records(self) -> Records:
        if self._records is None:
            folder = get_settings().results_dir / "prefect-jobs" / str(self.work_pool.id)
            self._records = Records(folder)
        return self._records

    def _follow(self, record: Record, flow_run: FlowRun) -> None:
        assert self._runs_task_group is not None
        self._following.add(record, self.get_flow_run_logger(flow_run))
        self._runs_task_group.start_soon(self._following.watch)

    async def _job_of(
        self, flow_run: FlowRun, configuration: SlurmConfiguration, record: Record
    ) -> bool:
        """Let the flow run have a job; return whether it has one."""
        if await self._find(record, living=True):
            return True
        try:
            wanted = wishes(configuration)
        except (ParameterError, SettingsError) as error:
            await self._following.finish(record, Finish("CRASHED", str(error)))
            return False
        never = not record.job and record.credentials.exists()  # the last was not submitted
        if not record.attempt or not never:
            record.attempt += 1
        record.job = ""
        name = batch_job.job_name(flow_run.name, record)
        record.attempts = configuration.attempts
        record.notice = batch_job.notice_before(wanted.walltime)
        record.log = str(wanted.logs / f"{name}.log")
        record.completed = await self._following.completed(flow_run.id)
        script = batch_job.write(wanted, record, name, configuration.env)
        record.save()
        environment, _ = for_sbatch(os.environ, script_options(script.read_text()))
        pause, most = _WAIT
        while True:
            run = await self._state(flow_run.id)
            if run is not None and run.type in (*FINAL, "CANCELLING", "DELETED"):
                return await self._end_unsubmitted(record, run)
            try:
                record.job = await slurm.submit(script, environment)
            except SubmissionError as error:
                if not slurm.can_pass(str(error)):
                    why = endings.refused(str(error))
                    await self._following.finish(record, Finish("CRASHED", why))
                    return False
                await self._say_waiting(flow_run.id, run, str(error))
                await asyncio.sleep(pause)
                pause = min(2 * pause, most)
                if slurm.is_unanswered(str(error)) and await self._find(record):
                    return True
            else:
                record.save()
                self.get_flow_run_logger(flow_run).info(
                    "Slurm job %s, which prints to %s", record.job, record.log
                )
                return True

    async def _end_unsubmitted(self, record: Record, run: Run) -> bool:
        if run.type == "CANCELLING":
            message = "The flow run was cancelled before its job was submitted."
            await self._following.finish(record, Finish("CANCELLED", message))
        else:
            record.remove()
        return False

    async def _say_waiting(self, flow_run: UUID, run: Run | None, why: str) -> None:
        message = f"The job is submitted when Slurm takes it. It says: {why}"
        try:
            await self._following.tell(flow_run, Pending(name="Waiting for Slurm", message=message))
            if run is not None and run.lease is not None:
                await self.client.renew_concurrency_lease(run.lease, LEASE)
        except httpx.HTTPError as error:
            self._following.trouble("Prefect", error)

    async def _state(self, flow_run: UUID) -> Run | None:
        runs = await self._following.ask_prefect([flow_run])
        return None if runs is None else runs[flow_run]

    async def _find(self, record: Record, *, living: bool = False) -> bool:
        """Look for the record's last job by its name; return whether it is there."""
        while True:
            try:
                listed = await slurm.mine()
                break
            except OSError as error:
                self._following.trouble("Slurm", error)
                await asyncio.sleep(_WAIT[0])
        return _note(record, listed, living=living)

    async def _adopt(self) -> None:
        """Follow the jobs of workers that are gone, and submit what they could not any more."""
        if self._work_pool is None:
            return
        records = self._the_records()
        records.beat()
        ours = {*self._following.jobs, *self._again, *self._submitting_flow_run_ids}
        left = [record for record in records.abandoned() if record.run not in ours]
        if not left:
            return
        try:
            listed = await slurm.mine()
        except OSError as error:
            self._following.trouble("Slurm", error)
            return
        for record in left:
            await self._adopt_one(records, record, listed)

    async def _adopt_one(
        self, records: Records, record: Record, listed: list[slurm.Listed]
    ) -> None:
        assert self._runs_task_group is not None
        try:
            flow_run = await self.client.read_flow_run(record.run)
        except ObjectNotFound:
            await slurm.cancel([one.id for one in listed if one.name.endswith(record.suffix)])
            record.remove()
            return
        run = as_run(flow_run)
        if not _note(record, listed, living=run.type == "SCHEDULED"):
            if run.type == "SCHEDULED":  # Prefect hands it out again
                return
            if not record.job and (record.attempt == 0 or record.credentials.exists()):
                if record.attempt == 0 and not _is_ours(record, flow_run):
                    return
                if run.type == "PENDING":
                    self._again.add(record.run)
                    self._runs_task_group.start_soon(self._submit_again, flow_run)
                else:
                    await self._end_unsubmitted(record, run)
                return
        if (claimed := records.claim(record.run, self.name)) is None:
            return
        record = claimed
        self._follow(record, flow_run)
        self._logger.info("Following Slurm job %s of %r again.", record.job, flow_run.name)
        if record.job and flow_run.infrastructure_pid != record.job:
            await self.client.update_flow_run(record.run, infrastructure_pid=record.job)

    async def _submit_again(self, flow_run: FlowRun) -> None:
        try:
            await self._submit_run_and_capture_errors(flow_run)
        finally:
            self._again.discard(flow_run.id)


def _is_ours(record: Record, flow_run: FlowRun) -> bool:
    """Return whether a pending run waits for one of this person's workers, which was killed.

    Others may have workers for the same pool, and Prefect gives each run to one of them.
    """
    by = flow_run.labels.get("prefect.worker.name")
    if by is None:  # a worker says it some moments later
        state = flow_run.state
        return state is not None and (datetime.now(UTC) - state.timestamp).total_seconds() > _DOUBT
    if by in record.workers:
        return True
    record.remove()
    return False


def _note(record: Record, listed: list[slurm.Listed], *, living: bool) -> bool:
    """Write the id of a record's last job into it, if the queue has it; return whether it does."""
    for one in listed:
        if one.name.endswith(f".{record.suffix}") and not (living and one.state.state in ENDED):
            record.job = one.id
            record.save()
            return True
    return False
