"""Whether a setting may be set, without loading the settings, which takes a fifth of a second."""

from __future__ import annotations

import os
from typing import Any

from quacc.locations import home

CHANGED = "_QUACC_CHANGED_SETTINGS"
"""Where child processes find what ``change_settings`` sets."""

_names: tuple[Any, bool] = (None, False)
_file: tuple[Any, str, Any, bool] = (None, "", None, False)


def environments() -> Any:
    """Return None if there are no ``environments`` in variables or the settings file.

    Else something that changes when these do.
    """
    if not (_in_variables() or b"environments" in _changed() or _in_file()):
        return None
    chosen = [text for text in os.environ.items() if text[0].upper().startswith("QUACC_E")]
    return chosen, _changed(), _file


def _changed() -> bytes:
    return os.environb.get(CHANGED.encode(), b"")


def _in_variables() -> bool:
    global _names
    names = os.environ._data.keys()  # type: ignore[attr-defined]
    if names != _names[0]:  # they may be in small letters
        found = any(name[:18].upper() == b"QUACC_ENVIRONMENTS" for name in names)
        _names = frozenset(names), found
    return _names[1]


def _in_file() -> bool:
    global _file
    place = os.environ.get("HOME")
    path = _file[1] if place and _file[0] == place else str(home() / ".quacc.yaml")
    try:
        found = os.stat(path)
    except OSError:
        _file = place, path, None, False
        return False
    now = found.st_ino, found.st_mtime_ns, found.st_size
    if _file[:3] != (place, path, now):
        try:
            with open(path, "rb") as stream:
                named = b"environments" in stream.read().lower()
        except OSError:  # which the settings tell
            named = True
        _file = place, path, now, named
    return _file[3]
