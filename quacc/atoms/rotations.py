"""How often a molecule looks the same when it is turned."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

_Array = NDArray[Any]

_APART = 0.05
"""How far apart an atom and the image of its like may be (Å). Of the molecules in ASE's G2 set,
rattled and relaxed to 0.01 eV/Å with GFN2-xTB, all but those with the softest methyl groups keep
their symmetry to 0.045 Å; as they are given, the radicals CH3S and CH3O, whose symmetry the
Jahn-Teller effect breaks, are 0.053 and 0.069 Å from it, and all others are more than 0.5 Å."""


def symmetry_number(atoms: Atoms) -> int:
    """Return the number of proper rotations that map a molecule onto itself.

    Of those about the axis of a linear molecule only the identity counts. Isotopes differ.

    A rotation about the centre of mass is known from the images of two atoms; all images of two
    are tried, and each rotation is fitted to the images of all atoms (Kabsch, Acta Cryst. A 32,
    922, 1976).
    """
    if len(atoms) == 1:
        return 1
    places = atoms.positions - atoms.get_center_of_mass()
    kinds = np.column_stack([atoms.numbers, atoms.get_masses().round(1)])
    alike = (kinds[:, None] == kinds).all(axis=2)
    axis = np.linalg.svd(places)[2][0]
    if _off(places, axis).max() < _APART:
        return 2 if _images(-places, places, alike)[1] < _APART else 1
    far = np.linalg.norm(places, axis=1)
    # Few images to try, and places far enough out to tell a rotation well.
    maybe = alike & (abs(far[:, None] - far) < _APART)
    many = maybe.sum(axis=1)
    first = int(np.argmin(many / far.clip(1e-9)))
    second = int(np.argmin(many / _off(places, places[first] / far[first]).clip(1e-9)))
    apart = np.linalg.norm(places[first] - places[second])
    found: dict[tuple[int, ...], float] = {}
    for one, other in product(np.flatnonzero(maybe[first]), np.flatnonzero(maybe[second])):
        if abs(np.linalg.norm(places[one] - places[other]) - apart) > 2 * _APART:
            continue
        turn = _rotation(places[[first, second]], places[[one, other]])
        for _ in range(3):  # two atoms tell it roughly, all of them well
            images, error = _images(places @ turn.T, places, alike)
            turn = _rotation(places, places[images])
        if error < _APART:
            found[tuple(images)] = error
    rotations = sorted(found, key=lambda images: found[images])
    while not _is_group(rotations):  # some of a kind are within the tolerance, and some are not
        rotations.pop()
    return len(rotations)


def _off(places: _Array, axis: _Array) -> _Array:
    return np.linalg.norm(places - np.outer(places @ axis, axis), axis=1)


def _images(turned: _Array, places: _Array, alike: _Array) -> tuple[_Array, float]:
    """Return the like that each atom comes nearest to, and the largest distance.

    It is infinite where two come to the same.
    """
    distances = np.linalg.norm(turned[:, None] - places, axis=2)
    distances[~alike] = np.inf
    images = distances.argmin(axis=1)
    one_each = len(set(images)) == len(places)
    return images, float(distances.min(axis=1).max()) if one_each else np.inf


def _rotation(places: _Array, images: _Array) -> _Array:
    left, _, right = np.linalg.svd(images.T @ places)
    left[:, -1] *= np.linalg.det(left @ right)
    turn: _Array = left @ right
    return turn


def _is_group(rotations: list[tuple[int, ...]]) -> bool:
    known = set(rotations)
    return all(tuple(one[i] for i in other) in known for one in rotations for other in rotations)
