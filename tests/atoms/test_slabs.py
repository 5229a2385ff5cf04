"""Slabs against ASE's own surface builders, and against crystallography."""

import numpy as np
import pytest
from ase.build import bulk, fcc100, fcc110, fcc111, molecule
from ase.neighborlist import neighbor_list
from ase.spacegroup import Spacegroup, crystal
from pymatgen.core.surface import get_symmetrically_distinct_miller_indices
from pymatgen.io.ase import AseAtomsAdaptor

from quacc.atoms.slabs import conventional_cell, distinct_millers, make_slabs, turned_over
from quacc.errors import ParameterError, StructureError
from quacc.key import digest

A = 3.6


@pytest.fixture(scope="module")
def copper():
    return make_slabs(bulk("Cu", a=A))


def test_the_distinct_surfaces_of_fcc(copper):
    assert [slab.miller for slab in copper] == [(1, 0, 0), (1, 1, 0), (1, 1, 1)]
    assert all(slab.symmetric and slab.stoichiometric for slab in copper)


@pytest.mark.parametrize(
    ("index", "area"), [(0, A**2 / 2), (1, A**2 / np.sqrt(2)), (2, A**2 * np.sqrt(3) / 4)]
)
def test_areas(copper, index, area):
    assert copper[index].area == pytest.approx(area)


@pytest.mark.parametrize(("index", "build"), [(0, fcc100), (1, fcc110), (2, fcc111)])
def test_same_environments_as_ase_builds(copper, index, build):
    slab = copper[index].atoms
    other = build("Cu", (1, 1, len(slab)), a=A, vacuum=10, periodic=True)
    assert _shells(slab) == _shells(other)


def _shells(atoms):
    i, d = neighbor_list("id", atoms, 6.0)
    return sorted(sorted(np.round(d[i == atom], 6)) for atom in range(len(atoms)))


def test_thickness_and_vacuum():
    for slab in make_slabs("Cu", min_thickness=12, min_vacuum=15):
        z = slab.atoms.positions[:, 2]
        layer = np.diff(np.unique(z.round(4))).max()
        assert np.ptp(z) + layer >= 12
        assert slab.atoms.cell[2, 2] - np.ptp(z) >= 15
        np.testing.assert_allclose(z.mean(), slab.atoms.cell[2, 2] / 2, atol=1e-6)
        np.testing.assert_allclose(slab.atoms.cell.angles()[:2], 90, atol=1e-9)
        assert slab.atoms.pbc.all()


def test_lateral_size():
    for slab in make_slabs("Cu", min_lateral=8.0):
        cell = slab.atoms.cell
        assert slab.area / np.linalg.norm(cell[0]) >= 8 - 1e-6
        assert slab.area / np.linalg.norm(cell[1]) >= 8 - 1e-6


def test_higher_indices():
    millers = {slab.miller for slab in make_slabs("Cu", max_index=2)}
    assert len(millers) == 6
    assert {(2, 1, 0), (2, 1, 1), (2, 2, 1)} < millers


def hexagonal(a, c):
    return [a, a, c, 90, 90, 120]


BISMUTH = crystal("Bi", [(0, 0, 0.234)], spacegroup=166, cellpar=hexagonal(4.546, 11.862))
QUARTZ = crystal(
    ["Si", "O"],
    [(0.47, 0, 0), (0.4133, 0.2672, 0.1188)],
    spacegroup=152,
    cellpar=hexagonal(4.916, 5.405),
)
CORUNDUM = crystal(
    ["Al", "O"],
    [(0, 0, 0.352), (0.306, 0, 0.25)],
    spacegroup=167,
    cellpar=hexagonal(4.759, 12.99),
)
PYRITE = crystal(
    ["Fe", "S"], [(0, 0, 0), (0.385, 0.385, 0.385)], spacegroup=205, cellpar=[5.418] * 3 + [90] * 3
)
SCHEELITE = crystal(
    ["Ca", "W", "O"],
    [(0, 0, 0.5), (0, 0, 0), (0.2414, 0.1511, 0.0861)],
    spacegroup=88,
    cellpar=[5.243, 5.243, 11.376, 90, 90, 90],
)


@pytest.mark.parametrize(
    ("structure", "number", "max_index", "pair"),
    [
        # Pairs that the lattice makes equal, but the crystal does not.
        (BISMUTH, 166, 1, [(1, 0, 1), (1, 0, -1)]),
        (QUARTZ, 152, 1, [(1, 0, 1), (1, 0, -1)]),
        (CORUNDUM, 167, 2, [(1, 0, 2), (1, 0, -2)]),
        (PYRITE, 205, 2, [(2, 1, 0), (2, 0, 1)]),
        (SCHEELITE, 88, 2, [(2, 1, 0), (2, -1, 0)]),
    ],
    ids=["bismuth", "quartz", "corundum", "pyrite", "scheelite"],
)
def test_planes_are_distinct_under_the_point_group_of_the_crystal(
    structure, number, max_index, pair
):
    # The orbits under the rotations of the tables. Our conventional cell has the same axes, or
    # others that the lattice makes equal, so that there are as many.
    def families(rotations):
        indices = range(-max_index, max_index + 1)
        return {
            frozenset(tuple(sign * other) for other in hkl @ rotations for sign in (1, -1))
            for hkl in np.stack(np.meshgrid(indices, indices, indices), -1).reshape(-1, 3)
            if np.gcd.reduce(hkl) == 1
        }

    of_tables = families(np.array(Spacegroup(number).get_op()[0]))
    found = distinct_millers(structure, max_index)
    ours = families(conventional_cell(structure)[1])
    assert set(pair) <= set(found)
    assert len(found) == len(ours) == len(of_tables)
    assert {one for hkl in found for one in ours if hkl in one} == ours
    lattice = AseAtomsAdaptor.get_structure(structure)
    assert len(found) > len(get_symmetrically_distinct_miller_indices(lattice, max_index))


