"""Tables that several commands print."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from quacc.store.queries import Summary


def console() -> Console:
    """Return a console; what is piped into a file or another program is not cut at 80 columns."""
    return Console() if sys.stdout.isatty() else Console(width=200)


def results_table(rows: Iterable[Summary]) -> Table:
    """One line per stored result."""
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("key", "formula", "recipe", "calculator"):
        table.add_column(name, no_wrap=name == "key")
    table.add_column("atoms", justify="right")
    table.add_column("energy (eV)", justify="right", no_wrap=True)
    table.add_column("converged")
    table.add_column("when", no_wrap=True)
    for row in rows:
        table.add_row(
            row.key[:10],
            row.formula,
            row.recipe,
            row.calculator or "",
            str(row.natoms),
            number(row.energy, 4),
            yes_no(row.converged),
            f"{row.created.astimezone():%Y-%m-%d %H:%M}",
        )
    return table


def rows_table(rows: Sequence[Mapping[str, Any]], title: str | None = None) -> Table:
    """A table of rows, whose keys are the columns."""
    table = Table(title=title, box=box.SIMPLE_HEAD)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    for name in columns:
        numeric = any(isinstance(row.get(name), int | float) for row in rows)
        table.add_column(Text(name), justify="right" if numeric else "left")
    for row in rows:
        table.add_row(*(_cell(row.get(name)) for name in columns))
    return table


def _cell(value: Any) -> str | Text:
    if isinstance(value, bool):
        return yes_no(value)
    if isinstance(value, float):
        return f"{value:.5g}" if math.isfinite(value) else "–"
    return "–" if value is None else Text(str(value))


def number(value: float | None, digits: int) -> str:
    """Write a number, or a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def yes_no(value: bool | None) -> str:
    """Write a truth value, or nothing where it has no meaning."""
    return "" if value is None else "yes" if value else "[bold red]no[/]"
