"""A heat map of records: models × tasks, each number against the best of its task."""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from quacc.bench.page import document
from quacc.bench.record import Record
from quacc.errors import InputError

_WORST = 10.0
"""Times the best: what is worse has the same colour."""


def write_png(records: Sequence[Record], path: str | os.PathLike[str]) -> Path:
    """Draw the first metric of each task, with the cases it is made of; what failed is named.

    Parameters
    ----------
    records
        Of any models and tasks.
    path
        Ends in .png, .pdf or .svg.

    Raises
    ------
    InputError
        There are no records, or the file cannot be written.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from quacc.recipes.report import STYLE

    shown = document(records)
    models, tasks = shown["models"], shown["tasks"]
    missing: dict[str, list[str]] = {}
    for pair in shown["pairs"]:
        if pair["state"] != "complete":
            reason = f", {pair['reason']}" if pair["reason"] else ""
            text = f"{models[pair['model']]['label']} {pair['state']}{reason}"
            missing.setdefault(text, []).append(tasks[pair["task"]]["label"])
    lines = [
        line
        for text, where in missing.items()
        for line in textwrap.wrap(_plain(f"{text}: {', '.join(where)}"), 70 + 14 * len(models))
    ]
    width, height = 3.0 + 1.05 * len(models), 1.6 + 0.5 * len(tasks)
    below = 0.125 * (len(lines) + 1)
    # Names of models and reasons may have dollars, which are no formulas.
    with rc_context({**STYLE, "text.parse_math": False}):
        figure = Figure(figsize=(width, height + below))
        part = below / (height + below)
        figure.set_layout_engine("constrained", rect=(0, part, 1, 1 - part))
        _draw(figure.add_subplot(), shown)
        figure.text(0.01, 0.08 / (height + below), "\n".join(lines), fontsize=7, va="bottom")
        try:
            figure.savefig(path, dpi=150)
        except (OSError, ValueError) as error:
            raise InputError(f"Cannot write {os.fspath(path)!r}: {error}") from error
    return Path(path)


def _plain(text: str) -> str:
    # Half of a pair of UTF-16, which a JSON file may have, can't be drawn.
    return " ".join(text.encode("utf-8", "replace").decode().split())


def _short(text: str, most: int) -> str:
    text = _plain(text)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _draw(axes: Any, shown: dict[str, Any]) -> None:
    from matplotlib.patches import Rectangle

    models, tasks = shown["models"], shown["tasks"]
    colours = [[math.nan] * len(models) for _ in tasks]
    pairs = {(pair["task"], pair["model"]): pair for pair in shown["pairs"]}
    for row, task in enumerate(tasks):
        none: tuple[str, dict[str, Any]] = ("", {})
        name, info = next(iter(task["metrics"].items()), none)
        metrics = [
            pairs[row, column]["metrics"].get(name) or {} if (row, column) in pairs else {}
            for column in range(len(models))
        ]
        values = [metric["value"] for metric in metrics if metric.get("value") is not None]
        for column, metric in enumerate(metrics):
            value = metric.get("value")
            pair = pairs.get((row, column))
            if value is None:
                text = pair["state"] if pair else "not run"
                axes.add_patch(
                    Rectangle((column - 0.5, row - 0.5), 1, 1, fc="0.92", ec="0.6", hatch="//")
                )
            else:
                colours[row][column] = math.log10(behind(value, values, info["better"]))
                mark = "†" if pair and pair["marks"] else ""
                text = f"{value:.3g}{mark}\n{metric['n']}/{metric['of']}"
            box = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.0}
            axes.text(column, row, text, ha="center", va="center", fontsize=7, bbox=box)
    image = axes.imshow(colours, cmap="viridis_r", vmin=0, vmax=math.log10(_WORST), aspect="auto")
    axes.set_xticks(
        range(len(models)),
        [_short(model["label"], 24) for model in models],
        rotation=30,
        ha="right",
    )
    axes.set_yticks(range(len(tasks)), [_label(task) for task in tasks])
    bar = axes.figure.colorbar(image, ax=axes, ticks=[0, math.log10(2), math.log10(5), 1])
    bar.ax.set_yticklabels(["best", "2 times", "5 times", "10 times or more"])
    axes.set_title("First metric of each task, cases done of all; colour: against the best")


def _label(task: dict[str, Any]) -> str:
    info = next(iter(task["metrics"].values()), None)
    metric = ""
    if info is not None:
        unit = f" ({info['unit']})" if info["unit"] else ""
        metric = f"\n{info['title']}{unit} {'↓' if info['better'] == 'lower' else '↑'}"
    return _short(task["label"], 34) + metric


def behind(value: float, values: Sequence[float], better: str) -> float:
    """Return how many times the best of some values is better than one of them: 1 to 10."""
    best = min(values) if better == "lower" else max(values)
    if value == best:
        return 1.0
    part = best / value if better == "lower" else value / best
    return min(_WORST, 1 / part) if part > 0 else _WORST
