"""Two lanes of tests at once: those that wait, and those that compute.

What waits (for Slurm's clock, a server's patience, the start of a worker) leaves the processors to
others, so that some more workers of pytest-xdist than processors have such tests; each of these
tests is a piece of work of its own. What computes stays together by file, on as many workers as
there are processors. A worker whose lane is empty helps the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from xdist.scheduler import LoadScopeScheduling

WAITING = (
    "tests/prefect/test_notebook.py",
    "tests/prefect/test_faults_nodes.py",
    "tests/prefect/test_chaos.py",
    "tests/prefect/test_lost_server.py",
    "tests/cluster/test_allocation.py",
    "tests/cli/test_main.py",
    "tests/prefect/test_security.py",
    "tests/prefect/test_slow_api.py",
    "tests/sites/test_doctor.py",
    "tests/prefect/test_cancel.py",
    "tests/prefect/test_faults.py",
    "tests/prefect/",
)
"""Beginnings of the paths of tests that wait; what takes longest comes first."""

TOGETHER = (
    "tests/prefect/test_security.py",
    "tests/prefect/test_slow_api.py",
    "tests/sites/test_doctor.py",
)
"""Files of them whose tests share what takes long to make."""

COMPUTING = 2
"""Workers for what computes."""


def lane(nodeid: str) -> int | None:
    """Return the place of a test, or of a file, in the lane of what waits; None in the other."""
    return next((i for i, start in enumerate(WAITING) if nodeid.startswith(start)), None)


class Lanes(LoadScopeScheduling):  # type: ignore[misc]
    """Give each worker of pytest-xdist the next piece of work of its lane."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        return file if lane(file) is None or file in TOGETHER else nodeid

    def _waits(self, node: Any) -> bool:
        return int(node.gateway.id.removeprefix("gw")) >= COMPUTING

    def _assign_work_unit(self, node: Any) -> None:
        self.workqueue.move_to_end(self._next(self.workqueue, self._waits(node)), last=False)
        super()._assign_work_unit(node)

    def _next(self, scopes: Iterable[str], waits: bool) -> str:
        """Return the next scope of a lane, or of the other where there is none."""
        scopes = list(scopes)
        if waits:
            return min(scopes, key=lambda scope: len(WAITING) if (i := lane(scope)) is None else i)
        return next((scope for scope in scopes if lane(scope) is None), scopes[-1])

    def _reschedule(self, node: Any) -> None:
        # A worker begins a test when it knows the one after it; what it knows, no other can take.
        if self.workqueue and self._pending_of(self.assigned_work[node]) > 1:
            return
        super()._reschedule(node)
