"""``quacc info``: what to paste into a bug report."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def info(
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Print versions, settings, and what the environment says; no secrets are in it."""
    from quacc.cli.surroundings import report

    if as_json:
        typer.echo(json.dumps(dict(report()), ensure_ascii=False, indent=1))
        return
    for name, text in report():
        typer.echo(f"{f'{name}:':20}{text}")
