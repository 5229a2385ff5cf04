"""What the doctor finds, in words, and how it asks."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from quacc.cluster.slurm_env import for_sbatch
from quacc.cluster.slurm_job import script_options
from quacc.sites.profile import Site

_REFUSALS = {
    "partition": "Correct queue; `sinfo -s` lists the partitions.",
    "account": "Correct account; the centre's portal lists yours.",
    "qos": "Correct qos; `sacctmgr show assoc user=$USER` lists yours.",
    "time limit": "Ask for a shorter walltime.",
    "feature": "Correct constraint; `sinfo -o %f` lists what nodes have.",
    "generic resource": "Correct gpus; `sinfo -o %G` lists what nodes have.",
    "Memory": "Ask for less memory.",
    "node configuration": "Ask for fewer nodes, cores or GPUs, or less memory; `sinfo -N -l` lists "
    "what there is.",
    "policy": "Ask for less walltime or fewer nodes, or use another qos.",
}
"""What helps, by a part of Slurm's message."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    text: str
    """What was found, in one sentence."""
    ok: bool | None = True
    """None where it is neither good nor bad."""
    remedy: str = ""
    """What to do about it."""


def address(site: Site) -> str:
    """Return the address where the scheduler of a flow would listen; a ValueError says why not."""
    from distributed.utils import get_ip, get_ip_interface

    found: str = get_ip_interface(site.interface) if site.interface else get_ip()
    return found


def refused(done: subprocess.CompletedProcess[str]) -> Finding:
    """Return what Slurm has against a job script."""
    refusal = message(done)
    remedy = next(
        (help_ for part, help_ in _REFUSALS.items() if part.casefold() in refusal.casefold()),
        "`quacc site script` prints the job script.",
    )
    return Finding(f"Slurm refuses the job script: {refusal}.", False, remedy)


def environment(script: str) -> dict[str, str]:
    """Return the environment that jobs with this script are submitted in."""
    return for_sbatch(os.environ, script_options(script))[0]


def call(*words: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run one of the queueing system's commands; one that hangs has failed."""
    try:
        return subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=60,
            env=env,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(words, 1, "", f"{words[0]} did not answer in 60 s")
    except OSError as error:
        return subprocess.CompletedProcess(words, 1, "", str(error))


def message(done: subprocess.CompletedProcess[str]) -> str:
    """Return what a command that failed has said, in one line."""
    lines = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()
    kept = [re.sub(r"^\w+: (error: |fatal: )?|^allocation failure: ", "", line) for line in lines]
    return "; ".join(dict.fromkeys(line.rstrip(".") for line in kept))
