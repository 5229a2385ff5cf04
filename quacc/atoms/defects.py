"""Point defects: vacancies, antisites, substitutions and interstitials in supercells."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
from ase import Atom, Atoms
from ase.data import atomic_masses, atomic_numbers
from ase.geometry import get_distances, minkowski_reduce

from quacc.atoms.modify import bare_supercell
from quacc.errors import MissingProgramError, StructureError

_SAME = 0.1
"""Places nearer than this (Å) are one."""


class Defect(NamedTuple):
    """A point defect in a supercell."""

    name: str
    kind: str
    added: str | None
    removed: str | None
    position: list[float]
    """Parts of the crystal's cell."""
    multiplicity: int
    nearest: float
    """Å."""
    atoms: Atoms
    """An atom that was put between the others is the last."""


class _Site(NamedTuple):
    place: Any
    """Parts of the crystal's cell."""
    multiplicity: int
    number: int | None
    """Atomic number of the atom that is there, if any."""


def make_defects(
    atoms: Atoms, repeats: Sequence[int], changes: Collection[tuple[str | None, str | None]]
) -> list[Defect]:
    """Return all distinct defects of a crystal, in supercells that are alike.

    Parameters
    ----------
    atoms
        The crystal.
    repeats
        Three whole numbers.
    changes
        (added, removed): elements, of which one may be None.

    Raises
    ------
    StructureError
        The supercell is too small.
    MissingProgramError
        pymatgen-analysis-defects is not installed.
    """
    whole = bare_supercell(atoms, repeats)
    image = float(np.linalg.norm(minkowski_reduce(whole.cell)[0], axis=1).min())
    lattice, holes = _sites(atoms, interstitial=any(removed is None for _, removed in changes))
    found = []
    for added, removed in changes:
        group = []
        for site in holes if removed is None else lattice:
            if site.number is not None and atoms.symbols[site.number] != removed:
                continue
            made, near = _change(whole, site, added, atoms.cell, image)
            if image < 1.999 * near:
                raise StructureError(
                    f"The supercell {'×'.join(map(str, repeats))} of "
                    f"{atoms.get_chemical_formula()} is too small: the nearest atom to a defect "
                    f"is {near:.2f} Å away, and its own periodic image {image:.2f} Å. Take a "
                    "larger supercell or min_length."
                )
            position = [round(float(part), 8) % 1 for part in site.place]
            group.append((near, site.multiplicity, position, made))
        # The largest hole first; else in an order that does not depend on rounding.
        group.sort(key=lambda row: (-round(row[0], 3), row[1], np.round(row[2], 3).tolist()))
        kind = _kind(added, removed, {*atoms.symbols})
        root = f"{added or 'v'}_{removed or 'i'}"
        for count, (near, many, position, made) in enumerate(group, start=1):
            name = f"{root}{count}" if len(group) > 1 else root
            found.append(Defect(name, kind, added, removed, position, many, near, made))
    return found


def _change(
    whole: Atoms, site: _Site, added: str | None, cell: Any, image: float
) -> tuple[Atoms, float]:
    """Return the supercell with the defect, and how far its nearest atom is from it (Å)."""
    made: Atoms = whole.copy()
    if site.number is None:
        made.append(Atom(added, np.asarray(site.place) @ cell))
        centre, others = made.positions[-1], whole.positions
    else:
        centre, others = whole.positions[site.number], np.delete(whole.positions, site.number, 0)
        if added is None:
            del made[site.number]
        else:
            made.symbols[site.number] = added
            if made.has("initial_magmoms"):  # which was the other element's
                made.arrays["initial_magmoms"][site.number] = 0
            if made.has("masses"):
                made.arrays["masses"][site.number] = atomic_masses[atomic_numbers[added]]
    if not len(others):
        return made, image
    return made, float(get_distances(centre, others, cell=whole.cell, pbc=True)[1].min())


def _sites(atoms: Atoms, interstitial: bool) -> tuple[list[_Site], list[_Site]]:
    """Return the distinct sites of a crystal's lattice, and if asked for, those between them."""
    from pymatgen.core.structure import Structure

    try:
        from pymatgen.analysis.defects.generators import VoronoiInterstitialGenerator
    except ImportError as error:
        raise MissingProgramError(
            f"Sites of point defects come from pymatgen-analysis-defects, which cannot be imported "
            f"({error}). Install it with `pip install quacc[defects]`."
        ) from error

    # The generator loses atoms that rounding has put below the cell.
    places = np.round(atoms.get_scaled_positions(), 8) % 1
    crystal = Structure(atoms.cell.array, atoms.get_chemical_symbols(), places)
    moments = np.linalg.norm(atoms.get_initial_magnetic_moments().reshape(len(atoms), -1), axis=1)
    kinds: dict[tuple[str, float], list[int]] = {}
    for number, (symbol, moment) in enumerate(zip(atoms.symbols, moments, strict=True)):
        kinds.setdefault((symbol, round(float(moment), 2)), []).append(number)
    lattice = [
        _Site(places[alike[which]], many, alike[which])
        for alike in kinds.values()
        for which, many in _distinct(crystal, places[alike])
    ]
    if not interstitial:
        return lattice, []
    # Charges are not asked for, so none need be guessed, which takes long.
    sets = VoronoiInterstitialGenerator().generate(crystal.copy(), ["H"], oxi_state=0)
    vertices = [site.frac_coords for group in sets for site in group.equivalent_sites]
    distinct = _distinct(crystal, vertices)
    return lattice, [_Site(vertices[which], many, None) for which, many in distinct]


def _distinct(crystal: Any, places: Any) -> list[tuple[int, int]]:
    """Return the first of each set of places that symmetry makes equivalent, and their number.

    The generator's own sets are of structures that are alike within a few per cent: it takes the
    holes of a tetragonal crystal for those of a cubic one. The symmetry is the primitive cell's: a
    repeated cell lacks the rotations that turn it into another.
    """
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

    cell = crystal.get_primitive_structure(tolerance=0.01)
    operations = SpacegroupAnalyzer(cell, symprec=0.01).get_symmetry_operations()
    places = cell.lattice.get_fractional_coords(crystal.lattice.get_cartesian_coords(places))
    found = []
    left = np.arange(len(places))
    while len(left):
        images = [operation.operate(places[left[0]]) for operation in operations]
        far = cell.lattice.get_all_distances(images, places[left]).min(axis=0)
        found.append((int(left[0]), int((far < _SAME).sum())))
        left = left[far >= _SAME]
    return found


def _kind(added: str | None, removed: str | None, native: set[str]) -> str:
    if added is None:
        return "vacancy"
    if removed is None:
        return "interstitial"
    return "antisite" if added in native else "substitution"
