"""``job``: a plan with a code, as the plain function that users call."""

from __future__ import annotations

import inspect
import linecache
import sys
import textwrap
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, cast

from quacc.calculators.code import Code
from quacc.errors import MissingProgramError
from quacc.runners.calculation import Calculation

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Plan(Generic[_P, _R]):
    """What a job would compute: called like the job, it returns the calculation."""

    def __init__(
        self, code: Code, function: Callable[Concatenate[Code, _P], Calculation[_R]]
    ) -> None:
        self.code = code
        self.function = function
        self.name = f"{function.__name__}_job"
        self.job: Callable[..., Any] | None = None
        """The job whose plan this is."""

    @property
    def recipe(self) -> str:
        """The name of the recipe, such as emt.relax_job."""
        return f"{self.code.name}.{self.name}"

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> Calculation[_R]:
        return self.function(self.code, *args, **kwargs)


class Job(Protocol[_P, _R]):
    """A plain function that checks and computes; its ``plan`` does neither."""

    __name__: str

    @property
    def plan(self) -> Callable[_P, Calculation[_R]]:
        """Return the calculation that the same call of the job would compute."""

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R: ...


def job(code: Code, function: Callable[Concatenate[Code, _P], Calculation[_R]]) -> Job[_P, _R]:
    """Return a code's job, such as ``relax_job = job(EMT, relax)``.

    Its name is the plan's and "_job", and must be the name that it is given in its module, by
    which it is pickled.

    Parameters
    ----------
    code
        The code that computes.
    function
        Takes the code, the structure and the parameters; returns the calculation. Its signature,
        with the code's keywords, is the job's; so is its documentation.
    """
    plan = Plan(code, function)

    def call(*args: Any, **kwargs: Any) -> Any:
        return plan(*args, **kwargs).compute()

    made: Any = call
    plan.job = made
    made.plan = plan
    made.__name__ = made.__qualname__ = plan.name
    made.__module__ = sys._getframe(1).f_globals["__name__"]
    made.__signature__ = signature = _signature(code, function)
    made.__annotations__ = {one.name: one.annotation for one in signature.parameters.values()}
    made.__annotations__["return"] = signature.return_annotation
    made.__doc__ = _documentation(code, function, "copy_files" in signature.parameters)
    # Prefect's caches tell tasks apart by their source, so each job has its own.
    file = f"<{made.__module__}.{plan.name}>"
    made.__code__ = made.__code__.replace(co_filename=file, co_name=plan.name, co_firstlineno=1)
    source = [
        f"def {plan.name}(*args, **kwargs):\n",
        f"    return {plan.recipe}.plan(*args, **kwargs).compute()\n",
    ]
    linecache.cache[file] = sum(map(len, source)), None, source, file
    return cast(Job[_P, _R], made)


def _signature(code: Code, function: Callable[..., Any]) -> inspect.Signature:
    signature = inspect.signature(function)
    hidden = {"code"} if code.program else {"code", "copy_files"}
    *own, others = (one for one in signature.parameters.values() if one.name not in hidden)
    keyword = inspect.Parameter.KEYWORD_ONLY
    words = {**code.keywords, **code.options}
    return signature.replace(
        parameters=[
            *own,
            *(inspect.Parameter(name, keyword, default=words[name].default) for name in words),
            others,  # so that a misspelt one is refused by the job, which knows what was meant
        ],
        # Written as text, "Calculation[OptResult]".
        return_annotation=signature.return_annotation.removeprefix("Calculation[")[:-1],
    )


def _documentation(code: Code, function: Callable[..., Any], copies: bool) -> str:
    words = {**code.keywords, **code.options}
    return "\n".join(
        [
            inspect.cleandoc(function.__doc__ or ""),
            *([_COPY_FILES] if copies else []),
            *(f"{name}\n{_indented(str(words[name]))}" for name in words),
            _RAISES,
        ]
    )


def _indented(text: str) -> str:
    return textwrap.fill(
        text,
        92,
        initial_indent="    ",
        subsequent_indent="    ",
        break_on_hyphens=False,  # in names such as vdw-df2
    )


_COPY_FILES = """copy_files
    What a code that writes files starts from: an earlier result or its folder, or
    ``{folder: [file names]}``."""
_RAISES = """
Raises
------
InputError, MissingProgramError
    Before anything is computed.
CalculationError
    The code failed, or returned numbers that are not finite; says why, from the code's own
    output, and where its files are.
PreemptedError
    It was stopped, as by the end of its batch job; the same call is restarted from its
    checkpoint."""


def plan_of(function: Any) -> Plan[..., Any] | None:
    """Return the plan of a quacc job, also in a partial; None for any other function.

    Also for one that only looks like a job, as ``functools.wraps`` makes it.
    """
    while isinstance(function, partial):
        function = function.func
    plan = getattr(function, "plan", None)
    return plan if isinstance(plan, Plan) and plan.job is function else None


def at_once(function: Any, kwargs: Mapping[str, Any]) -> int:
    """Return how many calls of a function with these keywords a model may compute at once."""
    plan = plan_of(function)
    if plan is None or "at_once" not in plan.code.options:
        return 1
    while isinstance(function, partial):
        kwargs = {**function.keywords, **kwargs}
        function = function.func
    return int(kwargs.get("at_once", plan.code.options["at_once"].default))


def planned(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Calculation[Any] | None:
    """Return the calculation that a call would compute; None if it is no call of a quacc job.

    Raises
    ------
    InputError
        The job refuses its arguments.
    """
    plan = plan_of(function)
    if plan is None:
        return None
    while isinstance(function, partial):
        args, kwargs = (*function.args, *args), {**function.keywords, **kwargs}
        function = function.func
    return plan(*args, **kwargs)


def calculation_of(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    check: bool = False,
) -> Calculation[Any] | None:
    """Return the calculation that a call would compute, if its key can be told here.

    None for functions that are no quacc jobs, and for codes that are not installed on this
    machine, since they may be on the workers'.

    Parameters
    ----------
    check
        Whether it must pass its checks. Otherwise it only has a key, which is quicker.

    Raises
    ------
    InputError
        The job refuses its arguments.
    """
    calculation = planned(function, args, kwargs)
    if calculation is None:
        return None
    try:
        if check:
            calculation.check()
        _ = calculation.key
    except MissingProgramError:  # the worker decides, and says it better
        return None
    return calculation
