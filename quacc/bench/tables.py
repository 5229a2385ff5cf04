"""Records as rows, for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from quacc.bench.record import Record


def overview(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Return one row a pair: its state, survivors, and each metric with its unit."""
    return [
        {
            "task": one["task"]["name"],
            "model": one["model"]["name"],
            "state": one["state"],
            "structures": survivors(one),
            "metrics": ", ".join(
                f"{about['title']} {value['value']:.4g} {about['unit']}".rstrip()
                for name, about in one["task"]["metrics"].items()
                if (value := one["metrics"][name])["value"] is not None
            ),
            "why": one["reason"] or "",
        }
        for one in records
    ]


def survivors(record: Record) -> str:
    """Return how many cases are done, of how many: such as 70/71."""
    done = sum(one["state"] == "done" for one in record["cases"])
    return f"{done}/{len(record['cases'])}"


def rows_of_task(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Return one row a model, of the records of one task."""
    rows = []
    for one in records:
        row: dict[str, Any] = {"model": one["model"]["name"], "state": one["state"]}
        row["structures"] = survivors(one)
        for name, about in one["task"]["metrics"].items():
            unit = f" ({about['unit']})" if about["unit"] else ""
            row[f"{about['title']}{unit}"] = one["metrics"][name]["value"]
        rows.append(row)
    return rows
