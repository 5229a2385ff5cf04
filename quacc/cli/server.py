"""``quacc server``: one Prefect server, for a person or a group."""

from __future__ import annotations

import getpass
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True,
    help="A Prefect server of your own, which runs use: start, stop, back it up.",
)


@app.command()
def start(
    host: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Where it listens, such as 0.0.0.0 for the whole network; this machine alone, if "
            "not given.",
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65535,
            help="That of the last time, or a free one from 4200 on, if not given.",
        ),
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(
            metavar="DATABASE",
            help="postgresql://user@host/database, an SQLite file (*.db), or - to read it from "
            "standard input; that of the last time, or Prefect's own file, if not given.",
        ),
    ] = None,
) -> None:
    """Start it, in the background, unless it runs."""
    from rich.console import Console

    from quacc.deploy import databases, server
    from quacc.prefect.lifecycle.running import LOOPBACK

    if database == "-":
        database = sys.stdin.readline().strip()
    elif database is not None:
        databases.refuse_password(database)
    with Console(stderr=True).status("Starting the Prefect server …"):
        running, new = server.start(host, port, database)
    typer.echo("The Prefect server runs." if new else "The Prefect server runs already.")
    _show(running)
    if running.host != LOOPBACK:
        typer.echo(
            "Others can reach it through the network, where passwords and records travel "
            "unencrypted."
        )
    _tell_configured()


@app.command()
def status() -> None:
    """Show whether it runs, since when, and what it has."""
    from quacc.deploy import server
    from quacc.deploy.launch import refuse_elsewhere, when
    from quacc.locations import redact
    from quacc.prefect.lifecycle.running import credentials, folder, read

    place = folder()
    refuse_elsewhere(place)
    running = read(place)
    if running is None or not running.is_alive():
        typer.echo("No Prefect server runs. To start one: quacc server start")
        raise typer.Exit(1)
    if problem := running.why_silent(credentials(place)):
        typer.echo(
            f"The Prefect server (process {running.pid}) does not answer at {running.address}: "
            f"{problem}."
        )
        raise typer.Exit(1)
    counts = server.counts(running)
    going = f", {counts.in_progress} in progress" if counts.in_progress else ""
    typer.echo(
        f"The Prefect server runs since {when(running)} on {running.machine}, as process "
        f"{running.pid}."
    )
    _show(running)
    typer.echo(
        f"Database:    {redact(running.database)}, {counts.size / 1e6:.1f} MB\n"
        f"Runs:        {counts.flow_runs} flow runs{going}; {counts.task_runs} task runs\n"
        f"Version:     Prefect {running.prefect}, quacc {running.quacc}"
    )
    _tell_configured()


@app.command()
def env() -> None:
    """Print what lets Prefect's own commands use it: eval "$(quacc server env)"."""
    from quacc.prefect.lifecycle.running import credentials_file, find, folder

    running = find()
    if running is None:
        typer.echo("No Prefect server runs. To start one: quacc server start", err=True)
        raise typer.Exit(1)
    typer.echo(
        f"export PREFECT_API_URL={running.api_url}\n"
        f'export PREFECT_API_AUTH_STRING="$(cat {shlex.quote(str(credentials_file(folder())))})"'
    )


@app.command()
def stop() -> None:
    """Stop it; its records stay."""
    from quacc.deploy import server

    running = server.stop()
    typer.echo(f"The Prefect server {'has stopped' if running else 'does not run'}.")


@app.command()
def backup(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="A new file; one in Prefect's home, if not given."),
    ] = None,
) -> None:
    """Copy its database to a file, also while it runs."""
    from quacc.deploy.backup import backup

    made = backup(file)
    typer.echo(f"{made}, {made.stat().st_size / 1e6:.1f} MB.")


@app.command()
def restore(file: Annotated[Path, typer.Argument(metavar="FILE")]) -> None:
    """Put a copy in the place of its database; it must not run."""
    from quacc.deploy.backup import restore

    before = restore(file)
    typer.echo(f"{file} is the server's database now.")
    if before:
        typer.echo(f"What was there before is in {before}.")


def _show(running: object) -> None:
    from quacc.deploy.log import LOG
    from quacc.prefect.lifecycle.running import Running, credentials_file, folder

    assert isinstance(running, Running)
    end = running.address.removeprefix("http://")
    typer.echo(
        f"Dashboard:   {running.address}\n"
        f"Log in with: the line of {credentials_file(folder())}\n"
        f"From afar:   ssh -N -L {running.port}:{end} {getpass.getuser()}@{running.machine}\n"
        f"             and then http://127.0.0.1:{running.port}\n"
        f"Log:         {folder() / LOG}"
    )


def _tell_configured() -> None:
    """Say so where runs do not use it."""
    from prefect.settings import PREFECT_API_URL

    if url := PREFECT_API_URL.value():
        typer.echo(f"Runs do not use it: Prefect's settings name another API, {url}.")
