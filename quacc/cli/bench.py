"""``quacc bench``: which calculator can be trusted for what."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from quacc.errors import InputError

app = typer.Typer(
    no_args_is_help=True, help="Compare calculators on tasks: each pair of them is one record."
)

_Names = list[str] | None
_Files = list[Path] | None


class _Many(TyperCommand):
    """A command whose options take several values each: --models emt lj."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        many = {name for one in self.params if getattr(one, "multiple", False) for name in one.opts}
        spread: list[str] = []
        option = ""
        for one in args:
            if one.startswith("-"):
                option = one if one in many else ""
                spread.append(one)
            elif option and spread[-1] != option:
                spread += [option, one]
            else:
                spread.append(one)
        return super().parse_args(ctx, spread)


@app.command(cls=_Many)
def run(
    models: Annotated[
        _Names, typer.Option("--models", "-m", metavar="NAME", help="See `quacc bench ls`.")
    ] = None,
    tasks: Annotated[
        _Names, typer.Option("--tasks", "-t", metavar="NAME", help="All, if none is given.")
    ] = None,
    task_types: Annotated[
        _Names, typer.Option("--task-types", metavar="TYPE", help="reference, physics or cost.")
    ] = None,
    tags: Annotated[
        _Names, typer.Option("--tags", metavar="TAG", help="Only tasks that have all of them.")
    ] = None,
    elements: Annotated[
        _Names,
        typer.Option("--elements", metavar="SYMBOL", help="Only structures of these elements."),
    ] = None,
    models_file: Annotated[
        _Files, typer.Option("--models-file", metavar="FILE", help="More models, as models.yml.")
    ] = None,
    tasks_file: Annotated[
        _Files, typer.Option("--tasks-file", metavar="FILE", help="More tasks, as tasks.yml.")
    ] = None,
    time_limit: Annotated[
        float | None, typer.Option("--time-limit", metavar="SECONDS", help="Of each pair.", min=1)
    ] = None,
    site: Annotated[
        str | None,
        typer.Option(
            help="Submit batch jobs as this profile says, tracked by Prefect; see `quacc site`."
        ),
    ] = None,
    prefect: Annotated[
        bool, typer.Option("--prefect", help="Track it with Prefect: each pair is a task run.")
    ] = False,
    local: Annotated[
        bool, typer.Option("--local", help="Without Prefect, although its API is configured.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be computed; compute nothing.")
    ] = False,
) -> None:
    """Run models on tasks; what is known is not run again.

    Several names follow one option: --models emt lj --tasks eos_bulk.
    """
    from quacc.bench.pair import Pair
    from quacc.bench.run import make_pairs
    from quacc.bench.run import run as run_here
    from quacc.bench.tasks import gather_jobs
    from quacc.cli.run import is_api_configured, quiet
    from quacc.cli.tables import console as any_width

    if local and (site or prefect):
        raise InputError(
            f"--local forbids {'--site' if site else '--prefect'}: leave one of them out."
        )
    pairs = gather_jobs(
        models,
        tasks,
        task_types,
        tags,
        model_files=models_file or (),
        task_files=tasks_file or (),
    )
    _check_elements(elements)
    console = any_width()
    if dry_run:
        from quacc.cli.tables import rows_table

        rows = [_expected(pair) for pair in make_pairs(pairs, elements)]
        console.print(rows_table(rows, console.width))
        seconds = [row["seconds"] for row in rows]
        known = [one for one in seconds if one is not None]
        more = f", and {len(seconds) - len(known)} pairs that nothing is known of" * (
            len(known) < len(seconds)
        )
        typer.echo(
            f"{len(rows)} pairs, {sum(row['structures'] for row in rows)} structures; about "
            f"{_duration(sum(known))} on one core{more}."
        )
        return
    if prefect or site or (not local and is_api_configured()):
        quiet()
        from quacc.bench.tracked import run_tracked
        from quacc.prefect import make_runner

        records = run_tracked(
            pairs,
            task_runner=make_runner(site=site),
            elements=elements,
            time_limit=time_limit,
            tell=typer.echo,
        )
    else:
        with console.status("") as status:

            def tell(pair: Pair, ended: int, failed: int, total: int) -> None:
                aside = f", {failed} failed" if failed else ""
                status.update(f"{pair.name}: {ended} of {total}{aside}")

            def done(record: Any) -> None:
                console.print(_line(record), highlight=False, markup=False)

            records = run_here(
                pairs, elements=elements, time_limit=time_limit, tell=tell, done=done
            )
    _show(records, console)
    if any(one["state"] not in ("complete", "skipped") for one in records):
        raise typer.Exit(1)


