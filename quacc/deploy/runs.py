"""Runs of deployments: start one, wait for it, and end them all."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.states import Cancelled, Cancelling
from prefect.utilities.urls import url_for

from quacc.deploy.connection import DeploymentError
from quacc.deploy.deployments import PAGE, Deployment, read
from quacc.errors import InputError, MissingProgramError
from quacc.recipes.tools.workflow import check_workflow

_GOING_ON = (StateType.PENDING, StateType.RUNNING, StateType.CANCELLING, StateType.PAUSED)
_LOOK = 1.0
"""Seconds between two looks at a run."""
_UNSEEN = 60.0
"""Seconds after which a run that never began is taken for one that its worker has let go.

Prefect's workers let go of a run that is cancelled while they submit it, and leave it Cancelling.
"""


def run(
    client: SyncPrefectClient, one: Deployment, parameters: Mapping[str, Any]
) -> tuple[UUID, str | None]:
    """Start a run with these parameters above those of the deployment; return its id and page.

    Raises
    ------
    InputError
        The workflow would refuse the parameters; no run was made.
    DeploymentError
        The server refused, or has other parameters.
    """
    given = {**one.stored.parameters, **parameters}
    arguments = one.form.arguments(given)
    with suppress(MissingProgramError):  # the worker may have it
        check_workflow(one.form.serial, **arguments)
    made = client.create_flow_run_from_deployment(one.stored.id, parameters=dict(parameters))
    stored = client.read_flow_run(made.id)
    if stored.parameters != given:
        raise DeploymentError(f"The flow run {made.id} has other parameters: {stored.parameters}.")
    return made.id, url_for("flow-run", obj_id=made.id)


def wait(client: SyncPrefectClient, run_id: UUID, tell: Callable[[State[Any]], None]) -> State[Any]:
    """Wait until a run has ended; return its last state. ``tell`` gets each new one."""
    last = None
    while True:
        state = client.read_flow_run(run_id).state
        if state is not None and state.id != last:
            last = state.id
            tell(state)
            if state.is_final():
                return state
        time.sleep(_LOOK)


def workers(client: SyncPrefectClient, pool: str) -> int:
    """Return how many workers look into a work pool."""
    found = client.read_workers_for_work_pool(pool)
    return sum(one.status is None or str(one.status.value) == "ONLINE" for one in found)


def pause(client: SyncPrefectClient, one: Deployment, *, paused: bool) -> None:
    """Let the schedule start no more runs, or let it start them again.

    Raises
    ------
    DeploymentError
        The server did not do it.
    """
    change = client.pause_deployment if paused else client.resume_deployment
    change(one.stored.id)
    if client.read_deployment(one.stored.id).paused is not paused:
        raise DeploymentError(f"The Prefect server did not {'pause' if paused else 'resume'} it.")


def stop(client: SyncPrefectClient, one: Deployment, patience: float) -> int:
    """Pause a deployment and cancel all its runs; return how many there were.

    Raises
    ------
    DeploymentError
        Some have not ended after so long (s).
    """
    pause(client, one, paused=True)
    ended: dict[UUID, float] = {}
    end = time.monotonic() + patience
    while going := _runs(client, one.stored.id, (StateType.SCHEDULED, *_GOING_ON)):
        for flow_run in going:
            since = ended.setdefault(flow_run.id, time.monotonic())
            if flow_run.state_type != StateType.CANCELLING:  # or not any more
                client.set_flow_run_state(flow_run.id, Cancelling())
            elif flow_run.start_time is None and time.monotonic() - since > _UNSEEN:
                client.set_flow_run_state(flow_run.id, Cancelled())
        if time.monotonic() > end:
            raise DeploymentError(
                f"{len(going)} runs have not ended after {patience:g} s: "
                f"{', '.join(one.name for one in going)}. Is their worker running? They end when "
                "it sees them; `quacc deployment stop` waits again."
            )
        time.sleep(_LOOK)
    return len(ended)


def remove(client: SyncPrefectClient, one: Deployment) -> None:
    """Delete a deployment, its schedule, and the runs that wait for a worker.

    Raises
    ------
    InputError
        Some of its runs are going on.
    DeploymentError
        Something of it is left.
    """
    if going := _runs(client, one.stored.id, _GOING_ON):
        raise InputError(
            f"{len(going)} runs of {one.name} are going on. End them with `quacc deployment stop "
            f"{one.name}`, or wait for them."
        )
    client.delete_deployment(one.stored.id)
    left = _runs(client, one.stored.id, (StateType.SCHEDULED,))
    for flow_run in left:  # such as those that wait for a free slot
        client.set_flow_run_state(flow_run.id, Cancelling())
    left = _runs(client, one.stored.id, (StateType.SCHEDULED, *_GOING_ON))
    if left or read(client, one.name) is not None:
        raise DeploymentError(
            f"The Prefect server still has {one.name}, or {len(left)} runs of it."
        )


def _runs(client: SyncPrefectClient, deployment_id: UUID, kinds: tuple[Any, ...]) -> list[FlowRun]:
    return client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            deployment_id=FlowRunFilterDeploymentId(any_=[deployment_id]),
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[*kinds])),
        ),
        limit=PAGE,
    )
