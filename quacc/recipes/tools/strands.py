"""Several workflows of one thread of work: while one waits for its jobs, another goes on.

Each has a thread of its own, and never do two of them run at the same time, nor one beside the
thread that :func:`each` is called in: so what they share needs no locks.
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from quacc.errors import TimeLimitError

_MOST = 64
"""Workflows that have begun at the same time."""

_of_thread = threading.local()


class Future(Protocol):
    """What a job will return."""

    done: bool


def wait(future: Future, turn: Callable[[], object]) -> None:
    """Wait for a job: let other strands go on, or give whoever runs the jobs its turns."""
    strand: _Strand | None = getattr(_of_thread, "strand", None)
    while not future.done:
        if strand is None:
            turn()
        else:
            strand.pause(future)


def each(
    calls: Sequence[Callable[[], Any]],
    turn: Callable[[], object],
    *,
    at_once: int = _MOST,
    deadline: float | None = None,
) -> Iterator[tuple[int, Any, Exception | None]]:
    """Call functions that wait for jobs, several at once; yield the outcome of each as it ends.

    Parameters
    ----------
    calls
        The functions.
    turn
        Lets jobs start and end; called while all wait.
    at_once
        How many may have begun and not ended.
    deadline
        A ``time.monotonic()``: those that have not ended then end with a TimeLimitError.
    """
    todo = deque(enumerate(calls))
    strands: list[_Strand] = []
    try:
        while todo or strands:
            late = deadline is not None and time.monotonic() > deadline
            while late and todo:
                yield todo.popleft()[0], None, TimeLimitError("It had not begun.", -1)
            while todo and len(strands) < at_once:
                strands.append(_Strand(*todo.popleft()))
                strands[-1].go_on()
            for strand in list(strands):
                if late and not strand.over:
                    strand.give_up(_LateError())
                elif strand.future is not None and strand.future.done:
                    strand.go_on()
                if strand.over:
                    strands.remove(strand)
                    yield strand.number, strand.value, strand.error
            if strands and not (todo and len(strands) < at_once):
                turn()
    finally:
        for strand in strands:
            strand.give_up(_AbandonedError())


class _AbandonedError(BaseException):
    """Ends a workflow that nobody waits for any more; none of those that it would catch."""


class _LateError(BaseException):
    """Ends a workflow whose time is over; none of those that it would catch, either."""


class _Strand:
    def __init__(self, number: int, function: Callable[[], Any]) -> None:
        self.number = number
        self.future: Future | None = None
        """What it waits for."""
        self.value: Any = None
        self.error: Exception | None = None
        self.over = False
        self._end: BaseException | None = None
        self._mine, self._others = threading.Semaphore(0), threading.Semaphore(0)
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(self._run, function), daemon=True)
        thread.start()

    def go_on(self) -> None:
        """Let it run until it waits, or ends."""
        self.future = None
        self._mine.release()
        self._others.acquire()

    def give_up(self, error: BaseException) -> None:
        """Raise an error where it waits."""
        while not self.over:
            self._end = error
            self.go_on()

    def pause(self, future: Future) -> None:
        """Wait for a job, in the strand's own thread."""
        self.future = future
        self._others.release()
        self._mine.acquire()
        if self._end is not None:
            raise self._end

    def _run(self, function: Callable[[], Any]) -> None:
        self._mine.acquire()
        _of_thread.strand = self
        try:
            self.value = function()
        except Exception as error:  # for whoever asked for it
            self.error = error
        except _LateError:
            self.error = TimeLimitError("It had not ended.", -1)
        except _AbandonedError:
            pass
        finally:
            self.over = True
            self._others.release()
