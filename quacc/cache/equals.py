"""Calls with equal keys, in this run and in others: one computes, the others have its result."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterable, Iterator
from typing import Any, Generic, Protocol, TypeVar

from quacc.cache.claims import Claims
from quacc.cache.results import ResultsCache, is_result
from quacc.cache.served import as_asked
from quacc.runners.calculation import Calculation

_PAUSE = 1.0
"""Seconds until what another run computes is looked up again."""


class Call(Protocol):
    """What asks for a result."""

    @property
    def key(self) -> str | None:
        """None for what is no job of quacc's."""

    def asked(self) -> Calculation[Any] | None:
        """Return its calculation."""


_C = TypeVar("_C", bound=Call)


class EqualKeys(Generic[_C]):
    """The keys that this run computes.

    Parameters
    ----------
    cache
        Where other runs store what they compute.
    claims
        What other runs compute; None to ask nobody.
    """

    def __init__(self, cache: ResultsCache, claims: Claims | None) -> None:
        self._cache = cache
        self._claims = claims
        self._waiting: dict[str, list[_C]] = {}

    def is_first(self, call: _C) -> bool:
        """Return whether to compute a call; else it waits for the one that has the same key."""
        if call.key in self._waiting:
            self._waiting[call.key].append(call)
            return False
        if call.key is not None:
            self._waiting[call.key] = []
        return True

    def elsewhere(self, calls: Iterable[_C]) -> tuple[dict[str, Any], set[str]]:
        """Return what other runs have stored of this since, and the keys that they compute."""
        keys = {call.key: call for call in calls if call.key is not None}
        if self._claims is None or not keys:
            return {}, set()
        taken = self._claims.take(keys)
        stored = {key: keys[key].asked() for key in self._cache.stored(keys)}
        asked = {key: one for key, one in stored.items() if one is not None}
        found = self._cache.find([*asked.values()]) if asked else []
        there = {key: one for key, one in zip(asked, found, strict=True) if one is not None}
        for key in there:
            self._claims.leave(key)
        return there, taken - there.keys()

    @staticmethod
    def pause() -> float:
        """Return the seconds until what another run computes is looked up again."""
        return _PAUSE * (1 + random.random())

    def end(
        self, call: _C, value: Any, error: Exception | None
    ) -> Iterator[tuple[_C, Any, Exception | None]]:
        """Note that a call has ended; yield those that waited for it, each with its outcome.

        To be taken before anybody has the value, who may change it.
        """
        others = self._waiting.pop(call.key, []) if call.key else []
        # Nobody is served a failure, or what has not converged: other runs need not wait for it.
        served = error is None and not (is_result(value) and value.get("converged") is False)
        if not served and call.key and self._claims is not None:
            self._claims.leave(call.key)
        for other in others:
            if error is not None:
                yield other, None, own_copy(error)
            elif (asked := other.asked()) is not None:
                yield other, as_asked(copy.deepcopy(value), asked), None


def own_copy(error: Exception) -> Exception:
    """Return an exception with notes of its own."""
    own = copy.copy(error)
    own.__cause__ = error.__cause__
    own.__notes__ = list(getattr(error, "__notes__", []))
    return own
