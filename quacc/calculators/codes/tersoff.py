"""Tersoff's bond-order potential, as ASE has it: parameters from a file of LAMMPS's form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import ase
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.calculators.tersoff import Tersoff, TersoffParameters
from ase.neighborlist import NeighborList

from quacc.calculators.code import Place, QuickCheck
from quacc.calculators.potential_file import POTENTIAL, FilePotential, words_of
from quacc.errors import ParameterError

_WORDS = 17
"""An entry: three elements, and 14 numbers."""


class _Tersoff(QuickCheck, Tersoff):
    nl: Any = None

    def _update_nl(self, atoms: Atoms) -> None:
        """Find the neighbours: ASE's own list reaches twice as far, and is made anew each step."""
        if self.nl is None or len(self.nl.nl.cutoffs) != len(atoms):
            half = [reach(self) / 2] * len(atoms)
            self.nl = NeighborList(
                half, skin=self.cutoff_skin / 2, self_interaction=False, bothways=True
            )
        self.nl.update(atoms)

    def _calc_bij_d(self, zeta: float, beta: float, n: float) -> float:
        """Return the bond order's derivative: zero for a lone bond, where ASE divides by zero."""
        return float(super()._calc_bij_d(zeta, beta, n)) if beta * zeta > 0 else 0.0


class TersoffCode(FilePotential):
    name = "tersoff"
    title = "Tersoff potential (from a file)"
    keywords = {"potential": POTENTIAL}
    install = "it is part of ASE"
    citation = """@article{Tersoff1988,
  author = {Tersoff, J.},
  title = {New empirical approach for the structure and energy of covalent systems},
  journal = {Physical Review B}, volume = {37}, pages = {6991--7000}, year = {1988},
  doi = {10.1103/PhysRevB.37.6991}
}

@article{Tersoff1989,
  author = {Tersoff, J.},
  title = {Modeling solid-state chemistry: Interatomic potentials for multicomponent systems},
  journal = {Physical Review B}, volume = {39}, pages = {5566--5568}, year = {1989},
  doi = {10.1103/PhysRevB.39.5566}
}"""

    def version(self) -> str:
        return f"ase {ase.__version__}"

    def check(self, atoms: Atoms, parameters: Mapping[str, Any]) -> list[str]:
        warnings = super().check(atoms, parameters)
        (file,) = self.files(parameters)
        entries = _entries(file)
        self.require_elements(atoms, sorted({symbol for key in entries for symbol in key}), file)
        without = sorted({*product({*atoms.symbols}, repeat=3)} - entries.keys())
        if without:
            raise ParameterError(
                f"The potential {file} has no entry for {', '.join(map('-'.join, without))}."
            )
        return warnings

    def build(self, parameters: Mapping[str, Any], place: Place) -> Calculator:
        (file,) = self.files(parameters)
        return _Tersoff(_entries(file))

    def reach(self, calculator: Any) -> float:
        return reach(calculator)


def reach(calculator: Any) -> float:
    """Return the longest cutoff of a potential (Å)."""
    return max(float(one.R + one.D) for one in calculator.parameters.values())


def _entries(file: Path) -> dict[tuple[str, str, str], TersoffParameters]:
    """Return a file's parameters; ASE's reader takes no comment behind an entry's numbers.

    Raises
    ------
    ParameterError
        It is no such file.
    """
    words = words_of(file)
    parts = [words[start : start + _WORDS] for start in range(0, len(words), _WORDS)]
    try:
        numbers = [TersoffParameters.from_list([float(word) for word in one[3:]]) for one in parts]
    except ValueError as error:
        raise ParameterError(
            f"{file} is no Tersoff potential of LAMMPS's pair_style tersoff, with three elements "
            f"and 14 numbers in each entry: {error}."
        ) from None
    names = [(one[0], one[1], one[2]) for one in parts]
    if twice := [key for key, number in Counter(names).items() if number > 1]:
        raise ParameterError(f"{file} has two entries for {'-'.join(twice[0])}.")
    if wrong := [one.m for one in numbers if one.m not in (1, 3)]:
        raise ParameterError(f"{file} has an exponent m of {wrong[0]:g}; it must be 1 or 3.")
    return dict(zip(names, numbers, strict=True))


CODE = TersoffCode()
