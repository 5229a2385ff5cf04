"""What vouches for a stored result: that it is whole, and that this user has written it."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from ase import Atoms

from quacc.constraints import describe
from quacc.errors import StoreError
from quacc.locations import expand_user
from quacc.ownfiles import read_own, why_foreign
from quacc.schemas import Result
from quacc.store.checksum import checksum

_KEY = "~/.config/quacc/signing/key"
_BYTES = 32


def seal(result: Mapping[str, Any], *, sign: bool) -> dict[str, Any]:
    """Return the result with what :func:`is_whole` and :func:`is_own` look at.

    Raises
    ------
    StoreError
        The user's key to sign with cannot be used.
    """
    provenance = {**result["provenance"]}
    sealed = {**result, "provenance": provenance}
    if rest := _rest(result):
        provenance["checksum_rest"] = _checksum(rest)
    if sign:
        provenance.pop("signature", None)
        provenance["signature"] = _signature(sealed)
    return sealed


def is_whole(stored: Mapping[str, Any]) -> bool:
    """Return whether a stored result's numbers are those that were computed."""
    if not is_computed(stored):
        return False
    expected = stored["provenance"].get("checksum_rest")  # which older results lack
    return expected is None or bool(expected == _checksum(_rest(stored)))


def is_computed(result: Mapping[str, Any]) -> bool:
    """Return whether energy, forces, … and structure are those that a job has returned."""
    found: bool = result["provenance"].get("checksum") == checksum(
        result["results"], result["atoms"]
    )
    return found


def remove_seal(stored: Mapping[str, Any]) -> None:
    """Take out of a stored result what :func:`seal` has put in."""
    for name in ("checksum_rest", "signature"):
        stored["provenance"].pop(name, None)


def is_own(stored: Mapping[str, Any]) -> bool:
    """Return whether this user has signed a stored result, all of it.

    Raises
    ------
    StoreError
        The user's key to sign with cannot be used.
    """
    said = stored["provenance"].get("signature")
    if not isinstance(said, str):
        return False
    provenance = {name: one for name, one in stored["provenance"].items() if name != "signature"}
    expected = _signature({**stored, "provenance": provenance})
    return hmac.compare_digest(said.encode(), expected.encode())


def _signature(result: Mapping[str, Any]) -> str:
    mac = hmac.new(_signing_key(expand_user(_KEY)), digestmod=hashlib.sha256)
    _feed(mac.update, result)
    return mac.hexdigest()


def _checksum(rest: Mapping[str, Any]) -> str:
    digest = hashlib.sha256()
    _feed(digest.update, rest)
    return digest.hexdigest()[:16]


def _rest(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a result has beside what all results have: histories, trajectories, …"""
    return {name: value for name, value in result.items() if name not in _COMMON}


_COMMON = Result.__required_keys__


def _feed(update: Callable[[bytes], None], value: Any) -> None:
    """Hash a value: the same for the same content, whichever database it comes from."""
    if type(value) in _PLAIN:
        update(repr(value).encode() + b",")
        return
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Atoms):
        constraints = [describe(one) for one in value.constraints]
        value = {**value.todict(), "constraints": constraints, "Atoms": True}
    elif hasattr(value, "todict") and not isinstance(value, Mapping):
        value = value.todict()
    if isinstance(value, np.ndarray):
        update(f"{_name(value.dtype)}{value.shape}".encode())
        native = value if value.dtype.isnative else value.astype(value.dtype.newbyteorder("="))
        update(native.tobytes())
    elif isinstance(value, Mapping):
        update(b"{%d" % len(value))
        for name in sorted(value):
            update(repr(name).encode())
            _feed(update, value[name])
    elif isinstance(value, list | tuple):
        update(b"[%d" % len(value))
        for item in value:
            _feed(update, item)
    else:
        update(repr(value).encode() + b",")


_PLAIN = frozenset({str, int, float, bool, type(None)})


@cache
def _name(dtype: np.dtype) -> str:
    return dtype.name  # which NumPy puts together anew each time


@cache
def _signing_key(path: str) -> bytes:
    """Return the secret key of this user, made at its first use.

    Raises
    ------
    StoreError
        Others can read or change it, or it cannot be made.
    """
    file = Path(path)
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if reason := why_foreign(file.parent.lstat(), secret=True):
            raise PermissionError(f"{file.parent} {reason}")
        if not file.exists():
            _make(file)
        key = read_own(file, secret=True)
    except OSError as error:
        raise StoreError(
            f"Results cannot be signed, as the setting trust=own wants: {error}. Only you may be "
            f"able to read {file} and its folder: remove them, and new ones are made. What was "
            "signed before is computed again then."
        ) from error
    if len(key) != _BYTES:
        raise StoreError(f"The key {file}, with which results are signed, is damaged: remove it.")
    return key


def _make(file: Path) -> None:
    new = file.with_name(f".{uuid4().hex}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        with open(os.open(new, flags, 0o600), "wb") as stream:
            stream.write(secrets.token_bytes(_BYTES))
            stream.flush()
            os.fsync(stream.fileno())
        with suppress(FileExistsError):  # another process was faster
            os.link(new, file)
    finally:
        new.unlink(missing_ok=True)
