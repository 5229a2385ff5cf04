"""Each calculation once: served from the results database, or computed and stored there."""

from __future__ import annotations

import functools
import inspect
import logging
import threading
from collections.abc import Callable
from typing import Any

from quacc.cache.keeping import only_own, sealed
from quacc.cache.known import Known, calculation_of
from quacc.errors import ParameterError, StoreError
from quacc.recipes.tools.verbs import bare, innermost, stand_for
from quacc.runners.calculation import Calculation
from quacc.runners.job import plan_of
from quacc.store import RejectedError, Store
from quacc.store.journal import Entry
from quacc.store.keeper import Keeper

logger = logging.getLogger(__name__)


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
            result = None if refresh else look_up(calculation)
            if result is None:
                result = job(*args, **kwargs)
                store_now(result, replace=refresh)
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
"""Of this process."""


class _Waiting:
    """A result on its way to the database."""

    def __init__(self, rows: Entry, store: Store) -> None:
        self.rows = rows
        self.store = store
        self.place = repr(store)


_waiting: list[_Waiting] = []
_keepers: dict[str, Keeper] = {}
"""By the database."""
_writing = threading.Lock()


def look_up(calculation: Calculation[Any]) -> Any:
    """Return the stored result, also if a run before had to set it aside; None if there is none."""
    store = Store()
    _keeper(store).catch_up()
    return Known(store).find([calculation])[0]


def _keeper(store: Store) -> Keeper:
    place = repr(store)
    return _keepers.get(place) or _keepers.setdefault(place, Keeper(store))


def store_now(result: Any, *, replace: bool = False) -> None:
    """Store a result of a job of quacc's before returning; what cannot be stored is logged.

    One thread writes what others wait to store meanwhile, all in one transaction.
    ``replace`` writes over the result of the same key, should there be one.

    Raises
    ------
    StoreError
        Nothing could be stored for some minutes.
    """
    store = Store()
    try:
        own = only_own()
        kept = sealed(result, sign=own)
        mine = _Waiting(store._rows(kept, replace=replace or own), store)
    except RejectedError as error:
        logger.error("A result could not be stored in the database: %s", error)
        return
    _waiting.append(mine)
    with _writing:
        keeper = _keeper(store)
        if mine in _waiting:  # no other thread has written it
            batch = [one for one in _waiting if one.place == mine.place]
            for one in batch:
                _waiting.remove(one)
            try:
                keeper.write([one.rows for one in batch])
            except BaseException:
                _waiting.extend(one for one in batch if one is not mine)
                raise
        if keeper.stop is not None:
            raise StoreError(str(keeper.stop))
