"""What travels to a worker and back: bytes, packed and unpacked here.

Left to Dask, a call that the worker cannot unpickle breaks its connection, and the flow waits
for ever.
"""

from __future__ import annotations

import asyncio
import inspect
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from quacc.errors import MissingProgramError, PreemptedError
from quacc.runners.deadline import stop_soon


class WorkerTracebackError(Exception):
    """The traceback on the worker, as the cause of the exception that came back."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def pack(
    overrides: Mapping[str, Any], function: Callable[..., Any], args: Any, kwargs: Any
) -> bytes:
    """Return a call as bytes for :func:`run_packed`, with the settings it is to run under."""
    import cloudpickle

    packed: bytes = cloudpickle.dumps((overrides, function, args, kwargs))
    return packed


def run_packed(call: bytes) -> bytes:
    """Call a function, or run a coroutine function to its end; return its packed outcome."""
    return outcome_of(lambda: _run(call))[0]


def pack_calls(
    overrides: Mapping[str, Any],
    function: Callable[..., Any],
    calls: Sequence[tuple[int, bytes]],
) -> bytes:
    """Return many calls of a function as bytes for :func:`run_calls`.

    Parameters
    ----------
    overrides
        The settings that they are to run under.
    calls
        Numbers, and arguments from :func:`pack_arguments`.
    """
    import cloudpickle

    packed: bytes = cloudpickle.dumps((overrides, function, calls))
    return packed


def pack_arguments(args: Any, kwargs: Any) -> bytes:
    """Return the arguments of one call as bytes, so that a bad one spoils no other."""
    import cloudpickle

    packed: bytes = cloudpickle.dumps((args, kwargs))
    return packed


@dataclass
class Outcome:
    """What became of one call."""

    number: int
    packed: bytes
    """For :func:`unpack`."""
    seconds: float
    failure: str = ""
    """What it raised, in words."""


def run_calls(calls: bytes, budget: float, report: Callable[[Outcome], object]) -> None:
    """Call a function many times, one call after the other.

    Parameters
    ----------
    calls
        From :func:`pack_calls`.
    budget
        After this time (s) no other call is begun.
    report
        Told of every call that has ended.

    Raises
    ------
    PreemptedError
        A call was stopped; it, and those that follow, have not been reported.
    """
    from quacc.settings import call_with

    begun = time.monotonic()
    overrides, function, numbered = _load(calls)

    def run() -> None:
        for number, call in numbered:
            if time.monotonic() - begun > budget:
                return
            start = time.perf_counter()

            def once(call: bytes = call) -> Any:
                args, kwargs = _load(call)
                return _awaited(function(*args, **kwargs))

            packed, error = outcome_of(once)
            if isinstance(error, PreemptedError):
                raise error
            seconds = time.perf_counter() - start
            report(Outcome(number, packed, seconds, "" if error is None else in_words(error)))

    call_with(overrides, run)


def run_calls_at_once(calls: bytes, budget: float) -> list[Outcome]:
    """Return what :func:`run_calls` reports."""
    outcomes: list[Outcome] = []
    run_calls(calls, budget, outcomes.append)
    return outcomes


def outcome_of(call: Callable[[], Any]) -> tuple[bytes, BaseException | None]:
    """Return the packed outcome of a call, and what it raised."""
    import cloudpickle

    outcome: tuple[Any, BaseException | None, str]
    try:
        outcome = (call(), None, "")
    # Every exception travels back, and unpack() raises it; sys.exit would end the worker.
    except (Exception, SystemExit) as error:
        if isinstance(error, PreemptedError):  # nor is there time for what comes next
            stop_soon(error.reason)
        outcome = (None, error, traceback.format_exc())
    try:
        packed: bytes = cloudpickle.dumps(outcome)
        if outcome[1] is not None:
            cloudpickle.loads(packed)  # some exceptions can be sent but not received
    except Exception as error:
        what = "result" if outcome[1] is None else f"exception {outcome[1]!r}"
        told = RuntimeError(f"The job's {what} cannot be sent back from the worker: {error}")
        packed = cloudpickle.dumps((None, told, outcome[2]))
    return packed, outcome[1]


def pack_error(error: BaseException) -> bytes:
    """Return the packed outcome of a call that raised this."""

    def call() -> None:
        raise error

    return outcome_of(call)[0]


def in_words(error: BaseException) -> str:
    """Return a line that tells what was raised."""
    return f"{type(error).__name__}: {error}".rstrip(": ").partition("\n")[0]


def unpack(outcome: bytes) -> Any:
    """Return what the function returned, or raise what it raised."""
    import cloudpickle

    value, error, told = cloudpickle.loads(outcome)
    if isinstance(error, SystemExit):
        error = RuntimeError(f"The job called sys.exit({', '.join(map(repr, error.args))}).")
    if error is not None:
        raise error from WorkerTracebackError(told)
    return value


def _run(call: bytes) -> Any:
    from quacc.settings import call_with

    overrides, function, args, kwargs = _load(call)
    return call_with(overrides, lambda: _awaited(function(*args, **kwargs)))


def _awaited(outcome: Any) -> Any:
    return asyncio.run(outcome) if inspect.iscoroutine(outcome) else outcome


def _load(packed: bytes) -> Any:
    import cloudpickle

    try:
        return cloudpickle.loads(packed)
    except ImportError as error:
        raise MissingProgramError(
            f"The worker cannot import what the job needs: {error}. Install it where the workers "
            "run, start them in the folder that holds it, or define the function in the script "
            "that runs the flow."
        ) from error
