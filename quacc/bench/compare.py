"""Compare two reports of benchmarks, and fail where something got worse by more than it may."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from quacc.bench import records, reporters
from quacc.bench.rows import Row, flat
from quacc.errors import InputError, suggest

Report = str | Path | Iterable[Mapping[str, Any]]

_WHO = ("task", "model", "benchmark", "metric")


@dataclass(frozen=True)
class Threshold:
    """By how much a value may get worse; where no direction is known, change."""

    amount: float
    relative: bool
    """Whether it is a share of the first value."""

    @classmethod
    def of(cls, name: str, given: Any) -> Threshold:
        """Return what ``"5%"`` (relative) or ``0.1`` (in the metric's unit) says."""
        text = str(given).strip()
        try:
            amount = float(text.removesuffix("%"))
            if isinstance(given, bool) or not 0 <= amount < float("inf"):
                raise ValueError
        except ValueError:
            raise InputError(
                f"The threshold of {name!r} must be a number of at least 0 in its unit, such as "
                f"0.1, or a share, such as 5%, not {given!r}."
            ) from None
        return cls(amount / 100, True) if text.endswith("%") else cls(amount, False)

    def is_exceeded(self, first: float, worse: float) -> bool:
        """Return whether a value that was ``first`` got worse by more than it may."""
        return worse > self.amount * (abs(first) if self.relative else 1)


@dataclass(frozen=True)
class Comparison:
    """What two reports have, side by side."""

    rows: list[Row]
    """``task``, ``model`` or ``benchmark``; ``metric``, ``first``, ``second``, ``change``,
    ``change (%)``, ``better`` (lower, higher or None), ``outcome``, and ``too much``, whether a
    threshold is exceeded. Outcomes are better, worse, same, changed (no direction is known), failed
    now, failed before, failed in both, only in the first, only in the second."""

    @property
    def failed(self) -> bool:
        """Whether any threshold is exceeded."""
        return any(row["too much"] for row in self.rows)


def compare(
    first: Report, second: Report, thresholds: Mapping[str, Any] | str | Path | None = None
) -> Comparison:
    """Compare two reports, metric by metric.

    Parameters
    ----------
    first, second
        Files of reports, as :func:`quacc.bench.reporters.read` takes them; records of pairs, or
        folders of them; or records or rows. Of rows with the same names the last one counts.
    thresholds
        By metric, ``TASK.METRIC``, or benchmark, in which ``*`` stands for any text: ``"5%"``, or a
        number in the metric's unit; or a YAML file of them. A value that is no longer there exceeds
        its threshold. The first that fits counts.

    Raises
    ------
    InputError
        A report cannot be read, a threshold makes no sense, or is of nothing in the reports.
    """
    before, after = _by_name(first), _by_name(second)
    both = {**before, **after}
    if isinstance(thresholds, str | Path):
        thresholds = thresholds_in(thresholds)
    limits = {name: Threshold.of(name, one) for name, one in (thresholds or {}).items()}
    known = sorted({name for row in both.values() for name in _names(row)})
    for name in limits:
        if not any(fnmatchcase(one, name) for one in known):
            raise InputError(
                f"There is nothing called {name!r} to have a threshold.{suggest(name, known)} "
                f"There are {', '.join(known[:20])}{', …' if len(known) > 20 else ''}."
            )
    return Comparison([_compared(before.get(one), after.get(one), limits) for one in both])


def _by_name(report: Report) -> dict[tuple[Any, ...], Row]:
    rows = _read(Path(report)) if isinstance(report, str | Path) else flat(report)
    for row in rows:
        if not {"metric", "value"} <= row.keys():
            raise InputError(f"A row of a report has metric and value, but not {row!r:.200}.")
    return {tuple(row.get(name) for name in _WHO): row for row in rows}


def _read(place: Path) -> list[Row]:
    if place.is_dir():
        return flat(records.every([place]))
    if place.suffix == ".json" and place.is_file():
        try:
            content = json.loads(place.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{str(place)!r} cannot be read: {error}") from error
        if isinstance(content, dict):
            return flat(records.every([place]))
    return reporters.read(place)


def thresholds_in(file: str | Path) -> Mapping[str, Any]:
    """Return the thresholds of a YAML file, such as ``mae: 5%``.

    Raises
    ------
    InputError
        It cannot be read, or has anything else.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        found = YAML(typ="safe").load(Path(file))
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise InputError(f"{str(file)!r} cannot be read: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(one, str) for one in found):
        raise InputError(f"{str(file)!r} must have lines such as mae: 5%.")
    return found


def _names(row: Row) -> list[str]:
    """Return what a threshold may call a row."""
    metric, owner = str(row["metric"]), row.get("task") or row.get("benchmark")
    own = [str(row["benchmark"])] if row.get("benchmark") else []
    return [metric, *own, *([f"{owner}.{metric}"] if owner else [])]


def _compared(before: Row | None, after: Row | None, limits: Mapping[str, Threshold]) -> Row:
    row = after or before or {}
    limit = next(
        (
            limit
            for name, limit in limits.items()
            if any(fnmatchcase(one, name) for one in _names(row))
        ),
        None,
    )
    first, second = ((one or {}).get("value") for one in (before, after))
    found: Row = {name: row[name] for name in _WHO if row.get(name) is not None}
    found |= {"first": first, "second": second, "change": None, "change (%)": None}
    found["better"] = row.get("better")
    if before is None:
        return found | {"outcome": "only in the second", "too much": False}
    if after is None:
        return found | {"outcome": "only in the first", "too much": limit is not None}
    if second is None:
        too_much = first is not None and limit is not None
        outcome = "failed now" if first is not None else "failed in both"
        return found | {"outcome": outcome, "too much": too_much}
    if first is None:
        return found | {"outcome": "failed before", "too much": False}
    if not (_is_number(first) and _is_number(second)):
        same = first == second
        return found | {
            "outcome": "same" if same else "changed",
            "too much": not same and limit is not None,
        }
    change = second - first
    found["change"] = change
    found["change (%)"] = 100 * change / abs(first) if first else None
    worse = {"lower": change, "higher": -change}.get(str(found["better"]), abs(change))
    if not change:
        found["outcome"] = "same"
    elif found["better"] not in ("lower", "higher"):
        found["outcome"] = "changed"
    else:
        found["outcome"] = "worse" if worse > 0 else "better"
    return found | {"too much": limit is not None and limit.is_exceeded(first, worse)}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
