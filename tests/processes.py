"""Looking at processes, which may end at any moment."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import psutil


def below(pid: int | None = None) -> list[psutil.Process]:
    """Return the processes that one, or this one, has started, and theirs."""
    return psutil.Process(pid).children(recursive=True)


def look_at(processes: Iterable[int | psutil.Process], look: Callable[..., Any]) -> dict[int, Any]:
    """Return what a look at each process tells, by pid, but for those that have ended."""
    found = {}
    for one in processes:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(one) if isinstance(one, int) else one
            found[process.pid] = look(process)
    return found
