"""Worker processes that start at once, without running the user's script again.

They are copies of one process that has imported what workers need, a fork server: each of 64
workers of a node would else read the same thousand files again, and take a second of CPU time for
it. Where there can be none, they are spawned.

Of its own accord, Python's multiprocessing imports the main module in every process that it starts:
for a script that imports Prefect some seconds of CPU time for each worker, and for one without
``if __name__ == "__main__":`` an endless chain of flows. Workers need nothing of it, since what the
script defines is sent to them by value.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys
import tempfile
import threading
from contextlib import suppress
from multiprocessing import (
    connection,
    context,
    forkserver,
    popen_forkserver,
    popen_spawn_posix,
    reduction,
    spawn,
    util,
)
from multiprocessing.connection import wait
from pathlib import Path
from types import FunctionType, SimpleNamespace
from typing import Any

import dask
from distributed.nanny import Nanny

from quacc.cluster.certificates import make_folder

logger = logging.getLogger(__name__)

_METHOD = "quacc"

_PRELOAD = [
    *("distributed", "tornado.platform.asyncio", "multiprocessing.synchronize", "numpy.random"),
    *("ase.constraints", "ase.neighborlist", "quacc.settings", "quacc.runners.relax"),
    *("quacc.cluster.worker", "quacc.cluster.spawn", "quacc.cluster.forked"),
]
"""What takes long to import, and every worker needs."""

_AT_START = ("PYTHON", "LD_", "MALLOC_", "OMP_", "MKL_", "OPENBLAS_", "GOTO_", "BLIS_", "NUMEXPR_")
"""Beginnings of the names of variables that a process reads only once, when it starts."""

# Otherwise "python -c", which starts workers and what tracks their resources, would import the
# standard library's modules from the current folder, where others may have written some. Workers
# are given this process's sys.path.
_flags = util._args_from_interpreter_flags  # type: ignore[attr-defined]
util._args_from_interpreter_flags = lambda: [*_flags(), "-P"]  # type: ignore[attr-defined]


def _preparation_data(name: str) -> dict[str, Any]:
    data: dict[str, Any] = spawn.get_preparation_data(name)
    return {key: value for key, value in data.items() if not key.startswith("init_main_from_")}


_spawn = SimpleNamespace(**{**vars(spawn), "get_preparation_data": _preparation_data})


def _changed(launch: Any, **names: Any) -> Any:
    """Return a method with other modules in the place of those that it uses."""
    return FunctionType(launch.__code__, {**launch.__globals__, **names})


class _SpawnPopen(popen_spawn_posix.Popen):
    _launch = _changed(popen_spawn_posix.Popen._launch, spawn=_spawn)  # type: ignore[attr-defined]


_servers: dict[Any, forkserver.ForkServer] = {}
_lock = threading.Lock()


def _forget() -> None:
    """Leave to a forked parent what is its."""
    global _lock
    _servers.clear()
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_forget)


def _server() -> forkserver.ForkServer:
    """Return the fork server of this process, for the environment as it is.

    Raises
    ------
    OSError
        There can be none.
    """
    read = tuple(sorted(one for one in os.environ.items() if one[0].startswith(_AT_START)))
    with _lock:
        server = _servers.setdefault(read, forkserver.ForkServer())
        server.set_forkserver_preload(_PRELOAD)
        server.ensure_running()
    return server


class _ForkPopen(popen_forkserver.Popen):
    _launch = _changed(
        popen_forkserver.Popen._launch,  # type: ignore[attr-defined]
        spawn=_spawn,
        forkserver=SimpleNamespace(
            connect_to_new_process=lambda fds: _server().connect_to_new_process(fds),
            read_signed=forkserver.read_signed,
        ),
    )

    def __init__(self, process: Any) -> None:
        self._reading = threading.Lock()
        super().__init__(process)

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """Return how the process ended; its end is told once, whichever thread asks."""
        if self.returncode is None and wait([self.sentinel], 0 if flag == os.WNOHANG else None):
            with self._reading:
                if self.returncode is None:
                    super().poll(os.WNOHANG)
        return self.returncode


class _Process(context.ForkServerProcess):
    """A new process that has what one that is spawned would have."""

    @staticmethod
    def _Popen(process: Any) -> Any:
        # Until Python 3.11.1, everybody on the machine could connect to a fork server.
        address: str = connection.arbitrary_address("AF_UNIX")  # type: ignore[attr-defined]
        if address.startswith("\0"):
            return _SpawnPopen(process)
        try:
            _server()
        except OSError as error:  # such as a temporary folder with too long a name for a socket
            logger.info("There is no fork server, so each worker imports all anew: %s", error)
            return _SpawnPopen(process)
        return _ForkPopen(process)

    def __getstate__(self) -> dict[str, Any]:
        given = {1: sys.__stdout__, 2: sys.__stderr__}  # None where it was closed at the start
        streams = {
            one: reduction.DupFd(one) for one, stream in given.items() if stream and _is_open(one)
        }
        own = dict(os.environ), streams, _umask(), os.sched_getaffinity(0)
        return {**vars(self), "_own": own}

    def run(self) -> None:
        from quacc.cluster.forked import BEFORE

        for number, handler in BEFORE.items():
            signal.signal(number, handler)
        environment, streams, umask, cores = vars(self).pop("_own")
        os.environ.clear()
        os.environ.update(environment)
        for stream, copied in streams.items():
            descriptor = copied.detach()
            if descriptor != stream:  # as it is in a process that was spawned
                os.dup2(descriptor, stream)
                os.close(descriptor)
        if umask is not None:
            os.umask(umask)
        os.sched_setaffinity(0, cores)
        import numpy as np

        from quacc.settings import inherit

        inherit()
        np.random.seed()  # else all copies would draw the same numbers
        super().run()

    def _bootstrap(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super()._bootstrap(*args, **kwargs)  # type: ignore[misc]
        finally:
            atexit._run_exitfuncs()  # which a copy leaves out


class _Context(context.ForkServerContext):
    _name = _METHOD
    Process = _Process


context._concrete_contexts[_METHOD] = _Context()  # type: ignore[attr-defined]


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _umask() -> int | None:
    """Return the umask, which Python tells only by changing it for all threads."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    return None


def make_scratch(base: str | None) -> Path:
    """Return a new folder of this user's alone for Dask's files, which are on ``sys.path``.

    Dask's own has a known name, in a temporary folder that may be everybody's: whoever makes it
    first can change what workers import.

    Parameters
    ----------
    base
        Where it is to be, instead of where Dask would make its own.
    """
    base = base or dask.config.get("temporary-directory") or tempfile.gettempdir()
    return make_folder(str(base), "quacc-worker-")


class WorkNanny(Nanny):
    """A nanny whose worker processes do not run the user's script again."""

    async def instantiate(self) -> Any:
        """Start the worker process, also anew."""
        with dask.config.set({"distributed.worker.multiprocessing-method": _METHOD}):
            return await super().instantiate()
