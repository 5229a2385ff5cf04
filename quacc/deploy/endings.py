"""Why the job of a flow run waits, and how it ended, for people."""

from __future__ import annotations

import re
import signal as signals
from datetime import timedelta

from quacc.cluster import slurm
from quacc.cluster.pool import JobState

_FIELDS = {
    "invalid partition": "partition",
    "account": "account",
    "partition": "partition",
    "qos": "directives (--qos=…)",
    "feature": "constraint",
    "constraint": "constraint",
    "time limit": "walltime",
    "memory": "memory",
    "cpu count": "cores",
    "node count": "nodes",
    "node configuration": "nodes, cores, memory, gpus or constraint",
    "gres": "gpus",
    "reservation": "directives (--reservation=…)",
    "unrecognized option": "directives",
    "invalid option": "directives",
}
"""Words in a refusal, and the field of the pool to change."""

_HOW = {
    "OUT_OF_MEMORY": "used more memory than it asked for. Ask for more: the field memory",
    "NODE_FAIL": "lost a node, which failed. Run it again: what is finished is not computed again",
    "BOOT_FAIL": "could not start, because a node did not boot. Run it again",
    "DEADLINE": "could not end before its deadline",
    "REVOKED": "was moved to another cluster",
    "GONE": "is no longer known to Slurm, and its flow has not said how it ended",
}


_MEMORY = re.compile(r"exceeded (job )?memory limit|oom[_-]kill", re.IGNORECASE)


def refused(message: str) -> str:
    """Return what sbatch's refusal means, with the field to change."""
    words = re.sub(r"(?m)^sbatch: (error: )?", "", message).strip()
    lower = words.lower()
    field = next((field for part, field in _FIELDS.items() if part in lower), None)
    what = f"Slurm refused the job: {words.splitlines()[-1] if words else 'it gave no reason'}"
    change = f"the field {field}" if field else "the fields"
    return f"{what.rstrip('.')}. Change {change} of the run, its deployment or the pool."


def waiting_name(reason: str) -> str:
    """Return the name of the state of a flow run whose job waits, such as Queued (Priority)."""
    word = re.split("[,: ]", reason)[0]
    return "Queued" if word in ("", "None") else f"Queued ({word})"


def waiting(job_id: str, state: str, reason: str, start: str) -> str:
    """Return why a job waits, and when Slurm expects to start it."""
    when = f" Slurm expects to start it at {start.replace('T', ' ')}." if start else ""
    return f"Slurm job {job_id} waits: {slurm.in_words(JobState(state, reason))}.{when}"


def cancelled_in_prefect(job_id: str) -> str:
    """Return how a job ended whose flow run was cancelled in Prefect."""
    return f"The flow run was cancelled, and with it Slurm job {job_id}."


def cancelled_in_slurm(job_id: str, by: str) -> str:
    """Return how a job ended that somebody cancelled in Slurm."""
    return f"Slurm job {job_id} was cancelled with scancel by {by or 'somebody'}."


def ended(job_id: str, state: str, exit_code: int, signal: int, reason: str) -> str:
    """Return how a job ended whose flow said nothing."""
    if how := _HOW.get(state):
        return f"Slurm job {job_id} {how}."
    if signal:
        return f"Slurm job {job_id} was ended by {_named(signal)}, and its flow said nothing."
    if exit_code == 127:
        return (
            f"Slurm job {job_id} did not find its Python, or another program (exit status 127). "
            "Look at the fields prologue and python."
        )
    if exit_code:
        return f"Slurm job {job_id} failed with exit status {exit_code}{_because(reason)}."
    return f"Slurm job {job_id} has ended ({state}), and its flow has not said how."


def true_state(state: str, log: str) -> str:
    """Return how a job ended, from what Slurm says and the end of the job's log.

    Some ways of Slurm's to watch over memory end a job as any other that failed.
    """
    return "OUT_OF_MEMORY" if state == "FAILED" and _MEMORY.search(log) else state


def stopped(job_id: str, state: str, limit: float | None) -> str:
    """Return how a job ended that was not done."""
    if state == "PREEMPTED":
        return f"Slurm job {job_id} was preempted"
    of = f" of {timedelta(seconds=limit)}" if limit else ""
    return f"Slurm job {job_id} has used up its walltime{of}"


def again(why: str, attempt: int, attempts: int) -> str:
    """Return that a flow run is submitted again."""
    return f"{why}. It goes on in a new job from what is finished ({attempt} of {attempts})."


def no_progress(why: str) -> str:
    """Return why a flow run is not submitted again."""
    return (
        f"{why}, and nothing that a new job could go on from was finished in it: no task run, no "
        "checkpoint. Ask for more time: the field walltime."
    )


def too_often(why: str, attempts: int) -> str:
    """Return why a flow run is not submitted again."""
    return (
        f"{why}, as did the jobs before it: {attempts} in all, and the field attempts allows no "
        "more. Run it again to go on, or ask for more time: the field walltime."
    )


def with_log(message: str, log: str, path: str) -> str:
    """Return a message, and the last lines of the job's log."""
    return f"{message}\nThe last lines of {path}:\n{log[-2000:]}"


def _named(signal: int) -> str:
    try:
        return signals.Signals(signal).name
    except ValueError:
        return f"signal {signal}"


def _because(reason: str) -> str:
    return f" ({reason})" if reason not in ("", "None", "NonZeroExitCode") else ""
