"""``${relax.atoms}``: what a step takes from the results of another one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ase import Atoms

from quacc.campaigns.located import Key
from quacc.errors import InputError, suggest

_REFERENCE = re.compile(r"\$\{\s*([A-Za-z_][\w-]*)((?:\.\w+)*)\s*\}")

ITEM = "item"
"""The name of what ``foreach`` goes over."""


@dataclass(frozen=True)
class Reference:
    """Stands for the result of a step, for the item, or for what is inside of these."""

    name: str
    path: tuple[str, ...]

    def __str__(self) -> str:
        return f"${{{'.'.join((self.name, *self.path))}}}"


class Unknown:
    """Stands for a value that is known only once the campaign runs.

    Parameters
    ----------
    atoms
        Where it is the result of a step on a structure: that structure, which has the elements
        and the periodicity of the one that will come out.
    """

    def __init__(self, atoms: Atoms | None = None) -> None:
        self.atoms = atoms


def parsed(value: Any) -> Any:
    """Return a value of a file with references in place of their texts, also deep inside.

    Raises
    ------
    InputError
        A text has a ``${``, but is no reference.
    """
    if isinstance(value, Mapping):
        return {key: parsed(one) for key, one in value.items()}
    if isinstance(value, list):
        return [parsed(one) for one in value]
    if not isinstance(value, str) or "${" not in value:
        return value
    found = _REFERENCE.fullmatch(value.strip())
    if found is None:
        raise InputError(
            f"{value!r} is no reference. One is the whole value, such as ${{relax}}, "
            "${relax.atoms} or ${item}."
        )
    return Reference(found[1], tuple(filter(None, found[2].split("."))))


def references(value: Any, key: Key = ()) -> Iterator[tuple[Key, Reference]]:
    """Yield all references in a value, and where each is."""
    if isinstance(value, Reference):
        yield key, value
    elif isinstance(value, Mapping):
        for name, one in value.items():
            yield from references(one, (*key, name))
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from references(one, (*key, number))


def filled(value: Any, look_up: Callable[[Reference], Any]) -> Any:
    """Return a value with what its references stand for."""
    if isinstance(value, Reference):
        return look_up(value)
    if isinstance(value, Mapping):
        return {name: filled(one, look_up) for name, one in value.items()}
    if isinstance(value, list):
        return [filled(one, look_up) for one in value]
    return value


def inside(value: Any, reference: Reference) -> Any:
    """Return what a reference's path leads to.

    Raises
    ------
    InputError
        There is no such thing.
    """
    for number, name in enumerate(reference.path):
        if isinstance(value, Unknown):
            return value if reference.path[number:] == ("atoms",) else Unknown()
        where = Reference(reference.name, reference.path[:number])
        if isinstance(value, Mapping):
            if name not in value:
                raise InputError(
                    f"{where} has no {name!r}.{suggest(name, value)} It has {', '.join(value)}."
                )
            value = value[name]
        elif name.isdecimal() and isinstance(value, Sequence) and not isinstance(value, str):
            if int(name) >= len(value):
                raise InputError(f"{where} has no number {name}: it has {len(value)}, from 0.")
            value = value[int(name)]
        else:
            raise InputError(f"{where} is {type(value).__name__}, which has no {name!r}.")
    return value


class NotYetKnownError(Exception):
    """Something is known only once the campaign runs."""


def structures_for_unknown(value: Any, stand_in: Callable[[Atoms], Atoms]) -> Any:
    """Return a value with structures for results that are to come.

    Parameters
    ----------
    stand_in
        Makes the structure of the one that an :class:`Unknown` has.

    Raises
    ------
    NotYetKnownError
        There is something else that is to come.
    """
    if isinstance(value, Unknown):
        if value.atoms is None:
            raise NotYetKnownError
        return stand_in(value.atoms)
    if isinstance(value, Mapping):
        return {name: structures_for_unknown(one, stand_in) for name, one in value.items()}
    if isinstance(value, list):
        return [structures_for_unknown(one, stand_in) for one in value]
    return value
