"""Supercells and rattled copies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms

from quacc.atoms.check import heights
from quacc.atoms.convert import StructureLike, as_atoms
from quacc.errors import ParameterError, StructureError, require_count, require_positive


def supercell(structure: StructureLike, repeat: int | Sequence[Any]) -> Atoms:
    """Return a supercell.

    Parameters
    ----------
    repeat
        A number, three numbers along the cell vectors, or a (3, 3) matrix of whole numbers
        P, whose supercell is ``P @ cell``.
    """
    atoms = as_atoms(structure)
    try:
        matrix = np.asarray(repeat)
    except ValueError:
        matrix = np.empty(0)
    if not np.issubdtype(matrix.dtype, np.integer) or matrix.shape not in [(), (3,), (3, 3)]:
        raise ParameterError(
            f"repeat must be a whole number, three of them, or a 3 x 3 matrix, not {repeat!r}."
        )
    if matrix.ndim < 2:
        if (matrix < 1).any():
            raise ParameterError(f"repeat must be at least 1, not {repeat!r}.")
        return atoms.repeat(matrix.tolist())
    if round(abs(np.linalg.det(matrix))) == 0:
        raise ParameterError(f"The supercell matrix {repeat!r} has a determinant of zero.")
    if atoms.cell.rank < 3:
        raise StructureError("A supercell matrix needs a structure with three cell vectors.")
    from ase.build import make_supercell

    return make_supercell(atoms, matrix)


def in_cell(atoms: Atoms, cell: Any) -> Atoms:
    """Return a crystal whose atoms follow another cell, (3, 3) in Å, also those that are held."""
    moved = atoms.copy()
    moved.set_constraint()  # which would hold atoms where they are
    moved.set_cell(cell, scale_atoms=True)
    moved.set_constraint(atoms.constraints)
    return moved


def bare_supercell(atoms: Atoms, repeats: Sequence[int]) -> Atoms:
    """Return a crystal repeated along its vectors, without constraints, charges and velocities.

    What is left after an atom is taken out is as neutral as the crystal.
    """
    whole = atoms.repeat(repeats)
    whole.set_constraint()
    for name in ("initial_charges", "momenta"):
        whole.arrays.pop(name, None)
    return whole


def repeats_for(atoms: Atoms, supercell: Sequence[int] | None, min_length: float) -> list[int]:
    """Return how often to repeat a cell along its vectors.

    Parameters
    ----------
    supercell
        Three whole numbers, which are checked.
    min_length
        Without them: repeat until the cell is at least so wide (Å) along its periodic directions.
    """
    require_positive(min_length=min_length)
    if atoms.cell.rank < 3:
        raise StructureError(
            "A supercell needs three cell vectors: give a layer a third one, with 20 Å of vacuum."
        )
    if supercell is None:
        least = np.ceil(min_length / heights(atoms.cell.array) - 1e-6)
        return [int(n) if periodic else 1 for n, periodic in zip(least, atoms.pbc, strict=True)]
    return three_counts(supercell)


def three_counts(supercell: Sequence[int]) -> list[int]:
    """Return how often to repeat a cell along its vectors; refuse what is not three numbers."""
    if isinstance(supercell, np.ndarray):
        supercell = supercell.tolist()
    if isinstance(supercell, str) or not isinstance(supercell, Sequence) or len(supercell) != 3:
        raise ParameterError(
            f"supercell must be three whole numbers such as [2, 2, 2], not {supercell!r}."
        )
    for axis, number in enumerate(supercell):
        require_count(**{f"supercell[{axis}]": number})
    return [int(number) for number in supercell]


def rattle(structure: StructureLike, stdev: float, *, seed: int) -> Atoms:
    """Return a copy with every coordinate moved by a normally distributed random number.

    Parameters
    ----------
    stdev
        Standard deviation (Å).
    seed
        Of NumPy's generator. Required: a structure that cannot be made again cannot be
        published. Fixed atoms stay where they are.
    """
    require_positive(stdev=stdev)
    require_count(minimum=0, seed=seed)
    atoms = as_atoms(structure)
    moves = np.random.default_rng(int(seed)).normal(scale=stdev, size=(len(atoms), 3))
    atoms.set_positions(atoms.positions + moves)  # respects constraints
    return atoms
