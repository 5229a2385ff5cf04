"""Write results from many threads without making any of them wait for the database."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any, Self

from quacc.errors import StoreError
from quacc.store.database import Store
from quacc.store.rows import Row


class Writer:
    """Collect results from any thread and store them in batches; use it with ``with``.

    A batch that could not be written is kept and tried again, so that a passing fault of
    the database loses nothing. The fault is raised at the next ``put``, ``flush`` or at the
    end, unless a later try has stored everything by then.

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
        self._waiting: list[list[Row]] = []
        self._error: Exception | None = None
        self._urgent = False
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
        StoreError
            If this result cannot be stored as it is (it is not taken then), or if an
            earlier batch could not be written (it is taken nevertheless).
        """
        # Here, so that one bad result spoils no batch.
        rows = self._store._rows(result, replace=replace)
        with self._changed:
            if self._thread is None or self._closing:
                raise StoreError("The writer is not open: use `with Writer(store) as writer:`.")
            self._waiting.append(rows)
            self._changed.notify_all()
            self._raise_error()

    def flush(self) -> None:
        """Wait until everything taken so far is on disk."""
        with self._changed:
            if self._waiting:
                self._error = None  # this is a new try
                self._urgent = True
                self._changed.notify_all()
                self._changed.wait_for(lambda: not self._urgent)
            self._raise_error()

    def close(self) -> None:
        """Write what is left and stop."""
        with self._changed:
            if self._thread is None:
                return
            self._closing = True
            self._error = None
            self._changed.notify_all()
        self._thread.join()
        self._thread = None
        with self._changed:
            self._raise_error()

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

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise StoreError(f"{len(self._waiting)} results are not stored: {error}") from error

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                self._changed.wait_for(self._due, timeout=self._interval)
                closing = self._closing
                batch = list(self._waiting)
            error: Exception | None = None
            try:
                if batch:
                    self._store._write([row for rows in batch for row in rows])
            except Exception as fault:  # raised by put, flush or close
                error = fault
            with self._changed:
                self._error = error
                self._urgent = self._urgent and error is None and len(self._waiting) > len(batch)
                if error is None:
                    del self._waiting[: len(batch)]
                self._changed.notify_all()
                if closing and (error is not None or not self._waiting):
                    return
                if error is not None:  # no hurry to fail again
                    self._changed.wait_for(lambda: self._urgent or self._closing, self._interval)

    def _due(self) -> bool:
        return self._urgent or self._closing or len(self._waiting) >= self._batch
