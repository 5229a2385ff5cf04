"""What all runners share: one calculation, checked, named by its key, run and reported."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, TypeVar, cast

import ase
import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress
from ase.symbols import Symbols

import quacc
from quacc.atoms.check import check_structure
from quacc.atoms.convert import StructureLike, about_name, unchecked
from quacc.calculators import batches
from quacc.calculators.code import Code, Place
from quacc.calculators.dispersion import Dispersed, Dispersion
from quacc.calculators.isolated import ElsewhereError, where_it_lives
from quacc.calculators.recovery import Recovering
from quacc.calculators.reuse import Reuse
from quacc.errors import (
    CalculationError,
    NotFiniteError,
    ParameterError,
    PreemptedError,
    QuaccError,
    can_pass,
    plain,
)
from quacc.fast_atoms import copy_atoms
from quacc.key import calculation_key
from quacc.runners.checkpoint import Checkpoint
from quacc.runners.deadline import stopping
from quacc.runners.workdir import CopyFiles, Workdir, content_hash, files_to_copy
from quacc.schemas import CalculatorInfo, Costs, Provenance, Result
from quacc.store.checksum import checksum

RELAXED = 0.05
"""Forces (eV/Å) above this mean that a structure is no minimum of the energy, which is told."""


_JOB_IDS = ("SLURM_JOB_ID", "PBS_JOBID", "JOB_ID", "LSB_JOBID")


_R = TypeVar("_R")


class Calculation(Generic[_R]):
    """One code on one structure: its key, its checks, and its run. Making one computes nothing.

    Parameters
    ----------
    structure
        See :func:`quacc.atoms.as_atoms`.
    code
        The code that computes.
    calc_kwargs
        Keyword arguments for the code.
    body
        Computes, inside :meth:`run`, and returns the result.
    recipe, version
        Name and version of the recipe, for the key.
    parameters
        The runner's own parameters, which belong to the key, already checked.
    options
        The runner's keywords that decide no number.
    requires
        Refuses a structure that the runner cannot take.
    copy_files
        See :func:`quacc.runners.workdir.files_to_copy`.
    momenta
        Whether the velocities belong to the key.
    corrected
        Whether energies and forces come from :meth:`evaluate`, so that a correction of the
        dispersion energy is in them; else it is refused.

    Raises
    ------
    InputError
        The structure cannot be read, or the code has no such keyword.
    """

    def __init__(
        self,
        structure: StructureLike,
        code: Code,
        calc_kwargs: Mapping[str, Any],
        body: Callable[[Calculation[_R]], _R],
        *,
        recipe: str,
        version: int = 1,
        parameters: Mapping[str, Any],
        options: Mapping[str, Any] = MappingProxyType({}),
        requires: Callable[[Calculation[_R]], object] = lambda calculation: None,
        copy_files: CopyFiles | None = None,
        momenta: bool = False,
        corrected: bool = True,
    ) -> None:
        self.input_atoms = unchecked(structure)
        self.about_name = about_name(structure)
        self.code = code = where_it_lives(code)
        self.recipe = f"{code.name}.{recipe}"
        self.version = version
        self.options = options
        self.momenta = momenta
        self._own = parameters
        self._given = code.complete(calc_kwargs, also=[*parameters, *options])
        self._dispersion = self._given.pop("dispersion", None)
        if self._dispersion is not None and not corrected:
            raise ParameterError(
                f"{recipe} computes what D3 and D4 are not part of: leave dispersion out."
            )
        self.code_options = code.chosen(calc_kwargs)
        self._body = body
        self._requires = requires
        if copy_files is not None and code.program is None:
            raise ParameterError(
                f"{code.title} runs in memory and reads no files: leave copy_files out."
            )
        self.copies = files_to_copy(copy_files)
        self.warnings: list[str] = []
        self.directory: str | None = None
        self._path: Path | None = None  # where its files are while it runs

    @cached_property
    def calc_parameters(self) -> dict[str, Any]:
        """The code's parameters, defaults and what depends on the structure included.

        Without ``dispersion``, which no code computes.
        """
        parameters = self.code.resolve(self.input_atoms, self._given)
        self.code.check_state(self.input_atoms, parameters)
        return parameters

    @cached_property
    def dispersion(self) -> Dispersion | None:
        """The correction of the dispersion energy, checked."""
        if self._dispersion is None:
            return None
        return Dispersion(self._dispersion, self.code, self.calc_parameters, self.input_atoms)

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """All parameters that decide the numbers."""
        # Not in the keys of what is not corrected.
        more = {"dispersion": self.dispersion.parameters} if self.dispersion else {}
        return {**plain(self._own), **self.calc_parameters, **more}

    @cached_property
    def fingerprint(self) -> str:
        """What decides the numbers beside the parameters: the code's version."""
        found = self.code.fingerprint(self.calc_parameters)
        return f"{found} {self.dispersion.version}" if self.dispersion else found

    @property
    def calculator(self) -> CalculatorInfo:
        """What a result's record has of the code."""
        return {
            "name": self.code.name,
            "version": self.code.version(),
            "fingerprint": self.fingerprint,
        }

    @cached_property
    def key(self) -> str:
        """The key of the calculation, whether or not it passes :meth:`check`.

        Raises
        ------
        InputError
            There is none; not for every input that is refused.
        MissingProgramError
            The code is not on this machine, so nothing tells its version.
        """
        return calculation_key(
            recipe=self.recipe,
            version=self.version,
            atoms=self.input_atoms,
            parameters=self.parameters,
            fingerprint=self.fingerprint,
            momenta=self.momenta,
            extra=content_hash(self.copies),
        )

    def check(self) -> Calculation[_R]:
        """Check everything that can be checked without computing; return this calculation.

        Raises
        ------
        InputError, MissingProgramError
            It makes no sense, or the code is not on this machine.
        """
        check_structure(self.input_atoms)
        parameters = self.calc_parameters
        self.warnings = self.about_name + self.code.check(self.input_atoms, parameters)
        self.warnings += self.code.assumptions(self.input_atoms, self._given)
        options = self.code_options
        self.warnings += self.code.check_options(self.input_atoms, parameters, options)
        _ = self.key
        self._requires(self)
        return self

    def compute(self) -> _R:
        """Check, compute, and return the result.

        Raises
        ------
        InputError, MissingProgramError
            Before anything is computed.
        CalculationError
            The code failed, or returned numbers that are not finite.
        PreemptedError
            It was stopped; the same calculation is restarted from its checkpoint.
        """
        return self._body(self.check())

    @cached_property
    def formula(self) -> str:
        return formula_of(self.input_atoms)

    @cached_property
    def title(self) -> str:
        """Recipe and structure, for messages."""
        return f"{self.recipe} of {_formulas(_sorted(self.input_atoms))[0]}"

    @contextmanager
    def run(self, *, steps: bool = True) -> Iterator[Atoms]:
        """Yield a copy of the structure with the calculator attached.

        Around the body: the working folder, for a code that writes files; the clock; the
        checkpoint; and the translation of whatever goes wrong into a
        :class:`CalculationError` that names the structure and where the files are.

        Parameters
        ----------
        steps
            Whether the body goes step by step: it begins with ``self.checkpoint.saved``, and
            calls ``self.checkpoint.step`` after each step but the last.

        Raises
        ------
        PreemptedError
            There is no time to start, or the body was stopped between two steps.
        """
        self._started = datetime.now(UTC)
        self._clock = time.perf_counter(), _cpu_seconds(self.code)
        atoms = copy_atoms(self.input_atoms)
        self.checkpoint = Checkpoint(
            self.key,
            self.title,
            costs=self._costs,
            restart_files=program.restart if (program := self.code.program) else (),
        )
        if steps:
            self.checkpoint.load()
        # Not the whole margin: an attempt that can makes a step, so that all come to an end.
        if reason := stopping(self.checkpoint.longest_step):
            raise self.checkpoint.preempted(reason)
        workdir = self._workdir()
        self._path = workdir.path if workdir else None
        try:
            if workdir and steps:
                self.checkpoint.put_back(workdir.path)
            atoms.calc = self._calculator(self._path)
            yield atoms
        except PreemptedError:
            if workdir:
                workdir.discard()
            raise
        # Codes fail in their own ways; every one of them is reported and raised again.
        except Exception as error:
            note = self.checkpoint.blame(error)
            failure = self._failure(error, atoms, workdir)
            if note is not None:
                failure.add_note(note)
            if failure is error:
                raise
            raise failure from error
        except BaseException as error:  # Ctrl-C: keep the files, change nothing else
            if workdir:
                workdir.keep_failed(error)
            raise
        if workdir:
            self.warnings += self.code.keep(self.calc_parameters, self.place, atoms)
            workdir.remove(program.scratch if program else ())
            self.directory, warnings = workdir.keep()
            self.warnings += warnings
        if self.code.reuse:
            self._reuse.give_back()
        self.checkpoint.remove()
        self.warnings += self.checkpoint.warnings

    def another(self, atoms: Atoms, name: str) -> Atoms:
        """Return a copy with a calculator of its own, whose files are in a folder of this name."""
        copy = copy_atoms(atoms)
        folder = self._path / name if self._path else None
        if folder:
            folder.mkdir(exist_ok=True)
        copy.calc = self._calculator(folder)
        return copy

    @property
    def place(self) -> Place:
        """Where it runs, inside :meth:`run`."""
        return Place(self._path, self.code_options)

    @cached_property
    def _reuse(self) -> Reuse:
        place = Place(None, self.code_options)
        return Reuse(self.code, self.calc_parameters, place, self.fingerprint)

    def _calculator(self, folder: Path | None) -> Calculator:
        calculator = self._uncorrected(folder)
        return Dispersed(calculator, self.dispersion) if self.dispersion else calculator

    def _uncorrected(self, folder: Path | None) -> Calculator:
        if "at_once" in self.code.options and (with_others := batches.current()) is not None:
            return batches.AtOnce(self.code, self._reuse, with_others, self.warnings.append)
        if self.code.reuse:
            return self._reuse.take()
        place = Place(folder, self.code_options)
        if folder is None or not self.code.handlers:
            return self.code.build(self.calc_parameters, place)
        return Recovering(
            lambda parameters: self.code.build(parameters, place),
            self.calc_parameters,
            self.code.handlers,
            folder,
            self.warnings.append,
        )

    def evaluate(self, atoms: Atoms) -> None:
        """Compute all of the code's properties in one run of it, and check them."""
        wanted = [name for name in self.code.properties if name != "stress" or atoms.pbc.all()]
        atoms.calc.calculate(atoms, wanted, all_changes)
        self.check_finite(atoms)

    def check_finite(self, atoms: Atoms) -> None:
        """Raise a :class:`NotFiniteError` unless energy and forces are finite numbers."""
        results = atoms.calc.results
        energy, forces = results.get("energy"), results.get("forces")
        if energy is not None and not np.isfinite(energy):
            raise NotFiniteError(self._not_finite(f"an energy of {energy}"))
        if forces is not None and not np.isfinite(forces).all():
            index = int(np.flatnonzero(~np.isfinite(forces).all(axis=1))[0])
            raise NotFiniteError(
                self._not_finite(f"a force of {forces[index].tolist()} on atom {index}")
            )

    def _not_finite(self, what: str) -> str:
        return (
            f"{self.title}: {self.code.title} "
            f"returned {what}. The structure has probably fallen apart; look at `error.atoms`, "
            "and start from a better structure or with smaller steps."
        )

    def result(self, atoms: Atoms) -> Result:
        """Return what all jobs return, after :meth:`run` has ended."""
        results = {
            name: np.array(value) if isinstance(value, np.ndarray) else _scalar(value)
            for name, value in atoms.calc.results.items()
            if name != "stress" or atoms.pbc.all()
        }
        stress: Any = results.get("stress")
        if np.shape(stress) == (3, 3):  # some calculators leave that to ASE
            results["stress"] = full_3x3_to_voigt_6_stress(stress)
        self._tell_without_interaction(atoms)
        final = copy_atoms(atoms)
        provenance = {
            "quacc": quacc.__version__,
            "ase": ase.__version__,
            "python": platform.python_version(),
            "host": platform.node(),
            "pid": os.getpid(),
            "job_id": next((os.environ[name] for name in _JOB_IDS if name in os.environ), None),
            "checksum": checksum(results, final),
            **self._costs(),
        }
        if self.dispersion:
            provenance["dispersion"] = {
                "package": self.dispersion.version,
                "energy": atoms.calc.energy,
            }
        said = {name: one for name, one in self.code_options.items() if one not in (None, False)}
        if said:
            provenance["options"] = said
        if about := self.code.about(self.calc_parameters):
            provenance["model"] = about
        if environment := getattr(self.code, "python", None):
            provenance["environment"] = environment
        return {
            "name": self.recipe,
            "formula": self.formula,
            "key": self.key,
            "calculator": self.calculator,
            "parameters": self.parameters,
            "input_atoms": self.input_atoms,
            "atoms": final,
            "results": results,
            "provenance": cast(Provenance, provenance),
            "directory": self.directory,
            "warnings": self.warnings,
        }

    def _tell_without_interaction(self, atoms: Atoms) -> None:
        """Warn if all atoms lie beyond the potential's cutoff."""
        forces = atoms.calc.results.get("forces")
        if (
            self.dispersion
            or forces is None
            or forces.any()
            or (len(atoms) == 1 and not atoms.pbc.any())
        ):
            return
        from ase.neighborlist import neighbor_list

        calculator = atoms.calc
        at_once = isinstance(calculator, batches.AtOnce)
        reach = calculator.reach if at_once else self.code.reach(calculator)
        if reach is not None and not len(neighbor_list("i", atoms, reach)):
            self.warnings.append(
                f"No two atoms of {self.input_atoms.get_chemical_formula()} are within the cutoff "
                f"of {self.code.title}, {reach:.3g} Å: there is no interaction, and nothing to "
                "relax. Check the distances (Å) and the parameters."
            )

    def _costs(self) -> Costs:
        """Return what all attempts together have cost so far."""
        earlier, (wall, cpu) = self.checkpoint.earlier, self._clock
        return {
            "started": earlier.get("started", self._started.isoformat(timespec="milliseconds")),
            "attempts": earlier.get("attempts", 0) + 1,
            "wall_seconds": earlier.get("wall_seconds", 0.0) + time.perf_counter() - wall,
            "cpu_seconds": earlier.get("cpu_seconds", 0.0) + _cpu_seconds(self.code) - cpu,
        }

    def _workdir(self) -> Workdir | None:
        if self.code.program is None:
            return None
        return Workdir(f"{self.formula}-{self.recipe}-{self.key}", self.copies)

    def _failure(self, error: Exception, atoms: Atoms, workdir: Workdir | None) -> Exception:
        diagnosis = self.code.diagnose(workdir.path) if workdir else None
        directory = workdir.keep_failed(error) if workdir else None
        last = atoms.copy()
        if isinstance(error, CalculationError):
            error.atoms = last if error.atoms is None else error.atoms
            error.directory = error.directory or directory
            return error
        if isinstance(error, QuaccError) or can_pass(error):
            return error
        reason = diagnosis or f"{type(error).__name__}: {error}".rstrip(": ")
        if isinstance(error, ElsewhereError):
            reason = str(error)
        if isinstance(error, PropertyNotImplementedError):
            reason = f"it cannot compute {error or 'a property that this job needs'}"
        where = f" Its files are in {directory}." if directory else ""
        return CalculationError(
            f"{self.title} with {self.code.title} failed: {reason}.{where}",
            atoms=last,
            directory=directory,
        )


def formula_of(atoms: Atoms) -> str:
    """Return the reduced formula of a crystal, the whole one of a molecule (C2H6 is no CH3)."""
    return _formulas(_sorted(atoms))[1 if atoms.pbc.any() else 0]


def _sorted(atoms: Atoms) -> bytes:
    return np.sort(atoms.numbers).astype(np.int64).tobytes()


@lru_cache(1000)
def _formulas(numbers: bytes) -> tuple[str, str]:
    """Return Hill's formula and the reduced one; thousands of structures may share them."""
    formula = Symbols(np.frombuffer(numbers, np.int64)).formula
    return formula.format("hill"), formula.reduce()[0].format("metal")


def _cpu_seconds(code: Code) -> float:
    """Return the CPU time of this thread, or of the programs that this process started.

    With its share of what was computed for several calculations at once.
    """
    if code.program is None:
        return time.thread_time() + batches.shared_seconds()
    times = os.times()
    return times.children_user + times.children_system


def _scalar(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
