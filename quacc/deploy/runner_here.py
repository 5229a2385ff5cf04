"""The task runner of a deployed flow, which depends on where it runs."""

from __future__ import annotations

import os
from typing import Any

from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner

SITE = "QUACC_SITE"
"""The environment variable with the site whose batch jobs compute what a flow submits."""


class RunnerHere(TaskRunner[PrefectFuture[Any]]):
    """Becomes another task runner when the flow starts.

    One on all nodes of the Slurm job that the flow runs in, if there are several; one that
    submits the batch jobs of the site that the environment names; or one on this machine's cores.
    """

    def duplicate(self) -> Any:
        """Return that runner, which has not been started."""
        from quacc.prefect.runner import make_runner

        site = os.environ.get(SITE) or None
        nodes = int(os.environ.get("SLURM_JOB_NUM_NODES", "1"))
        if nodes > 1:
            return make_runner(site=site, inside_allocation=True)
        return make_runner(site=None if "SLURM_JOB_ID" in os.environ else site)

    def submit(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse: a flow submits to what :meth:`duplicate` returns."""
        raise NotImplementedError
