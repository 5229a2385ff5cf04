"""Results to and from the ``data`` column of ASE's database, bit for bit.

SQLite takes ASE's own binary format. PostgreSQL keeps the column as ``jsonb``, which knows
neither NaN nor -0.0 and hands 1e16 back as an integer, so such numbers travel as text. In
both databases plain ASE can read ``row.data`` too.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from quacc.constraints import describe, revive
from quacc.errors import InputError, StoreError
from quacc.fast_atoms import atoms_from_dict

_ARRAY, _NUMBER, _COMPLEX = "__ndarray__", "__special_number__", "__complex__"  # as ASE has them
_OBJECT = "__ase_objtype__"
# Ours, for what ASE cannot carry; atoms.info often has tuples.
_TEXTS, _LABELLED, _TUPLE = "__texts__", "__labelled_atoms__", "__tuple__"
_TAGS = frozenset({_ARRAY, _NUMBER, _COMPLEX, _OBJECT, _TEXTS, _LABELLED, _TUPLE})
_SIMPLE = frozenset({float, int, bool, type(None)})
_KINDS = frozenset({"atoms", "cell", "bandpath", "bandstructure", "vibrationsdata"})
"""Those of ASE's objects that are made from what is stored."""
_NAMES = "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 "
_NAMES += "float16 float32 float64 complex64 complex128"
_DTYPES = {name: (np.dtype(name), np.dtype(name).newbyteorder("<")) for name in _NAMES.split()}
_WIDTH = re.compile(r"[<>=|]?U(\d{1,9})")
_WIDEST = 1000
"""Characters that an array of texts may have room for, though none of its texts is as long."""
_DEEPEST = 64
_HEADER = 8  # bytes, which say where the text starts
_OPEN, _CLOSE = ord("[") | 32, ord("]") | 32  # and the braces, which differ from these in that bit
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]')
_SHAPES = {
    "cell": ("f", (3, 3)),
    "pbc": ("b", (3,)),
    "celldisp": ("f", None),
    "numbers": ("iu", None),
    "positions": ("f", None),
}
_ONCE = frozenset({"cell", "pbc", "celldisp"})
"""What a structure has once, not for each of its atoms."""


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
    except RecursionError:
        raise StoreError(f"{where} is nested more than {_DEEPEST} deep.") from None


