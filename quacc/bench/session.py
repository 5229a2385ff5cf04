"""Collect benchmarks from files, and run them."""

from __future__ import annotations

import inspect
import json
import math
import os
import reprlib
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypedDict

from quacc.bench.benchmark import Benchmark, check_parameters, check_type, needed, takes
from quacc.bench.context import commit_of, context
from quacc.bench.fixtures import CONF, Fixtures, load
from quacc.errors import InputError, ParameterError, plain, suggest, text_of


class Run(TypedDict):
    """One run of a benchmark."""

    name: str
    value: Any
    """None where it failed."""
    error: str | None
    traceback: str | None
    seconds: float
    """Wall time, without setup, teardown and fixtures."""
    parameters: dict[str, Any]
    tags: list[str]
    context: dict[str, Any]


@dataclass(frozen=True)
class Collected:
    """A benchmark, and the folders that its fixtures are looked for in, the nearest first."""

    benchmark: Benchmark
    folders: tuple[Path, ...] = ()


def collect(place: str | Path | ModuleType, tags: Iterable[str] = ()) -> list[Collected]:
    """Return the benchmarks of a file, of all files in a folder, or of a module.

    Files are run, as by an import. Fixtures of a file are looked for in ``conf.py`` beside it, and
    in the folders above, up to the one that was asked for, or, of a single file, the current one.

    Parameters
    ----------
    tags
        Only benchmarks that have all of them.

    Raises
    ------
    InputError
        There is no such place, or it has no benchmark.
    """
    tags = _several(tags)
    if isinstance(place, ModuleType):
        found = [Collected(one) for one in _benchmarks(place)]
    else:
        path = Path(place).resolve()
        if path.is_dir():
            files = [
                file
                for file in sorted(path.rglob("*.py"))
                if file.name != CONF
                and not any(part[0] in "._" for part in file.relative_to(path).parts)
            ]
            root = path
        elif path.is_file():
            files = [path]
            here = Path.cwd().resolve()
            root = here if path.is_relative_to(here) else path.parent
        else:
            raise InputError(f"There is no file or folder {str(place)!r} to collect from.")
        found = [
            Collected(one, _folders(file.parent, root))
            for file in files
            for one in _benchmarks(load(file))
        ]
    if not found:
        raise InputError(
            f"There is no benchmark in {place}. Write @benchmark above a function "
            "(from quacc.bench.benchmark import benchmark)."
        )
    known = sorted({tag for one in found for tag in one.benchmark.tags})
    for tag in tags:
        if tag not in known:
            raise InputError(
                f"No benchmark has the tag {tag!r}.{suggest(tag, known)} There are "
                f"{', '.join(known) or 'none'}."
            )
    return [one for one in found if {*tags} <= {*one.benchmark.tags}]


def _several(tags: Iterable[str]) -> list[str]:
    if isinstance(tags, str):
        raise ParameterError(f"tags must be several texts, not one: write ({tags!r},).")
    return [*tags]


def _benchmarks(module: ModuleType) -> list[Benchmark]:
    unique = {id(one): one for one in vars(module).values() if isinstance(one, Benchmark)}
    return [*unique.values()]


def _folders(first: Path, root: Path) -> tuple[Path, ...]:
    return tuple(one for one in (first, *first.parents) if one.is_relative_to(root))


def run(
    benchmarks: str | Path | ModuleType | Sequence[Collected | Benchmark],
    *,
    parameters: Mapping[str, Any] | None = None,
    tags: Iterable[str] = (),
    more_context: Iterable[Callable[[], Mapping[str, Any]]] = (),
) -> list[Run]:
    """Run benchmarks one after the other; one that fails does not stop the others.

    Values of parameters come, in this order, from ``@parametrize`` or ``@product``, from
    ``parameters``, from the function's own defaults, and from fixtures, of which each is made once.

    Parameters
    ----------
    benchmarks
        What :func:`collect` returns, or takes; or functions that are benchmarks.
    parameters
        By name, for all benchmarks that have a parameter of it.
    tags
        Only benchmarks that have all of them.
    more_context
        Functions whose names and values each record's context has beside versions, commit,
        processor, GPU and load.

    Raises
    ------
    ParameterError
        A parameter is unknown, of another type, or has no value. Nothing has been run.
    """
    tags = _several(tags)
    if isinstance(benchmarks, str | Path | ModuleType):
        chosen = collect(benchmarks, tags)
    else:
        every = [one if isinstance(one, Collected) else Collected(one) for one in benchmarks]
        chosen = [one for one in every if {*tags} <= {*one.benchmark.tags}]
    if not chosen:
        raise InputError(f"There is no benchmark to run with the tags {', '.join(tags)}.")
    fixtures, given = Fixtures(), dict(parameters or {})
    _check_given(chosen, given)
    for one in chosen:
        _check(one, given, fixtures)
    about = context() | {"folder_git": commit_of(Path.cwd())}
    for provider in more_context:
        about |= provider()
    json.dumps(about, allow_nan=False)
    return [
        _run(one, name, case, given, fixtures, about)
        for one in chosen
        for name, case in zip(one.benchmark.names(), one.benchmark.cases, strict=True)
    ]


