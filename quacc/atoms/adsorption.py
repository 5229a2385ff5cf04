"""Where something can be adsorbed on a slab, and the slab with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.constraints import FixAtoms
from numpy.typing import NDArray

from quacc.atoms.convert import StructureLike, as_atoms, as_pymatgen
from quacc.atoms.order import inside, ranks
from quacc.atoms.vacuum import VACUUM, gap, in_one_piece, is_isolated
from quacc.errors import StructureError, require_count

_SURFACE = 0.9
"""Atoms so far below the highest one belong to the surface (Å)."""


@dataclass(frozen=True)
class Site:
    """One of the distinct sites of a surface."""

    kind: str
    """``top``, ``bridge`` or ``hollow``: one, two, or more nearest atoms."""
    position: NDArray[Any]
    """Where it is on the surface (Å): the mean of the positions of those atoms."""


def is_slab(atoms: Atoms) -> bool:
    """Tell whether a structure has vacuum along its third cell vector."""
    if not atoms.pbc[:2].all() or not len(atoms):
        return False
    return not atoms.pbc[2] or gap(atoms, 2) >= VACUUM


def as_molecule(structure: StructureLike, role: str) -> Atoms:
    """Return an atom or a molecule, in one piece where a box of vacuum is given around it.

    Raises
    ------
    StructureError
        It is periodic without vacuum: many elements have names that are those of crystals.
    """
    atoms = as_atoms(structure)
    if not is_isolated(atoms):
        symbols = set(atoms.symbols)
        hint = (
            f"of one atom, pass ase.Atoms({symbols.pop()!r}), because the name is that of the "
            "crystal."
            if len(symbols) == 1
            else "of a molecule, set atoms.pbc = False."
        )
        raise StructureError(
            f"The {role} {atoms.get_chemical_formula()} is no atom or molecule: it is periodic "
            f"(pbc={atoms.pbc.tolist()}) with less than {VACUUM:g} Å of vacuum. For the "
            f"adsorption {hint}"
        )
    return in_one_piece(atoms, (0, 1, 2))


def adsorption_sites(slab: Atoms) -> list[Site]:
    """Return all symmetrically distinct sites on the upper side of a slab.

    From the triangles between the atoms of the surface, with pymatgen (Montoya and Persson, npj
    Comput. Mater. 3, 14 (2017)).

    Parameters
    ----------
    slab
        Its surface normal along z, vacuum above it. The boundary of the cell may cut it: sites
        are above its highest atom, seen from the vacuum.

    Raises
    ------
    StructureError
        It has no vacuum, or its surface is not in the xy plane.
    """
    if not is_slab(slab):
        raise StructureError(
            "Adsorption sites are of a slab with at least 6 Å of vacuum along its third cell "
            "vector. Carve one with quacc.atoms.slabs.make_slabs."
        )
    from pymatgen.analysis.adsorption import AdsorbateSiteFinder

    whole = in_one_piece(Atoms(slab.symbols, slab.positions, cell=_upright(slab), pbc=True))
    # Which triangles there are between atoms on one circle, last digits must not decide, either.
    whole.positions = ranks(whole.positions, 1e6) / 1e6
    finder = AdsorbateSiteFinder(as_pymatgen(whole), height=_SURFACE)
    found = finder.find_adsorption_sites(distance=0.0, symm_reduce=0, put_inside=False)
    distinct = [
        site
        for kind in ("ontop", "bridge", "hollow")
        for site in finder.symm_reduce(_in_order(found[kind], whole), threshold=1e-2)
    ]
    highest = int(whole.positions[:, 2].argmax())
    surface = whole.positions[whole.positions[:, 2] > whole.positions[highest, 2] - _SURFACE]
    moved = whole.positions[highest] - slab.positions[highest]
    # Of a square of atoms, the midpoints of its sides and of its diagonal are both called bridges.
    return [Site(_kind(site, surface, slab), site - moved) for site in distinct]


def _in_order(sites: list[NDArray[Any]], slab: Atoms) -> list[NDArray[Any]]:
    """Return sites inside the cell, in an order that the last digits of numbers do not decide.

    The first of equivalent ones is kept: on every processor the same, or keys would differ.
    """
    scaled = slab.cell.scaled_positions(np.array(sites).reshape(-1, 3))
    scaled[:, :2] = inside(scaled[:, :2])
    ordered = sorted(scaled, key=lambda one: ranks(one[:2]).tolist())
    return [slab.cell.cartesian_positions(one) for one in ordered]


def _upright(slab: Atoms) -> NDArray[Any]:
    """Return cell vectors of the same lattice whose third is upwards, with a and b right-handed.

    Else pymatgen finds the sites of the lower side.
    """
    cell = slab.cell.complete().array.copy()
    if np.abs(cell[:2, 2]).max() > 1e-3:
        raise StructureError(
            "The surface of a slab must be in the xy plane, for its adsorbates are put above it "
            f"along z, but its first two cell vectors are {cell[:2].round(3).tolist()}. Turn the "
            "slab, with atoms.rotate(…, rotate_cell=True)."
        )
    if np.cross(cell[0], cell[1])[2] < 0:
        cell[:2] = cell[[1, 0]]
    if cell[2, 2] < 0:
        cell[2] *= -1
    thickness = float(np.ptp(slab.positions[:, 2]))
    if not slab.pbc[2] and cell[2, 2] < thickness + VACUUM:
        cell[2] = 0, 0, thickness + 2 * VACUUM  # its own is not used, and may be no vacuum at all
    return cell


def _kind(position: NDArray[Any], surface: NDArray[Any], slab: Atoms) -> str:
    # With the images around, because in a small cell several neighbours are images of one atom.
    a, b = slab.cell[0], slab.cell[1]
    shifts = np.array([i * a + j * b for i in range(-2, 3) for j in range(-2, 3)])
    around = (surface[:, None] + shifts[None]).reshape(-1, 3) - position
    distances = np.linalg.norm(around[:, :2], axis=1)
    if distances.min() < 0.1:
        return "top"
    nearest = int((distances < 1.1 * distances.min()).sum())
    return "bridge" if nearest == 2 else "hollow"


def with_adsorbate(
    slab: Atoms, adsorbate: Atoms, site: Site, *, distance: float, anchor: int = 0
) -> Atoms:
    """Return a slab with something on a site: its atoms come last.

    Parameters
    ----------
    slab, adsorbate
        The adsorbate is turned so that the anchor is below the rest of it.
    site
        Of :func:`adsorption_sites`.
    distance
        Of the anchor above the site (Å).
    anchor
        The atom that binds, counted from 0.

    Raises
    ------
    ParameterError, StructureError
        There is no such atom, or the result has atoms that overlap.
    """
    require_count(minimum=0, anchor=anchor)
    if anchor >= len(adsorbate):
        raise StructureError(f"The adsorbate has {len(adsorbate)} atoms, so none number {anchor}.")
    added = Atoms(adsorbate.numbers, positions=adsorbate.positions - adsorbate.positions[anchor])
    for name in ("initial_magmoms", "initial_charges", "masses"):
        if name in adsorbate.arrays:
            added.set_array(name, adsorbate.arrays[name])
    rest = added.positions.mean(axis=0)
    if np.linalg.norm(rest) > 1e-3:
        added.rotate(rest, (0, 0, 1))
    added.translate(site.position + np.array([0, 0, distance]))
    whole = slab + added
    whole.info = {}
    return whole


def hold_bottom(slab: Atoms, part: float) -> Atoms:
    """Return the slab with this part of its thickness, from below, held by ``FixAtoms``.

    A slab that has constraints keeps those instead.
    """
    held = slab.copy()
    if slab.constraints:
        return held
    along = in_one_piece(slab).positions[:, 2]
    low, high = along.min(), along.max()
    below = along < low + part * (high - low) - 1e-6
    held.set_constraint(FixAtoms(mask=below) if below.any() else None)
    return held
