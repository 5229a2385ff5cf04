"""Tables that several commands print."""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from quacc.store.queries import Summary


def console() -> Console:
    """Return a console; what is piped into a file or another program is not cut at 80 columns."""
    return Console() if sys.stdout.isatty() else Console(width=200)


def results_table(rows: Iterable[Summary], width: int) -> Group:
    """One line per stored result, at most ``width`` characters wide."""
    return rows_table(
        [
            {
                "key": row.key[:10],
                "formula": row.formula,
                "recipe": row.recipe,
                "atoms": row.natoms,
                "energy (eV)": Text(number(row.energy, 4)),
                "converged": row.converged,
                "when": f"{row.created.astimezone():%Y-%m-%d %H:%M}",
            }
            for row in rows
        ],
        width,
        whole=("key", "when"),
    )


def rows_table(rows: Sequence[Mapping[str, Any]], width: int, whole: Collection[str] = ()) -> Group:
    """A table of rows, whose keys are the columns, at most ``width`` characters wide.

    No number is ever cut. Headers are wrapped at words, texts anywhere; what still has no room is
    a table below, which begins with the first column again.

    Parameters
    ----------
    whole
        Columns of texts that are not wrapped.
    """
    columns = [_Column(name, rows, name in whole) for name in _names(rows)]
    room = width - 2
    tables: list[Table] = []
    while columns:
        shown = columns[:1]
        for column in columns[1:]:
            # Two at least, or a narrow terminal would get the first one for ever.
            if len(shown) > 1 and sum(one.least + _GAP for one in [*shown, column]) > room:
                break
            shown.append(column)
        tables.append(_table(shown, room))
        rest = columns[len(shown) :]
        columns = [*columns[:1], *rest] if rest else []
    return Group(*tables)


_GAP = 3  # characters between two columns, at most


class _Column:
    """One column, and the widths that it may have."""

    def __init__(self, name: str, rows: Sequence[Mapping[str, Any]], whole: bool) -> None:
        values = [row.get(name) for row in rows]
        self.name = name
        self.cells = [_cell(value) for value in values]
        self.is_text = any(isinstance(value, str) for value in values)
        longest = max((cell.cell_len for cell in self.cells), default=0)
        word = max(map(len, name.split()), default=0)
        self.most = max(longest, len(name))
        self.least = max(word, longest if whole or not self.is_text else min(longest, _TEXT))


_TEXT = 16  # characters that a text gets at least, where a terminal is not very narrow
_LEAST = 4  # and where it is


def _names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _table(columns: Sequence[_Column], room: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    spare = room - sum(column.least + _GAP for column in columns)
    for column in columns:
        # Where there is too little, texts give way.
        most = column.most - column.least if spare > 0 else 0
        least = _LEAST - column.least if column.is_text and spare < 0 else 0
        more = min(max(spare, least), most)
        spare -= more
        table.add_column(
            Text(column.name),
            justify="left" if column.is_text else "right",
            width=column.least + more,
            overflow="fold",
        )
    for cells in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*cells)
    return table


def _cell(value: Any) -> Text:
    if isinstance(value, Text):
        return value
    if isinstance(value, bool):
        return Text.from_markup(yes_no(value))
    if isinstance(value, float):
        if not math.isfinite(value):
            return Text("–")
        return Text("0" if abs(value) < _NOTHING else f"{value:.5g}")
    return Text("–" if value is None else str(value))


_NOTHING = 1e-10  # what rounding leaves of a zero


def number(value: float | None, digits: int) -> str:
    """Write a number, or a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def yes_no(value: bool | None) -> str:
    """Write a truth value, or nothing where it has no meaning."""
    return "" if value is None else "yes" if value else "[bold red]no[/]"
