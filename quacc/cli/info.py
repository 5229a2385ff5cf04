"""``quacc info``: what to paste into a bug report."""

from __future__ import annotations

import typer


def info() -> None:
    """Print versions, settings, and what the environment says; no secrets are in it."""
    from quacc.cli.surroundings import report

    for name, text in report():
        typer.echo(f"{f'{name}:':20}{text}")
