"""``examine``: whether jobs of a site will work, told before anything of value depends on it."""

from __future__ import annotations

import getpass
import re
import shutil
import tempfile
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path

from quacc.cluster.slurm import walltime_seconds
from quacc.errors import SettingsError, suggest
from quacc.settings import get_settings
from quacc.sites.findings import Finding, address, call, environment, message, refused
from quacc.sites.probe import folder_problem
from quacc.sites.profile import Site, job_script

_COMMANDS = {
    "slurm": ("sbatch", "squeue", "sinfo", "scancel"),
    "pbs": ("qsub", "qstat", "qdel"),
    "sge": ("qsub", "qstat", "qdel"),
    "lsf": ("bsub", "bjobs", "bkill"),
}

_SHOW_QUEUE = {
    "pbs": ("qstat", "-Q"),
    "sge": ("qconf", "-sq"),
    "lsf": ("bqueues",),
}


def examine(site: Site, wait: float = 600) -> Generator[Finding, None, None]:
    """Check a site from here, then with one small job; yield what is found as it is found.

    The job is submitted only where everything before it is well. Close the iterator to cancel
    it.

    Parameters
    ----------
    site
        With all that a person must set.
    wait
        How long the job may wait in the queue (s).
    """
    well = True
    for finding in _from_here(site):
        well = well and finding.ok is not False
        yield finding
    if site.scheduler == "local":
        yield Finding("Workers are processes on this machine: no job is needed.", None)
    elif site.scheduler != "slurm":
        yield Finding("The check with a job is made for Slurm only: run a small flow.", None)
    elif not well:
        yield Finding("No job was submitted; correct the above first.", None)
    else:
        from quacc.sites.trial import try_job

        yield from try_job(site, wait)


def _from_here(site: Site) -> Iterator[Finding]:
    if site.scheduler != "local":
        try:
            site.require_complete()
        except SettingsError as error:
            yield Finding(str(error).split(" Set it: ")[0], False, str(error).partition(" Set ")[2])
            return
        missing = [name for name in _COMMANDS[site.scheduler] if not shutil.which(name)]
        if missing:
            yield Finding(
                f"{', '.join(missing)}: not found on this machine.",
                False,
                "Run this on a login node of the machine, after loading the module of its "
                "queueing system if there is one.",
            )
            return
        yield Finding(f"{', '.join(_COMMANDS[site.scheduler])}: found.")
    if site.scheduler == "slurm":
        queue = list(_partition(site))
        yield from queue
        if queue[-1].text == _SILENT:
            return
        yield from _account(site)
    elif site.scheduler != "local" and site.queue:
        done = call(*_SHOW_QUEUE[site.scheduler], site.queue)
        yield (
            Finding(f"The queue {site.queue} exists.")
            if done.returncode == 0
            else Finding(
                f"The queue {site.queue} is refused: {message(done)}.", False, "Correct it."
            )
        )
    yield from _interface(site)
    folders = list(_folders(site))
    yield from folders
    if site.scheduler == "slurm" and all(one.ok is not False for one in [*queue, *folders]):
        yield _rehearsal(site)


_SILENT = "Slurm does not answer."


def _partition(site: Site) -> Iterator[Finding]:
    """Compare what the site asks for with what its partition has."""
    # %R lacks the star that marks the default partition.
    done = call("sinfo", "-h", "-e", "-o", "%R|%a|%l|%c|%m|%D|%f|%G")
    if done.returncode:
        yield Finding(f"sinfo: {message(done)}", None)
        yield Finding(
            _SILENT, False, "Try again later, or ask the centre; SLURM_CONF may be wrong."
        )
        return
    rows = [line.split("|") for line in done.stdout.splitlines()]
    if site.queue is None:
        yield Finding("The site names no partition; Slurm chooses one.", None)
        return
    names = sorted({row[0] for row in rows})
    rows = [row for row in rows if row[0] in site.queue.split(",")]
    if not rows:
        yield Finding(
            f"There is no partition {site.queue!r}.{suggest(site.queue, names)}",
            False,
            f"Set queue to one of {', '.join(names)}.",
        )
        return
    if all(row[1] != "up" for row in rows):
        yield Finding(
            f"The partition {site.queue} is {rows[0][1]}: jobs would wait.",
            False,
            "Ask the centre, or use another queue.",
        )
    else:
        yield Finding(f"The partition {site.queue} exists and is up.")
    longest = max(_limit(row[2]) for row in rows)
    if walltime_seconds(site.walltime) > longest:
        yield Finding(
            f"walltime {site.walltime} is more than the partition {site.queue} allows "
            f"({rows[0][2]}).",
            False,
            "Ask for a shorter walltime, or another queue.",
        )
    else:
        yield Finding(f"walltime {site.walltime} is within the partition's limit.")
    yield from _nodes(site, rows)


