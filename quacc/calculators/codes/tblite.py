"""tblite: extended tight binding (GFN1-xTB, GFN2-xTB), in memory, for molecules and solids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from quacc.calculators.code import Code, Place
from quacc.calculators.dispersion import twice
from quacc.calculators.keyword import Keyword, count, one_of, positive, whole
from quacc.errors import ParameterError, StructureError
from quacc.extras import charge_of, unpaired_of


class TBLiteCode(Code):
    name = "tblite"
    title = "tblite (extended tight binding: GFN1-xTB, GFN2-xTB)"
    keywords = {
        "method": Keyword(
            "GFN2-xTB", "the parametrisation", one_of("GFN2-xTB", "GFN1-xTB", "IPEA1-xTB")
        ),
        "charge": Keyword(None, "None: the sum of the initial charges", whole),
        "multiplicity": Keyword(
            None,
            "None: from the initial magnetic moments; 2 for a molecule without any that has an odd "
            "number of electrons",
            count,
        ),
        "accuracy": Keyword(1.0, "of the SCF: less is tighter", positive),
        "electronic_temperature": Keyword(300.0, "K", positive),
        "max_iterations": Keyword(250, "of the SCF", count),
    }
    package = "tblite"
    one_spin = True
    handles = {
        "pbc": "honoured: none or all three; one or two are refused",
        "charges": "honoured: their sum, refused unless it is a whole number",
        "moments": "honoured: their sum; without any, the lowest spin; in a molecule, impossible "
        "ones are refused; so are vectors",
    }
    install = "`pip install quacc[tblite]`"
    citation = """@article{Bannwarth2019,
  author = {Bannwarth, Christoph and Ehlert, Sebastian and Grimme, Stefan},
  title = {{GFN2-xTB} -- An Accurate and Broadly Parametrized Self-Consistent Tight-Binding Quantum
    Chemical Method with Multipole Electrostatics and Density-Dependent Dispersion Contributions},
  journal = {Journal of Chemical Theory and Computation}, volume = {15}, pages = {1652--1671},
  year = {2019}, doi = {10.1021/acs.jctc.8b01176}
}"""

    def build(self, parameters: Mapping[str, Any], place: Place) -> Calculator:
        from tblite.ase import TBLite

        return TBLite(verbosity=0, **parameters)

    def resolve(self, atoms: Atoms, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Name charge and multiplicity where tblite would not take what the structure says."""
        found = dict(parameters)
        # Of what is only near a whole number, tblite would take another.
        if found["charge"] is None and atoms.get_initial_charges().sum() != charge_of(atoms):
            found["charge"] = charge_of(atoms)
        if found["multiplicity"] is not None:
            return found
        unpaired = unpaired_of(atoms)
        if unpaired is None:
            if not atoms.pbc.any() and self.electron_count(atoms, found) % 2:
                found["multiplicity"] = 2
        elif atoms.get_initial_magnetic_moments().sum() < -0.5:
            found["multiplicity"] = unpaired + 1  # a sum below zero is no number of electrons
        return found

    def check_state(self, atoms: Atoms, parameters: Mapping[str, Any]) -> None:
        super().check_state(atoms, parameters)
        if atoms.pbc.any() and not atoms.pbc.all():
            raise StructureError(
                f"tblite takes all three directions for periodic, or none, but the structure has "
                f"pbc={atoms.pbc.tolist()}: its energy would depend on the vacuum in the cell. Set "
                "atoms.pbc = True with a vacuum so wide that it does not, or take a cluster with "
                "atoms.pbc = False."
            )

    def check(self, atoms: Atoms, parameters: Mapping[str, Any]) -> list[str]:
        warnings = super().check(atoms, parameters)
        if atoms.numbers.max(initial=1) > 86:
            raise ParameterError("GFN-xTB has parameters for the elements up to radon (86).")
        if atoms.pbc.any() and _width(atoms) < _WIDE:
            warnings.append(
                f"tblite has no k-points, and the cell is only {_width(atoms):.1f} Å wide: take a "
                f"supercell that is wider than {_WIDE:g} Å."
            )
        return warnings

    def spin(self, parameters: Mapping[str, Any]) -> float | None:
        multiplicity = parameters["multiplicity"]
        return None if multiplicity is None else float(multiplicity - 1) / 2

    def uncorrected_functional(self, parameters: Mapping[str, Any]) -> str | None:
        kind = "D4" if parameters["method"] == "GFN2-xTB" else "D3"
        raise twice(self.title, f"the {kind} that is part of {parameters['method']}")

    def cite(self, parameters: Mapping[str, Any]) -> str:
        return self.citation if parameters.get("method") == "GFN2-xTB" else _GFN1


_WIDE = 10.0


def _width(atoms: Atoms) -> float:
    """Return the least height of the cell along its periodic directions (Å)."""
    heights = 1 / np.linalg.norm(np.linalg.inv(atoms.cell.complete().array), axis=0)
    return float(heights[atoms.pbc].min())


_GFN1 = """@article{Grimme2017,
  author = {Grimme, Stefan and Bannwarth, Christoph and Shushkov, Philip},
  title = {A Robust and Accurate Tight-Binding Quantum Chemical Method for Structures, Vibrational
    Frequencies, and Noncovalent Interactions of Large Molecular Systems Parametrized for All
    spd-Block Elements ({Z} = 1--86)},
  journal = {Journal of Chemical Theory and Computation}, volume = {13}, pages = {1989--2009},
  year = {2017}, doi = {10.1021/acs.jctc.7b00118}
}"""

CODE = TBLiteCode()
