"""``quacc run … --dry-run``: what would be computed, from which input, and where."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from quacc.calculators.code import Place
from quacc.recipes.tools.documented import JOBS
from quacc.recipes.tools.workflow import Submission
from quacc.runners.calculation import Calculation


def show(
    workflow: Callable[..., Any],
    calls: Iterable[tuple[Any, ...]],
    parameters: Mapping[str, Any],
    site: str | None,
    console: Any,
) -> None:
    """Print the jobs that come first, and of one of each kind its input with all its sources."""
    from quacc.cache.results import ResultsCache
    from quacc.recipes.tools.workflow import first_submissions
    from quacc.store import Store

    name = workflow.__name__.removesuffix("_flow")
    cache = ResultsCache(Store())
    for arguments in calls:
        submissions = first_submissions(workflow, *arguments, **parameters)
        planned = [(one, _calculation(one)) for one in submissions]
        asked = [one for _, one in planned if one is not None]
        found = [result is not None for result in cache.find(asked)]
        known = {id(one): there for one, there in zip(asked, found, strict=True)}
        console.print(f"\n{name} of {', '.join(map(str, arguments))}", style="bold", markup=False)
        console.print(_jobs(planned, known))
        if name not in JOBS:
            console.print("Then what depends on their results.")
        kinds: set[str] = set()
        for submission, one in planned:
            if one is not None and one.recipe not in kinds:
                kinds.add(one.recipe)
                _show_input(submission, one, parameters, console)
    cache.close()
    _show_place(site, console)
    console.print("Nothing has been computed. Without --dry-run, it is.")


def _calculation(submission: Submission) -> Calculation[Any] | None:
    from quacc.recipes.tools.verbs import check

    if isinstance(submission.item, Submission):
        return None
    return check(submission.job, submission.item, **submission.kwargs)


def _jobs(planned: list[tuple[Submission, Any]], known: Mapping[int, bool]) -> Any:
    from rich import box
    from rich.table import Table

    from quacc.recipes.tools.verbs import bare, innermost
    from quacc.runners.job import plan_of

    rows: dict[tuple[str, str, str], int] = {}
    for submission, one in planned:
        if one is None:
            function = bare(submission.job)
            plan = plan_of(function)
            job = plan.recipe if plan else getattr(innermost(function), "__name__", "a job")
            row = (job, "the result of the one before", "")
        else:
            row = (one.recipe, one.formula, "known" if known[id(one)] else "to compute")
        rows[row] = rows.get(row, 0) + 1
    table = Table("job", "of", "", "number", box=box.SIMPLE_HEAD)
    for row, count in rows.items():
        table.add_row(*row, str(count))
    return table


def _show_input(
    submission: Submission, one: Calculation[Any], given: Mapping[str, Any], console: Any
) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table("keyword", "value", "from", box=box.SIMPLE_HEAD, title=f"{one.recipe}, the input")
    for name, value, source in sources(submission, one, given):
        table.add_row(Text(name), Text(str(value), overflow="fold"), Text(source, overflow="fold"))
    console.print(table)
    for file, text in _input_files(one).items():
        console.print(f"{file}:", style="bold", markup=False)
        console.print(text.rstrip() + "\n", markup=False, highlight=False, soft_wrap=True)
    program = one.code.program
    lines = {
        "program": f"{one.calculator['version']}, {program.run_command()}" if program else "",
        "package": "" if program else one.calculator["version"],
        "in the Python": getattr(one.code, "python", ""),
        "files": ", ".join(map(str, one.code.files(one.calc_parameters))),
    }
    for what, text in lines.items():
        if text:
            console.print(f"{what}: {text}", markup=False, highlight=False, soft_wrap=True)
    for warning in one.warnings:
        console.print(f"Warning: {warning}", style="yellow", markup=False)


def sources(
    submission: Submission, one: Calculation[Any], given: Mapping[str, Any]
) -> list[tuple[str, Any, str]]:
    """Return name, value and source of each keyword and option of a job.

    Parameters
    ----------
    submission
        The job, as the workflow submits it.
    one
        The calculation that it is.
    given
        The workflow's parameters, as they were given.
    """
    from quacc.calculators.presets import layers

    calculator = given["calculator"]
    above = dict(calculator) if isinstance(calculator, Mapping) else {}
    known: dict[str, tuple[Any, str]] = {}
    presets = above.pop("preset", [])
    if above.pop("name", None) == one.code.name:
        for layer in layers(one.code.name, [presets] if isinstance(presets, str) else presets):
            for name, value in _flat(layer.values[one.code.name]):
                known[name] = value, f"preset {layer.name} ({layer.file})"
        for name, value in _flat(above):
            known[name] = value, "given for the calculator"
    for keywords in (given, *(value for name, value in given.items() if name.endswith("_kwargs"))):
        for name, value in _flat(keywords or {}):
            if name.partition(".")[0] in submission.kwargs:
                known[name] = value, "given for the job"
    values = {**one.parameters, **one.code_options}
    defaults = {
        **{name: word.default for name, word in one.code.keywords.items()},
        **{name: word.default for name, word in one.code.options.items()},
    }
    rows = []
    for name, value in _flat(values):
        head = name.partition(".")[0]
        if name in known and known[name][0] == value:
            source = known[name][1]
        elif head in submission.kwargs:
            source = "the workflow"
        elif head in defaults and value != defaults[head]:
            source = "the structure and the settings"
        else:
            source = "default"
        rows.append((name, value, source))
    return rows


def _flat(values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            found += [(f"{name}.{inner}", one) for inner, one in value.items()]
        else:
            found.append((name, value))
    return found


def _input_files(one: Calculation[Any]) -> dict[str, str]:
    """Return the files that a program would start from, as they would be written.

    Without those that nobody keeps, such as VASP's POTCAR.
    """
    if one.code.program is None:
        return {}
    with tempfile.TemporaryDirectory(prefix="quacc-") as folder:
        place = Place(Path(folder), one.code_options)
        calculator: Any = one.code.build(one.calc_parameters, place)
        atoms = one.input_atoms.copy()
        write = getattr(calculator, "write_inputfiles", None) or calculator.write_input
        write(atoms, list(one.code.properties))
        scratch = {file for name in one.code.program.scratch for file in Path(folder).glob(name)}
        files = sorted(file for file in Path(folder).rglob("*") if file.is_file())
        files = [file for file in files if not scratch & {file, *file.parents}]
        return {os.path.relpath(file, folder): file.read_text("utf-8") for file in files}


def _show_place(site: str | None, console: Any) -> None:
    from quacc.cluster.cores import usable_cores
    from quacc.settings import get_settings
    from quacc.sites.profile import load_site

    if site is None:
        where = f"On this machine: {usable_cores()} jobs at a time"
    else:
        profile = load_site(site)
        where = (
            f"On {profile.name}: up to {profile.max_jobs} batch jobs of {profile.nodes} nodes, "
            f"{profile.workers} workers each, {profile.walltime}; `quacc site show {profile.name}` "
            "prints the job script"
        )
    console.print(
        f"{where}. Files in {get_settings().scratch}, results in {get_settings().results_dir}.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
