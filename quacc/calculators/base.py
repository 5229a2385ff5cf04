"""What quacc has to know about a code."""

from __future__ import annotations

import shlex
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from ase import Atoms
from ase.calculators.calculator import Calculator

from quacc.errors import MissingProgramError, ParameterError, StructureError, suggest


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
    command: ClassVar[str | None] = None
    """How to start the external program, unless the setting ``commands.<name>`` says
    otherwise. None for codes that run inside Python, in memory."""
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
        if self.command is None:
            return None
        program = shlex.split(self.start_command())[0]
        if shutil.which(program):
            return None
        return (
            f"The program {program!r} is not found. The setting commands.{self.name} names it: "
            f"set it with `quacc settings set commands.{self.name} /path/to/{self.name}` or "
            f"QUACC_COMMANDS__{self.name.upper()}, or install it: {self.install}."
        )

    def start_command(self) -> str:
        """Return the command that starts the external program, from the settings."""
        from quacc.calculators import code_names
        from quacc.settings import get_settings

        commands = get_settings().commands
        for given in commands:
            if given not in code_names():
                raise ParameterError(
                    f"The setting commands.{given} names no calculator."
                    f"{suggest(given, code_names())}"
                )
        return commands.get(self.name) or self.command or ""

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
        return {**self.defaults, **given}

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
        return []

    def fingerprint(self, parameters: Mapping[str, Any]) -> str:
        """Return what decides the numbers beside the parameters."""
        return f"{self.name} {self.version()}"

    def diagnose(self, directory: Path) -> str | None:
        """Return what the code's own output says about a failure, if anything."""
        return None