def _nodes(site: Site, rows: list[list[str]]) -> Iterator[Finding]:
    memory = 0 if site.exclusive else site.mebibytes
    most_cores, most_memory = (max(_number(row[i]) for row in rows) for i in (3, 4))
    fitting = [row for row in rows if _number(row[3]) >= site.cores and _number(row[4]) >= memory]
    if site.constraint and re.fullmatch(r"\w+", site.constraint):
        fitting = [row for row in fitting if site.constraint in row[6].split(",")]
    if site.gpus:
        fitting = [row for row in fitting if "gpu" in row[7]]
    count = sum(_number(row[5]) for row in fitting)
    wanted = f"{site.cores} core{'s' * (site.cores > 1)}" + (
        f" and {site.memory}" if memory else ""
    )
    wanted += f" and {site.gpus} GPUs" if site.gpus else ""
    wanted += f" of kind {site.constraint}" if site.constraint else ""
    if count >= site.nodes:
        yield Finding(f"The partition has {count} nodes with {wanted}.")
        return
    remedy = "Ask for less, or another queue."
    if site.cores > most_cores:
        remedy = f"Set cores to at most {most_cores}."
    elif memory > most_memory:
        remedy = f"Set memory to at most {most_memory}MiB."
    yield Finding(
        f"The partition has {count} nodes with {wanted}; the site asks for {site.nodes}.",
        False,
        remedy,
    )


def _account(site: Site) -> Iterator[Finding]:
    """Look an account up in Slurm's accounting, where there is one."""
    if not (site.account or site.qos):
        return
    unknown = Finding("Slurm's accounting cannot be asked here: account and qos unchecked.", None)
    if not shutil.which("sacctmgr"):
        yield unknown
        return
    fields = ["user=" + getpass.getuser(), "format=account,qos"]
    done = call("sacctmgr", "-n", "-P", "show", "associations", *fields)
    rows = [line.split("|") for line in done.stdout.splitlines() if "|" in line]
    if done.returncode or not rows:
        yield unknown
        return
    accounts = sorted({row[0] for row in rows})
    if site.account:
        mine = [row for row in rows if row[0].casefold() == site.account.casefold()]
        if not mine:
            yield Finding(
                f"You cannot charge the account {site.account!r}.{suggest(site.account, accounts)}",
                False,
                f"Set account to one of {', '.join(accounts)}.",
            )
            return
        rows = mine
        yield Finding(f"You can charge the account {site.account}.")
    qualities = sorted({name for row in rows for name in row[1].split(",") if name})
    if site.qos and qualities:
        if site.qos not in qualities:
            yield Finding(
                f"You cannot use the qos {site.qos!r}.{suggest(site.qos, qualities)}",
                False,
                f"Set qos to one of {', '.join(qualities)}.",
            )
        else:
            yield Finding(f"You can use the qos {site.qos}.")


def _interface(site: Site) -> Iterator[Finding]:
    try:
        yield Finding(f"Workers will be told to connect to {address(site)}.")
    except ValueError as error:
        yield Finding(
            f"This machine has no usable network interface {site.interface!r}: {error}.",
            False,
            "Set interface to one that login and compute nodes share; `ip -brief address` lists "
            "them.",
        )


def _folders(site: Site) -> Iterator[Finding]:
    try:
        folders = {"results_dir": str(get_settings().results_dir)}
        if site.scheduler != "local":
            folders |= {"shared": site.expand(site.shared), "log_directory": site.logs}
    except SettingsError as error:
        yield Finding(str(error), False, "Correct it.")
        return
    for name, folder in folders.items():
        if name == "shared":  # for certificates; what is wrong with it, comes next
            with suppress(OSError):
                Path(folder).mkdir(parents=True, exist_ok=True, mode=0o700)
        if problem := folder_problem(folder):
            yield Finding(
                f"{name} {folder} cannot be written from here: {problem}.",
                False,
                f"Set {name} to a folder that is yours on login and compute nodes.",
            )
        else:
            yield Finding(f"{name} {folder} can be written from here.")


def _rehearsal(site: Site) -> Finding:
    """Let Slurm judge the job script, without a job."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "job.sh"
        script.write_text(job_script(site), "utf-8")
        done = call(
            "sbatch", "--test-only", str(script), env=environment(script.read_text("utf-8"))
        )
    if done.returncode == 0:
        return Finding("Slurm would accept the job script.")
    return refused(done)


def _limit(text: str) -> float:
    """Return Slurm's time limit (``infinite``, ``1-00:00:00``, ``30:00``) in seconds."""
    if not re.fullmatch(r"[\d:-]+", text):
        return float("inf")
    days, dash, clock = text.rpartition("-")
    parts = clock.split(":")
    if dash:
        parts += ["0"] * (3 - len(parts))
    return walltime_seconds(f"{days or 0}-{':'.join(['0'] * (3 - len(parts)) + parts)}")


def _number(text: str) -> int:
    found = re.match(r"\d+", text)
    return int(found[0]) if found else 0
