"""What clusters of batch jobs are told, and the job script that comes of it."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Mapping
from typing import Any

from quacc.errors import ParameterError, suggest
from quacc.prefect import slurm
from quacc.prefect.cluster import SlurmCluster
from quacc.prefect.jobqueue import Job, JobQueueCluster, SLURMCluster

PRELOAD = "quacc.prefect.worker"
"""What every worker loads first."""

KEYS = "~/.cache/quacc"
"""Where the certificates of all runs are, each in a folder of its own."""


def batch_keywords(
    cluster_class: type[JobQueueCluster], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the keywords of a cluster of batch jobs: those given, and what quacc adds.

    Raises
    ------
    ParameterError
        A keyword is unknown, or required ones are missing.
    """
    _check_keywords(cluster_class, given)
    kwargs = dict(given)
    kwargs.setdefault("job_name", "quacc")
    # A calculation at a time in each process: they share no interpreter lock, and one that
    # kills its process kills nothing else.
    kwargs.setdefault("processes", kwargs["cores"])
    kwargs["worker_extra_args"] = [
        *kwargs.get("worker_extra_args", []),
        "--no-dashboard",
        "--dashboard-address",  # it listens nevertheless, and would let everybody look
        "127.0.0.1:0",
        "--preload",
        PRELOAD,
    ]
    # The scheduler runs whatever it is sent, and listens on the cluster's network.
    kwargs.setdefault("security", True)
    kwargs.setdefault("shared_temp_directory", KEYS)
    kwargs["job_script_prologue"] = [
        *kwargs.get("job_script_prologue", []),
        *_tell_end(kwargs.get("walltime"), ask_slurm=issubclass(cluster_class, SLURMCluster)),
    ]
    kwargs["scheduler_options"] = {
        "dashboard_address": "127.0.0.1:0",
        **kwargs.get("scheduler_options", {}),
    }
    return kwargs


def _tell_end(walltime: Any, *, ask_slurm: bool) -> list[str]:
    """Return shell lines that tell the workers when their job ends, and nobody else's job."""
    known = isinstance(walltime, str)
    end = f"$(( $(date +%s) + {slurm.walltime_seconds(walltime)} ))" if known else ""
    if not ask_slurm:
        return [f"export _QUACC_JOB_END={end}"]
    # Few versions of Slurm tell a job its end, which may be earlier than it was asked for.
    return [
        '_quacc_end=$(squeue -h -o %e -j "$SLURM_JOB_ID" 2> /dev/null)',
        f'export _QUACC_JOB_END=$(date +%s -d "${{_quacc_end:-none}}" 2> /dev/null || echo {end})',
    ]


def job_script(
    cluster_kwargs: Mapping[str, Any], cluster_class: type[JobQueueCluster] = SlurmCluster
) -> str:
    """Return the job script that ``make_runner`` would submit, without submitting it.

    In its last line, the scheduler's address and the worker's name are filled in for each job,
    and the paths of the run's certificates are added.
    """
    job_class: Any = cluster_class.job_cls
    kwargs = batch_keywords(cluster_class, cluster_kwargs)
    mine = {
        name for base in job_class.__mro__ if issubclass(base, Job) for name in _parameters(base)
    }
    logs = kwargs.pop("log_directory", None) or "<results_dir>/slurm-logs"
    job_kwargs = {
        name: value for name, value in kwargs.items() if name in mine and name != "security"
    }
    with tempfile.TemporaryDirectory() as existing:  # dask-jobqueue would make the folder
        job = job_class("tls://<scheduler>", name="<worker>", log_directory=existing, **job_kwargs)
        script: str = job.job_script()
    return script.replace(existing, str(logs))


def _check_keywords(cluster_class: type[JobQueueCluster], given: Mapping[str, Any]) -> None:
    known = {
        name
        for base in (*cluster_class.__mro__, *cluster_class.job_cls.__mro__)
        if issubclass(base, JobQueueCluster | Job)
        for name in _parameters(base)
    }
    known -= {"asynchronous", "loop", "scheduler", "scheduler_cls", "job_cls"}
    known -= {"submitted", "refused", "pending_timeout", "worker_timeout"}
    for name in given:
        if name not in known:
            raise ParameterError(
                f"Unknown keyword {name!r} in cluster_kwargs.{suggest(name, known)} "
                f"dask-jobqueue knows {', '.join(sorted(known))}."
            )
    missing = [name for name in ("cores", "memory") if name not in given]
    if missing:
        raise ParameterError(
            f"cluster_kwargs lacks {' and '.join(missing)}: the cores and memory of one batch "
            "job, such as 'cores': 4, 'memory': '16GB'."
        )


def _parameters(base: type) -> set[str]:
    made = vars(base).get("__init__")
    if made is None:
        return set()
    parameters = inspect.signature(made).parameters.items()
    return {name for name, one in parameters if one.kind is not one.VAR_KEYWORD} - {"self"}
