"""What codes of molecules share: charge, multiplicity, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ase import Atoms

from quacc.calculators.code import Code
from quacc.errors import StructureError
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
