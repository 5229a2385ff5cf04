"""Which model for *these* structures? They are the test set, and their elements limit the tasks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ase import Atoms

from quacc.bench import records
from quacc.bench.config import DataEntry, TaskEntry
from quacc.bench.data import elements_of, written
from quacc.bench.models import Model
from quacc.bench.record import Record
from quacc.bench.tasks import Task, gather_tasks
from quacc.errors import InputError, suggest
from quacc.recipes.tools.workflow import reference_of
from quacc.store import Store

OWN = "your_structures"
"""The task that compares models with results of the user's own."""

_QUERY = ("calculator", "formula", "recipe", "limit")


@dataclass(frozen=True)
class OwnSet:
    """The user's own structures, as data of tasks."""

    entry: DataEntry
    elements: frozenset[str]
    has_reference: bool


def own_set(
    structures: Sequence[tuple[str, Atoms, Mapping[str, Any]]], level: str | None = None
) -> OwnSet:
    """Write structures into a file beside the records; return them as data.

    Parameters
    ----------
    structures
        Name, structure, and what is known of it: ``energy``, ``forces``, ``stress``.
    level
        Of what is known.
    """
    rows = [written(*one) for one in structures]
    content = json.dumps(rows, indent=1)
    digest = hashlib.sha256(content.encode()).hexdigest()
    file = records.folder() / "sets" / f"{digest[:12]}.json"
    records.write(file, content)
    entry = DataEntry(
        name="structures", file=str(file), sha256=digest, licence="your own", level=level
    )
    elements = {str(symbol) for _, atoms, _ in structures for symbol in atoms.symbols}
    return OwnSet(entry, frozenset(elements), any("forces" in row for row in rows))


def from_store(query: Sequence[str]) -> OwnSet:
    """Return stored results of one calculator as data, to compare others with.

    Parameters
    ----------
    query
        Such as ``calculator=espresso``, ``formula=Si``, ``recipe=espresso.static_job`` and
        ``limit=100``, by which the newest are taken.

    Raises
    ------
    InputError
        The query makes no sense, nothing matches, or what matches has several zeros of energy.
    """
    asked: dict[str, Any] = {}
    for one in query:
        name, equals, value = one.partition("=")
        if not equals or name not in _QUERY:
            raise InputError(
                f"{one!r} asks nothing of the database.{suggest(name, _QUERY)} Ask for "
                f"{', '.join(f'{known}=…' for known in _QUERY)}."
            )
        asked[name] = value
    if "limit" in asked:
        if not asked["limit"].isdigit() or not int(asked["limit"]):
            raise InputError(f"limit={asked['limit']} is no number of results.")
        asked["limit"] = int(asked["limit"])
    store = Store()
    found, levels = [], {}
    for summary in store.select(**asked):
        result = store.get(summary.key)
        if "results" not in result or "forces" not in result["results"]:
            continue  # a workflow's, or one without forces
        name = f"{result['formula']} {result['key'][:6]}"
        found.append((name, result["atoms"], result["results"]))
        about = reference_of(result)
        levels[json.dumps(about, sort_keys=True, default=str)] = about
    if not found:
        raise InputError(
            f"No stored result with forces matches {' '.join(query)}; see `quacc results ls`."
        )
    if len(levels) > 1:
        first, second, *_ = levels.values()
        differ = [name for name in second if first.get(name) != second[name]]
        raise InputError(
            f"Results of {len(levels)} levels of theory match, which differ in "
            f"{', '.join(differ)}. Ask for one, such as calculator={first['calculator']}."
        )
    (about,) = levels.values()
    named = [str(about[one]) for one in ("xc", "input_dft", "method", "model") if about.get(one)]
    return own_set(found, " ".join([about["calculator"], *named]))


def tasks_for(own: OwnSet, names: Sequence[str] | None = None) -> list[Task]:
    """Return the tasks that say something about the user's structures.

    Forces and stresses, where they are known; tasks that need no reference, on the structures
    themselves; and those against data, which will be limited to the same elements.

    Parameters
    ----------
    names
        Of shipped tasks; None for all that take a structure at a time.
    """
    found = []
    if own.has_reference:
        entry = TaskEntry(
            title="Your structures", type="reference", workflow="single_point", data=own.entry
        )
        found.append(Task(OWN, entry, records.folder()))
    for task in gather_tasks(names):
        if task.entry.data.name == "crystals":
            entry = task.entry.model_copy(update={"data": own.entry})
            found.append(Task(f"{task.name}_of_yours", entry, records.folder()))
        elif task.count is not None and any(
            own.elements.issuperset(elements_of(one)) for one in task.data.examples
        ):
            found.append(task)
    return found


@dataclass(frozen=True)
class Answer:
    """What speaks for and against each model."""

    order: list[str]
    """Models, the best one first."""
    tied: list[str]
    """Those that cannot be told from the best one."""
    lines: list[str]
    """The answer in words."""


