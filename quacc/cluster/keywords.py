"""What clusters of batch jobs are told, and the job script that comes of it."""

from __future__ import annotations

import inspect
import math
import re
import shlex
import tempfile
from collections.abc import Mapping
from datetime import timedelta
from numbers import Integral
from typing import Any

import dask
from dask.utils import parse_timedelta

from quacc.cluster import slurm
from quacc.cluster.jobqueue import Job, JobQueueCluster, LSFJob, PBSJob, SGEJob, SLURMJob
from quacc.cluster.slurm_cluster import SlurmCluster
from quacc.errors import ParameterError, suggest
from quacc.settings import as_environment

PRELOAD = "quacc.cluster.worker"
"""What every worker loads first."""

NANNY_PRELOAD = "quacc.cluster.deaths"
"""What the parent process of every worker loads."""

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
    job_class: Any = cluster_class.job_cls
    kwargs = _from_config(job_class) | dict(given)
    _check_keywords(cluster_class, kwargs)
    if kwargs.get("walltime") is not None:
        kwargs["walltime"] = as_walltime(job_class, kwargs["walltime"])
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
        "--preload-nanny",
        NANNY_PRELOAD,
    ]
    # The user's own Dask file may say otherwise, for other clusters.
    kwargs.setdefault("nanny", True)
    kwargs.setdefault("death_timeout", 60)
    kwargs["worker_command"] = "distributed.cli.dask_worker"
    # The scheduler runs whatever it is sent, and listens on the cluster's network.
    kwargs.setdefault("security", True)
    kwargs.setdefault("shared_temp_directory", KEYS)
    kwargs["job_script_prologue"] = [
        *_tell_end(job_class, kwargs.get("walltime")),
        # Not every queueing system, nor every way to submit, passes the environment on. Lines
        # of the user's own come later, and win.
        *(f"export {name}={shlex.quote(text)}" for name, text in as_environment().items()),
        *kwargs.get("job_script_prologue", []),
    ]
    kwargs["scheduler_options"] = {
        "dashboard_address": "127.0.0.1:0",
        **kwargs.get("scheduler_options", {}),
    }
    return kwargs


def job_seconds(job_class: type[Job], walltime: Any) -> float:
    """Return the walltime of a job as its queueing system reads it (s); infinite if not set."""
    if not isinstance(walltime, str) or walltime.strip().upper() in _NO_LIMIT:
        return math.inf
    if issubclass(job_class, LSFJob) and walltime.count(":") == 1:
        walltime = f"{walltime}:00"  # hours and minutes
    if issubclass(job_class, PBSJob | SGEJob) and walltime.strip().isdecimal():
        return int(walltime)
    return slurm.walltime_seconds(walltime)


_NO_LIMIT = ("UNLIMITED", "INFINITE")


def as_walltime(job_class: type[Job], given: Any) -> str:
    """Return a walltime as the queueing system writes it, from any form that it or Dask takes.

    Parameters
    ----------
    given
        Text in the system's own form, such as ``"1-12:00:00"``, or in Dask's, such as ``"90 min"``;
        a ``timedelta``; or a number, which the system reads as text (Slurm: minutes).

    Raises
    ------
    ParameterError
        It is in none of these forms, or not above zero.
    """
    is_slurm = issubclass(job_class, SLURMJob)
    text = str(given).strip()
    if isinstance(given, str) and is_slurm and text.upper() in _NO_LIMIT:
        return text
    try:
        if isinstance(given, timedelta):
            seconds: float = given.total_seconds()
        elif isinstance(given, Integral) and not isinstance(given, bool):
            seconds = job_seconds(job_class, text)
        elif not isinstance(given, str):
            raise ValueError
        elif set(text) <= set("0123456789:-"):
            seconds = job_seconds(job_class, text)
        else:
            seconds = parse_timedelta(re.sub(r"\s*mins?$", " minutes", text))
            given = timedelta(seconds=seconds)
        if not 0 < seconds < math.inf:
            raise ValueError
    except (ValueError, KeyError, ParameterError, OverflowError) as error:
        raise ParameterError(
            f"walltime in cluster_kwargs must be a time above zero, such as '12:00:00', "
            f"'1-12:00:00', '90 min', or a timedelta, not {given!r}."
        ) from error
    if not isinstance(given, timedelta):
        return text
    minutes, rest = divmod(math.ceil(seconds), 60)
    if issubclass(job_class, LSFJob):
        minutes += rest > 0
        return f"{minutes // 60:02d}:{minutes % 60:02d}"
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest:02d}"


def _tell_end(job_class: type[Job], walltime: Any) -> list[str]:
    """Return shell lines that tell the workers when their job ends, and nobody else's job."""
    seconds = job_seconds(job_class, walltime)
    end = f"$(( $(date +%s) + {seconds:.0f} ))" if math.isfinite(seconds) else ""
    if not issubclass(job_class, SLURMJob):
        return [f"export _QUACC_JOB_END={end}"]
    # Few versions of Slurm tell a job its end, which may be earlier than it was asked for.
    return [
        '_quacc_end=$(squeue -h -o %e -j "$SLURM_JOB_ID" 2> /dev/null)',
        f'export _QUACC_JOB_END=$(date +%s -d "${{_quacc_end:-none}}" 2> /dev/null || echo {end})',
    ]


def _from_config(job_class: Any) -> dict[str, Any]:
    """Return what the user's own configuration of dask-jobqueue sets, of what quacc changes."""
    names = (
        *("cores", "memory", "processes", "walltime", "job_script_prologue", "worker_extra_args"),
        *("job_directives_skip", "job_extra_directives", "scheduler_options"),
    )
    section = f"jobqueue.{job_class.config_name}"
    found = {name: dask.config.get(f"{section}.{name.replace('_', '-')}", None) for name in names}
    return {name: value for name, value in found.items() if value}


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
    known -= {"submitted", "refused", "excluded", "pending_timeout", "worker_timeout"}
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
