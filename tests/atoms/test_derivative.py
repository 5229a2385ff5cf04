"""Derivative structures, against the tables of those who enumerated them first."""

import numpy as np
import pytest
from ase.build import bulk
from ase.spacegroup import crystal

from quacc.atoms.derivative import (
    colourings,
    inequivalent,
    is_repeated,
    number_of_superlattices,
    parent_of,
    sites_in,
    superlattices,
)
from quacc.atoms.magnetic import KINDS, orderings
from quacc.errors import ParameterError


def parent(atoms):
    return parent_of(atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)


def binaries(atoms, size):
    """Count binary structures with cells of this size; exchange of the elements makes no new."""
    crystal, found = parent(atoms), 0
    for matrix, lattices in superlattices(crystal, size):
        sites = sites_in(crystal, matrix, lattices)
        natoms = len(sites.parents)
        for ones in range(1, natoms // 2 + 1):
            rows = np.array([*colourings([ones, natoms - ones])], dtype=np.uint8)
            swap = [0, 2, 1] if 2 * ones == natoms else None
            several = inequivalent(rows, sites.group, swap)
            assert sum(count for _, count in several) == len(rows)
            found += sum(not is_repeated(row, sites.shifts) for row, _ in several)
    return found


@pytest.mark.parametrize("atoms", [bulk("Cu"), bulk("Cu", cubic=True), bulk("Fe")])
def test_binary_structures_of_cubic_lattices(atoms):
    """Hart and Forcade, Phys. Rev. B 77, 224115 (2008), Table IV."""
    assert [binaries(atoms, size) for size in (2, 3, 4, 5)] == [2, 3, 12, 14]


def test_binary_structures_of_hcp():
    """Hart and Forcade, Phys. Rev. B 80, 014120 (2009)."""
    assert [binaries(bulk("Ti"), size) for size in (1, 2, 3)] == [1, 7, 30]


def test_superlattices_are_counted_by_the_sum_over_divisors():
    crystal = parent(bulk("Cu"))
    for size, known in ((2, 7), (3, 13), (4, 35)):
        assert sum(count for _, count in superlattices(crystal, size)) == known
        assert number_of_superlattices(size) == known


def test_antiferromagnetic_orders_of_nickel_oxide():
    """AFM-I has three domains, along <100>, and AFM-II four, along <111>."""
    for cubic in (False, True):
        oxide = bulk("NiO", "rocksalt", a=4.18, cubic=cubic)
        found = orderings(oxide, {"Ni": 2.0}, 2, KINDS)
        assert [one.name for one in found] == ["FM", "AFM1", "AFM2", "NM"]
        assert sorted(one.degeneracy for one in found[1:3]) == [3, 4]
        for one in found[1:3]:
            direction = 1 if one.degeneracy == 3 else 3
            moments = one.atoms.get_initial_magnetic_moments()
            assert sorted(moments) == [-2, 0, 0, 2]
            up, down = one.atoms[moments > 0], one.atoms[moments < 0]
            # Within a plane of the normal, all are alike; in type I, 8 of 12 neighbours are
            # antiparallel, in type II 6 of 12, and all six of the second ones.
            near = _neighbours(one.atoms, up.positions[0], down.symbols[0], 4.18 / 2**0.5)
            assert near == {1: (4, 8), 3: (6, 6)}[direction]
            next_ones = _neighbours(one.atoms, up.positions[0], down.symbols[0], 4.18)
            assert next_ones == {1: (6, 0), 3: (0, 6)}[direction]


def _neighbours(atoms, place, symbol, distance):
    """Return how many neighbours at a distance are parallel, and how many antiparallel."""
    many = atoms.repeat(5)
    start = place + 2 * atoms.cell.array.sum(axis=0)
    there = abs(np.linalg.norm(many.positions - start, axis=1) - distance) < 0.01
    moments = many.get_initial_magnetic_moments()[there & (many.symbols == symbol)]
    return int((moments > 0).sum()), int((moments < 0).sum())


def test_three_antiferromagnetic_orders_of_chromia():
    """+-+-, ++-- and +--+: Brockhouse, J. Chem. Phys. 21, 961 (1953)."""
    chromia = crystal(
        ["Cr", "O"],
        [(0, 0, 0.3475), (0.3058, 0, 0.25)],
        spacegroup=167,
        cellpar=[4.95, 4.95, 13.57, 90, 90, 120],
    )
    found = orderings(chromia, {"Cr": 3.0}, 1, ["antiferromagnetic"])
    assert [(one.name, one.degeneracy) for one in found] == [("AFM1", 1), ("AFM2", 1), ("AFM3", 1)]
    assert all(len(one.atoms) == 10 for one in found)


def test_elements_make_a_ferrimagnet():
    alloy = bulk("FeCo", "cesiumchloride", a=2.85)
    found = orderings(alloy, {"Fe": 3.0, "Co": 2.0}, 1, KINDS)
    assert [one.name for one in found] == ["FM", "FiM", "NM"]
    assert sorted(found[1].atoms.get_initial_magnetic_moments()) == [-2, 3]


def test_too_many_patterns_are_counted_first():
    with pytest.raises(ParameterError, match="patterns of moments, more than"):
        orderings(bulk("Fe", cubic=True) * 3, {"Fe": 3.0}, 40, KINDS)
