"""Run pairs of tasks and models on this machine's cores."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from quacc.bench import records
from quacc.bench.models import Model
from quacc.bench.pair import Computer, Pair
from quacc.bench.record import Record
from quacc.errors import QuaccError, StoreError
from quacc.local import Here

if TYPE_CHECKING:
    from quacc.bench.tasks import Task


class Tell(Protocol):
    """Told how far a pair is: cases that have ended, that failed, of how many."""

    def __call__(self, pair: Pair, ended: int, failed: int, total: int) -> object: ...


def _silent(pair: Pair, ended: int, failed: int, total: int) -> None:
    pass


def run(
    pairs: Sequence[tuple[Task, Model]],
    *,
    elements: Collection[str] | None = None,
    time_limit: float | None = None,
    cores: int | None = None,
    tell: Tell = _silent,
    done: Callable[[Record], object] = lambda record: None,
) -> list[Record]:
    """Run pairs on this machine's cores, one after the other; return their records.

    What is known is not run again: neither a pair whose record is complete, nor a calculation
    whose result is in the database. No pair that fails stops the others.

    Parameters
    ----------
    pairs
        See :func:`quacc.bench.tasks.gather_jobs`.
    elements
        Only structures of these elements.
    time_limit
        Of a pair (s); None: as the task says.
    cores
        Calculations at the same time; None: as many as this process has cores.
    tell, done
        Called when a case has ended, and with each record.
    """
    chosen = make_pairs(pairs, elements, time_limit)
    found: dict[int, Record] = {}
    # By model: workers keep what took long to load.
    order = sorted(range(len(chosen)), key=lambda number: pairs[number][1].name)
    with Here(cores) as here:
        for number in order:
            pair = chosen[number]
            found[number] = run_pair(pair, here, lambda *counts, pair=pair: tell(pair, *counts))
            done(found[number])
    return [found[number] for number in range(len(chosen))]


def make_pairs(
    pairs: Sequence[tuple[Task, Model]],
    elements: Collection[str] | None = None,
    time_limit: float | None = None,
) -> list[Pair]:
    """Return pairs that can be run; see :func:`run`."""
    only = None if elements is None else frozenset(elements)
    return [Pair(task, model, only, time_limit) for task, model in pairs]


def run_pair(pair: Pair, computer: Computer, tell: Callable[[int, int, int], object]) -> Record:
    """Run one pair, unless it is known; return its record, whatever happened."""
    if pair.is_left_out:
        return pair.left_out()
    try:
        key = pair.key()
    except Exception as error:  # of a package that is broken, too: no pair stops the others
        return pair.without(error)
    before = None
    with suppress(StoreError):  # a record that cannot be read is made again
        before = records.find(key, pair.task.name, pair.model.name)
    if before is not None and before["state"] in ("complete", "skipped"):
        return pair.described(before)
    try:
        return pair.compute(computer, key, before, tell, records.keep)
    except StoreError:
        raise
    except Exception as error:
        return pair.without(error, key=key)


@dataclass(frozen=True)
class Expectation:
    """What running a pair would be."""

    structures: int
    """Which the model takes."""
    known: int
    """Of those, which need not be computed."""
    seconds: float | None
    """Core time of the rest, by what the records know of this task, or of this model on others;
    None where they know nothing."""
    reason: str
    """Why it would not be run."""


def expect(pair: Pair) -> Expectation:
    """Return what running a pair would be; computes nothing."""
    if pair.is_left_out:
        return Expectation(0, 0, 0.0, "the model skips it")
    taken = [number for number, _ in enumerate(pair.examples) if pair.refusal(number) is None]
    try:
        key = pair.key()
    except QuaccError as error:
        return Expectation(len(taken), 0, None, str(error))
    before = None
    with suppress(StoreError):
        before = records.find(key, pair.task.name, pair.model.name)
    done = {one["name"] for one in before["cases"] if one["state"] == "done"} if before else set()
    left = [number for number in taken if pair.examples[number].name not in done]
    each = _seconds_each(pair) if left else 0.0
    return Expectation(
        len(taken), len(taken) - len(left), None if each is None else each * len(left), ""
    )


def _seconds_each(pair: Pair) -> float | None:
    """Return what a structure takes, by the records of this pair with other parameters or data.

    Else by those of other models on this task, as much slower as this model is on what both were
    run on.
    """
    spent: dict[tuple[str, str], float] = {}
    for one in records.every():
        each = [case["seconds"] for case in one["cases"] if case["state"] == "done"]
        if each:
            spent[one["task"]["name"], one["model"]["name"]] = sum(each) / len(each)
    task, model = pair.task.name, pair.model.name
    if (task, model) in spent:
        return spent[task, model]
    found = []
    for (its, other), seconds in spent.items():
        common = [
            (spent[name, model], spent[name, other])
            for name, whose in spent
            if whose == model and (name, other) in spent
        ]
        if its == task and common:
            mine, others = map(sum, zip(*common, strict=True))
            found.append(seconds * mine / others)
    return sum(found) / len(found) if found else None
