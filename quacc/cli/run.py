"""``quacc run``: a workflow on a structure, from the command line."""

from __future__ import annotations

import importlib
import inspect
import logging
import os
import pkgutil
import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

from quacc.errors import InputError, suggest


def run(
    workflow: Annotated[str, typer.Argument(help="Such as bulk_to_slabs.")],
    structure: Annotated[str, typer.Argument(help="A file, or a name such as Cu.")],
    calculator: Annotated[
        str, typer.Option("--calculator", "-c", help="See `quacc calculators`.")
    ] = "emt",
    change: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A parameter, such as max_index=2 or relax_kwargs.fmax=0.001.",
        ),
    ] = None,
) -> None:
    """Run a workflow, every job a Prefect task run on one of this machine's cores."""
    from quacc.runners.calculation import only_checking

    _check_calculator(calculator)
    parameters = _parameters(change or [])
    serial = _find(calculator, workflow)
    _check_names(serial, parameters)
    with only_checking():  # mistakes are told now, not after a server has started
        serial(structure, **parameters)

    from rich.console import Console

    from quacc.cli.tables import surfaces_table
    from quacc.locations import redact
    from quacc.settings import get_settings

    console = Console()
    database = redact(get_settings().database)
    started = time.perf_counter()
    try:
        result = _tracked(calculator, workflow, structure, parameters, console)
    except KeyboardInterrupt as error:  # or the flow was cancelled, or its server has gone
        kept = "Results of finished jobs are kept; see `quacc results ls`."
        typer.echo(f"quacc: {str(error) or 'interrupted.'} {kept}", err=True)
        raise typer.Exit(130) from None
    console.print(surfaces_table(result))
    for warning in result["warnings"]:
        console.print(f"Warning: {warning}", style="yellow")
    key = result["key"][:10]
    console.print(
        f"{len(result['jobs'])} jobs in {time.perf_counter() - started:.1f} s. "
        f"The results are in {database}.\n"
        f"Look at them again:  quacc results show {key}\n"
        f"or at all of them:   quacc results ls",
        highlight=False,
        soft_wrap=True,
    )


def _tracked(
    calculator: str, workflow: str, structure: str, parameters: dict[str, Any], console: Any
) -> Any:
    # Prefect and Dask talk much about themselves; Prefect's own records keep it all.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    with console.status("Starting Prefect …") as status:
        from quacc.prefect import make_runner
        from quacc.prefect.server import prefect_api

        logging.getLogger("distributed").setLevel(logging.WARNING)
        flow = _find(f"{calculator}.prefect", workflow).with_options(task_runner=make_runner())
        with prefect_api():
            console.print(f"Running {workflow} of {structure} with {calculator}.")
            jobs = logging.getLogger("quacc.prefect.flows")
            jobs.setLevel(logging.INFO)
            jobs.propagate = False
            jobs.addHandler(_Progress(status.update if console.is_terminal else console.print))
            return flow(structure, **parameters)


class _Progress(logging.Handler):
    def __init__(self, show: Callable[[str], None]) -> None:
        super().__init__()
        self.show = show

    def emit(self, record: logging.LogRecord) -> None:
        self.show(record.getMessage())


def _check_calculator(calculator: str) -> None:
    import quacc.recipes

    known = [module.name for module in pkgutil.iter_modules(quacc.recipes.__path__)]
    known.remove("common")
    if calculator not in known:
        raise InputError(
            f"There are no recipes for the calculator {calculator!r}.{suggest(calculator, known)} "
            f"There are for {', '.join(known)}."
        )


def _find(package: str, workflow: str) -> Any:
    """Return the function or flow of this name among a calculator's recipes."""
    name = workflow if workflow.endswith("_flow") else f"{workflow}_flow"
    recipes = importlib.import_module(f"quacc.recipes.{package}")
    found: dict[str, Callable[..., Any]] = {}
    for module in pkgutil.iter_modules(recipes.__path__, f"{recipes.__name__}."):
        if not module.ispkg:
            members = vars(importlib.import_module(module.name))
            found |= {key: value for key, value in members.items() if key.endswith("_flow")}
    if name not in found:
        names = [key.removesuffix("_flow") for key in found]
        listed = f"It has {', '.join(names)}." if names else "It has none yet."
        raise InputError(
            f"The calculator {package.partition('.')[0]!r} has no workflow {workflow!r}."
            f"{suggest(workflow, names)} {listed}"
        )
    return found[name]


def _parameters(changes: list[str]) -> dict[str, Any]:
    """Return ``max_index=2`` and ``relax_kwargs.fmax=0.01`` as nested keywords."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    parameters: dict[str, Any] = {}
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals or not name:
            raise InputError(f"--set takes KEY=VALUE, such as max_index=2, not {change!r}.")
        try:
            value = YAML(typ="safe", pure=True).load(text)
        except YAMLError as error:
            raise InputError(f"--set {change}: the value is not valid YAML ({error}).") from None
        *folders, last = name.split(".")
        inner = parameters
        for folder in folders:
            inner = inner.setdefault(folder, {})
            if not isinstance(inner, dict):
                raise InputError(f"--set {change}: {folder} was set to {inner!r} before.")
        inner[last] = value
    return parameters


def _check_names(serial: Callable[..., Any], parameters: dict[str, Any]) -> None:
    known = list(inspect.signature(serial).parameters)[1:]
    for name in parameters:
        if name not in known:
            raise InputError(
                f"The workflow has no parameter {name!r}.{suggest(name, known)} "
                f"It has {', '.join(known)}."
            )
