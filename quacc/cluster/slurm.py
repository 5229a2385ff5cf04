"""Slurm's commands and its words."""

from __future__ import annotations

import asyncio
import hashlib
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from quacc.cluster.pool import ENDED, JobState
from quacc.errors import ParameterError, SubmissionError

_FIELDS = {
    "invalid partition": "queue",
    "account": "account",
    "partition": "queue",
    "qos": "job_extra_directives (-q)",
    "feature": "job_extra_directives (-C)",
    "constraint": "job_extra_directives (-C)",
    "time limit": "walltime",
    "memory": "memory, or job_mem",
    "cpu count": "cores, or job_cpu",
    "node count": "job_extra_directives (-N)",
    "node configuration": "cores, memory, or what job_extra_directives asks for",
    "gres": "job_extra_directives (--gpus…)",
}
"""Words in a refusal, and the keyword of ``cluster_kwargs`` to change."""

_REASONS = {
    "Priority": "other jobs go first",
    "Resources": "the nodes are busy",
    "ReqNodeNotAvail": "the nodes are down or reserved, such as for maintenance",
    "PartitionDown": "the partition is down",
    "PartitionTimeLimit": "the walltime is longer than the partition allows; ask for less",
    "PartitionNodeLimit": "it asks for more nodes, or more on a node, than the partition has",
    "PartitionConfig": "it asks for more than the partition has, such as nodes, or walltime",
    "BadConstraints": "no node has what it asks for",
    "QOSMaxJobsPerUserLimit": "you have as many jobs as the quality of service allows",
    "AssocGrpCPUMinutesLimit": "the account's hours are used up",
    "AssocMaxJobsLimit": "the account has as many jobs as it may",
    "Dependency": "it waits for another job",
    "BeginTime": "Slurm starts it again only after some minutes",
    "JobHeldUser": "it is held; `scontrol release` lets it go",
    "JobHeldAdmin": "an administrator holds it",
    "Licenses": "it waits for a licence",
}

_UP = frozenset({"idle", "mixed", "allocated", "completing", "planned", "idle~", "idle#"})
"""States of nodes that take jobs, now or later."""

_PASSING = (
    "unable to contact slurm controller",
    "socket timed out",
    "temporarily unable",
    "transport endpoint",
    "connection refused",
    "submitjob",  # QOSMaxSubmitJobPerUserLimit and its like
    "slurm controller not responding",
)
"""Refusals that may be over when a job is submitted again."""


def field_to_change(refusal: str) -> str | None:
    """Return the keyword that a refusal of sbatch is about, if its words tell."""
    message = refusal.lower()
    return next((field for words, field in _FIELDS.items() if words in message), None)


def can_pass(refusal: str) -> bool:
    """Tell whether Slurm may accept the same job later."""
    return any(words in refusal.lower() for words in _PASSING)


def is_unanswered(refusal: str) -> bool:
    """Return whether Slurm may have done what it was asked for, and could not say so."""
    return can_pass(refusal) and "submitjob" not in refusal.lower()


def in_words(state: JobState) -> str:
    """Return a queue's state for a person: ``PENDING (Resources: the nodes are busy)``."""
    reason = state.reason if state.reason not in ("", "None") else ""
    words = _REASONS.get(re.split("[,:]", reason)[0])
    message = f"{reason}: {words}" if words else reason
    return f"{state.state} ({message})" if message else state.state


async def states(job_ids: Iterable[str]) -> dict[str, JobState]:
    """Ask the queue for the states of jobs, in one call; unknown ones are left out.

    Raises
    ------
    OSError
        Slurm does not answer.
    """
    wanted = list(job_ids)
    if not wanted:
        return {}
    # Of a single unknown id, squeue says so and fails; of one among several it says nothing.
    out, message = await _call(
        "squeue", "-h", "-t", "all", "-o", "%i|%T|%r", "-j", ",".join(wanted)
    )
    if message and "Invalid job id" not in message:
        raise OSError(message)
    found = {}
    for line in out.splitlines():
        job_id, state, reason = line.split("|", 2)
        found[job_id] = JobState(state, reason)
    return found


