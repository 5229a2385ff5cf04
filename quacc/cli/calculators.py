"""``quacc calculators``: which codes can be used here, why the others can't, and what they take."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import typer

app = typer.Typer(help="Which codes can be used here, and what they take.")


@app.callback(invoke_without_command=True)
def calculators(context: typer.Context) -> None:
    """List the calculators: usable here or not, and why; `show NAME` tells more of one."""
    if context.invoked_subcommand is not None:
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from quacc.calculators import code_names, get_code, wrong_command
    from quacc.calculators.isolated import where_it_lives
    from quacc.settings import inspect

    table = Table(box=None, header_style="bold")
    for column in ("calculator", "usable here", "version", "elements", "what it is"):
        table.add_column(column, overflow="fold")
    codes = [where_it_lives(get_code(name)) for name in code_names()]
    with ThreadPoolExecutor() as threads:  # programs take a moment to tell their versions
        states = list(threads.map(_state, codes))
    for code, (usable, version) in zip(codes, states, strict=True):
        table.add_row(*map(Text, (code.name, usable, version, _elements(code), code.title)))
    console = Console()
    console.print(table)
    for program in inspect()[0].commands:
        if reason := wrong_command(program):
            console.print(Text(f"Warning: {reason}", style="yellow"))


@app.command()
def show(name: str) -> None:
    """Show what a calculator is, computes and takes, and what it does with a structure."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from quacc.calculators import get_code
    from quacc.calculators.code import HANDLES
    from quacc.calculators.isolated import where_it_lives
    from quacc.calculators.potential import Potential
    from quacc.cli.tables import console
    from quacc.recipes.report import jobs_of

    code = where_it_lives(get_code(name))
    usable, version = _state(code)
    facts = {
        "usable here": usable,
        "version": version,
        "command": code.program.run_command() if code.program else "",
        "install": code.install,
        "computes": ", ".join(code.properties),
        "jobs": ", ".join(jobs_of(name)),
        "elements": _elements(code),
    }
    screen = console()
    screen.print(Text(f"{name}: {code.title}", style="bold"))
    for fact, value in facts.items():
        if value:
            screen.print(Text(f"{fact}: {value}", overflow="fold"))
    parts = {
        "keyword": code.keywords,
        "option, which decides no number": code.options,
    }
    for header, words in parts.items():
        if words:
            table = Table(header, "default", "meaning", "values", box=box.SIMPLE_HEAD)
            for word, keyword in words.items():
                default = Text(str(keyword.default), overflow="fold")
                table.add_row(word, default, Text(keyword.meaning), Text(keyword.check.words))
            screen.print(table)
    table = Table("what a structure says", "what is done with it", box=box.SIMPLE_HEAD)
    for said, done in {**HANDLES, **code.handles}.items():
        table.add_row(said, Text(done))
    screen.print(table)
    if isinstance(code, Potential) and code.trainings:
        table = Table("model", "functional", "trained on", "licence", box=box.SIMPLE_HEAD)
        for model, one in code.trainings.items():
            texts = (model, one.functional, one.data, one.licence)
            table.add_row(*(Text(text, overflow="fold") for text in texts))
        screen.print(table)
    for handler in code.handlers:
        screen.print(Text(f"{handler.what}: tried again {handler.most} times."))
    screen.print(Text(code.citation))


def _elements(code: Any) -> str:
    """Return the elements of a code; where it has most, those that it lacks."""
    if code.elements is None:
        return "all"
    from ase.data import atomic_numbers, chemical_symbols

    last = max(code.elements, key=atomic_numbers.__getitem__)
    missing = sorted({*chemical_symbols[1 : atomic_numbers[last]]} - code.elements)
    if len(missing) > len(code.elements):
        return " ".join(sorted(code.elements))
    return f"H to {last}" + (f" without {' '.join(missing)}" if missing else "")


def _state(code: Any) -> tuple[str, str]:
    """Return whether a code is usable here, or why not; and its version."""
    try:
        missing = code.missing()
        version = "-" if missing else code.version()
    except Exception as error:  # one broken code must not hide the others
        missing, version = str(error) or type(error).__name__, "-"
    return "yes" if missing is None else f"no: {missing}", version
