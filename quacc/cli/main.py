"""The ``quacc`` command."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from typing import Annotated

import typer

import quacc
from quacc.cli import (
    bench,
    calculators,
    campaign,
    cite,
    deployment,
    environments,
    info,
    notify,
    presets,
    recipes,
    report,
    results,
    run,
    server,
    settings,
    site,
    train,
)
from quacc.cli import options as options_of
from quacc.cli.terminal import never_fail_to_print
from quacc.errors import JobsFailedError, QuaccError
from quacc.locations import home

app = typer.Typer(
    name="quacc",
    help="Materials-science calculations: run them, look at them, set them up.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run", cls=options_of.RunCommand, context_settings={"ignore_unknown_options": True})(
    run.run
)
app.command("train", cls=train.TrainCommand, context_settings={"ignore_unknown_options": True})(
    train.train
)
app.command("cite")(cite.cite)
app.command("info")(info.info)
app.command("notify")(notify.notify)
app.command("presets")(presets.presets)
app.command("report")(report.report)
app.add_typer(bench.app, name="bench")
app.add_typer(calculators.app, name="calculators")
app.add_typer(campaign.app, name="campaign")
app.add_typer(deployment.app, name="deployment")
app.add_typer(environments.app, name="environments")
app.add_typer(recipes.app, name="recipes")
app.add_typer(results.app, name="results")
app.add_typer(server.app, name="server")
app.add_typer(settings.app, name="settings")
app.add_typer(site.app, name="site")


_tracebacks = False


@app.callback(invoke_without_command=True)
def options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Print where in the code an error was raised, too.")
    ] = False,
) -> None:
    """Materials-science calculations: run them, look at them, set them up."""
    global _tracebacks
    _tracebacks = debug
    if version:
        typer.echo(f"quacc {quacc.__version__}")
        raise typer.Exit


def main(program: Callable[[], object] = app) -> None:
    """Run the command, or another program; errors that quacc raises become one message."""
    # What batch systems and `kill` send ends a run as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    never_fail_to_print()
    try:
        home()
        program()
    except JobsFailedError as error:
        if _tracebacks:
            raise
        typer.echo(f"quacc: {error.message}.", err=True)
        notes = getattr(error, "__notes__", [])
        problems = [note for note in notes if "could not be stored" in note]
        if error.results and not problems:
            problems = ["All other results are kept; see `quacc results ls`."]
        typer.echo("\n".join(problems), err=True)
        sys.exit(1)
    except QuaccError as error:
        if _tracebacks:
            raise
        typer.echo(f"quacc: {error}", err=True)
        sys.exit(1)
