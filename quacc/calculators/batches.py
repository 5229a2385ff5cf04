"""Several calculations side by side, whose structures one model computes at once.

Each calculation runs in a thread, with a calculator that asks and waits. The thread that has
started them all computes what they ask for, when all of them have asked or ended. So a calculation
knows nothing of the others: a relaxation takes its own steps, and leaves when it has converged.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from quacc.calculators.code import Code
from quacc.calculators.keyword import Keyword, count
from quacc.calculators.reuse import Reuse

AT_ONCE = Keyword(
    1,
    "how many structures of a chunk, in a fan-out, the model computes in one call",
    count,
)

_T = TypeVar("_T")

_mine = threading.local()


def shared_seconds() -> float:
    """Return this thread's share (s) of the CPU time of what was computed for several."""
    return getattr(_mine, "seconds", 0.0)


class AtOnce(Calculator):
    """A calculator that lets a model compute its structures together with those of others.

    Parameters
    ----------
    code, reuse
        The model.
    batches
        Who computes.
    warn
        Takes a warning for the result.
    """

    def __init__(
        self, code: Code, reuse: Reuse, batches: Batches[Any], warn: Callable[[str], object]
    ) -> None:
        super().__init__()
        self.implemented_properties = list(code.properties)
        self.code, self.reuse = code, reuse
        self.reach: float | None = None
        """Distance beyond which no atoms interact (Å), after a calculation."""
        self._batches, self._warn = batches, warn
        self._warned = False

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        question = _Question(self, self.atoms, properties)
        self._batches.ask(question)
        question.answered.wait()
        _mine.seconds = shared_seconds() + question.seconds
        if question.error is not None:
            raise question.error
        if question.warning and not self._warned:
            self._warned = True
            self._warn(question.warning)
        self.results, self.reach = question.results, question.reach


@dataclass
class _Question:
    asker: AtOnce
    atoms: Atoms
    properties: Sequence[str]
    answered: threading.Event = field(default_factory=threading.Event)
    results: dict[str, Any] = field(default_factory=dict)
    reach: float | None = None
    seconds: float = 0.0
    """Its share of the CPU time."""
    error: BaseException | None = None
    warning: str = ""


@dataclass
class _End(Generic[_T]):
    """What became of a call."""

    thread: threading.Thread
    began: float
    outcome: _T | None = None
    error: BaseException | None = None
    """Ends all calls, such as a signal of Prefect's."""


class Batches(Generic[_T]):
    """Runs calls in threads, and computes there what they ask for."""

    def __init__(self) -> None:
        self._events: SimpleQueue[_Question | _End[_T]] = SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False

    def run(
        self, calls: Iterable[Callable[[], _T]], width: int, ended: Callable[[_T, float], object]
    ) -> None:
        """Make calls, some at a time, until there are no more.

        Parameters
        ----------
        calls
            The next one is taken when there is room for it.
        width
            How many run at a time.
        ended
            Takes what each returns, and its share (s) of the time: two that run side by side have
            half of it each.
        """
        source = iter(calls)
        asked: list[_Question] = []
        running, shared, now = 0, 0.0, time.perf_counter()

        def pass_time() -> None:
            nonlocal shared, now
            before, now = now, time.perf_counter()
            shared += (now - before) / max(running, 1)

        try:
            while True:
                while running < width and (call := next(source, None)) is not None:
                    pass_time()
                    running += 1
                    self._start(call, shared)
                if not running:
                    return
                if len(asked) >= running:
                    self._answer(asked)
                    asked = []
                    continue
                event = self._events.get()
                if isinstance(event, _Question):
                    asked.append(event)
                    continue
                pass_time()
                running -= 1
                event.thread.join()
                if event.error is not None:
                    raise event.error
                ended(event.outcome, shared - event.began)  # type: ignore[arg-type]
        finally:
            self._close(asked)

    def ask(self, question: _Question) -> None:
        """Take a question; from any thread."""
        with self._lock:
            if not self._closed:
                self._events.put(question)
                return
        question.error = KeyboardInterrupt()
        question.answered.set()

    def _start(self, call: Callable[[], _T], began: float) -> None:
        context = copy_context()
        context.run(_batches.set, self)

        def run() -> None:
            end: _End[_T] = _End(thread, began)
            try:
                end.outcome = context.run(call)
            except BaseException as error:
                end.error = error  # raised where all were started
            self._events.put(end)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()

    def _close(self, asked: Sequence[_Question]) -> None:
        """End the calls that run still, where an error has come between, at their next question."""
        with self._lock:
            self._closed = True
        left: list[_Question | _End[_T]] = list(asked)
        try:
            while True:
                left.append(self._events.get_nowait())
        except Empty:
            pass
        for one in left:
            if isinstance(one, _Question):
                one.error = KeyboardInterrupt()
                one.answered.set()

    def _answer(self, questions: Sequence[_Question]) -> None:
        """Answer questions, those about one model at once."""
        by_model: dict[tuple[Code, str], list[_Question]] = {}
        for one in questions:
            by_model.setdefault((one.asker.code, one.asker.reuse.what), []).append(one)
        for group in by_model.values():
            try:
                _compute(group)
            # Whatever the model, or its process, fails with: alone, each has its own.
            except Exception as error:
                if len(group) == 1:
                    group[0].error = error
                else:
                    _compute_alone(group, error)
            for one in group:
                one.answered.set()


_batches: ContextVar[Batches[Any] | None] = ContextVar("quacc_batches", default=None)


def current() -> Batches[Any] | None:
    """Return what computes for several calculations, where this is one of them."""
    return _batches.get()


def _compute(questions: Sequence[_Question]) -> None:
    """Let a model compute the structures of all questions in one call."""
    start = time.thread_time()
    code, reuse = questions[0].asker.code, questions[0].asker.reuse
    wanted = sorted({name for one in questions for name in one.properties})
    try:
        calculator = reuse.take() if code.reuse else reuse.build()
        found = code.evaluate(calculator, [one.atoms for one in questions], wanted)
    except BaseException:
        reuse.forget()
        raise
    reach = code.reach(calculator)
    reuse.give_back()
    seconds = (time.thread_time() - start) / len(questions)
    for one, results in zip(questions, found, strict=True):
        one.results, one.reach, one.seconds = results, reach, seconds


def _compute_alone(questions: Sequence[_Question], reason: Exception) -> None:
    """Compute structures one by one that could not be computed at once, and find whose fault it is.

    If it is nobody's, such as where all together take too much memory, a warning says so.
    """
    for one in questions:
        try:
            _compute([one])
        # Whatever the model fails with; raised where it was asked.
        except Exception as error:
            one.error = error
    if not any(one.error for one in questions):
        text = (
            f"{questions[0].asker.code.title} could not compute {len(questions)} structures at "
            f"once ({type(reason).__name__}: {reason}), but each of them alone, which takes "
            "longer: lower at_once."
        )
        for one in questions:
            one.warning = text
