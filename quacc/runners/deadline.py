"""When this process has to stop: its batch job ends, or somebody asked it to."""

from __future__ import annotations

import math
import os
import time
from datetime import datetime

_VARIABLES = ("SLURM_JOB_END_TIME", "_QUACC_JOB_END")
"""The end of the batch job in epoch seconds: from Slurm (22.05 and later), and from quacc's own
job scripts."""

_STALE = 600.0
"""An end that passed so long ago (s) is no end: the job was extended, or the variable belongs to
a job that this process is no part of."""

_asked: str | None = None
_longest_margin = math.inf


def job_end() -> float | None:
    """Return when the batch job ends (epoch seconds), or None if nobody knows."""
    ends = [end for name in _VARIABLES if (end := _number(os.environ.get(name))) is not None]
    return min((end for end in ends if end > time.time() - _STALE), default=None)


def stop_soon(reason: str) -> None:
    """Let every calculation of this process write a checkpoint at its next step, and stop.

    May be called from a signal handler and from any thread. New calculations do not start.

    Parameters
    ----------
    reason
        For people, such as "the batch job was cancelled".
    """
    global _asked
    _asked = reason


def carry_on() -> None:
    """Take :func:`stop_soon` back."""
    global _asked
    _asked = None


def stopping(margin: float | None = None) -> str | None:
    """Return why calculations have to stop now, or None if they need not.

    Parameters
    ----------
    margin
        How long before the end of the batch job (s); by default :func:`the_margin`.
    """
    if _asked is not None:
        return _asked
    end = job_end()
    if end is None:
        return None
    if time.time() < end - (the_margin() if margin is None else margin):
        return None
    return f"its batch job ends at {datetime.fromtimestamp(end):%Y-%m-%d %H:%M:%S}"


def the_margin() -> float:
    """Return how long before the end of the batch job calculations stop (s)."""
    from quacc.settings import get_settings  # slow to import; most know no end

    return min(get_settings().walltime_margin, _longest_margin)


def limit_margin() -> None:
    """Let the margin be no longer than a quarter of what is left now: a short job works, too."""
    global _longest_margin
    end = job_end()
    if end is not None:
        _longest_margin = max(0.0, (end - time.time()) / 4)


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:  # some sites set it to words such as Unknown
        return None
    return value if math.isfinite(value) else None