def test_both_rhombohedral_faces_of_bismuth_are_carved():
    millers = [slab.miller for slab in make_slabs(BISMUTH, min_thickness=5, min_vacuum=8)]
    assert {(1, 0, 1), (1, 0, -1)} < set(millers)


@pytest.mark.parametrize(
    "structure",
    [
        bulk("Cu", cubic=True),
        bulk("Fe", cubic=True),
        bulk("Si", cubic=True),
        bulk("NaCl", "rocksalt", a=5.64, cubic=True),
        bulk("ZnS", "zincblende", a=5.41, cubic=True),
        bulk("Ti"),
    ],
    ids=lambda structure: structure.get_chemical_formula(),
)
@pytest.mark.parametrize("max_index", [1, 2, 3])
def test_planes_of_crystals_as_symmetric_as_their_lattice_are_pymatgens(structure, max_index):
    pymatgens = get_symmetrically_distinct_miller_indices(
        conventional_cell(structure)[0], max_index
    )
    assert distinct_millers(structure, max_index) == pymatgens


def test_terminations_of_silicon_111():
    slabs = [slab for slab in make_slabs("Si") if slab.miller == (1, 1, 1)]
    assert [slab.termination for slab in slabs] == [0, 1]


def test_rocksalt_111_is_polar_and_can_be_left_out():
    salt = bulk("NaCl", "rocksalt", a=5.64)
    polar = [slab.miller for slab in make_slabs(salt) if not slab.symmetric]
    assert (1, 1, 1) in polar
    symmetric = make_slabs(salt, symmetric_only=True)
    assert symmetric
    assert all(slab.symmetric for slab in symmetric)


def test_the_same_from_a_conventional_cell(copper):
    cubic = make_slabs(bulk("Cu", a=A, cubic=True))
    assert [(s.miller, len(s.atoms)) for s in cubic] == [(s.miller, len(s.atoms)) for s in copper]


@pytest.mark.parametrize(
    "crystal", [bulk("ZnS", "zincblende", a=5.41), bulk("CuAu", "cesiumchloride", a=3.0), QUARTZ]
)
def test_turning_over_is_a_rotation(crystal):
    for slab in make_slabs(crystal, min_thickness=4, min_vacuum=8, min_lateral=4):
        turned = turned_over(slab.atoms)
        assert np.linalg.det(turned.cell) > 0
        assert bonds(turned) == bonds(slab.atoms, [1, -1, -1])
        z = turned.positions[:, 2]
        assert z.min() > 3
        assert z.max() < turned.cell[2, 2] - 3


def bonds(slab, signs=(1, 1, 1)):
    i, j, vectors = neighbor_list("ijD", slab, 3.5)
    return sorted(zip(i, j, map(tuple, (vectors * signs).round(4) + 0.0), strict=True))


def test_moments_are_carried_over():
    iron = bulk("Fe")
    iron.set_initial_magnetic_moments([2.2])
    for slab in make_slabs(iron):
        assert (slab.atoms.get_initial_magnetic_moments() == 2.2).all()


def test_mixed_moments_are_refused():
    iron = bulk("Fe", cubic=True)
    iron.set_initial_magnetic_moments([2.2, -2.2])
    with pytest.raises(StructureError, match="moments of Fe differ"):
        make_slabs(iron)


def test_a_molecule_has_no_slabs():
    with pytest.raises(StructureError, match="periodic along 0 of 3"):
        make_slabs(molecule("H2O"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_index": 0},
        {"max_index": 1.5},
        {"min_thickness": 0},
        {"min_vacuum": float("nan")},
        {"min_lateral": "wide"},
        {"symmetric_only": "yes"},
    ],
)
def test_wrong_parameters(wrong):
    with pytest.raises(ParameterError, match=next(iter(wrong))):
        make_slabs("Cu", **wrong)


@pytest.mark.parametrize(
    "crystal",
    [bulk("Cu"), bulk("Si"), bulk("NaCl", "rocksalt", 5.6)],
    ids=["Cu", "Si", "NaCl"],
)
def test_slabs_do_not_depend_on_last_digits(crystal):
    """Which are others on other processors, where nothing is to be computed again."""
    expected = [digest(slab.atoms) for slab in make_slabs(crystal, min_thickness=5.0)]
    for seed in range(3):
        noise = np.random.default_rng(seed).normal(size=(3, 3)) * 1e-15
        moved = crystal.copy()
        moved.set_cell(crystal.cell.array + noise, scale_atoms=True)
        assert [digest(slab.atoms) for slab in make_slabs(moved, min_thickness=5.0)] == expected
