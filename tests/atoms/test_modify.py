"""Supercells and rattled copies."""

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.constraints import FixAtoms

from quacc.atoms.modify import rattle, supercell
from quacc.errors import ParameterError, StructureError


def test_supercells():
    assert len(supercell("Cu", 3)) == 27
    assert len(supercell("Cu", (1, 2, 3))) == 6
    conventional = supercell(bulk("Cu", a=3.6), [[-1, 1, 1], [1, -1, 1], [1, 1, -1]])
    np.testing.assert_allclose(conventional.cell.cellpar(), [3.6, 3.6, 3.6, 90, 90, 90])


@pytest.mark.parametrize("repeat", [0, -1, 1.5, "2", None, (1, 2), [[1, 0, 0]] * 3, [[1], [2, 3]]])
def test_wrong_supercells(repeat):
    with pytest.raises(ParameterError, match=r"repeat|determinant"):
        supercell("Cu", repeat)


def test_a_matrix_needs_a_cell():
    with pytest.raises(StructureError, match="three cell vectors"):
        supercell(molecule("H2O"), np.eye(3, dtype=int) * 2)


def test_rattle_is_repeatable_and_has_the_width_asked_for():
    atoms = bulk("Cu", cubic=True) * (6, 6, 6)
    moved = rattle(atoms, 0.1, seed=3)
    assert moved == rattle(atoms, 0.1, seed=3)
    assert moved != rattle(atoms, 0.1, seed=4)
    moves = moved.positions - atoms.positions
    assert moves.std() == pytest.approx(0.1, rel=0.05)
    assert moves.mean() == pytest.approx(0, abs=0.01)


def test_rattle_leaves_fixed_atoms_alone():
    atoms = bulk("Cu", cubic=True)
    atoms.set_constraint(FixAtoms([1]))
    moved = rattle(atoms, 0.1, seed=0)
    assert (moved.positions[1] == atoms.positions[1]).all()
    assert (moved.positions[0] != atoms.positions[0]).all()


@pytest.mark.parametrize(
    "wrong", [{"stdev": 0, "seed": 1}, {"stdev": 0.1, "seed": -1}, {"stdev": 0.1, "seed": 1.5}]
)
def test_wrong_rattles(wrong):
    with pytest.raises(ParameterError):
        rattle("Cu", **wrong)
