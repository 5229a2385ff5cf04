"""``quacc train``: a potential from stored results."""

from __future__ import annotations

import inspect
import json
import shlex
import textwrap
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from quacc.cli.options import option_of, options_in
from quacc.cli.results import Formula, Keys, Recipe, Since, Until
from quacc.errors import InputError
from quacc.recipes.tools.documented import explained


class TrainCommand(TyperCommand):
    """A command whose help has the keywords of the methods."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if {"-h", "--help"} & {*args}:
            typer.echo(_help(super().get_help(ctx)))
            ctx.exit()
        return super().parse_args(ctx, args)


def train(
    keys: Keys = None,
    calculator: Annotated[
        str,
        typer.Option("--calculator", "-c", help="Whose potential it is: lammps (SNAP) or chgnet."),
    ] = "lammps",
    formula: Formula = None,
    recipe: Recipe = None,
    of: Annotated[
        str | None, typer.Option("--of", help="Only results of this code, such as espresso.")
    ] = None,
    since: Since = None,
    until: Until = None,
) -> None:
    """Train a potential on stored results, by their keys or by filters.

    What comes out is a calculator for all workflows.
    """
    from quacc.cli.results import filters_of, print_outcome
    from quacc.cli.run import parameters_in
    from quacc.cli.tables import console
    from quacc.recipes.train import Training, is_there, train_job
    from quacc.store import Store

    keys, given = options_in(keys or [], train_job)
    store = Store()
    chosen = {
        name: one for name, one in filters_of(formula, recipe, of, since, until).items() if one
    }
    if bool(keys) == bool(chosen):
        raise InputError(
            "Say what to train on: either keys, or filters such as --formula and --of."
        )
    data: Any = [store.resolve(key) for key in keys] if keys else chosen
    if len(keys) == 1:  # of a workflow, all its jobs
        data = store.get(keys[0])
    training = Training(data, calculator=calculator, **parameters_in([], given))
    result: Any = store.find([training.key]).get(training.key)
    if result is None or not is_there(result):
        store.check_writable()
        result = training.compute()
        store.add([result], replace=True)
    out = console()
    print_outcome(result, out)
    for warning in result["warnings"]:
        out.print(f"Warning: {warning}", style="yellow", markup=False, soft_wrap=True)
    own = dict(result["calculator"])
    name = own.pop("name")
    words = " ".join(
        f"--calculator.{key} {shlex.quote(json.dumps(value))}" for key, value in own.items()
    )
    typer.echo(f"Use it:             quacc run eos STRUCTURE -c {name} {words}")
    typer.echo(f"Look at it again:   quacc results show {result['key'][:10]}")


def _help(own: str) -> str:
    """Return the help of the command, and what the methods take."""
    from quacc.recipes.train import METHODS, train_job

    meanings = explained(inspect.getdoc(train_job) or "")
    lines = [own, "", "Of all methods:"]
    for name in ("validation", "test", "split_by", "seed", "device"):
        default = (train_job.__kwdefaults__ or {})[name]
        lines += _option(name, default, meanings[name])
    for calculator, (method, keywords) in METHODS.items():
        lines += ["", f"Of {calculator} ({method}):"]
        for name, keyword in keywords.items():
            lines += _option(name, keyword.default, keyword.meaning)
    return "\n".join(lines)


def _option(name: str, default: Any, meaning: str) -> list[str]:
    wrapped = textwrap.wrap(meaning, 78, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return [f"  {option_of(name)}  (default: {default})", *wrapped]