@app.command()
def ls(
    models_file: Annotated[_Files, typer.Option("--models-file", metavar="FILE")] = None,
    tasks_file: Annotated[_Files, typer.Option("--tasks-file", metavar="FILE")] = None,
) -> None:
    """List models and tasks."""
    from quacc.bench.models import gather_models
    from quacc.bench.tasks import gather_tasks
    from quacc.cli.tables import console as any_width
    from quacc.cli.tables import rows_table

    console = any_width()
    models = [
        {
            "model": one.name,
            "title": one.entry.title,
            "family": one.entry.family,
            "functional": one.entry.functional,
            "licence": one.entry.licence,
            "here": "yes" if one.is_here() else "no",
        }
        for one in gather_models(files=models_file or ())
    ]
    console.print(rows_table(models, console.width, whole=("model",)))
    tasks = [
        {
            "task": one.name,
            "title": one.entry.title,
            "type": one.type,
            "structures": one.count,
            "tags": ", ".join(one.entry.tags),
        }
        for one in gather_tasks(files=tasks_file or ())
    ]
    console.print(rows_table(tasks, console.width, whole=("task",)))


def _check_elements(elements: Sequence[str] | None) -> None:
    from ase.data import chemical_symbols

    from quacc.errors import suggest

    for one in elements or ():
        if one not in chemical_symbols[1:]:
            raise InputError(f"There is no element {one!r}.{suggest(one, chemical_symbols[1:])}")


def _line(record: Any) -> str:
    from quacc.bench.tables import survivors

    text = f"{record['task']['name']} with {record['model']['name']}: {record['state']}"
    text += f", {survivors(record)} structures in {record['seconds']:.1f} s"
    return text if record["reason"] is None else f"{text}. {record['reason']}"


def _show(records: Sequence[Any], console: Any) -> None:
    """Print a table for each task: models, and the metrics with their survivors."""
    from quacc.bench.tables import rows_of_task
    from quacc.cli.tables import rows_table

    for name in dict.fromkeys(one["task"]["name"] for one in records):
        every = [one for one in records if one["task"]["name"] == name]
        task = every[0]["task"]
        console.print(f"\n{task['title']}", highlight=False)
        rows = rows_of_task(every)
        console.print(rows_table(rows, console.width, whole=("model", "structures")))
        means = ", ".join(dict.fromkeys(one["mean"] for one in task["metrics"].values()))
        level = f"; reference: {task['data']['level']}" if task["data"]["level"] else ""
        console.print(f"{means}{level}", highlight=False, markup=False)


def _expected(pair: Any) -> dict[str, Any]:
    from quacc.bench.run import expect

    found = expect(pair)
    return {
        "task": pair.task.name,
        "model": pair.model.name,
        "structures": found.structures,
        "known": found.known,
        "seconds": found.seconds,
        "why not": found.reason,
    }


