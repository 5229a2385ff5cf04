"""What is tried when a program fails, before anybody is told: one energy at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes


@dataclass(frozen=True)
class Handler:
    """One fault, and what helps. It may change how the numbers are found, never which."""

    what: str
    """The fault, in words."""
    seen: Callable[[Path], bool]
    """Whether the files of a failed run show it."""
    change: Callable[[Mapping[str, Any], Path], tuple[dict[str, Any], str]]
    """Returns the parameters for the next try, and in words what is other in them, given those of
    the failed one and its files."""
    most: int = 2
    """How often it is tried in one calculation."""


class Recovering(Calculator):
    """A calculator that, when it fails, looks for the fault and tries again.

    Parameters
    ----------
    build
        Builds the calculator from its parameters.
    parameters
        To begin with.
    handlers
        Of the code; the first that sees its fault is taken.
    folder
        Where the files of the failed run are.
    tell
        Told in words what was tried.
    """

    def __init__(
        self,
        build: Callable[[Mapping[str, Any]], Calculator],
        parameters: Mapping[str, Any],
        handlers: Sequence[Handler],
        folder: Path,
        tell: Callable[[str], object],
    ) -> None:
        super().__init__()
        self._build = build
        self._given = parameters
        self._handlers = handlers
        self._folder = folder
        self._tell = tell
        self._tries: Counter[str] = Counter()
        self._inner = build(parameters)
        self.implemented_properties = self._inner.implemented_properties

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Compute, and try again where a handler knows what helps."""
        while True:
            try:
                self._inner.calculate(atoms, properties, system_changes)
            # Of the program; raised again unless it has been mended.
            except Exception:
                if not self._changed():
                    raise
            else:
                self.atoms, self.results = self._inner.atoms, self._inner.results
                return

    def _changed(self) -> bool:
        for handler in self._handlers:
            if self._tries[handler.what] < handler.most and handler.seen(self._folder):
                self._tries[handler.what] += 1
                self._given, words = handler.change(self._given, self._folder)
                self._tell(f"{handler.what}; tried again with {words}.")
                self._inner = self._build(self._given)
                return True
        return False
