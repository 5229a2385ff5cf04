"""``quacc results``: look at, export and delete what has been computed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from quacc.cli import publish, reproduce, upkeep
from quacc.cli.exports import readable
from quacc.cli.upkeep import StoreOption
from quacc.errors import InputError, StoreError

app = typer.Typer(help="Look at, export and delete stored results.", no_args_is_help=True)

Keys = Annotated[list[str] | None, typer.Argument(metavar="[KEY]...", help="As in `show`.")]
Formula = Annotated[str | None, typer.Option(help="Only this reduced formula, such as TiO2.")]
Recipe = Annotated[str | None, typer.Option(help="Only this recipe, such as emt.relax_job.")]
Calculator = Annotated[str | None, typer.Option(help="Only this code, such as emt.")]
Since = Annotated[
    str | None,
    typer.Option(help="Stored at or after 2026-01-31, 2026-01-31T12:00, or 7d or 12h ago."),
]
Until = Annotated[str | None, typer.Option(help="Stored at or before; a whole day is included.")]

JSON = Annotated[bool, typer.Option("--json", help="For scripts; complete numbers.")]

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@app.command("ls")
def list_results(
    formula: Formula = None,
    recipe: Recipe = None,
    calculator: Calculator = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of results.")] = 50,
    as_json: JSON = False,
    store: StoreOption = None,
) -> None:
    """List results, newest first."""
    from quacc.cli.exports import summary_of
    from quacc.cli.tables import console, results_table

    database = _open(store)
    for file in database.waiting():
        typer.echo(
            f"There are results in {file}, too: `quacc results recover` takes them in.",
            err=as_json,
        )
    rows = list(
        database.select(**filters_of(formula, recipe, calculator, since, until), limit=limit + 1)
    )
    if as_json:
        typer.echo(json.dumps([summary_of(row) for row in rows[:limit]], indent=1))
        return
    if not rows:
        typer.echo(f"No results found in {database}.")
        return
    out = console()
    out.print(results_table(rows[:limit], out.width))
    if len(rows) > limit:
        typer.echo(f"There are more than these {limit}; use --limit to see them.")


@app.command()
def show(
    key: Annotated[
        str,
        typer.Argument(help="Key of the result, of which 6 characters will do, or latest."),
    ],
    as_json: JSON = False,
    store: StoreOption = None,
) -> None:
    """Show one result."""
    from quacc.cli.exports import encode
    from quacc.cli.tables import console

    result = _open(store).get(key)
    if as_json:
        typer.echo(encode(result))
        return
    out = console()
    with readable(result["key"]):
        print_result(result, out)


def print_result(result: Mapping[str, Any], out: Any) -> None:
    """Print a result, whatever it comes from."""
    from rich.markup import escape

    from quacc.recipes.facts import facts

    out.print(f"[bold]{escape(result['formula'])}  {escape(result['name'])}[/]")
    for name, text in facts(result):
        out.print(f"  {name:<16}{escape(text)}", highlight=False, soft_wrap=True)
    if "jobs" in result or has_outcome(result):
        print_outcome(result, out)
    if result.get("parameters"):
        out.print("Parameters")
        for name, value in result["parameters"].items():
            out.print(f"  {escape(f'{name} = {value!r}')}", highlight=False, soft_wrap=True)
    for warning in result.get("warnings", []):
        out.print(f"[yellow]Warning:[/] {escape(warning)}", soft_wrap=True)


def has_outcome(result: Mapping[str, Any]) -> bool:
    """Tell whether a job's result has a summary and a table, as workflows' have."""
    from quacc.recipes.report import JOBS

    return str(result.get("name", "")).rpartition(".")[2] in JOBS


def print_outcome(result: Mapping[str, Any], out: Any) -> None:
    """Print the summary and the table of a workflow's result."""
    from quacc.cli.tables import rows_table
    from quacc.recipes import report

    try:
        title = report.summary(result)
    except InputError:  # a workflow of the user's own
        return
    rows = report.table(result)
    if all(row.get("converged") is True for row in rows):  # as it should be
        rows = [{name: row[name] for name in row if name != "converged"} for row in rows]
    out.print(rows_table(rows, out.width))
    out.print(title, highlight=False, markup=False, soft_wrap=True)


