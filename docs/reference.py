"""Writes the pages of the reference from the code: ``python docs/reference.py``."""

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_type_hints

import typer

import quacc
from quacc.calculators import code_names, get_code
from quacc.cli.main import app
from quacc.recipes.report import jobs_of, workflows
from quacc.recipes.tools.documented import plan_of_job
from quacc.sites.profile import load_site, site_names

_PACKAGE = Path(quacc.__file__).parent

PYTHON = {
    "Run": ["quacc.local.run", "quacc.recipes.workflows.converge.converge"],
    "Prefect": [
        "quacc.prefect.fanout.fan_out.fan_out",
        "quacc.prefect.runner.make_runner",
        "quacc.prefect.tasks.as_task",
        "quacc.prefect.flows.as_flow",
        "quacc.cache.once.cached",
        "quacc.cli.script.script",
        "quacc.cli.script.calculator",
    ],
    "Structures": ["quacc.atoms.convert.as_atoms", "quacc.atoms.slabs.make_slabs"],
    "Results": ["quacc.store.database.Store"],
    "Settings": ["quacc.settings.change_settings", "quacc.settings.get_settings"],
    "Result types": ["quacc.schemas"],
    "Errors": ["quacc.errors"],
}


def workflow_pages() -> Iterator[str]:
    yield "# Workflows\n"
    yield "`quacc run NAME STRUCTURE --calculator CODE`."
    yield "Figures are in [Properties](../properties.md)."
    for name, module in sorted(workflows().items()):
        flow = getattr(module, name)
        short = name.removesuffix("_flow")
        result = get_type_hints(flow)["return"]
        yield f"\n## {short}\n\n`from quacc.recipes.workflows import {name}`\n"
        yield shown(f"{module.__name__}.{name}")
        yield shown(f"{result.__module__}.{result.__name__}")


def job_pages() -> Iterator[str]:
    yield "# Jobs\n"
    yield "Of every calculator, such as `quacc.recipes.emt.core.relax_job`."
    yield "Its own keywords come last (see [Calculators](calculators.md))."
    yield "`code` is what a code of one's own is given as."
    for name in ("static", "relax", "md", "freq", "neb", "ts", "bands", "dos", "dfpt"):
        plan = plan_of_job(name)
        yield f"\n## {name}_job\n"
        yield shown(f"{plan.__module__}.{plan.__name__}")


def calculator_pages() -> Iterator[str]:
    yield "# Calculators and their keywords\n"
    yield "How to use each is in [Calculators](../calculators.md)."
    for name in code_names():
        code = get_code(name)
        yield f"\n## {name}\n\n{code.title}.\n"
        jobs = ", ".join(f"`{job}`" for job in jobs_of(name))
        yield f"- Install: {code.install}\n- Computes: {', '.join(code.properties)}"
        yield f"- Jobs, in `quacc.recipes.{name}.core`: {jobs}\n- In our tests: {code.tested}\n"
        for title, words in (("keyword", code.keywords), ("option", code.options)):
            if words:
                rows = [
                    [f"`{word}`", f"`{one.default!r}`", one.meaning, one.check.words]
                    for word, one in words.items()
                ]
                yield table([title, "default", "meaning", "values"], rows)


def site_pages() -> Iterator[str]:
    yield "# Sites that come with quacc\n"
    yield "`quacc site show NAME`; what the fields mean is in [Sites](../sites.md#fields)."
    shipped = [name for name, file in site_names().items() if file.is_relative_to(_PACKAGE)]
    for name in shipped:
        given = load_site(name).model_dump(exclude_defaults=True)
        yield f"\n## {name}\n\n{given.pop('description', '')}\n"
        sources = given.pop("sources", ())
        rows = [
            [f"`{field}`", literal(value)]
            for field, value in given.items()
            if value and field not in ("name", "file")
        ]
        yield table(["field", "value"], rows)
        yield "".join(f"- {linked(source)}\n" for source in sources)


def command_pages() -> Iterator[str]:
    yield "# Command line\n"
    yield "`quacc COMMAND -h` tells the same. Errors go to stderr, and the exit code is 1 then."
    yield from command_page(typer.main.get_command(app), "quacc")


def command_page(command: Any, name: str) -> Iterator[str]:
    inner = getattr(command, "commands", {})
    if name.count(" ") or not inner:
        yield f"\n{'##' if name.count(' ') == 1 else '###'} {name}\n"
        usage = " ".join(metavar(one) for one in arguments(command))
        yield f"```text\n{name}{' COMMAND' if inner else ''} {usage}\n```\n"
        yield f"{inspect.cleandoc(command.help or '')}\n"
        rows = [
            [", ".join(f"`{one}`" for one in option.opts), option.help or ""]
            for option in command.params
            if option.param_type_name == "option" and not option.hidden and option.name != "help"
        ]
        if rows:
            yield table(["option", "meaning"], rows)
    for word, one in inner.items():
        yield from command_page(one, f"{name} {word}")


def arguments(command: Any) -> list[Any]:
    return [one for one in command.params if one.param_type_name == "argument"]


def metavar(argument: Any) -> str:
    name = f"{argument.name.upper()}{' …' if argument.nargs == -1 else ''}"
    return name if argument.required else f"[{name}]"


def python_pages() -> Iterator[str]:
    yield "# Python\n"
    for title, names in PYTHON.items():
        yield f"\n## {title}\n"
        yield from (shown(name) for name in names)


def shown(name: str) -> str:
    return f"::: {name}\n    options: {{heading_level: 3}}\n"


def linked(text: str) -> str:
    return re.sub(r"https?://\S+", r"<\g<0>>", text)


def literal(value: Any) -> str:
    if isinstance(value, Mapping):
        value = ", ".join(f"{name}={one}" for name, one in value.items())
    elif isinstance(value, list | tuple):
        value = "; ".join(map(str, value))
    return f"`{value}`"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(head)]
    lines += [["---"] * len(lines[0]), *map(list, rows)]
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells) + "\n"


PAGES = {
    "workflows": workflow_pages,
    "jobs": job_pages,
    "calculators": calculator_pages,
    "sites": site_pages,
    "commands": command_pages,
    "python": python_pages,
}

if __name__ == "__main__":
    folder = Path(__file__).parent / "reference"
    folder.mkdir(exist_ok=True)
    for name, make in PAGES.items():
        (folder / f"{name}.md").write_text("\n".join(make()))
