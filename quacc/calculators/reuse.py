"""Calculators that took long to build, kept for the next calculation of the same thread."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from ase.calculators.calculator import Calculator

from quacc.calculators.code import Code, Place

_kept = threading.local()


class Reuse:
    """The calculators of one calculation; those that did not fail serve later ones, too.

    Only those of the code and the parameters that were used last are kept, since a model can take
    much of a machine's memory.
    """

    def __init__(
        self, code: Code, parameters: Mapping[str, Any], place: Place, fingerprint: str
    ) -> None:
        self._code = code
        self._parameters = parameters
        self._place = place
        # With the fingerprint, since files that it was built from may be others now.
        self.what = repr((fingerprint, sorted(parameters.items()), sorted(place.options.items())))
        self._taken: list[Calculator] = []

    def take(self) -> Calculator:
        """Return a calculator that nobody else uses."""
        if getattr(_kept, "what", None) != self.what:
            _kept.what, _kept.idle = self.what, []
        if _kept.idle:
            calculator: Calculator = _kept.idle.pop()
            calculator.reset()
        else:
            calculator = self.build()
        self._taken.append(calculator)
        return calculator

    def build(self) -> Calculator:
        """Return a new one, which is not kept."""
        return self._code.build(self._parameters, self._place)

    def forget(self) -> None:
        """Leave them to nobody."""
        self._taken = []

    def give_back(self) -> None:
        """Leave them to the next calculation."""
        if getattr(_kept, "what", None) == self.what:
            _kept.idle += self._taken
        self._taken = []
