"""What a flow run wants from Slurm: the fields of the pool, over those of a site's profile."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quacc.errors import ParameterError
from quacc.settings import get_settings

if TYPE_CHECKING:
    from quacc.deploy.slurm_fields import SlurmConfiguration
    from quacc.sites.profile import Site

WALLTIME = "00:30:00"
"""Where neither the pool nor a site says."""


@dataclass(frozen=True)
class Wishes:
    """One job's, complete."""

    walltime: str
    directives: list[str]
    """Options of ``sbatch``."""
    prologue: list[str]
    """Shell lines that the job runs first."""
    shebang: str
    python: str | None
    """None: the worker's own."""
    site: str | None
    """Whose launcher and network the workers in the job use."""
    logs: Path
    """Folder for what jobs print."""


def wishes(asked: SlurmConfiguration) -> Wishes:
    """Return what a flow run wants from Slurm.

    Raises
    ------
    ParameterError, SettingsError
        The site does not exist, is not Slurm's, or lacks what every person must set.
    """
    site = _site(asked)

    def wanted(field: str, of_site: str | None = None, default: Any = None) -> Any:
        value = getattr(asked, field)
        if value in (None, "", []) and site is not None:
            value = getattr(site, of_site or field)
        return default if value in (None, "", []) else value

    walltime = wanted("walltime", default=WALLTIME)
    cores = wanted("cores", default=1)
    exclusive = site is not None and site.exclusive
    directives = [
        f"--time={walltime}",
        f"--nodes={wanted('nodes', default=1)}",
        f"--ntasks-per-node={cores}",
    ]
    if partition := wanted("partition", "queue"):
        directives.append(f"--partition={partition}")
    if account := wanted("account"):
        directives.append(f"--account={account}")
    if constraint := wanted("constraint"):
        directives.append(f"--constraint={constraint}")
    if gpus := wanted("gpus"):
        directives.append(f"--gpus-per-node={gpus}")
    if exclusive and not asked.memory:
        directives += ["--exclusive", "--mem=0"]  # all there is
    elif memory := wanted("memory"):
        directives.append(f"--mem={_mebibytes(memory)}M")
    if site is not None and site.qos:
        directives.append(f"--qos={site.qos}")
    further = [*(site.directives if site else ()), *asked.directives]
    skipped = site.skip_directives if site else ()
    return Wishes(
        walltime=walltime,
        directives=[line for line in [*directives, *further] if line.split("=")[0] not in skipped],
        prologue=[*(site.script_prologue if site else ()), *asked.prologue],
        shebang=site.shebang if site else "#!/usr/bin/env bash",
        python=asked.python or (site.python if site else None),
        site=asked.site or None,
        logs=Path(site.logs) if site else get_settings().results_dir / "slurm-logs",
    )


def _site(asked: SlurmConfiguration) -> Site | None:
    if not asked.site:
        return None
    from quacc.sites.profile import load_site

    site = load_site(asked.site)
    if site.scheduler != "slurm":
        raise ParameterError(
            f"The field site names {asked.site}, whose queueing system is {site.scheduler}. Name a "
            "site with Slurm, or leave the field empty."
        )
    given = {"account": asked.account, "queue": asked.partition}
    site = site.with_changes(**{name: value for name, value in given.items() if value})
    site.require_complete()
    return site


def _mebibytes(memory: str) -> int:
    from dask.utils import parse_bytes

    return -int(-parse_bytes(memory) // 1024**2)
