"""``quacc environments``: which calculators live in a Python of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    no_args_is_help=True,
    help="Calculators that live in a Python of their own, since their packages clash with others.",
)


@app.command()
def ls() -> None:
    """List them, and whether each can be used."""
    _table(_environments())


@app.command()
def check() -> None:
    """The same; the exit status is 1 where one cannot be used."""
    if not _table(_environments()):
        raise typer.Exit(1)


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="Name of the calculator, such as tblite.")],
    python: Annotated[Path, typer.Argument(help="Its Python, such as ~/envs/xtb/bin/python.")],
) -> None:
    """Let a calculator live in another Python, once it can be used there.

    It must be 3.11 or later. Install ASE and the calculator's package there; quacc need not be.
    """
    from quacc.calculators import get_code
    from quacc.calculators.isolated import where_it_lives
    from quacc.cli.settings import set_
    from quacc.errors import MissingProgramError
    from quacc.settings import change_settings

    path = str(python.expanduser().absolute())
    name = get_code(name).name
    with change_settings(environments={name: path}):
        code = where_it_lives(get_code(name))
        if reason := code.missing():
            raise MissingProgramError(f"{code.title} cannot be used there. {reason}")
        typer.echo(f"{name} there is {code.version()}.")
    set_(f"environments.{name}", path)


def _environments() -> dict[str, str]:
    from quacc.settings import get_settings

    return {name: str(python) for name, python in get_settings().environments.items()}


def _table(environments: dict[str, Any]) -> bool:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from quacc.calculators import get_code
    from quacc.calculators.isolated import where_it_lives
    from quacc.cli.tables import console
    from quacc.errors import QuaccError

    if not environments:
        typer.echo("All calculators live in this Python; see `quacc environments add -h`.")
        return True
    table = Table("calculator", "Python", "usable", "version", box=box.SIMPLE_HEAD)
    fine = True
    for name, python in sorted(environments.items()):
        version = "-"
        try:
            code = where_it_lives(get_code(name))
            missing = code.missing()
            version = "-" if missing else code.version()
        except QuaccError as error:
            missing = str(error)
        fine = fine and missing is None
        usable = "yes" if missing is None else f"no: {missing}"
        table.add_row(*(Text(cell, overflow="fold") for cell in (name, python, usable, version)))
    console().print(table)
    return fine