@app.command()
def plot(
    key: Annotated[
        str,
        typer.Argument(
            help="As in `show`: of a workflow, relaxation, dynamics, bands, dos and the like."
        ),
    ],
    file: Annotated[Path | None, typer.Argument(help="Ends in .pdf, .svg or .png.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    store: StoreOption = None,
) -> None:
    """Draw a result into a file."""
    from quacc.cli.exports import atomically
    from quacc.recipes import report

    result = _open(store).get(key)
    name = re.sub("_(flow|job)$", "", result["name"].rpartition(".")[2])
    file = file or Path(f"{result['formula']}-{name}-{result['key'][:10]}.pdf")
    kinds = (".pdf", ".svg", ".png")
    if file.suffix.lower() not in kinds:
        raise InputError(f"{str(file)!r} must end in {', '.join(kinds)}.")
    if file.exists() and not force:
        raise InputError(f"{str(file)!r} exists; choose another name, or use --force.")
    with readable(result["key"]):
        figure, about = report.plot(result), report.title(result)
    with atomically(file) as partial:
        figure.savefig(partial, format=file.suffix[1:].lower())
    typer.echo(f"Drew {about}\nin {file}.")


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="Ends in .extxyz, .xyz, .csv or .json.")],
    formula: Formula = None,
    recipe: Recipe = None,
    calculator: Calculator = None,
    since: Since = None,
    until: Until = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    store: StoreOption = None,
) -> None:
    """Write results to a file.

    .extxyz and .xyz take structures with energy, forces and stress, .csv what `ls` shows, and
    .json everything.
    """
    from quacc.cli.exports import atomically, write_csv, write_json, write_xyz

    writers = {".extxyz": write_xyz, ".xyz": write_xyz, ".csv": write_csv, ".json": write_json}
    write = writers.get(file.suffix.lower())
    if write is None:
        raise InputError(f"{str(file)!r} must end in {', '.join(writers)}.")
    with atomically(file) as partial, readable():
        if file.exists() and not force:
            raise InputError(f"{str(file)!r} exists; choose another name, or use --force.")
        database = _open(store)
        rows = list(database.select(**filters_of(formula, recipe, calculator, since, until)))
        if not rows:
            raise StoreError(f"No results found in {database}; nothing was written.")
        count = write(partial, database, rows)
        if not count:
            raise StoreError("Only workflow results match, and they have no energies of their own.")
    typer.echo(f"Wrote {count} results to {file}.")
    if count < len(rows):
        typer.echo(f"Left out {len(rows) - count} results without an energy (workflows).")


@app.command("rm")
def remove(
    keys: Keys = None,
    formula: Formula = None,
    recipe: Recipe = None,
    calculator: Calculator = None,
    since: Since = None,
    until: Until = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    store: StoreOption = None,
) -> None:
    """Delete results, by their keys or by filters."""
    database = _open(store)
    filters = filters_of(formula, recipe, calculator, since, until)
    has_filters = any(value is not None for value in filters.values())
    if bool(keys) == has_filters:
        raise InputError("Say what to delete: either keys, or filters such as --recipe.")
    if keys:
        wanted = sorted({database.resolve(key) for key in keys})
    else:
        wanted = [row.key for row in database.select(**filters)]
    if not wanted:
        typer.echo(f"No results found in {database}.")
        return
    if not yes:
        typer.confirm(f"Delete {len(wanted)} results from {database}?", abort=True)
    typer.echo(f"Deleted {database.remove(wanted)} results.")


for _command in (
    publish.publish,
    reproduce.reproduce,
    upkeep.check,
    upkeep.recover,
    upkeep.vacuum,
    upkeep.merge,
):
    app.command()(_command)


def _open(location: str | None) -> Any:
    from quacc.store import Store

    return Store(location)


def filters_of(
    formula: str | None,
    recipe: str | None,
    calculator: str | None,
    since: str | None,
    until: str | None,
) -> dict[str, Any]:
    return {
        "formula": formula,
        "recipe": recipe,
        "calculator": calculator,
        "since": None if since is None else parse_moment(since),
        "until": None if until is None else parse_moment(until, end=True),
    }


def parse_moment(text: str, *, end: bool = False) -> datetime:
    """Read a date, a time or an age such as ``7d``; local time if no zone is given.

    With ``end``, a date alone means the end of that day.
    """
    try:
        if match := re.fullmatch(r"(\d+)\s*([mhdw])", text.strip()):
            return datetime.now().astimezone() - timedelta(**{_UNITS[match[2]]: int(match[1])})
        moment = datetime.fromisoformat(text.strip())
        if end and "T" not in text and ":" not in text:
            moment = datetime.combine(moment.date(), time.max)
        return moment.astimezone()
    except (ValueError, OverflowError):
        raise InputError(
            f"{text!r} is not a time, or too far away. Write 2026-01-31 or 2026-01-31T12:00, or an "
            "age: 30m, 12h, 7d, 4w."
        ) from None
