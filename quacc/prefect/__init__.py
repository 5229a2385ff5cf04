"""Everything that touches Prefect and Dask."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from quacc.cluster.loopback import no_proxy_for_loopback

if TYPE_CHECKING:  # workers import quacc.cluster.worker, and must not load Prefect with it
    from quacc.cache.once import cached
    from quacc.prefect.fanout.fan_out import fan_out
    from quacc.prefect.flows import as_flow
    from quacc.prefect.runner import make_runner
    from quacc.prefect.tasks import as_task

__all__ = ["as_flow", "as_task", "cached", "fan_out", "make_runner"]

_HOMES = {
    "as_flow": "quacc.prefect.flows",
    "as_task": "quacc.prefect.tasks",
    "cached": "quacc.cache.once",
    "fan_out": "quacc.prefect.fanout.fan_out",
    "make_runner": "quacc.prefect.runner",
}


no_proxy_for_loopback()  # before anything here, or Prefect, makes a client


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
