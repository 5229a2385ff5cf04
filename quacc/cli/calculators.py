"""``quacc calculators``: which codes can be used here, why the others can't, and what they take."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import typer

app = typer.Typer(help="Which codes can be used here, and what they take.")


@app.callback(invoke_without_command=True)
def calculators(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """List the calculators: usable here or not, and why; `show NAME` tells more of one."""
    if context.invoked_subcommand is not None:
        return
    from rich.table import Table
    from rich.text import Text

    from quacc.calculators import code_names, get_code, wrong_command
    from quacc.calculators.isolated import where_it_lives
    from quacc.cli.tables import console
    from quacc.settings import inspect

    codes = [where_it_lives(get_code(name)) for name in code_names()]
    with ThreadPoolExecutor() as threads:  # programs take a moment to tell their versions
        states = list(threads.map(_state, codes))
    if as_json:
        rows = [
            {
                "name": code.name,
                "title": code.title,
                "usable": missing is None,
                "reason": missing,
                "version": version,
                "elements": None if code.elements is None else sorted(code.elements),
            }
            for code, (missing, version) in zip(codes, states, strict=True)
        ]
        typer.echo(json.dumps(rows, ensure_ascii=False, indent=1))
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("calculator", "usable", "version", "elements", "what it is"):
        table.add_column(column, overflow="fold", no_wrap=column == "calculator")
    for code, (missing, found) in zip(codes, states, strict=True):
        usable = "yes" if missing is None else "no"
        row = (code.name, usable, found or "-", _elements(code), code.title)
        table.add_row(*map(Text, row))
    screen = console()
    screen.print(table)
    reasons = [
        (code.name, missing) for code, (missing, _) in zip(codes, states, strict=True) if missing
    ]
    if reasons:
        screen.print("\nNot usable here:")
        for name, why in reasons:
            screen.print(Text(f"{name}: {why}"), soft_wrap=not screen.is_terminal)
    for program in inspect()[0].commands:
        if reason := wrong_command(program):
            screen.print(Text(f"Warning: {reason}", style="yellow"), soft_wrap=True)


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
    missing, version = _state(code)
    facts = {
        "usable here": "yes" if missing is None else f"no: {missing}",
        "version": version or "-",
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


def _state(code: Any) -> tuple[str | None, str | None]:
    """Return why a code is not usable here, if so, and its version if it is."""
    try:
        missing = code.missing()
        return missing, None if missing else code.version()
    except Exception as error:  # one broken code must not hide the others
        return str(error) or type(error).__name__, None
