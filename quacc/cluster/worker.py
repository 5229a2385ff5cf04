"""What every Dask worker loads first (``--preload quacc.cluster.worker``); no Prefect here.

A worker that must leave, because its batch job ends or is ended, lets its calculations write
their checkpoints, hands over what is finished, and takes nothing new. Programs that it started
never outlive it.
"""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing.process
import os
import signal
import socket
import subprocess
import threading
from collections import deque
from contextlib import suppress
from typing import Any

import dask
from distributed.comm import CommClosedError
from distributed.core import Status
from distributed.worker import Worker, get_worker

from quacc.cluster.transport import Outcome, outcome_of, run_calls, set_place
from quacc.runners import deadline
from quacc.runners.processstate import CHANGED, own_process

_SIGTERM = "its batch job is being ended, or it used too much memory"

_PAUSE = 0.5  # seconds between two looks at the clock

_GATHER = 0.07  # seconds; each message makes the calculation wait, since both need Python's lock

_SENT = 5.0  # seconds that a message has to leave

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # as malloc.h has them

_kept: list[Any] = []  # what must live as long as the process


def compute_chunk(calls: bytes, budget: float, chunk: str, *, at_once: bool = False) -> None:
    """Call a function many times; stream each outcome to the scheduler, in the flow's process.

    So whatever kills this process loses only the calculation that it runs, and no result has to
    be fetched from it.

    Parameters
    ----------
    calls, budget
        See :func:`quacc.cluster.transport.run_calls`.
    chunk
        Its name, for the scheduler.
    at_once
        Go on only when the scheduler has been told, since a calculation may keep this process
        from telling anything: one that holds the interpreter lock for ever. Then its time limit
        would blame the one before it.
    """
    worker = get_worker()
    waiting: deque[dict[str, Any]] = deque()

    def send() -> None:
        news = []
        while waiting:
            news.append(waiting.popleft())
        if news:
            with suppress(CommClosedError):  # nobody waits any more
                worker.batched_stream.send({"op": "quacc-news", "chunk": chunk, "news": news})

    async def send_now(sent: threading.Event) -> None:
        send()
        while worker.batched_stream.buffer and not worker.batched_stream.closed():
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.001)
        sent.set()

    def tell_now(**news: Any) -> None:
        waiting.append(news)
        sent = threading.Event()
        worker.loop.add_callback(send_now, sent)
        if at_once:
            sent.wait(_SENT)

    def tell(outcome: Outcome) -> None:
        if at_once:
            tell_now(outcome=vars(outcome))
            return
        waiting.append({"outcome": vars(outcome)})
        if len(waiting) == 1:  # else somebody is on the way
            worker.loop.add_callback(worker.loop.call_later, _GATHER, send)

    tell_now()  # that it begins
    tell_now(end=outcome_of(lambda: run_calls(calls, budget, tell))[0])


def dask_setup(worker: Worker) -> None:
    """Prepare this process; Dask calls it when the worker starts."""
    set_place(os.environ.get("SLURMD_NODENAME") or socket.gethostname(), worker.address)
    # A flow that a job calls would start a server of its own here, open to everybody.
    os.environ["PREFECT_SERVER_ALLOW_EPHEMERAL_MODE"] = "false"
    if not dask.config.get("distributed.worker.http.routes"):
        worker.http_server.stop()
    # A worker with much in memory would be paused for good, and one that leaves go on; the
    # nanny's limit remains.
    worker.memory_manager.memory_pause_fraction = False
    # A hundred samples a second of what a calculation does cost it some per cent of its time.
    for name in ("profile", "profile-cycle", "tick"):
        worker.periodic_callbacks.pop(name, None)
    _keep_freed_memory()
    if worker.state.nthreads == 1:
        own_process()
    # Dask starts workers as daemons, which may start no processes. They end all the same: the
    # nanny's process still knows this one as a daemon.
    multiprocessing.process.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
    _end_programs_with_this_process()
    # Slurm sends SIGTERM some seconds before SIGKILL, at the end of the walltime and when a
    # job is cancelled or preempted, and so does Dask's nanny to a worker with too much memory.
    # Dask's worker processes would die of it at once.
    signal.signal(signal.SIGTERM, lambda *_: deadline.stop_soon(_SIGTERM))
    _kept.append(asyncio.ensure_future(_leave_in_time(worker)))


def dask_teardown(worker: Worker) -> None:
    """Let calculations write checkpoints; Dask then waits for them some seconds."""
    deadline.stop_soon("its worker is closing")


def _keep_freed_memory() -> None:
    """Undo Dask's ``MALLOC_TRIM_THRESHOLD_``.

    It hands memory back to the system whenever some is free, which many small arrays then have to
    ask for again: a twelfth of the time of EMT. These are near the values that the GNU C library
    ends at by itself; others have no such function.
    """
    with suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_TRIM_THRESHOLD, 64 << 20)
        mallopt(_MMAP_THRESHOLD, 32 << 20)


async def _leave_in_time(worker: Worker) -> None:
    deadline.limit_margin()
    margin = deadline.the_margin() if deadline.job_end() else 0.0
    while not (reason := deadline.stopping(margin)):
        await asyncio.sleep(_PAUSE)
    in_time = reason != _SIGTERM and not reason.startswith(CHANGED)
    if worker.status in (Status.running, Status.paused):
        # In either state, the scheduler sends no more tasks; the first tells it why.
        worker.status = Status.closing_gracefully if in_time else Status.paused
    while worker.state.executing_count or worker.data:  # until results have been fetched
        await asyncio.sleep(_PAUSE)
    # After a SIGTERM because of its memory, or a job that left its mark, the nanny starts it anew.
    await worker.close(nanny=in_time, reason=f"quacc: {reason}")


def _end_programs_with_this_process() -> None:
    """Kill the programs that calculations started when this process ends, however it ends.

    A pipe to a small process of another session breaks when this one is gone.
    """
    try:
        os.setsid()  # and Ctrl-C in a terminal is for the flow alone
    except PermissionError:  # it leads a group already
        if os.getpgrp() != os.getpid():
            raise
    watchdog = subprocess.Popen(
        ["/bin/sh", "-c", f"trap '' INT TERM HUP; cat > /dev/null; kill -KILL -{os.getpgrp()}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    _kept.append(watchdog)
    forks = threading.local()  # a calculation may fork in several threads at once

    def before() -> None:
        # A SIGTERM for a child that has this process's handler still would be lost, and who
        # sent it (Pool.terminate) wait for ever.
        forks.mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def in_parent() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, forks.mask)

    def in_child() -> None:
        if watchdog.stdin is not None:
            watchdog.stdin.close()  # an open end here would hide that the worker's own is gone
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, forks.mask)

    os.register_at_fork(before=before, after_in_parent=in_parent, after_in_child=in_child)
