"""Worker processes on this machine's cores, for runs without a server: neither Dask nor Prefect."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from quacc.cluster.transport import run_packed
from quacc.runners.deadline import stop_soon

_PATIENCE = 5.0
"""Seconds that a calculation has for its next step, and its checkpoint, before it is killed."""


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Cores:
    """Workers that compute one call each at a time; they start when they are needed first.

    Parameters
    ----------
    count
        How many there are.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._idle: list[_Worker] = []
        self._busy: dict[Connection, tuple[_Worker, int]] = {}

    @property
    def are_free(self) -> bool:
        """Whether a worker is idle."""
        return len(self._busy) < self._count

    def start(self, number: int, call: bytes) -> None:
        """Start a call from :func:`quacc.cluster.transport.pack` on an idle worker."""
        while True:
            if not self._idle:
                # All at once, since only a process without threads can be copied safely.
                start = _Copied if threading.active_count() == 1 else _Started
                missing = self._count - len(self._busy)
                self._idle = [start() for _ in range(missing if start is _Copied else 1)]
            worker = self._idle.pop()
            try:
                worker.connection.send_bytes(call)
            except OSError:  # it was killed while it had nothing to do
                worker.end()
            else:
                self._busy[worker.connection] = worker, number
                return

    def make_ready(self) -> None:
        """Start all workers now, if that takes next to nothing."""
        if not self._busy and not self._idle and threading.active_count() == 1:
            self._idle = [_Copied() for _ in range(self._count)]

    def kill(self) -> None:
        """End what is computed, at once and for good."""
        for worker, _ in self._busy.values():
            worker.end()
        self._busy = {}

    def ended(self, timeout: float) -> list[tuple[int, bytes | None, str]]:
        """Wait for calls to end (s); return number and packed outcome.

        None in place of an outcome if the call has killed its worker, and in words how.
        """
        found: list[tuple[int, bytes | None, str]] = []
        for connection in wait(list(self._busy), timeout):
            assert isinstance(connection, Connection)
            worker, number = self._busy.pop(connection)
            try:
                found.append((number, connection.recv_bytes(), ""))
            except (EOFError, OSError):
                found.append((number, None, worker.end()))
            else:
                self._idle.append(worker)
        return found

    def close(self) -> list[tuple[int, bytes | None, str]]:
        """End all workers; return what has ended, as :meth:`ended` does.

        What they compute writes a checkpoint, if its next step comes soon.
        """
        for worker, _ in self._busy.values():
            worker.ask_to_stop()
        found, deadline = [], time.monotonic() + _PATIENCE
        while self._busy and time.monotonic() < deadline:
            found += self.ended(0.1)
        for worker in [*self._idle, *(worker for worker, _ in self._busy.values())]:
            worker.end()
        self._idle, self._busy = [], {}
        return found


class _Worker:
    """A process in a session of its own, so that a terminal's Ctrl-C reaches only the run."""

    pid: int
    connection: Connection

    def ask_to_stop(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)

    def end(self) -> str:
        """Kill it, and what it has started; return how it ended, in words."""
        self.connection.close()
        for kill in (os.killpg, os.kill):  # it may not lead its group yet
            with suppress(ProcessLookupError, PermissionError):
                kill(self.pid, signal.SIGKILL)
        code = self._wait()
        if code < 0:
            with suppress(ValueError):
                return f"signal {signal.Signals(-code).name}"
        return f"exit status {code}"

    def _wait(self) -> int:
        raise NotImplementedError


class _Copied(_Worker):
    """A copy of this process, which has imported everything already."""

    def __init__(self) -> None:
        mine, others = socket.socketpair()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                mine.close()
                os.setsid()
                serve(others.detach())
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        others.close()
        self.connection = Connection(mine.detach())

    def _wait(self) -> int:
        with suppress(ChildProcessError):
            return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return 0


class _Started(_Worker):
    """A new process, which does not run the user's script again."""

    def __init__(self) -> None:
        mine, others = socket.socketpair()
        code = f"import sys; sys.path[:] = {sys.path!r}\n"
        code += f"from quacc.cluster.cores import serve; serve({others.fileno()})"
        self._process: Any = subprocess.Popen(
            [sys.executable, "-P", "-c", code],
            pass_fds=[others.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.pid = self._process.pid
        others.close()
        self.connection = Connection(mine.detach())

    def _wait(self) -> int:
        return int(self._process.wait())


def serve(descriptor: int) -> None:
    """Compute the calls that come through a socket, until its other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: stop_soon("the run was interrupted"))
    connection = Connection(descriptor)
    threading.Thread(target=_watch, args=(os.getppid(),), daemon=True).start()
    while True:
        try:
            call = connection.recv_bytes()
        except (EOFError, OSError):
            return
        connection.send_bytes(run_packed(call))


def _watch(parent: int) -> None:
    """Stop what is computed, from its next checkpoint on, once nobody waits for it."""
    gone = threading.Event()
    while os.getppid() == parent:
        gone.wait(1.0)
    stop_soon("the process that it was computed for has ended")
