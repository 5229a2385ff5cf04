"""What runs on a worker: a plain function, under the settings of the process that sent it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from quacc.errors import MissingProgramError


def pack(
    overrides: Mapping[str, Any], function: Callable[..., Any], args: Any, kwargs: Any
) -> bytes:
    """Return a call as bytes for :func:`run_packed`."""
    import cloudpickle

    packed: bytes = cloudpickle.dumps((overrides, function, args, kwargs))
    return packed


def run_packed(call: bytes) -> Any:
    """Call a function, or run a coroutine function to its end, under changed settings.

    Raises
    ------
    MissingProgramError
        Something that the call needs cannot be imported here. Left to Dask, such a call breaks
        the worker's connection, and the flow waits for ever.
    """
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
