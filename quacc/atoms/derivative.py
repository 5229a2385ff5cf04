"""Derivative structures: the ways to colour the sites of a crystal that symmetry tells apart.

Superlattices and colourings are enumerated as by Hart and Forcade, Phys. Rev. B 77, 224115 (2008),
but site by site for given numbers of each colour.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from math import comb, prod
from typing import Any

import numpy as np
from ase.geometry import minkowski_reduce
from numpy.typing import NDArray

from quacc.errors import CalculationError, StructureError

_SYMPREC = 0.01
"""How far sites may be from where symmetry wants them (Å); pymatgen's."""

_Array = NDArray[Any]


@dataclass(frozen=True)
class Parent:
    """A crystal's primitive cell, its sites and its space group."""

    cell: _Array
    """(3, 3), rows, Å."""
    scaled: _Array
    """(sites, 3)."""
    sites: _Array
    """(sites,), the index of each in the structure that was given."""
    orbits: _Array
    """(sites,), a number that equivalent sites share."""
    rotations: _Array
    translations: _Array
    given: _Array
    """(3, 3) whole numbers: the cell that was given, in vectors of the primitive one."""


@dataclass(frozen=True)
class Sites:
    """The sites of a parent in one of its supercells."""

    cell: _Array
    scaled: _Array
    parents: _Array
    """(sites,), the index of each in the parent."""
    group: _Array
    """(operations, sites): where each operation of the parent that keeps the supercell takes what
    site."""
    shifts: _Array
    """(cells, sites): the same of the parent's own translations."""
    lattices: int
    """How many superlattices of the parent are equivalent to this one, itself included."""


def parent_of(cell: _Array, scaled: _Array, kinds: Sequence[int]) -> Parent:
    """Return the primitive cell and the symmetry of a crystal.

    Parameters
    ----------
    cell
        (3, 3), rows, Å.
    scaled
        (sites, 3), in parts of the cell.
    kinds
        A number for each site, the same where the same is on it.
    """
    import spglib

    found = spglib.get_symmetry_dataset(
        (cell.tolist(), scaled.tolist(), list(kinds)), symprec=_SYMPREC
    )
    if found is None:
        raise StructureError(
            "spglib finds no symmetry in the structure: see that no two of its sites are one."
        )
    same = (found.rotations == np.eye(3, dtype=int)).all(axis=(1, 2))
    count = int(same.sum())
    centring = np.rint(found.translations[same] * count).astype(int)
    basis = hermite(np.concatenate([centring, count * np.eye(3, dtype=int)])) / count
    primitive, _ = minkowski_reduce(basis @ cell)
    basis = primitive @ np.linalg.inv(cell)  # rows of the primitive cell in those of the given
    turned = np.linalg.inv(basis).T
    inside = scaled @ np.linalg.inv(basis)
    first: list[int] = []
    for number, place in enumerate(inside):
        if not any(_near(place - inside[one], primitive) for one in first):
            first.append(number)
    if len(first) * count != len(scaled):
        raise StructureError("The translations of the crystal do not repeat all of its sites.")
    rotations, chosen = np.unique(
        np.rint(turned @ found.rotations @ basis.T).astype(int), axis=0, return_index=True
    )
    return Parent(
        cell=primitive,
        scaled=inside[first],
        sites=np.array(first),
        orbits=np.asarray(found.crystallographic_orbits)[first],
        rotations=rotations,
        translations=found.translations[chosen] @ turned.T,
        given=np.rint(np.linalg.inv(basis)).astype(int),
    )


def _near(difference: _Array, cell: _Array) -> bool:
    return bool(np.linalg.norm((difference - np.rint(difference)) @ cell) < 3 * _SYMPREC)


