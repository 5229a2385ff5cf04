"""The key of a calculation: SHA-256 over a canonical form of what was asked for.

Single dispatch turns each type into JSON with one spelling, and raises on a type that it
doesn't know: a silent miss would compute a thing twice, a silent hit would publish a wrong
number. The idea is Parsl's ``id_for_memo``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache, singledispatch
from json.encoder import encode_basestring_ascii
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from quacc.constraints import form
from quacc.errors import InputError

DECIMALS = 8
"""Positions, cells and momenta are compared to 1e-8 of their unit, which is what the
extended XYZ format keeps, so that a structure has the same key after a trip through a
file."""


def calculation_key(
    *,
    recipe: str,
    version: int,
    atoms: Atoms,
    parameters: Mapping[str, Any],
    fingerprint: str,
    momenta: bool = False,
    extra: Any = None,
) -> str:
    """Return the key of one calculation, 64 hexadecimal digits.

    Parameters
    ----------
    recipe, version
        Name of the recipe, and a number to raise when it starts to return other numbers.
    atoms
        Numbers, positions, cell, periodicity, initial magnetic moments and charges, masses
        and constraints count.
    parameters
        All of them, after defaults.
    fingerprint
        Of the calculator: code version, hash of weights or parameter files.
    momenta
        Whether the velocities count too.
    extra
        Anything else that decides the result, such as the hash of a restart file.

    Raises
    ------
    InputError
        A parameter or constraint is of a type that has no canonical form.
    """
    return digest(
        {
            "recipe": [recipe, version],
            "structure": _form(_structure(atoms, momenta=momenta)),
            "parameters": _remembered(parameters),
            "calculator": fingerprint,
            "extra": extra,
        }
    )


def digest(value: Any) -> str:
    """Return the SHA-256 of the canonical form of a value, as 64 hexadecimal digits."""
    try:
        return hashlib.sha256(_encode(canonical(value)).encode()).hexdigest()
    except RecursionError:
        raise InputError(
            "A parameter is nested too deeply, or contains itself, so the calculation has no key."
        ) from None


class _Canonical:
    """A value whose canonical form is known."""

    def __init__(self, form: Any) -> None:
        self.form = form


_forms: dict[Any, _Canonical] = {}
_MANY = 100  # forms that are remembered


def _remembered(parameters: Mapping[str, Any]) -> Any:
    """Return parameters, or their canonical form: thousands of structures may share them."""
    try:
        spelling = _spelling(parameters)
    except TypeError:
        return parameters
    form = _forms.get(spelling)
    if form is None:
        if len(_forms) >= _MANY:
            _forms.clear()
        form = _forms[spelling] = _Canonical(canonical(parameters))
    return form


def _spelling(value: Any) -> Any:
    """Return what only equal values of the same types have; a TypeError if it is not plain."""
    kind = type(value)
    if kind in _PLAIN:
        return kind, value
    if kind is dict:
        return kind, tuple([(_spelling(key), _spelling(item)) for key, item in value.items()])
    if kind is list or kind is tuple:
        return kind, tuple([_spelling(item) for item in value])
    raise TypeError


_NUMBERS = frozenset({int, float, np.int64, np.float64, np.int32, np.float32})
_ARRAYS = frozenset({np.ndarray, np.memmap, np.matrix})
_PLAIN = frozenset({str, int, float, bool, type(None)})

_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode


def canonical(value: Any) -> Any:
    """Return the JSON form of a value: equal for equal values, whatever their spelling.

    Raises
    ------
    InputError
        There is none for values of this type.
    """
    # Most values are texts and plain numbers, for which the dispatch takes longer than the work.
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return value
    if kind is int or kind is float:
        return _number(value)
    if kind is _Canonical:
        return value.form
    return _canonical(value)


@singledispatch
def _canonical(value: Any) -> Any:
    raise InputError(
        f"{value!r} of type {type(value).__name__} cannot be part of a calculation's key, "
        "so quacc could not tell whether it was computed before. Pass numbers, texts, "
        "lists, dictionaries, arrays, paths or Atoms instead."
    )


@_canonical.register(type(None))
@_canonical.register(bool)
@_canonical.register(str)
def _plain(value: bool | str | None) -> Any:
    return value


@_canonical.register(int)
@_canonical.register(float)
@_canonical.register(np.integer)
@_canonical.register(np.floating)
def _number(value: float) -> Any:
    if type(value) not in _NUMBERS:
        _refuse_odd(value)
    # 1 and 1.0 are the same parameter; large whole numbers keep all their digits.
    whole = isinstance(value, int | np.integer) or float(value).is_integer()
    return {"number": hex(int(value)) if whole else repr(float(value))}


def _refuse_odd(value: Any) -> None:
    """Raise an InputError for numbers that are more than a number."""
    unit = getattr(value, "unit", None) or getattr(value, "units", None)
    if unit is not None:
        raise InputError(
            f"{value!r} has the unit {unit}, of which a calculation's key would know nothing. "
            "Pass a plain number, in the unit that the keyword wants."
        )
    if isinstance(value, np.floating) and float(value) != value == value:
        raise InputError(
            f"{value!r} of type {type(value).__name__} has more digits than a calculation's key "
            "keeps. Pass float(…) of it."
        )


@_canonical.register(np.bool_)
def _bool(value: np.bool_) -> bool:
    return bool(value)


@_canonical.register(complex)
@_canonical.register(np.complexfloating)
def _complex(value: complex) -> Any:
    value = complex(value)
    return {"complex": [repr(value.real), repr(value.imag)]}


@_canonical.register(bytes)
def _bytes(value: bytes) -> Any:
    return {"bytes": hashlib.sha256(value).hexdigest()}


@_canonical.register(list)
@_canonical.register(tuple)
def _sequence(value: list[Any]) -> Any:
    return [canonical(item) for item in value]


@_canonical.register(set)
@_canonical.register(frozenset)
def _set(value: set[Any]) -> Any:
    return {"set": sorted(json.dumps(canonical(item), sort_keys=True) for item in value)}


@_canonical.register(Mapping)
def _mapping(value: Mapping[Any, Any]) -> Any:
    # Keys may be numbers; their type counts, so that {1: …} and {"1": …} differ.
    pairs = [[canonical(key), canonical(item)] for key, item in value.items()]
    return {"mapping": sorted(pairs, key=_name)}


def _name(pair: list[Any]) -> str:
    key = pair[0]
    return encode_basestring_ascii(key) if isinstance(key, str) else json.dumps(key, sort_keys=True)


@_canonical.register(np.ndarray)
def _array(value: np.ndarray) -> Any:
    # Other classes have units or masks; other kinds have names or units in their dtype.
    if type(value) not in _ARRAYS or value.dtype.kind not in "biufcSUO":
        raise InputError(
            f"An array of type {type(value).__name__} and dtype {value.dtype} cannot be part of a "
            "calculation's key. Pass a plain array of numbers or texts."
        )
    # As nested lists: kpts=(2, 2, 2) and kpts=np.array([2, 2, 2]) are the same calculation.
    return canonical(value.tolist())


@_canonical.register(Path)
def _path(value: Path) -> Any:
    return str(value)


@_canonical.register(Atoms)
def _atoms(value: Atoms) -> Any:
    return _structure(value, momenta=True)


def _structure(atoms: Atoms, *, momenta: bool) -> dict[str, Any]:
    structure = {
        "numbers": atoms.numbers.tolist(),
        "positions": _rounded(atoms.positions),
        "cell": _rounded(atoms.cell.array),
        "pbc": atoms.pbc.tolist(),
        "constraints": canonical([form(one, len(atoms)) for one in atoms.constraints]),
    }
    for name in ("initial_magmoms", "initial_charges", "masses", "momenta"):
        if name == "momenta" and not momenta:
            continue
        # Absent and all zero mean the same, except for masses, which are never zero.
        if name in atoms.arrays and atoms.arrays[name].any():
            structure[name] = _rounded(atoms.arrays[name])
    return structure


_atomic_number = cache(_number)  # any whole number: whether it is an element's is asked elsewhere


def _form(structure: dict[str, Any]) -> _Canonical:
    """Return the canonical form of a structure, quicker than :func:`canonical` does."""
    forms = {
        **structure,
        "numbers": [_atomic_number(number) for number in structure["numbers"]],
        "constraints": canonical(structure["constraints"]),
    }
    return _Canonical({"mapping": [[name, forms[name]] for name in sorted(forms)]})


def _rounded(array: np.ndarray) -> str:
    # Adding zero turns -0.0 into 0.0.
    rounded = np.ascontiguousarray(array.round(DECIMALS) + 0.0, dtype="<f8")
    return f"{rounded.shape}{hashlib.sha256(rounded.tobytes()).hexdigest()}"
