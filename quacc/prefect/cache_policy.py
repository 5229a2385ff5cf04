"""Prefect's cache of task results, kept in quacc's results database and nowhere else.

Prefect asks a task's cache policy for a key, and a result store whether it has that key. The
policy here puts a store of its own in the place of Prefect's, which would write a file for each
result; so one cache serves Prefect's tasks, fan-outs and notebooks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from prefect.cache_policies import CachePolicy
from prefect.context import TaskRunContext
from prefect.results import ResultStore
from prefect.settings import PREFECT_TASKS_REFRESH_CACHE
from prefect.transactions import IsolationLevel
from prefect.utilities.callables import parameters_to_args_kwargs
from pydantic import PrivateAttr

from quacc.cache.once import TURNS
from quacc.cache.results import of_process
from quacc.errors import InputError
from quacc.recipes.tools.verbs import bare
from quacc.runners.calculation import Calculation
from quacc.runners.job import calculation_of


@dataclass
class InResultsDatabase(CachePolicy):
    """Serve a job of quacc's from the results database, by the key of its calculation."""

    # Equal calculations that start at once are computed once in each process.
    isolation_level: Literal["READ_COMMITTED", "SERIALIZABLE"] | IsolationLevel | None = (
        "SERIALIZABLE"
    )

    def compute_key(
        self,
        task_ctx: TaskRunContext,
        inputs: dict[str, Any],
        flow_parameters: dict[str, Any],
        **kwargs: Any,
    ) -> str | None:
        """Return the calculation's key; None for what cannot be looked up on this machine."""
        store = _DatabaseStore()
        task = task_ctx.task
        refresh = task.refresh_cache
        store._refresh = PREFECT_TASKS_REFRESH_CACHE.value() if refresh is None else refresh
        # The engine takes both from here next. It must not persist anything itself.
        task_ctx.result_store = store
        task_ctx.persist_result = False
        function = task.fn
        args, keywords = parameters_to_args_kwargs(function, inputs)
        try:
            calculation = calculation_of(bare(task), args, keywords)
        except InputError:  # the job says it
            return None
        if calculation is None:
            return None
        store._calculation = calculation
        return calculation.key


class _DatabaseStore(ResultStore):
    """What one attempt of a task run finds in the results database, and leaves there."""

    _calculation: Calculation[Any] | None = PrivateAttr(None)
    _refresh: bool = PrivateAttr(False)
    _found: Any = PrivateAttr(None)
    _has_turn: bool = PrivateAttr(False)

    def supports_isolation_level(self, level: IsolationLevel) -> bool:
        return True

    def acquire_lock(
        self, key: str, holder: str | None = None, timeout: float | None = None
    ) -> bool:
        TURNS.take(key)
        self._has_turn = True
        return True

    def release_lock(self, key: str, holder: str | None = None) -> None:
        if self._has_turn:
            self._has_turn = False
            TURNS.leave(key)

    def exists(self, key: str) -> bool:
        calculation = self._calculation
        if calculation is None or calculation.key != key:  # others' policies may have been added
            return False
        self._found = of_process().look_up(calculation)
        if self._found is None:
            return False
        self.release_lock(key)  # a transaction around this one would hold it to its own end
        return True

    def read(self, key: str, holder: str | None = None) -> Any:
        return self._found

    def create_result_record(self, obj: Any, key: str | None = None, expiration: Any = None) -> Any:
        """Store what a job has returned, and give it to the state as it is.

        Here, and not when the transaction commits, since one around it commits later, or never.
        """
        if not (isinstance(obj, BaseException) or obj is self._found):
            of_process().keep_now(obj, replace=self._refresh)
            if key is not None:
                self.release_lock(key)
        return obj
