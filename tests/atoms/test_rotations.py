"""Rotational symmetry numbers, against published point groups and pymatgen's."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.collections import g2
from pymatgen.core import Molecule
from pymatgen.symmetry.analyzer import PointGroupAnalyzer
from scipy.spatial.transform import Rotation

from quacc.atoms.rotations import symmetry_number

# Point groups: Herzberg, Electronic Spectra of Polyatomic Molecules (1966); Herzberg, Infrared
# and Raman Spectra (1945). CH3O and CH3S are Cs on account of the Jahn-Teller effect.
PUBLISHED = {
    "HCl": ("C*v", 1),
    "HCN": ("C*v", 1),
    "OCS": ("C*v", 1),
    "N2": ("D*h", 2),
    "CO2": ("D*h", 2),
    "C2H2": ("D*h", 2),
    "NCCN": ("D*h", 2),
    "HCOOH": ("Cs", 1),
    "CH3OH": ("Cs", 1),
    "CH3CHO": ("Cs", 1),
    "CH3O": ("Cs", 1),
    "CH3S": ("Cs", 1),
    "H2O2": ("C2", 2),
    "H2O": ("C2v", 2),
    "O3": ("C2v", 2),
    "H2CO": ("C2v", 2),
    "COF2": ("C2v", 2),
    "H2CF2": ("C2v", 2),
    "H2CCO": ("C2v", 2),
    "ClF3": ("C2v", 2),
    "C3H8": ("C2v", 2),
    "CH2OCH2": ("C2v", 2),
    "C4H4NH": ("C2v", 2),
    "C4H4O": ("C2v", 2),
    "C4H4S": ("C2v", 2),
    "C5H5N": ("C2v", 2),
    "CH3COCH3": ("C2v", 2),
    "butadiene": ("C2h", 2),
    "trans-butane": ("C2h", 2),
    "NH3": ("C3v", 3),
    "PF3": ("C3v", 3),
    "CH3Cl": ("C3v", 3),
    "HCF3": ("C3v", 3),
    "CH3CN": ("C3v", 3),
    "isobutane": ("C3v", 3),
    "C2H4": ("D2h", 4),
    "C2Cl4": ("D2h", 4),
    "C3H4_D2d": ("D2d", 4),  # allene
    "C2H6": ("D3d", 6),
    "Si2H6": ("D3d", 6),
    "BF3": ("D3h", 6),
    "CH3": ("D3h", 6),
    "C3H6_D3h": ("D3h", 6),  # cyclopropane
    "C6H6": ("D6h", 12),
    "CH4": ("Td", 12),
    "SiF4": ("Td", 12),
    "C60": ("Ih", 60),
}


def octahedron():
    axes = np.eye(3)
    return Atoms("SF6", [[0, 0, 0], *1.56 * axes, *-1.56 * axes])


def cubane():
    corners = np.array(np.meshgrid(*[[1, -1]] * 3)).reshape(3, -1).T
    return Atoms("C8H8", [*0.785 * corners, *1.42 * corners])


def ferrocene(staggered):
    ring = np.radians(72 * np.arange(5))
    turned = ring + np.radians(36 if staggered else 0)
    places = [[0, 0, 0]]
    for height, angles in ((1.66, ring), (-1.66, turned)):
        for radius in (1.22, 2.30):
            places += [[radius * np.cos(a), radius * np.sin(a), height] for a in angles]
    return Atoms("FeC5H5C5H5", places)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_point_groups(name):
    assert symmetry_number(molecule(name)) == PUBLISHED[name][1]


def test_built_molecules():
    assert symmetry_number(octahedron()) == 24
    assert symmetry_number(cubane()) == 24
    assert symmetry_number(ferrocene(staggered=False)) == 10
    assert symmetry_number(ferrocene(staggered=True)) == 10
    assert symmetry_number(Atoms("Xe")) == 1


@pytest.mark.parametrize("name", g2.names)
def test_as_pymatgen_with_a_tight_tolerance(name):
    atoms = molecule(name)
    if len(atoms) == 1:
        assert symmetry_number(atoms) == 1
        return
    known = Molecule(atoms.get_chemical_symbols(), atoms.positions)
    group = PointGroupAnalyzer(known, tolerance=0.02, eigen_tolerance=1e-3)
    assert symmetry_number(atoms) == group.get_rotational_symmetry_number()


@pytest.mark.parametrize("name", [*PUBLISHED, "SF6", "cubane"])
def test_turned_exchanged_and_a_little_distorted(name):
    built = {"SF6": octahedron, "cubane": cubane}
    atoms = built[name]() if name in built else molecule(name)
    expected = symmetry_number(atoms)
    rng = np.random.default_rng(0)
    for turn in Rotation.random(5, random_state=0):
        other = atoms[rng.permutation(len(atoms))]
        other.positions = turn.apply(other.positions) + rng.uniform(-9, 9, 3)
        assert symmetry_number(other) == expected
        noise = rng.normal(size=(len(other), 3))
        other.positions += 0.01 * noise / np.linalg.norm(noise, axis=1)[:, None]
        assert symmetry_number(other) == expected


def test_a_distortion_counts():
    water = molecule("H2O")
    water.set_distance(0, 1, water.get_distance(0, 1) + 0.2, fix=0)
    assert symmetry_number(water) == 1
    methane = molecule("CH4")
    methane.positions[1] *= 1.1
    assert symmetry_number(methane) == 3


def test_a_distortion_that_breaks_some_rotations_leaves_a_group():
    """Lagrange: the order of a subgroup divides that of the group."""
    rng = np.random.default_rng(1)
    for name, order in (("CH4", 12), ("C2H6", 6), ("C6H6", 12)):
        for size in np.linspace(0.01, 0.08, 15):
            atoms = molecule(name)
            atoms.positions += rng.normal(scale=size, size=(len(atoms), 3))
            assert order % symmetry_number(atoms) == 0


@pytest.mark.parametrize(
    ("name", "heavy", "expected"),
    [
        ("H2", [0], 1),
        ("H2", [0, 1], 2),
        ("C2H2", [2], 1),
        ("H2O", [1], 1),
        ("NH3", [1], 1),
        ("NH3", [1, 2, 3], 3),
        ("CH4", [1], 3),
        ("CH4", [1, 2], 2),
        ("CH4", [1, 2, 3], 3),
        ("CH4", [1, 2, 3, 4], 12),
        ("C6H6", [6], 2),
    ],
)
def test_deuterium_is_another_atom(name, heavy, expected):
    atoms = molecule(name)
    masses = atoms.get_masses()
    assert (atoms.numbers[heavy] == 1).all()
    masses[heavy] = 2.014
    atoms.set_masses(masses)
    assert symmetry_number(atoms) == expected
