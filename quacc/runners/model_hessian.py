"""A guess of the second derivatives of the energy, from bonds, angles and torsions alone.

R. Lindh, A. Bernhardsson, G. Karlström and P.-Å. Malmqvist, Chem. Phys. Lett. 241, 423 (1995): each
pair of atoms is a bond of the weight rho = exp(alpha (r0² - r²)), and the stiffness of a bond, an
angle or a torsion is a constant times the weights of its bonds. It needs no list of bonds, and
hydrogen bonds are in it. Here r0 is the sum of the covalent radii (B. Cordero et al., Dalton Trans.
2008, 2832), which also knows heavy elements; bonds and angles have 0.8 times the paper's constants;
bonds to metals have 0.3 of the weight. Between metals, whose bonds are weaker the more there are,
the weight is 0.05 exp(-3 (r/r0 - 1)), as in ASE's preconditioner ``Exp``.
"""

from __future__ import annotations

from itertools import chain, pairwise, product
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.data import covalent_radii
from numpy.typing import NDArray

from quacc.atoms.check import heights

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

_ALPHA = np.array([[1.0, 0.3949, 0.3949], [0.3949, 0.28, 0.28], [0.3949, 0.28, 0.28]])
_ALPHA /= units.Bohr**2
"""1/Å², by the rows of the periodic table (1, 2, all others)."""
_BOND = 0.8 * 0.45 * units.Hartree / units.Bohr**2
_ANGLE = 0.8 * 0.15 * units.Hartree
_TORSION = 0.005 * units.Hartree
_TO_METAL = 0.3
_OF_METALS, _DECAY, _REACH = 0.05, 3.0, 1.4
"""Weight of bonds between metals, how it decays with r/r0, and where it ends."""
_LEAST = 1e-3
"""Bonds of less weight are left out."""
_LEAST_PRODUCT = 1e-2
"""Angles and torsions of less weight are left out."""
_NEAREST = 0.5
"""Atoms nearer than so much of r0 are on top of each other, and not bonded."""
_STRAIGHT = 0.09
"""The sine of an angle that counts as 180° (5°)."""
_NONMETALS = [1, 2, *range(5, 11), *range(14, 19), *range(32, 37), *range(51, 55), 85, 86]


def model_hessian(atoms: Atoms) -> Floats:
    """Return a (3n, 3n) array (eV/Å²): symmetric, without negative eigenvalues.

    It is zero for translations and, without periodic images, for rotations.
    """
    hessian = np.zeros((3 * len(atoms), 3 * len(atoms)))
    start, end, vectors, weights = _bonds(atoms)
    if not len(start):
        return hessian
    lengths = np.linalg.norm(vectors, axis=1)
    along = vectors / lengths[:, None]
    first = np.searchsorted(start, np.arange(len(atoms) + 1))

    once = start < end
    _add(hessian, _BOND * weights[once], (start[once], -along[once]), (end[once], along[once]))

    one, other = _pairs(first)
    _angles(hessian, start, end, along, lengths, weights, one, other)
    _torsions(hessian, start, end, vectors, weights, first)
    return hessian


def _bonds(atoms: Atoms) -> tuple[Ints, Ints, Floats, Floats]:
    """Return the bonds from each atom, in the order of atoms: start, end, vector (Å), weight."""
    numbers, metal = atoms.numbers, ~np.isin(atoms.numbers, _NONMETALS)
    row = np.searchsorted([2, 10], numbers)
    radius = 2 * covalent_radii[np.unique(numbers)].max()
    reach = max(np.sqrt(radius**2 - np.log(_LEAST) / _ALPHA.min()), _REACH * radius)
    start, end, vectors = _near(atoms, reach)
    lengths = np.linalg.norm(vectors, axis=1)
    middle = covalent_radii[numbers[start]] + covalent_radii[numbers[end]]
    weights = np.exp(_ALPHA[row[start], row[end]] * (middle**2 - lengths**2))
    weights[metal[start] != metal[end]] *= _TO_METAL
    both, ratio = metal[start] & metal[end], lengths / middle
    weights[both] = _OF_METALS * np.exp(-_DECAY * (ratio[both] - 1)) * (ratio[both] < _REACH)
    kept = np.flatnonzero((weights > _LEAST) & (ratio > _NEAREST))
    kept = kept[np.argsort(start[kept], kind="stable")]
    return start[kept], end[kept], vectors[kept], weights[kept]


