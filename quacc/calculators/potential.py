"""What potentials share that were trained on crystals: they know neither charges nor vacuum."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes, all_properties
from ase.cell import Cell
from ase.data import chemical_symbols

from quacc.calculators.code import NO_ELECTRONS, Code, Place
from quacc.calculators.dispersion import refuse_functional
from quacc.calculators.keyword import Keyword, one_of
from quacc.errors import MissingProgramError, StructureError

MPTRJ = frozenset(chemical_symbols[1:95]) - {"Po", "At", "Rn", "Fr", "Ra"}
"""The elements of the Materials Project's trajectories, which many potentials are trained on."""


_WITH_U = "PBE and PBE+U"
"""Of the Materials Project; the U is no part of the dispersion."""

TRAJECTORIES = "MPtrj: relaxations of the Materials Project, September 2022"
"""What these are, for people."""


@dataclass(frozen=True)
class Training:
    """Where a potential comes from."""

    functional: str
    """What its energies are to be."""
    data: str
    """What it was trained on."""
    licence: str
    """Of the weights."""
    elements: frozenset[str] = MPTRJ


class Potential(Code):
    """A potential with weights, which are loaded once for all calculations of a thread."""

    electrons = False
    reuse = True
    handles = {
        **NO_ELECTRONS,
        "pbc": "honoured: a molecule, chain or layer gets a vacuum that is wider than the cutoff",
    }
    options = {"device": Keyword("auto", "where it computes", one_of("auto", "cpu", "cuda"))}
    elements: ClassVar[frozenset[str] | None] = MPTRJ
    trainings: ClassVar[Mapping[str, Training]]
    """By the keyword ``model``."""

    @abstractmethod
    def weights(self, package: Path, parameters: Mapping[str, Any]) -> Path:
        """Return the file of the weights, given the package's folder."""

    def files(self, parameters: Mapping[str, Any]) -> list[Path]:
        package = find_spec(self.package or "")
        if package is None or package.origin is None:
            self.require_here()
            raise MissingProgramError(f"{self.title} is not where its weights could be found.")
        return [self.weights(Path(package.origin).parent, parameters)]

    @abstractmethod
    def load(self, parameters: Mapping[str, Any], device: str) -> tuple[Calculator, float]:
        """Return the package's own calculator, and its cutoff (Å)."""

    def build(self, parameters: Mapping[str, Any], place: Place) -> Calculator:
        return InVacuum(*self.load(parameters, self.device(place.options["device"])))

    @staticmethod
    def device(wanted: str) -> str:
        """Return where it computes."""
        if wanted != "auto":
            return wanted
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"

    def training(self, parameters: Mapping[str, Any]) -> Training:
        """Return where the potential comes from."""
        return self.trainings[parameters["model"]]

    def check(self, atoms: Atoms, parameters: Mapping[str, Any]) -> list[str]:
        warnings = super().check(atoms, parameters)
        known = self.training(parameters).elements
        if unknown := sorted({*atoms.symbols} - known):
            raise StructureError(
                f"The model {parameters['model']} of {self.title} was not trained on "
                f"{', '.join(unknown)}."
            )
        return warnings

    def uncorrected_functional(self, parameters: Mapping[str, Any]) -> str | None:
        found = self.trainings[parameters["model"]].functional
        refuse_functional(self.title, found)
        return "PBE" if found == _WITH_U else found

    def about(self, parameters: Mapping[str, Any]) -> dict[str, str]:
        training = self.training(parameters)
        names = ("functional", "data", "licence")
        return {name: getattr(training, name) for name in names}

    def reach(self, calculator: Any) -> float:
        return float(calculator.cutoff)

    def evaluate(
        self, calculator: Any, structures: Sequence[Atoms], properties: Sequence[str]
    ) -> list[dict[str, Any]]:
        crystals = [calculator.given(atoms) for atoms in structures]
        return [_doubled(found) for found in self.predict(calculator.inner, crystals)]

    def predict(self, inner: Any, crystals: Sequence[Atoms]) -> list[dict[str, Any]]:
        """Return the results of crystals, of the package's own calculator, computed at once."""
        raise NotImplementedError


class InVacuum(Calculator):
    """A calculator that takes every structure for a crystal, and gets one.

    Its single precision ends here: what is made of its numbers is computed in double precision.
    """

    def __init__(self, inner: Calculator, cutoff: float) -> None:
        super().__init__()
        self.inner, self.cutoff = inner, cutoff
        self.implemented_properties = list(inner.implemented_properties)

    def given(self, atoms: Atoms) -> Atoms:
        """Return what the inner calculator gets for a structure."""
        return in_vacuum(atoms, 2 * self.cutoff)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        self.inner.reset()
        self.inner.calculate(self.given(self.atoms), properties, all_changes)
        self.results = _doubled(self.inner.results)


def _doubled(results: Mapping[str, Any]) -> dict[str, Any]:
    """Return a package's results that ASE knows, in double precision."""
    return {
        name: np.array(value, float) if np.ndim(value) else float(value)
        for name, value in results.items()
        if name in all_properties
    }


def in_vacuum(atoms: Atoms, width: float) -> Atoms:
    """Return a structure with so much vacuum (Å) along each direction that is not periodic."""
    if atoms.pbc.all():
        return atoms
    apart = atoms.copy()
    apart.calc, apart.constraints = None, []
    vectors = np.where(atoms.pbc[:, None], atoms.cell.array, 0.0)
    vectors = np.array(Cell(vectors).complete())
    for index in np.flatnonzero(~atoms.pbc):
        along = apart.positions @ (vectors[index] / np.linalg.norm(vectors[index]))
        vectors[index] *= (np.ptp(along) + width) / np.linalg.norm(vectors[index])
    apart.set_cell(vectors)
    apart.pbc = True
    return apart
