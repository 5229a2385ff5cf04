"""One model on one task: which cases there are, what came of each, and the record."""

from __future__ import annotations

import re
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from quacc.bench.context import context
from quacc.bench.data import elements_of
from quacc.bench.example import Example
from quacc.bench.kinds import Observation
from quacc.bench.metrics import chance_of, metrics_of
from quacc.bench.models import Model
from quacc.bench.record import Case, Record
from quacc.bench.records import SCHEMA
from quacc.errors import (
    InputError,
    MissingProgramError,
    QuaccError,
    StoreError,
    StructureError,
    TimeLimitError,
    plain,
)
from quacc.key import digest
from quacc.recipes.tools.workflow import check_workflow
from quacc.runners.calculation import formula_of
from quacc.runners.raised import in_words

if TYPE_CHECKING:
    from quacc.bench.tasks import Task

_EVERY = 30.0
"""Seconds between two writings of a record that is not complete."""


class Computer(Protocol):
    """What runs the workflows of a pair."""

    def run(self, workflow: Callable[..., Any], *args: Any, **kwargs: Any) -> Any: ...

    def each(
        self,
        calls: Sequence[Callable[[], Any]],
        *,
        at_once: int | None = None,
        deadline: float | None = None,
    ) -> Iterator[tuple[int, Any, Exception | None]]: ...


