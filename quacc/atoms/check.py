"""Refuse structures that no calculator can make sense of, before anything is computed."""

from __future__ import annotations

from typing import NoReturn

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.geometry import minkowski_reduce

from quacc.errors import StructureError
from quacc.extras import check_extras

OVERLAP = 0.5
"""Atoms closer than this part of the sum of their covalent radii overlap."""

_LARGEST = 1e6
"""No coordinate in Å is this large."""

_DENSE = 300
"""Up to this many atoms all pairs at once are quicker than a neighbour list."""


def check_structure(atoms: Atoms, *, overlap: bool = True) -> None:
    """Raise a :class:`StructureError` for a structure that makes no physical sense.

    No atoms; an unknown element; positions or cell not finite, or too large to be meant in Å;
    a periodic cell without volume; two atoms closer than half the sum of their covalent radii
    (Cordero et al., Dalton Trans. 2832 (2008), as tabulated by ASE), periodic images included;
    and what :func:`quacc.extras.check_extras` refuses. ``overlap=False`` lets atoms be close.
    """
    if len(atoms) == 0:
        raise StructureError("The structure has no atoms.")
    unknown = np.flatnonzero((atoms.numbers < 1) | (atoms.numbers >= len(covalent_radii)))
    if len(unknown):
        raise StructureError(
            f"Atom {unknown[0]} has the atomic number {atoms.numbers[unknown[0]]}, which is no "
            "element. Replace dummy atoms before computing."
        )
    fine = np.abs(atoms.positions) < _LARGEST
    if not fine.all():
        bad = int(np.flatnonzero(~fine.all(axis=1))[0])
        raise StructureError(
            f"The position of atom {bad} ({atoms.symbols[bad]}) is not finite, or no length in "
            f"Å: {atoms.positions[bad].tolist()}. The structure comes from a calculation that "
            "went wrong, or from a damaged file."
        )
    cell = atoms.cell.array
    if not (np.abs(cell) < _LARGEST).all():
        raise StructureError(f"The cell is not finite, or no lengths in Å: {cell.tolist()}.")
    if atoms.pbc.any():
        flat = abs(np.linalg.det(atoms.cell.complete().array)) < 1e-6
        if flat or not cell[atoms.pbc].any(axis=1).all():
            raise StructureError(
                f"The structure is periodic (pbc={atoms.pbc.tolist()}) but its cell has no "
                f"volume: {cell.tolist()}. Give it a cell, or set atoms.pbc = False."
            )
    check_extras(atoms)
    if overlap:
        _check_overlap(atoms)


def _check_overlap(atoms: Atoms) -> None:
    radii = covalent_radii[atoms.numbers]
    cutoff = OVERLAP * 2 * float(radii.max())
    cell = atoms.cell.complete().array if atoms.pbc.any() else atoms.cell.array
    if atoms.pbc.any() and cutoff >= heights(cell)[atoms.pbc].min() / 2:
        # The shortest vectors of the same lattice; what follows depends on them being short.
        cell, _ = minkowski_reduce(cell, pbc=atoms.pbc)
        lengths = np.linalg.norm(cell, axis=1)[atoms.pbc]
        if lengths.min() < cutoff:
            _report(atoms, int(radii.argmax()), int(radii.argmax()), lengths.min(), cutoff)
    pairs = _dense_pairs(atoms, cell, cutoff)
    if pairs is None:
        from ase.neighborlist import primitive_neighbor_list

        pairs = primitive_neighbor_list("ijd", atoms.pbc, cell, atoms.positions, cutoff)
    first, second, distance = pairs
    limit = OVERLAP * (radii[first] + radii[second])
    close = np.flatnonzero(distance < limit)
    if len(close):
        worst = close[np.argmin(distance[close] - limit[close])]
        _report(atoms, int(first[worst]), int(second[worst]), distance[worst], limit[worst])


def _report(atoms: Atoms, i: int, j: int, distance: float, limit: float) -> NoReturn:
    other = "its own periodic image" if i == j else f"atom {j} ({atoms.symbols[j]})"
    raise StructureError(
        f"Atom {i} ({atoms.symbols[i]}) and {other} are {distance:.3f} Å apart, closer "
        f"than half the sum of their covalent radii ({limit:.3f} Å). Check the units "
        "(Å) and the cell, and remove duplicate atoms."
    )


def heights(cell: np.ndarray) -> np.ndarray:
    """Return the distances between the opposite faces of a cell (Å)."""
    return 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)


def _dense_pairs(
    atoms: Atoms, cell: np.ndarray, cutoff: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Return index, index, distance of all pairs of different atoms that may be too close.

    Done with arrays over all pairs; None for structures where a neighbour list is better.
    """
    if len(atoms) > _DENSE:
        return None
    first, second = np.triu_indices(len(atoms), k=1)
    vectors = atoms.positions[second] - atoms.positions[first]
    if not atoms.pbc.any():
        return first, second, np.linalg.norm(vectors, axis=1)
    widths = heights(cell)
    shifts = np.round(vectors @ np.linalg.inv(cell))
    shifts[:, ~atoms.pbc] = 0
    vectors = vectors - shifts @ cell
    if cutoff < widths[atoms.pbc].min() / 2:
        # Rounding found the nearest image of every pair that is near enough to matter.
        return first, second, np.linalg.norm(vectors, axis=1)
    reach = np.where(atoms.pbc, np.ceil(cutoff / widths + 0.5), 0)
    if np.prod(2 * reach + 1) * len(vectors) > 1_000_000:
        return None
    grid = np.meshgrid(*(np.arange(-m, m + 1) for m in reach), indexing="ij")
    images = np.stack(grid, axis=-1).reshape(-1, 3) @ cell
    nearest = np.linalg.norm(vectors[:, None] + images[None], axis=2).min(axis=1, initial=np.inf)
    return first, second, nearest
