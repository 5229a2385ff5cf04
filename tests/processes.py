"""Looking at processes, which may end at any moment."""

import fcntl
import os
import signal
import subprocess
import termios
import time
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


def stop(child: subprocess.Popen) -> None:
    """Stop a child of this process; returns when it has stopped.

    Until then it may yet take what comes through a pipe.
    """
    child.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED)


def end_when_asked(child: subprocess.Popen, pipe: int, by: signal.Signals) -> None:
    """End a stopped child as soon as something waits for it in the pipe."""
    while fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)) == bytes(4):
        time.sleep(0.01)
    child.send_signal(by)
    child.send_signal(signal.SIGCONT)