@dataclass(frozen=True)
class Listed:
    """A line of the queue."""

    id: str
    name: str
    state: JobState
    start: str
    """When it started, or is expected to; empty if nobody knows."""


async def mine() -> list[Listed]:
    """Return one's own jobs, in one call, with those that ended some minutes ago.

    Raises
    ------
    OSError
        Slurm does not answer.
    """
    out, message = await _call("squeue", "-h", "--me", "-t", "all", "-o", "%A|%T|%S|%r|%j")
    if message:
        raise OSError(message)
    lines = [line.split("|", 4) for line in out.splitlines()]
    return [
        Listed(job_id, name, JobState(state, reason), start if start != "N/A" else "")
        for job_id, state, start, reason, name in lines
    ]


@dataclass(frozen=True)
class Record:
    """What Slurm keeps of a job that has ended."""

    state: JobState
    exit_code: int
    signal: int
    ran: float
    """Seconds."""
    limit: float | None
    """Its walltime (s)."""
    by: str = ""
    """Who cancelled it, if Slurm tells."""


async def record(job_id: str) -> Record | None:
    """Return what Slurm keeps of a job; None if it no longer knows it.

    Where there is accounting, its word counts: it knows who cancelled a job. The controller
    forgets jobs some minutes after their end.

    Raises
    ------
    OSError
        Slurm does not answer.
    """
    if not job_id.isdecimal():  # scontrol would show all there are
        return None
    columns = "State,ExitCode,ElapsedRaw,TimelimitRaw"
    out, message = await _call("sacct", "-n", "-X", "-P", "-j", job_id, "-o", columns)
    if out.strip() and not message:
        state, exit_code, ran, limit = out.splitlines()[-1].split("|")
        state, _, by = state.partition(" by ")
        if state in ENDED:  # the controller may know more than the accounting, yet
            minutes = float(limit) if limit.isdecimal() else None
            return _record(state, "", exit_code, float(ran), minutes and minutes * 60, _user(by))
    out, message = await _call("scontrol", "show", "job", "--oneliner", job_id)
    if "Invalid job id" in message:
        return None
    if message:
        raise OSError(message)
    fields: dict[str, str] = {}
    for name, value in re.findall(r"(?:^|\s)(\w+)=(\S*)", out):
        fields.setdefault(name, value)
    limit = fields.get("TimeLimit", "UNLIMITED")
    state, owner = fields["JobState"], fields.get("UserId", "").split("(")[0]
    return _record(
        state,
        fields.get("Reason", ""),
        fields.get("ExitCode", "0:0"),
        walltime_seconds(fields.get("RunTime", "00:00:00")),
        walltime_seconds(limit) if limit[0].isdecimal() else None,
        f"{owner}, or an administrator" if state == "CANCELLED" else "",
    )


def _record(
    state: str, reason: str, exit_code: str, ran: float, limit: float | None, by: str
) -> Record:
    code, _, signal = exit_code.partition(":")
    return Record(JobState(state, reason), int(code), int(signal or 0), ran, limit, by)


def _user(number: str) -> str:
    try:
        return pwd.getpwuid(int(number)).pw_name
    except (ValueError, KeyError):
        return f"user {number}" if number else ""


async def submit(script: Path, environment: Mapping[str, str]) -> str:
    """Submit a job script; return the job's id.

    Parameters
    ----------
    environment
        For ``sbatch``: see :func:`quacc.cluster.slurm_env.for_sbatch`.

    Raises
    ------
    SubmissionError
        Slurm refuses it, or does not answer: :func:`can_pass` tells which from the words.
    """
    out, message = await _call("sbatch", "--parsable", str(script), environment=environment)
    if message:
        raise SubmissionError(message)
    return out.strip().splitlines()[-1].split(";")[0]


async def terminate(job_id: str) -> None:
    """Send SIGTERM to the batch script of a job, and to nothing else.

    Raises
    ------
    OSError
        Slurm does not answer.
    """
    _, message = await _call("scancel", "--quiet", "--batch", "--signal=TERM", job_id)
    if can_pass(message):
        raise OSError(message)


