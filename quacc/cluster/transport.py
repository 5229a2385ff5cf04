"""What travels to a worker and back: bytes, packed and unpacked here.

Left to Dask, a call that the worker cannot unpickle breaks its connection, and the flow waits
for ever.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import pickle
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from quacc.errors import MissingProgramError, ParameterError, PreemptedError
from quacc.runners.deadline import stop_soon
from quacc.runners.processstate import capture, put_back
from quacc.runners.raised import in_words, is_signal, sendable, shortened


class WorkerTracebackError(Exception):
    """The traceback on the worker, as the cause of the exception that came back."""

    def __init__(self, text: str, place: tuple[str, str] = ("", "")) -> None:
        super().__init__(text)
        self.node, self.worker = place

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


class _Here:
    """The node and the Dask worker that this process is; empty where it is none."""

    place = ("", "")


def set_place(node: str, worker: str) -> None:
    """Note what this process is, so that outcomes tell where they come from."""
    _Here.place = node, worker


def refuse_on_worker(what: str, instead: str) -> None:
    """Raise a ParameterError on a worker, which only computes: no Prefect server is to start there.

    Parameters
    ----------
    what
        What needs Prefect's engine.
    instead
        What to call on a worker.
    """
    if _Here.place[1]:
        raise ParameterError(
            f"{what} was called by a job, on a worker, where there is no Prefect. Inside a job, "
            f"call {instead}; or let the flow run many workflows at once: "
            "fan_out(eos_flow, structures)."
        )


def pack(
    overrides: Mapping[str, Any], function: Callable[..., Any], args: Any, kwargs: Any
) -> bytes:
    """Return a call as bytes for :func:`run_packed`, with the settings it is to run under."""
    import cloudpickle

    packed: bytes = cloudpickle.dumps((overrides, function, args, kwargs))
    return packed


def run_packed(call: bytes) -> bytes:
    """Call a function, or run a coroutine function to its end; return its packed outcome."""
    before = capture()
    packed, _ = outcome_of(lambda: _run(call))
    if reason := put_back(before):
        stop_soon(reason)
    return packed


def pack_calls(
    overrides: Mapping[str, Any],
    function: Callable[..., Any],
    calls: Sequence[tuple[int, bytes]],
    at_once: int = 1,
) -> bytes:
    """Return many calls of a function as bytes for :func:`run_calls`.

    Parameters
    ----------
    overrides
        The settings that they are to run under.
    calls
        Numbers, and arguments from :func:`pack_arguments`.
    at_once
        How many of them run at the same time.
    """
    import cloudpickle

    packed: bytes = cloudpickle.dumps((overrides, function, calls, at_once))
    return packed


def pack_arguments(args: Any, kwargs: Any) -> bytes:
    """Return the arguments of one call as bytes, so that a bad one spoils no other."""
    return _pack((args, kwargs))


def unpack_arguments(packed: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return what :func:`pack_arguments` was given."""
    args, kwargs = _load(packed)
    return args, kwargs


@dataclass
class Outcome:
    """What became of one call."""

    number: int
    packed: bytes
    """For :func:`unpack`."""
    seconds: float
    failure: str = ""
    """What it raised, in words."""
    node: str = ""
    worker: str = ""
    """The address of the Dask worker that computed it, if one did."""


