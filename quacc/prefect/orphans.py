"""Runs whose process was killed: the next flow on the same machine reports their end.

A process that is killed reports nothing, and Prefect shows its runs as running for ever. So every
run carries the process that it lives in.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import psutil
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
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort, TaskRunSort
from prefect.states import Crashed

_OPEN = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
_MOST = 200


def sign(client: SyncPrefectClient, runs: Iterable[UUID]) -> None:
    """Write into flow runs that they live in this process."""
    for run in runs:
        client.update_flow_run(run, infrastructure_pid=f"{_here()}{os.getpid()}:{_born()}")


def report_dead(client: SyncPrefectClient) -> None:
    """Report the end of runs of this machine whose process is gone."""
    is_open = FlowRunFilterState(type=FlowRunFilterStateType(any_=_OPEN))
    runs = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(state=is_open), sort=FlowRunSort.ID_DESC, limit=_MOST
    )
    state: State[Any] = Crashed(message="The process that ran it was killed.")
    for run in runs:
        if not _is_dead(run):
            continue
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


def _is_dead(run: FlowRun) -> bool:
    signature = run.infrastructure_pid or ""
    if not signature.startswith(_here()):
        return False
    pid, born = signature.removeprefix(_here()).split(":")
    # A number is given again to other processes.
    return not psutil.pid_exists(int(pid)) or _born(int(pid)) != born


def _here() -> str:
    return f"quacc:{platform.node()}:"


def _born(pid: int | None = None) -> str:
    try:
        return f"{psutil.Process(pid).create_time():.0f}"
    except psutil.NoSuchProcess:
        return "gone"
