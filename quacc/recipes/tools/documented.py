"""What the parameters of workflows and jobs mean, from their documentation."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterable
from typing import Any

from quacc.errors import InputError

JOBS = {
    "static": "quacc.runners.static",
    "relax": "quacc.runners.relax",
    "freq": "quacc.runners.vibrations",
    "bands": "quacc.runners.electrons",
    "dos": "quacc.runners.electrons",
    "dfpt": "quacc.runners.dfpt",
    "work_function": "quacc.runners.work_function",
}
"""The jobs that can be run, and the modules of their plans, which explain their parameters."""

_PARTS = {"md": "quacc.runners.md", "neb": "quacc.runners.neb", "ts": "quacc.runners.saddle"}
"""The jobs that only workflows run."""

_ROLE = re.compile(r":\w+:`[\w.]*?(\w+)`")
_SEE = re.compile(r"[^.;]*\b[Ss]ee :func:`([\w.]+)`[.;]?")


def plan_of_job(name: str) -> Callable[..., Any]:
    """Return the plan of one of quacc's jobs."""
    module = importlib.import_module({**JOBS, **_PARTS}[name])
    plan: Callable[..., Any] = getattr(module, name)
    return plan


def explained(doc: str) -> dict[str, str]:
    """Return what the parameters mean, from the documentation of a function."""
    return {name: _plain(text) for name, text in _sections(doc).items()}


def explained_fully(function: Callable[..., Any]) -> dict[str, str]:
    """Return the same, with what another function says of a parameter where it is referred to."""
    found = {}
    for name, text in _sections(inspect.getdoc(function) or "").items():
        if match := _SEE.search(text):
            module, _, other = match[1].rpartition(".")
            told = explained_fully(getattr(importlib.import_module(module), other))
            rest = text[match.end() :].strip()
            if name in told:
                text = f"{told[name]} {rest[:1].upper()}{rest[1:]}".strip()
        found[name] = _plain(text)
    return found


def _sections(doc: str) -> dict[str, str]:
    section = doc.partition("Parameters\n----------\n")[2]
    section = re.split(r"\n\n\w+\n-+\n", section)[0]
    found: dict[str, str] = {}
    names: list[str] = []
    for line in section.splitlines():
        if line and not line.startswith(" "):
            names = [one.strip(" *") for one in line.partition(" : ")[0].split(",")]
        for name in names if line.startswith(" ") else []:
            found[name] = f"{found.get(name, '')} {line.strip()}".strip()
    return found


def _plain(text: str) -> str:
    return _ROLE.sub(r"\1", text).replace("``", "")


def nested(given: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return names and texts, such as relax_kwargs.fmax and 0.01, as nested keywords.

    Raises
    ------
    InputError
        A value is not valid YAML, or a name is below another one's value.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    parameters: dict[str, Any] = {}
    for name, text in given:
        try:
            value = None if text == "None" else YAML(typ="safe", pure=True).load(text)
        except YAMLError as error:
            raise InputError(f"{name} = {text}: the value is not valid YAML ({error}).") from None
        *folders, last = name.split(".")
        inner = parameters
        for folder in folders:
            inner = inner.setdefault(folder, {})
            if not isinstance(inner, dict):
                raise InputError(f"{name} = {text}: {folder} was set to {inner!r} before.")
        inner[last] = value
    return parameters


def pairs(changes: Iterable[str], words: str) -> list[tuple[str, str]]:
    """Return texts such as max_index=2 as pairs of name and text.

    Raises
    ------
    InputError
        One has no name or no equals sign; ``words`` say what takes them, such as "--set".
    """
    found = []
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals or not name.strip():
            raise InputError(f"{words} takes KEY=VALUE, such as max_index=2, not {change!r}.")
        found.append((name.strip(), text))
    return found
