"""Records as flat rows, which reports hold."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

Row = dict[str, Any]
"""Column to text, number, truth value or None."""


def rows_of(record: Mapping[str, Any]) -> list[Row]:
    """Return one row for each metric of a record.

    Parameters
    ----------
    record
        What a pair of model and task leaves (:class:`quacc.bench.record.Record`), or a benchmark of
        one's own (:class:`quacc.bench.session.Run`), where a dictionary of values has a row each. A
        flat row stays what it is.
    """
    if "cases" in record:
        return _of_pair(record)
    if "context" in record:
        return _of_run(record)
    return [dict(record)]


def flat(records: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Return the rows of all records, all with the same columns."""
    rows = [row for record in records for row in rows_of(record)]
    columns = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name) for name in columns} for row in rows]


def _of_pair(record: Mapping[str, Any]) -> list[Row]:
    task, started = record["task"], record["context"].get("started")
    return [
        {
            "task": task["name"],
            "model": record["model"]["name"],
            "metric": name,
            **{one: record["metrics"].get(name, {}).get(one) for one in _NUMBERS},
            "unit": about["unit"],
            "better": about["better"],
            "state": record["state"],
            "reason": record["reason"],
            "key": record["key"],
            "started": started,
        }
        for name, about in task["metrics"].items()
    ]


_NUMBERS = ("value", "low", "high", "n", "of")


def _of_run(record: Mapping[str, Any]) -> list[Row]:
    value = record["value"]
    values = value if isinstance(value, Mapping) else {"value": value}
    return [
        {
            "benchmark": record["name"],
            "metric": str(name),
            "value": _cell(one),
            "seconds": record["seconds"],
            "error": record["error"],
            "traceback": record["traceback"],
            "tags": ", ".join(record["tags"]) or None,
            "parameters": _cell(record["parameters"]),
            **{key: _cell(about) for key, about in record["context"].items()},
        }
        for name, one in values.items()
    ]


def _cell(value: Any) -> Any:
    if isinstance(value, str | int | float | bool | None):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)
