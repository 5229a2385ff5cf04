"""The embedded-atom method, as ASE has it: tables from a file, for metals and their alloys."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ase
import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.calculators.eam import EAM
from ase.neighborlist import NeighborList
from ase.units import Bohr, Hartree

from quacc.calculators.code import Place, QuickCheck
from quacc.calculators.keyword import Keyword, one_of
from quacc.calculators.potential_file import POTENTIAL, FilePotential, elements_of_table
from quacc.errors import ParameterError

_DYNAMO = 27.2 * 0.529
"""Hartree times bohr, as in DYNAMO, with which funcfl files were fitted, and in LAMMPS (eV Å)."""

_FORMS = {"eam": "funcfl", "alloy": "setfl", "fs": "Finnis-Sinclair", "adp": "angular-dependent"}


class _Embedding:
    """A table of embedding energies, which ends with a straight line, as in LAMMPS.

    ASE goes on with the last interval's cubic.
    """

    def __init__(self, table: Any, end: float) -> None:
        self.table, self.end = table, end

    def __call__(self, density: Any, derivative: int = 0) -> Any:
        inside = np.minimum(density, self.end)
        found = self.table(inside, derivative)
        if derivative == 0:
            found = found + self.table(self.end, 1) * (density - inside)
        return found


class _EAM(QuickCheck, EAM):
    neighbors: Any = None

    def __init__(self, file: Path, form: str) -> None:
        super().__init__(potential=str(file), form=form)
        if form == "eam":
            self.rphi_data *= _DYNAMO / (Hartree * Bohr)
            self.set_splines()
        for index, table in enumerate(self.embedded_energy):
            self.embedded_energy[index] = _Embedding(table, self.rho[-1])
            self.d_embedded_energy[index] = self.deriv(self.embedded_energy[index])

    def reset(self) -> None:
        super().reset()
        self.neighbors = None

    def update(self, atoms: Atoms) -> None:
        """Find the neighbours: ASE's own list reaches twice as far, and is made twice a step."""
        self.index = np.array([self.elements.index(symbol) for symbol in atoms.symbols])
        if self.neighbors is None or len(self.neighbors.nl.cutoffs) != len(atoms):
            half = [self.cutoff / 2] * len(atoms)
            self.neighbors = NeighborList(half, skin=0.2, self_interaction=False, bothways=True)
        self.neighbors.update(atoms)


class EAMCode(FilePotential):
    name = "eam"
    title = "EAM (embedded-atom method, from a file)"
    keywords = {
        "potential": POTENTIAL,
        "form": Keyword(
            None,
            "how the file is written, as LAMMPS's suffixes .eam, .eam.alloy, .eam.fs and .adp "
            "name it; None: by its suffix",
            one_of(*_FORMS),
        ),
    }
    reuse = True
    install = "it is part of ASE"
    citation = """@article{Daw1984,
  author = {Daw, Murray S. and Baskes, M. I.},
  title = {Embedded-atom method: Derivation and application to impurities, surfaces, and other
    defects in metals},
  journal = {Physical Review B}, volume = {29}, pages = {6443--6453}, year = {1984},
  doi = {10.1103/PhysRevB.29.6443}
}"""

    def version(self) -> str:
        return f"ase {ase.__version__}"

    def resolve(self, atoms: Atoms, parameters: Mapping[str, Any]) -> dict[str, Any]:
        found = super().resolve(atoms, parameters)
        if found["form"] is None:
            found["form"] = Path(found["potential"]).suffix.lstrip(".")
            if found["form"] not in _FORMS:
                raise ParameterError(
                    f"The suffix of {found['potential']!r} does not say how it is written: pass "
                    f"form='…', {', '.join(f'{one} ({name})' for one, name in _FORMS.items())}."
                )
        return found

    def check(self, atoms: Atoms, parameters: Mapping[str, Any]) -> list[str]:
        warnings = super().check(atoms, parameters)
        (file,) = self.files(parameters)
        known = elements_of_table(file, parameters["form"] == "eam")
        self.require_elements(atoms, known, file)
        return warnings

    def build(self, parameters: Mapping[str, Any], place: Place) -> Calculator:
        (file,) = self.files(parameters)
        return _EAM(file, parameters["form"])

    def reach(self, calculator: Any) -> float:
        return float(calculator.cutoff)

    def cite(self, parameters: Mapping[str, Any]) -> str:
        return _CITATIONS.get(parameters.get("form") or "", self.citation)


_CITATIONS = {
    "fs": """@article{Finnis1984,
  author = {Finnis, M. W. and Sinclair, J. E.},
  title = {A simple empirical {N}-body potential for transition metals},
  journal = {Philosophical Magazine A}, volume = {50}, pages = {45--55}, year = {1984},
  doi = {10.1080/01418618408244210}
}""",
    "adp": """@article{Mishin2005,
  author = {Mishin, Y. and Mehl, M. J. and Papaconstantopoulos, D. A.},
  title = {Phase stability in the {Fe--Ni} system: Investigation by first-principles calculations
    and atomistic simulations},
  journal = {Acta Materialia}, volume = {53}, pages = {4029--4041}, year = {2005},
  doi = {10.1016/j.actamat.2005.05.001}
}""",
}

CODE = EAMCode()
