"""Models: a calculator with its parameters, and where its numbers come from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from quacc.bench.config import ModelEntry, read_entries, select
from quacc.bench.record import ModelInfo
from quacc.calculators import get_code
from quacc.calculators.code import Code
from quacc.calculators.isolated import where_it_lives
from quacc.errors import InputError, MissingProgramError, ParameterError, QuaccError
from quacc.settings import change_settings


@dataclass(frozen=True)
class Model:
    """One of those that are compared."""

    name: str
    entry: ModelEntry

    @property
    def calculator(self) -> Mapping[str, Any]:
        """What workflows take as ``calculator``."""
        return {"name": self.entry.calculator, **self.entry.parameters}

    @cached_property
    def code(self) -> Code:
        """Its code, where it lives."""
        with self.at_home():
            return where_it_lives(get_code(self.entry.calculator))

    @contextmanager
    def at_home(self) -> Iterator[None]:
        """Let its calculations run in the Python that its entry names."""
        python = self.entry.environment
        known = {self.entry.calculator: python} if python else None
        with change_settings(environments=known) if known else nullcontext():
            yield

    def is_here(self) -> bool:
        """Tell whether it can be used on this machine."""
        with self.at_home():
            try:
                self.code.require_here()
                self.code.files(self.parameters())
            except (MissingProgramError, ParameterError):  # of a file that is not here
                return False
        return True

    def fingerprint(self) -> str:
        """Return what decides its numbers beside the parameters.

        Raises
        ------
        MissingProgramError
            It is not here.
        """
        with self.at_home():
            self.code.require_here()
            try:
                return self.code.fingerprint(self.parameters())
            except ParameterError as error:  # the file of a potential
                raise MissingProgramError(str(error)) from error

    def info(self) -> ModelInfo:
        """Return what a record says of it."""
        entry = self.entry
        try:
            fingerprint = self.fingerprint()
            citation = entry.citation or self.code.cite(self.parameters())
        except QuaccError:  # which running it says
            fingerprint, citation = "", entry.citation or get_code(entry.calculator).citation
        return {
            "name": self.name,
            "title": entry.title,
            "calculator": entry.calculator,
            "parameters": dict(entry.parameters),
            "family": entry.family,
            "functional": entry.functional,
            "trained_on": list(entry.trained_on),
            "licence": entry.licence,
            "citation": citation,
            "fingerprint": fingerprint,
        }

    def parameters(self) -> dict[str, Any]:
        """Return its keywords after defaults."""
        return self.code.complete(self.entry.parameters)


def gather_models(
    names: Sequence[str] | None = None, files: Iterable[str | Path] = ()
) -> list[Model]:
    """Return models by name; all if there are no names.

    Parameters
    ----------
    names
        Of models.
    files
        More files like ``models.yml``; see :func:`quacc.bench.config.read_entries`.

    Raises
    ------
    InputError
        A name is unknown, or a file makes no sense.
    """
    every = read_entries("models", files)
    found = []
    for name in select("model", names, every):
        entry, file = every[name]
        if not re.fullmatch(r"[\w.+-]+", name):
            raise InputError(f"{file}: the name {name!r} may have letters, digits and _.+- only.")
        try:
            get_code(entry.calculator).complete(entry.parameters)
        except InputError as error:
            raise InputError(f"{file}, {name}: {error}") from None
        found.append(Model(name, entry))
    return found
