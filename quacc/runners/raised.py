"""What jobs raise, made fit for the way back to the flow, whatever it is."""

from __future__ import annotations

import threading

from quacc.errors import QuaccError, text_of

LONGEST = 10_000
"""Characters of a text in an exception; what is longer loses its middle."""

_SLOTS = ("strerror", "filename", "filename2", "msg", "path", "text", "object", "reason")
"""Attributes of Python's own exceptions that are not in their dictionaries."""

_LARGEST = 10_000_000  # bytes of a packed exception that is not one of quacc's


def is_signal(error: BaseException) -> bool:
    """Return whether an exception is meant for this process, and not an outcome of a job."""
    if isinstance(error, KeyboardInterrupt):
        return threading.current_thread() is threading.main_thread()
    return any(base.__module__.startswith("prefect.") for base in type(error).__mro__) and (
        not isinstance(error, Exception)
    )


def in_words(error: BaseException) -> str:
    """Return a line that tells what was raised."""
    line = f"{type(error).__name__}: {text_of(error)}".rstrip(": ").partition("\n")[0]
    return shortened(line, 1000)


def shortened(text: str, longest: int = LONGEST) -> str:
    """Return a text without its middle where it is too long."""
    if len(text) <= longest:
        return text
    half = longest // 2
    return f"{text[:half]} [… {len(text) - 2 * half:,} characters …] {text[-half:]}"


def sendable(error: BaseException) -> Exception:
    """Return an exception, or another one in its place that can be sent, received and printed."""
    import cloudpickle

    if isinstance(error, SystemExit):
        return RuntimeError(f"The job called sys.exit({text_of(error)}).")
    if not isinstance(error, Exception):
        return RuntimeError(f"The job raised {in_words(error)}")
    try:
        _shorten(error)
        if len(str(error)) > 2 * LONGEST:
            return RuntimeError(f"The job raised {in_words(error)}")
        packed = cloudpickle.dumps(error)
        cloudpickle.loads(packed)  # some exceptions can be sent but not received
    except BaseException as trouble:
        if is_signal(trouble):
            raise
        return RuntimeError(
            f"The job's exception {in_words(error)} cannot be sent back from the worker: "
            f"{in_words(trouble)}"
        )
    if len(packed) > _LARGEST and not isinstance(error, QuaccError):
        return RuntimeError(
            f"The job raised {in_words(error)} (with {len(packed):,} bytes in the exception)"
        )
    return error


def _shorten(error: BaseException) -> None:
    """Cut the long texts that an exception, its causes, and those of its group carry."""
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        args = tuple(map(_cut, one.args))
        if any(new is not old for new, old in zip(args, one.args, strict=True)):
            one.args = args
        for name, value in list(vars(one).items()):
            if name == "__notes__":
                one.__notes__ = [shortened(str(note)) for note in value]
            elif (cut := _cut(value)) is not value:
                vars(one)[name] = cut
        for name in _SLOTS:
            if (cut := _cut(value := getattr(one, name, None))) is not value:
                setattr(one, name, cut)
        waiting += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions


def _cut(value: object) -> object:
    if type(value) is str:
        return shortened(value)
    if type(value) is bytes and len(value) > LONGEST:
        return value[: LONGEST // 2] + b" [...] " + value[-LONGEST // 2 :]
    return value
