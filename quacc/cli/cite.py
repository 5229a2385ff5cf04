"""``quacc cite``: BibTeX for what is behind a result."""

from __future__ import annotations

from typing import Annotated

import typer

from quacc.cli.upkeep import StoreOption


def cite(
    key: Annotated[str, typer.Argument(help="Key of the result; its first 6 characters will do.")],
    store: StoreOption = None,
) -> None:
    """Print BibTeX for the method, the code and the programs behind a result."""
    from quacc.recipes.report import citations
    from quacc.store import Store

    typer.echo(citations(Store(store).get(key)), nl=False)
