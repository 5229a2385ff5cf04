"""One page of HTML that shows records: it works offline, and asks nobody for anything.

What it shows is in it as JSON, once: structures and references by task, numbers by pair. The
script in ``web/page.js`` makes the rest of them. Texts of records come from other people's files:
they never become markup, and nothing runs but that script, whose hash the page's policy names.
"""

from __future__ import annotations

import json
import math
import os
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

import quacc
from quacc.bench.record import Case, Curve, Record
from quacc.errors import InputError


def write_page(
    records: Sequence[Record], path: str | os.PathLike[str], lines: Sequence[str] = ()
) -> Path:
    """Write the page of some records; of those of one pair, the last is shown.

    Parameters
    ----------
    records
        Of any models and tasks.
    lines
        What they say in words, above all else.
    path
        Such as benchmark.html; what is there is replaced.

    Raises
    ------
    InputError
        There are no records, two cases of a task have one name, or the file cannot be written.
    """
    file = Path(path)
    text = page(records, lines)
    partial = file.with_name(f".quacc-{os.getpid()}.tmp")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(file)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise InputError(f"Cannot write {str(file)!r}: {error}") from error
    return file


def page(records: Sequence[Record], lines: Sequence[str] = ()) -> str:
    """Return the page as text."""
    # Escaped, no text in it can end the element that holds it.
    data = json.dumps(
        {**document(records), "lines": list(lines)}, allow_nan=False, separators=(",", ":")
    )
    for sign in "<>&":
        data = data.replace(sign, f"\\u{ord(sign):04x}")
    script, style = _web("page.js"), _web("page.css")
    policy = (
        f"default-src 'none'; script-src 'sha256-{_hash(script)}'; "
        f"style-src 'sha256-{_hash(style)}'; base-uri 'none'; form-action 'none'"
    )
    before, after = _web("page.html").replace("POLICY", policy).split("DATA")
    return before.replace("STYLE", style) + data + after.replace("SCRIPT", script)


