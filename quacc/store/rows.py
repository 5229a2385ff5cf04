"""Turn a result into rows of ASE's database."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms

from quacc.errors import StoreError
from quacc.store.codec import plain

REFERENCE = "__quacc_key__"
"""Stands in a workflow's row for a result that has a row of its own."""

_PER_ATOM = {"forces": (3,), "magmoms": (), "charges": ()}
_SHAPES = {"stress": (6,), "dipole": (3,)}


@dataclass(slots=True)
class Row:
    """One row, ready to be written."""

    key: str
    converged: bool | None
    ase_row: Any


def rows_of(result: Mapping[str, Any], encode: Callable[[Any], bytes | str]) -> list[Row]:
    """Return the result's row, after those of the results nested in a workflow's result.

    Raises
    ------
    StoreError
        If the result cannot be stored as it is.
    """
    for name in ("key", "name", "formula", "atoms"):
        if name not in result:
            raise StoreError(f"This is not a result, it has no {name!r}: its keys are {[*result]}.")
    nested: dict[str, Mapping[str, Any]] = {}
    body = _pull_out(dict(result), nested) if "jobs" in result else result
    rows = [row for part in nested.values() for row in rows_of(part, encode)]
    data = encode(plain(body, f"result {str(result['key'])[:10]}"))
    return [*rows, _row(result, nested, data)]


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


def _row(
    result: Mapping[str, Any], nested: Mapping[str, Mapping[str, Any]], data: bytes | str
) -> Row:
    from ase.db.row import AtomsRow, atoms2dict

    key = result["key"]
    if not isinstance(key, str) or not key:
        raise StoreError(f"A result's key must be a text, not {key!r}.")
    atoms: Atoms = result["atoms"].copy()
    atoms.calc = None
    columns = atoms2dict(atoms)
    columns |= _properties(result.get("results", {}), len(atoms))
    columns |= {"unique_id": key, "user": os.getenv("USER"), "data": data}
    calculator = result.get("calculator") or next(
        (part["calculator"] for part in nested.values() if part.get("calculator")), None
    )
    if calculator:
        columns |= {"calculator": calculator["name"], "calculator_parameters": {}}

    converged = _converged(result, nested)
    # They go through the row and not through ASE's `write(**pairs)`, which refuses texts that
    # look like a number: InF and NaN are formulas.
    pairs: dict[str, Any] = {"recipe": result["name"], "reduced_formula": result["formula"]}
    if converged is not None:
        pairs["converged"] = converged
    columns["key_value_pairs"] = pairs
    return Row(key, converged, AtomsRow(columns))


def _properties(results: Mapping[str, Any], natoms: int) -> dict[str, Any]:
    """Pick what has a column of its own; everything is in ``data`` anyway."""
    columns: dict[str, Any] = {}
    for name in ("energy", "free_energy", "magmom"):
        if results.get(name) is not None:
            columns[name] = float(results[name])  # psycopg2 cannot take NumPy's floats
    shapes = {**_SHAPES, **{name: (natoms, *rest) for name, rest in _PER_ATOM.items()}}
    for name, shape in shapes.items():
        if results.get(name) is not None:
            array = np.array(results[name], dtype=float)
            if array.shape == shape:
                columns[name] = array
    return columns


def _converged(result: Mapping[str, Any], nested: Mapping[str, Mapping[str, Any]]) -> bool | None:
    if result.get("converged") is not None:
        return bool(result["converged"])
    if "jobs" not in result:
        return None
    # A workflow stands on all its parts, and is replaced with them.
    parts = [*nested.values(), *result.get("surfaces", [])]
    return all(part.get("converged") is not False for part in parts)
