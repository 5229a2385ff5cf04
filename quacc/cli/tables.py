"""Tables that several commands print."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

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


def surfaces_table(result: Mapping[str, Any]) -> Table:
    """The surfaces of a crystal, in the order of the result (lowest surface energy first)."""
    table = Table(title=f"Surfaces of {result['formula']}", box=box.SIMPLE_HEAD)
    table.add_column("surface", no_wrap=True)
    for name in ("termination", "atoms", "steps", "energy per atom (eV)", "surface energy (J/m²)"):
        table.add_column(name, justify="right")
    table.add_column("converged")
    for surface in result["surfaces"]:
        table.add_row(
            f"({miller(surface['miller'])})",
            str(surface["termination"]),
            str(surface["natoms"]),
            str(surface["steps"]),
            number(surface["energy_per_atom"], 4),
            # The two sides of an asymmetric slab differ; only their mean is known.
            number(surface["surface_energy"], 3) + ("" if surface["symmetric"] else " (mean)"),
            yes_no(surface["converged"]),
        )
    return table


def miller(indices: Iterable[int]) -> str:
    """Write Miller indices as crystallographers do: ``1 1 -1`` is ``11-1``."""
    indices = list(indices)
    return ("" if all(abs(i) < 10 for i in indices) else " ").join(map(str, indices))


def number(value: float | None, digits: int) -> str:
    """Write a number, or a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def yes_no(value: bool | None) -> str:
    """Write a truth value, or nothing where it has no meaning."""
    return "" if value is None else "yes" if value else "[bold red]no[/]"
