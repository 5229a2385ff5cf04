"""A structure of a task, and what it is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ase import Atoms


@dataclass(frozen=True)
class Example:
    """A structure of a task."""

    name: str
    atoms: Atoms
    reference: Mapping[str, float] = field(default_factory=dict)
    others: Mapping[str, Atoms] = field(default_factory=dict)
    """More structures that its numbers need, such as those of a molecule's parts."""


def made(examples: Sequence[Example]) -> tuple[bytes, list[Example]]:
    """Return structures that are no file's, after what their hash is of."""
    from quacc.key import digest

    described = [[one.name, one.atoms, dict(one.reference), dict(one.others)] for one in examples]
    return digest(described).encode(), list(examples)
