"""Vacuum in a periodic cell: how much there is, and what it surrounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import covalent_radii, vdw_alvarez
from ase.neighborlist import neighbor_list
from numpy.typing import NDArray

from quacc.atoms.check import heights

VACUUM = 6.0
"""A gap like this (Å) makes a periodic structure a slab, or along all directions a molecule."""
_BOND = 1.3
"""Atoms closer than this part of the sum of their covalent radii are bonded."""
_NOISE = 1e-6
"""Tolerance of scaled positions."""


def gap(atoms: Atoms, axis: int) -> float:
    """Return the widest gap between atoms along a cell vector, normal to the other two (Å)."""
    cell = atoms.cell.complete()
    width, _ = widest(cell.scaled_positions(atoms.positions)[:, axis])
    return float(width * heights(cell.array)[axis])


def least_gap(atoms: Atoms) -> float:
    """Return the smallest :func:`gap` of all periodic directions (Å); infinite without any."""
    axes = np.flatnonzero(atoms.pbc).tolist()
    return min((gap(atoms, axis) for axis in axes), default=float("inf"))


def is_isolated(atoms: Atoms) -> bool:
    """Return whether it is an atom, a molecule or a cluster, alone or in a box of vacuum."""
    return least_gap(atoms) >= VACUUM


def is_crowded_molecule(atoms: Atoms) -> bool:
    """Return whether it is one molecule whose periodic images are near, but not bonded to it."""
    if not atoms.pbc.any() or len(atoms) < 2 or is_isolated(atoms):
        return False
    reach = _BOND * covalent_radii[atoms.numbers]
    first, second, shifts = neighbor_list("ijS", atoms, reach)
    # Walk along the bonds; one molecule reaches each atom in one image only.
    images: dict[int, NDArray[Any]] = {0: np.zeros(3, int)}
    left = [0]
    while left:
        atom = left.pop()
        for bond in np.flatnonzero(first == atom):
            image = images[atom] + shifts[bond]
            other = int(second[bond])
            if other not in images:
                images[other] = image
                left.append(other)
            elif (images[other] != image).any():
                return False
    return len(images) == len(atoms)


def touches_own_image(atoms: Atoms, axes: Sequence[int]) -> float | None:
    """Return how near an atom comes to an image of the same molecule along cell vectors (Å).

    None where no two are within the sum of their van der Waals radii (Alvarez, Dalton Trans. 42,
    8617 (2013), as tabulated by ASE).

    Parameters
    ----------
    atoms
        The molecule alone, not cut by the boundaries of its cell.
    axes
        The cell vectors.
    """
    apart = atoms.copy()
    apart.pbc = [axis in axes for axis in range(3)]
    radii = np.nan_to_num(vdw_alvarez.vdw_radii[atoms.numbers], nan=2.0)
    distance, shifts = neighbor_list("dS", apart, radii)
    near = distance[shifts.any(axis=1)]
    return float(near.min()) if len(near) else None


def in_one_piece(atoms: Atoms, axes: Sequence[int] = (2,)) -> Atoms:
    """Return a structure that the boundaries of its cell do not cut.

    Along periodic cell vectors where they do, or where it is outside of the cell, it is put in the
    middle, with its widest gap as the vacuum around it; otherwise it stays where it is.
    """
    whole = atoms.copy()
    cell = atoms.cell.complete()
    scaled = cell.scaled_positions(atoms.positions)
    for axis in axes:
        if not atoms.pbc[axis]:
            continue
        along = scaled[:, axis]
        _, lowest = widest(along)
        above = (along - lowest + _NOISE) % 1 - _NOISE
        cut = np.ptp(along) > above.max() + _NOISE
        if cut or along.min() < -_NOISE or along.max() > 1 + _NOISE:
            scaled[:, axis] = above + (1 - above.max()) / 2
            whole.positions = cell.cartesian_positions(scaled)
    return whole


def widest(along: NDArray[Any]) -> tuple[float, float]:
    """Return the widest gap between scaled positions along one cell vector, and where it ends."""
    ranked = np.sort(along % 1)
    gaps = np.diff([*ranked, ranked[0] + 1])
    return float(gaps.max()), float(ranked[(gaps.argmax() + 1) % len(ranked)])
