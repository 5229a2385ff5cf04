"""The one door to the results: which are known, and how new ones get into the database."""

from __future__ import annotations

import copy
import logging
import os
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from quacc.cache.served import as_asked, is_usable
from quacc.errors import QuaccError, StoreError
from quacc.runners.calculation import Calculation
from quacc.schemas import FlowResult, Result
from quacc.settings import get_settings
from quacc.store import RejectedError, Store, Writer
from quacc.store.seal import is_computed, remove_seal, seal

logger = logging.getLogger(__name__)

ASKED = "asked"
"""Where a workflow's result has the key of what was asked for, in the database."""
FLOW_RUN = "flow_run"
"""Where it has the id of the Prefect flow run that computed it last, in the database."""

_MOST = 10_000
"""Keys that are remembered, since they may not be on disk yet; so memory stays flat."""


class ResultsCache:
    """The results of one run, of this process or of others; safe to use from all threads.

    What cannot be looked up is computed; what cannot be stored stops nothing: it is logged, and
    ``problem`` says what it was. Only when nothing could be stored for some minutes, an error
    ends the run.

    Parameters
    ----------
    store
        The database; None takes that of the settings whenever it is needed first.
    """

    def __init__(self, store: Store | None = None) -> None:
        self.problem: str | None = None
        """What could not be stored."""
        self.stop: StoreError | None = None
        """Why no more should be computed."""
        self.leaving = False
        """Whether the run ends anyway, so that no error has to end it."""
        self.count = 0
        """Results that have been taken."""
        self._store = store
        self._lock = threading.Lock()
        self._writer: Writer | None = None
        self._own = False
        self._new: set[str] = set()
        """Keys that may not be on disk yet."""

    @property
    def store(self) -> Store:
        """The database."""
        return self._store or Store()

    def find(self, calculations: Sequence[Calculation[Any]]) -> list[Any]:
        """Return the stored result of each calculation; None if it has to be computed.

        Only results that are converged and whole; each is the caller's own.
        """
        wanted = Counter(one.key for one in calculations)
        self._wait_for(wanted)
        try:
            stored = self.store.find(wanted, on_damage=_tell)
        except StoreError as error:  # costs only time
            logger.warning("Stored results cannot be looked up: %s", error)
            return [None] * len(calculations)
        own = _only_own()
        found: list[Any] = []
        for calculation in calculations:
            result = stored.get(calculation.key)
            if result is not None and is_usable(result, calculation, own):
                if wanted[calculation.key] > 1:
                    result = copy.deepcopy(result)
                remove_seal(result)
                found.append(as_asked(result, calculation))
            else:
                found.append(None)
        return found

    def look_up(self, calculation: Calculation[Any]) -> Any:
        """Return one stored result, also if a run before had to set it aside."""
        try:
            self.store.bring_in()
        except StoreError as error:
            logger.warning("Results that were set aside are not brought in: %s", error)
        return self.find([calculation])[0]

    def answers(self, questions: Iterable[str]) -> dict[str, Any]:
        """Return the results of workflows, by what was asked for.

        Only those that are converged and whole, and where everybody's are trusted: no workflow's
        row is signed, while its jobs' are, which are then looked up one by one.
        """
        wanted = set(questions)
        if not wanted or _only_own():
            return {}
        self._wait_for(wanted)
        try:
            keys = self.store.asked(wanted)
            found = self.store.find(keys.values(), on_damage=_tell)
        except StoreError as error:  # costs only time
            logger.warning("Stored results cannot be looked up: %s", error)
            return {}
        results: dict[str, Any] = {}
        for asked, key in keys.items():
            result = found.get(key)
            if (
                result is not None
                and result.pop(ASKED, None) == asked
                and FlowResult.__required_keys__ <= result.keys()
                and result["converged"] is True
            ):
                result.pop(FLOW_RUN, None)
                results[asked] = result
        return results

    def stored(self, keys: Iterable[str]) -> set[str]:
        """Return those of the keys that the database has; quick, and says no more."""
        try:
            return self.store.known(keys)
        except StoreError:  # costs only time
            return set()

    def keep(self, result: Any, *, replace: bool = False, ours: bool = True) -> None:
        """Store soon what a job or a workflow returned; what is no result of quacc's is not.

        Parameters
        ----------
        replace
            Write over the result of the same key, should there be one.
        ours
            Whether a job of quacc's returned it, and not a function around one, which may have
            changed its numbers.

        Raises
        ------
        StoreError
            Nothing could be stored for some minutes.
        """
        if not (is_result(result) or is_outcome(result)):
            return
        if not ours and is_result(result) and not is_computed(result):
            self._report(
                f"the numbers of {result['key'][:10]} are not those that {result['name']} computed"
            )
            return
        with self._lock:
            if self._writer is None:
                self._own = _only_own()
                self._writer = Writer(self.store).__enter__()
            try:
                self.count += 1
                self._new |= {result["key"], result.get(ASKED, result["key"])}
                signed = self._own and is_result(result)
                self._writer.put(_sealed(result, sign=self._own), replace=replace or signed)
            except RejectedError as error:
                self.count -= 1
                self._report(error)
            except StoreError as error:
                self._end(error)
        if len(self._new) > _MOST:
            self.flush()

    def keep_now(self, result: Any, *, replace: bool = False) -> None:
        """Store a result before returning, together with what other threads keep meanwhile."""
        with suppress(StoreError):  # of writing earlier ones; it is tried once more
            self.keep(result, replace=replace)
        self.flush()

    def flush(self) -> None:
        """Wait until everything taken so far is on disk."""
        with self._lock:
            writer, written = self._writer, set(self._new)
        if writer is not None:
            try:
                writer.flush()
            except StoreError as error:
                self._end(error)
        with self._lock:  # only now: who looks for one of them meanwhile waits, too
            self._new -= written

    def close(self) -> None:
        """Write what is waiting."""
        with self._lock:
            writer, self._writer = self._writer, None
        if writer is not None:
            try:
                writer.close()
            except StoreError as error:
                self._report(error)

    def _wait_for(self, keys: Iterable[str]) -> None:
        if not self._new.isdisjoint(keys):
            self.flush()

    def _end(self, error: StoreError) -> None:
        if not self.leaving:
            self.stop = error
            raise error

    def _report(self, error: Exception | str) -> None:
        self.problem = f"Results could not be stored in the database: {error}"
        logger.error("%s", self.problem)


