"""What each queueing system is told, as keywords of dask-jobqueue's cluster for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quacc.cluster.slurm import walltime_seconds

if TYPE_CHECKING:
    from quacc.sites.profile import Site

DIRECTIVE = {"pbs": "#PBS", "sge": "#$", "lsf": "#BSUB"}
"""How lines for the queueing system begin in a job script."""


def _slurm(site: Site, kwargs: dict[str, Any]) -> None:
    extra, skip = kwargs["job_extra_directives"], kwargs["job_directives_skip"]
    extra.append(f"-N {site.nodes}")
    if site.exclusive or site.nodes > 1:
        skip += ["-n", "--cpus-per-task"]
    if site.exclusive:
        extra.append("--exclusive")
        kwargs["job_mem"] = "0"  # all there is
    elif site.nodes > 1:
        extra.append(f"--ntasks-per-node={site.cores}")
    kwargs["job_cpu"] = site.cores
    if site.gpus:
        extra.append(f"--gpus-per-node={site.gpus}")
    if site.constraint:
        extra.append(f"-C {site.constraint}")
    if site.qos:
        extra.append(f"-q {site.qos}")


def _pbs(site: Site, kwargs: dict[str, Any]) -> None:
    # PBS counts in 1024s.
    spec = f"select={site.nodes}:ncpus={site.cores}:mem={site.mebibytes}MB"
    spec += f":ngpus={site.gpus}" if site.gpus else ""
    spec += f":{site.constraint}" if site.constraint else ""
    kwargs["resource_spec"] = spec
    kwargs["walltime"] = _clock(site.walltime)
    if site.exclusive:
        kwargs["job_extra_directives"].append("-l place=excl")


def _sge(site: Site, kwargs: dict[str, Any]) -> None:
    kwargs["project"] = kwargs.pop("account")
    kwargs["resource_spec"] = site.constraint
    kwargs["walltime"] = _clock(site.walltime)


def _lsf(site: Site, kwargs: dict[str, Any]) -> None:
    extra, skip = kwargs["job_extra_directives"], kwargs["job_directives_skip"]
    kwargs["project"] = kwargs.pop("account")
    kwargs["ncpus"] = site.nodes * site.cores
    kwargs["mem"] = site.mebibytes * 1024**2
    minutes = -(-walltime_seconds(site.walltime) // 60)
    kwargs["walltime"] = f"{minutes // 60:02d}:{minutes % 60:02d}"
    if site.nodes > 1:
        skip.append("span[hosts=1]")
        extra.append(f'-R "span[ptile={site.cores}]"')
    if site.gpus:
        extra.append(f'-gpu "num={site.gpus}"')
    if site.constraint:
        extra.append(f'-R "{site.constraint}"')
    if site.exclusive:
        extra.append("-x")


NEEDS = {"slurm": _slurm, "pbs": _pbs, "sge": _sge, "lsf": _lsf}
"""Adds to the keywords that all of them share."""


def _clock(walltime: str) -> str:
    minutes, rest = divmod(walltime_seconds(walltime), 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest:02d}"
