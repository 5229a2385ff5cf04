"""The options of ``quacc run``, made from the signature and the documentation of a workflow."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand

from quacc.errors import InputError
from quacc.recipes.tools.documented import JOBS, explained, plan_of_job


class RunCommand(TyperCommand):
    """A command whose help is that of the workflow that it is asked for."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if {"-h", "--help"} & set(args):
            from quacc.recipes.report import workflows

            for name in args:
                flow = f"{name.removesuffix('_flow')}_flow"
                if name in JOBS:
                    typer.echo(help_of(plan_of_job(name)))
                elif flow in workflows():
                    typer.echo(help_of(getattr(workflows()[flow], flow)))
                else:
                    continue
                ctx.exit()
        return super().parse_args(ctx, args)


def help_of(workflow: Callable[..., Any]) -> str:
    """Return the options of a workflow, with their defaults and what they mean."""
    doc = inspect.getdoc(workflow) or ""
    meanings = explained(doc)
    name = workflow.__name__.removesuffix("_flow")
    taken = [one.upper() for one in needed(workflow) if not one.endswith("_job")]
    lines = [f"Usage: quacc run {name} {' '.join(taken)} [OPTIONS]", "", doc.partition("\n")[0], ""]
    for parameter in inspect.signature(workflow).parameters.values():
        if parameter.name in ("code", "copy_files"):
            continue
        if parameter.kind is parameter.VAR_KEYWORD:
            lines += ["  -c, --calculator NAME"]
            lines += ["      Its keywords are options, too: `quacc calculators show NAME`."]
        elif parameter.name.upper() in taken:
            lines.append(f"  {parameter.name.upper()}")
        elif parameter.name == "calculator":
            lines.append("  -c, --calculator NAME")
        elif isinstance(parameter.default, bool):
            option = option_of(parameter.name)
            lines.append(f"  {option} / --no-{option[2:]}  (default: {parameter.default})")
        else:
            given = parameter.default
            default = "required" if given is parameter.empty else f"default: {given}"
            lines.append(f"  {option_of(parameter.name)}  ({default})")
        text = " ".join(meanings.get(parameter.name, "").split())
        lines += textwrap.wrap(text, 78, initial_indent=" " * 6, subsequent_indent=" " * 6)
    lines += ["", "  --site NAME, --set KEY=VALUE", "      See `quacc run --help`."]
    return "\n".join(lines)


def option_of(name: str) -> str:
    """Return a parameter as an option, such as --relax-positions."""
    return f"--{name.replace('_', '-')}"


def needed(workflow: Callable[..., Any]) -> list[str]:
    """Return the names of the parameters without a default."""
    parameters = inspect.signature(workflow).parameters.values()
    variable = inspect.Parameter.VAR_KEYWORD
    return [
        one.name
        for one in parameters
        if one.default is one.empty and one.kind is not variable and one.name != "code"
    ]


def options_in(
    words: list[str], workflow: Callable[..., Any]
) -> tuple[list[str], list[tuple[str, str]]]:
    """Split the words of a command line into structures, and the values of options.

    Raises
    ------
    InputError
        An option has no value.
    """
    flags = {
        one.name
        for one in inspect.signature(workflow).parameters.values()
        if isinstance(one.default, bool)
    }
    structures: list[str] = []
    options: list[tuple[str, str]] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--") or word == "--":
            structures += [] if word == "--" else [word]
            continue
        option, equals, value = word[2:].partition("=")
        first, dot, last = option.partition(".")
        name = first.replace("-", "_") + dot + last
        if equals:
            options.append((name, value))
        elif name in flags:
            options.append((name, "true"))
        elif name.startswith("no_") and name.removeprefix("no_") in flags:
            options.append((name.removeprefix("no_"), "false"))
        elif rest and not rest[0].startswith("--"):
            options.append((name, rest.pop(0)))
        else:
            raise InputError(f"The option {word} needs a value, such as {word} 1.")
    return structures, options
