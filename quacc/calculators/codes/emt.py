"""Effective medium theory, as ASE has it: fast and in memory, for fcc metals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ase
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT, parameters

from quacc.calculators.code import NO_ELECTRONS, Code, Place, QuickCheck
from quacc.calculators.keyword import Keyword, flag

_FITTED = frozenset({"Al", "Cu", "Ag", "Au", "Ni", "Pd", "Pt"})


class _EMT(QuickCheck, EMT):
    pass


class EMTCode(Code):
    name = "emt"
    title = "EMT (effective medium theory)"
    keywords = {
        "asap_cutoff": Keyword(
            False, "take the cutoff from the largest atom present, as ASAP does", flag
        ),
    }
    elements = frozenset(parameters)
    electrons = False
    handles = NO_ELECTRONS
    install = "it is part of ASE"
    citation = """@article{Jacobsen1996,
  author = {Jacobsen, K. W. and Stoltze, P. and N{\\o}rskov, J. K.},
  title = {A semi-empirical effective medium theory for metals and alloys},
  journal = {Surface Science}, volume = {366}, pages = {394--402}, year = {1996},
  doi = {10.1016/0039-6028(96)00816-3}
}"""

    def version(self) -> str:
        return f"ase {ase.__version__}"

    def build(self, parameters: Mapping[str, Any], place: Place) -> Calculator:
        return _EMT(**parameters)

    def reach(self, calculator: Any) -> float:
        return float(calculator.rc_list)

    def check(self, atoms: Atoms, parameters: Mapping[str, Any]) -> list[str]:
        warnings = super().check(atoms, parameters)
        unfitted = sorted({*atoms.symbols} - _FITTED)
        if unfitted:
            warnings.append(
                f"ASE's EMT parameters for {', '.join(unfitted)} are for tests only, not for "
                "any serious use."
            )
        return warnings


CODE = EMTCode()