@dataclass
class Pair:
    """A model on a task, before it is run.

    Parameters
    ----------
    elements
        Only examples of these elements; None for all.
    """

    task: Task
    model: Model
    elements: frozenset[str] | None = None
    time_limit: float | None = None
    examples: list[Example] = field(init=False)

    def __post_init__(self) -> None:
        self.examples = [
            one
            for one in self.task.data.examples
            if self.elements is None or self.elements.issuperset(elements_of(one))
        ]

    @property
    def name(self) -> str:
        return f"{self.task.name} with {self.model.name}"

    def key(self) -> str:
        """Return the key of the record.

        Raises
        ------
        MissingProgramError
            The model is not here.
        """
        entry, data = self.task.entry, self.task.data.info
        return digest(
            {
                "schema": SCHEMA,
                "model": [self.model.name, self.model.entry.calculator],
                "parameters": plain(self.model.parameters()),
                "elements": self.model.entry.elements,
                "fingerprint": self.model.fingerprint(),
                "task": [self.task.name, entry.workflow, self.task.kind.version],
                "settings": plain(entry.parameters),
                "metrics": {name: one.model_dump() for name, one in entry.metrics.items()},
                "data": [data["sha256"], [one.name for one in self.examples]],
            }
        )

    def compute(
        self,
        computer: Computer,
        key: str,
        before: Record | None,
        tell: Callable[[int, int, int], object],
        keep: Callable[[Record], object],
    ) -> Record:
        """Run all cases that are not done; return the record.

        Parameters
        ----------
        before
            The record of a run that was interrupted, or of which cases failed.
        tell
            Told how many cases have ended, how many of them failed, and of how many.
        keep
            Takes the record as it is now and then, and at the end, whatever ends the run.
        """
        started, begun = context(), time.monotonic()
        limit = self.time_limit or self.task.entry.time_limit
        cases = [self._case(one) for one in self.examples]
        spent = 0.0 if before is None else before["seconds"]

        def record() -> Record:
            return self._record(key, cases, spent + time.monotonic() - begun, started)

        for number, one in enumerate([] if before is None else before["cases"]):
            if one["state"] == "done":
                cases[number] = one
        with self.model.at_home():
            todo = [
                number
                for number, one in enumerate(cases)
                if one["state"] != "done" and self._is_taken(number, one)
            ]
            for number in todo:
                cases[number]["state"], cases[number]["reason"] = "failed", "It has not been run."
            calls = [self._call(computer, number) for number in todo]
            at_once = 1 if self.task.kind.alone else None
            ended, failed, kept = 0, 0, time.monotonic()
            try:
                for place, found, error in computer.each(
                    calls, at_once=at_once, deadline=begun + limit
                ):
                    if isinstance(error, StoreError):  # nothing can be stored any more
                        raise error
                    if isinstance(error, TimeLimitError):
                        error = TimeLimitError(f"The pair's {limit:g} s were over. {error}", -1)
                    case = cases[todo[place]]
                    self._fill(case, found, error)
                    ended, failed = ended + 1, failed + (case["state"] == "failed")
                    tell(ended, failed, len(todo))
                    if time.monotonic() - kept > _EVERY:
                        keep(record())
                        kept = time.monotonic()
            finally:
                found_all = record()
                keep(found_all)
        return found_all

    def without(self, error: Exception, *, key: str = "") -> Record:
        """Return the record of a pair that could not be run, and why."""
        cases = [self._case(one) for one in self.examples]
        record = self._record(key, cases, 0.0, context())
        here = isinstance(error, MissingProgramError)
        record["state"] = "unavailable" if here else "failed"
        record["reason"] = in_words(error) if not isinstance(error, QuaccError) else str(error)
        if not isinstance(error, QuaccError):
            record["traceback"] = _trace(error)
        return record

    def described(self, record: Record) -> Record:
        """Return a known record with what is said of model and task now; its numbers stay."""
        task = self.task.info()
        for name, about in task["metrics"].items():
            about["chance"] = record["task"]["metrics"][name]["chance"]
        return {**record, "task": task, "model": self.model.info(), "marks": self._marks()}

    def left_out(self) -> Record:
        """Return the record of a pair that the model skips."""
        record = self._record("", [self._case(one) for one in self.examples], 0.0, context())
        record["state"] = "skipped"
        record["reason"] = f"{self.model.name} says that it skips {self.task.name}."
        return record

    @property
    def is_left_out(self) -> bool:
        return self.task.name in self.model.entry.skip

    def arguments(self, number: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return what the workflow is called with for an example."""
        one = self.examples[number]
        others = {"others": dict(one.others)} if one.others else {}
        return (one.atoms,), {
            **self.task.entry.parameters,
            **others,
            "calculator": dict(self.model.calculator),
        }

    def _call(self, computer: Computer, number: int) -> Callable[[], Any]:
        args, kwargs = self.arguments(number)

        def call() -> tuple[Any, float]:
            begun = time.monotonic()
            found = computer.run(self.task.kind.measure, *args, **kwargs)
            return found, time.monotonic() - begun

        return call

    def _case(self, one: Example) -> Case:
        return {
            "name": one.name,
            "formula": formula_of(one.atoms),
            "elements": elements_of(one),
            "structure": {
                "numbers": one.atoms.numbers.tolist(),
                "positions": one.atoms.positions.tolist(),
                "cell": one.atoms.cell.tolist(),
                "pbc": one.atoms.pbc.tolist(),
            },
            "state": "skipped",
            "reason": None,
            "traceback": None,
            "values": {},
            "reference": dict(one.reference),
            "errors": {},
            "curves": {},
            "jobs": [],
            "seconds": 0.0,
            "warnings": [],
        }

    def refusal(self, number: int) -> Exception | None:
        """Return why the model does not take an example; None if it does.

        A StructureError where it is not made for it, any other where it is not asked correctly.
        """
        args, kwargs = self.arguments(number)
        only = self.model.entry.elements
        if only is not None and (others := {*elements_of(self.examples[number])} - {*only}):
            return StructureError(f"{self.model.name} is not for {', '.join(sorted(others))}.")
        with self.model.at_home():
            try:
                check_workflow(self.task.kind.measure, *args, **kwargs)
            except InputError as error:
                return error
        return None

    def _is_taken(self, number: int, case: Case) -> bool:
        """Return whether the model takes a structure; note in the case why it does not."""
        error = self.refusal(number)
        if error is None:
            return True
        case["state"] = "skipped" if isinstance(error, StructureError) else "failed"
        case["reason"] = str(error)
        return False

    def _fill(
        self, case: Case, outcome: tuple[Observation, float] | None, error: Exception | None
    ) -> None:
        if error is None and outcome is not None:
            found, case["seconds"] = outcome
            wrong = [name for name, value in found["values"].items() if not np.isfinite(value)]
            if not wrong:
                case["state"], case["reason"] = "done", None
                case["values"], case["curves"] = found["values"], found["curves"]
                case["jobs"], case["warnings"] = found["jobs"], found["warnings"]
                case["errors"] = self.task.kind.errors(case["values"], case["reference"])
                return
            error = ValueError(f"{', '.join(wrong)} is not finite.")
        case["state"] = "failed"
        assert error is not None
        case["reason"] = in_words(error)
        case["traceback"] = _trace(error)

    def _record(
        self, key: str, cases: list[Case], seconds: float, started: dict[str, Any]
    ) -> Record:
        task = self.task.info()
        for name, chance in chance_of(self.task.kind, [one["reference"] for one in cases]).items():
            task["metrics"][name]["chance"] = chance
        states = [one["state"] for one in cases]
        failed, done = states.count("failed"), states.count("done")
        first = next((one for one in cases if one["state"] == "failed"), None)
        reason = None
        if first is not None:
            reason = f"{failed} of {len(cases)} failed, {first['name']} first: {first['reason']}"
        elif not done:
            reason = f"{self.model.name} takes none of its structures. {_first_reason(cases)}"
        return {
            "schema": SCHEMA,
            "key": key,
            "task": task,
            "model": self.model.info(),
            "state": (
                "partial"
                if failed and done
                else "failed"
                if failed
                else "complete"
                if done
                else "skipped"
            ),
            "reason": reason,
            "marks": self._marks(),
            "cases": cases,
            "metrics": metrics_of(self.task.kind, cases),
            "seconds": seconds,
            "context": started,
        }

    def _marks(self) -> list[str]:
        level, functional = self.task.data.info["level"], self.model.entry.functional
        marks = []
        # As a word: the model's PBE is not the reference's PBEsol.
        if level and functional and functional not in re.findall(r"[\w+-]+", level):
            marks.append(f"the reference is {level}, the model's energies are {functional}")
        elif level and not functional:
            marks.append(f"the reference is {level}, the model has no functional")
        if self.task.data.source and self.task.data.source in self.model.entry.trained_on:
            marks.append(f"trained on the reference's source, {self.task.data.source}")
        return marks


def _first_reason(cases: Sequence[Mapping[str, Any]]) -> str:
    return next((str(one["reason"]) for one in cases if one["reason"]), "")


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))
