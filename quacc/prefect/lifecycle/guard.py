"""Prefect's own temporary server demands a password, wherever something of quacc is imported.

Prefect starts one where a flow runs without an API, and it would show everybody on this machine
what the flow is given. This looks for the moment in which Prefect loads it, since that takes long.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from quacc.errors import SettingsError
from quacc.ownfiles import is_foreign
from quacc.prefect.lifecycle import running

_SERVER = "prefect.server.api.server"


class _Finder(MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != _SERVER:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        loader: Any = spec.loader if spec else None
        if loader is None:
            return spec
        load = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            load(module)
            importlib.import_module("quacc.prefect.lifecycle.temporary")

        loader.exec_module = exec_module
        return spec


def is_loaded() -> bool:
    """Return whether Prefect has loaded its server, so that one may run."""
    return _SERVER in sys.modules


def install() -> None:
    """Watch over Prefect's server from now on; nothing starts.

    Flows that are called where no API is configured find the one of ``quacc server``.

    Raises
    ------
    SettingsError
        Somebody else has written settings that Prefect found in the current folder.
    """
    for name, mark in (("prefect.toml", ""), (".env", "PREFECT_"), ("pyproject.toml", "prefect")):
        file = Path.cwd() / name
        if is_foreign(file) and mark in file.read_text(errors="replace"):
            raise SettingsError(
                f"Prefect takes settings, such as where flows are reported, from {file}, which "
                "belongs to another user. Start in a folder of your own."
            )
    running.install()
    if is_loaded():
        importlib.import_module("quacc.prefect.lifecycle.temporary")
    elif not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
