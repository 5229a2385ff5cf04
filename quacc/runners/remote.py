"""What runs on a worker: a plain function, under the settings of the process that sent it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def run_remote(
    overrides: Mapping[str, Any],
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> Any:
    """Call a function, or run a coroutine function to its end, under changed settings."""
    from quacc.settings import call_with

    def call() -> Any:
        outcome = function(*args, **kwargs)
        return asyncio.run(outcome) if inspect.iscoroutine(outcome) else outcome

    return call_with(overrides, call)
