"""What quacc's promises rest on in Dask's configuration, whatever the user's own file says."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dask
import distributed.config  # noqa: F401  (adds its defaults to Dask's)
from dask.utils import parse_timedelta

CONFIG = {
    # A lost calculation comes back to the flow, which decides what becomes of it.
    "distributed.scheduler.allowed-failures": 0,
    # A worker gets a calculation when it is free, so that none waits on one that dies.
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.deploy.lost-worker-timeout": "1s",
    # Dask watches itself closely, at a few per cent of every core; calculations pay for it.
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "500ms",
    "distributed.admin.system-monitor.interval": "2s",
    "distributed.worker.memory.monitor-interval": "500ms",
    "distributed.scheduler.work-stealing": False,  # no worker holds what another could do
}
"""What Dask is to do otherwise than by default, in the flow's process and on workers."""

_PATIENCE = (
    "distributed.scheduler.worker-ttl",
    "distributed.comm.timeouts.connect",
    "distributed.comm.timeouts.tcp",
)
"""What the user's own configuration may make longer, as slow networks need it, but not shorter."""

_lock = threading.Lock()
_theirs: list[dict[str, Any]] = []
_holders = 0


@contextmanager
def configured() -> Iterator[None]:
    """Use quacc's configuration of Dask inside the block, for all threads."""
    global _holders
    with _lock:
        if not _holders:
            _theirs.append(dask.config.get("distributed"))
            configure()
        _holders += 1
    try:
        yield
    finally:
        with _lock:
            _holders -= 1
            if not _holders:
                dask.config.set(distributed=_theirs.pop())


def configure() -> None:
    """Replace the whole section ``distributed`` in this process by Dask's own and quacc's.

    One value of many, such as ``worker.memory.terminate`` or ``worker.lifetime``, can make workers
    end and start for ever.
    """
    ours = {"distributed": copy.deepcopy(dask.config.merge(*dask.config.defaults)["distributed"])}
    for name in _PATIENCE:
        given = dask.config.get(name)
        if _seconds(given) > _seconds(dask.config.get(name, config=ours)):
            dask.config.set({name: given}, config=ours)
    dask.config.set(CONFIG, config=ours)
    dask.config.set(distributed=ours["distributed"])


def overridden() -> list[str]:
    """Return which of the user's own values of Dask's section ``distributed`` do not hold."""
    theirs = _flat(dask.config.get("distributed"))
    usual = _flat(dask.config.merge(*dask.config.defaults)["distributed"])
    return sorted(
        f"distributed.{name}"
        for name, value in theirs.items()
        if value != usual.get(name) and f"distributed.{name}" not in _PATIENCE
    )


def _flat(section: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in section.items():
        key = f"{prefix}{str(name).replace('_', '-')}"
        found |= _flat(value, f"{key}.") if isinstance(value, dict) else {key: value}
    return found


def _seconds(value: Any) -> float:
    try:
        return float(parse_timedelta(value) or 0)
    except (TypeError, ValueError, KeyError, AttributeError):
        return 0.0
