"""Whether the atoms of two structures are in the same order."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.geometry import get_distances

from quacc.errors import StructureError
from quacc.extras import check_alike

_FAR = 0.8
"""Orders differ where another one makes all atoms together move less, by this part."""


def matched(initial: Atoms, final: Atoms) -> Atoms:
    """Return the final structure with its atoms in the order in which they move least.

    The sum of squared distances is minimised over all exchanges of atoms of one element.

    Raises
    ------
    StructureError
        The structures have other atoms, or other cells.
    """
    _check_same(initial, final)
    order = np.arange(len(initial))
    distances = get_distances(initial.positions, final.positions, initial.cell, initial.pbc)[1]
    from scipy.optimize import linear_sum_assignment

    for number in set(initial.numbers):
        ours = np.flatnonzero(initial.numbers == number)
        theirs = np.flatnonzero(final.numbers == number)
        rows, columns = linear_sum_assignment(distances[np.ix_(ours, theirs)] ** 2)
        order[ours[rows]] = theirs[columns]
    return final[order]


def check_match(initial: Atoms, final: Atoms, *, exchange: bool = False) -> None:
    """Refuse two structures whose atoms do not correspond.

    Parameters
    ----------
    initial, final
        The two.
    exchange
        Atoms of one element may change places.

    Raises
    ------
    StructureError
        They have other atoms, cells, charges, moments, masses or constraints, or seem to be in
        another order.
    """
    _check_same(initial, final)
    if not np.array_equal(initial.numbers, final.numbers):
        raise StructureError(
            "The two structures have their elements in different orders. Use "
            "quacc.atoms.same.matched(initial, final) for the final one."
        )
    check_alike(initial, final)
    now, best = _moved(initial, final), _moved(initial, matched(initial, final))
    if now < 1e-3:
        raise StructureError("The two structures are the same, so there is no path between them.")
    if best < _FAR * now and not exchange:
        raise StructureError(
            "The atoms of the two structures seem to be in different orders: together they move by "
            f"{now:.2f} Å, but by {best:.2f} Å in another order. Use "
            "quacc.atoms.same.matched(initial, final) for the final one, or pass exchange=True if "
            "they do change places."
        )


def _check_same(initial: Atoms, final: Atoms) -> None:
    if sorted(initial.numbers) != sorted(final.numbers):
        raise StructureError(
            f"The two structures have different atoms: {initial.get_chemical_formula()} and "
            f"{final.get_chemical_formula()}."
        )
    same_cell = np.allclose(initial.cell.array, final.cell.array, atol=1e-6)
    if not same_cell or not np.array_equal(initial.pbc, final.pbc):
        raise StructureError(
            "The two structures have different cells, so there is no path between them. Relax both "
            "in the same cell."
        )


def _moved(initial: Atoms, final: Atoms) -> float:
    from ase.geometry import find_mic

    moved, _ = find_mic(final.positions - initial.positions, initial.cell, initial.pbc)
    return float(np.linalg.norm(moved))