def answer(found: Sequence[Record], models: Sequence[Model]) -> Answer:
    """Return which model to take, how sure that is, and what speaks against it.

    By the mean error of the forces of the user's own structures, if there are results to compare
    with; else by how often a model is the best, or no worse than it within the intervals, on the
    metrics of all tasks.
    """
    names = [model.name for model in models]
    own = {one["model"]["name"]: one for one in found if one["task"]["name"] == OWN}
    scores, lines = _by_forces(own) if own else _by_places(found, names)
    able = [name for name in names if name in scores]
    if not able:
        why = "; ".join(dict.fromkeys(f"{one['model']['name']}: {one['reason']}" for one in found))
        return Answer([], [], [f"No model here can compute these structures. {why}"])
    order = sorted(able, key=lambda name: scores[name])
    tied = [order[0]]
    if own:
        best = own[order[0]]["metrics"]["force_error"]
        tied += [
            name
            for name in order[1:]
            if best["high"] is None
            or (own[name]["metrics"]["force_error"]["low"] or 0.0) <= best["high"]
        ]
    else:
        tied += [name for name in order[1:] if scores[name] == scores[order[0]]]
    if len(tied) > 1:
        head = f"{' and '.join(tied)} cannot be told apart by this; {order[0]} is first by a hair."
    else:
        head = f"Take {order[0]}."
    against = [text for name in tied for text in _against(name, found)]
    lines = [head, *lines, *(against or ["Nothing that was run speaks against it."])]
    return Answer(order, tied, lines)


def _by_forces(own: Mapping[str, Record]) -> tuple[dict[str, float], list[str]]:
    scores, lines = {}, []
    for name, record in own.items():
        metric = record["metrics"]["force_error"]
        if metric["value"] is None:
            continue
        # A model that fails on some of the structures is behind all that do not.
        scores[name] = metric["value"] + 1e9 * (metric["of"] - metric["n"]) / metric["of"]
        between = "" if metric["low"] is None else f" ({metric['low']:.3g} to {metric['high']:.3g})"
        lines.append(
            f"{name}: forces off by {metric['value']:.3g} meV/Å{between} on {metric['n']} of "
            f"{metric['of']} structures, {_seconds(record):.3g} s each."
        )
    return scores, lines


def _by_places(found: Sequence[Record], names: Sequence[str]) -> tuple[dict[str, float], list[str]]:
    wins = dict.fromkeys(names, 0)
    able: set[str] = set()
    count = 0
    for task in dict.fromkeys(one["task"]["name"] for one in found):
        every = [one for one in found if one["task"]["name"] == task]
        for name, about in every[0]["task"]["metrics"].items():
            whole = {
                one["model"]["name"]: one["metrics"][name]
                for one in every
                if one["metrics"][name]["value"] is not None
            }
            able |= whole.keys()
            most = max((one["n"] for one in whole.values()), default=0)
            whole = {name: one for name, one in whole.items() if one["n"] == most}
            if len(whole) < 2:
                continue
            count += 1
            sign = 1.0 if about["better"] == "lower" else -1.0
            best: Any = min(whole.values(), key=lambda one: sign * (one["value"] or 0.0))
            edge: Any = best["high"] if sign > 0 else best["low"]
            for model, one in whole.items():
                near: Any = one["low"] if sign > 0 else one["high"]
                tie = edge is not None and near is not None and sign * near <= sign * edge
                wins[model] += one is best or tie
    lines = [
        "There is nothing of yours to compare with (--from-store), so that this is about similar "
        "structures, and not about these."
    ]
    lines += [
        f"{name}: best, or no worse than the best, in {wins[name]} of {count} metrics that several "
        "models have."
        for name in names
        if name in able
    ]
    return {name: -float(wins[name]) for name in names if name in able}, lines


def _against(name: str, found: Sequence[Record]) -> list[str]:
    lines = []
    for one in found:
        if one["model"]["name"] != name:
            continue
        task = one["task"]["name"]
        if one["state"] in ("partial", "failed", "unavailable"):
            lines.append(f"Against {name}: {task} {one['state']}. {one['reason']}")
        lines += [f"Against {name}: {task}: {mark}." for mark in one["marks"]]
        for metric, about in one["task"]["metrics"].items():
            value, chance = one["metrics"][metric]["value"], about["chance"]
            if value is not None and chance is not None and value >= chance > 0:
                lines.append(
                    f"Against {name}: {task}: {about['title']} is {value:.3g} {about['unit']}, no "
                    f"better than chance, {chance:.3g}."
                )
    return list(dict.fromkeys(lines))


def _seconds(record: Record) -> float:
    each = [one["seconds"] for one in record["cases"] if one["state"] == "done"]
    return sum(each) / len(each) if each else 0.0
