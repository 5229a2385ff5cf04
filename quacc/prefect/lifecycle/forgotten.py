"""Runs that their Prefect server no longer knows, because its database was deleted or exchanged.

Prefect's engine then ends a flow that has computed everything with ``ObjectNotFound None``. Here
the flow ends as it would have ended, and the person reads that its end is not recorded.
"""

from __future__ import annotations

import inspect
import logging
from typing import Any

import httpx
from prefect.client.schemas import OrchestrationResult
from prefect.client.schemas.objects import State
from prefect.client.schemas.responses import SetStateStatus, StateAcceptDetails
from prefect.exceptions import ObjectNotFound

logger = logging.getLogger(__name__)

_BROKEN = 500


def end_also_forgotten(client: Any) -> None:
    """Let a client's flow runs come to their end, whether the server knows them or not."""
    ask = client.set_flow_run_state
    if hasattr(ask, "forgives"):
        return

    def set_state(flow_run_id: Any, state: State[Any], force: bool = False) -> Any:
        try:
            return ask(flow_run_id, state, force)
        except (ObjectNotFound, httpx.HTTPStatusError) as error:
            return _accepted(flow_run_id, state, error)

    async def set_state_async(flow_run_id: Any, state: State[Any], force: bool = False) -> Any:
        try:
            return await ask(flow_run_id, state, force)
        except (ObjectNotFound, httpx.HTTPStatusError) as error:
            return _accepted(flow_run_id, state, error)

    wrapped: Any = set_state_async if inspect.iscoroutinefunction(ask) else set_state
    wrapped.forgives = True
    client.set_flow_run_state = wrapped


def _accepted(run: Any, state: State[Any], error: Exception) -> OrchestrationResult[Any]:
    """Return the answer of a server that has taken a run's last state, or raise its error."""
    broken = isinstance(error, httpx.HTTPStatusError) and error.response.status_code == _BROKEN
    if not state.is_final() or not (broken or isinstance(error, ObjectNotFound)):
        raise error
    logger.error(
        "The Prefect server no longer knows the flow run %s: its database was deleted, damaged, "
        "or exchanged for another one. That the run ended as %s is not recorded there. Its results "
        "are kept: what quacc's jobs computed is in the results database, and is not computed "
        "again.",
        run,
        state.name,
    )
    details = StateAcceptDetails()
    return OrchestrationResult(state=state, status=SetStateStatus.ACCEPT, details=details)
