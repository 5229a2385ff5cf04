"""Worker processes that start without running the user's script again.

Python's multiprocessing imports the main module in every process that it spawns: for a script that
imports Prefect some seconds of CPU time for each worker, and for one without
``if __name__ == "__main__":`` an endless chain of flows. Workers need nothing of it, since what the
script defines is sent to them by value.
"""

from __future__ import annotations

import tempfile
from multiprocessing import context, popen_spawn_posix, spawn, util
from pathlib import Path
from types import FunctionType, SimpleNamespace
from typing import Any

import dask
from distributed.nanny import Nanny

from quacc.cluster.certificates import make_folder

_METHOD = "quacc-spawn"

# Otherwise "python -c", which starts workers and what tracks their resources, would import the
# standard library's modules from the current folder, where others may have written some. Workers
# are given this process's sys.path.
_flags = util._args_from_interpreter_flags  # type: ignore[attr-defined]
util._args_from_interpreter_flags = lambda: [*_flags(), "-P"]  # type: ignore[attr-defined]


def _preparation_data(name: str) -> dict[str, Any]:
    data: dict[str, Any] = spawn.get_preparation_data(name)
    return {key: value for key, value in data.items() if not key.startswith("init_main_from_")}


class _Popen(popen_spawn_posix.Popen):
    # The same code, which asks another function what the new process is to prepare.
    _launch = FunctionType(
        popen_spawn_posix.Popen._launch.__code__,  # type: ignore[attr-defined]
        {
            **vars(popen_spawn_posix),
            "spawn": SimpleNamespace(
                **{**vars(spawn), "get_preparation_data": _preparation_data},
            ),
        },
    )


class _Process(context.SpawnProcess):
    @staticmethod
    def _Popen(process: Any) -> Any:
        return _Popen(process)


class _Context(context.SpawnContext):
    _name = _METHOD
    Process = _Process


context._concrete_contexts[_METHOD] = _Context()  # type: ignore[attr-defined]


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
