"""``make_runner``: Prefect task runners whose workers only compute."""

from __future__ import annotations

import os
from typing import Any, cast

from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner
from prefect.utilities.importtools import from_qualified_name

from quacc.cluster.batch import BatchCluster
from quacc.cluster.cores import usable_cores
from quacc.cluster.jobqueue import JobQueueCluster
from quacc.cluster.keywords import KEYS, NANNY_PRELOAD, PRELOAD, batch_keywords
from quacc.cluster.scheduler import WorkLocalCluster
from quacc.cluster.slurm_cluster import SlurmCluster
from quacc.errors import ParameterError, require_count, require_positive
from quacc.prefect.daskrunner import DaskRunner

_QUIET = """
import logging

# Without this, workers print tracebacks about the scheduler that went away before them, also as
# errors if that was in the middle of a heartbeat. What goes wrong in a job arrives in the flow
# anyway.
logging.getLogger("distributed.worker").setLevel(logging.CRITICAL)
logging.getLogger("distributed.worker.state_machine").setLevel(logging.ERROR)
"""
"""What a worker process on this machine runs, too."""


def make_runner(
    cluster_kwargs: dict[str, Any] | None = None,
    *,
    site: str | os.PathLike[str] | None = None,
    inside_allocation: bool = False,
    cluster_class: Any = None,
    adapt_kwargs: dict[str, Any] | None = None,
    min_jobs: int | None = None,
    max_jobs: int | None = None,
    pending_timeout: float | None = None,
    worker_timeout: float = 300.0,
    secure: bool = True,
    **changes: Any,
) -> TaskRunner[PrefectFuture[Any]]:
    """Return a Prefect task runner that computes on Dask workers.

    Nothing starts, and nothing is submitted, before a flow that uses the runner does. Without
    ``cluster_kwargs`` or ``site``, the workers are processes on this machine, one a core.

    Parameters
    ----------
    cluster_kwargs
        Of ``dask_jobqueue.SLURMCluster``: ``n_workers`` (the number of Slurm jobs), ``cores``,
        ``memory``, ``account``, ``walltime``, ``job_mem``, ``job_script_prologue``,
        ``job_directives_skip``, ``job_extra_directives``, ``python``, and all others of
        dask-jobqueue's documentation. They win over the site's.
    site
        Name or file of a site's profile; see :mod:`quacc.sites.profile`.
    inside_allocation
        Compute on the nodes of the Slurm job that the flow itself runs in; of the site, only the
        launcher and the network interface matter then.
    cluster_class
        Another cluster class, or its full name.
    adapt_kwargs
        Of ``cluster.adapt``, such as ``{"minimum_jobs": 1, "maximum_jobs": 10}``, instead of
        ``min_jobs`` and ``max_jobs``.
    min_jobs, max_jobs
        The number of batch jobs follows the work between these; the site's, or ``n_workers``.
    pending_timeout
        Fail when there is no worker and jobs have been waiting in the queue for so long (s).
        None waits as long as it takes.
    worker_timeout
        A job that runs but brings no worker for so long (s) is given up.
    secure
        Scheduler and workers speak TLS, with certificates made for this run. Without it,
        everybody on the network can make them run anything.
    **changes
        Fields of the site's profile to change, such as ``walltime="02:00:00"``.

    Raises
    ------
    ParameterError, SettingsError
        A keyword is unknown, or required ones are missing.
    """
    require_positive(worker_timeout=worker_timeout)
    if pending_timeout is not None:
        require_positive(pending_timeout=pending_timeout)
    kwargs = dict(cluster_kwargs or {})
    settings: dict[str, Any] = {}
    usual = (0, 1)  # jobs
    if changes and site is None:
        raise ParameterError(
            f"make_runner has no keyword {next(iter(changes))!r}; fields of a site's profile can "
            "be changed where a site is given."
        )
    if site is not None:
        from quacc.sites.profile import load_site

        profile = load_site(site).with_changes(**changes)
        settings = {"launcher": profile.launcher_command()}
        usual = (profile.min_jobs, profile.max_jobs)
    if inside_allocation:
        from quacc.cluster.allocation import AllocationCluster

        cluster_class = AllocationCluster
        interface = {"interface": profile.interface} if site is not None else {}
        ours = {"secure": secure, "shared_temp_directory": KEYS}
        kwargs = interface | ours | kwargs
    elif site is not None:
        kwargs = profile.cluster_kwargs(kwargs)
        cluster_class = profile.cluster_class
    elif cluster_class is None and cluster_kwargs is not None:
        cluster_class = SlurmCluster
    if isinstance(cluster_class, str):
        cluster_class = from_qualified_name(cluster_class)
    batch = cluster_class is not None and issubclass(cluster_class, JobQueueCluster)
    for_jobs = {"min_jobs": min_jobs, "max_jobs": max_jobs, "pending_timeout": pending_timeout}
    for name, value in for_jobs.items():
        if value is not None and not batch:
            raise ParameterError(
                f"{name} is for batch jobs, which this runner does not submit. Name a site, or "
                "give cluster_kwargs."
            )
    if cluster_class is None:
        cluster_class, kwargs = WorkLocalCluster, _local(secure) | kwargs
    elif batch:
        jobs = kwargs.pop("n_workers", None)
        kwargs = batch_keywords(cluster_class, kwargs)
        if not secure:
            kwargs["security"] = None
        if issubclass(cluster_class, BatchCluster):
            kwargs["pending_timeout"] = pending_timeout
        if cluster_class is SlurmCluster:
            kwargs["worker_timeout"] = worker_timeout
        if not adapt_kwargs:  # nothing at all would wait for ever
            adapt_kwargs = _jobs(min_jobs, max_jobs, (jobs, jobs) if jobs is not None else usual)
    runner = DaskRunner(
        cluster_class=cluster_class,
        cluster_kwargs=kwargs,
        adapt_kwargs=adapt_kwargs,
        worker_settings=settings,
    )
    # As Prefect's flows want to have it.
    return cast(TaskRunner[PrefectFuture[Any]], runner)


def _jobs(least: int | None, most: int | None, usual: tuple[int, int]) -> dict[str, int]:
    """Return the keywords of ``adapt``: what was asked for, or what is usual."""
    most = usual[1] if most is None else most
    require_count(max_jobs=most)
    least = min(usual[0], most) if least is None else least
    require_count(minimum=0, min_jobs=least)
    if least > most:
        raise ParameterError(f"min_jobs={least} is more than max_jobs={most}.")
    return {"minimum_jobs": least, "maximum_jobs": most}


def _local(secure: bool) -> dict[str, Any]:
    return {
        "n_workers": usable_cores(),
        "threads_per_worker": 1,
        "host": "127.0.0.1",
        "dashboard_address": "127.0.0.1:0",
        # Others on this machine can reach the loopback, and a scheduler runs whatever it is
        # sent: TLS with certificates made for this run keeps them out.
        "security": True if secure else None,
        "preload": [PRELOAD, _QUIET],
        "preload_nanny": [NANNY_PRELOAD],
    }
