"""A campaign as a Prefect flow: its jobs are task runs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from prefect import flow
from prefect.context import FlowRunContext
from prefect.task_runners import TaskRunner

from quacc.campaigns.check import Checked
from quacc.campaigns.run import Outcome, Tell, compute
from quacc.errors import QuaccError
from quacc.prefect.flows import Storing
from quacc.prefect.lifecycle.forgotten import end_also_forgotten
from quacc.prefect.lifecycle.server import prefect_api
from quacc.prefect.runner import make_runner
from quacc.prefect.show.artifacts import show_table
from quacc.settings import change_settings
from quacc.store import Store


class ItemsFailedError(QuaccError):
    """Some items of a campaign did not end well; the others did."""


def run_tracked(
    checked: Checked,
    *,
    task_runner: TaskRunner[Any] | None = None,
    tell: Tell = lambda done, failed, total: None,
) -> Outcome:
    """Run a campaign in a Prefect flow; see :func:`quacc.campaigns.run.run`.

    Parameters
    ----------
    task_runner
        That of :func:`quacc.prefect.make_runner`; None: this machine's cores.
    """
    started = datetime.now(UTC)
    outcomes: list[Outcome] = []

    @flow(
        name="campaign",
        flow_run_name=f"campaign {checked.campaign.file.name}"[:100],
        task_runner=task_runner or make_runner(),
        validate_parameters=False,
    )
    def campaign(file: str, steps: list[str]) -> None:
        if context := FlowRunContext.get():
            end_also_forgotten(context.client)
        store = Store()
        store.check_writable()
        with Storing(store) as storing:
            outcome = compute(checked, storing, tell)
        outcome.problem = storing.cache.problem
        outcomes.append(outcome)
        outcome.note_known(started)
        show_table(outcome.rows(), key="campaign", description="One row a step")
        if outcome.failed:
            raise ItemsFailedError("Some items failed: see the table of this flow run.")

    try:
        with prefect_api(), change_settings():  # a block of settings for all of its threads
            campaign(str(checked.campaign.file), [one.name for one in checked.campaign.steps])
    except ItemsFailedError:  # which the outcome tells
        pass
    return outcomes[0]
