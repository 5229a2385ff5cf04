"""Write results to the database, or set them aside where it can't take them."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from quacc.errors import StoreError
from quacc.store.connection import RejectedError, forget, wait_for
from quacc.store.journal import Entry

if TYPE_CHECKING:
    from quacc.store.database import Store

logger = logging.getLogger(__name__)

PATIENCE = 300.0
"""How long results may go nowhere but into the journal (s), before computing on makes no sense."""

PATIENCE_WITHOUT = 30.0
"""The same, while they are in memory only, because the journal can't be written either."""


class Keeper:
    """Keeps results, whatever happens to the database; for one thread at a time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._held: list[Entry] = []
        """What is in memory only."""
        self._aside = 0
        """How many results are in the journal, and wait for the database."""
        self._place: Path | None = None
        self._rejected: list[str] = []
        self._lost: list[str] = []
        self._failing_since: float | None = None
        self._fault: StoreError | None = None
        self.stop: StoreError | None = None
        """What to raise, since there is no point in computing more."""

    @property
    def is_behind(self) -> bool:
        """Whether results wait for the database."""
        return self._fault is not None

    @property
    def problem(self) -> str | None:
        """What is not in the database, why, and what to do."""
        parts = [f"{text}." for text in self._rejected]
        if self._aside:
            parts.append(
                f"{self._fault} {_count(self._aside)} not in the database yet, but safe in "
                f"{self._place}. Once the fault is mended, the next run takes them in, or "
                "`quacc results recover`."
            )
        if self._held:
            parts.append(f"{self._fault} {_count(len(self._held))} not stored.")
        return " ".join(parts) or None

    def write(self, entries: Sequence[Entry] = ()) -> None:
        """Store results, and what waits from before."""
        begun = time.monotonic()
        waiting = [*self._held, *entries]
        self._held = []
        if self._fault is None:
            wait_for(self._store._location)
        try:
            if self._aside:
                for key, reason in self._store.bring_in().items():
                    self._rejected.append(f"The result {key[:10]} could not be stored: {reason}")
                self._aside = 0
            self._write(waiting)
        # Whoever calls this must not lose the results, whatever is wrong.
        except Exception as error:
            fault = error if isinstance(error, StoreError) else StoreError(f"{error!r:.500}")
            self._set_aside(fault, waiting)
            self._judge(begun)
        else:
            self._fault = self._failing_since = self.stop = None

    def _write(self, waiting: list[Entry]) -> None:
        """Write, and take from the list what needs no more care."""
        if not waiting:
            return
        try:
            self._store._write([row for entry in waiting for row in entry])
            waiting.clear()
        except RejectedError as error:
            if len(waiting) == 1:
                self._reject(error, waiting.pop())
            while waiting:
                self._write(waiting[:1])
                del waiting[0]

    def _reject(self, error: StoreError, entry: Entry) -> None:
        name = f"The result {entry[-1].key[:10]} could not be stored in the database: {error}"
        try:
            where = f" It is in {self._store._journal.append([entry])}"
        except StoreError as fault:
            where = f" {fault}"
        logger.error("%s%s", name, where)
        self._rejected.append(f"{name}{where}")

    def _set_aside(self, error: StoreError, waiting: list[Entry]) -> None:
        is_new = self._fault is None
        self._fault = error
        try:
            if waiting:
                self._place = self._store._journal.append(waiting)
                self._aside += len(waiting)
        except Exception as nowhere:
            self._held = waiting
            self._fault = StoreError(f"{error} {nowhere}")
        if is_new:
            logger.error("Results could not be stored in the database: %s", self.problem)

    def _judge(self, begun: float) -> None:
        if self._failing_since is None:
            self._failing_since = begun
        patience = PATIENCE_WITHOUT if self._held else PATIENCE
        seconds = time.monotonic() - self._failing_since
        if seconds >= patience:
            self.stop = StoreError(
                f"No result could be stored for {seconds:.0f} s, so nothing more is computed. "
                f"{self.problem}"
            )
            forget(self._store._location)


def _count(number: int) -> str:
    return "One result is" if number == 1 else f"{number} results are"
