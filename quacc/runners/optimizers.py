"""The optimizer of relaxations, unless another one is asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase.optimize import BFGS
from numpy.typing import NDArray


class ScaledBFGS(BFGS):
    """ASE's BFGS, which learns from its first step how soft the structure is.

    BFGS begins as if all curvatures were ``alpha``, 70 eV/Å², which is about right for diamond; in
    metals it creeps until its Hessian has forgotten that. Here the first guess is replaced, before
    its first update, by the curvature along the first step (Nocedal and Wright, Numerical
    Optimization, 2nd ed., section 6.1; Barzilai and Borwein, IMA J. Numer. Anal. 8, 141 (1988)),
    never by more than ``alpha``. It takes no line search, so noise in energies does no harm.
    """

    scaled = False

    def update(
        self,
        pos: NDArray[Any],
        forces: NDArray[Any],
        pos0: NDArray[Any] | None,
        forces0: NDArray[Any] | None,
    ) -> None:
        """Update the Hessian (eV/Å²), a (3n, 3n) array, with positions (Å) and forces (eV/Å)."""
        if not self.scaled and pos0 is not None and forces0 is not None:
            step = pos - pos0
            curved = step @ (forces0 - forces)
            if curved > 0:  # else the next step may tell
                stiffness = min(curved / (step @ step), self.alpha)
                assert self.state is not None
                self.state.hessian = stiffness * np.eye(len(step))
                self.scaled = True
        super().update(pos, forces, pos0, forces0)
