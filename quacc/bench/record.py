"""What the benchmark of one model on one task leaves: a document of plain JSON values."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

State = Literal["complete", "partial", "failed", "unavailable", "skipped"]
"""Of a pair: all cases done that the model has elements for; some failed; all failed; the model is
not to be had here; the model says that it skips the task, or has the elements of no case."""


class Case(TypedDict):
    """One structure of a task."""

    name: str
    formula: str
    elements: list[str]
    structure: dict[str, Any]
    """``numbers`` (atoms,), ``positions`` (atoms, 3; Å), ``cell`` (3, 3; Å) and ``pbc`` (3,)."""
    state: Literal["done", "failed", "skipped"]
    """Skipped: the model lacks an element."""
    reason: str | None
    """Why it is not done, in one line."""
    traceback: str | None
    values: dict[str, float]
    """What the model says, in the units of the task's ``quantities``."""
    reference: dict[str, float]
    """What the data say; names are among those of the values."""
    errors: dict[str, float]
    """What the metrics are means of, by the metric's name."""
    curves: dict[str, Curve]
    """By name, such as ``energy``."""
    jobs: list[str]
    """Keys of the results that it was made from."""
    seconds: float
    warnings: list[str]


class Curve(TypedDict):
    x: list[float]
    y: list[float]
    xlabel: str
    ylabel: str


class Quantity(TypedDict):
    """A value that cases have."""

    title: str
    """With a symbol if there is one, such as ``volume V₀``."""
    unit: str
    """Empty for numbers without one."""


class MetricInfo(TypedDict):
    """How a number of the whole task is made of those of its cases."""

    title: str
    unit: str
    better: Literal["lower", "higher"]
    mean: str
    """In words, such as ``mean over crystals``."""
    chance: float | None
    """What a model would have that knows nothing: where the task has a reference, the one that
    says the mean of all references."""


class Metric(TypedDict):
    value: float | None
    """None where no case is left."""
    low: float | None
    high: float | None
    """Bounds of 95 %, by the bootstrap over cases; None below three cases."""
    n: int
    """Cases that it is made of,"""
    of: int
    """of those that the task has."""


class DataInfo(TypedDict):
    name: str
    title: str
    licence: str
    sha256: str
    citation: str
    """BibTeX; empty if there is none."""
    level: str | None
    """Level of theory of the reference, such as ``PBE``; None without a reference."""


class TaskInfo(TypedDict):
    name: str
    title: str
    type: str
    """``reference``, ``physics`` (no reference is needed), or ``cost``."""
    workflow: str
    parameters: dict[str, Any]
    tags: list[str]
    version: int
    data: DataInfo
    quantities: dict[str, Quantity]
    metrics: dict[str, MetricInfo]


class ModelInfo(TypedDict):
    name: str
    title: str
    calculator: str
    parameters: dict[str, Any]
    family: str
    functional: str
    """That of its training data, or of itself; empty for what was fitted to experiments."""
    trained_on: list[str]
    licence: str
    citation: str
    """BibTeX."""
    fingerprint: str
    """What decides its numbers beside the parameters; empty if it is not here."""


class Record(TypedDict):
    """The benchmark of one model on one task."""

    schema: int
    key: str
    """SHA-256 of the model's fingerprint and parameters, the task's parameters and version, and the
    hash of its data."""
    task: TaskInfo
    model: ModelInfo
    state: State
    reason: str | None
    """Why the pair is not complete, in one line."""
    traceback: NotRequired[str]
    """Of what ended the pair as a whole."""
    marks: list[str]
    """What speaks against comparing it, such as another functional than the reference's."""
    cases: list[Case]
    metrics: dict[str, Metric]
    seconds: float
    """Wall time of the run that made it; what was known already took none."""
    context: dict[str, Any]
    """``quacc``, ``ase``, ``python``, ``cpu``, ``cores``, ``gpu``, ``load``, ``git``, and
    ``started`` (ISO 8601, UTC)."""
