"""Two halves of a crystal that slide over one another on a plane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from quacc.atoms.convert import as_atoms, as_pymatgen
from quacc.errors import ParameterError
from quacc.extras import check_neutral, give_elements, of_elements


def between_cuts(
    atoms: Atoms,
    miller: Sequence[int],
    slip: Sequence[float],
    min_thickness: float,
    cut: int = 0,
) -> tuple[Atoms, NDArray[Any], float]:
    """Return the crystal between two cuts, the slip, and the gap that is cut (Å).

    The first two cell vectors are in the plane; the cut is where the third one begins, which the
    slip is to be added to.

    Parameters
    ----------
    miller, slip
        In the conventional cell.
    min_thickness
        Between two cuts (Å).
    cut
        Counts the distinct gaps between planes from 0, the widest.

    Raises
    ------
    ParameterError
        The slip does not lie in the plane, or there is no such gap.
    StructureError
        It is charged, or its magnetic moments or masses cannot be carried over.
    """
    from pymatgen.core.surface import SlabGenerator
    from pymatgen.io.ase import AseAtomsAdaptor
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

    for name, three in (("miller", miller), ("slip", slip)):
        if isinstance(three, str) or len(three) != 3 or not np.any(three):
            raise ParameterError(f"{name} must be three numbers, not all zero: {three!r}.")
    check_neutral(atoms, "a block between two cuts")
    values = of_elements(atoms)
    crystal = SpacegroupAnalyzer(as_pymatgen(atoms), symprec=1e-3)
    conventional = crystal.get_conventional_standard_structure()
    hkl = tuple(int(index) for index in miller)
    cell = SlabGenerator(conventional, hkl, 1, 1, primitive=False).oriented_unit_cell
    block = as_atoms(AseAtomsAdaptor.get_atoms(cell, msonable=False))
    give_elements(block, values)
    vector = np.array(slip, dtype=float) @ conventional.lattice.matrix
    normal = np.cross(block.cell[0], block.cell[1])
    normal /= np.linalg.norm(normal)
    if abs(vector @ normal) > 1e-3 * np.linalg.norm(vector):
        raise ParameterError(f"The slip {tuple(slip)} does not lie in the plane {hkl}.")
    if block.cell[2] @ conventional.lattice.reciprocal_lattice.matrix.T @ hkl < 0:
        vector = -vector  # the third cell vector is in the other half
    gaps = _gaps(block, normal)
    if cut >= len(gaps):
        raise ParameterError(
            f"cut={cut}, but the planes {hkl} have only the gaps "
            f"{', '.join(f'{index}: {width:.2f} Å' for index, (width, _) in enumerate(gaps))}."
        )
    gap, middle = gaps[cut]
    layers = int(np.ceil(min_thickness / abs(block.cell[2] @ normal) - 1e-6))
    block.positions -= middle * normal
    block = block * (1, 1, max(1, layers))
    block.wrap(eps=1e-3)
    return block, vector, gap


def _gaps(block: Atoms, normal: NDArray[Any]) -> list[tuple[float, float]]:
    """Return width and middle of the distinct gaps between planes of atoms, the widest first."""
    period = abs(float(block.cell[2] @ normal))
    heights = (block.positions @ normal) % period
    order = np.argsort(heights)
    steps = np.diff(heights[order], append=heights[order[0]] + period)
    below = np.flatnonzero(steps > 0.05)  # atoms nearer than that are in one plane
    plane = np.searchsorted(below, range(len(order))) % len(below)
    formulas = [
        block.symbols[order[plane == index]].get_chemical_formula() for index in range(len(below))
    ]
    found: list[tuple[float, list[str], float]] = []
    sides = [sorted(pair) for pair in zip(formulas, [*formulas[1:], formulas[0]], strict=True)]
    every = zip(steps[below], sides, heights[order][below] + steps[below] / 2, strict=True)
    for width, pair, middle in sorted(every, key=lambda one: (-one[0].round(2), one[1:])):
        if not any(pair == other and abs(width - wide) < 0.02 for wide, other, _ in found):
            found.append((float(width), pair, float(middle)))
    return [(width, middle) for width, _, middle in found]


def is_flat(slid: Atoms, normal: NDArray[Any], along: NDArray[Any]) -> bool:
    """Return whether the symmetry of a slid crystal leaves no force along the slip.

    What turns the normal around exchanges the halves, and so turns the force around, too.
    """
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

    # Of the primitive cell: one that is repeated need not have the symmetry of what is in it.
    primitive = as_pymatgen(slid).get_primitive_structure(tolerance=0.01)
    crystal = SpacegroupAnalyzer(primitive, symprec=1e-3)
    total = np.zeros(3)
    for operation in crystal.get_symmetry_operations(cartesian=True):
        turned = normal @ operation.rotation_matrix @ normal
        if abs(turned) > 0.99:
            total += turned * operation.rotation_matrix @ along
    return bool(np.linalg.norm(total) < 0.01)


def is_lattice_vector(block: Atoms, vector: NDArray[Any]) -> bool:
    moved = block.copy()
    moved.positions += vector
    apart = moved.get_scaled_positions()[:, None] - block.get_scaled_positions()
    near = np.linalg.norm((apart - apart.round()) @ block.cell.array, axis=2) < 1e-2
    return bool((near & (block.numbers[:, None] == block.numbers)).any(axis=1).all())
