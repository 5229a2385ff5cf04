"""Runs whose process was killed: the next flow on the same machine reports their end.

A process that is killed reports nothing, and Prefect shows its runs as running for ever. So every
run carries the process that it lives in.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import State, StateType
from prefect.client.schemas.sorting import FlowRunSort, TaskRunSort
from prefect.states import Crashed

from quacc.cluster import slurm
from quacc.cluster.processes import is_dead, signature

_OPEN = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
_MOST = 200
_MARK = "quacc:"


def sign(client: SyncPrefectClient, runs: Iterable[UUID]) -> None:
    """Write into flow runs that they live in this process."""
    for run in runs:
        client.update_flow_run(run, infrastructure_pid=_MARK + signature())


def report_dead(client: SyncPrefectClient) -> None:
    """Report the end of runs of this machine whose process is gone, and end their Slurm jobs."""
    is_open = FlowRunFilterState(type=FlowRunFilterStateType(any_=_OPEN))
    runs = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(state=is_open), sort=FlowRunSort.ID_DESC, limit=_MOST
    )
    state: State[Any] = Crashed(message="The process that ran it was killed.")
    for run in runs:
        mark, _, process = (run.infrastructure_pid or "").partition(":")
        if f"{mark}:" != _MARK or not is_dead(process):
            continue
        slurm.cancel_named(slurm.tag_of(process))
        tasks = client.read_task_runs(
            flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run.id])),
            task_run_filter=TaskRunFilter(
                state=TaskRunFilterState(type=TaskRunFilterStateType(any_=_OPEN))
            ),
            sort=TaskRunSort.NAME_ASC,
            limit=_MOST,
        )
        for task in tasks:
            client.set_task_run_state(task.id, state, force=True)
        client.set_flow_run_state(run.id, state, force=True)
