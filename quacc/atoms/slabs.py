"""Slabs: every distinct surface of a crystal."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import gcd
from typing import Any

import numpy as np
from ase import Atoms
from ase.geometry import minkowski_reduce
from numpy.typing import NDArray

from quacc.atoms.convert import StructureLike, as_atoms, as_pymatgen
from quacc.atoms.order import inside, ranks
from quacc.errors import (
    StructureError,
    require_bool,
    require_count,
    require_number,
    require_positive,
)
from quacc.extras import check_neutral, give_elements, of_elements


@dataclass(frozen=True)
class Slab:
    """One slab, its surface normal along z, with vacuum on both sides."""

    atoms: Atoms
    miller: tuple[int, int, int]
    """Indices in the conventional cell."""
    termination: int
    """Counts the terminations of these Miller indices from 0."""
    symmetric: bool
    """Its two sides are equivalent."""
    stoichiometric: bool
    """It has the composition of the bulk."""

    @property
    def area(self) -> float:
        """Area of one side (Å²)."""
        return float(np.linalg.norm(np.cross(self.atoms.cell[0], self.atoms.cell[1])))


def make_slabs(
    bulk: StructureLike,
    *,
    max_index: int = 1,
    min_thickness: float = 10.0,
    min_vacuum: float = 20.0,
    min_lateral: float = 0.0,
    symmetric_only: bool = False,
) -> list[Slab]:
    """Carve all distinct slabs from a crystal.

    All Miller indices of the conventional cell up to a maximum that are distinct under the
    crystal's Laue group, and all distinct terminations of each, from pymatgen's generator (Sun
    and Ceder, Surf. Sci. 617, 53 (2013); Tran et al., Sci. Data 3, 160080 (2016)).

    Parameters
    ----------
    max_index
        Largest Miller index.
    min_thickness
        Of the slab (Å), counted in whole repeat units of the crystal, so that the distance of
        its outermost atoms may be up to one layer spacing less.
    min_vacuum
        Between a slab and its periodic image (Å).
    min_lateral
        Repeat the slab along the surface until both lateral heights of the cell are at
        least this (Å).
    symmetric_only
        Leave out slabs whose two sides differ, whose surface energy is only a mean.

    Raises
    ------
    StructureError
        The structure is not periodic in three directions, it is charged, or its magnetic
        moments or masses cannot be carried over.
    """
    require_count(max_index=max_index)
    require_positive(min_thickness=min_thickness, min_vacuum=min_vacuum)
    require_number(minimum=0, min_lateral=min_lateral)
    require_bool(symmetric_only=symmetric_only)
    atoms = as_atoms(bulk)
    if not atoms.pbc.all():
        raise StructureError(
            "Slabs are carved from a crystal, but the structure is periodic along "
            f"{int(atoms.pbc.sum())} of 3 directions (pbc={atoms.pbc.tolist()})."
        )
    check_neutral(atoms, "a slab")
    values = of_elements(atoms)

    from pymatgen.core.surface import SlabGenerator
    from pymatgen.io.ase import AseAtomsAdaptor

    conventional, group = conventional_cell(atoms)
    found: list[Any] = []
    # Not generate_all_slabs(): its indices are distinct under the symmetry of the lattice, which
    # of a trigonal crystal takes (101) and (011) for one.
    for miller in _distinct(group, max_index):
        generator = SlabGenerator(
            conventional,
            miller,
            float(min_thickness),
            float(min_vacuum),
            center_slab=False,  # which takes longer than all the rest; _centre() does it
            max_normal_search=max_index,
        )
        found += generator.get_slabs()
    carved = []
    for one in found:
        symmetric = bool(one.is_symmetric())
        if symmetric_only and not symmetric:
            continue
        _centre(one)
        atoms_of_one = AseAtomsAdaptor.get_atoms(one.get_orthogonal_c_slab(), msonable=False)
        h, k, l = (int(index) for index in one.miller_index)  # noqa: E741 - the field's letters
        carved.append(((h, k, l), *_oriented(atoms_of_one), symmetric))
    slabs: list[Slab] = []
    counts: dict[tuple[int, ...], int] = {}
    for (h, k, l), _, slab, symmetric in sorted(carved, key=lambda row: row[:2]):  # noqa: E741
        termination = counts.get((h, k, l), 0)
        counts[h, k, l] = termination + 1
        slab = _widened(slab, float(min_lateral))
        give_elements(slab, values)
        stoichiometric = (
            slab.symbols.formula.reduce()[0].count() == atoms.symbols.formula.reduce()[0].count()
        )
        slabs.append(Slab(slab, (h, k, l), termination, symmetric, stoichiometric))
    return slabs


def turned_over(slab: Atoms) -> Atoms:
    """Return a slab of :func:`make_slabs` with its lower side up.

    Turned by 180° about its first cell vector: a rotation, so that a chiral crystal stays itself.
    """
    turned = slab.copy()
    cell = slab.cell.array.copy()
    cell[1, 0] *= -1  # b with its sign changed, so that c stays up and the cell right-handed
    turned.cell = cell
    turned.positions = slab.positions * [1, -1, -1] + [0, 0, cell[2, 2]]
    turned.wrap(pbc=[True, True, False])
    return turned


def conventional_cell(crystal: Atoms) -> tuple[Any, NDArray[Any]]:
    """Return a crystal's conventional cell, a pymatgen Structure, and its Laue group.

    The group are the rotations R of the point group and of inversion, integer matrices: the
    family of a plane are all ``hkl @ R``. With inversion, because a slab along hkl is one along
    -h -k -l seen from below.
    """
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

    found = SpacegroupAnalyzer(as_pymatgen(crystal))
    conventional = found.get_conventional_standard_structure()
    rotations = SpacegroupAnalyzer(conventional).get_symmetry_dataset().rotations
    return conventional, np.unique(np.concatenate([rotations, -rotations]), axis=0)


def distinct_millers(crystal: Atoms, max_index: int) -> list[tuple[int, int, int]]:
    """Return one of each family of Miller indices, of the conventional cell of a crystal."""
    return _distinct(conventional_cell(crystal)[1], max_index)


def _distinct(group: NDArray[Any], max_index: int) -> list[tuple[int, int, int]]:
    indices = range(-max_index, max_index + 1)
    found: list[tuple[int, int, int]] = []
    families: set[tuple[int, ...]] = set()
    # The first in this order, which is pymatgen's, stands for its family: (100) rather than (00-1).
    for hkl in sorted(
        product(indices, indices, indices),
        key=lambda hkl: (max(map(abs, hkl)), sum(map(abs, hkl)), *(-index for index in hkl)),
    ):
        if gcd(*hkl) == 1 and hkl not in families:
            found.append(hkl)
            families |= {tuple(other) for other in (np.array(hkl) @ group).tolist()}
    return found


def _oriented(atoms: Atoms) -> tuple[list[list[float]], Atoms]:
    """Return the slab in its shortest surface cell, with a along x and c along z.

    Before it, what terminations are sorted by.
    """
    cell, _ = minkowski_reduce(atoms.cell, pbc=[True, True, False])
    if np.linalg.det(cell) < 0:
        cell = cell[[1, 0, 2]]  # else the rotation to the axes below would be a reflection
    reduced = Atoms(atoms.numbers, positions=atoms.positions, cell=cell, pbc=True)
    rows, numbers, scaled = _in_order(reduced)
    return rows, Atoms(numbers, cell=reduced.cell.cellpar(), scaled_positions=scaled, pbc=True)


def _in_order(slab: Atoms) -> tuple[list[list[float]], NDArray[Any], NDArray[Any]]:
    """Return atomic numbers and scaled positions, from an atom of the lowest layer on.

    Before them, the same in whole numbers.

    Which atom, and the order, are such that last digits do not decide them.
    """
    given = slab.get_scaled_positions()
    heights = ranks(given[:, 2])
    lowest = np.flatnonzero(heights == heights.min())
    lowest = lowest[slab.numbers[lowest] == slab.numbers[lowest].min()]
    forms = []
    for index in lowest:
        scaled = given.copy()
        scaled[:, :2] = inside(scaled[:, :2] - scaled[index, :2])
        rows = np.column_stack([slab.numbers, heights, ranks(scaled[:, :2])]).tolist()
        order = sorted(range(len(rows)), key=rows.__getitem__)
        forms.append(([rows[one] for one in order], order, scaled))
    rows, order, scaled = min(forms, key=lambda form: form[0])
    return rows, slab.numbers[order], scaled[order]


def _centre(slab: Any) -> None:
    """Move pymatgen's slab, in one piece, so that its centre of mass is in the middle of the cell.

    This comes before c is made a normal of the surface: periodic images are along the old one.
    """
    heights = slab.frac_coords[:, 2] % 1
    ranked = np.sort(heights)
    gaps = np.diff(ranked, append=ranked[0] + 1)
    top = ranked[gaps.argmax()]  # the vacuum, the widest gap, is above
    heights = (heights - top - 1e-9) % 1
    weights = [site.species.weight for site in slab]
    shift = 0.5 - np.average(heights, weights=weights) - top - 1e-9
    slab.translate_sites(list(range(len(slab))), [0, 0, shift])


def _widened(atoms: Atoms, min_lateral: float) -> Atoms:
    area = np.linalg.norm(np.cross(atoms.cell[0], atoms.cell[1]))
    heights = area / np.linalg.norm(atoms.cell[[1, 0]], axis=1)
    n_a, n_b = (max(1, int(np.ceil(min_lateral / height - 1e-6))) for height in heights)
    return atoms * (n_a, n_b, 1)
