"""Turn a result into rows, and what is in the rows into the result."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Any

from ase import Atoms

from quacc.errors import StoreError
from quacc.store.codec import Format, decode, plain
from quacc.store.columns import Columns, columns_of

REFERENCE = "__quacc_key__"
"""Stands in a workflow's row for a result that has a row of its own."""
_PARTS = {"name": str, "formula": str, "atoms": Atoms, "results": dict, "provenance": dict}
"""What the readers of a result take for granted."""
_OPTIONAL = frozenset({"results", "provenance"})


@dataclass(slots=True)
class Row:
    """One row, ready to be written."""

    key: str
    converged: bool | None
    replace: bool
    """Whether it takes the place of a converged result, too."""
    columns: Columns


def rows_of(result: Mapping[str, Any], form: Format, *, replace: bool) -> list[Row]:
    """Return the result's row, after those of the results nested in a workflow's result.

    Raises
    ------
    StoreError
        If the result cannot be stored as it is.
    """
    for name in ("key", "name", "formula", "atoms"):
        if name not in result:
            raise StoreError(f"This is not a result, it has no {name!r}: its keys are {[*result]}.")
    key = result["key"]
    if not isinstance(key, str) or not key:
        raise StoreError(f"A result's key must be a text, not {key!r}.")
    nested: dict[str, Mapping[str, Any]] = {}
    body = _pull_out(dict(result), nested) if "jobs" in result else result
    rows = [row for part in nested.values() for row in rows_of(part, form, replace=replace)]
    data = form.body(plain(body, f"result {key[:10]}"))
    # A workflow's is that of the jobs that decide its numbers.
    parts = [part.get("calculator") for part in nested.values()]
    known = [result.get("calculator"), *reversed(result.get("calculators", [])), *parts]
    calculator = next((one for one in known if one), None)
    converged = _converged(result, nested)
    columns = columns_of(
        key,
        result["atoms"],
        result.get("results", {}),
        calculator and calculator["name"],
        {"recipe": result["name"], "reduced_formula": result["formula"]}
        | ({} if converged is None else {"converged": converged}),
        data,
        form,
    )
    return [*rows, Row(key, converged, replace, columns)]


def body_of(stored: bytes | str) -> tuple[dict[str, Any], set[str]]:
    """Return the content of a ``data`` column, and the keys of the results it refers to."""
    body, parts = decode(stored), set[str]()
    if REFERENCE in stored if isinstance(stored, str) else REFERENCE.encode() in stored:
        fill(body, {}, parts)
    if not isinstance(body, dict) or not isinstance(body.get("key"), str):
        return {}, parts
    for name, kind in _PARTS.items():
        if not isinstance(body.get(name), (kind, NoneType if name in _OPTIONAL else kind)):
            raise ValueError(f"its {name!r} is {body.get(name)!r:.80}")
    return body, parts


def fill(value: Any, bodies: Mapping[str, Any], missing: set[str]) -> Any:
    """Put results in the place of references; note those that are not among ``bodies``."""
    if isinstance(value, list):
        return [fill(item, bodies, missing) for item in value]
    if not isinstance(value, dict):
        return value
    if REFERENCE not in value:
        return {name: fill(item, bodies, missing) for name, item in value.items()}
    key = value[REFERENCE]
    if key not in bodies:
        missing.add(key)
        return None
    return copy.deepcopy(fill(bodies[key], bodies, missing))  # one each, never shared


def _pull_out(value: Any, nested: dict[str, Mapping[str, Any]]) -> Any:
    """Replace the results nested in ``value`` by references, and collect them."""
    if isinstance(value, Mapping):
        if "key" in value and "results" in value:
            nested[value["key"]] = value
            return {REFERENCE: value["key"]}
        return {name: _pull_out(item, nested) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_pull_out(item, nested) for item in value]
    return value


def _converged(result: Mapping[str, Any], nested: Mapping[str, Mapping[str, Any]]) -> bool | None:
    if result.get("converged") is not None:
        return bool(result["converged"])
    if "jobs" not in result:
        return None
    # A workflow stands on all its parts, and is replaced with them.
    parts = [*nested.values(), *result.get("surfaces", [])]
    return all(part.get("converged") is not False for part in parts)