def hermite(rows: _Array) -> _Array:
    """Return the Hermite normal form of the lattice that rows of whole numbers span: (3, 3)."""
    left = np.array(rows, dtype=int)
    for column in range(3):
        while True:
            below = np.flatnonzero(left[column:, column]) + column
            smallest = below[np.argmin(abs(left[below, column]))]
            left[[column, smallest]] = left[[smallest, column]]
            left[column] *= np.sign(left[column, column])
            if len(below) == 1:
                break
            rest = np.arange(len(left)) > column
            left[rest] -= np.outer(left[rest, column] // left[column, column], left[column])
    for column in (1, 2):
        for row in range(column):
            left[row] -= left[row, column] // left[column, column] * left[column]
    return left[:3]


def superlattices(parent: Parent, size: int) -> list[tuple[_Array, int]]:
    """Return one of each set of equivalent superlattices of so many cells, and the set's size.

    Each is (3, 3), in vectors of the primitive cell.
    """
    every = [
        np.array([[a, b, c], [0, d, e], [0, 0, size // (a * d)]])
        for a in range(1, size + 1)
        if size % a == 0
        for d in range(1, size // a + 1)
        if size // a % d == 0
        for b, c, e in product(range(d), range(size // (a * d)), range(size // (a * d)))
    ]
    found, known = [], set()
    for matrix in every:
        if matrix.tobytes() in known:
            continue
        images = {hermite(matrix @ rotation.T).tobytes() for rotation in parent.rotations}
        known |= images
        found.append((matrix, len(images)))
    return found


def number_of_superlattices(size: int) -> int:
    """Return how many superlattices of so many cells a lattice has, equivalent ones included."""
    return sum(
        d * (size // (a * d)) ** 2
        for a in range(1, size + 1)
        if size % a == 0
        for d in range(1, size // a + 1)
        if size // a % d == 0
    )


def sites_in(parent: Parent, matrix: _Array, lattices: int = 1, *, as_given: bool = False) -> Sites:
    """Return the sites in a supercell, and the permutations of them that symmetry makes.

    Parameters
    ----------
    matrix
        (3, 3), in vectors of the primitive cell.
    lattices
        Of :func:`superlattices`.
    as_given
        Keep the vectors; otherwise take the shortest of the same lattice.
    """
    cell = matrix @ parent.cell
    if not as_given:
        cell, _ = minkowski_reduce(cell)
        matrix = np.rint(cell @ np.linalg.inv(parent.cell)).astype(int)
    if np.linalg.det(cell) < 0:
        matrix, cell = -matrix, -cell
    form = hermite(matrix)
    points = np.array(list(product(*(range(int(form[one, one])) for one in range(3)))))
    back = np.linalg.inv(matrix)
    places = (parent.scaled[:, None] + points).reshape(-1, 3)

    def permutation(moved: _Array) -> _Array:
        difference = (moved[:, None] - places) @ back
        distance = np.linalg.norm((difference - np.rint(difference)) @ cell, axis=2)
        found: _Array = distance.argmin(axis=1)
        if distance.min(axis=1).max() > 3 * _SYMPREC or len({*found.tolist()}) < len(found):
            raise CalculationError(
                "An operation of the crystal's symmetry takes a site to where none is: its sites "
                f"are farther from symmetry than {_SYMPREC} Å. Refine the structure first."
            )
        return found

    shifts = np.array([permutation(places + point) for point in points])
    kept = [
        permutation(places @ rotation.T + translation)
        for rotation, translation in zip(parent.rotations, parent.translations, strict=True)
        if np.array_equal(hermite(matrix @ rotation.T), form)
    ]
    group = np.unique(np.concatenate([shift[np.array(kept)] for shift in shifts]), axis=0)
    scaled = places @ back
    return Sites(
        cell=cell,
        scaled=scaled - np.floor(scaled + 1e-9),
        parents=np.repeat(np.arange(len(parent.scaled)), len(points)),
        group=group,
        shifts=shifts,
        lattices=lattices,
    )


def number_of(counts: Sequence[int]) -> int:
    """Return in how many ways sites can be coloured, given the number of sites of each colour."""
    left = sum(counts)
    factors = []
    for one in counts:
        factors.append(comb(left, one))
        left -= one
    return prod(factors)


def colourings(counts: Sequence[int]) -> Iterator[list[int]]:
    """Yield all ways to colour sites, given the number of each colour; colours count from 1."""
    natoms = sum(counts)

    def fill(row: list[int], free: list[int], colour: int) -> Iterator[list[int]]:
        if colour > len(counts):
            yield row
            return
        for chosen in combinations(free, counts[colour - 1]):
            further = row.copy()
            for site in chosen:
                further[site] = colour
            taken = {*chosen}
            yield from fill(further, [one for one in free if one not in taken], colour + 1)

    yield from fill([0] * natoms, [*range(natoms)], 1)


def together(parts: Sequence[tuple[_Array, _Array]], nsites: int) -> _Array:
    """Return all combinations of the colourings of several sets of sites.

    Parameters
    ----------
    parts
        The indices of each set, and its colourings (n, indices).
    nsites
        Of the whole; sites in no set have the colour 1.
    """
    whole = np.ones((1, nsites), dtype=np.uint8)
    for indices, rows in parts:
        whole = np.repeat(whole, len(rows), axis=0)
        whole[:, indices] = np.tile(rows, (len(whole) // len(rows), 1))
    return whole


def inequivalent(
    rows: _Array, group: _Array, swap: Sequence[int] | None = None
) -> list[tuple[_Array, int]]:
    """Return one of each set of equivalent colourings, and the set's size.

    Parameters
    ----------
    rows
        (n, sites): colourings from 1 on, each once, and with each all that are equivalent to it.
    group
        (operations, sites): the permutations.
    swap
        The colours that 0, 1, … become in one more operation, such as the reversal of all moments.
    """
    names = _names(rows)
    order = np.argsort(names)
    names = names[order]
    seen = np.zeros(len(rows), dtype=bool)
    found = []
    for place, number in enumerate(order.tolist()):
        if seen[place]:
            continue
        images = rows[number][group]
        if swap is not None:
            images = np.concatenate([images, np.asarray(swap, dtype=np.uint8)[images]])
        places = np.searchsorted(names, np.unique(_names(images)))
        seen[places] = True
        found.append((rows[number], len(places)))
    return found


def _names(rows: _Array) -> _Array:
    """Return a row's bytes as one text, which sorts; no colour is 0, which would end it."""
    return np.ascontiguousarray(rows, dtype=np.uint8).view(f"S{rows.shape[1]}").ravel()


def is_repeated(row: _Array, shifts: _Array) -> bool:
    """Return whether a colouring has translations that the supercell's lattice has not."""
    return int((row[shifts] == row).all(axis=1).sum()) > 1
