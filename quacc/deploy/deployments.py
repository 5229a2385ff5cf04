"""Deployments of workflows on a Prefect server, which are read back after each change."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound
from prefect.utilities.urls import url_for

from quacc.deploy.connection import DeploymentError
from quacc.deploy.forms import Form, form
from quacc.deploy.runner_here import SITE
from quacc.deploy.schedules import Schedule, same
from quacc.deploy.workspace import STEPS
from quacc.errors import InputError, suggest

MODULE = "quacc.deploy.entrypoints"


@dataclass(frozen=True)
class Deployment:
    """One deployment of quacc's, as the server has it."""

    flow: str
    stored: DeploymentResponse

    @property
    def name(self) -> str:
        """Its full name, such as eos_flow/eos."""
        return f"{self.flow}/{self.stored.name}"

    @property
    def form(self) -> Form:
        """The form of its workflow."""
        return form(str(self.stored.entrypoint).rpartition(".")[2])

    @property
    def url(self) -> str | None:
        """Its page in the dashboard."""
        return url_for("deployment", obj_id=self.stored.id)


def build(
    client: SyncPrefectClient,
    workflow: str,
    *,
    pool: str,
    queue: str | None = None,
    name: str | None = None,
    site: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    schedule: Schedule | None = None,
) -> tuple[Deployment, list[str]]:
    """Make a deployment, or change it to what is asked for; the same again changes nothing.

    Parameters
    ----------
    workflow
        A workflow or a job, such as eos or relax.
    pool, queue
        The work pool whose workers run it, and a queue in it, which is made if there is none.
    name
        The deployment's own; that of the workflow, if none is given.
    site
        The site whose batch jobs compute; in a pool of type slurm, the site of the jobs.
    parameters
        What the form starts with; with a schedule, all that the workflow needs.
    schedule
        When it runs by itself; None removes a schedule that it had.

    Returns
    -------
    deployment, changes
        Names of what was changed: "new" alone for a new one, none at all if it was so already.

    Raises
    ------
    InputError, SettingsError
        Before anything is changed.
    DeploymentError
        The server has something else in the end.
    """
    asked = form(workflow)
    given = dict(parameters or {})
    asked.check(given, complete=schedule is not None)
    if schedule is not None:
        asked.arguments(given)
    wanted = {
        "entrypoint": f"{MODULE}.{asked.name}",
        "work_pool_name": pool,
        "parameters": given,
        # As it comes back.
        "parameter_openapi_schema": json.loads(json.dumps(asked.schema)),
        "enforce_parameter_schema": True,
        "pull_steps": STEPS,
        "job_variables": _job_variables(client, pool, site),
        "description": (asked.serial.__doc__ or "").strip(),
    }
    flow = f"{asked.name}_flow"
    full = f"{flow}/{name or asked.name}"
    before = read(client, full)
    changes = ["new"] if before is None else _differences(before, wanted, queue, schedule)
    if changes:
        client.create_deployment(
            flow_id=client.create_flow_from_name(flow),
            name=name or asked.name,
            work_queue_name=queue,
            schedules=[DeploymentScheduleCreate(schedule=schedule)] if schedule else [],
            paused=before.paused if before else False,
            **wanted,
        )
    after = read(client, full)
    left = ["itself"] if after is None else _differences(after, wanted, queue, schedule)
    if after is None or left:
        raise DeploymentError(f"The Prefect server does not have, of {full}: {', '.join(left)}.")
    return Deployment(flow, after), changes


def _job_variables(client: SyncPrefectClient, pool: str, site: str | None) -> dict[str, Any]:
    try:
        template = client.read_work_pool(pool).base_job_template
    except ObjectNotFound:
        pools = [one.name for one in client.read_work_pools()]
        raise InputError(
            f"There is no work pool {pool!r}.{suggest(pool, pools)} Make it with `prefect "
            f"work-pool create {pool} --type process`. There are {', '.join(pools) or 'none'}."
        ) from None
    if site is None:
        return {}
    from quacc.sites.profile import load_site

    load_site(site)
    known = template.get("variables", {}).get("properties", {})
    if "site" in known:
        return {"site": site}
    if "env" not in known:
        raise InputError(f"The work pool {pool!r} knows neither sites nor environments.")
    return {"env": {**known["env"].get("default", {}), SITE: site}}


def read(client: SyncPrefectClient, name: str) -> DeploymentResponse | None:
    """Return a deployment by its full name; None if there is none."""
    try:
        return client.read_deployment_by_name(name)
    except ObjectNotFound:
        return None


def _differences(
    stored: DeploymentResponse,
    wanted: Mapping[str, Any],
    queue: str | None,
    schedule: Schedule | None,
) -> list[str]:
    different = [name for name, value in wanted.items() if getattr(stored, name) != value]
    if stored.work_queue_name != (queue or "default"):
        different.append("work_queue_name")
    if not same(schedule, stored.schedules):
        different.append("schedule")
    return different


def deployments(client: SyncPrefectClient, name: str | None = None) -> list[Deployment]:
    """Return all deployments of quacc's, or those of a name such as eos or eos_flow/eos."""
    flow, _, short = (name or "").rpartition("/")
    chosen = DeploymentFilter(name=DeploymentFilterName(any_=[short])) if name else None
    found: list[DeploymentResponse] = []
    while page := client.read_deployments(deployment_filter=chosen, limit=PAGE, offset=len(found)):
        found += page
    ours = [one for one in found if str(one.entrypoint).startswith(f"{MODULE}.")]
    named = [Deployment(client.read_flow(one.flow_id).name, one) for one in ours]
    return sorted((one for one in named if flow in ("", one.flow)), key=lambda one: one.name)


PAGE = 100
"""Deployments, or runs, that are read at a time."""


def deployment(client: SyncPrefectClient, name: str) -> Deployment:
    """Return the deployment of a name such as eos, or eos_flow/eos.

    Raises
    ------
    InputError
        There is none, or several.
    """
    found = deployments(client, name)
    if len(found) > 1:
        listed = ", ".join(one.name for one in found)
        raise InputError(f"There are several deployments {name!r}: {listed}. Give the whole name.")
    if not found:
        known = [one.stored.name for one in deployments(client)]
        raise InputError(
            f"There is no deployment {name!r} of quacc's.{suggest(name, known)} There are "
            f"{', '.join(known) or 'none'}; `quacc deployment build` makes one."
        )
    return found[0]
