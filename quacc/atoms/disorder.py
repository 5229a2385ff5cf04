"""Crystals with partly occupied sites, and the ordered structures that they can become."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii
from ase.geometry import get_distances
from numpy.typing import NDArray

from quacc.atoms.check import OVERLAP, check_structure
from quacc.atoms.convert import StructureLike, as_given, as_pymatgen
from quacc.atoms.derivative import (
    Parent,
    Sites,
    colourings,
    inequivalent,
    is_repeated,
    number_of,
    number_of_superlattices,
    parent_of,
    sites_in,
    superlattices,
    together,
)
from quacc.errors import ParameterError, StructureError
from quacc.extras import check_free, honour_info

EXACT = 0.005
"""An occupancy this near to a whole number of atoms is one: files have two digits of 1/3."""

MOST = 200_000
"""More arrangements than these are not looked at."""

_LARGEST = 64
"""Primitive cells."""

_SYMPREC = 0.01
"""Å."""

_SAME_ENERGY = 1e-6
"""Ewald energies this near (eV per atom) may be of one arrangement."""


@dataclass(frozen=True)
class Disordered:
    """A crystal of whose sites some are shared by several elements, or not always occupied."""

    parent: Parent
    occupancies: list[dict[str, float]]
    """For each site of the parent, the elements and their parts; what lacks to 1 is vacant."""


@dataclass(frozen=True)
class Arrangement:
    """An ordered structure."""

    atoms: Atoms
    ewald: float | None
    """Energy of point charges, eV per atom."""
    degeneracy: int
    """How many arrangements are equivalent to it by the symmetry of the disordered crystal."""


def as_disordered(structure: StructureLike) -> Disordered:
    """Return a crystal with its occupancies, as ASE's reader of CIF keeps them.

    Raises
    ------
    StructureError
        It is no crystal, has no partly occupied site, or ASE's reader lost some of the occupancies.
    """
    atoms = as_given(structure)
    occupancies = _occupancies(atoms)
    atoms.info.pop("occupancy", None)
    honour_info(atoms)
    check_structure(atoms, overlap=False)
    if not atoms.pbc.all():
        raise StructureError(
            "To order takes a crystal, periodic in three directions; this one has "
            f"pbc={atoms.pbc.tolist()}."
        )
    check_free(atoms, "to order", symmetry=False)
    for name, what in (
        ("initial_charges", "charges"),
        ("initial_magmoms", "magnetic moments"),
        ("momenta", "velocities"),
        ("masses", "masses of its own"),
    ):
        if name in atoms.arrays and atoms.arrays[name].any():
            raise StructureError(
                f"The structure has {what}, which cannot be those of all elements that share a "
                "site. Remove them, and give them to the ordered structures."
            )
    kinds: dict[tuple[tuple[str, float], ...], int] = {}
    numbers = [
        kinds.setdefault(tuple(sorted((key, round(part, 6)) for key, part in one.items())), number)
        for number, one in enumerate(occupancies)
    ]
    parent = parent_of(atoms.cell.array, atoms.get_scaled_positions(), numbers)
    return Disordered(parent, [occupancies[one] for one in parent.sites])


def _occupancies(atoms: Atoms) -> list[dict[str, float]]:
    given, kinds = atoms.info.get("occupancy"), atoms.arrays.get("spacegroup_kinds")
    if not isinstance(given, Mapping) or not all(
        isinstance(one, Mapping) for one in given.values()
    ):
        raise StructureError(
            "The structure has no occupancies under info['occupancy'], where ASE's reader of CIF "
            "puts them, so that there is nothing to order. Pass a CIF file that has "
            "_atom_site_occupancy."
        )
    if kinds is None:
        raise StructureError(
            "Which atoms info['occupancy'] is of, atoms.arrays['spacegroup_kinds'] must say: a "
            "number for each atom, under which its occupancy is. ASE's reader of CIF writes both."
        )
    known = {str(key): _parts(key, one) for key, one in given.items()}
    present = {str(kind) for kind in kinds.tolist()}
    if missing := sorted(present - known.keys()):
        raise StructureError(f"info['occupancy'] lacks the kinds {', '.join(missing)} of atoms.")
    # ASE's reader has a kind for each line of the file; of those on one site, the first remains,
    # and its occupancy should be that of all.
    lines = Counter(tuple(sorted(one.items())) for one in known.values())
    sites = Counter(tuple(sorted(known[kind].items())) for kind in present)
    for one, count in lines.items():
        if count != sites[one] and count != sites[one] * len(one):
            raise StructureError(
                "Two lines of the file are of one site, and ASE's reader of CIF keeps only one of "
                f"them: {dict(one)}. This happens with one element in two oxidation states, and "
                "with elements at two equivalent positions. Write the element once, with the sum, "
                "and all elements of a site at the same position."
            )
    found = [known[str(kind)] for kind in kinds.tolist()]
    if all(len(one) == 1 and abs(sum(one.values()) - 1) < EXACT for one in found):
        raise StructureError(
            f"All sites of the structure are fully occupied by one element, to within {EXACT}: "
            "there is nothing to order. Delete info['occupancy'], and compute it as it is."
        )
    return found


def _parts(kind: Any, given: Mapping[Any, Any]) -> dict[str, float]:
    for element, part in given.items():
        if not atomic_numbers.get(element):
            raise StructureError(f"The occupancy of site {kind} names {element!r}, no element.")
        if isinstance(part, bool) or not isinstance(part, int | float | np.number) or not part >= 0:
            raise StructureError(f"The occupancy of {element} on site {kind} is {part!r}.")
    if (total := sum(given.values())) > 1 + EXACT:
        raise StructureError(
            f"The occupancies of site {kind} add up to {total:.4g}, more than 1: {dict(given)}."
        )
    return {str(element): float(part) for element, part in given.items() if part > 0}


def _orbits(crystal: Disordered) -> list[tuple[NDArray[Any], dict[str, float]]]:
    """Return each set of equivalent sites that are disordered, and its occupancies."""
    found = []
    for orbit in np.unique(crystal.parent.orbits):
        sites = np.flatnonzero(crystal.parent.orbits == orbit)
        parts = crystal.occupancies[sites[0]]
        if len(parts) != 1 or abs(sum(parts.values()) - 1) >= EXACT:
            found.append((sites, parts))
    return found


def _counts(parts: Mapping[str, float], nsites: int) -> list[int] | None:
    """Return how many sites each element has, and how many are vacant; None for broken numbers."""
    exact = np.array([*parts.values(), max(0.0, 1 - sum(parts.values()))]) * nsites
    counts = np.rint(exact).astype(int)
    fine = (abs(exact - counts) <= EXACT * nsites).all() and (counts[:-1] > 0).all()
    return counts.tolist() if fine and counts.sum() == nsites else None


def _is_whole(crystal: Disordered, size: int) -> bool:
    return all(_counts(parts, size * len(sites)) for sites, parts in _orbits(crystal))


def smallest(crystal: Disordered) -> int:
    """Return the smallest number of primitive cells in which all occupancies are whole numbers.

    Raises
    ------
    StructureError
        It would be larger than 64.
    """
    for size in range(1, _LARGEST + 1):
        if _is_whole(crystal, size):
            return size
    raise StructureError(
        f"In up to {_LARGEST} primitive cells the occupancies are no whole numbers of atoms: "
        f"{[parts for _, parts in _orbits(crystal)]}. Round them to simple fractions."
    )


@dataclass(frozen=True)
class Supercells:
    """Where a disordered crystal is ordered: supercells of one size."""

    size: int
    """Primitive cells in each."""
    sites: list[Sites]
    counts: list[list[int]]
    """For each set of equivalent sites, how many each element has, and how many are vacant."""
    arrangements: int
    """In all supercells, equivalent ones included."""
    every_shape: bool


def supercells(crystal: Disordered, supercell: Sequence[int] | None) -> Supercells:
    """Return the supercells, and count the arrangements in them.

    Parameters
    ----------
    supercell
        How often to repeat the cell along its vectors; None: every supercell of the smallest size.

    Raises
    ------
    ParameterError
        Occupancies are no whole numbers of atoms in it, or there are too many arrangements.
    """
    parent = crystal.parent
    if supercell is None:
        size = smallest(crystal)
        shapes = number_of_superlattices(size)
    else:
        size = int(np.prod(supercell)) * round(abs(np.linalg.det(parent.given)))
        shapes = 1
        if not _is_whole(crystal, size):
            raise ParameterError(
                f"In supercell={list(supercell)} the occupancies are no whole numbers of atoms: "
                f"{[parts for _, parts in _orbits(crystal)]}. {_smallest_repeats(crystal)}"
            )
    counts = [_counts(parts, size * len(sites)) or [] for sites, parts in _orbits(crystal)]
    each = int(np.prod([float(number_of(one)) for one in counts]))
    if each * shapes > MOST:
        advice = (
            "Take fewer elements or simpler fractions for the occupancies, or another method, such "
            "as a special quasirandom structure."
        )
        if supercell is None:
            advice = (
                f"They are in all {shapes} supercells of {size} primitive cells: name one with "
                f"supercell. {advice}"
            )
        elif size > smallest(crystal):
            advice = f"Take a smaller supercell: {_smallest_repeats(crystal)} {advice}"
        raise ParameterError(
            f"There are {each * shapes:.3g} arrangements, more than the {MOST} that are looked "
            f"at. {advice}"
        )
    if supercell is None:
        sites = [sites_in(parent, *one) for one in superlattices(parent, size)]
    else:
        sites = [sites_in(parent, np.diag(supercell) @ parent.given, as_given=True)]
    return Supercells(size, sites, counts, each * shapes, supercell is None)


def _smallest_repeats(crystal: Disordered) -> str:
    cells = round(abs(np.linalg.det(crystal.parent.given)))
    lengths = np.linalg.norm(crystal.parent.given @ crystal.parent.cell, axis=1)
    # Of one size, the most compact.
    every = sorted(
        product(range(1, 9), repeat=3), key=lambda one: (np.prod(one), np.ptp(lengths * one), one)
    )
    size = smallest(crystal)
    for one in every:
        if int(np.prod(one)) * cells >= size and _is_whole(crystal, int(np.prod(one)) * cells):
            return f"The smallest in which they are is supercell={list(one)}."
    return f"They are in {size} primitive cells."


def composition(crystal: Disordered, cells: Supercells) -> dict[str, int]:
    """Return the number of atoms of each element in a supercell."""
    total: Counter[str] = Counter()
    for (_, parts), counts in zip(_orbits(crystal), cells.counts, strict=True):
        total.update(dict(zip(parts, counts, strict=False)))
    mixed = np.concatenate([sites for sites, _ in _orbits(crystal)])
    for number, parts in enumerate(crystal.occupancies):
        if number not in mixed:
            total.update({next(iter(parts)): cells.size})
    return {element: count for element, count in sorted(total.items()) if count}


def rounded(crystal: Disordered, cells: Supercells) -> list[str]:
    """Return a warning for each occupancy that differs from the number of atoms in the supercell.

    By more than rounding to three digits.
    """
    return [
        f"The occupancy of {element}, {part:g}, is {count} of {cells.size * len(sites)} sites, "
        f"{count / (cells.size * len(sites)):.4f}."
        for (sites, parts), counts in zip(_orbits(crystal), cells.counts, strict=True)
        for (element, part), count in zip(parts.items(), counts, strict=False)
        if abs(part - count / (cells.size * len(sites))) > 5e-4
    ]


def arrange(
    crystal: Disordered,
    cells: Supercells,
    charges: Mapping[str, float] | None,
    limit: int,
) -> tuple[list[Arrangement], int, int]:
    """Return inequivalent arrangements of the lowest Ewald energies.

    Also how many inequivalent ones there are, and how many more have atoms that overlap.

    Parameters
    ----------
    charges
        Of each element (e); None: all arrangements are alike.
    limit
        Maximum number.
    """
    palette = ["", *sorted({key for one in crystal.occupancies for key in one}), VACANT]
    natoms = sum(composition(crystal, cells).values())
    every: list[tuple[float, Sites, NDArray[Any], int]] = []
    crowded = 0
    for sites in cells.sites:
        kept = inequivalent(_coloured(crystal, cells, sites, palette), sites.group)
        rows = np.array([row for row, _ in kept])
        clear = ~_overlapping(sites, rows, palette)
        crowded += int((~clear).sum())
        energies = np.zeros(len(rows))
        if charges is not None:
            energies = _ewald(sites, rows, palette, charges) / natoms
        every += [
            (float(energy), sites, row, count * sites.lattices)
            for energy, (row, count), fine in zip(energies, kept, clear, strict=True)
            if fine
        ]
    every.sort(key=lambda one: one[0])
    found: list[Arrangement] = []
    repeated: list[int] = []
    for energy, sites, row, count in every:
        arrangement = Arrangement(_atoms(sites, row, palette), energy, count)
        # Of the supercell's own symmetry all are distinct; the crystal may have more of it, which
        # takes one that is repeated in the supercell to another one.
        if not cells.every_shape and is_repeated(row, sites.shifts):
            twin = next((one for one in repeated if _are_twins(found[one], arrangement)), None)
            if twin is not None:
                found[twin] = replace(found[twin], degeneracy=found[twin].degeneracy + count)
                continue
            repeated.append(len(found))
        found.append(arrangement)
    number = len(found)
    if charges is None:
        found = [replace(one, ewald=None) for one in found]
    return found[:limit], number, crowded


VACANT = "X"


def _coloured(
    crystal: Disordered, cells: Supercells, sites: Sites, palette: Sequence[str]
) -> NDArray[Any]:
    """Return all arrangements, each site as a number in the palette."""
    parts = []
    for (orbit, occupancy), counts in zip(_orbits(crystal), cells.counts, strict=True):
        places = np.flatnonzero(np.isin(sites.parents, orbit))
        colours = np.array([0, *map(palette.index, (*occupancy, VACANT))], dtype=np.uint8)
        parts.append((places, colours[np.array([*colourings(counts)])]))
    rows = together(parts, len(sites.parents))
    mixed = np.concatenate([places for places, _ in parts])
    for place in np.setdiff1d(np.arange(len(sites.parents)), mixed):
        (element,) = crystal.occupancies[sites.parents[place]]
        rows[:, place] = palette.index(element)
    return rows


def _overlapping(sites: Sites, rows: NDArray[Any], palette: Sequence[str]) -> NDArray[Any]:
    """Return which arrangements have atoms that overlap, as sites of split positions would."""
    radii = np.array([covalent_radii[atomic_numbers[one]] if one else 0.0 for one in palette])
    radii[palette.index(VACANT)] = -np.inf
    positions = sites.scaled @ sites.cell
    _, distances = get_distances(positions, cell=sites.cell, pbc=True)
    found = np.zeros(len(rows), dtype=bool)
    for first, second in np.argwhere(np.triu(distances < 2 * OVERLAP * radii.max(), k=1)):
        limit = OVERLAP * (radii[rows[:, first]] + radii[rows[:, second]])
        found |= distances[first, second] < limit
    return found


def _ewald(
    sites: Sites, rows: NDArray[Any], palette: Sequence[str], charges: Mapping[str, float]
) -> NDArray[Any]:
    """Return the electrostatic energy of each arrangement of point charges (eV for the supercell).

    The energy is a quadratic form in the charges, which pymatgen's Ewald sum gives at once.
    """
    from pymatgen.analysis.ewald import EwaldSummation
    from pymatgen.core.lattice import Lattice
    from pymatgen.core.structure import Structure

    unit = Structure(Lattice(sites.cell), ["H+"] * len(sites.scaled), sites.scaled)
    matrix = EwaldSummation(unit).total_energy_matrix
    values = np.array([charges.get(one, 0.0) for one in palette])[rows]
    energies: NDArray[Any] = np.einsum("ri,ij,rj->r", values, matrix, values, optimize=True)
    return energies


def _atoms(sites: Sites, row: NDArray[Any], palette: Sequence[str]) -> Atoms:
    there = [number for number, colour in enumerate(row) if palette[colour] != VACANT]
    atoms = Atoms(
        [palette[row[number]] for number in there],
        scaled_positions=sites.scaled[there],
        cell=sites.cell,
        pbc=True,
    )
    return atoms[np.argsort(atoms.numbers, kind="stable")]


def _are_twins(one: Arrangement, other: Arrangement) -> bool:
    from pymatgen.analysis.structure_matcher import StructureMatcher

    if abs((one.ewald or 0) - (other.ewald or 0)) > _SAME_ENERGY:
        return False
    matcher = StructureMatcher(ltol=1e-3, stol=1e-3, angle_tol=0.1, scale=False)
    return bool(matcher.fit(as_pymatgen(one.atoms), as_pymatgen(other.atoms)))


def space_group(atoms: Atoms) -> str:
    """Return the symbol and the number of a crystal's space group, such as Fm-3m (225)."""
    import spglib

    found = spglib.get_symmetry_dataset(
        (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers), symprec=_SYMPREC
    )
    if found is None:
        raise StructureError(
            "spglib finds no symmetry in the structure: see that no sites coincide."
        )
    return f"{found.international} ({found.number})"


def oxidation_states_of(
    composition: Mapping[str, int], given: Mapping[str, float] | None
) -> dict[str, float] | None:
    """Return the charge of each element: as given, or as pymatgen guesses it; None if it cannot.

    Raises
    ------
    ParameterError
        Those that are given do not belong to the elements, or do not add up to zero.
    """
    if given is None:
        from pymatgen.core.composition import Composition

        guesses = Composition(dict(composition)).oxi_state_guesses(max_sites=-1)
        states = {key: float(value) for key, value in guesses[0].items()} if guesses else {}
        return states if any(states.values()) else None
    if given.keys() != composition.keys():
        raise ParameterError(
            f"oxidation_states must name the elements {', '.join(composition)}, each once, not "
            f"{', '.join(map(str, given))}."
        )
    total = sum(count * given[element] for element, count in composition.items())
    if abs(total) > 1e-3:
        formula = "".join(f"{element}{count}" for element, count in composition.items())
        raise ParameterError(
            f"oxidation_states of {formula} add up to {total:+g}, not to zero. Correct them, or "
            "leave them out, so that they are guessed."
        )
    return {element: float(given[element]) for element in composition}
