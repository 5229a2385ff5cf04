"""Turn a result into rows, and what is in the rows into the result."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Any

from ase import Atoms

from quacc.errors import StoreError
from quacc.store.codec import SQLITE, Format, decode, plain, to_binary
from quacc.store.columns import Columns, columns_of
from quacc.store.connection import RejectedError
from quacc.store.largefiles import LARGE, LargeFiles, name_of
from quacc.store.largefiles import REFERENCE as FILE

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
    file: tuple[str, bytes] | None = None
    """Name and content of the file that a large result is in."""


def rows_of(result: Mapping[str, Any], form: Format, *, replace: bool) -> list[Row]:
    """Return the result's row, after those of the results nested in a workflow's result.

    Raises
    ------
    RejectedError
        If the result cannot be stored as it is.
    """
    try:
        return _rows_of(result, form, replace)
    except RejectedError:
        raise
    # It may have been made by anybody.
    except Exception as error:
        known = isinstance(error, StoreError)
        reason = str(error) if known else f"This result cannot be stored: {error!r:.500}"
        raise RejectedError(reason) from error


def _rows_of(result: Mapping[str, Any], form: Format, replace: bool) -> list[Row]:
    for name in ("key", "name", "formula", "atoms"):
        if name not in result:
            raise StoreError(f"This is not a result, it has no {name!r}: its keys are {[*result]}.")
    key = result["key"]
    if not isinstance(key, str) or not key:
        raise StoreError(f"A result's key must be a text, not {key!r}.")
    nested: dict[str, Mapping[str, Any]] = {}
    body = _pull_out(dict(result), nested) if "jobs" in result else result
    rows = [row for part in nested.values() for row in rows_of(part, form, replace=replace)]
    # A workflow's is that of the jobs that decide its numbers.
    parts = [part.get("calculator") for part in nested.values()]
    known = [result.get("calculator"), *reversed(result.get("calculators", [])), *parts]
    calculator = next((one for one in known if one), None)
    converged = _converged(result, nested)
    row = row_of(body, form, calculator and calculator["name"], converged, replace=replace)
    return [*rows, row]


def row_of(
    body: Mapping[str, Any],
    form: Format,
    calculator: str | None,
    converged: bool | None,
    *,
    replace: bool = False,
) -> Row:
    """Return the row of a result whose parts have rows of their own."""
    key = body["key"]
    reduced = plain(body, f"result {key[:10]}")
    content = to_binary(reduced)
    pairs = {"recipe": body["name"], "reduced_formula": body["formula"]}
    if converged is not None:
        pairs["converged"] = converged
    if isinstance(body.get("asked"), str):
        pairs["asked"] = body["asked"]
    data, file = _content(content, reduced, form)
    if file is not None:
        data = form.body({"key": key, FILE: file[0]})
        pairs["file"] = file[0]
    columns = columns_of(key, body["atoms"], body.get("results", {}), calculator, pairs, data, form)
    return Row(key, converged, replace, columns, file)


def _content(content: bytes, reduced: Any, form: Format) -> tuple[bytes | str, Any]:
    """Return what goes into the column, and the file that takes its place."""
    if len(content) <= LARGE:
        data = content if form is SQLITE else form.body(reduced)
        if isinstance(data, bytes) or _is_text(data):
            return data, None
    return b"", (name_of(content), content)


def _is_text(data: str) -> bool:
    """Return whether PostgreSQL takes it: no NUL, nor half characters, which stand for bytes."""
    if "\\u0000" in data:
        return False
    if "\\ud" in data:
        try:
            json.dumps(json.loads(data), ensure_ascii=False).encode()
        except UnicodeEncodeError:
            return False
    return True


def body_of(stored: bytes | str, files: LargeFiles) -> tuple[dict[str, Any], set[str]]:
    """Return the content of a ``data`` column, and the keys of the results it refers to."""
    body, parts = decode(stored), set[str]()
    if isinstance(body, dict) and FILE in body:
        stored = files.read(body[FILE])
        body = decode(stored)
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
