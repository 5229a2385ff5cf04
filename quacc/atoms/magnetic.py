"""Collinear magnetic orderings of a crystal that symmetry tells apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import comb
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from quacc.atoms.derivative import (
    Parent,
    Sites,
    colourings,
    inequivalent,
    is_repeated,
    number_of_superlattices,
    parent_of,
    sites_in,
    superlattices,
    together,
)
from quacc.errors import ParameterError

KINDS = ("ferromagnetic", "antiferromagnetic", "ferrimagnetic", "nonmagnetic")

_SHORT = {
    "ferromagnetic": "FM",
    "antiferromagnetic": "AFM",
    "ferrimagnetic": "FiM",
    "nonmagnetic": "NM",
}

MOST = 200_000
"""More patterns of signs than these are not looked at."""

SMALL = 0.1
"""Moments (μB) below this are none."""

_SWAP = (0, 2, 1)
"""The colours 1 and 2 are moments up and down."""


@dataclass(frozen=True)
class Ordering:
    """A collinear magnetic structure, with its moments as initial magnetic moments."""

    name: str
    """Such as FM or AFM2."""
    kind: str
    atoms: Atoms
    degeneracy: int
    """How many orderings the symmetry of the crystal makes equivalent to it."""


def orderings(
    atoms: Atoms, moments: Mapping[str, float], cells: int, kinds: Iterable[str]
) -> list[Ordering]:
    """Return all inequivalent collinear orderings in supercells up to a size, each once.

    The moments of equivalent sites all point the same way, or half of them up and half down.

    Parameters
    ----------
    atoms
        The crystal.
    moments
        Of each element that is magnetic (μB).
    cells
        Maximum number of primitive cells.
    kinds
        Of :data:`KINDS`. Antiferromagnetic: half of each set of equivalent sites is up;
        ferrimagnetic: neither this nor all up.

    Raises
    ------
    ParameterError
        There are too many.
    """
    parent = parent_of(atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    magnetic = [atoms.symbols[one] in moments for one in parent.sites]
    orbits = [
        np.flatnonzero(parent.orbits == one) for one in np.unique(parent.orbits[np.array(magnetic)])
    ]
    _check_number(orbits, cells)
    found: dict[str, list[tuple[Atoms, int]]] = {kind: [] for kind in KINDS}
    for size in range(1, cells + 1):
        for matrix, lattices in superlattices(parent, size):
            sites = sites_in(parent, matrix, lattices)
            active = np.flatnonzero(np.isin(sites.parents, np.concatenate(orbits)))
            group, shifts = (
                np.unique(np.searchsorted(active, one[:, active]), axis=0)
                for one in (sites.group, sites.shifts)
            )
            sets = [np.flatnonzero(np.isin(sites.parents[active], orbit)) for orbit in orbits]
            rows = together([(one, _patterns(len(one))) for one in sets], len(active))
            for row, count in inequivalent(rows, group, _SWAP):
                if is_repeated(row, shifts):
                    continue  # it was in a smaller supercell
                kind = _kind([row[one] for one in sets])
                whole = np.ones(len(sites.parents), dtype=int)
                whole[active] = row
                made = _atoms(atoms, parent, sites, whole, moments)
                found[kind].append((made, count * lattices))
    plain = sites_in(parent, np.eye(3, dtype=int))
    bare = _atoms(atoms, parent, plain, np.ones(len(plain.parents), dtype=int), {})
    found["nonmagnetic"] = [(bare, 1)]
    wanted = {*kinds}
    return [
        Ordering(
            f"{_SHORT[kind]}{number if len(several) > 1 else ''}",
            kind,
            one,
            # A pattern and its reversal are one.
            count // 2 if kind != "nonmagnetic" else 1,
        )
        for kind, several in found.items()
        if kind in wanted
        for number, (one, count) in enumerate(several, start=1)
    ]


def _check_number(orbits: list[NDArray[Any]], cells: int) -> None:
    total = 0
    for size in range(1, cells + 1):
        each = 1
        for orbit in orbits:
            number = size * len(orbit)
            each *= 2 + (comb(number, number // 2) if number % 2 == 0 else 0)
        total += each * number_of_superlattices(size)
    if total > MOST:
        raise ParameterError(
            f"In up to {cells} primitive cells there are {total:.3g} patterns of moments, more "
            f"than the {MOST} that are looked at. Take fewer cells, or name fewer magnetic "
            "elements with moments."
        )


def _patterns(nsites: int) -> NDArray[Any]:
    """Return the colourings of equivalent sites: all up, all down, or half of them up."""
    rows = [[1] * nsites, [2] * nsites]
    if nsites % 2 == 0:
        rows += [*colourings([nsites // 2, nsites // 2])]
    return np.array(rows, dtype=np.uint8)


def _kind(sets: list[NDArray[Any]]) -> str:
    if all((one == sets[0][0]).all() for one in sets):
        return "ferromagnetic"
    if all((one == 1).sum() * 2 == len(one) for one in sets):
        return "antiferromagnetic"
    return "ferrimagnetic"


def _atoms(
    atoms: Atoms,
    parent: Parent,
    sites: Sites,
    row: NDArray[Any],
    moments: Mapping[str, float],
) -> Atoms:
    whole = atoms[parent.sites[sites.parents]]
    whole.set_cell(sites.cell)
    whole.set_scaled_positions(sites.scaled)
    values = np.array([moments.get(symbol, 0.0) for symbol in whole.symbols])
    first = next((row[one] for one in np.flatnonzero(values)), 1)
    # The first magnetic atom is up.
    values = np.where(row == first, values, -values)
    whole.set_initial_magnetic_moments(values if values.any() else None)
    made: Atoms = whole
    return made


def default_moments(elements: Iterable[str]) -> dict[str, float]:
    """Return the moments (μB) that pymatgen starts from, of those elements that it has them of."""
    from pymatgen.analysis.magnetism.analyzer import DEFAULT_MAGMOMS

    return {one: float(DEFAULT_MAGMOMS[one]) for one in elements if one in DEFAULT_MAGMOMS}


def kind_of(moments: NDArray[Any]) -> str:
    """Return what moments (μB) of magnetic sites are; those below 0.1 μB are none."""
    there = moments[abs(moments) > SMALL]
    if not len(there):
        return "nonmagnetic"
    if (there > 0).all() or (there < 0).all():
        return "ferromagnetic"
    balanced = abs(there.sum()) < 0.05 * abs(there).sum()
    return "antiferromagnetic" if balanced else "ferrimagnetic"


def is_kept(start: NDArray[Any], end: NDArray[Any]) -> bool:
    """Return whether moments have the signs that they started with, or all the other ones."""
    signs = np.where(abs(end) > SMALL, np.sign(end), 0)
    return bool((signs == np.sign(start)).all() or (signs == -np.sign(start)).all())