_of_process: ResultsCache | None = None
_choosing = threading.Lock()


def of_process() -> ResultsCache:
    """Return the cache of this process for the database of the settings."""
    global _of_process
    store = Store()
    with _choosing:
        before = _of_process
        if before is not None and repr(before.store) == repr(store):
            return before
        _of_process = now = ResultsCache(store)
    if before is not None:
        before.close()
    return now


def _forget() -> None:
    """Leave to a forked parent what its threads write."""
    global _of_process, _choosing
    _of_process, _choosing = None, threading.Lock()


os.register_at_fork(after_in_child=_forget)


def is_result(value: Any) -> bool:
    """Tell whether a value is what a job of quacc's returns."""
    return isinstance(value, Mapping) and Result.__required_keys__ <= value.keys()


def is_outcome(value: Any) -> bool:
    """Tell whether a value is what a workflow returns."""
    return isinstance(value, Mapping) and FlowResult.__required_keys__ <= value.keys()


def _only_own() -> bool:
    """Tell whether only results that this user has signed are served.

    The settings take a millisecond: ask once, not for each result.
    """
    return get_settings().trust == "own"


def _sealed(result: Any, *, sign: bool) -> Any:
    """Return a result as it is stored; one that is signed replaces what others have written."""
    if not is_result(result):  # a workflow's, whose parts vouch for it
        return result
    try:
        return seal(result, sign=sign)
    except QuaccError as error:  # costs only time
        logger.error("The result %s is stored without a signature: %s", result["key"][:10], error)
        return result


def _tell(key: str, error: StoreError) -> None:
    logger.warning("A stored result cannot be read: %s", error)
