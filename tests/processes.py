"""Looking at processes, which may end at any moment."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import psutil


def below(pid: int | None = None) -> list[psutil.Process]:
    """Return the processes that one, or this one, has started, and theirs."""
    return psutil.Process(pid).children(recursive=True)


def workers() -> list[int]:
    """Return the worker processes below this one: copies of a fork server."""
    lines = look_at(below(), lambda one: (one.ppid(), " ".join(one.cmdline())))
    copies = {pid: parent for pid, (parent, line) in lines.items() if _FORK_SERVER in line}
    return [pid for pid, parent in copies.items() if parent in copies]


def fork_servers() -> list[int]:
    """Return the processes that worker processes are copies of."""
    lines = look_at(below(), lambda one: " ".join(one.cmdline()))
    return [pid for pid, line in lines.items() if _FORK_SERVER in line and pid not in workers()]


_FORK_SERVER = "multiprocessing.forkserver"


def look_at(processes: Iterable[int | psutil.Process], look: Callable[..., Any]) -> dict[int, Any]:
    """Return what a look at each process tells, by pid, but for those that have ended."""
    found = {}
    for one in processes:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(one) if isinstance(one, int) else one
            found[process.pid] = look(process)
    return found
