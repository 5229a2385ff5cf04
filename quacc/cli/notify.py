"""``quacc notify``: a message by the addresses that are told of failed runs."""

from __future__ import annotations

from typing import Annotated

import typer


def notify(
    text: Annotated[str, typer.Argument(help="Of the message.")] = "A test by `quacc notify`.",
) -> None:
    """Send a message to the addresses that are told when deployed runs fail."""
    from quacc.prefect.notify import send

    count = send("quacc", text)
    typer.echo(f"Sent to {count} {'address' if count == 1 else 'addresses'}.")
