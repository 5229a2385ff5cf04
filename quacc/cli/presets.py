"""``quacc presets``: keywords of calculators under a name."""

from __future__ import annotations


def presets() -> None:
    """List the presets, which `quacc run --preset NAME` takes, and where your own go."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from quacc.calculators.presets import described, folders
    from quacc.cli.tables import console

    table = Table("preset", "calculators", "what it is for", box=box.SIMPLE_HEAD)
    for row in described():
        table.add_row(*(Text(cell, overflow="fold") for cell in row))
    screen = console()
    screen.print(table)
    places = ", then in ".join(map(str, folders()))
    screen.print(f"Files NAME.yaml in {places}; later ones win.", highlight=False, soft_wrap=True)
