"""What people look at: a workflow's summary, table, figure and citations.

>>> from quacc.recipes.report import plot, summary
>>> print(summary(result))
>>> plot(result, "eos.pdf")
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import ModuleType
from typing import Any

import numpy as np

from quacc.errors import InputError

STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 9,
    "legend.frameon": False,
    "savefig.dpi": 300,
    "figure.dpi": 150,
    "pdf.fonttype": 42,  # text stays text
    "svg.fonttype": "none",
}
"""Style of figures: a column of a journal is 3.4 inches wide."""

_ALWAYS = ("Larsen2017",)  # every job goes through ASE

JOBS = {
    "bands_job": "quacc.recipes.tools.electrons",
    "dos_job": "quacc.recipes.tools.electrons",
    "dfpt_job": "quacc.recipes.tools.dfpt",
    "train_job": "quacc.recipes.train",
    "work_function_job": "quacc.recipes.tools.work_function",
}
"""Jobs whose results have a summary, a table and a figure, and the module of these."""


@cache
def workflows() -> dict[str, ModuleType]:
    """Return all workflows by name, such as ``eos_flow``, with the module of each."""
    package = importlib.import_module("quacc.recipes.workflows")
    names = [one.name for one in pkgutil.iter_modules(package.__path__)]
    modules = [importlib.import_module(f"{package.__name__}.{name}") for name in sorted(names)]
    return {
        f"{module.__name__.rpartition('.')[2]}_flow": module
        for module in modules
        if module.__name__ != f"{package.__name__}.converge"
    }


def jobs_of(calculator: str) -> list[str]:
    """Return the names of a calculator's jobs, such as relax_job."""
    core = importlib.import_module(f"quacc.recipes.{calculator}.core")
    return [name for name in vars(core) if name.endswith("_job")]


def abilities() -> list[list[str]]:
    """Return what each calculator is, computes, and has jobs for: a header, and a row for each."""
    from quacc.calculators import code_names, get_code

    rows = [["calculator", "what it is", "computes", "jobs", "in our tests"]]
    for name in code_names():
        code = get_code(name)
        jobs = ", ".join(job.removesuffix("_job") for job in jobs_of(name))
        rows.append([f"`{name}`", code.title, ", ".join(code.properties), jobs, code.tested])
    return rows


def workflow_of(result: Mapping[str, Any]) -> ModuleType:
    """Return the module that describes a result, such as its workflow's.

    Raises
    ------
    InputError
        It comes from another job, or from somebody else's workflow.
    """
    name = str(result.get("name", "")).rpartition(".")[2]
    if name in JOBS:
        return importlib.import_module(JOBS[name])
    if name == "converge":
        return importlib.import_module("quacc.recipes.workflows.converge")
    if name not in workflows():
        raise InputError(
            f"{result.get('name') or 'This'} is no workflow of quacc's. Those that are: "
            f"{', '.join(workflows())}."
        )
    return workflows()[name]


def summary(result: Mapping[str, Any]) -> str:
    """Return one line that says what came out."""
    text: str = workflow_of(result).summarise(result)
    return f"{result['formula']}: {text}"


def title(result: Mapping[str, Any]) -> str:
    """Return one line about any result: its summary, or which recipe of what it is."""
    try:
        return summary(result)
    except InputError:
        return f"{result['formula']}: {result['name']}"


def table(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return rows, with units in the names of the columns."""
    rows: list[dict[str, Any]] = workflow_of(result).tabulate(result)
    return rows


def plot(result: Mapping[str, Any], file: str | os.PathLike[str] | None = None) -> Any:
    """Return a figure of matplotlib; write it to a file, if one is named.

    Of a relaxation, a path or dynamics: energies, forces or temperatures over its steps.

    Parameters
    ----------
    result
        Of a workflow, or of a job that has a figure.
    file
        Ends in .pdf, .svg or .png.

    Raises
    ------
    InputError
        There is nothing to draw, or the file cannot be written.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    draw = _history if "history" in result else workflow_of(result).draw
    with rc_context(STYLE):
        figure = Figure(figsize=(4.2, 3.2), layout="constrained")
        draw(result, figure)
        if file is not None:
            try:
                figure.savefig(file)
            except (OSError, ValueError) as error:
                raise InputError(f"Cannot write {os.fspath(file)!r}: {error}") from error
    return figure


def has_figure(result: Mapping[str, Any]) -> bool:
    """Return whether a result has a figure; a history of one step has none."""
    if "history" in result:
        return len(next(iter(result["history"].values()), ())) > 1
    name = str(result.get("name", "")).rpartition(".")[2]
    return name == "converge" or name in JOBS or name in workflows()


def _history(result: Mapping[str, Any], figure: Any) -> None:
    """Draw how a job went on: what it lowers, and below it the largest force, or temperature."""
    history = {name: np.asarray(values, dtype=float) for name, values in result["history"].items()}
    upper, lower = figure.subplots(2, 1, sharex=True)
    time = history.get("time")
    steps = np.arange(len(next(iter(history.values())))) if time is None else time
    marker = "o-" if len(steps) <= _MARKED else "-"
    name = "barrier" if "barrier" in history else "energy"
    values = history[name]
    per = "eV"
    if name == "energy" and time is None:  # what is left to gain
        values, per = values - values[-1], "eV, last is 0"
    upper.plot(steps, values, marker, markersize=3)
    upper.set(ylabel=f"{name} ({per})", title=f"{result['formula']}: {result['name']}")
    if "fmax" in history:
        lower.semilogy(steps, np.maximum(history["fmax"], 1e-12), marker, markersize=3)
        if "fmax" in result:
            lower.axhline(result["fmax"], color="grey", linestyle=":")
        lower.set_ylabel("largest force (eV/Å)")
    elif "temperature" in history:
        lower.plot(steps, history["temperature"], marker, markersize=3)
        lower.set_ylabel("temperature (K)")
    lower.set_xlabel("step" if time is None else "time (fs)")
    if time is None:
        lower.xaxis.get_major_locator().set_params(integer=True)


_MARKED = 60
"""With more steps than this, points would be a thick line."""


def citations(result: Mapping[str, Any]) -> str:
    """Return BibTeX for the method, the calculators and the programs behind a result."""
    from quacc.calculators import code_names, get_code
    from quacc.calculators.dispersion import citations_of

    name = str(result.get("name", "")).rpartition(".")[2]
    if name in JOBS:
        references = workflow_of(result).REFERENCES
        methods = references.get(result["name"], references[name])
    else:
        methods = getattr(workflows().get(name), "REFERENCES", ())
    keys = [*methods, *_ALWAYS]
    entries = [_references()[key] for key in dict.fromkeys(keys)]
    for calculator in result.get("calculators") or [result.get("calculator")]:
        if calculator and calculator["name"] in code_names():
            entries.append(get_code(calculator["name"]).cite(_parameters(result)))
    entries += citations_of(_parameters(result).get("dispersion"))
    return "\n\n".join(dict.fromkeys(entry.strip() for entry in entries)) + "\n"


def _parameters(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that a calculator may have got, a workflow's by way of its jobs."""
    parameters = dict(result.get("parameters") or {})
    for name, value in list(parameters.items()):
        if (name == "calculator" or name.endswith("_kwargs")) and isinstance(value, Mapping):
            parameters |= value
    return parameters


@cache
def _references() -> dict[str, str]:
    text = files("quacc.recipes").joinpath("references.bib").read_text(encoding="utf-8")
    entries = re.split(r"\n(?=@)", text.strip())
    return {entry[entry.index("{") + 1 : entry.index(",")]: entry for entry in entries}
