"""The numbers of a task, made of those of its cases, with their uncertainty."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quacc.bench.kinds import Kind
from quacc.bench.record import Case
from quacc.bench.record import Metric as Value

_SAMPLES = 2000
"""Of the bootstrap."""

_HOW: dict[str, Callable[..., NDArray[Any]]] = {
    "mean": np.mean,
    "max": np.max,
    "median": np.median,
    "rms": lambda values, axis: np.sqrt(np.mean(np.square(values), axis=axis)),
}


def metrics_of(kind: Kind, cases: Sequence[Case]) -> dict[str, Value]:
    """Return each metric, of the cases that have what it is made of.

    The interval is that of 95 % of samples of as many cases, drawn with replacement (Efron, Ann.
    Stat. 7, 1 (1979)); the same cases are drawn for every model.
    """
    found: dict[str, Value] = {}
    for name, metric in kind.metrics.items():
        values = np.array([one["errors"][name] for one in cases if name in one["errors"]])
        low = high = None
        if len(values) > 2 and metric.how != "max":
            generator = np.random.default_rng(zlib.crc32(name.encode()))
            drawn = values[generator.integers(len(values), size=(_SAMPLES, len(values)))]
            low, high = map(float, np.percentile(_HOW[metric.how](drawn, axis=1), [2.5, 97.5]))
        found[name] = {
            "value": float(_HOW[metric.how](values, axis=0)) if len(values) else None,
            "low": low,
            "high": high,
            "n": len(values),
            "of": len(cases),
        }
    return found


def chance_of(kind: Kind, references: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return each metric of a model that knows the reference's means, and no structure."""
    names = {name for one in references for name in one}
    means = {
        name: float(np.mean([one[name] for one in references if name in one])) for name in names
    }
    errors = [kind.errors({name: means[name] for name in one}, one) for one in references]
    found = {}
    for name, metric in kind.metrics.items():
        values = np.array([one[name] for one in errors if name in one])
        if len(values):
            found[name] = float(_HOW[metric.how](values, axis=0))
    return found
