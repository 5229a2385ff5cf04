"""A code in another Python, such as one whose packages clash with those that are here.

The setting ``environments.<name>`` names the Python. It stays for all calculations of this process.
"""

from __future__ import annotations

import atexit
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache, cached_property
from pathlib import Path
from typing import Any, cast

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

import quacc
from quacc import glance
from quacc.calculators.code import Code, Place
from quacc.calculators.frames import arrays_of_each, numbered_arrays, packed, read
from quacc.errors import ParameterError, SettingsError

_LINES = 10
"""Lines of what a process has printed that its error has."""

_LAST = 1 << 16
"""Bytes of it in which they are looked for."""

_PATIENCE = 300.0
"""Seconds that a Python may take to import a code and tell its version."""

_LONG = 20 * 86400.0
"""Seconds that a training may take; the system waits no longer at once."""

_STRUCTURE = {
    "numbers": "numbers",
    "positions": "positions",
    "initial_magmoms": "magmoms",
    "initial_charges": "charges",
    "masses": "masses",
}
"""What goes there of a structure, beside cell and periodicity, and ASE's names for it."""


class ElsewhereError(Exception):
    """A code in another Python failed, or its process did; says how, for people."""


class _GoneError(ElsewhereError):
    """The process has ended before it was asked."""


def where_it_lives(code: Code) -> Code:
    """Return the code, or what stands for it here where it has a Python of its own."""
    if "quacc.settings" not in sys.modules and glance.environments() is None:
        return code
    from quacc.settings import environment_of

    environment = environment_of(code.name)
    if environment is None:
        return code
    if code.program is not None:
        raise SettingsError(
            f"The setting environments.{code.name} makes no sense: {code.title} is a program of "
            f"its own. The setting commands.{code.name} says how to start it."
        )
    return _elsewhere(code, *environment)


@cache
def _elsewhere(code: Code, python: str, timeout: float) -> Code:
    kind = type(f"{type(code).__name__}Elsewhere", (_Elsewhere, type(code)), {})
    found: Any = kind()
    found.python, found.timeout = python, timeout
    return cast(Code, found)


