"""The exceptions that quacc raises, and the checks of keywords that raise them.

All of them survive a trip through pickle.
"""

from __future__ import annotations

import difflib
import errno
import math
from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # ASE is slow to import, and this module is imported by the settings
    from ase import Atoms


class QuaccError(Exception):
    """Base of everything that quacc raises on purpose."""


class InputError(QuaccError, ValueError):
    """What was asked for makes no sense; nothing has been computed."""


class StructureError(InputError):
    """The structure cannot be used as it is."""


class ParameterError(InputError):
    """A keyword is unknown, or its value is out of range."""


class SettingsError(QuaccError, ValueError):
    """A setting is unknown or has a wrong value."""


class StoreError(QuaccError):
    """The results database cannot do what was asked."""


class MissingProgramError(QuaccError):
    """A program or package that the calculator needs is not installed."""


class SubmissionError(QuaccError):
    """The batch system does not start workers."""


class TimeUpError(SubmissionError):
    """The batch job that the flow runs in has no time left; the same flow goes on in another."""


class LostWorkerError(QuaccError):
    """The worker that ran a calculation was lost, and trying again is left to the caller."""


class StuckError(LostWorkerError):
    """A calculation makes no progress, however often it is run again."""


class TimeLimitError(QuaccError):
    """An item of a fan-out took longer than its time limit.

    Attributes
    ----------
    number : int
        Of the item.
    """

    def __init__(self, message: str, number: int = -1) -> None:
        super().__init__(message, number)
        self.number = number

    def __str__(self) -> str:
        return str(self.args[0])


class PreemptedError(QuaccError):
    """A calculation was stopped on purpose; the same call goes on from where it was.

    Attributes
    ----------
    key : str
        Of the calculation.
    progress : int
        How far it is, in steps since its very first start.
    reason : str
    """

    def __init__(self, message: str, *, key: str = "", progress: int = 0, reason: str = "") -> None:
        super().__init__(message)
        self.key = key
        self.progress = progress
        self.reason = reason


class CalculationError(QuaccError, RuntimeError):
    """A calculation started and went wrong.

    Attributes
    ----------
    atoms : Atoms | None
        The last structure, without a calculator.
    directory : str | None
        Where the files of the failed calculation are kept.
    """

    def __init__(
        self, message: str, *, atoms: Atoms | None = None, directory: str | None = None
    ) -> None:
        super().__init__(message)
        self.atoms = atoms
        self.directory = directory


class NotFiniteError(CalculationError):
    """The calculator returned an energy or forces that are not finite numbers."""


class NotConvergedError(CalculationError):
    """The relaxation used up its steps; raised only when convergence is required.

    Attributes
    ----------
    result : dict | None
        The whole result, as it would have been returned otherwise.
    """

    def __init__(
        self,
        message: str,
        *,
        atoms: Atoms | None = None,
        directory: str | None = None,
        result: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message, atoms=atoms, directory=directory)
        self.result = result


class JobsFailedError(ExceptionGroup[Exception], QuaccError):
    """Some of a workflow's jobs failed; the others finished.

    Every exception in the group carries a note that names its structure.

    Attributes
    ----------
    results : list[dict]
        What the other jobs returned.
    """

    results: list[dict[str, Any]]

    def __new__(
        cls,
        message: str,
        exceptions: Sequence[Exception],
        results: Iterable[dict[str, Any]] = (),
    ) -> JobsFailedError:
        group = super().__new__(cls, message, exceptions)
        group.results = list(results)
        return group

    def __init__(
        self,
        message: str,
        exceptions: Sequence[Exception],
        results: Iterable[dict[str, Any]] = (),
    ) -> None:
        super().__init__(message, exceptions)

    @classmethod
    def of(
        cls,
        what: str,
        failures: Sequence[tuple[str, Exception]],
        total: int | None,
        results: Iterable[dict[str, Any]] = (),
    ) -> JobsFailedError:
        """Return a workflow's error, from the names and exceptions of the items that failed."""
        for name, error in failures:
            error.add_note(f"structure: {name}")
        listed = "; ".join(f"{name}: {text_of(error, _LINE)}" for name, error in failures[:_LISTED])
        more = f"; and {len(failures) - _LISTED} more" if len(failures) > _LISTED else ""
        return cls(
            f"{what}: {len(failures)} of {total} structures failed ({listed}{more})",
            [error for _, error in failures],
            results,
        )

    def derive(self, excs: Sequence[Exception]) -> JobsFailedError:  # type: ignore[override]
        return JobsFailedError(self.message, excs, self.results)


_LISTED = 10
"""How many failures a message names."""

_LINE = 2000
"""Characters of each."""


