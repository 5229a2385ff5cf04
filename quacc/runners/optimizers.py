"""The optimizer of relaxations, unless another one is asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase._4.optimize.bfgs import BFGSMethod
from ase.constraints import FixAtoms
from ase.optimize import BFGS
from numpy.typing import NDArray

from quacc.runners.model_hessian import model_hessian

_FLOOR = 1.0
"""Added to the model's curvatures (eV/Å²), some of which are zero."""
_MEMORY = 30
"""How many steps the Hessian remembers where there is a model."""
_SOFTEST = 0.3
"""The least of the model that the first step may leave."""


class ScaledBFGS(BFGS):
    """ASE's BFGS with a better first Hessian: a model of bonds, scaled by the first step.

    BFGS begins as if all curvatures were ``alpha``, 70 eV/Å², which is about right for diamond; in
    metals it creeps until its Hessian has forgotten that, and in molecules, whose curvatures differ
    by a factor of a thousand, until it has learned each of them. Here the first guess is a model of
    bonds, angles and torsions (:func:`quacc.runners.model_hessian.model_hessian`), which turns
    with them: each step takes it at the new structure, and updates it by the last steps.

    There is no model where the cell relaxes as well, where a constraint is of another kind than
    ASE's ``FixAtoms``, and where nothing is bonded, as in argon; ``alpha`` stays then. Either guess
    is scaled, before its first update, by the curvature along the first step (Nocedal and Wright,
    Numerical Optimization, 2nd ed., section 6.1; Barzilai and Borwein, IMA J. Numer. Anal. 8, 141
    (1988)), and only ever made softer. It takes no line search, so noise in energies does no harm.
    """

    def initialize(self) -> None:
        super().initialize()
        self.scaled = False
        self.scale = 1.0
        self.history: list[tuple[NDArray[Any], NDArray[Any]]] = []
        self.modelled = self._may_model() and model_hessian(self.atoms).max(initial=0) > _FLOOR

    def update(
        self,
        pos: NDArray[Any],
        forces: NDArray[Any],
        pos0: NDArray[Any] | None,
        forces0: NDArray[Any] | None,
    ) -> None:
        """Update the Hessian (eV/Å²), a (3n, 3n) array, with positions (Å) and forces (eV/Å)."""
        if self.state is None or pos0 is None or forces0 is None:
            self.state = BFGSMethod(self._guess())  # type: ignore[assignment]
            return
        step, change = pos - pos0, forces0 - forces
        if not self.scaled and step @ change > 0:  # otherwise the next step may tell
            scale = (step @ change) / (step @ self.state.hessian @ step)
            self.scale = float(np.clip(scale, _SOFTEST if self.modelled else 0, 1))
            self.state.hessian = self.scale * self.state.hessian
            self.scaled = True
        if not self.modelled:
            super().update(pos, forces, pos0, forces0)
            return
        self.history = [*self.history, (step, change)][-_MEMORY:]
        self.state.hessian = self._guess()
        for step, change in self.history:
            self.state.update(step, change, np.zeros(1), np.zeros(1))

    def _guess(self) -> NDArray[Any]:
        if not self.modelled:
            return self.scale * self.H0
        hessian = model_hessian(self.atoms)
        for one in self.atoms.constraints:  # held atoms move nowhere, whatever pulls at them
            held = (3 * one.index[:, None] + np.arange(3)).ravel()
            hessian[held] = hessian[:, held] = 0
        return self.scale * (hessian + _FLOOR * np.eye(len(hessian)))

    def _may_model(self) -> bool:
        atoms = self.atoms
        return isinstance(atoms, Atoms) and all(type(one) is FixAtoms for one in atoms.constraints)
