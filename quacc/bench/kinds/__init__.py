"""What tasks measure: one file each, with what it computes and how that is judged.

Each has ``VERSION``, raised when its numbers become others; ``QUANTITIES`` and ``METRICS``; a
workflow ``measure`` of one example, which returns an :class:`Observation`; and ``errors``, what its
metrics are made of. ``measure`` may take the example's other structures as ``others``.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from quacc.bench.record import Curve, Quantity

How = Literal["mean", "max", "median", "rms"]


@dataclass(frozen=True)
class Metric:
    """How the errors of cases become one number."""

    title: str
    unit: str
    over: str
    """Of what, such as ``crystals``."""
    how: How = "mean"
    better: Literal["lower", "higher"] = "lower"


class Observation(TypedDict):
    """What was measured on one example."""

    values: dict[str, float]
    curves: dict[str, Curve]
    jobs: list[str]
    warnings: list[str]


Errors = Callable[[Mapping[str, float], Mapping[str, float]], dict[str, float]]
"""Takes values and reference; returns the errors that both have what is needed for."""


@dataclass(frozen=True)
class Kind:
    """One of these files, or a workflow of quacc's."""

    name: str
    version: int
    quantities: Mapping[str, Quantity]
    metrics: Mapping[str, Metric]
    measure: Callable[..., Observation]
    errors: Errors
    alone: bool = False
    """Whether nothing else may be computed at the same time, as where time is measured."""


def kind_names() -> list[str]:
    """Return the names of these files."""
    return sorted(one.name for one in pkgutil.iter_modules(__path__) if one.name[0] != "_")


def kind(name: str) -> Kind:
    """Return what one of these files measures."""
    module = importlib.import_module(f"{__name__}.{name}")
    return Kind(
        name,
        module.VERSION,
        module.QUANTITIES,
        module.METRICS,
        module.measure,
        module.errors,
        getattr(module, "ALONE", False),
    )


def observed(
    values: Mapping[str, float],
    results: Iterable[Mapping[str, Any]],
    curves: Mapping[str, Curve] | None = None,
    warnings: Iterable[str] = (),
) -> Observation:
    """Return what was measured, and the results that it was made from."""
    results = list(results)
    told = [text for one in results for text in one["warnings"]]
    keys = [key for one in results for key in one.get("jobs", [one["key"]])]
    return {
        "values": {name: float(value) for name, value in values.items()},
        "curves": dict(curves or {}),
        "jobs": list(dict.fromkeys(keys)),
        "warnings": list(dict.fromkeys([*told, *warnings])),
    }


def without_reference(metrics: Iterable[str]) -> Errors:
    """Return the ``errors`` of what needs no reference: the values that are metrics themselves."""
    names = list(metrics)
    return lambda values, reference: {name: values[name] for name in names if name in values}


def curve(x: Iterable[Any], y: Iterable[Any], xlabel: str, ylabel: str) -> Curve:
    """Return a curve of plain numbers."""
    return {"x": [*map(float, x)], "y": [*map(float, y)], "xlabel": xlabel, "ylabel": ylabel}
