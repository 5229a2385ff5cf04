"""Benchmarks of one's own: plain functions, alone or over parameters.

``collect`` and ``run`` are in :mod:`quacc.bench.session`.
"""

from __future__ import annotations

import inspect
import itertools
import reprlib
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from quacc.errors import InputError, ParameterError, suggest

Hook = Callable[..., object]


@dataclass(frozen=True)
class Benchmark:
    """A function whose value is recorded; called, it is that function."""

    function: Callable[..., Any]
    name: str
    cases: tuple[dict[str, Any], ...]
    """Parameters of each of its runs; a benchmark without any has one, ``{}``."""
    setup: Hook | None
    teardown: Hook | None
    tags: tuple[str, ...]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def names(self) -> list[str]:
        """Return a name for each case, such as ``eos_metal=Cu``; none twice."""
        found: list[str] = []
        for case in self.cases:
            parts = [f"{key}={_word(value)}" for key, value in case.items()]
            name, number = "_".join([self.name, *parts]), 2
            while name in found:
                name, number = f"{'_'.join([self.name, *parts])}#{number}", number + 1
            found.append(name)
        return found


def benchmark(
    function: Callable[..., Any] | None = None,
    *,
    name: str | None = None,
    setup: Hook | None = None,
    teardown: Hook | None = None,
    tags: Iterable[str] = (),
) -> Any:
    """Make a function a benchmark, as ``@benchmark`` or ``@benchmark(tags=("metric",))``.

    Parameters
    ----------
    name
        In reports; the function's, by default.
    setup, teardown
        Called before and after each run, with those of its parameters that they take. Their time
        does not count; ``teardown`` is called after a failure, too.
    tags
        To choose benchmarks by.
    """
    decorator = _decorator([{}], name, setup, teardown, tags)
    return decorator if function is None else decorator(function)


def parametrize(
    cases: Iterable[Mapping[str, Any]],
    *,
    name: str | None = None,
    setup: Hook | None = None,
    teardown: Hook | None = None,
    tags: Iterable[str] = (),
) -> Callable[[Callable[..., Any]], Benchmark]:
    """Make a function a benchmark that is run once for each set of parameters.

    Other parameters as for :func:`benchmark`.

    Parameters
    ----------
    cases
        Some or all of the function's parameters, by name. What is missing comes from ``run`` or
        from fixtures.

    Raises
    ------
    ParameterError
        The function has no such parameter, or takes another type.
    """
    return _decorator([*cases], name, setup, teardown, tags)


def product(
    *,
    name: str | None = None,
    setup: Hook | None = None,
    teardown: Hook | None = None,
    tags: Iterable[str] = (),
    **values: Iterable[Any],
) -> Callable[[Callable[..., Any]], Benchmark]:
    """Make a function a benchmark that is run for all combinations of values of its parameters.

    ``@product(metal=["Cu", "Ag"], size=[1, 2])`` are four runs. Other parameters, and what it
    raises, as for :func:`parametrize`.
    """
    lists = [[*one] for one in values.values()]
    cases = [dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*lists)]
    return _decorator(cases, name, setup, teardown, tags)


def _decorator(
    cases: Sequence[Mapping[str, Any]],
    name: str | None,
    setup: Hook | None,
    teardown: Hook | None,
    tags: Iterable[str],
) -> Callable[[Callable[..., Any]], Benchmark]:
    if isinstance(tags, str):
        raise ParameterError(f"tags must be several texts, not one: write tags=({tags!r},).")

    def decorate(function: Callable[..., Any]) -> Benchmark:
        if isinstance(function, Benchmark):
            raise InputError(
                f"{function.name} is a benchmark already: use one of @benchmark, @parametrize and "
                "@product, which all take name, setup, teardown and tags."
            )
        called = name or function.__name__
        if not cases:
            raise ParameterError(f"The benchmark {called!r} has no set of parameters.")
        for case in cases:
            if not isinstance(case, Mapping):
                raise ParameterError(
                    f"The benchmark {called!r} takes parameters by name, such as {{'a': 1}}, not "
                    f"{case!r}."
                )
            check_parameters(called, function, case)
        return Benchmark(
            function, called, tuple(map(dict, cases)), setup, teardown, tuple(map(str, tags))
        )

    return decorate


def takes(function: Callable[..., Any]) -> tuple[dict[str, inspect.Parameter], bool]:
    """Return the parameters of a function by name, and whether it takes any other."""
    found = inspect.signature(function).parameters
    named = {
        key: one
        for key, one in found.items()
        if one.kind not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    }
    return named, any(one.kind is inspect.Parameter.VAR_KEYWORD for one in found.values())


def needed(function: Callable[..., Any]) -> list[str]:
    """Return the names of the parameters without a default."""
    parameters, _ = takes(function)
    return [name for name, one in parameters.items() if one.default is inspect.Parameter.empty]


def check_parameters(name: str, function: Callable[..., Any], given: Mapping[str, Any]) -> None:
    """Raise a ParameterError for parameters that a benchmark does not take, or of another type."""
    known, any_other = takes(function)
    for key, value in given.items():
        if key not in known and not any_other:
            raise ParameterError(
                f"The benchmark {name!r} has no parameter {key!r}.{suggest(str(key), known)} It "
                f"takes {', '.join(known) or 'none'}."
            )
        check_type(name, function, key, value)


def check_type(name: str, function: Callable[..., Any], key: str, value: Any) -> None:
    """Raise a ParameterError for a value that is not of the type that a function names."""
    try:
        wanted = typing.get_type_hints(function).get(key, Any)
    except (NameError, TypeError):  # of names that only type checkers know
        return
    allowed = _classes(wanted)
    if allowed and not isinstance(value, allowed):
        text = wanted.__name__ if isinstance(wanted, type) else str(wanted)
        raise ParameterError(
            f"{key} of {name!r} must be {text}, not {type(value).__name__} ({reprlib.repr(value)})."
        )


def _classes(wanted: Any) -> tuple[type, ...]:
    """Return the classes that a type hint allows; none where they don't say it."""
    if isinstance(wanted, types.UnionType) or typing.get_origin(wanted) is typing.Union:
        parts = [_classes(one) for one in typing.get_args(wanted)]
        return tuple(one for part in parts for one in part) if all(parts) else ()
    origin = typing.get_origin(wanted) or wanted
    if origin is float:
        return (float, int)
    if not isinstance(origin, type) or origin is Any or getattr(origin, "_is_protocol", False):
        return ()
    return (origin,)


def _word(value: Any) -> str:
    if isinstance(value, str | int | float | bool | None):
        return str(value)
    formula = getattr(value, "get_chemical_formula", None)
    return str(formula()) if callable(formula) else reprlib.repr(value)
