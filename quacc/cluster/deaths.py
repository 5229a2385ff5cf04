"""What Dask's nannies load (``--preload-nanny quacc.cluster.deaths``): how worker processes end.

A nanny, the parent of a worker process, sees its exit status and its memory, and tells the
scheduler, so that a person reads what is known, and no guess.
"""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from dask.utils import format_bytes
from distributed.nanny import Nanny
from tornado.ioloop import PeriodicCallback

_LOOK = 500.0  # ms

_WAIT = 2.0  # s, for the scheduler

LOST = "its process ended with exit status 255, or that which workers are copies of was killed"
"""How a worker ended whose end the fork server did not tell."""

_CGROUPS = Path("/sys/fs/cgroup")


def dask_setup(nanny: Nanny) -> None:
    """Watch over the worker process of a nanny; Dask calls it before that starts."""
    seen = {"memory": 0, "pid": 0, "kills": _kernel_kills()}
    exited = nanny._on_worker_exit

    def look() -> None:
        with suppress(psutil.Error, AttributeError):
            process: Any = nanny.process
            if process.pid:
                seen.update(pid=process.pid, memory=psutil.Process(process.pid).memory_info().rss)

    async def tell(exitcode: int) -> None:
        manager: Any = nanny.memory_manager
        text = in_words(
            exitcode,
            memory=seen["memory"],
            limit=manager.memory_limit,
            ended_by_nanny=seen["pid"] == manager._last_terminated_pid,
            ended_by_kernel=_kernel_kills() > seen["kills"],
        )
        seen.update(memory=0, pid=0, kills=_kernel_kills())
        with suppress(OSError):  # also a TimeoutError: the flow may be gone
            report = nanny.scheduler.quacc_died(worker=str(nanny.name), text=text)
            await asyncio.wait_for(report, _WAIT)
        await exited(exitcode)

    nanny._on_worker_exit = tell
    nanny.periodic_callbacks["quacc-memory"] = PeriodicCallback(look, _LOOK)


def in_words(
    exitcode: int, *, memory: int, limit: int | None, ended_by_nanny: bool, ended_by_kernel: bool
) -> str:
    """Return how a worker process ended, for people.

    Parameters
    ----------
    exitcode
        Its exit status, or the negative number of the signal that killed it.
    memory, limit
        What it used when it was last looked at, and what it may (bytes); 0 and None: not known.
    ended_by_nanny
        The nanny ended it, because of its memory.
    ended_by_kernel
        The kernel killed a process in this control group, because of its memory.
    """
    if ended_by_nanny and limit:
        return f"its process was killed, because it used more than its {_size(limit)} of memory"
    if exitcode < 0:
        try:
            name = signal.Signals(-exitcode).name
        except ValueError:
            name = f"signal {-exitcode}"
        how = f"its process was killed by {name}"
    elif exitcode == 255:
        how = LOST
    else:
        how = f"its process ended by itself with exit status {exitcode}"
    if ended_by_kernel:
        how += ", by the kernel, because it used too much memory"
    if not memory:
        return how
    of = f" of {_size(limit)}" if limit else ""
    return f"{how}; it used {_size(memory)}{of} of memory when it was last seen"


def _size(count: int) -> str:
    return format_bytes(count).replace(" ", "")


def _kernel_kills() -> int:
    """Return how many processes of this control group the kernel has killed for memory."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers not in ("", "memory"):
                continue
            file = "memory/" * bool(controllers), "oom_control" if controllers else "events"
            counts = (_CGROUPS / file[0] / path.lstrip("/") / f"memory.{file[1]}").read_text()
            for count in counts.splitlines():
                if count.startswith("oom_kill "):
                    return int(count.split()[1])
    return 0
