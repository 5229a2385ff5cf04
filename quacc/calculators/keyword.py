"""A keyword of a code, told once: its default, what it means, and which values make sense."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from quacc.errors import (
    ParameterError,
    require_bool,
    require_choice,
    require_count,
    require_positive,
)


@dataclass(frozen=True)
class Check:
    """Which values make sense: in words, and as a function that refuses all others."""

    words: str
    refuse: Callable[[str, Any], object]
    """Takes name and value; raises a ParameterError."""
    choices: tuple[str, ...] = ()
    """All values, where they can be listed."""


def _whole(name: str, value: Any) -> None:
    is_whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not is_whole:
        raise ParameterError(f"{name} must be a whole number or None, not {value!r}.")


def _three(name: str, value: Any) -> None:
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != 3:
        raise ParameterError(f"{name} must be three whole numbers, not {value!r}.")
    for number in value:
        require_count(**{name: number})


anything = Check("", lambda name, value: None)
positive = Check("a number above zero", lambda name, value: require_positive(**{name: value}))
count = Check("a whole number, 1 or more", lambda name, value: require_count(**{name: value}))
whole = Check("a whole number", _whole)
three_counts = Check("three whole numbers", _three)
flag = Check("True or False", lambda name, value: require_bool(**{name: value}))


def or_none(check: Check) -> Check:
    """Return the check that also takes None, where the default is another value."""
    return Check(
        f"{check.words}, or None",
        lambda name, value: None if value is None else check.refuse(name, value),
        check.choices,
    )


def one_of(*choices: str) -> Check:
    """Return the check that a value is one of these."""
    return Check(
        ", ".join(choices), lambda name, value: require_choice(name, value, choices), choices
    )


@dataclass(frozen=True)
class Keyword:
    """One keyword of a code, from which its check, its documentation and its forms are made."""

    default: Any
    """None where the structure or the code says it, which is always accepted then."""
    meaning: str
    """In a few words, with the unit."""
    check: Check = anything

    def require(self, name: str, value: Any) -> None:
        """Raise a ParameterError for a value that makes no sense."""
        if value is not None or self.default is not None:
            self.check.refuse(name, value)

    def __str__(self) -> str:
        parts = [self.meaning, self.check.words]
        return " ".join(f"{part[0].upper()}{part[1:]}." for part in parts if part)
