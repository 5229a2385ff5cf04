"""Results that are in the database already, and those that go there."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

from quacc.errors import StoreError
from quacc.recipes.common.verbs import innermost
from quacc.runners.calculation import only_checking
from quacc.store import Store, Writer

logger = logging.getLogger(__name__)


class Known:
    """The results of quacc's own jobs, for one run of a flow; safe to use from all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._writer: Writer | None = None

    def look_up(
        self, function: Callable[..., Any], args: Any, kwargs: Any
    ) -> tuple[str | None, Any]:
        """Return the key of a call, and its result if that is stored and converged.

        Raises
        ------
        InputError, MissingProgramError
            The job refuses its arguments.
        """
        key = key_of(function, args, kwargs)
        if key is None:
            return None, None
        try:
            result = Store().find([key]).get(key)
        except StoreError as error:  # an old result that cannot be read costs only time
            logger.warning("Stored results cannot be looked up: %s", error)
            return key, None
        return key, None if result is None or result.get("converged") is False else result

    def keep(self, result: Any) -> None:
        """Store a result of a job of quacc's soon; what cannot be stored is logged."""
        if not (isinstance(result, Mapping) and {"key", "provenance", "results"} <= result.keys()):
            return
        with self._lock:
            if self._writer is None:
                self._writer = Writer(Store()).__enter__()
            try:
                self._writer.put(result)
            except StoreError as error:
                logger.error("Results could not be stored in the database: %s", error)

    def close(self) -> None:
        """Write what is waiting."""
        with self._lock:
            writer, self._writer = self._writer, None
        if writer is not None:
            try:
                writer.close()
            except StoreError as error:
                logger.error("Results could not be stored in the database: %s", error)


def key_of(function: Callable[..., Any], args: Any, kwargs: Any) -> str | None:
    """Return the key of the calculation that a call would make; None for others' functions."""
    module = getattr(innermost(function), "__module__", None) or ""
    if not module.startswith("quacc.recipes."):
        return None
    with only_checking() as found:
        function(*args, **kwargs)
    return found.key
