"""Structures that make no physical sense are refused."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.collections import g2
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list
from hypothesis import given, settings
from hypothesis import strategies as st

from quacc.atoms.check import OVERLAP, check_structure
from quacc.errors import StructureError


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_positions_must_be_finite(value):
    atoms = bulk("Cu") * (2, 1, 1)
    atoms.positions[1, 2] = value
    with pytest.raises(StructureError, match=r"position of atom 1 \(Cu\) is not finite"):
        check_structure(atoms)


def test_the_cell_must_be_finite():
    atoms = Atoms("Cu", cell=[1, 1, np.nan], pbc=False)
    with pytest.raises(StructureError, match="cell is not finite"):
        check_structure(atoms)


@pytest.mark.parametrize(
    "cell",
    [[0, 0, 0], [3, 3, 0], [[1, 0, 0], [2, 0, 0], [0, 0, 3]], [[3, 0, 0], [0, 3, 0], [3, 3, 0]]],
)
def test_a_periodic_cell_needs_volume(cell):
    with pytest.raises(StructureError, match="no volume"):
        check_structure(Atoms("Cu", cell=cell, pbc=True))


def test_a_wire_needs_only_one_cell_vector():
    check_structure(Atoms("Cu", cell=[2.5, 0, 0], pbc=[True, False, False]))


def test_dummy_atoms():
    with pytest.raises(StructureError, match="atomic number 0"):
        check_structure(Atoms("X"))


def test_overlap_names_the_pair_and_the_distance():
    atoms = Atoms("CuAu", positions=[[0, 0, 0], [0, 0, 1.0]])
    with pytest.raises(
        StructureError, match=r"Atom 0 \(Cu\) and atom 1 \(Au\) are 1\.000 Å apart.*1\.340 Å"
    ):
        check_structure(atoms)


def test_overlap_through_the_boundary():
    atoms = Atoms("Cu2", positions=[[0, 0, 0.1], [0, 0, 9.9]], cell=[10, 10, 10], pbc=True)
    with pytest.raises(StructureError, match=r"0\.200 Å"):
        check_structure(atoms)
    atoms.pbc = False
    check_structure(atoms)


def test_an_atom_may_not_meet_its_own_image():
    with pytest.raises(StructureError, match="its own periodic image"):
        check_structure(Atoms("Cu", cell=[1.0, 5, 5], pbc=True))


def test_half_the_sum_of_covalent_radii_is_the_limit():
    radius = covalent_radii[29]
    check_structure(Atoms("Cu2", positions=[[0, 0, 0], [0, 0, radius + 1e-6]]))
    with pytest.raises(StructureError):
        check_structure(Atoms("Cu2", positions=[[0, 0, 0], [0, 0, radius - 1e-6]]))


def test_all_g2_molecules_pass():
    for name in g2.names:
        check_structure(molecule(name))


def test_a_large_structure():
    atoms = bulk("Cu", cubic=True) * (5, 5, 4)
    check_structure(atoms)
    atoms.positions[7] = atoms.positions[300] + [0.1, 0, 0]
    with pytest.raises(StructureError, match="Atom 7 .* atom 300 "):
        check_structure(atoms)


@settings(max_examples=150, deadline=None)
@given(
    cell=st.lists(st.floats(-4, 4), min_size=9, max_size=9),
    scaled=st.lists(st.tuples(*[st.floats(-2, 2)] * 3), min_size=1, max_size=5),
    pbc=st.tuples(*[st.booleans()] * 3),
)
def test_agrees_with_a_neighbour_list(cell, scaled, pbc):
    cell = np.reshape(cell, (3, 3))
    if abs(np.linalg.det(cell)) < 0.5:
        return
    # Between planes that are nearer to each other, ASE's list takes minutes.
    if 1 / np.linalg.norm(np.linalg.inv(cell), axis=0).max() < 0.2:
        return
    atoms = Atoms("Cu" * len(scaled), scaled_positions=scaled, cell=cell, pbc=pbc)
    limit = OVERLAP * 2 * covalent_radii[29]
    distances = neighbor_list("d", atoms, limit)
    if len(distances) and abs(distances.min() - limit) < 1e-9:
        return
    if len(distances):
        with pytest.raises(StructureError):
            check_structure(atoms)
    else:
        check_structure(atoms)
