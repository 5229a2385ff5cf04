"""``script``: a file with a flow as a program. The cookbook's files end with it."""

from __future__ import annotations

import inspect
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from quacc.errors import ParameterError
from quacc.recipes.tools.documented import explained, nested, pairs

if TYPE_CHECKING:
    from prefect import Flow

_WHERE = {
    "site": (str | None, None, "Compute in batch jobs, as this site's profile says."),
    "inside_allocation": (bool, False, "Compute on the nodes of this Slurm job."),
}


def script(flow: Flow[..., Sequence[Mapping[str, Any]]]) -> None:
    """Run a flow with parameters from the command line, and print the rows that it returns.

    The flow's first parameter is the argument of the program, the others are options, explained
    by the flow's documentation; so are ``--site`` and ``--inside-allocation``, without which the
    cores of this machine compute. Errors that quacc raises become one message, and exit code 1.

    Parameters
    ----------
    flow
        Of the file that is run, whose documentation is the program's. Its parameters are texts,
        numbers, booleans, or lists of them.
    """
    main_module = sys.modules["__main__"]
    program = typer.Typer(
        add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
    )
    settings = {"help_option_names": ["-h", "--help"]}
    text = (main_module.__doc__ or "").replace("\n\n", "\n\n\b\n")  # lines stay as they are
    program.command(help=text, context_settings=settings)(_command(flow))

    from quacc.cli.main import main

    main(program)


def _command(flow: Flow[..., Any]) -> Callable[..., None]:
    def command(**given: Any) -> None:
        from quacc.cli.tables import console, rows_table
        from quacc.prefect import make_runner
        from quacc.prefect.lifecycle.server import prefect_api

        where = {name: given.pop(name) for name in _WHERE}
        runner = make_runner(**where)
        with prefect_api():
            rows = flow.with_options(task_runner=runner)(**given)
        screen = console()
        screen.print(rows_table(rows, screen.width))

    hints = get_type_hints(flow.fn)
    meanings = explained(inspect.getdoc(flow.fn) or "")
    parameters: list[inspect.Parameter] = []
    for one in inspect.signature(flow.fn).parameters.values():
        kind = typer.Option if parameters else typer.Argument
        meaning = kind(help=meanings.get(one.name), show_default=one.default is not one.empty)
        parameters.append(one.replace(annotation=Annotated[hints[one.name], meaning]))
    for name, (hint, default, help_text) in _WHERE.items():
        kept: Any = Annotated[hint, typer.Option(help=help_text)]
        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters.append(inspect.Parameter(name, keyword, default=default, annotation=kept))
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    return command


def calculator(text: str) -> dict[str, Any]:
    """Return a calculator with its keywords, of a text such as "espresso ecutwfc=40".

    It is split as by a shell: a value with blanks is in quotes.

    Raises
    ------
    ParameterError
        The text is empty, or a quotation in it does not end.
    InputError
        What follows the name is not KEYWORD=VALUE, whose values are YAML.
    """
    try:
        name, *keywords = shlex.split(text) or [""]
    except ValueError as error:
        raise ParameterError(f"The calculator {text!r} cannot be read: {error}.") from None
    if not name:
        raise ParameterError("The calculator has no name. Take one of `quacc calculators`.")
    return {"name": name, **nested(pairs(keywords, f"The calculator {name}"))}
