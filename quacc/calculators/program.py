"""An external program: how it is started, asked, and missed."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from quacc.calculators.files import sha256
from quacc.errors import MissingProgramError

PATIENCE = 60.0
"""How long a program may take to tell its version (s)."""


@dataclass(frozen=True)
class Program:
    """A program that writes files."""

    name: str
    """Its name in the setting ``commands.<name>``, which says how to start it where ``command``
    does not."""
    command: str
    version_in: str
    """What matches its version, in a group, in what it prints."""
    ask_with: tuple[str, ...] = ()
    """Arguments that make it print its version."""
    ask_of: str | None = None
    """What is in a file ``version.in``, for a program that tells its version of an input alone."""
    also: tuple[str, ...] = ()
    """Names of other settings ``commands.<name>``, of programs that stand in for it."""
    parallel: bool = False
    """Whether the setting ``launcher`` starts it, on many cores."""
    restart: tuple[str, ...] = ()
    """Names or patterns of files and folders in the working folder that it starts faster from;
    they are kept with each checkpoint and put back."""
    scratch: tuple[str, ...] = ()
    """Names or patterns of files and folders that nobody needs after a calculation."""

    def missing(self, install: str) -> str | None:
        """Return why it cannot be started here, or None if it can."""
        try:
            program = self._words()[0]
        except MissingProgramError as error:
            return str(error)
        if shutil.which(program):
            return None
        return (
            f"The program {program!r} is not found. The setting commands.{self.name} names it: "
            f"set it with `quacc settings set commands.{self.name} /path/to/{self.name}` or "
            f"QUACC_COMMANDS__{self.name.upper()}, or install it: {install}."
        )

    def start_command(self) -> str:
        """Return the command that starts it, from the settings."""
        from quacc.settings import get_settings

        return get_settings().commands.get(self.name) or self.command

    def run_command(self) -> str:
        """Return the command that runs a calculation: a parallel program's with its launcher."""
        from quacc.settings import get_settings

        launcher = get_settings().launcher if self.parallel else ""
        return f"{launcher} {self.start_command()}".strip()

    def version(self) -> str | None:
        """Return its version; None if it does not tell it.

        Raises
        ------
        MissingProgramError
            It cannot be started, or does not come to an end.
        """
        found = re.search(self.version_in, self._ask())
        return found.group(1) if found else None

    def contents(self) -> str:
        """Return hashes of the program, and of the scripts around it."""
        return " ".join(f"sha256:{sha256(path)}" for path, _, _ in self.files())

    def files(self) -> tuple[tuple[str, int, int], ...]:
        """Return path, time of change and size of the programs in the command."""
        paths = [os.path.realpath(path) for word in self._words() if (path := shutil.which(word))]
        return tuple((path, (s := os.stat(path)).st_mtime_ns, s.st_size) for path in paths)

    def _ask(self) -> str:
        try:
            return _ask((*self._words(), *self.ask_with), self.files(), self.ask_of)
        except OSError as error:
            advice = "A script needs a first line such as #!/bin/sh, and must be executable"
            raise self._broken(f"cannot be started: {error}. {advice}") from error
        except subprocess.TimeoutExpired as error:
            raise self._broken(
                f"did not answer to {' '.join(self.ask_with)} within {PATIENCE:g} s. Try it in a "
                "shell"
            ) from error

    def _words(self) -> list[str]:
        try:
            return shlex.split(self.start_command())
        except ValueError as error:
            what = f"cannot be read: {error}. Write it as in a shell"
            raise self._broken(what) from error

    def _broken(self, what: str) -> MissingProgramError:
        return MissingProgramError(
            f"The setting commands.{self.name} = {self.start_command()!r} {what}."
        )


# The files are among the arguments so that a program that has changed is asked again.
@cache
def _ask(
    command: tuple[str, ...], files: tuple[tuple[str, int, int], ...], given: str | None
) -> str:
    program, *words = command
    with tempfile.TemporaryDirectory(prefix="quacc-") as folder:  # pw.x leaves a file named CRASH
        if given is not None:
            Path(folder, "version.in").write_text(given, "utf-8")
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
