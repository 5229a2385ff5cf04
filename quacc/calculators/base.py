"""What quacc has to know about a code."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from quacc.errors import MissingProgramError, ParameterError, StructureError, plain, suggest
from quacc.extras import charge_of, check_collinear, check_spin, unpaired_of

PATIENCE = 60.0
"""How long a program may take to tell its version (s)."""

UNKNOWN = "unknown"
"""The version of a program that does not tell it."""


HANDLES = {
    "partial occupancy": "refused",
    "pbc": "honoured",
    "charges": "",
    "moments": "",
    "masses": "honoured; refused unless above zero",
    "constraints": "honoured",
    "velocities": "honoured by `md_job`",
}
"""What a structure may say, and what is done with it where a code does nothing else."""

NO_ELECTRONS = {
    "charges": "refused, unless their sum is zero, which a warning says does not count",
    "moments": "without meaning, which a warning says",
}
"""What a code without electrons does with charges and moments."""


class Code(ABC):
    """One code: what it accepts, whether it is here, and how to build its calculator."""

    name: ClassVar[str]
    title: ClassVar[str]
    """One line for people."""
    defaults: ClassVar[Mapping[str, Any]]
    """Accepted parameters, with their defaults."""
    elements: ClassVar[frozenset[str] | None] = None
    """Elements with parameters; None for all."""
    properties: ClassVar[tuple[str, ...]] = ("energy", "forces", "stress")
    """What one calculation yields; stress only for cells periodic in three directions."""
    energy_is_enthalpy: ClassVar[bool] = False
    """Whether the energy is an enthalpy at 298.15 K, such as a heat of formation: zero-point and
    thermal energy are in it, and thermochemistry must not add them again."""
    command: ClassVar[str | None] = None
    """How to start the external program, unless the setting ``commands.<name>`` says
    otherwise. None for codes that run inside Python, in memory."""
    package: ClassVar[str | None] = None
    """The Python package that it is, where that is an extra."""
    restart_files: ClassVar[tuple[str, ...]] = ()
    """Names or patterns of files and folders in the working folder that the program starts
    faster from; they are kept with each checkpoint and put back."""
    scratch_files: ClassVar[tuple[str, ...]] = ()
    """Names or patterns of files and folders that nobody needs after a calculation."""
    parallel: ClassVar[bool] = False
    """Whether the setting ``launcher`` starts the program, on many cores."""
    electrons: ClassVar[bool] = True
    """Whether it knows electrons, so that charges and magnetic moments mean something."""
    one_spin: ClassVar[bool] = False
    """Whether a molecule has one number of unpaired electrons, so that an impossible one is refused
    and an odd number of electrons is a doublet."""
    handles: ClassVar[Mapping[str, str]] = {}
    """What it does with what a structure says, where that differs from :data:`HANDLES`."""
    install: ClassVar[str]
    citation: ClassVar[str]
    """BibTeX."""

    @abstractmethod
    def version(self) -> str:
        """Return the code's version."""

    @abstractmethod
    def build(self, parameters: Mapping[str, Any], directory: Path | None) -> Calculator:
        """Return ASE's calculator; codes that write files do so in the directory."""

    def missing(self) -> str | None:
        """Return why the code cannot be used here, or None if it can."""
        if self.package is not None and find_spec(self.package) is None:
            return f"The Python package {self.package} is not installed: {self.install}."
        if self.command is None:
            return None
        try:
            program = self._words()[0]
        except MissingProgramError as error:
            return str(error)
        if shutil.which(program):
            return None
        return (
            f"The program {program!r} is not found. The setting commands.{self.name} names it: "
            f"set it with `quacc settings set commands.{self.name} /path/to/{self.name}` or "
            f"QUACC_COMMANDS__{self.name.upper()}, or install it: {self.install}."
        )

    def start_command(self) -> str:
        """Return the command that starts the external program, from the settings."""
        from quacc.settings import get_settings

        return get_settings().commands.get(self.name) or self.command or ""

    def run_command(self) -> str:
        """Return the command that runs a calculation: a parallel program's with its launcher."""
        from quacc.settings import get_settings

        launcher = get_settings().launcher if self.parallel else ""
        return f"{launcher} {self.start_command()}".strip()

    def ask(self, *arguments: str) -> str:
        """Return what the external program prints when it is started with these arguments.

        Raises
        ------
        MissingProgramError
            It cannot be started, or does not come to an end.
        """
        try:
            return _ask((*self._words(), *arguments), self._files())
        except OSError as error:
            advice = "A script needs a first line such as #!/bin/sh, and must be executable"
            raise self._broken(f"cannot be started: {error}. {advice}") from error
        except subprocess.TimeoutExpired as error:
            raise self._broken(
                f"did not answer to {' '.join(arguments)} within {PATIENCE:g} s. Try it in a shell"
            ) from error

    def _words(self) -> list[str]:
        try:
            return shlex.split(self.start_command())
        except ValueError as error:
            what = f"cannot be read: {error}. Write it as in a shell"
            raise self._broken(what) from error

    def _files(self) -> tuple[tuple[str, int, int], ...]:
        """Return path, time of change and size of the programs in the command."""
        paths = [os.path.realpath(path) for word in self._words() if (path := shutil.which(word))]
        return tuple((path, (s := os.stat(path)).st_mtime_ns, s.st_size) for path in paths)

    def _broken(self, what: str) -> MissingProgramError:
        return MissingProgramError(
            f"The setting commands.{self.name} = {self.start_command()!r} {what}."
        )

    def complete(self, given: Mapping[str, Any], also: Iterable[str] = ()) -> dict[str, Any]:
        """Return the given parameters after defaults, or refuse unknown ones.

        ``also`` are the job's own keywords, so that a typo in one of those is recognised.
        """
        for name in given:
            if name not in self.defaults:
                accepted = sorted({*self.defaults, *also})
                raise ParameterError(
                    f"Unknown keyword {name!r}.{suggest(name, accepted)} "
                    f"Accepted: {', '.join(accepted)}."
                )
        return {**self.defaults, **{name: plain(value) for name, value in given.items()}}

    def resolve(self, atoms: Atoms, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters, with those that depend on the structure filled in."""
        return dict(parameters)

    def check(self, atoms: Atoms, parameters: Mapping[str, Any]) -> list[str]:
        """Refuse what the code cannot compute; return warnings about what it can.

        Raises
        ------
        MissingProgramError, StructureError, ParameterError
        """
        if reason := self.missing():
            raise MissingProgramError(f"{self.title} cannot be used here. {reason}")
        if self.elements is not None:
            without = sorted({*atoms.symbols} - self.elements)
            if without:
                raise StructureError(
                    f"{self.title} has no parameters for {', '.join(without)}. "
                    f"It has them for {', '.join(sorted(self.elements))}."
                )
        if self.electrons:
            return []
        ignored = {
            "charges": atoms.get_initial_charges(),
            "magnetic moments": atoms.get_initial_magnetic_moments(),
        }
        return [
            f"{self.title} knows no electrons: the initial {name} of the structure do not count."
            for name, values in ignored.items()
            if values.any()
        ]

    def check_state(self, atoms: Atoms, parameters: Mapping[str, Any]) -> None:
        """Refuse a charge, spin or periodicity that the code would not compute.

        Also where a stored result is looked for, which may be from a time when it was not refused.

        Raises
        ------
        StructureError, ParameterError
        """
        if not self.electrons:
            if charge := charge_of(atoms):
                raise StructureError(
                    f"The initial charges add up to {charge:+d}, but {self.title} knows no charge: "
                    "remove them with atoms.set_initial_charges(), or take another calculator."
                )
            return
        check_collinear(atoms)
        electrons = self.electron_count(atoms, parameters)
        if self.one_spin and not atoms.pbc.any():
            unpaired = self.unpaired(atoms, parameters)
            if unpaired is not None:
                check_spin(electrons, unpaired, atoms.get_chemical_formula())

    def assumptions(self, atoms: Atoms, given: Mapping[str, Any]) -> list[str]:
        """Return warnings about what neither the structure nor the given parameters say."""
        if not self.one_spin or atoms.pbc.any() or self.unpaired(atoms, given) is not None:
            return []
        electrons = self.electron_count(atoms, given)
        return [doublet(atoms, electrons)] if electrons % 2 else []

    def charge(self, atoms: Atoms, parameters: Mapping[str, Any]) -> int:
        """Return the total charge that is computed.

        Raises
        ------
        StructureError, ParameterError
            The parameters contradict the initial charges, or these add up to no whole number.
        """
        named = parameters.get("charge")
        charges = atoms.arrays.get("initial_charges")
        if named is None or charges is None or not charges.any():
            return charge_of(atoms) if named is None else int(named)
        if (found := charge_of(atoms)) != named:
            raise ParameterError(
                f"The charge {named} contradicts the initial charges of the structure, which add "
                f"up to {found}. Correct one of them."
            )
        return found

    def electron_count(self, atoms: Atoms, parameters: Mapping[str, Any]) -> int:
        """Return the number of electrons, core electrons included."""
        return int(atoms.numbers.sum()) - self.charge(atoms, parameters)

    def unpaired(self, atoms: Atoms, parameters: Mapping[str, Any]) -> int | None:
        """Return the number of unpaired electrons; None where nothing says it."""
        spin = self.spin(parameters)
        return unpaired_of(atoms) if spin is None else round(2 * spin)

    def spin(self, parameters: Mapping[str, Any]) -> float | None:
        """Return the total electronic spin that the parameters name, before magnetic moments."""
        return None

    def reach(self, calculator: Calculator) -> float | None:
        """Return the distance beyond which no atoms interact (Å), after a calculation.

        None where they always do.
        """
        return None

    def fingerprint(self, parameters: Mapping[str, Any]) -> str:
        """Return what decides the numbers beside the parameters."""
        version = self.version()
        if version == UNKNOWN:  # then the program, or the script around it, is all that is known
            version = " ".join(_sha256(file) for file in self._files())
        return f"{self.name} {version}"

    def cite(self, parameters: Mapping[str, Any]) -> str:
        """Return the BibTeX entries of the method, with these parameters."""
        return self.citation

    def diagnose(self, directory: Path) -> str | None:
        """Return what the code's own output says about a failure, if anything."""
        return None


def doublet(atoms: Atoms, electrons: int) -> str:
    """Return the warning about a molecule whose spin is assumed."""
    return (
        f"{atoms.get_chemical_formula()} has an odd number of electrons, {electrons}, and nothing "
        "says its spin: it is taken for a doublet, S = 1/2. Say it with "
        "atoms.set_initial_magnetic_moments()."
    )


def check_charge(charge: Any) -> None:
    """Raise a ParameterError for a keyword ``charge`` that is neither a whole number nor None."""
    whole = isinstance(charge, int) or (isinstance(charge, float) and charge.is_integer())
    if charge is not None and (isinstance(charge, bool) or not whole):
        raise ParameterError(f"charge must be a whole number or None, not {charge!r}.")


class QuickCheck(Calculator):
    """Mixin, before the class of a calculator that runs in memory.

    ASE compares all arrays with tolerances, which takes as long as a force call of a cheap
    potential on a few atoms. Bytes that are the same need no tolerance.
    """

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """Return what has changed since the last calculation."""
        if self.atoms is not None and _bytes(self.atoms) == _bytes(atoms):
            return []
        changes: list[str] = super().check_state(atoms, tol)
        return changes


def _bytes(atoms: Atoms) -> list[bytes | None]:
    arrays = {**atoms.arrays, "cell": atoms.cell.array, "pbc": atoms.pbc}
    return [arrays[name].tobytes() if name in arrays else None for name in all_changes]


# The files are among the arguments so that a program that has changed is asked again.
@cache
def _ask(command: tuple[str, ...], files: tuple[tuple[str, int, int], ...]) -> str:
    program, *words = command
    with tempfile.TemporaryDirectory(prefix="quacc-") as folder:  # pw.x leaves a file named CRASH
        return subprocess.run(
            [os.path.abspath(program) if os.sep in program else program, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            cwd=folder,
            encoding="utf-8",
            errors="replace",
            timeout=PATIENCE,
            check=False,
        ).stdout


@cache
def _sha256(file: tuple[str, int, int]) -> str:
    with open(file[0], "rb") as stream:
        return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
