"""The Lennard-Jones potential, as ASE has it: one pair of parameters for all atoms."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ase
import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.calculators.lj import LennardJones

from quacc.calculators.base import Code, QuickCheck
from quacc.errors import ParameterError, require_bool, require_positive

_MANY = 1e6


class _LennardJones(QuickCheck, LennardJones):
    pass


class LJCode(Code):
    """``epsilon`` (eV), ``sigma`` (Å), cutoff ``rc`` (Å, None: 3 sigma), onset ``ro`` of the
    smooth cutoff (Å, None: 0.66 rc), ``smooth``: make the energy smooth at the cutoff instead
    of shifting it."""

    name = "lj"
    title = "Lennard-Jones potential"
    defaults = {"epsilon": 1.0, "sigma": 1.0, "rc": None, "ro": None, "smooth": False}
    install = "it is part of ASE"
    citation = """@article{Jones1924,
  author = {Jones, J. E.},
  title = {On the Determination of Molecular Fields. {II}. From the Equation of State of a Gas},
  journal = {Proceedings of the Royal Society A}, volume = {106}, pages = {463--477},
  year = {1924}, doi = {10.1098/rspa.1924.0082}
}"""

    def version(self) -> str:
        return f"ase {ase.__version__}"

    def build(self, parameters: Mapping[str, Any], directory: Path | None) -> Calculator:
        return _LennardJones(**parameters)

    def check(self, atoms: Atoms, parameters: Mapping[str, Any]) -> list[str]:
        warnings = super().check(atoms, parameters)
        epsilon, sigma = parameters["epsilon"], parameters["sigma"]
        require_positive(epsilon=epsilon, sigma=sigma)
        require_bool(smooth=parameters["smooth"])
        for name in ("rc", "ro"):
            if parameters[name] is not None:
                require_positive(**{name: parameters[name]})
        rc = 3 * sigma if parameters["rc"] is None else parameters["rc"]
        if parameters["ro"] is not None and parameters["ro"] >= rc:
            raise ParameterError(
                f"ro, the onset of the smooth cutoff, must be below the cutoff rc = {rc} Å, "
                f"not {parameters['ro']!r}."
            )
        neighbours = _neighbours(atoms, rc)
        if neighbours > _MANY:
            raise ParameterError(
                f"The cutoff rc = {rc:g} Å (3 sigma, unless given) covers about {neighbours:.0e} "
                "neighbours of each atom. Choose a shorter one, and check sigma (Å)."
            )
        return warnings


def _neighbours(atoms: Atoms, cutoff: float) -> float:
    """Estimate how many atoms a box of the cutoff's size around an atom holds."""
    cell = atoms.cell.complete().array
    heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    return len(atoms) * float(np.prod((2 * cutoff / heights + 1)[atoms.pbc]))


CODE = LJCode()