def _near(atoms: Atoms, reach: float) -> tuple[Ints, Ints, Floats]:
    """Return all pairs of atoms, images included, within a distance (Å): start, end, vector.

    As ASE's ``neighbor_list``, which takes as long for a few atoms as a quick potential.
    """
    from scipy.spatial import cKDTree

    cell, count = atoms.cell.complete(), len(atoms)
    most = np.where(atoms.pbc, np.ceil(reach / heights(cell.array)), 0).astype(int)
    shifts = np.array(list(product(*(range(-n, n + 1) for n in most)))) @ cell.array
    places = atoms.get_positions(wrap=True)
    images = (places[None] + shifts[:, None]).reshape(-1, 3)
    found = cKDTree(images).query_ball_point(places, reach)
    start = np.repeat(np.arange(count), [len(one) for one in found])
    image = np.fromiter(chain.from_iterable(found), dtype=np.intp, count=len(start))
    vectors = images[image] - places[start]
    other = image != start + count * (len(shifts) // 2)  # the atom itself, in the middle
    return start[other], image[other] % count, vectors[other]


def _pairs(first: Ints) -> tuple[Ints, Ints]:
    """Return all pairs of bonds that start at the same atom."""
    found = [np.empty((2, 0), dtype=np.intp)]
    for begin, stop in pairwise(first):
        found.append(begin + np.array(np.triu_indices(stop - begin, 1)))
    one, other = np.concatenate(found, axis=1)
    return one, other


def _angles(
    hessian: Floats,
    start: Ints,
    end: Ints,
    along: Floats,
    lengths: Floats,
    weights: Floats,
    one: Ints,
    other: Ints,
) -> None:
    stiffness = _ANGLE * weights[one] * weights[other]
    kept = stiffness > _ANGLE * _LEAST_PRODUCT
    one, other, stiffness = one[kept], other[kept], stiffness[kept]
    cosine = (along[one] * along[other]).sum(axis=1)
    sine = np.linalg.norm(np.cross(along[one], along[other]), axis=1)

    bent = sine > _STRAIGHT
    a, b = one[bent], other[bent]
    cos, sin = cosine[bent, None], sine[bent, None]
    at_a = (cos * along[a] - along[b]) / (sin * lengths[a, None])
    at_b = (cos * along[b] - along[a]) / (sin * lengths[b, None])
    _add(hessian, stiffness[bent], (end[a], at_a), (start[a], -at_a - at_b), (end[b], at_b))

    straight = ~bent & (cosine < 0)
    a, b = one[straight], other[straight]
    axis = along[a] - along[b]
    axis /= np.linalg.norm(axis, axis=1)[:, None]
    across = np.cross(axis, np.eye(3)[np.abs(axis).argmin(axis=1)])
    across /= np.linalg.norm(across, axis=1)[:, None]
    for way in (across, np.cross(axis, across)):
        at_a, at_b = way / lengths[a, None], way / lengths[b, None]
        sides = (end[a], at_a), (start[a], -at_a - at_b), (end[b], at_b)
        _add(hessian, stiffness[straight], *sides)


def _torsions(
    hessian: Floats, start: Ints, end: Ints, vectors: Floats, weights: Floats, first: Ints
) -> None:
    """Add torsions around bonds i-j, of a at i and b at j."""
    found = [np.empty((3, 0), dtype=np.intp)]
    strongest = np.zeros(len(first) - 1)
    np.maximum.at(strongest, start, weights)
    most = np.minimum(weights, weights * strongest[start] * strongest[end])
    for bond in np.flatnonzero((start < end) & (most > _LEAST_PRODUCT)):
        at_i = np.arange(first[start[bond]], first[start[bond] + 1])
        at_j = np.arange(first[end[bond]], first[end[bond] + 1])
        at_i = at_i[weights[at_i] * weights[bond] * strongest[end[bond]] > _LEAST_PRODUCT]
        at_j = at_j[weights[at_j] * weights[bond] * strongest[start[bond]] > _LEAST_PRODUCT]
        a, b = (grid.ravel() for grid in np.meshgrid(at_i, at_j, indexing="ij"))
        found.append(np.array([a, np.full_like(a, bond), b]))
    a, middle, b = np.concatenate(found, axis=1)
    stiffness = _TORSION * weights[a] * weights[middle] * weights[b]
    before, along, after = -vectors[a], vectors[middle], vectors[b]
    length = np.linalg.norm(along, axis=1)
    left, right = np.cross(before, along), np.cross(along, after)
    left2, right2 = (left**2).sum(axis=1), (right**2).sum(axis=1)
    # Straight ones have no torsion; the bond itself and its way back are straight as well.
    kept = stiffness > _TORSION * _LEAST_PRODUCT
    kept &= left2 > (_STRAIGHT * length) ** 2 * (before**2).sum(axis=1)
    kept &= right2 > (_STRAIGHT * length) ** 2 * (after**2).sum(axis=1)
    kept &= ((before + along + after) ** 2).sum(axis=1) > 1e-6  # a ring of three
    a, middle, b, stiffness = a[kept], middle[kept], b[kept], stiffness[kept]
    before, along, after = before[kept], along[kept], after[kept]
    length = length[kept, None]
    at_a = -length * left[kept] / left2[kept, None]
    at_b = length * right[kept] / right2[kept, None]
    share_a = (before * along).sum(axis=1)[:, None] / length**2
    share_b = (after * along).sum(axis=1)[:, None] / length**2
    at_i = -at_a - share_a * at_a + share_b * at_b
    at_j = -at_b + share_a * at_a - share_b * at_b
    sides = (end[a], at_a), (start[middle], at_i), (end[middle], at_j), (end[b], at_b)
    _add(hessian, stiffness, *sides)


def _add(hessian: Floats, stiffness: Floats, *sides: tuple[Ints, Any]) -> None:
    """Add stiffness times the square of a coordinate, given its derivatives at some atoms."""
    columns = np.stack([3 * atom[:, None] + np.arange(3) for atom, _ in sides], axis=1)
    columns = columns.reshape(len(stiffness), 3 * len(sides))
    slopes = np.stack([slope for _, slope in sides], axis=1).reshape(columns.shape)
    blocks = stiffness[:, None, None] * slopes[:, :, None] * slopes[:, None, :]
    np.add.at(hessian, (columns[:, :, None], columns[:, None, :]), blocks)
