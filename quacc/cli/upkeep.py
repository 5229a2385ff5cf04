"""``quacc results check|vacuum|merge|recover``."""

from __future__ import annotations

from typing import Annotated

import typer

StoreOption = Annotated[
    str | None,
    typer.Option("--store", metavar="LOCATION", help="Database file or URL, if not the usual one."),
]


def check(store: StoreOption = None) -> None:
    """Look for damage: in the database, its files, and what waits to be stored."""
    from quacc.store import Store
    from quacc.store.upkeep import check

    database = Store(store)
    count, problems = check(database)
    for problem in problems:
        typer.echo(problem)
    typer.echo(f"{database}: {count} results, {len(problems) or 'no'} problems.")
    if problems:
        raise typer.Exit(1)


def vacuum(store: StoreOption = None) -> None:
    """Give back the room that deleted results have left."""
    from quacc.store import Store
    from quacc.store.upkeep import vacuum

    typer.echo(f"Freed {vacuum(Store(store)):,} bytes.")


def merge(
    other: Annotated[str, typer.Argument(help="The other database: a file or a URL.")],
    store: StoreOption = None,
) -> None:
    """Bring in the results of another database."""
    from quacc.store import Store
    from quacc.store.upkeep import merge

    database = Store(store)
    merged = merge(database, Store(other))
    for text in merged.left_out:
        typer.echo(f"Left out: {text}")
    typer.echo(f"{database}: {merged.added} new results, {merged.known} were known.")
    if merged.left_out:
        raise typer.Exit(1)


def recover(store: StoreOption = None) -> None:
    """Store what a full disk, a lost server or the like has kept out."""
    from quacc.store import Store

    database = Store(store)
    count = len(database._journal.pending().keys)
    rejected = database.bring_in(again=True)
    for key, reason in rejected.items():
        typer.echo(f"Still not stored: {key[:10]}: {reason}")
    typer.echo(f"{database}: {max(0, count - len(rejected))} results brought in.")
    if rejected:
        raise typer.Exit(1)
