"""Refuse structures that no calculator can make sense of, before anything is computed."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.data import covalent_radii

from quacc.errors import StructureError

OVERLAP = 0.5
"""Atoms closer than this part of the sum of their covalent radii overlap."""

_DENSE = 300
"""Up to this many atoms all pairs at once are quicker than a neighbour list."""


def check_structure(atoms: Atoms) -> None:
    """Raise a :class:`StructureError` for a structure that makes no physical sense.

    No atoms; an unknown element; positions or cell not finite; a periodic cell without
    volume; two atoms closer than half the sum of their covalent radii (Cordero et al.,
    Dalton Trans. 2832 (2008), as tabulated by ASE), periodic images included.
    """
    if len(atoms) == 0:
        raise StructureError("The structure has no atoms.")
    unknown = np.flatnonzero((atoms.numbers < 1) | (atoms.numbers >= len(covalent_radii)))
    if len(unknown):
        raise StructureError(
            f"Atom {unknown[0]} has the atomic number {atoms.numbers[unknown[0]]}, which is no "
            "element. Replace dummy atoms before computing."
        )
    if not np.isfinite(atoms.positions).all():
        bad = int(np.flatnonzero(~np.isfinite(atoms.positions).all(axis=1))[0])
        raise StructureError(
            f"The position of atom {bad} ({atoms.symbols[bad]}) is not finite: "
            f"{atoms.positions[bad].tolist()}. The structure comes from a calculation that "
            "went wrong, or from a damaged file."
        )
    cell = atoms.cell.array
    if not np.isfinite(cell).all():
        raise StructureError(f"The cell is not finite: {cell.tolist()}.")
    if atoms.pbc.any() and abs(np.linalg.det(atoms.cell.complete().array)) < 1e-6:
        raise StructureError(_flat(atoms))
    if atoms.pbc.any() and not cell[atoms.pbc].any(axis=1).all():
        raise StructureError(_flat(atoms))
    _check_overlap(atoms)


def _flat(atoms: Atoms) -> str:
    return (
        f"The structure is periodic (pbc={atoms.pbc.tolist()}) but its cell has no volume: "
        f"{atoms.cell.array.tolist()}. Give it a cell, or set atoms.pbc = False."
    )


def _check_overlap(atoms: Atoms) -> None:
    cutoff = OVERLAP * 2 * float(covalent_radii[atoms.numbers].max())
    pairs = _dense_pairs(atoms, cutoff)
    if pairs is None:
        from ase.neighborlist import neighbor_list

        pairs = neighbor_list("ijd", atoms, cutoff)
    first, second, distance = pairs
    limit = OVERLAP * (covalent_radii[atoms.numbers[first]] + covalent_radii[atoms.numbers[second]])
    close = np.flatnonzero(distance < limit)
    if len(close) == 0:
        return
    worst = close[np.argmin(distance[close] - limit[close])]
    i, j = int(first[worst]), int(second[worst])
    other = "its own periodic image" if i == j else f"atom {j} ({atoms.symbols[j]})"
    raise StructureError(
        f"Atom {i} ({atoms.symbols[i]}) and {other} are {distance[worst]:.3f} Å apart, closer "
        f"than half the sum of their covalent radii ({limit[worst]:.3f} Å). Check the units "
        "(Å) and the cell, and remove duplicate atoms."
    )


def _dense_pairs(atoms: Atoms, cutoff: float) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Return index, index, distance of all pairs that may be closer than the cutoff.

    Done with arrays over all pairs; None for structures where a neighbour list is better.
    """
    n = len(atoms)
    if n > _DENSE:
        return None
    first, second = np.triu_indices(n, k=1)
    vectors = atoms.positions[second] - atoms.positions[first]
    if not atoms.pbc.any():
        return first, second, np.linalg.norm(vectors, axis=1)
    cell = atoms.cell.complete().array
    inverse = np.linalg.inv(cell)
    heights = 1 / np.linalg.norm(inverse, axis=0)
    shifts = np.round(vectors @ inverse)
    shifts[:, ~atoms.pbc] = 0
    vectors = vectors - shifts @ cell
    if cutoff < heights[atoms.pbc].min() / 2:
        # Rounding found the nearest image of every pair that is near enough to matter, and
        # no atom can meet its own image.
        return first, second, np.linalg.norm(vectors, axis=1)
    reach = np.where(atoms.pbc, np.ceil(cutoff / heights + 0.5), 0).astype(int)
    if np.prod(2 * reach + 1) * len(vectors) > 1_000_000:
        return None
    grid = np.stack(np.meshgrid(*(np.arange(-m, m + 1) for m in reach), indexing="ij"), axis=-1)
    images = grid.reshape(-1, 3) @ cell
    own = images[np.any(images != 0, axis=1)]
    self_distance = np.linalg.norm(own, axis=1).min()
    pairs = np.linalg.norm(vectors[:, None] + images[None], axis=2).min(axis=1, initial=np.inf)
    atom = np.arange(n)
    return (
        np.concatenate([first, atom]),
        np.concatenate([second, atom]),
        np.concatenate([pairs, np.full(n, self_distance)]),
    )
