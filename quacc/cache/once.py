"""Each calculation once: served from the results database, or computed and stored there."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable
from typing import Any

from quacc.cache.results import of_process
from quacc.errors import ParameterError
from quacc.recipes.tools.verbs import bare, innermost, stand_for
from quacc.runners.job import calculation_of, plan_of


def cached(job: Callable[..., Any], *, refresh: bool = False) -> Callable[..., Any]:
    """Return a job that computes only what is not in the results database yet.

    What it computes is in the database before it returns. Called from several threads at once
    with the same question, it computes once.

    Parameters
    ----------
    job
        A job of quacc's, or a ``functools.partial`` of one.
    refresh
        Compute in any case, and write over what is stored.

    Raises
    ------
    ParameterError
        The function is no job of quacc's, so nothing tells which of its results are equal.
    """
    if not hasattr(innermost(job), "submit"):  # a task is no job
        job = bare(job)
    if plan_of(job) is None:
        name = getattr(job, "__name__", None) or repr(job)
        raise ParameterError(
            f"{name} is no job of quacc's, so its results cannot be found again in the results "
            "database. Pass a job such as quacc.recipes.emt.core.relax_job, and call cached jobs "
            "inside functions of your own."
        )

    @functools.wraps(innermost(job))
    def call(*args: Any, **kwargs: Any) -> Any:
        calculation = calculation_of(job, args, kwargs)
        if calculation is None:  # its program is not here, which the job says
            return job(*args, **kwargs)
        TURNS.take(calculation.key)
        try:
            result = None if refresh else of_process().look_up(calculation)
            if result is None:
                result = job(*args, **kwargs)
                of_process().keep_now(result, replace=refresh)
            return result
        finally:
            TURNS.leave(calculation.key)

    call.__signature__ = inspect.signature(job)  # type: ignore[attr-defined]
    if not refresh:
        stand_for(call, job)
    return call


class Turns:
    """Lets one thread at a time work on a key."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._taken: set[str] = set()

    def take(self, key: str) -> None:
        """Wait until nobody else works on the key."""
        with self._changed:
            self._changed.wait_for(lambda: key not in self._taken)
            self._taken.add(key)

    def leave(self, key: str) -> None:
        """Let the next one work on the key."""
        with self._changed:
            self._taken.discard(key)
            self._changed.notify_all()


TURNS = Turns()
"""The turns of this process."""
