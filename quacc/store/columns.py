"""The columns of ASE's tables, as ASE itself fills them, but for many rows at once.

ASE's own ``write`` takes six statements a row, which each wait for a server's answer, and twice
the time.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_masses

from quacc.constraints import describe
from quacc.store.codec import Format
from quacc.store.queries import by_key

_ARRAYS = [
    "numbers",
    "positions",
    "initial_magmoms",
    "initial_charges",
    "masses",
    "tags",
    "momenta",
]
_SHAPES: dict[str, tuple[int, ...]] = {"stress": (6,), "dipole": (3,)}
_PER_ATOM: dict[str, tuple[int, ...]] = {"forces": (3,), "magmoms": (), "charges": ()}
_TOGETHER = 200  # rows in one statement


@dataclass(slots=True)
class Columns:
    """What one row puts into the tables."""

    key: str
    values: dict[str, Any]
    """Values in the table ``systems``, by column; NULL where there is none."""
    species: Mapping[int, int]
    """How often each atomic number occurs."""
    pairs: Mapping[str, str | bool]


def columns_of(
    key: str,
    atoms: Atoms,
    results: Mapping[str, Any],
    calculator: str | None,
    pairs: Mapping[str, str | bool],
    data: bytes | str,
    form: Format,
) -> Columns:
    """Return the columns of a result; ``data`` holds all of it, the others are for ASE's tools."""
    from ase.io.jsonio import encode

    found = _properties(results, len(atoms))
    arrays = {name: atoms.arrays.get(name) for name in _ARRAYS}
    arrays |= {"cell": atoms.cell.array, **found}
    volume = abs(np.linalg.det(atoms.cell.array))
    values = {
        "unique_id": key,
        "username": (os.getenv("USER") or "").encode(errors="replace").decode() or None,
        "pbc": int(np.dot(atoms.pbc, [1, 2, 4])),
        "calculator": calculator,
        "calculator_parameters": None if calculator is None else "{}",
        "key_value_pairs": json.dumps(pairs),
        "data": data,
        "natoms": len(atoms),
        "volume": float(volume) if volume else None,
        "mass": float(_of(atoms, "masses", atomic_masses[atoms.numbers]).sum()),
        "charge": float(_of(atoms, "initial_charges", np.zeros(1)).sum()),
    }
    if atoms.constraints:
        described = [describe(constraint) for constraint in atoms.constraints]
        values["constraints"] = encode(
            [{"name": one["name"], "kwargs": one["kwargs"]} for one in described]
        )
    if len(found.get("forces", ())):
        values["fmax"] = float((_constrained(atoms, found["forces"]) ** 2).sum(1).max() ** 0.5)
    if "stress" in found:
        values["smax"] = float((found["stress"] ** 2).max() ** 0.5)
    for name in ("energy", "free_energy", "magmom"):
        if results.get(name) is not None:
            values[name] = float(results[name])  # psycopg2 cannot take NumPy's floats
    for name, array in arrays.items():
        if array is not None:
            whole = array.dtype == np.int64
            values[name] = form.array(array.astype(np.int32) if whole else array)
    return Columns(key, values, Counter(atoms.numbers.tolist()), pairs)


def _properties(results: Mapping[str, Any], natoms: int) -> dict[str, np.ndarray[Any, Any]]:
    """Pick the arrays that have a column of their own."""
    shapes = _SHAPES | {name: (natoms, *rest) for name, rest in _PER_ATOM.items()}
    found = {}
    for name, shape in shapes.items():
        if results.get(name) is not None:
            array = np.asarray(results[name], dtype=float)
            if array.shape == shape:
                found[name] = array
    return found


def _of(atoms: Atoms, name: str, default: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    array: np.ndarray[Any, Any] = atoms.arrays.get(name, default)
    return array


def _constrained(atoms: Atoms, forces: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if atoms.constraints:
        atoms, forces = atoms.copy(), forces.copy()  # constraints remember things, too
        for constraint in atoms.constraints:
            with suppress(RuntimeError):  # one that would compute
                constraint.adjust_forces(atoms, forces)
    return forces


def insert(database: Any, rows: Sequence[Columns]) -> None:
    """Write new rows; none of their keys may be there already. Some know their times."""
    from ase.db.core import now

    cursor = database.connection.cursor()
    created = now()

    def into(table: str, tuples: list[tuple[Any, ...]], first: str = "") -> None:
        if tuples:
            marks = ", ".join("?" * len(tuples[0]))
            cursor.executemany(f"INSERT INTO {table} VALUES ({first}{marks})", tuples)

    names = database.columnnames[1:]  # the first is the id
    for start in range(0, len(rows), _TOGETHER):
        some = rows[start : start + _TOGETHER]
        times = {"ctime": created, "mtime": created}
        every = [times | row.values for row in some]
        into(
            "systems", [tuple(map(one.get, names)) for one in every], first=f"{database.default}, "
        )
        ids = dict(by_key(database, "unique_id, id", [row.key for row in some]))
        pairs = [(name, value, ids[row.key]) for row in some for name, value in row.pairs.items()]
        into("species", [(z, n, ids[row.key]) for row in some for z, n in row.species.items()])
        into("text_key_values", [pair for pair in pairs if isinstance(pair[1], str)])
        into("number_key_values", [(k, float(v), i) for k, v, i in pairs if not isinstance(v, str)])
        into("keys", [(name, number) for name, _, number in pairs])
