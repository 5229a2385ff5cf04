"""What becomes of a calculation that has lost its worker: decisions only.

Losses that are nobody's fault, such as a walltime, are made good by running it again, from its
checkpoint; a calculation that kills its workers fails, and only that one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from quacc.errors import StuckError, can_pass


class Cause(Enum):
    """Why a worker was lost."""

    WALLTIME = auto()
    """Its batch job reached its time limit, or gave way to another one."""
    OUTSIDE = auto()
    """Its batch job was cancelled, or its node failed."""
    SILENCE = auto()
    """It was not heard of for too long, or was started anew because of another calculation."""
    SHARED = auto()
    """Its batch job died with several calculations in it, one of which may be to blame."""
    CRASH = auto()
    """Its process died, with this calculation alone in it."""


class Verdict(Enum):
    """What to do with the calculation."""

    AGAIN = auto()
    ALONE = auto()
    """Again, and no other suspect at the same time."""
    CRASHED = auto()
    """Give up: it kills its workers."""
    STUCK = auto()
    """Give up: it gets no further."""


RETRIES = 3
"""For lost workers, connections and file systems; a failed calculation is never repeated."""

DELAY = 5.0
"""Seconds until what failed for a reason that can pass is tried again."""

_STALLS = 2
"""Whole walltimes without progress; more would bring none either."""

_LOSSES = 10
"""Losses of any kind without progress."""


def passes(error: Exception) -> bool:
    """Return whether the same may succeed later."""
    return can_pass(error) and not isinstance(error, StuckError)


@dataclass
class Attempts:
    """The attempts at one calculation."""

    count: int = 1
    progress: int = 0
    _stalls: int = 0
    _losses: int = 0
    _suspected: bool = False

    def lost(self, cause: Cause, progress: int | None, *, whole: bool) -> Verdict:
        """Judge the loss of an attempt.

        Parameters
        ----------
        cause
            Of the loss.
        progress
            How far its checkpoint is (steps); None where there is none.
        whole
            The attempt had at least half of a job's walltime to itself.
        """
        self.count += 1
        if (progress or 0) > self.progress:
            self.progress = progress or 0
            self._stalls = self._losses = 0
        else:
            self._losses += 1
            self._stalls += whole and cause is Cause.WALLTIME
        if cause is Cause.CRASH or (cause is Cause.SHARED and self._suspected):
            return Verdict.CRASHED
        if self._stalls >= _STALLS or self._losses >= _LOSSES:
            return Verdict.STUCK
        if cause is Cause.SHARED:
            self._suspected = True
        return Verdict.ALONE if self._suspected else Verdict.AGAIN
