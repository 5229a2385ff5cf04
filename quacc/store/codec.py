"""Results to and from the ``data`` column of ASE's database, bit for bit.

SQLite takes ASE's own binary format. PostgreSQL keeps the column as ``jsonb``, which knows
neither NaN nor -0.0 and hands 1e16 back as an integer, so such numbers travel as text. In
both databases plain ASE can read ``row.data`` too.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from quacc.errors import StoreError
from quacc.quickatoms import atoms_from_dict

_ARRAY, _NUMBER, _COMPLEX = "__ndarray__", "__special_number__", "__complex__"  # as ASE has them
_OBJECT = "__ase_objtype__"
# Ours, for what ASE cannot carry; atoms.info often has tuples.
_TEXTS, _LABELLED, _TUPLE = "__texts__", "__labelled_atoms__", "__tuple__"
_TAGS = frozenset({_ARRAY, _NUMBER, _COMPLEX, _OBJECT, _TEXTS, _LABELLED, _TUPLE})
_SIMPLE = frozenset({float, int, bool, type(None)})


class _RefusedError(Exception):
    """Something cannot be kept; says where it is, relative to the value that was given."""

    def __init__(self, complaint: str) -> None:
        self.where, self.complaint = "", complaint


def plain(value: Any, where: str = "result") -> Any:
    """Reduce to numbers, texts, lists, dictionaries and native numeric arrays.

    Raises
    ------
    StoreError
        If something else is in it; the message says where.
    """
    try:
        return _plain(value)
    except _RefusedError as error:
        raise StoreError(f"{where}{error.where} {error.complaint}") from None


def _plain(value: Any) -> Any:
    kind = type(value)
    if kind in _SIMPLE:
        return value
    if kind is dict or isinstance(value, dict):
        return {_text(name): _inside(item, name) for name, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain_array(value)
    if isinstance(value, str):
        if "\0" in value:
            raise _RefusedError("is a text with a NUL character, which cannot be stored.")
        return str(value)
    if isinstance(value, list | tuple):
        items = [_inside(item, i) for i, item in enumerate(value)]
        return {_TUPLE: items} if isinstance(value, tuple) else items
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value)
    if isinstance(value, complex | np.complexfloating):
        return {_COMPLEX: [float(value.real), float(value.imag)]}
    if hasattr(value, "todict") and not hasattr(value, "get_property"):  # no calculators
        # Atoms, their constraints, and the ASE objects that hide in atoms.info.
        name = getattr(value, "ase_objtype", None)
        fields = _plain(value.todict() if name else _untupled(value.todict()))
        if isinstance(value, Atoms) and any(a.dtype.kind == "U" for a in value.arrays.values()):
            return {_LABELLED: fields}
        return {**fields, _OBJECT: name} if name else fields
    raise _RefusedError(
        f"is {value!r} of type {type(value).__name__}, which the results database cannot "
        "keep. Numbers, texts, lists, dictionaries, NumPy arrays and Atoms can be stored."
    )


def _inside(item: Any, name: Any) -> Any:
    if type(item) in _SIMPLE:
        return item
    try:
        return _plain(item)
    except _RefusedError as error:
        error.where = f"[{name!r}]{error.where}"
        raise


def _untupled(value: Any) -> Any:
    """Use lists in constraints, where plain ASE must find what it knows."""
    if isinstance(value, dict):
        return {name: _untupled(item) for name, item in value.items()}
    return [_untupled(item) for item in value] if isinstance(value, list | tuple) else value


def _text(name: Any) -> str:
    if not isinstance(name, str) or name in _TAGS or "\0" in name:
        raise _RefusedError(f"has the key {name!r}; the keys of a result must be plain texts.")
    return str(name)


def _plain_array(array: np.ndarray[Any, Any]) -> Any:
    if array.dtype.kind == "U":
        return {_TEXTS: [list(array.shape), str(array.dtype), _plain(array.ravel().tolist())]}
    if array.dtype.kind not in "biufc" or array.dtype.itemsize > 16 or array.dtype.char in "gG":
        raise _RefusedError(f"is an array of {array.dtype}, which cannot be stored.")
    if array.flags.c_contiguous and array.dtype.isnative:
        return array
    # ASE writes the bytes as they lie but records no byte order.
    return np.ascontiguousarray(array, array.dtype.newbyteorder("=")).reshape(array.shape)


def to_binary(value: Any) -> bytes:
    """Encode what :func:`plain` returns for SQLite, as ASE's ``object_to_bytes`` does."""
    parts, size = [b""], 8

    def describe(array: np.ndarray[Any, Any]) -> dict[str, Any]:
        nonlocal size
        body, start = to_blob(array), size
        parts.append(body)
        size += len(body)
        return {_ARRAY: [array.shape, _name(array.dtype), start]}

    text = json.dumps(value, separators=(",", ":"), default=describe)
    parts[0] = size.to_bytes(8, "little")
    return b"".join([*parts, text.encode()])


