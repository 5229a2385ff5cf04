"""Write results from many threads without making any of them wait for the database."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any, Self

from quacc.errors import StoreError
from quacc.store.connection import forget
from quacc.store.database import Store
from quacc.store.journal import Entry
from quacc.store.keeper import Keeper

RETRY = 2.0
"""How long to wait before the database is tried again (s)."""


class Writer:
    """Collect results from any thread and store them in batches; use it with ``with``.

    What the database rejects, or can't take at the moment, goes into the journal beside it. What
    waits there is stored as soon as the database can be written again. What is not in the
    database at the end is an error, which says where it is.

    Parameters
    ----------
    store : Store
        Where the results go.
    interval : float
        The longest time that a result waits for others (s).
    batch : int
        Write as soon as this many results are waiting.
    """

    def __init__(self, store: Store, *, interval: float = 0.5, batch: int = 200) -> None:
        self._store = store
        self._interval = interval
        self._batch = batch
        self._waiting: list[Entry] = []
        self._keeper = Keeper(store)
        self._stop: StoreError | None = None
        self._taken = self._tried = self._asked = 0
        self._closing = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, name="quacc-store-writer", daemon=True)
        self._thread.start()
        return self

    def put(self, result: Any, *, replace: bool = False) -> None:
        """Take a result; it is safe on disk after :meth:`flush`, or soon.

        A known key is treated as by :meth:`Store.add`.

        Raises
        ------
        RejectedError
            This result cannot be stored as it is. It is not taken.
        StoreError
            Nothing could be stored for some minutes, so that there is no point in computing
            more. The result is taken nevertheless.
        """
        # Here, so that one bad result spoils no batch.
        rows = self._store._rows(result, replace=replace)
        with self._changed:
            if self._thread is None or self._closing:
                raise StoreError("The writer is not open: use `with Writer(store) as writer:`.")
            self._waiting.append(rows)
            self._taken += 1
            self._changed.notify_all()
            self._check()

    def flush(self) -> None:
        """Wait until everything taken so far is on disk, or in the journal.

        Raises
        ------
        StoreError
            Nothing could be stored for some minutes.
        """
        with self._changed:
            self._asked = self._taken
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._tried >= self._asked)
            self._check()

    def close(self) -> None:
        """Write what is left and stop.

        Raises
        ------
        StoreError
            Something is not in the database; says where it is, and what to do.
        """
        with self._changed:
            if self._thread is None:
                return
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        self._thread = None
        if (problem := self._keeper.problem) is not None:
            forget(self._store._location)
            raise StoreError(problem)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except Exception as fault:
            if error is None:
                raise
            error.add_note(f"Besides, results could not be stored: {fault}")

    def _check(self) -> None:
        if self._stop is not None:
            raise StoreError(str(self._stop))

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._waiting or self._closing,
                    timeout=RETRY if self._keeper.is_behind else None,
                )
                if self._waiting:
                    self._changed.wait_for(self._due, timeout=self._interval)
                closing = self._closing
                batch, self._waiting = self._waiting, []
            if batch or self._keeper.is_behind:
                self._keeper.write(batch)
            with self._changed:
                self._stop = self._keeper.stop
                self._tried += len(batch)
                self._changed.notify_all()
                if closing and not self._waiting:
                    return

    def _due(self) -> bool:
        waiting = len(self._waiting)
        return self._asked > self._tried or self._closing or waiting >= self._batch
