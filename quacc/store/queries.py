"""The SQL behind :class:`quacc.store.Store`, the same for SQLite and PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from quacc.errors import InputError

BY_KEY = "SELECT {columns} FROM systems WHERE unique_id IN ({marks})"
BY_PREFIX = "SELECT unique_id FROM systems WHERE unique_id > ? AND unique_id < ? LIMIT 20"
SUMMARY = "SELECT unique_id, key_value_pairs, calculator, natoms, energy, ctime FROM systems"
FILES = "SELECT value FROM text_key_values WHERE key = ? AND {column} IN ({marks})"
BY_QUESTION = (
    "SELECT texts.value, systems.unique_id FROM text_key_values AS texts JOIN systems "
    "ON systems.id = texts.id WHERE texts.key = ? AND texts.value IN ({marks})"
)
SHORTEST_PREFIX = 6


T2000, YEAR = 946681200.0, 31557600.0
"""Begin (epoch seconds) and unit (s) of the times in ASE's databases, as in ase.db.core."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What is known of a result without reading all of it."""

    key: str
    formula: str
    recipe: str
    calculator: str | None
    natoms: int
    energy: float | None
    """eV."""
    converged: bool | None
    created: datetime
    """When it was stored (UTC)."""


def summaries(
    formula: str | None,
    recipe: str | None,
    calculator: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int | None,
) -> tuple[str, list[Any]]:
    """Return the statement that selects summaries, newest first, and its values."""
    # Other rows are not ours.
    where = [
        "EXISTS (SELECT 1 FROM text_key_values AS texts WHERE texts.id = systems.id AND key = ?)"
    ]
    values: list[Any] = ["recipe"]
    # "+id", so that SQLite walks the summary index and not the rows with their big arrays.
    pairs = "+id IN (SELECT id FROM text_key_values WHERE key = ? AND value"
    if formula is not None:
        texts = _spellings(formula)
        where.append(f"{pairs} IN ({marks(texts)}))")
        values += ["reduced_formula", *texts]
    if recipe is not None:
        where.append(f"{pairs} = ?)")
        values += ["recipe", recipe]
    if calculator is not None:
        where.append("lower(calculator) = ?")
        values.append(calculator.lower())
    for moment, comparison in ((since, ">="), (until, "<=")):
        if moment is not None:
            where.append(f"ctime {comparison} ?")
            values.append(_ase_time(moment))
    statement = f"{SUMMARY} WHERE {' AND '.join(where)} ORDER BY ctime DESC, id DESC"
    if limit is not None:
        statement += f" LIMIT {int(limit)}"
    return statement, values


def fetch(database: Any, statement: str, values: Sequence[Any]) -> list[Any]:
    cursor = database.connection.cursor()
    cursor.execute(statement, values)
    return list(cursor.fetchall())


def marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))


def by_key(database: Any, columns: str, keys: Sequence[str]) -> Iterator[Any]:
    for start in range(0, len(keys), 500):  # SQLite limits the number of placeholders
        some = list(keys[start : start + 500])
        yield from fetch(database, BY_KEY.format(columns=columns, marks=marks(some)), some)


def by_question(database: Any, questions: Sequence[str]) -> dict[str, str]:
    """Return the keys of the workflows' results that answer questions."""
    found: dict[str, str] = {}
    for start in range(0, len(questions), 500):
        some = questions[start : start + 500]
        found |= fetch(database, BY_QUESTION.format(marks=marks(some)), ["asked", *some])
    return found


def files_of(database: Any, ids: Sequence[int]) -> set[str]:
    """Return the names of the files that rows refer to."""
    return _files(database, "id", ids)


def files_in_use(database: Any, names: Sequence[str]) -> set[str]:
    """Return those of the names that any row refers to."""
    return _files(database, "value", names)


def _files(database: Any, column: str, values: Sequence[Any]) -> set[str]:
    found = set()
    for start in range(0, len(values), 500):
        some = values[start : start + 500]
        statement = FILES.format(column=column, marks=marks(some))
        found |= {name for (name,) in fetch(database, statement, ["file", *some])}
    return found


def by_prefix(database: Any, prefix: str) -> list[str]:
    if set(prefix) - set("0123456789abcdef"):
        return []
    return sorted(key for (key,) in fetch(database, BY_PREFIX, [prefix, prefix + "g"]))


def nearest(database: Any, key: str) -> list[str]:
    for length in range(len(key) - 1, SHORTEST_PREFIX - 3, -1):
        if near := by_prefix(database, key[:length]):
            return near[:3]
    return []


def delete(database: Any, ids: Sequence[int]) -> None:
    from ase.db.sqlite import all_tables

    cursor = database.connection.cursor()
    for table in reversed(all_tables):  # `systems` last, the others refer to it
        for start in range(0, len(ids), 500):
            some = list(ids[start : start + 500])
            cursor.execute(f"DELETE FROM {table} WHERE id IN ({marks(some)})", some)


def _pairs(stored: Any) -> dict[str, Any]:
    pairs: dict[str, Any] = json.loads(stored) if isinstance(stored, str) else stored
    return pairs


def is_converged(stored: Any) -> bool | None:
    return _pairs(stored).get("converged")


def summary(row: Sequence[Any]) -> Summary:
    key, stored, calculator, natoms, energy, ctime = row
    pairs = _pairs(stored)
    return Summary(
        key,
        pairs.get("reduced_formula", ""),
        pairs.get("recipe", ""),
        calculator,
        natoms,
        energy,
        pairs.get("converged"),
        datetime.fromtimestamp(T2000 + ctime * YEAR, UTC),
    )


def _ase_time(moment: datetime) -> float:
    return float((moment.timestamp() - T2000) / YEAR)


def _spellings(formula: str) -> list[str]:
    """Return the ways in which the reduced formula may have been written."""
    from ase.formula import Formula

    try:
        reduced = Formula(formula, strict=True).reduce()[0]
    except (ValueError, ZeroDivisionError, RecursionError) as error:  # e.g. Cu0
        raise InputError(f"{formula!r} is not a chemical formula.") from error
    orders = [f"{reduced:{how}}" for how in ("hill", "metal", "abc")]
    return sorted({formula, str(reduced), *orders})