def _web(name: str) -> str:
    return files("quacc.bench").joinpath("web", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return b64encode(sha256(text.encode()).digest()).decode()


def document(records: Sequence[Record]) -> dict[str, Any]:
    """Return what the page shows, as JSON: ``models``, ``tasks`` and ``pairs`` of them."""
    if not records:
        raise InputError("There are no records to show. Run some with `quacc bench run`.")
    models, of_models = _distinct([record["model"] for record in records], _same_model)
    infos, of_tasks = _distinct([record["task"] for record in records], _same_task)
    tasks = [_task(info) for info in infos]
    texts: dict[str, int] = {}
    pairs: dict[tuple[int, int], Record] = {}
    for record, model, task in zip(records, of_models, of_tasks, strict=True):
        before = pairs.get((task, model))
        # What could not run elsewhere says nothing of what did run here.
        if before is None or not _is_empty(record) or _is_empty(before):
            pairs[task, model] = record
    shown = [
        _pair(record, task, model, tasks[task], texts)
        for (task, model), record in sorted(pairs.items(), key=lambda item: item[0])
    ]
    numbers = {
        number
        for info in tasks
        for case in info["cases"].values()
        for number in case["structure"]["numbers"]
    }
    for info in tasks:
        info["cases"] = list(info["cases"].values())
        info["xs"] = list(info["xs"])
    return {
        "quacc": quacc.__version__,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "atoms": _atoms(numbers),
        "models": models,
        "tasks": tasks,
        "pairs": shown,
        "texts": list(texts),
    }


def _task(info: dict[str, Any]) -> dict[str, Any]:
    return {**info, "cases": {}, "values": [], "curves": {}, "xs": {}}


def _is_empty(record: Record) -> bool:
    return record["state"] in ("unavailable", "skipped")


def _distinct(infos: Sequence[Any], identity: Any) -> tuple[list[dict[str, Any]], list[int]]:
    """Return what differs, with a title of its own, and the place of each in it."""
    groups: dict[str, dict[str, Any]] = {}
    keys = [json.dumps(identity(info, infos), sort_keys=True, default=str) for info in infos]
    for key, info in zip(keys, infos, strict=True):
        # The fullest says most: what is not to be had here lacks its fingerprint.
        if key not in groups or (info.get("fingerprint") and not groups[key].get("fingerprint")):
            groups[key] = dict(info)
    for info in groups.values():
        alike = [other for other in groups.values() if other["name"] == info["name"]]
        info["label"] = info["title"] or info["name"]
        if len(alike) > 1:
            info["label"] += f" #{alike.index(info) + 1}"
    places = {key: place for place, key in enumerate(groups)}
    return list(groups.values()), [places[key] for key in keys]


def _same_model(info: Mapping[str, Any], infos: Sequence[Mapping[str, Any]]) -> Any:
    fingerprint = info["fingerprint"] or next(
        (
            other["fingerprint"]
            for other in infos
            if other["fingerprint"]
            and (other["name"], other["parameters"]) == (info["name"], info["parameters"])
        ),
        "",
    )
    return [info["name"], info["calculator"], info["parameters"], fingerprint]


def _same_task(info: Mapping[str, Any], infos: Sequence[Mapping[str, Any]]) -> Any:
    data = info["data"]
    return [info["name"], info["version"], info["parameters"], info["workflow"], data["sha256"]]


def _pair(
    record: Record, task: int, model: int, info: dict[str, Any], texts: dict[str, int]
) -> dict[str, Any]:
    names = [case["name"] for case in record["cases"]]
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError(
            f"The record of {record['model']['name']} on {record['task']['name']} has more than "
            f"one case named {min(twice)!r}; nobody could tell them apart."
        )
    cases = [_case(case, info, texts) for case in record["cases"]]
    metrics = {name: _finite_metric(metric) for name, metric in record["metrics"].items()}
    kept = ("key", "state", "reason", "marks", "seconds", "context")
    return {
        "task": task,
        "model": model,
        **{name: record.get(name) for name in kept},
        "traceback": _text(record.get("traceback"), texts),
        "metrics": metrics,
        "cases": cases,
    }


def _finite_metric(metric: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in metric.items()
    }


def _case(case: Case, task: dict[str, Any], texts: dict[str, int]) -> dict[str, Any]:
    if case["name"] not in task["cases"]:
        task["cases"][case["name"]] = {
            "i": len(task["cases"]),
            "name": case["name"],
            "formula": case["formula"],
            "elements": case["elements"],
            "structure": _structure(case["structure"]),
            "reference": {},
        }
    shared = task["cases"][case["name"]]
    shared["reference"] |= _finite(case["reference"])
    known = task["values"]
    known += [name for name in (*task["quantities"], *case["values"]) if name not in known]
    wrong = [
        f"{name} is {value}"
        for numbers in (case["values"], case["reference"], case["errors"])
        for name, value in numbers.items()
        if not math.isfinite(value)
    ]
    values, errors = _finite(case["values"]), _finite(case["errors"])
    return {
        "i": shared["i"],
        "state": case["state"],
        "reason": case["reason"],
        "traceback": _text(case["traceback"], texts),
        "values": [values.get(name) for name in known],
        "errors": [errors.get(name) for name in task["metrics"]],
        "curves": {name: _curve(name, curve, task) for name, curve in case["curves"].items()},
        "seconds": _short(case["seconds"], 3),
        "warnings": [*case["warnings"], *wrong],
    }


def _finite(numbers: Mapping[str, float]) -> dict[str, float]:
    return {
        name: _short(value, 8) for name, value in numbers.items() if math.isfinite(float(value))
    }


def _short(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")


def _structure(structure: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "numbers": [int(number) for number in structure["numbers"]],
        "positions": np.round(np.array(structure["positions"], dtype=float), 3).tolist(),
        "cell": np.round(np.array(structure["cell"], dtype=float), 3).tolist(),
        "pbc": [bool(one) for one in structure["pbc"]],
    }


def _curve(name: str, curve: Curve, task: dict[str, Any]) -> list[Any]:
    """Return the place of the curve's x in the task's, and y as fine as an eye can see."""
    task["curves"].setdefault(name, {"xlabel": curve["xlabel"], "ylabel": curve["ylabel"]})
    xs = [_short(x, 7) for x in curve["x"]]
    place = task["xs"].setdefault(tuple(xs), len(task["xs"]))
    y = np.array(curve["y"], dtype=float)
    finite = y[np.isfinite(y)]
    # Most of it, not the repulsive wall, says what is fine.
    width = float(np.subtract(*np.percentile(finite, [60, 10]))) if finite.size else 0.0
    digits = 4 - math.floor(math.log10(width)) if width > 0 else 6
    ys = [round(float(one), digits) if math.isfinite(one) else None for one in y]
    return [place, ys]


def _text(text: str | None, texts: dict[str, int]) -> int | None:
    """Return the place of a text among those that are kept once."""
    return None if text is None else texts.setdefault(text, len(texts))


def _atoms(numbers: set[int]) -> dict[str, Any]:
    """Return symbol, radius (Å) and colour of the elements in question, by atomic number."""
    from ase.data import chemical_symbols, covalent_radii
    from ase.data.colors import jmol_colors

    known = [number for number in sorted(numbers) if 0 <= number < len(jmol_colors)]
    return {
        str(number): [
            chemical_symbols[number],
            round(float(covalent_radii[number]), 2),
            "#" + "".join(f"{round(255 * float(part)):02x}" for part in jmol_colors[number]),
        ]
        for number in known
    }
