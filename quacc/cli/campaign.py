"""``quacc campaign``: steps in a YAML file, checked, shown and run."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quacc.errors import InputError

if TYPE_CHECKING:
    from quacc.campaigns.check import Checked
    from quacc.campaigns.run import Outcome
    from quacc.campaigns.steps import Step

app = typer.Typer(no_args_is_help=True, help="Steps in a YAML file: check, show or run them.")

_File = Annotated[Path, typer.Argument(metavar="FILE", help="A campaign's file, *.yml.")]

_SHOWN = 20
"""Results, and failures, of a step that are printed."""


@app.command()
def check(file: _File) -> None:
    """Check a campaign's file and all that it names; compute nothing."""
    from quacc.campaigns.check import load
    from quacc.cli.tables import console, rows_table

    checked = load(file)
    rows = [
        {
            "step": step.name,
            "run": step.run,
            "calculator": step.calculator,
            "items": _count(checked, step),
            "needs": ", ".join(step.needs),
        }
        for step in checked.campaign.steps
    ]
    out = console()
    out.print(rows_table(rows, out.width, whole=("step",)))
    counts = [one for one in checked.counts.values() if one is not None]
    more = ", and more that only the run tells" * (len(counts) < len(rows))
    typer.echo(f"{file}: no mistakes; {len(rows)} steps, {sum(counts)} items{more}.")


@app.command()
def show(
    file: _File,
    mermaid: Annotated[
        bool,
        typer.Option("--mermaid", help="In the language of Mermaid, which Markdown pages draw."),
    ] = False,
) -> None:
    """Show which step needs which."""
    from quacc.campaigns.check import load

    checked = load(file)
    if mermaid:
        lines = ["flowchart TD"]
        for step in checked.campaign.steps:
            lines.append(f'    {step.name}["{step.name}: {_what(checked, step)}"]')
            lines += [f"    {one} --> {step.name}" for one in step.needs]
        typer.echo("\n".join(lines))
        return
    for depth, level in enumerate(checked.campaign.levels()):
        for step in level:
            before = f"  ← {', '.join(step.needs)}" if step.needs else ""
            typer.echo(f"{'   ' * depth}{step.name}: {_what(checked, step)}{before}")


@app.command()
def run(
    file: _File,
    site: Annotated[
        str | None,
        typer.Option(
            help="Submit batch jobs as this profile says, tracked by Prefect; see `quacc site`."
        ),
    ] = None,
    prefect: Annotated[
        bool, typer.Option("--prefect", help="Track it with Prefect: jobs are task runs.")
    ] = False,
    local: Annotated[
        bool, typer.Option("--local", help="Without Prefect, although its API is configured.")
    ] = False,
) -> None:
    """Run a campaign; what is known is not computed again."""
    from rich.console import Console

    from quacc.campaigns.check import load
    from quacc.cli.run import Bar, is_api_configured, quiet
    from quacc.cli.tables import console

    if local and (site or prefect):
        raise InputError(
            f"--local forbids {'--site' if site else '--prefect'}: leave one of them out."
        )
    tracked = bool(prefect or site or (not local and is_api_configured()))
    if not tracked:  # the cores have a job each; libraries read it when they are loaded
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    checked = load(file)
    ended = [0, sum(filter(None, checked.counts.values()))]
    try:
        with Bar(Console(), f"Running {file}.", "items") as bar:

            def tell(done: int, failed: int, total: int) -> None:
                ended[:] = done, total
                bar.update(done, 0, failed, total)

            if tracked:
                quiet()
                from quacc.campaigns.tracked import run_tracked
                from quacc.prefect import make_runner

                outcome = run_tracked(checked, task_runner=make_runner(site=site), tell=tell)
            else:
                from quacc.campaigns.run import run as run_here

                outcome = run_here(checked, tell=tell)
            bar.announce()
    except KeyboardInterrupt as error:  # or the flow was cancelled, or its server has gone
        options = [*(["--site", site] if site else []), *["--prefect"] * prefect]
        again = shlex.join(["quacc", "campaign", "run", str(file), *options])
        typer.echo(
            f"quacc: {str(error) or 'interrupted.'} {ended[0]} of {ended[1]} items have ended, and "
            f"are kept. To go on, run it again:\n  {again}",
            err=True,
        )
        raise typer.Exit(130) from None
    _print(outcome, console())
    if outcome.failed:
        typer.echo(
            "quacc: Some items did not end well; all other results are kept. The same command "
            "tries these again.",
            err=True,
        )
        raise typer.Exit(1)


def _count(checked: Checked, step: Step) -> str:
    count = checked.counts[step.name]
    return "?" if count is None else str(count)


def _what(checked: Checked, step: Step) -> str:
    calculator = f" with {step.calculator}" if step.calculator else ""
    items = f", {_count(checked, step)} items" if step.each else ""
    return f"{step.run}{calculator}{items}"


def _print(outcome: Outcome, out: Any) -> None:
    from quacc.bench.tables import overview
    from quacc.cli.tables import rows_table
    from quacc.locations import redact
    from quacc.settings import get_settings

    for step in outcome.campaign.steps:
        items = outcome.items(step)
        done = [
            {"item": one.name, "result": one.summary, "key": (one.key or "")[:10]}
            for one in items
            if one.state == "done" and not step.is_leaderboard
        ]
        records = [record for one in items for record in one.records]
        if done:
            out.print(f"\n{step.name}", style="bold", highlight=False)
            if not step.each:
                done = [{"result": done[0]["result"], "key": done[0]["key"]}]
            out.print(rows_table(done[:_SHOWN], out.width, whole=("key",)))
            if len(done) > _SHOWN:
                out.print(f"… and {len(done) - _SHOWN} more.", highlight=False)
        if records:
            out.print(f"\n{step.name}", style="bold", highlight=False)
            out.print(rows_table(overview(records), out.width, whole=("task", "model")))
        bad = [one for one in items if one.state in ("failed", "skipped")]
        for one in bad[:_SHOWN]:
            name = f"{step.name} of {one.name}" if one.name else step.name
            out.print(f"{name}: {one.state}. {one.reason}", markup=False, highlight=False)
        if len(bad) > _SHOWN:
            out.print(f"… and {len(bad) - _SHOWN} more of {step.name}.", highlight=False)
    out.print(rows_table(outcome.rows(), out.width, whole=("step",)))
    if outcome.problem:
        out.print(f"Warning: {outcome.problem}", style="yellow", markup=False)
    typer.echo(
        f"The results are in {redact(get_settings().database)}.\n"
        "Look at one again:  quacc results show KEY"
    )
