"""``quacc run``: a workflow on a structure, from the command line."""

from __future__ import annotations

import inspect
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from quacc.cli.options import needed as needed_by
from quacc.cli.options import option_of, options_in
from quacc.errors import InputError, suggest
from quacc.recipes.tools.documented import JOBS, nested, pairs, plan_of_job


def run(
    workflow: Annotated[
        str,
        typer.Argument(
            help="Such as eos, see `quacc recipes`; or a job: static, relax, freq, bands, dos, "
            "dfpt, work_function."
        ),
    ],
    structures: Annotated[
        list[str], typer.Argument(metavar="STRUCTURE...", help="Files, or names such as Cu.")
    ],
    calculator: Annotated[
        str | None,
        typer.Option(
            "--calculator",
            "-c",
            help="See `quacc calculators`; emt, or that of the settings, if not given.",
        ),
    ] = None,
    preset: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Keywords of the calculator under a name; see `quacc presets`."
        ),
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A parameter, such as relax_kwargs.fmax=0.001; the same as "
            "--relax-kwargs.fmax 0.001.",
        ),
    ] = None,
    site: Annotated[
        str | None,
        typer.Option(
            help="Submit batch jobs as this profile says, tracked by Prefect; see `quacc site`."
        ),
    ] = None,
    prefect: Annotated[
        bool,
        typer.Option("--prefect", help="Track it with Prefect, as if its API were configured."),
    ] = False,
    local: Annotated[
        bool, typer.Option("--local", help="Without Prefect, although its API is configured.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Show what would be computed, its input, and where; compute nothing."
        ),
    ] = False,
) -> None:
    """Run a workflow or a job, on this machine's cores or a site's.

    Their parameters are options, too: `quacc run eos -h` lists them.
    """
    from quacc.cli.recipes import find
    from quacc.recipes.tools.workflow import check_workflow, workflow_of_job
    from quacc.settings import get_settings

    if local and (site or prefect):
        raise InputError(
            f"--local forbids {'--site' if site else '--prefect'}: leave one of them out."
        )
    tracked = bool(prefect or site or (not local and is_api_configured()))
    if not tracked:  # the cores have a job each; libraries read it when they are loaded
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    calculator = calculator or get_settings().calculator or "emt"
    is_job = workflow in JOBS
    serial = workflow_of_job(workflow) if is_job else find(workflow)
    structures, given = options_in(structures, plan_of_job(workflow) if is_job else serial)
    parameters = parameters_in(change or [], given)
    its = parameters.pop("calculator", {})
    if not is_job:  # which refuses them itself
        _check_names(serial, parameters)
    calls = _calls(serial, structures, parameters)
    parameters["calculator"] = calculator
    if preset or its:
        parameters["calculator"] = {"name": calculator, "preset": preset or [], **its}
    if dry_run:
        from quacc.cli.dry_run import show
        from quacc.cli.tables import console as any_width

        show(serial, calls, parameters, site, any_width())
        return
    if tracked or len(calls) > 1:
        for arguments in calls:
            # Mistakes are reported now, not after a server has started, or others have run.
            check_workflow(serial, *arguments, **parameters)

    from rich.console import Console

    from quacc.cli.results import print_outcome, print_result
    from quacc.locations import redact
    from quacc.recipes.report import has_figure

    console = Console()
    database = redact(get_settings().database)
    try:
        runs = (
            _tracked(serial, calls, parameters, site, console)
            if tracked
            else _untracked(serial, calls, parameters, console)
        )
        for result, seconds in runs:
            key = result["key"][:10]
            figure = f"as a figure:         quacc results plot {key}\n"
            if is_job:
                print_result(result, console)
                count = "1 job"
                figure = figure if has_figure(result) else ""
            else:
                print_outcome(result, console)
                for warning in result["warnings"]:
                    console.print(f"Warning: {warning}", style="yellow", markup=False)
                count = f"{len(result['jobs'])} jobs"
            console.print(
                f"{count} in {seconds:.1f} s. The results are in {database}.\n"
                f"Look at them again:  quacc results show {key}\n"
                f"{figure}or at all of them:   quacc results ls",
                highlight=False,
                soft_wrap=True,
            )
        if not tracked:
            typer.echo("To follow runs in Prefect's dashboard, add --prefect.")
    except KeyboardInterrupt as error:  # or the flow was cancelled, or its server has gone
        kept = (
            "Results of finished jobs are kept; see `quacc results ls`. The same command goes on."
        )
        typer.echo(f"quacc: {str(error) or 'interrupted.'} {kept}", err=True)
        raise typer.Exit(130) from None


def _calls(
    serial: Callable[..., Any], structures: list[str], parameters: dict[str, Any]
) -> list[tuple[Any, ...]]:
    """Return the arguments of each call: workflows take one structure, several, or a list."""
    needed = needed_by(serial)
    taken = [name for name in needed if not name.endswith("_job")]
    for name in needed:
        if name not in taken and name not in parameters:
            raise InputError(
                f"The workflow needs {option_of(name)} CALCULATOR.JOB, such as lj.relax_job."
            )
    if taken == ["structures"]:
        return [(structures,)]
    if len(taken) == 1:
        return [(structure,) for structure in structures]
    if len(taken) != len(structures):
        raise InputError(
            f"{serial.__name__.removesuffix('_flow')} takes {len(taken)} structures, "
            f"{' and '.join(taken)}, not {len(structures)}."
        )
    return [tuple(structures)]


