"""Everything that touches Prefect and Dask."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from quacc.prefect.loopback import no_proxy_for_loopback

if TYPE_CHECKING:  # workers import quacc.prefect.worker, and must not load Prefect with it
    from quacc.prefect.fanout import fan_out
    from quacc.prefect.flows import as_flow
    from quacc.prefect.once import cached
    from quacc.prefect.runner import make_runner
    from quacc.prefect.tasks import as_task

__all__ = ["as_flow", "as_task", "cached", "fan_out", "make_runner"]

_HOMES = {
    "as_flow": "flows",
    "as_task": "tasks",
    "cached": "once",
    "fan_out": "fanout",
    "make_runner": "runner",
}


no_proxy_for_loopback()  # before anything here, or Prefect, makes a client


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
