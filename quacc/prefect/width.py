"""How many jobs a task runner can run at a time."""

from __future__ import annotations

from typing import Any

from quacc.cluster.cores import usable_cores


def width_of(runner: Any) -> int:
    """Return how many jobs a task runner, or the one that it stands for, runs at a time."""
    runner = innermost_runner(runner)
    cores = usable_cores()
    if hasattr(runner, "width"):
        return max(int(runner.width), 1)
    if hasattr(runner, "client"):  # prefect-dask's
        return max(sum(runner.client.nthreads().values()), 1)
    # Prefect's own threads have no limit worth the name.
    return min(int(getattr(runner, "_max_workers", None) or cores), cores)


def innermost_runner(runner: Any) -> Any:
    """Return the task runner that another one stands for: an enclosing flow's, or a watched one."""
    while "runner" in vars(runner or object):
        runner = runner.runner
    return runner