def _duration(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


@app.command()
def compare(
    first: Annotated[
        Path, typer.Argument(help="A report, or a record, or a folder of records, to begin with.")
    ],
    second: Annotated[Path, typer.Argument(help="What to compare with it.")],
    threshold: Annotated[
        _Names,
        typer.Option(
            "--threshold",
            metavar="METRIC=AMOUNT",
            help="Fail if it gets worse by more, such as 5%, or 0.1 in its unit; may be repeated.",
        ),
    ] = None,
    thresholds: Annotated[
        Path | None,
        typer.Option("--thresholds", metavar="FILE", help="The same in YAML: METRIC: AMOUNT."),
    ] = None,
) -> None:
    """Compare two reports of benchmarks; exit with 1 if a threshold is exceeded."""
    from quacc.bench.compare import compare as compare_reports
    from quacc.bench.compare import thresholds_in
    from quacc.cli.tables import console as any_width
    from quacc.cli.tables import rows_table

    limits = {} if thresholds is None else dict(thresholds_in(thresholds))
    for one in threshold or ():
        # The names of benchmarks have equals signs, too.
        name, equals, amount = one.rpartition("=")
        if not equals or not name:
            raise InputError(f"Write --threshold METRIC=AMOUNT, such as mae=5%, not {one!r}.")
        limits[name] = amount
    found = compare_reports(first, second, limits)
    console = any_width()
    console.print(rows_table(found.rows, console.width, whole=("metric", "outcome")))
    exceeded = sum(row["too much"] for row in found.rows)
    if exceeded:
        typer.echo(
            f"{exceeded} of {len(found.rows)} got worse by more than the threshold.", err=True
        )
        raise typer.Exit(1)


@app.command(name="for-me", cls=_Many)
def for_me(
    structures: Annotated[
        list[str] | None, typer.Argument(metavar="STRUCTURE...", help="Files, or names such as Cu.")
    ] = None,
    store: Annotated[
        _Names,
        typer.Option(
            "--from-store",
            metavar="KEY=VALUE",
            help="Stored results to compare with, such as calculator=espresso formula=Si limit=50.",
        ),
    ] = None,
    models: Annotated[_Names, typer.Option("--models", "-m", metavar="NAME")] = None,
    tasks: Annotated[_Names, typer.Option("--tasks", "-t", metavar="NAME")] = None,
    models_file: Annotated[_Files, typer.Option("--models-file", metavar="FILE")] = None,
    time_limit: Annotated[
        float | None, typer.Option("--time-limit", metavar="SECONDS", help="Of each pair.", min=1)
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE.html", help="Write a page."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what it would cost; compute nothing.")
    ] = False,
) -> None:
    """Say which model to take for your own structures, and what speaks against it.

    The structures, or stored results of a calculator that you trust, are the test set.
    """
    from quacc.bench.forme import answer, from_store, own_set, tasks_for
    from quacc.bench.models import gather_models
    from quacc.bench.run import make_pairs
    from quacc.bench.run import run as run_here
    from quacc.cli.tables import console as any_width
    from quacc.cli.tables import rows_table

    if bool(structures) == bool(store):
        raise InputError(
            "Name structures, or results with --from-store, such as --from-store "
            "calculator=espresso; one of the two."
        )
    if store:
        own = from_store(store)
    else:
        from quacc.atoms import as_atoms

        own = own_set([(one, as_atoms(one), {}) for one in structures or ()])
    chosen = [one for one in gather_models(models, models_file or ()) if models or one.is_here()]
    pairs = [(task, model) for task in tasks_for(own, tasks) for model in chosen]
    console = any_width()
    expected = [_expected(pair) for pair in make_pairs(pairs, own.elements)]
    known = [one["seconds"] for one in expected if one["seconds"] is not None]
    unknown = len(expected) - len(known)
    typer.echo(
        f"{len(chosen)} models, {len(expected)} pairs, "
        f"{sum(one['structures'] for one in expected)} structures; about {_duration(sum(known))} "
        f"on one core{f', and {unknown} pairs that nothing is known of' if unknown else ''}."
    )
    if dry_run:
        console.print(rows_table(expected, console.width))
        return
    with console.status("") as status:

        def tell(pair: Any, ended: int, failed: int, total: int) -> None:
            status.update(f"{pair.name}: {ended} of {total}")

        found = run_here(pairs, elements=own.elements, time_limit=time_limit, tell=tell)
    _show([one for one in found if one["state"] != "skipped"], console)
    typer.echo("")
    lines = answer(found, chosen).lines
    for line in lines:
        typer.echo(line)
    if output is not None:
        from quacc.bench.page import write_page

        typer.echo(f"The page is {write_page(found, output, lines)}.")


@app.command()
def report(
    records: Annotated[
        _Files,
        typer.Argument(metavar="[RECORDS]...", help="Files or folders; by default, those here."),
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Ends in .html, .png, .pdf or .svg.")
    ] = Path("benchmark.html"),
) -> None:
    """Write all records to one page that works offline, or to a picture of models × tasks."""
    from quacc.bench.page import write_page
    from quacc.bench.picture import write_png
    from quacc.bench.records import every

    writers = {".html": write_page, ".png": write_png, ".pdf": write_png, ".svg": write_png}
    if output.suffix not in writers:
        raise InputError(f"{str(output)!r} must end in {', '.join(writers)}.")
    found = list(every(records))
    typer.echo(f"{len(found)} records in {writers[output.suffix](found, output)}")
