"""Tasks: a workflow, data, and how they are judged."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from quacc.bench.config import MetricEntry, TaskEntry, read_entries, select
from quacc.bench.data import DataSet, load
from quacc.bench.kinds import Kind, Metric, Observation, kind, kind_names, observed
from quacc.bench.models import Model, gather_models
from quacc.bench.record import Record, TaskInfo
from quacc.errors import InputError, ParameterError, suggest
from quacc.recipes.tools.workflow import workflow


@dataclass(frozen=True)
class Task:
    """One of those that models are compared on."""

    name: str
    entry: TaskEntry
    file: Path

    @cached_property
    def kind(self) -> Kind:
        """What it measures."""
        return _kind_of(self.entry)

    @cached_property
    def data(self) -> DataSet:
        """Its structures."""
        return load(self.entry.data, self.file)

    @property
    def type(self) -> str:
        return self.entry.type

    @property
    def count(self) -> int | None:
        """How many structures it has; None where its data are not here."""
        try:
            return len(self.data.examples)
        except InputError:
            return None

    def info(self) -> TaskInfo:
        """Return what a record says of it."""
        return {
            "name": self.name,
            "title": self.entry.title,
            "type": self.entry.type,
            "workflow": self.entry.workflow,
            "parameters": dict(self.entry.parameters),
            "tags": list(self.entry.tags),
            "version": self.kind.version,
            "data": self.data.info,
            "quantities": dict(self.kind.quantities),
            "metrics": {
                name: {
                    "title": one.title,
                    "unit": one.unit,
                    "better": one.better,
                    "mean": f"{_HOW[one.how]} over {one.over}",
                    "chance": None,
                }
                for name, one in self.kind.metrics.items()
            },
        }

    def run_task(self, model: Model, **options: Any) -> Record:
        """Run it with a model on this machine's cores; return the record.

        Parameters
        ----------
        **options
            Of :func:`quacc.bench.run.run`.
        """
        from quacc.bench.run import run

        (record,) = run([(self, model)], **options)
        return record


_HOW = {"mean": "mean", "max": "largest", "median": "median", "rms": "root mean square"}


def _kind_of(entry: TaskEntry) -> Kind:
    if entry.workflow in kind_names():
        return kind(entry.workflow)
    return _of_workflow(entry.workflow, entry.metrics)


def _of_workflow(name: str, metrics: Mapping[str, MetricEntry]) -> Kind:
    """Return what a workflow of quacc's measures: some of the numbers of its result."""
    module = importlib.import_module(f"quacc.recipes.workflows.{name}")
    flow = getattr(module, f"{name}_flow")

    def measure(*args: Any, calculator: Any = None, **parameters: Any) -> Observation:
        result = flow(*args, **parameters)  # whose jobs have the calculator
        values = {}
        for one in metrics.values():
            found = result[one.value]
            values[one.value] = found / len(result["atoms"]) if one.per_atom else found
        return observed(values, [result])

    def errors(values: Mapping[str, float], reference: Mapping[str, float]) -> dict[str, float]:
        found = {}
        for metric, one in metrics.items():
            if one.value in values and one.value in reference:
                error = abs(values[one.value] - reference[one.value])
                found[metric] = 100 * error / abs(reference[one.value]) if one.relative else error
        return found

    measure.__signature__ = inspect.signature(flow)  # type: ignore[attr-defined]
    return Kind(
        name,
        int(getattr(module, "VERSION", 1)),
        {one.value: {"title": one.value, "unit": one.unit} for one in metrics.values()},
        {
            metric: Metric(f"error of {one.value}", "%" if one.relative else one.unit, "structures")
            for metric, one in metrics.items()
        },
        workflow(measure),
        errors,
    )


def gather_tasks(
    names: Sequence[str] | None = None, files: Iterable[str | Path] = ()
) -> list[Task]:
    """Return tasks by name; all if there are no names. See :func:`gather_models`."""
    every = read_entries("tasks", files)
    found = []
    for name in select("task", names, every):
        entry, file = every[name]
        if not re.fullmatch(r"[\w.+-]+", name):
            raise InputError(f"{file}: the name {name!r} may have letters, digits and _.+- only.")
        task = Task(name, entry, file)
        try:
            _check(task)
        except InputError as error:
            raise InputError(f"{file}, {name}: {error}") from None
        found.append(task)
    return found


def _check(task: Task) -> None:
    entry = task.entry
    workflows = importlib.import_module("quacc.recipes.workflows")
    known = [*kind_names(), *(one.removesuffix("_flow") for one in workflows.__all__)]
    if entry.workflow not in known:
        raise ParameterError(
            f"there is no workflow {entry.workflow!r}.{suggest(entry.workflow, known)} There are "
            f"{', '.join(known)}."
        )
    if (entry.workflow in kind_names()) == bool(entry.metrics):
        raise ParameterError(
            f"{entry.workflow} has metrics of its own: leave them out."
            if entry.metrics
            else f"name the metrics: which numbers of {entry.workflow} are compared with the data."
        )
    parameters = inspect.signature(task.kind.measure).parameters
    taken = [one for one in parameters if one not in ("atoms", "others", "calculator")]
    for one in entry.parameters:
        if one not in taken:
            raise ParameterError(
                f"{entry.workflow} has no parameter {one!r}.{suggest(one, taken)} It has "
                f"{', '.join(taken)}."
            )


def gather_task_type(
    models: Sequence[Model],
    task_type: str,
    tasks: Sequence[Task] | None = None,
) -> list[tuple[Task, Model]]:
    """Return all pairs of models and tasks of a type: reference, physics or cost."""
    types = ("reference", "physics", "cost")
    if task_type not in types:
        raise InputError(
            f"There is no type of tasks {task_type!r}.{suggest(task_type, types)} There are "
            f"{', '.join(types)}."
        )
    every = gather_tasks() if tasks is None else tasks
    return [(task, model) for task in every if task.type == task_type for model in models]


def gather_jobs(
    models: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
    task_types: Sequence[str] | None = None,
    tags: Sequence[str] | None = None,
    *,
    model_files: Iterable[str | Path] = (),
    task_files: Iterable[str | Path] = (),
) -> list[tuple[Task, Model]]:
    """Return the pairs that are asked for.

    Parameters
    ----------
    models, tasks
        Names; all if there are none.
    task_types
        Of these types only: reference, physics, cost.
    tags
        With all of these tags only.
    model_files, task_files
        More files like ``models.yml`` and ``tasks.yml``.

    Raises
    ------
    InputError
        A name is unknown, a file makes no sense, or there is no such pair.
    """
    chosen = gather_tasks(tasks, task_files)
    known = sorted({tag for task in chosen for tag in task.entry.tags})
    for tag in tags or ():
        if tag not in known:
            raise InputError(
                f"No task has the tag {tag!r}.{suggest(tag, known)} There are {', '.join(known)}."
            )
    chosen = [task for task in chosen if {*(tags or ())} <= {*task.entry.tags}]
    every = gather_models(models, model_files)
    pairs = [
        pair
        for one in dict.fromkeys(task_types or ("reference", "physics", "cost"))
        for pair in gather_task_type(every, one, chosen)
    ]
    if not pairs:
        raise InputError("No task is of these types and has these tags.")
    return pairs