class _Elsewhere(Code):
    """A code whose packages are asked in their own Python."""

    python: str
    timeout: float
    reuse = False  # the process keeps its calculators

    def missing(self) -> str | None:
        if not (os.path.isfile(self.python) and os.access(self.python, os.X_OK)):
            return (
                f"There is no Python {self.python!r}, which the setting environments.{self.name} "
                "names."
            )
        try:
            reason: str | None = self.process().about["missing"]
        except ElsewhereError as error:
            reason = f"When it was asked, {error}."
        return reason and f"{reason} (In {self.python}, the setting environments.{self.name}.)"

    def version(self) -> str:
        self.require_here()
        return str(self.process().about["version"])

    def fingerprint(self, parameters: Mapping[str, Any]) -> str:
        self.require_here()
        if self.own_files:
            return super().fingerprint(parameters)
        named = [os.stat(file).st_mtime_ns for file in parameters.values() if _is_file(file)]
        return self.process().fingerprint(json.dumps(dict(parameters)), named)

    def train(
        self, question: Mapping[str, Any], arrays: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Train there; however long it takes."""
        return self.process().ask({"do": "train", **question}, arrays, _LONG)

    def described(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        self.require_here()
        what = json.dumps(self.sent(parameters))
        try:
            return self.process().described(what, self.fingerprint(parameters))
        except ElsewhereError as error:
            raise ParameterError(f"{self.title} does not take this: {error}") from error

    def process(self) -> Process:
        return process_of(self.python, self.name)

    def build(self, parameters: Mapping[str, Any], place: Place) -> Calculator:
        return _Isolated(self, parameters, place.options)

    def reach(self, calculator: Any) -> float | None:
        found: float | None = calculator.reach
        return found

    def evaluate(
        self, calculator: Any, structures: Sequence[Atoms], properties: Sequence[str]
    ) -> list[dict[str, Any]]:
        """Compute them there, as one question, which may take as long as many."""
        return cast(_Isolated, calculator).evaluate(structures, properties)


def _is_file(value: Any) -> bool:
    return isinstance(value, str) and os.path.isabs(value) and os.path.isfile(value)


def described(atoms: Atoms) -> dict[str, Any]:
    """Return what decides a structure's numbers, as arrays."""
    found = {"cell": atoms.cell.array, "pbc": atoms.pbc}
    for name, argument in _STRUCTURE.items():
        if name in atoms.arrays:
            found[argument] = atoms.arrays[name]
    return found


class _Isolated(Calculator):
    def __init__(self, code: Code, parameters: Mapping[str, Any], options: Any) -> None:
        super().__init__()
        self.implemented_properties = list(code.properties)
        self.reach: float | None = None
        self._code, self._parameters, self._options = code, dict(parameters), dict(options)
        # With it, since the user's own files may be others now.
        self._fingerprint = code.fingerprint(parameters) if code.own_files else None

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        answer, arrays = self._ask("calculate", described(cast(Atoms, self.atoms)), properties)
        self.results = {**answer["results"], **{name: one.copy() for name, one in arrays.items()}}

    def evaluate(
        self, structures: Sequence[Atoms], properties: Sequence[str]
    ) -> list[dict[str, Any]]:
        """Return the results of many structures, computed at once."""
        numbered = numbered_arrays(described(atoms) for atoms in structures)
        answer, arrays = self._ask("evaluate", numbered, properties, len(structures))
        found: list[dict[str, Any]] = answer["results"]
        for results, its_arrays in zip(found, arrays_of_each(arrays, len(found)), strict=True):
            results.update({name: one.copy() for name, one in its_arrays.items()})
        return found

    def _ask(
        self, what: str, arrays: Mapping[str, Any], properties: Sequence[str], structures: int = 1
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        code: Any = self._code
        question = {
            "do": what,
            "parameters": code.sent(self._parameters),
            "fingerprint": self._fingerprint,
            "options": self._options,
            "properties": list(properties),
            "structures": structures,
        }
        while True:
            try:
                answer, found = code.process().ask(question, arrays, structures * code.timeout)
                break
            except (
                _GoneError
            ):  # another thread's calculation has ended it, so this one takes a new one
                pass
        self.reach = answer["reach"]
        return answer, found


class Process:
    """A Python with one code, which is asked one thing after the other; from any thread."""

    def __init__(self, python: str, name: str) -> None:
        self._python, self._name = python, name
        self._lock = threading.Lock()
        self._fingerprints: dict[tuple[str, ...], str] = {}
        self._described: dict[tuple[str, str], dict[str, Any]] = {}
        self._count = 0
        self._printed = tempfile.TemporaryFile()  # noqa: SIM115, as long as the process
        folder = Path(quacc.__file__).parent
        questions, to = os.pipe()
        from_, answers = os.pipe()
        os.set_blocking(to, False)
        self._to, self._from = to, os.fdopen(from_, "rb")
        self._closed = False
        program = str(folder / "calculators" / "serve.py")
        try:
            self._process = subprocess.Popen(
                [python, "-P", program, str(folder), name, str(questions), str(answers)],
                pass_fds=[questions, answers],
                stdin=subprocess.DEVNULL,
                stdout=self._printed,
                stderr=subprocess.STDOUT,
                env={name: text for name, text in os.environ.items() if name != "PYTHONPATH"},
            )
        except OSError as error:
            os.close(to)
            self._from.close()
            raise ElsewhereError(f"{python} could not be started: {error}") from error
        finally:
            os.close(questions)
            os.close(answers)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return not self._closed and self._process.poll() is None

    @cached_property
    def about(self) -> dict[str, Any]:
        """Why the code cannot be used there, or None; and its version."""
        return self.ask({"do": "about"}, {})[0]

    def fingerprint(self, parameters: str, times: Sequence[int] = ()) -> str:
        """Return the code's fingerprint, given its parameters as JSON, and when files changed."""
        asked = (parameters, *map(str, times))
        if asked not in self._fingerprints:
            question = {"do": "fingerprint", "parameters": json.loads(parameters)}
            self._fingerprints[asked] = self.ask(question, {})[0]["fingerprint"]
        return self._fingerprints[asked]

    def described(self, parameters: str, fingerprint: str) -> dict[str, Any]:
        """Return what the code's files say, given its parameters as JSON."""
        if (parameters, fingerprint) not in self._described:
            question = {"do": "describe", "parameters": json.loads(parameters)}
            found = self.ask(question, {})[0]["described"]
            self._described[parameters, fingerprint] = found
        return self._described[parameters, fingerprint]

    def ask(
        self,
        question: Mapping[str, Any],
        arrays: Mapping[str, Any],
        seconds: float = _PATIENCE,
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the answer, if it comes in time.

        Raises
        ------
        ElsewhereError
            The code raised an error, or its process ended or gave no answer in time.
        """
        with self._lock:
            if not self.is_alive:
                raise _GoneError("its process has ended before it was asked")
            self._count += 1
            end = time.monotonic() + seconds
            try:
                self._send(packed({**question, "number": self._count}, arrays), end)
                self._wait(self._from, selectors.EVENT_READ, end)
                message, found = read(self._from)
                if message["number"] != self._count:
                    raise ValueError("an answer to another question")
            except TimeoutError:
                self.close(0.0)
                raise ElsewhereError(
                    f"its process gave no answer within {seconds:g} s, and was ended; the setting "
                    "environments_timeout says how long it may take"
                ) from None
            except (OSError, EOFError, ValueError) as error:
                self.close()
                raise ElsewhereError(self._how_it_ended(error)) from error
            except BaseException:  # such as Ctrl-C: the answer would be taken for the next one's
                self.close(0.0)
                raise
        if "error" in message:
            raise ElsewhereError(f"{message['kind']}: {message['error']}")
        return message, found

    def _send(self, data: bytes, end: float) -> None:
        left = memoryview(data)
        while left:
            self._wait(self._to, selectors.EVENT_WRITE, end)
            with suppress(BlockingIOError):
                left = left[os.write(self._to, left) :]

    @staticmethod
    def _wait(stream: Any, event: int, end: float) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(stream, event)
            if not selector.select(max(end - time.monotonic(), 0.0)):
                raise TimeoutError

    def _how_it_ended(self, error: Exception) -> str:
        status = self._process.returncode
        how = f"with exit status {status}"
        if status is not None and status < 0:
            how = f"by {signal.Signals(-status).name}"
        if isinstance(error, ValueError):
            how = f"because of {error}"
        self._printed.seek(max(self._printed.seek(0, os.SEEK_END) - _LAST, 0))
        lines = self._printed.read().decode(errors="replace").splitlines()[-_LINES:]
        said = "\n".join([", after it said:", *lines]) if lines else " and said nothing"
        return f"its process, {self._python}, ended {how}{said}"

    def close(self, patience: float = 5.0) -> None:
        """End the process; it has some time to end by itself (s)."""
        if self._closed:
            return
        self._closed = True
        os.close(self._to)
        with suppress(OSError):
            self._from.close()
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


_processes: dict[tuple[str, str], Process] = {}
_choosing = threading.Lock()


def _forget() -> None:
    """Leave to a forked parent what is its."""
    global _choosing
    _processes.clear()
    _choosing = threading.Lock()


os.register_at_fork(after_in_child=_forget)


def process_of(python: str, name: str) -> Process:
    """Return the process of a code in a Python, started if need be."""
    with _choosing:
        found = _processes.get((python, name))
        if found is None or not found.is_alive:
            found = _processes[python, name] = Process(python, name)
        return found


@atexit.register
def _end() -> None:
    for process in _processes.values():
        process.close()
