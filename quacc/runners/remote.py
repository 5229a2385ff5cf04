"""What travels to a worker and back: bytes, packed and unpacked here.

Left to Dask, a call that the worker cannot unpickle breaks its connection, and the flow waits
for ever.
"""

from __future__ import annotations

import asyncio
import inspect
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from quacc.errors import MissingProgramError, PreemptedError
from quacc.runners.deadline import stop_soon


class WorkerTracebackError(Exception):
    """The traceback on the worker, as the cause of the exception that came back."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def pack(
    overrides: Mapping[str, Any], function: Callable[..., Any], args: Any, kwargs: Any
) -> bytes:
    """Return a call as bytes for :func:`run_packed`, with the settings it is to run under."""
    import cloudpickle

    packed: bytes = cloudpickle.dumps((overrides, function, args, kwargs))
    return packed


def run_packed(call: bytes) -> bytes:
    """Call a function, or run a coroutine function to its end; return its packed outcome."""
    import cloudpickle

    outcome: tuple[Any, BaseException | None, str]
    try:
        outcome = (_run(call), None, "")
    # Every exception travels back, and unpack() raises it; sys.exit would end the worker.
    except (Exception, SystemExit) as error:
        if isinstance(error, PreemptedError):  # nor is there time for what comes next
            stop_soon(error.reason)
        outcome = (None, error, traceback.format_exc())
    try:
        packed: bytes = cloudpickle.dumps(outcome)
        cloudpickle.loads(packed)  # some exceptions can be sent but not received
    except Exception as error:
        what = "result" if outcome[1] is None else f"exception {outcome[1]!r}"
        told = RuntimeError(f"The job's {what} cannot be sent back from the worker: {error}")
        packed = cloudpickle.dumps((None, told, outcome[2]))
    return packed


def unpack(outcome: bytes) -> Any:
    """Return what the function returned, or raise what it raised."""
    import cloudpickle

    value, error, told = cloudpickle.loads(outcome)
    if isinstance(error, SystemExit):
        error = RuntimeError(f"The job called sys.exit({', '.join(map(repr, error.args))}).")
    if error is not None:
        raise error from WorkerTracebackError(told)
    return value


def _run(call: bytes) -> Any:
    import cloudpickle

    from quacc.settings import call_with

    try:
        overrides, function, args, kwargs = cloudpickle.loads(call)
    except ImportError as error:
        raise MissingProgramError(
            f"The worker cannot import what the job needs: {error}. Install it where the workers "
            "run, start them in the folder that holds it, or define the function in the script "
            "that runs the flow."
        ) from error

    def run() -> Any:
        outcome = function(*args, **kwargs)
        return asyncio.run(outcome) if inspect.iscoroutine(outcome) else outcome

    return call_with(overrides, run)
