"""``quacc deployment``: workflows that a Prefect server starts, by hand or on a schedule."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from quacc.cli.run import quiet

app = typer.Typer(
    no_args_is_help=True, help="Let a Prefect server start workflows, by hand or on a schedule."
)

Name = Annotated[str, typer.Argument(help="Such as eos, see `quacc deployment ls`.")]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A field of the form, such as atoms=Cu."),
]


@app.command()
def build(
    workflow: Annotated[
        str, typer.Argument(help="Such as eos, see `quacc recipes`; or a job such as relax.")
    ],
    pool: Annotated[str, typer.Option(help="The work pool whose workers run it.")],
    queue: Annotated[str | None, typer.Option(help="A queue of the pool.")] = None,
    name: Annotated[
        str | None, typer.Option(help="Of the deployment; the workflow's, if not given.")
    ] = None,
    site: Annotated[
        str | None, typer.Option(help="Compute in batch jobs as this profile says; `quacc site`.")
    ] = None,
    calculator: Annotated[
        str | None, typer.Option("--calculator", "-c", help="What the form starts with.")
    ] = None,
    change: Changes = None,
    cron: Annotated[str | None, typer.Option(help="Such as '0 6 * * mon'.")] = None,
    interval: Annotated[
        str | None, typer.Option(help="Such as 30s, 15m, 12h or 1d, from midnight on.")
    ] = None,
    rrule: Annotated[
        str | None, typer.Option(help="Such as 'FREQ=WEEKLY;BYDAY=MO;BYHOUR=6'.")
    ] = None,
    tz: Annotated[
        str | None, typer.Option(help="Time zone, such as Europe/Berlin; UTC, if not given.")
    ] = None,
) -> None:
    """Make a deployment, or change it; the same command again changes nothing."""
    quiet()
    from quacc.deploy import deployments, runs
    from quacc.deploy.connection import server
    from quacc.deploy.forms import form
    from quacc.deploy.schedules import schedule, words
    from quacc.settings import get_settings

    when = schedule(cron=cron, interval=interval, rrule=rrule, tz=tz)
    parameters = form(workflow).filled(change or [])
    if chosen := calculator or parameters.get("calculator") or get_settings().calculator:
        parameters["calculator"] = chosen
    with server() as client:
        one, changes = deployments.build(
            client,
            workflow,
            pool=pool,
            queue=queue,
            name=name,
            site=site,
            parameters=parameters,
            schedule=when,
        )
        looking, page = runs.workers(client, pool), one.url
    state = {"": "is unchanged", "new": "is new"}.get(
        ", ".join(changes), f"is changed: {', '.join(changes)}"
    )
    typer.echo(f"{one.name} {state}.")
    if page:
        typer.echo(f"Its form: {page}")
    if when:
        paused = " once resumed" if one.stored.paused else ""
        typer.echo(f"It runs {words(when)}{paused}.")
    if not looking:
        typer.echo(f"No worker is running: prefect worker start --pool {pool}")


@app.command("ls")
def list_() -> None:
    """List all deployments of workflows."""
    quiet()
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from quacc.cli.tables import console
    from quacc.deploy import deployments
    from quacc.deploy.connection import server
    from quacc.deploy.schedules import words

    table = Table(box=box.SIMPLE_HEAD)
    for column in ("name", "workflow", "pool", "queue", "schedule"):
        table.add_column(column, overflow="fold")
    with server() as client:
        found = deployments.deployments(client)
    for one in found:
        when = "; ".join(words(each.schedule) for each in one.stored.schedules)
        if one.stored.paused:
            when = f"paused ({when})" if when else "paused"
        where = (one.stored.work_pool_name or "", one.stored.work_queue_name or "")
        table.add_row(*map(Text, (one.stored.name, one.form.name, *where, when)))
    console().print(table)
    if not found:
        typer.echo("There are none; `quacc deployment build` makes one.")


@app.command()
def inspect(
    name: Name,
    as_json: Annotated[
        bool, typer.Option("--json", help="All that the server has, as JSON.")
    ] = False,
) -> None:
    """Show a deployment: where it runs, when, and the fields of its form."""
    quiet()
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from quacc.cli.tables import console
    from quacc.deploy import deployments, runs
    from quacc.deploy.connection import server
    from quacc.deploy.schedules import words

    with server() as client:
        one = deployments.deployment(client, name)
        looking, page = runs.workers(client, one.stored.work_pool_name or ""), one.url
    if as_json:
        typer.echo(one.stored.model_dump_json(indent=2))
        return
    stored = one.stored
    typer.echo(f"{one.name}, {page or stored.id}")
    typer.echo(f"entrypoint: {stored.entrypoint}")
    typer.echo(f"work pool: {stored.work_pool_name}, queue {stored.work_queue_name}")
    typer.echo(f"workers: {looking}")
    typer.echo(f"job variables: {json.dumps(stored.job_variables)}")
    for each in stored.schedules:
        typer.echo(f"schedule: {words(each.schedule)}")
    typer.echo(f"paused: {'yes' if stored.paused else 'no'}")
    table = Table("field", "value", "meaning", box=box.SIMPLE_HEAD)
    for field in one.form.fields:
        value = stored.parameters.get(field.name, field.schema.get("default", ""))
        table.add_row(field.name, Text(str(value), overflow="fold"), field.schema["description"])
    console().print(table)


@app.command()
def run(
    name: Name,
    change: Changes = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until it has ended; the exit code tells how.")
    ] = False,
) -> None:
    """Start a run, with the fields of the form that are set here above those of the deployment.

    With --wait, the exit code is 0 if it completed, 1 if it failed or crashed, and 130 if it was
    cancelled.
    """
    quiet()
    from quacc.deploy import deployments, runs
    from quacc.deploy.connection import server

    with server() as client:
        one = deployments.deployment(client, name)
        run_id, url = runs.run(client, one, one.form.filled(change or []))
        typer.echo(f"Flow run {run_id}")
        if url:
            typer.echo(url)
        pool = one.stored.work_pool_name or ""
        if not runs.workers(client, pool):
            typer.echo(f"No worker is running: prefect worker start --pool {pool}")
        if not wait:
            return
        try:
            state = runs.wait(client, run_id, _tell)
        except KeyboardInterrupt:
            typer.echo("quacc: interrupted. The run goes on.", err=True)
            raise typer.Exit(130) from None
    if not state.is_completed():
        raise typer.Exit(130 if state.is_cancelled() else 1)


def _tell(state: Any) -> None:
    typer.echo(f"{state.name}: {state.message}" if state.message else state.name)


@app.command()
def pause(name: Name) -> None:
    """Let the schedule start no more runs; those that are going on, go on."""
    _pause(name, paused=True)


@app.command()
def resume(name: Name) -> None:
    """Let the schedule start runs again."""
    _pause(name, paused=False)


def _pause(name: str, *, paused: bool) -> None:
    quiet()
    from quacc.deploy import deployments, runs
    from quacc.deploy.connection import server

    with server() as client:
        one = deployments.deployment(client, name)
        runs.pause(client, one, paused=paused)
    typer.echo(f"{one.name} is {'paused' if paused else 'no longer paused'}.")


@app.command()
def stop(
    name: Name,
    patience: Annotated[
        float, typer.Option(min=1, help="How long to wait for its runs to end (s).")
    ] = 120.0,
) -> None:
    """Pause it, and cancel all its runs."""
    quiet()
    from quacc.deploy import deployments, runs
    from quacc.deploy.connection import server

    with server() as client:
        one = deployments.deployment(client, name)
        count = runs.stop(client, one, patience)
    typer.echo(f"{one.name} is paused, and {count} runs of it are cancelled.")


@app.command()
def rm(name: Name) -> None:
    """Delete it, its schedule, and its runs that wait for a worker; results and records stay."""
    quiet()
    from quacc.deploy import deployments, runs
    from quacc.deploy.connection import server

    with server() as client:
        one = deployments.deployment(client, name)
        runs.remove(client, one)
    typer.echo(f"{one.name} is removed.")