def to_blob(array: np.ndarray[Any, Any]) -> bytes:
    """Return the bytes of an array, the lowest first."""
    return (array if sys.byteorder == "little" else array.byteswap()).tobytes()


@cache
def _name(dtype: np.dtype[Any]) -> str:
    return dtype.name  # NumPy takes its time


def to_json(value: Any) -> str:
    """Encode what :func:`plain` returns for a ``jsonb`` column."""
    return json.dumps(_for_jsonb(value), allow_nan=False)


def _for_jsonb(value: Any) -> Any:
    if isinstance(value, float):
        survives = abs(value) < 1e16 and (value != 0 or math.copysign(1, value) > 0)
        return value if survives else {_NUMBER: repr(value)}  # NaN does not compare
    if isinstance(value, list):
        return [_for_jsonb(item) for item in value]
    if isinstance(value, dict):
        return {name: _for_jsonb(item) for name, item in value.items()}
    if isinstance(value, np.ndarray):
        flat = value.ravel()
        parts = flat.view(flat.real.dtype) if value.dtype.kind == "c" else flat
        return {_ARRAY: [list(value.shape), value.dtype.name, _for_jsonb(parts.tolist())]}
    return value


class Format(NamedTuple):
    """How a database wants the content of the columns."""

    body: Callable[[Any], bytes | str]
    array: Callable[[np.ndarray[Any, Any]], Any]


SQLITE = Format(to_binary, to_blob)
POSTGRESQL = Format(to_json, np.ndarray.tolist)


def decode(stored: bytes | str) -> Any:
    """Decode a ``data`` column: bytes from SQLite, JSON from PostgreSQL."""
    if isinstance(stored, str):
        return json.loads(stored, object_hook=partial(_revive, None))
    start = int.from_bytes(stored[:8], "little", signed=True)
    return json.loads(stored[start:], object_hook=partial(_revive, stored))


def _revive(blob: bytes | None, value: dict[str, Any]) -> Any:
    """Return what a dictionary stands for; all that is in it has been revived already."""
    if _TAGS.isdisjoint(value):
        return value
    if _NUMBER in value:
        return float(value[_NUMBER])
    if _ARRAY in value:
        return _revive_array(value[_ARRAY], blob)
    if _COMPLEX in value:
        return complex(*value[_COMPLEX])
    if _TUPLE in value:
        return tuple(value[_TUPLE])
    if _TEXTS in value:
        shape, dtype, texts = value[_TEXTS]
        return np.array(texts, dtype=dtype).reshape(shape)
    if _LABELLED in value:
        return atoms_from_dict(value[_LABELLED])
    kind = value.pop(_OBJECT)
    if kind == "atoms":
        return atoms_from_dict(value)
    from ase.io.jsonio import create_ase_object

    return create_ase_object(kind, value)


def _revive_array(stored: list[Any], blob: bytes | None) -> Any:
    shape, name, body = stored
    dtype, little = _dtypes(name)
    if blob is None:
        parts = np.array(body, dtype=dtype.type(0).real.dtype)
        return parts.view(dtype).reshape(shape)
    if 0 in shape:
        return np.empty(shape, dtype)
    # A copy, because the user may want to change the array in place.
    return np.ndarray(shape, little, blob, body).astype(dtype)


@cache
def _dtypes(name: str) -> tuple[np.dtype[Any], np.dtype[Any]]:
    dtype = np.dtype(name)
    return dtype, dtype.newbyteorder("<")
