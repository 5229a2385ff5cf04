"""The Lennard-Jones potential, as ASE has it: one pair of parameters for all atoms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ase
import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.calculators.lj import LennardJones

from quacc.calculators.code import NO_ELECTRONS, Code, Place, QuickCheck
from quacc.calculators.keyword import Keyword, flag, positive
from quacc.errors import ParameterError

NOBLE_GASES = {
    "Ne": {"epsilon": 0.0031, "sigma": 2.74},
    "Ar": {"epsilon": 0.0104, "sigma": 3.40},
    "Kr": {"epsilon": 0.0140, "sigma": 3.65},
    "Xe": {"epsilon": 0.0200, "sigma": 3.98},
}
"""From gases at low densities (eV, Å): Bernardes, Phys. Rev. 112, 1534 (1958), as in Ashcroft and
Mermin, Solid State Physics (1976), table 20.1."""

_MANY = 1e6


class _LennardJones(QuickCheck, LennardJones):
    pass


class LJCode(Code):
    name = "lj"
    title = "Lennard-Jones potential"
    keywords = {
        "epsilon": Keyword(
            None,
            "the depth of the well (eV); published for Ne, Ar, Kr and Xe (Bernardes, Phys. Rev. "
            "112, 1534 (1958)), to be given with sigma for all others",
            positive,
        ),
        "sigma": Keyword(None, "the distance where the energy is zero (Å)", positive),
        "rc": Keyword(None, "cutoff (Å); None: 3 sigma", positive),
        "ro": Keyword(None, "onset of the smooth cutoff (Å); None: 0.66 rc", positive),
        "smooth": Keyword(
            False, "make the energy smooth at the cutoff, instead of shifting it", flag
        ),
    }
    electrons = False
    handles = NO_ELECTRONS
    install = "it is part of ASE"
    citation = """@article{Jones1924,
  author = {Jones, J. E.},
  title = {On the Determination of Molecular Fields. {II}. From the Equation of State of a Gas},
  journal = {Proceedings of the Royal Society A}, volume = {106}, pages = {463--477},
  year = {1924}, doi = {10.1098/rspa.1924.0082}
}

@article{Bernardes1958,
  author = {Bernardes, Newton},
  title = {Theory of Solid {Ne}, {Ar}, {Kr}, and {Xe} at 0 {K}},
  journal = {Physical Review}, volume = {112}, pages = {1534--1539}, year = {1958},
  doi = {10.1103/PhysRev.112.1534}
}"""

    def version(self) -> str:
        return f"ase {ase.__version__}"

    def build(self, parameters: Mapping[str, Any], place: Place) -> Calculator:
        return _LennardJones(**parameters)

    def resolve(self, atoms: Atoms, parameters: Mapping[str, Any]) -> dict[str, Any]:
        symbols = set(atoms.symbols)
        published = NOBLE_GASES.get(symbols.pop()) if len(symbols) == 1 else None
        resolved = dict(parameters)
        for name in ("epsilon", "sigma"):
            if parameters[name] is not None:
                continue
            # One of its own with a published other would be a potential that nobody has fitted.
            if published is None or any(parameters[other] is not None for other in published):
                raise ParameterError(
                    "Lennard-Jones needs epsilon (eV), the depth of the well, and sigma (Å), "
                    f"where the energy is zero; {name} is missing. Give both, such as "
                    "epsilon=0.0104, sigma=3.40 (argon). Published ones are used for "
                    f"{', '.join(NOBLE_GASES)} alone, where neither is given."
                )
            resolved[name] = published[name]
        return resolved

    def reach(self, calculator: Calculator) -> float:
        return float(calculator.parameters["rc"])

    def check(self, atoms: Atoms, parameters: Mapping[str, Any]) -> list[str]:
        warnings = super().check(atoms, parameters)
        if len(symbols := sorted(set(atoms.symbols))) > 1:
            warnings.append(
                f"One epsilon and one sigma hold for all atoms: {', '.join(symbols)} differ in "
                "their masses alone."
            )
        rc = 3 * parameters["sigma"] if parameters["rc"] is None else parameters["rc"]
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