async def job_end(job_id: str) -> float | None:
    """Return when a job ends (epoch seconds); None if it has no limit, or Slurm does not answer."""
    out, _ = await _call("squeue", "-h", "-o", "%e", "-j", job_id)
    with suppress(ValueError):  # N/A
        return datetime.fromisoformat(out.strip()).timestamp()
    return None


def nodes_up(partition: str | None) -> set[str] | None:
    """Return the nodes of a partition that take jobs; None where Slurm does not answer."""
    where = ["-p", partition] if partition else []
    try:
        out = subprocess.run(
            ["sinfo", "-h", "-N", "-o", "%N %T", *where],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    found = (line.split() for line in out.splitlines())
    return {node for node, state in found if state in _UP}


async def cancel(job_ids: Iterable[str]) -> None:
    """Cancel jobs, in one call; those that are over are left alone.

    Raises
    ------
    OSError
        Slurm does not answer.
    """
    if wanted := list(job_ids):
        _, message = await _call("scancel", "--quiet", *wanted)
        if can_pass(message):
            raise OSError(message)


def tag_of(process: str) -> str:
    """Return what the names of all jobs of a process have in them, given its signature."""
    return hashlib.sha256(process.encode()).hexdigest()[:10]


async def named(tag: str) -> dict[str, str]:
    """Return the ids of one's own jobs with this in their names, by name.

    Raises
    ------
    OSError
        Slurm does not answer.
    """
    out, message = await _call(*_NAMES)
    if message:
        raise OSError(message)
    return _with_tag(out, tag)


def cancel_named(tag: str) -> list[str]:
    """Cancel one's own jobs with this in their names; return their ids."""
    if shutil.which("squeue") is None:
        return []
    with suppress(OSError, subprocess.SubprocessError):
        options: Any = {"stdin": subprocess.DEVNULL, "text": True, "timeout": 30}
        out = subprocess.run(_NAMES, capture_output=True, check=True, **options).stdout
        if ids := list(_with_tag(out, tag).values()):
            subprocess.run(["scancel", "--quiet", *ids], capture_output=True, **options)
        return ids
    return []


_NAMES = ("squeue", "-h", "--me", "-o", "%A %j")


def _with_tag(listed: str, tag: str) -> dict[str, str]:
    jobs = [line.split(maxsplit=1) for line in listed.splitlines()]
    return {job[1]: job[0] for job in jobs if len(job) == 2 and tag in job[1]}


async def _call(*command: str, environment: Mapping[str, str] | None = None) -> tuple[str, str]:
    process = await asyncio.create_subprocess_exec(
        *command,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await process.communicate()
    message = error.decode(errors="replace").strip()
    return out.decode(errors="replace"), (message or "it failed") if process.returncode else ""


def tail(log: Path, lines: int = 15) -> str:
    """Return the last lines of a job's log, or what is wrong with it."""
    try:
        text = log.read_text("utf-8", "replace").rstrip()
    except OSError as error:
        return f"(no log: {error})"
    return "\n".join(text.splitlines()[-lines:]) or "(the log is empty)"


def walltime_seconds(walltime: str) -> int:
    """Return a walltime as Slurm writes it, ``D-HH:MM:SS`` or parts of that, in seconds.

    Raises
    ------
    ParameterError
    """
    days, dash, rest = walltime.strip().rpartition("-")
    parts = rest.split(":")
    try:
        numbers = [int(part) for part in parts]
        whole_days = int(days) if dash else 0
    except ValueError:
        numbers, whole_days = [], 0
    if not 1 <= len(numbers) <= 3 or min(numbers) < 0:
        raise ParameterError(f"walltime must be HH:MM:SS or D-HH:MM:SS, not {walltime!r}.")
    if dash:  # days-hours[:minutes[:seconds]]
        hours, minutes, seconds = [*numbers, 0, 0][:3]
    else:  # minutes, minutes:seconds, or hours:minutes:seconds
        minutes_first = [*numbers, 0] if len(numbers) == 1 else numbers
        hours, minutes, seconds = [0, *minutes_first][-3:]
    return ((whole_days * 24 + hours) * 60 + minutes) * 60 + seconds