def _check_given(chosen: Sequence[Collected], given: Mapping[str, Any]) -> None:
    known: set[str] = set()
    for one in chosen:
        names, any_other = takes(one.benchmark.function)
        if any_other:
            return
        known |= {*names}
    for name in given:
        if name not in known:
            raise ParameterError(
                f"No benchmark that is to be run has a parameter {name!r}."
                f"{suggest(name, known)} They take {', '.join(sorted(known)) or 'none'}."
            )


def _check(one: Collected, given: Mapping[str, Any], fixtures: Fixtures) -> None:
    own = one.benchmark
    names, _ = takes(own.function)
    for hook in (own.setup, own.teardown):
        if hook is not None:
            for name in needed(hook):
                if name not in names:
                    raise ParameterError(
                        f"{hook.__name__} of the benchmark {own.name!r} takes {name!r}, which is "
                        f"no parameter of it.{suggest(name, names)}"
                    )
    for case in own.cases:
        check_parameters(own.name, own.function, _values_of(own, case, given))
        for name in _lacking(own, case, given):
            fixtures.check(own.name, name, one.folders)


def _values_of(own: Benchmark, case: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    names, any_other = takes(own.function)
    return {name: one for name, one in given.items() if name in names or any_other} | dict(case)


def _lacking(own: Benchmark, case: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    return [name for name in needed(own.function) if name not in case and name not in given]


def _run(
    one: Collected,
    name: str,
    case: Mapping[str, Any],
    given: Mapping[str, Any],
    fixtures: Fixtures,
    about: Mapping[str, Any],
) -> Run:
    own = one.benchmark
    defaults = {
        key: parameter.default
        for key, parameter in takes(own.function)[0].items()
        if parameter.default is not inspect.Parameter.empty
    }
    values = defaults | _values_of(own, case, given)
    record: Run = {
        "name": name,
        "value": None,
        "error": None,
        "traceback": None,
        "seconds": 0.0,
        "parameters": {},
        "tags": [*own.tags],
        "context": {**about, "load": round(os.getloadavg()[0], 2)},
    }
    try:
        for key in _lacking(own, case, given):
            values[key] = fixtures.value(key, one.folders)
            check_type(own.name, own.function, key, values[key])
        _call(own.setup, values)
        try:
            start = time.perf_counter()
            try:
                value = own.function(**values)
            finally:
                record["seconds"] = time.perf_counter() - start
            record["value"] = _plain(own.name, value)
        finally:
            _call(own.teardown, values)
    except (Exception, SystemExit) as error:  # the record has it; the others are run
        record["value"] = None
        record["error"] = f"{type(error).__name__}: {text_of(error, 2000)}"
        record["traceback"] = "".join(traceback.format_exception(error))
    record["parameters"] = {key: _shown(value) for key, value in values.items()}
    return record


def _call(hook: Callable[..., object] | None, values: Mapping[str, Any]) -> None:
    if hook is not None:
        names, any_other = takes(hook)
        hook(**{name: one for name, one in values.items() if any_other or name in names})


def _plain(name: str, value: Any) -> Any:
    """Return a value as JSON has it.

    Raises
    ------
    TypeError, ValueError
        It is of no such kind, or not finite.
    """
    value = plain(value)
    for number in value.values() if isinstance(value, dict) else [value]:
        if isinstance(number, float) and not math.isfinite(number):
            raise ValueError(
                f"The benchmark {name!r} returned {number}, which is no finite number."
            )
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"The benchmark {name!r} returned {type(value).__name__}, which no report can hold "
            f"({error}). Return a number, a text, or a dictionary of them."
        ) from None
    return value


_LONG = 200  # characters of a parameter in a record


def _shown(value: Any) -> Any:
    value = plain(value)
    if isinstance(value, list | tuple | dict) and len(value) > _LONG:
        return reprlib.repr(value)
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return reprlib.repr(value)
    return value if len(text) <= _LONG else reprlib.repr(value)
