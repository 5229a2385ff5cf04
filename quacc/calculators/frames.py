"""What goes through a pipe between two Pythons: JSON, and raw arrays after it. No pickle."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO

import numpy as np

_LENGTH = 8  # bytes
_MOST = 1 << 31  # bytes of one message
_KINDS = "biufcS"


def packed(message: Mapping[str, Any], arrays: Mapping[str, Any]) -> bytes:
    """Return a message of plain values, and arrays of numbers by name, as bytes."""
    plain = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    shapes = {name: [array.dtype.str, array.shape] for name, array in plain.items()}
    text = json.dumps({**message, "arrays": shapes}).encode()
    parts = [len(text).to_bytes(_LENGTH, "little"), text]
    return b"".join([*parts, *(array.tobytes() for array in plain.values())])


def numbered_arrays(each: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the arrays of many structures as those of one message."""
    return {f"{i} {name}": one for i, arrays in enumerate(each) for name, one in arrays.items()}


def arrays_of_each(arrays: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """Return what :func:`numbered_arrays` was given, for so many structures."""
    each: list[dict[str, Any]] = [{} for _ in range(count)]
    for numbered, array in arrays.items():
        number, _, name = numbered.partition(" ")
        each[int(number)][name] = array
    return each


def read(stream: BinaryIO) -> tuple[dict[str, Any], dict[str, Any]]:
    """Receive a message and its arrays.

    Raises
    ------
    EOFError
        The other end is closed.
    ValueError
        This is no message, such as what a library has printed.
    """
    length = int.from_bytes(_exactly(stream, _LENGTH), "little")
    if length > _MOST:
        raise ValueError("no message, but something else came through the pipe")
    message: dict[str, Any] = json.loads(_exactly(stream, length))
    arrays = {}
    for name, (kind, shape) in message.pop("arrays").items():
        dtype = np.dtype(kind)
        count = int(np.prod(shape, dtype=int))
        if dtype.kind not in _KINDS or count * dtype.itemsize > _MOST:
            raise ValueError(f"the array {name!r} of {kind} with the shape {shape}")
        arrays[name] = np.frombuffer(_exactly(stream, count * dtype.itemsize), dtype).reshape(shape)
    return message, arrays


def _exactly(stream: BinaryIO, count: int) -> bytes:
    found = stream.read(count)
    if len(found) < count:
        raise EOFError
    return found
