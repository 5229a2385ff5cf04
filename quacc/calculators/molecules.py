"""What codes of molecules share: charge, multiplicity, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from quacc.calculators.code import Code
from quacc.calculators.files import read
from quacc.calculators.keyword import Check, Keyword, count
from quacc.calculators.planewaves import last_lines, messages_in
from quacc.errors import CalculationError, ParameterError, StructureError
from quacc.extras import unpaired_of


class Molecules(Code):
    """A code of molecules alone, with the keywords ``charge`` and ``multiplicity``."""

    properties = ("energy", "forces", "dipole")
    one_spin = True
    handles = {
        "pbc": "refused unless none",
        "charges": "honoured: their sum, refused unless it is a whole number",
        "moments": "honoured: their sum; without any, the lowest spin; impossible ones and vectors "
        "are refused",
    }

    def resolve(self, atoms: Atoms, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Name charge and multiplicity."""
        found = dict(parameters)
        found["charge"] = self.charge(atoms, parameters)
        if found["multiplicity"] is None:
            unpaired = unpaired_of(atoms)
            if unpaired is None:
                unpaired = self.electron_count(atoms, found) % 2
            found["multiplicity"] = unpaired + 1
        return found

    def check_state(self, atoms: Atoms, parameters: Mapping[str, Any]) -> None:
        if atoms.pbc.any():
            raise StructureError(
                f"quacc computes molecules alone with {self.title.partition(' (')[0]}, but the "
                f"structure has pbc={atoms.pbc.tolist()}. Set atoms.pbc = False for a molecule; "
                "for a crystal, take another calculator, such as espresso."
            )
        super().check_state(atoms, parameters)
        if (electrons := self.electron_count(atoms, parameters)) < 1:
            raise StructureError(
                f"With the charge {parameters['charge']:+d}, {atoms.get_chemical_formula()} has "
                f"{electrons} electrons, and there is nothing to compute."
            )

    def check(self, atoms: Atoms, parameters: Mapping[str, Any]) -> list[str]:
        warnings = super().check(atoms, parameters)
        moments = atoms.get_initial_magnetic_moments()
        if (moments > 0).any() and (moments < 0).any():
            warnings.append(
                "The initial magnetic moments have both signs. Only their sum counts: a "
                "broken-symmetry state is not looked for."
            )
        return warnings

    def spin(self, parameters: Mapping[str, Any]) -> float | None:
        multiplicity = parameters["multiplicity"]
        return None if multiplicity is None else float(multiplicity - 1) / 2


MULTIPLICITY = Keyword(
    None,
    "above 1, spins are unrestricted; None: from the initial magnetic moments; without any, 1, or "
    "2 for an odd number of electrons",
    count,
)
CORES = Keyword(None, "cores that it uses; None: as the program has it, mostly one", count)


def word(program: str) -> Check:
    """Return the check that a value is one word of a program's input."""

    def refuse(name: str, value: Any) -> None:
        if not isinstance(value, str) or not _WORD.fullmatch(value):
            raise ParameterError(f"{name} must be a word of {program}'s input, not {value!r}.")

    return Check("", refuse)


_WORD = re.compile(r"[A-Za-z0-9_.+\-*(),/\[\]]+")


def refuse_mp2(title: str, method: str) -> None:
    """Refuse a correction of dispersion for MP2, which has its own."""
    if method.lower().endswith("mp2"):
        raise ParameterError(
            f"{title} computes {method}, which has dispersion by correlation: D3 and D4 correct "
            "density functionals. Leave dispersion out."
        )


def heavy_electrons(atoms: Atoms, basis: str) -> list[str]:
    """Return the warning about elements beyond krypton that may have no core potential."""
    heavy = sorted({s for s, z in zip(atoms.symbols, atoms.numbers, strict=True) if z > 36})
    if not heavy or CORED.match(basis) or basis.lower().startswith("def2"):
        return []
    return [
        f"Nothing says that the basis set {basis} has effective core potentials for "
        f"{', '.join(heavy)}. If it has none, all electrons are computed, without relativity."
    ]


CORED = re.compile(r"(lanl|sdd|cep|crenb|sbkjc|srlc|srsc|hwmb|dhf-)|.*-pp$", re.IGNORECASE)
"""Names of basis sets that are made for effective core potentials, beside those of def2."""


def check_computed(
    title: str, told: Atoms, parameters: Mapping[str, Any], found: Computed, within: float
) -> None:
    """Refuse an output that is not of the molecule that was given.

    Parameters
    ----------
    within
        How far positions, as the program prints them, may be from those of the input (Å).

    Raises
    ------
    CalculationError
    """
    positions = np.reshape(found.positions, (-1, 3))
    same = list(found.symbols) == list(told.symbols) and positions.shape == told.positions.shape
    if not same or not np.abs(positions - told.positions).max() < within:
        raise CalculationError(
            f"The output of {title} is of another structure than the one that was given to it. "
            "Look at its input and its output."
        )
    state = {"charge": found.charge, "multiplicity": found.multiplicity}
    for name, value in state.items():
        if value != parameters[name]:
            raise CalculationError(
                f"{title} computed with the {name} {value}, and not with {parameters[name]}, which "
                "its input says. Look at its output."
            )


@dataclass(frozen=True)
class Computed:
    """What an output says of the molecule that was computed."""

    symbols: Sequence[str]
    positions: Any
    """(atoms, 3), Å."""
    charge: int | None
    """None where it does not say it, which is refused."""
    multiplicity: int | None


def ended(name: str, output: Path, errors: Path, telling: re.Pattern[str]) -> str | None:
    """Return what the files of a failed run say of its end.

    Parameters
    ----------
    name
        Of the program, in the setting ``commands``.
    telling
        What lines of the output match, without spaces around them, that tell it.
    """
    text = read(output)
    lines = [line.strip(" *!=>") for line in text.splitlines()]
    found = list(dict.fromkeys(line for line in lines if telling.fullmatch(line)))
    if found := found[-4:] or messages_in(read(errors)):
        return "; ".join(found)
    if last := last_lines(text):
        return f"it wrote no error; its last lines are: {last}"
    # The file is there once the program was started.
    silent = f"it wrote no output; check that the setting commands.{name} starts it"
    return silent * errors.is_file() or None
