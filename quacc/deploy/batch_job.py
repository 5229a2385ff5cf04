"""The batch script of a flow run, and the environment that it starts in."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from shlex import quote

from quacc.cluster.slurm import walltime_seconds
from quacc.deploy.records import Record
from quacc.deploy.wishes import Wishes

NOTICE = 60.0
"""How long before its walltime a flow is told to stop (s): a quarter of a short walltime."""

SITE = "_QUACC_SITE"
"""Environment variable of a job that names its site."""

_PASSED = ("HOME", "LANG", "LOGNAME", "PATH", "SLURM_CONF", "USER")
"""Of the worker's environment; the rest is the business of the node, or of the prologue."""


def notice_before(walltime: str) -> float:
    """Return how long before its walltime a flow is told to stop (s)."""
    return min(NOTICE, walltime_seconds(walltime) // 4)


def job_name(run_name: str, record: Record) -> str:
    """Return the name of a job: the flow run's, for people, and what no other job has."""
    readable = re.sub(r"[^\w.-]+", "-", run_name, flags=re.ASCII)[:40].strip("-.") or "flow"
    return f"{readable}.{record.suffix}"


def script(wishes: Wishes, record: Record, name: str) -> str:
    """Return the job script; there is no secret in it, as others can read it in Slurm."""
    directives = [
        f"--job-name={name}",
        f'--output="{record.log}"',
        f'--chdir="{record.workdir}"',
        "--open-mode=append",
        # Nothing of the worker's environment: what the job needs is in a file.
        "--export=NIL",
        # A lost job is told; a second one of the same name might run beside it.
        "--no-requeue",
        f"--signal=B:TERM@{record.notice:.0f}",
        *wishes.directives,
    ]
    file = quote(str(record.credentials))
    return "\n".join(
        [
            wishes.shebang,
            *(f"#SBATCH {directive}" for directive in directives),
            f". {file} || exit 1",
            f"rm -f {file}",
            *wishes.prologue,
            # With exec, Slurm's signals reach the flow.
            f"exec {quote(wishes.python or sys.executable)} -m quacc.deploy.in_job",
            "",
        ]
    )


def environment(
    given: Mapping[str, str | None], own: Mapping[str, str], site: str | None = None
) -> dict[str, str]:
    """Return the environment of a job.

    Parameters
    ----------
    given
        By Prefect: the settings of the worker, and of the pool.
    own
        The worker's.
    site
        Name or file of a profile, if any.
    """
    passed = {name: own[name] for name in _PASSED if name in own}
    settings = {name: value for name, value in own.items() if name.startswith("QUACC_")}
    ours = {
        "PYTHONUNBUFFERED": "1",
        # The worker tells how it ended, and cancels it.
        "PREFECT__ENABLE_CANCELLATION_AND_CRASHED_HOOKS": "false",
        **({SITE: site} if site else {}),
    }
    return passed | settings | ours | {k: v for k, v in given.items() if v is not None}


def write(wishes: Wishes, record: Record, name: str, given: Mapping[str, str | None]) -> Path:
    """Write the script, and the credentials where nobody else can read them."""
    Path(record.log).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    record.write_environment(environment(given, os.environ, wishes.site))
    record.script.write_text(script(wishes, record, name))
    return record.script
