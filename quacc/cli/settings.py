"""``quacc settings``: show and edit the settings."""

from __future__ import annotations

import os
import tempfile
from io import StringIO
from pathlib import Path
from typing import Annotated, Any

import typer

from quacc.errors import SettingsError, suggest

app = typer.Typer(no_args_is_help=True, help="Show and edit the settings in ~/.quacc.yaml.")

Name = Annotated[str, typer.Argument(help="Such as results_dir, or commands.mopac.")]
Value = Annotated[str, typer.Argument(help="The new value.")]


@app.command()
def show() -> None:
    """Show all settings, where each comes from, and what is wrong."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from quacc.locations import redact
    from quacc.settings import BY_PROGRAM, Settings, inspect

    settings, found, mistakes = inspect()
    values: dict[str, Any] = {
        **settings.model_dump(exclude=set(BY_PROGRAM)),
        "scratch_dir": settings.scratch,
        "store": settings.database,
    }
    for section in BY_PROGRAM:
        programs = getattr(settings, section)
        values |= {f"{section}.{name}": value for name, value in programs.items()}
        if not programs:
            values[section] = "none"
    table = Table("Setting", "Value", "From", "Meaning")
    for name, value in values.items():
        place = found[name][1] if name in found else "default"
        meaning = Settings.model_fields[name.partition(".")[0]].description or ""
        cells = (name, redact(str(value)), place, meaning)
        table.add_row(*(Text(cell, overflow="fold") for cell in cells))
    Console().print(table)
    if mistakes:
        raise SettingsError("\n".join(mistakes))


@app.command("set")
def set_(name: Name, value: Value) -> None:
    """Write a setting to ~/.quacc.yaml."""
    from quacc.calculators import wrong_command
    from quacc.locations import redact
    from quacc.settings import check, inspect, settings_file

    checked = check(name, value, "command line")
    head, _, program = name.partition(".")
    if head == "commands" and program and (reason := wrong_command(program)):
        raise SettingsError(reason)
    content = _content()
    if name in content or not program:
        # Paths stay as they were written: ~ and variables are for the machine that reads them.
        content[name] = checked[head] if isinstance(checked[head], bool) else value
    elif isinstance(content.get(head), dict):
        section = content[head]
        if same := _like(program, section):
            section[same[0]] = value
        else:  # in front, because ruamel.yaml ties the comment below a section to its last line
            section.insert(0, program.lower(), value)
    else:
        content[head] = {program.lower(): value}
    only_comments = _text().rstrip() if type(content) is dict else ""
    _write(f"{only_comments}\n".lstrip() + _dump(content))
    typer.echo(f"Set {name} to {redact(value)} in {settings_file()}.")
    place = inspect()[1].get(f"{head}.{program.lower()}" if program else name, (None, ""))[1]
    if place and place != str(settings_file()):
        typer.echo(f"It has no effect here: the {place} is stronger.", err=True)


@app.command()
def unset(name: Name) -> None:
    """Remove a setting, or a mistyped name, from ~/.quacc.yaml."""
    from quacc.settings import settings_file

    content = _content()
    head, _, program = name.partition(".")
    path = [key for key in content if str(key) == name]
    if not path and isinstance(section := content.get(head), dict):
        same = _like(program, section)
        path = same and ([head, same[0]] if len(section) > 1 else [head])
    if not path:
        hint = suggest(name, map(str, content))
        typer.echo(f"{name} is not set in {settings_file()}.{hint}")
        return
    _write(_without(content, path))
    typer.echo(f"Removed {name} from {settings_file()}.")


def _like(program: str, section: Any) -> list[Any]:
    return [key for key in section if str(key).lower() == program.lower()]


def _without(content: Any, path: list[Any]) -> str:
    """Return the file's text without one entry.

    The entry's lines are cut out, because ruamel.yaml would take the comment above the next
    entry away with it.
    """
    *sections, last = path
    text = _text()
    node = _yaml().compose(text)
    section = content
    for key in sections:
        section = section[key]
        node = next(value for name, value in node.value if name.value == str(key))
    if node.flow_style:  # {a: 1, b: 2} has no line for each entry
        del section[last]
        return _dump(content)
    name, value = next(entry for entry in node.value if entry[0].value == str(last))
    while isinstance(value.value, list) and not value.flow_style:
        value = value.value[-1][1] if isinstance(value.value[-1], tuple) else value.value[-1]
    first, end = name.start_mark.line, value.end_mark
    behind = end.line if end.column == 0 else end.line + 1
    if value.start_mark.index == end.index:  # no value: the mark is anywhere below
        behind = first + 1
    lines = text.splitlines(keepends=True)
    return "".join(lines[:first] + lines[max(behind, first + 1) :])


def _content() -> Any:
    from quacc.settings import read_file

    read_file()  # raises what is wrong with the file
    content = _yaml().load(_text())
    return {} if content is None else content


def _text() -> str:
    from quacc.settings import settings_file

    return settings_file().read_text("utf-8") if settings_file().exists() else ""


def _dump(content: Any) -> str:
    stream = StringIO()
    _yaml().dump(content, stream)
    return stream.getvalue()


def _yaml() -> Any:
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 10_000  # no line breaks inside values
    return yaml


def _write(text: str) -> None:
    """Replace the file in one step, readable for its owner alone: it may hold a password."""
    from quacc.settings import parse, settings_file

    file = settings_file().resolve()  # a link stays a link
    try:
        parse(text.encode())
    except ValueError as error:
        raise SettingsError(
            f"{file} would become unreadable ({error}). Nothing has been changed: edit it in a "
            "text editor."
        ) from None
    try:
        handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=".quacc.")  # mode 0600
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(text)
            os.replace(temporary, file)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except OSError as error:
        raise SettingsError(f"Cannot write {file}: {error}. Nothing has been changed.") from None
