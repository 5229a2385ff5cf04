"""Parameters of benchmarks from ``conf.py`` beside them, or in folders above.

A function there, named as the parameter, returns its value, once for a run. It may take other
fixtures as parameters.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from quacc.bench.benchmark import check_type, needed
from quacc.errors import InputError, ParameterError, suggest
from quacc.key import digest

CONF = "conf.py"


def load(file: Path) -> ModuleType:
    """Run a file of Python as a module, with its folder to import from, and return it.

    Raises
    ------
    InputError
        It can't be run.
    """
    file = file.resolve()
    name = f"_quacc_bench_{digest(str(file))[:16]}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise InputError(f"{file} is no file of Python.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look there
    sys.path.insert(0, str(file.parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise InputError(f"{file} cannot be imported: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(file.parent))
    return module


class Fixtures:
    """The fixtures of one run; each value is made when it is first asked for, and kept."""

    def __init__(self) -> None:
        self._confs: dict[Path, dict[str, Callable[..., Any]]] = {}
        self._made: dict[Callable[..., Any], tuple[Any, Exception | None]] = {}

    def check(self, benchmark: str, name: str, folders: tuple[Path, ...]) -> None:
        """Check, without making it, that there is a value for a parameter.

        Raises
        ------
        ParameterError
            Neither it, nor what it needs, is to be found in the folders; or it needs itself.
        """
        self._check(benchmark, name, folders, ())

    def value(self, name: str, folders: tuple[Path, ...]) -> Any:
        """Return the value of a fixture that has been checked; raises what making it raised."""
        function, above = self._find(name, folders)
        if function not in self._made:
            try:
                given = {one: self.value(one, above) for one in needed(function)}
                for key, value in given.items():
                    check_type(name, function, key, value)
                self._made[function] = function(**given), None
            except Exception as error:  # each benchmark that needs it has it in its record
                self._made[function] = None, error
        value, trouble = self._made[function]
        if trouble is not None:
            raise trouble
        return value

    def _check(
        self, benchmark: str, name: str, folders: tuple[Path, ...], chain: tuple[Any, ...]
    ) -> None:
        try:
            function, above = self._find(name, folders)
        except KeyError:
            known = sorted({one for folder in folders for one in self._in(folder)})
            where = f" in {' or '.join(str(folder / CONF) for folder in folders)}"
            raise ParameterError(
                f"The benchmark {benchmark!r} needs {name!r}, which has no value."
                f"{suggest(name, known)} Give it to run(…, parameters={{{name!r}: …}})"
                f"{f', or write a function of that name{where}' if folders else ''}."
            ) from None
        if function in chain:
            names = " → ".join(one.__name__ for one in (*chain, function))
            raise ParameterError(f"Fixtures need each other: {names}.")
        for one in needed(function):
            self._check(benchmark, one, above, (*chain, function))

    def _find(
        self, name: str, folders: tuple[Path, ...]
    ) -> tuple[Callable[..., Any], tuple[Path, ...]]:
        """Return the nearest fixture of a name, and the folders that its own are looked for in."""
        for number, folder in enumerate(folders):
            if name in self._in(folder):
                return self._in(folder)[name], folders[number:]
        raise KeyError(name)

    def _in(self, folder: Path) -> dict[str, Callable[..., Any]]:
        if folder not in self._confs:
            file = folder / CONF
            module = load(file) if file.exists() else None
            found: dict[str, Callable[..., Any]] = {
                name: one
                for name, one in (vars(module) if module else {}).items()
                if inspect.isfunction(one)
                and not name.startswith("_")
                and one.__module__ == (module and module.__name__)
            }
            for name, one in found.items():
                if inspect.isgeneratorfunction(one) or inspect.iscoroutinefunction(one):
                    raise InputError(f"{name} in {file} must return its value: no yield, no async.")
            self._confs[folder] = found
        return self._confs[folder]
