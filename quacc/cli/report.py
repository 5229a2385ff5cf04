"""``quacc report``: one page of HTML about results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from quacc.cli.upkeep import StoreOption
from quacc.errors import InputError


def report(
    keys: Annotated[
        list[str], typer.Argument(metavar="KEY...", help="As in `quacc results show`, or latest.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Ends in .html.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    store: StoreOption = None,
) -> None:
    """Write results with structures, figures, tables, provenance and citations to one page.

    The file needs nothing else: it opens offline, can be mailed, and runs no code.
    """
    from quacc.cli.exports import atomically, readable
    from quacc.recipes.page import page
    from quacc.store import Store

    database = Store(store)
    results = [database.get(key) for key in dict.fromkeys(map(database.resolve, keys))]
    first = results[0]
    file = output or Path(f"{first['formula']}-{first['key'][:10]}.html")
    if file.suffix.lower() != ".html":
        raise InputError(f"{str(file)!r} must end in .html.")
    if file.exists() and not force:
        raise InputError(f"{str(file)!r} exists; choose another name, or use --force.")
    parts = database.find({job for one in results for job in one.get("jobs", [])})
    with readable(first["key"] if len(results) == 1 else None):
        text = page(results, parts)
    with atomically(file) as partial:
        partial.write_text(text, encoding="utf-8")
    typer.echo(f"Wrote {file}; open it in any browser.")