def run_calls(calls: bytes, budget: float, report: Callable[[Outcome], object]) -> None:
    """Call a function many times, one call after the other, or some at the same time.

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
    overrides, function, numbered, width = _load(calls)

    def once(call: bytes) -> tuple[bytes, Exception | None]:
        def run() -> Any:
            args, kwargs = _load(call)
            return _alone(function, args, kwargs)

        return outcome_of(run)

    def tell(number: int, packed: bytes, error: Exception | None, seconds: float) -> None:
        failure = "" if error is None else in_words(error)
        report(Outcome(number, packed, seconds, failure, *_Here.place))

    def in_turn() -> None:
        for number, call in numbered:
            if time.monotonic() - begun > budget:
                return
            start = time.perf_counter()
            before = capture()
            packed, error = once(call)
            stuck = put_back(before)
            if isinstance(error, PreemptedError):
                raise error
            tell(number, packed, error, time.perf_counter() - start)
            _raise_stuck(stuck)

    def at_once() -> None:
        from quacc.calculators.batches import Batches

        stopped: dict[int, PreemptedError] = {}

        def one_of_them(number: int, call: bytes) -> tuple[int, bytes, Exception | None]:
            return (number, *once(call))

        def waiting() -> Iterator[Callable[[], tuple[int, bytes, Exception | None]]]:
            for number, call in numbered:
                if stopped or time.monotonic() - begun > budget:
                    return
                yield partial(one_of_them, number, call)

        def ended(outcome: tuple[int, bytes, Exception | None], seconds: float) -> None:
            number, packed, error = outcome
            if isinstance(error, PreemptedError):
                stopped[number] = error
            else:
                tell(number, packed, error, seconds)

        before = capture()
        Batches[tuple[int, bytes, Exception | None]]().run(waiting(), width, ended)
        stuck = put_back(before)
        if stopped:
            raise next(stopped[number] for number, _ in numbered if number in stopped)
        _raise_stuck(stuck)

    call_with(overrides, in_turn if width == 1 else at_once)


def _raise_stuck(reason: str | None) -> None:
    if reason:
        raise PreemptedError(f"No other job should run here: {reason}.", reason=reason)


def run_calls_at_once(calls: bytes, budget: float) -> list[Outcome]:
    """Return what :func:`run_calls` reports."""
    outcomes: list[Outcome] = []
    run_calls(calls, budget, outcomes.append)
    return outcomes


def outcome_of(call: Callable[[], Any]) -> tuple[bytes, Exception | None]:
    """Return the packed outcome of a call, and what it raised.

    Whatever a job raises is its outcome. Only what ends this process passes through: Ctrl-C,
    which Python raises in the main thread, and the signals of Prefect's engine.
    """
    value, error, trace = None, None, ""
    try:
        value = call()
    except BaseException as raised:
        if is_signal(raised):
            raise
        if isinstance(raised, PreemptedError):  # nor is there time for what comes next
            stop_soon(raised.reason)
        trace = shortened(traceback.format_exc())
        error = sendable(raised)
    try:
        return _pack((value, error, trace, _Here.place)), error
    except BaseException as raised:
        if is_signal(raised):
            raise
        error = RuntimeError(
            f"The job's result cannot be sent back from the worker: {in_words(raised)}"
        )
        return _pack((None, error, trace, _Here.place)), error


def pack_error(error: BaseException) -> bytes:
    """Return the packed outcome of a call that raised this."""

    def call() -> None:
        raise error

    return outcome_of(call)[0]


def unpack(outcome: bytes) -> Any:
    """Return what the function returned, or raise what it raised."""
    import cloudpickle

    try:
        value, error, trace, place = cloudpickle.loads(outcome)
    except BaseException as raised:
        if is_signal(raised):
            raise
        raise RuntimeError(
            f"The job's result cannot be read in the flow's process: {in_words(raised)}"
        ) from sendable(raised)
    if error is not None:
        raise error from WorkerTracebackError(trace, place)
    return value


def _pack(value: Any) -> bytes:
    """Return what :func:`cloudpickle.dumps` does, in half the time where pickle does the same.

    They differ in what is sent by value: what pickle refuses, and what belongs to the main module
    or to one that is registered with cloudpickle.
    """
    import cloudpickle

    try:
        packed = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    # Whatever the value's own code raises; cloudpickle raises it again, if it can't do better.
    except Exception:
        packed = b"__main__"
    by_value = ["__main__", *cloudpickle.list_registry_pickle_by_value()]
    if any(name.encode() in packed for name in by_value):
        packed = cloudpickle.dumps(value)
    return packed


def _run(call: bytes) -> Any:
    from quacc.settings import call_with

    overrides, function, args, kwargs = _load(call)
    return call_with(overrides, lambda: _alone(function, args, kwargs))


def _alone(function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Call a function in a context of its own, which has NumPy's handling of errors, too."""
    outcome = contextvars.copy_context().run(function, *args, **kwargs)
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