def _plain(value: Any) -> Any:
    kind = type(value)
    if kind in _SIMPLE:
        return value
    if kind is dict or isinstance(value, dict):
        return {_text(name): _inside(item, name) for name, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain_array(value)
    if isinstance(value, str):
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
    if isinstance(value, Atoms):
        return _plain_atoms(value)
    if hasattr(value, "todict") and not hasattr(value, "get_property"):  # no calculators
        # The ASE objects that hide in atoms.info.
        name = getattr(value, "ase_objtype", None)
        if name is None or name in _KINDS:
            fields = _plain(value.todict())
            return {**fields, _OBJECT: name} if name else fields
    raise _RefusedError(
        f"is {value!r} of type {type(value).__name__}, which the results database cannot "
        "keep. Numbers, texts, lists, dictionaries, NumPy arrays and Atoms can be stored."
    )


def _plain_atoms(atoms: Atoms) -> Any:
    fields = atoms.todict()
    try:
        constraints = [_untupled(describe(one)) for one in fields.get("constraints", ())]
    except InputError as error:
        raise _RefusedError(f"cannot be stored. {error}") from None
    # Plain ASE must find lists in them, as it knows them.
    fields = _plain({**fields, "constraints": constraints} if constraints else fields)
    if any(array.dtype.kind == "U" for array in atoms.arrays.values()):
        return {_LABELLED: fields}
    return {**fields, _OBJECT: "atoms"}


def _inside(item: Any, name: Any) -> Any:
    if type(item) in _SIMPLE:
        return item
    try:
        return _plain(item)
    except _RefusedError as error:
        error.where = f"[{name!r}]{error.where}"
        raise


def _untupled(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _untupled(item) for name, item in value.items()}
    return [_untupled(item) for item in value] if isinstance(value, list | tuple) else value


def _text(name: Any) -> str:
    if not isinstance(name, str) or name in _TAGS:
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
    parts, size = [b""], _HEADER

    def place(array: np.ndarray[Any, Any]) -> dict[str, Any]:
        nonlocal size
        body, start = to_blob(array), size
        parts.append(body)
        size += len(body)
        return {_ARRAY: [array.shape, _name(array.dtype), start]}

    text = json.dumps(value, separators=(",", ":"), default=place).encode()
    _check_written(text)
    parts[0] = size.to_bytes(_HEADER, "little")
    return b"".join([*parts, text])


def to_blob(array: np.ndarray[Any, Any]) -> bytes:
    """Return the bytes of an array, the lowest first."""
    return (array if sys.byteorder == "little" else array.byteswap()).tobytes()


@cache
def _name(dtype: np.dtype[Any]) -> str:
    return dtype.name  # NumPy takes its time


def to_json(value: Any) -> str:
    """Encode what :func:`plain` returns for a ``jsonb`` column."""
    text = json.dumps(_for_jsonb(value), allow_nan=False)
    _check_written(text)
    return text


def _check_written(text: str | bytes) -> None:
    try:
        _check_depth(text)
    except ValueError as error:
        raise StoreError(f"This result cannot be stored: {error}.") from None


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
    """Decode a ``data`` column: bytes from SQLite, JSON from PostgreSQL.

    Nothing in it is trusted: somebody else, or a broken disk, may have written it.

    Raises
    ------
    Exception
        Of any kind, if it is not what :func:`to_binary` or :func:`to_json` returned.
    """
    if isinstance(stored, str):
        _check_depth(stored)
        return json.loads(stored, object_hook=partial(_revive, None))
    start = int.from_bytes(stored[:_HEADER], "little", signed=True)
    if not _HEADER <= start <= len(stored):
        raise ValueError("it has been cut")
    text = stored[start:]
    _check_depth(text)
    return json.loads(text, object_hook=partial(_revive, memoryview(stored)[:start]))


def _check_depth(text: str | bytes) -> None:
    """Raise a ValueError if something is nested too deeply for those who walk through it."""
    raw = text.encode() if isinstance(text, str) else text
    if raw.count(b"[") + raw.count(b"{") <= _DEEPEST:
        return
    codes = np.frombuffer(raw, np.uint8) | 32
    places = codes[(codes == _OPEN) | (codes == _CLOSE)]
    if np.where(places == _OPEN, 1, -1).cumsum().max() <= _DEEPEST:
        return
    # Brackets in texts count for nothing.
    depth = 0
    for bracket in _BRACKETS.findall(raw.decode()):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(bracket, 0)
        if depth > _DEEPEST:
            raise ValueError(f"it is nested more than {_DEEPEST} deep")


def _revive(blob: memoryview | None, value: dict[str, Any]) -> Any:
    """Return what a dictionary stands for; all that is in it has been revived already."""
    if _TAGS.isdisjoint(value):
        return value
    if _NUMBER in value:
        return float(value[_NUMBER])
    if _ARRAY in value:
        return _revive_array(value[_ARRAY], blob)
    if _COMPLEX in value:
        real, imaginary = value[_COMPLEX]
        return complex(real, imaginary)
    if _TUPLE in value:
        return tuple(value[_TUPLE])
    if _TEXTS in value:
        return _revive_texts(*value[_TEXTS])
    if _LABELLED in value:
        return _revive_atoms(value[_LABELLED])
    kind = value.pop(_OBJECT)
    if kind == "atoms":
        return _revive_atoms(value)
    if kind not in _KINDS:
        raise ValueError(f"{kind!r:.80} is no kind of object that quacc keeps")
    from ase.io.jsonio import create_ase_object

    return create_ase_object(kind, value)


def _revive_array(stored: list[Any], blob: memoryview | None) -> Any:
    shape, name, body = stored
    dtype, little = _DTYPES[name]
    if min(shape, default=0) < 0 or (blob is not None and body < _HEADER):
        raise ValueError(f"an array of the shape {shape!r:.80} at {body!r:.80}")
    if blob is None:
        parts = np.array(body, dtype=dtype.type(0).real.dtype)
        return parts.view(dtype).reshape(shape)
    if 0 in shape:
        return np.empty(shape, dtype)
    # A copy, because the user may want to change the array in place.
    return np.ndarray(shape, little, blob, body).astype(dtype)


def _revive_texts(shape: list[int], name: str, texts: list[str]) -> Any:
    width = _WIDTH.fullmatch(name)
    if width is None or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"an array of {name!r:.80}")
    longest = max(map(len, texts), default=0)
    if (shape and min(shape) < 0) or not longest <= int(width[1]) <= max(longest, _WIDEST):
        raise ValueError(f"an array of {name!r:.80} and the shape {shape!r:.80}")
    return np.array(texts, dtype=name).reshape(shape)


def _revive_atoms(fields: dict[str, Any]) -> Atoms:
    constraints = fields.pop("constraints", ())
    count = len(fields["numbers"])
    for name, value in fields.items():
        if name == "info":
            if not isinstance(value, dict):
                raise ValueError("the structure's info is no dictionary")
            continue
        kinds, *shape = _SHAPES.get(name, ("biufcU", None))
        if value.dtype.kind not in kinds or (shape[0] and value.shape != shape[0]):
            raise ValueError(f"the structure's {name!r:.80} is {value!r:.80}")
        if name not in _ONCE and len(value) != count:
            raise ValueError(f"the structure's {name!r:.80} has {len(value)} items, not {count}")
    if fields["positions"].shape != (count, 3):
        raise ValueError(f"positions of the shape {fields['positions'].shape}")
    atoms = atoms_from_dict(fields)
    if constraints:
        atoms.set_constraint([revive(one) for one in constraints])
    return atoms