def _tracked(
    serial: Callable[..., Any],
    calls: list[tuple[Any, ...]],
    parameters: dict[str, Any],
    site: str | None,
    console: Any,
) -> Iterator[tuple[Any, float]]:
    quiet()
    started = time.perf_counter()
    with console.status("Starting Prefect …") as status:
        from quacc.prefect import as_flow, make_runner
        from quacc.prefect.flows import run_name
        from quacc.prefect.lifecycle.server import prefect_api

        flow = as_flow(serial, task_runner=make_runner(site=site))
        with prefect_api() as own_server:
            jobs = logging.getLogger("quacc.prefect.flows")
            jobs.setLevel(logging.INFO)
            jobs.propagate = False
            jobs.addHandler(_Progress(status.update if console.is_terminal else console.print))
            for arguments in calls:
                console.print(_what(serial, arguments, parameters))
                result = flow(*arguments, **parameters)
                yield result, time.perf_counter() - started
                what = "The dashboard" if not own_server else "`quacc server start`"
                more = ", a table and a figure" if "jobs" in result else ""
                console.print(
                    f"{what} shows the flow run '{run_name(serial, arguments[0])}', a task run "
                    f"for each job that was computed{more}.",
                    highlight=False,
                )
                started = time.perf_counter()


def _untracked(
    serial: Callable[..., Any],
    calls: list[tuple[Any, ...]],
    parameters: dict[str, Any],
    console: Any,
) -> Iterator[tuple[Any, float]]:
    from quacc.local import run as run_here

    for arguments in calls:
        started = time.perf_counter()
        with Bar(console, _what(serial, arguments, parameters)) as bar:
            result = run_here(serial, *arguments, tell=bar.update, **parameters)
            bar.announce()
        yield result, time.perf_counter() - started


def _what(
    serial: Callable[..., Any], arguments: tuple[Any, ...], parameters: dict[str, Any]
) -> str:
    from quacc.recipes.tools.workflow import calculator_name

    name = serial.__name__.removesuffix("_flow")
    calculator = calculator_name(parameters["calculator"])
    return f"Running {name} of {', '.join(map(str, arguments))} with {calculator}."


class Bar:
    """How many jobs, or items, have ended: a bar in a terminal, else a line now and then.

    It is drawn when something happens, by no thread of its own, so that this process can be
    copied to make workers.
    """

    def __init__(self, console: Any, what: str, unit: str = "jobs") -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        columns = (
            BarColumn(20),
            TextColumn(f"{{task.completed}} of {{task.total}} {unit}{{task.fields[aside]}}"),
        )
        self._unit = unit
        self._console = console
        self._bars = Progress(*columns, console=console, transient=True, auto_refresh=False)
        self._task: Any = None
        self._what = what
        self._shown = time.monotonic()

    def update(self, computed: int, cached: int, failed: int, total: int) -> None:
        self.announce()
        parts = [
            f"{count} {what}" for count, what in ((cached, "known"), (failed, "failed")) if count
        ]
        aside = f" ({', '.join(parts)})" if parts else ""
        done = computed + cached + failed
        if not self._console.is_terminal:
            if time.monotonic() - self._shown > _EVERY:
                self._shown = time.monotonic()
                self._console.print(f"{done} of {total} {self._unit}{aside}", highlight=False)
            return
        if self._task is None:
            self._bars.start()
            self._task = self._bars.add_task("", total=total, aside=aside)
        self._bars.update(self._task, completed=done, total=total, aside=aside, refresh=True)

    def announce(self) -> None:
        """Say what runs, once: when nothing was refused."""
        if self._what:
            self._console.print(self._what)
            self._what = ""

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()


_EVERY = 30.0
"""Seconds between two lines where there is no terminal."""


def quiet() -> None:
    """Let Prefect and Dask, before they are loaded, say little; Prefect's own records keep it."""
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    logging.getLogger("distributed").setLevel(logging.WARNING)


def is_api_configured() -> bool:
    """Tell whether Prefect knows an API to track runs with; Prefect is not loaded for it."""
    import tomllib

    if os.environ.get("PREFECT_API_URL"):
        return True
    home = Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser()
    profiles = os.environ.get("PREFECT_PROFILES_PATH", home / "profiles.toml")
    found: list[Any] = []
    for file in (profiles, "prefect.toml", "pyproject.toml"):
        try:
            found.append(tomllib.loads(Path(file).read_text("utf-8")))
        except (OSError, ValueError):  # Prefect says what is wrong with it, once it is asked
            found.append({})
    active = os.environ.get("PREFECT_PROFILE") or found[0].get("active")
    settings = [
        found[0].get("profiles", {}).get(active, {}).get("PREFECT_API_URL"),
        found[1].get("api", {}).get("url"),
        found[2].get("tool", {}).get("prefect", {}).get("api", {}).get("url"),
    ]
    return any(settings)


class _Progress(logging.Handler):
    def __init__(self, show: Callable[[str], None]) -> None:
        super().__init__()
        self.show = show

    def emit(self, record: logging.LogRecord) -> None:
        self.show(record.getMessage())


def parameters_in(changes: list[str], options: list[tuple[str, str]]) -> dict[str, Any]:
    """Return ``max_index=2`` and ``relax_kwargs.fmax=0.01`` as nested keywords."""
    return nested([*options, *pairs(changes, "--set")])


def _check_names(serial: Callable[..., Any], parameters: dict[str, Any]) -> None:
    known = [
        parameter.name
        for parameter in inspect.signature(serial).parameters.values()
        if (parameter.default is not parameter.empty and parameter.name != "calculator")
        or parameter.name.endswith("_job")
    ]
    for name in parameters:
        if name not in known:
            raise InputError(
                f"The workflow has no parameter {name!r}.{suggest(name, known)} "
                f"It has {', '.join(known)}."
            )
