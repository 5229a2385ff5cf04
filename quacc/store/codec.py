"""Results to and from the ``data`` column of ASE's database, bit for bit.

SQLite takes ASE's own binary format. PostgreSQL keeps the column as ``jsonb``, which knows
neither NaN nor -0.0 and hands 1e16 back as an integer, so such numbers travel as text. In
both databases plain ASE can read ``row.data`` too.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
from ase import Atoms

from quacc.errors import StoreError

_ARRAY, _NUMBER, _COMPLEX = "__ndarray__", "__special_number__", "__complex__"  # as ASE has them
_OBJECT = "__ase_objtype__"
# Ours, for what ASE cannot carry; atoms.info often has tuples.
_TEXTS, _LABELLED, _TUPLE = "__texts__", "__labelled_atoms__", "__tuple__"
_TAGS = {_ARRAY, _NUMBER, _COMPLEX, _OBJECT, _TEXTS, _LABELLED, _TUPLE}


def plain(value: Any, where: str = "result") -> Any:
    """Reduce to numbers, texts, lists, dictionaries and native numeric arrays.

    Raises
    ------
    StoreError
        If something else is in it; the message says where.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, str):
        if "\0" in value:
            raise StoreError(f"{where} is a text with a NUL character, which cannot be stored.")
        return str(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value)
    if isinstance(value, complex | np.complexfloating):
        return {_COMPLEX: [float(value.real), float(value.imag)]}
    if isinstance(value, list | tuple):
        items = [plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
        return {_TUPLE: items} if isinstance(value, tuple) else items
    if isinstance(value, dict):
        return {_text(k, where): plain(item, f"{where}[{k!r}]") for k, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain_array(value, where)
    if hasattr(value, "todict") and not hasattr(value, "get_property"):  # no calculators
        # Atoms, their constraints, and the ASE objects that hide in atoms.info.
        kind = getattr(value, "ase_objtype", None)
        fields = value.todict() if kind else _untupled(value.todict())
        fields = plain(fields, where)
        if isinstance(value, Atoms) and any(a.dtype.kind == "U" for a in value.arrays.values()):
            return {_LABELLED: fields}
        return {**fields, _OBJECT: kind} if kind else fields
    raise StoreError(
        f"{where} is {value!r} of type {type(value).__name__}, which the results database cannot "
        "keep. Numbers, texts, lists, dictionaries, NumPy arrays and Atoms can be stored."
    )


def _untupled(value: Any) -> Any:
    """Use lists in constraints, where plain ASE must find what it knows."""
    if isinstance(value, dict):
        return {name: _untupled(item) for name, item in value.items()}
    return [_untupled(item) for item in value] if isinstance(value, list | tuple) else value


def _text(name: Any, where: str) -> str:
    if not isinstance(name, str) or name in _TAGS or "\0" in name:
        raise StoreError(f"{where} has the key {name!r}; the keys of a result must be plain texts.")
    return str(name)


def _plain_array(array: np.ndarray[Any, Any], where: str) -> Any:
    if array.dtype.kind == "U":
        return {_TEXTS: [list(array.shape), str(array.dtype), plain(array.ravel().tolist(), where)]}
    if array.dtype.kind not in "biufc" or array.dtype.itemsize > 16 or array.dtype.char in "gG":
        raise StoreError(f"{where} is an array of {array.dtype}, which cannot be stored.")
    # ASE writes the bytes as they lie but records no byte order.
    return np.ascontiguousarray(array, array.dtype.newbyteorder("=")).reshape(array.shape)


def to_binary(value: Any) -> bytes:
    """Encode what :func:`plain` returns for SQLite."""
    from ase.db.core import object_to_bytes

    blob: bytes = object_to_bytes(value)
    return blob


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


def decode(stored: Any) -> Any:
    """Decode a ``data`` column: bytes from SQLite, parsed JSON from PostgreSQL."""
    if isinstance(stored, bytes):
        start = int(np.frombuffer(stored[:8], "<i8")[0])
        return _revive(json.loads(stored[start:]), stored)
    return _revive(stored, None)


def _revive(value: Any, blob: bytes | None) -> Any:
    if isinstance(value, list):
        return [_revive(item, blob) for item in value]
    if not isinstance(value, dict):
        return value
    if _NUMBER in value:
        return float(value[_NUMBER])
    if _ARRAY in value:
        return _revive_array(value[_ARRAY], blob)
    if _COMPLEX in value:
        return complex(*_revive(value[_COMPLEX], blob))
    if _TUPLE in value:
        return tuple(_revive(value[_TUPLE], blob))
    if _TEXTS in value:
        shape, dtype, texts = value[_TEXTS]
        return np.array(texts, dtype=dtype).reshape(shape)
    if _LABELLED in value:
        return Atoms.fromdict(_revive(value[_LABELLED], blob))
    fields = {name: _revive(item, blob) for name, item in value.items() if name != _OBJECT}
    if _OBJECT in value:
        from ase.io.jsonio import create_ase_object

        return create_ase_object(value[_OBJECT], fields)
    return fields


def _revive_array(stored: list[Any], blob: bytes | None) -> Any:
    shape, name, body = stored
    dtype = np.dtype(name)
    if blob is None:
        parts = np.array(_revive(body, None), dtype=dtype.type(0).real.dtype)
        return parts.view(dtype).reshape(shape)
    count = math.prod(shape)
    # A copy, because the user may want to change the array in place.
    flat = np.frombuffer(blob, dtype.newbyteorder("<"), count, body) if count else np.empty(0)
    return flat.astype(dtype).reshape(shape)
