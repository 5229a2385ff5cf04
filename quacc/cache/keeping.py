"""The one road of computed results to the database."""

from __future__ import annotations

import logging
import threading
from typing import Any

from quacc.errors import QuaccError, StoreError
from quacc.settings import get_settings
from quacc.store import RejectedError, Store, Writer
from quacc.store.seal import seal

logger = logging.getLogger(__name__)


class Keeping:
    """Stores results soon, for one run; safe to use from all threads.

    What cannot be stored stops nothing: it is logged, and ``problem`` says what it was. Only
    when nothing could be stored for some minutes, an error ends the run.

    Parameters
    ----------
    store
        The database; None takes that of the settings at the first result.
    interval
        The longest time that a result waits for others (s).
    """

    def __init__(self, store: Store | None = None, *, interval: float = 0.5) -> None:
        self.problem: str | None = None
        self.leaving = False
        """Whether the run ends anyway, so that no error has to end it."""
        self.count = 0
        """Results that have been taken."""
        self._store = store
        self._interval = interval
        self._lock = threading.Lock()
        self._writer: Writer | None = None
        self._own = False

    def put(self, result: Any, *, replace: bool = False) -> None:
        """Store a result soon.

        ``replace`` writes over the result of the same key, should there be one.

        Raises
        ------
        StoreError
            Nothing could be stored for some minutes.
        """
        with self._lock:
            if self._writer is None:
                self._own = only_own()
                self._writer = Writer(self._store or Store(), interval=self._interval).__enter__()
            try:
                self.count += 1
                kept = sealed(result, sign=self._own)
                self._writer.put(kept, replace=replace or (self._own and "provenance" in result))
            except RejectedError as error:
                self.count -= 1
                self._report(error)
            except StoreError:
                if not self.leaving:
                    raise

    def flush(self) -> None:
        """Wait until everything taken so far is on disk."""
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Write what is waiting."""
        with self._lock:
            writer, self._writer = self._writer, None
        if writer is not None:
            try:
                writer.close()
            except StoreError as error:
                self._report(error)

    def _report(self, error: Exception) -> None:
        self.problem = f"Results could not be stored in the database: {error}"
        logger.error("%s", self.problem)


def only_own() -> bool:
    """Return whether only results that this user has signed are served.

    The settings take a millisecond: ask once, not for each result.
    """
    return get_settings().trust == "own"


def sealed(result: Any, *, sign: bool) -> Any:
    """Return a result as it is stored; one that is signed replaces what others have written."""
    if "provenance" not in result:  # a workflow's, whose parts vouch for it
        return result
    try:
        return seal(result, sign=sign)
    except QuaccError as error:  # costs only time
        logger.error("The result %s is stored without a signature: %s", result["key"][:10], error)
        return result
