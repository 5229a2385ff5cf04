"""``quacc site``: profiles of the machines that jobs are submitted to."""

from __future__ import annotations

import os
from contextlib import closing
from typing import Annotated, Any

import typer

from quacc.errors import InputError, SettingsError

app = typer.Typer(
    no_args_is_help=True, help="Show, try and print the job scripts of site profiles."
)

Name = Annotated[str, typer.Argument(help="Such as perlmutter-cpu, or a file that ends in .yaml.")]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Another value, such as account=m1234."),
]


@app.command("ls")
def list_() -> None:
    """List all profiles."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from quacc.cli.tables import console
    from quacc.sites.profile import load_site, site_names, user_folder

    table = Table(box=box.SIMPLE_HEAD)
    for column in ("name", "scheduler", "cores", "memory", "GPUs", "walltime", "what", "from"):
        table.add_column(column, overflow="fold", no_wrap=column == "name")
    problems = []
    for name, file in site_names().items():
        place = str(file) if file.parent == user_folder() else "quacc"
        try:
            site = load_site(name)
        except SettingsError as error:  # one broken file must not hide the others
            problems.append(str(error))
            table.add_row(name, "", "", "", "", "", Text("wrong, see below", style="red"), place)
            continue
        numbers = (str(site.cores), site.memory or "", str(site.gpus or ""), site.walltime)
        if site.scheduler == "local":
            numbers = ("", "", "", "")
        table.add_row(*map(Text, (name, site.scheduler, *numbers, site.description, place)))
    console().print(table)
    for problem in problems:
        typer.echo(problem)


@app.command()
def show(
    name: Name,
    change: Changes = None,
    yaml: Annotated[bool, typer.Option("--yaml", help="Print the file itself.")] = False,
) -> None:
    """Show a profile: its values, what they mean, and where they come from."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from quacc.cli.tables import console
    from quacc.sites.profile import FIELDS

    site = _load(name, change)
    if yaml:
        typer.echo(site.file.read_text("utf-8"), nl=False)
        return
    table = Table("field", "value", "meaning", box=box.SIMPLE_HEAD)
    for field, info in FIELDS.items():
        if field not in ("sources", "description"):
            value = getattr(site, field)
            lines = "\n".join(value) if isinstance(value, tuple) else value
            shown = "" if lines is None or lines is False else str(lines)
            meaning = " ".join((info.description or "").split())
            table.add_row(field, Text(shown, overflow="fold"), Text(meaning))
    screen = console()
    screen.print(Text(f"{site.name}: {site.description}", style="bold"))
    screen.print(table)
    screen.print(Text(f"File: {site.file}", overflow="fold"))
    screen.print(Text("\n".join(["Sources:", *(f"- {text}" for text in site.sources)])))


@app.command()
def script(name: Name, change: Changes = None) -> None:
    """Print the job script; nothing is submitted."""
    from quacc.sites.profile import job_script

    typer.echo(job_script(_load(name, change)).rstrip())


@app.command()
def doctor(
    name: Name,
    change: Changes = None,
    wait: Annotated[
        float, typer.Option(min=1, help="How long the small job may wait in the queue (s).")
    ] = 600,
) -> None:
    """Check a site from here, then with one small job."""
    from quacc.cli.surroundings import surroundings
    from quacc.sites.doctor import examine

    site = _load(name, change)
    for what, value in surroundings(os.environ):
        typer.echo(f"- {what}: {value}")
    wrong = 0
    try:
        with closing(examine(site, wait)) as findings:
            for finding in findings:
                mark = {True: "✓", False: "✗", None: "-"}[finding.ok]
                typer.echo(f"{mark} {finding.text}")
                if finding.ok is False:
                    wrong += 1
                    typer.echo(f"    {finding.remedy}")
    except KeyboardInterrupt:
        typer.echo("quacc: interrupted. The small job, if there was one, is cancelled.", err=True)
        raise typer.Exit(130) from None
    if wrong:
        typer.echo(f"{wrong} to correct {site.where_to_change}, or with --set.")
        raise typer.Exit(1)
    typer.echo("All is well.")


def _load(name: str, changes: list[str] | None) -> Any:
    from quacc.sites.profile import load_site

    values: dict[str, Any] = {}
    for change in changes or []:
        key, equals, text = change.partition("=")
        if not equals or not key:
            raise InputError(f"--set takes KEY=VALUE, such as account=m1234, not {change!r}.")
        values[key] = _value(change, text)
    site = load_site(name)
    return site.with_changes(**values) if values else site


def _value(change: str, text: str) -> Any:
    """Return a text as it is (a walltime is no number), but lists as lists."""
    if not text.startswith("["):
        return text or None
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise InputError(f"--set {change}: the value is not valid YAML ({error}).") from None