def text_of(error: BaseException, longest: int = 10_000) -> str:
    """Return the text of an exception, whatever its own code does; a long one is cut."""
    try:
        text = str(error)
    except BaseException as trouble:  # such as a panic
        return f"(its text cannot be made: {type(trouble).__name__})"
    return text if len(text) <= longest else f"{text[:longest]} …"


def suggest(word: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'fmax'?``, or nothing when no known word is near."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def plain(value: Any) -> Any:
    """Return a value with NumPy's numbers, texts and arrays as Python's own, also deep inside.

    What else it is, or holds, stays as it is.
    """
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        value = value.tolist()
        return float(value) if type(value).__module__ == "numpy" else value  # long doubles
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(plain, value))
    return value


def require_positive(**values: Any) -> None:
    """Raise a ParameterError for a value that is not a finite number above zero."""
    for name, value in values.items():
        if not (_is_finite(value) and value > 0):
            raise ParameterError(f"{name} must be a finite number above zero, not {_show(value)}.")


def require_number(minimum: float | None = None, **values: Any) -> None:
    """Raise a ParameterError for a value that is not a finite number of at least a minimum."""
    for name, value in values.items():
        if not _is_finite(value) or (minimum is not None and value < minimum):
            least = "" if minimum is None else f" of at least {minimum:g}"
            raise ParameterError(f"{name} must be a finite number{least}, not {_show(value)}.")


def require_count(minimum: int = 1, **values: Any) -> None:
    """Raise a ParameterError for a value that is not a whole number of at least a minimum."""
    for name, value in values.items():
        whole = isinstance(value, Integral) and not isinstance(value, bool)
        if not whole or not minimum <= int(value) <= _LARGEST_COUNT:
            raise ParameterError(
                f"{name} must be a whole number of at least {minimum}, not {_show(value)}."
            )


_LARGEST_COUNT = 2**128  # as large as the seeds of NumPy


def _is_finite(value: Any) -> bool:
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def _show(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # whole numbers of thousands of digits have no text
        text = "a number of thousands of digits"
    return text if len(text) < 100 else f"{text[:100]}…"


def require_choice(name: str, value: Any, choices: Iterable[str]) -> None:
    """Raise a ParameterError for a value that is not one of the choices."""
    known = list(choices)
    if not isinstance(value, str) or value not in known:
        near = suggest(value, known) if isinstance(value, str) else ""
        raise ParameterError(f"{name} {_show(value)} is unknown.{near} Known: {', '.join(known)}.")


def require_bool(**values: Any) -> None:
    """Raise a ParameterError for a value that is not True or False."""
    for name, value in values.items():
        if not isinstance(plain(value), bool):
            raise ParameterError(f"{name} must be True or False, not {_show(value)}.")


_MACHINES = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENODEV),
    *(errno.ENXIO, errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.EHOSTDOWN, errno.ENETDOWN),
}
_WORDS_OF_MACHINES = (
    "no space left on device",
    "disk quota exceeded",
    "read-only file system",
    "too many open files",
    "no such device",
    "input/output error",
    "stale file handle",
    "transport endpoint is not connected",
    "cannot open shared object file",
    "error while loading shared libraries",
    "version `glibc",
    "no cuda-capable device",
    "no cuda gpus are available",
    "cuda driver version is insufficient",
    "found no nvidia driver",
    "no hip gpus are available",
)


def is_machines(error: BaseException) -> bool:
    """Return whether an error is of a kind that a machine has, and another one may not.

    True for full disks, too many open files, missing devices, libraries and programs, also where
    they are the cause of another error.
    """
    if isinstance(error, NotConvergedError | InputError):
        return False
    if isinstance(error, MissingProgramError | ImportError):
        return True
    if isinstance(error, OSError) and error.errno in _MACHINES:
        return True
    text = f"{text_of(error)}\n{text_of(error.__cause__) if error.__cause__ else ''}".lower()
    return any(words in text for words in _WORDS_OF_MACHINES)


_PASSING = {errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.EIO, errno.ENOLCK, errno.ESTALE}
_PASSING_NAMES = {"KilledWorker", "CommClosedError", "FutureCancelledError"}


def can_pass(error: BaseException) -> bool:
    """Tell whether the same job may succeed when it is simply tried again.

    True for lost connections, lost workers, time-outs and the passing faults of
    shared file systems; false for everything that a calculation itself raises.
    """
    if isinstance(error, LostWorkerError):
        return True
    if isinstance(error, QuaccError):
        return False
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    if isinstance(error, OSError):
        return error.errno in _PASSING
    return type(error).__name__ in _PASSING_NAMES
