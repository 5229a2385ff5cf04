"""Structures made the quick way are those that ASE makes."""

import pickle

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms

from quacc import fast_atoms as quickatoms
from quacc.fast_atoms import atoms_from_dict, copy_atoms


class Labelled(Atoms):
    pass


def structures():
    plain = bulk("Cu", cubic=True)
    plain.calc = EMT()
    full = bulk("Ni") * (1, 1, 2)
    full.pbc = (True, False, True)
    full.set_tags([1, 2])
    full.set_momenta(np.ones((2, 3)))
    full.set_array("label", np.array(["a", "b"]))
    full.info = {"id": 7, "list": [1]}
    fixed = molecule("H2O")
    fixed.set_constraint(FixAtoms([0]))
    moved = bulk("Al")
    moved.set_celldisp([0.1, 0.2, 0.3])
    return [plain, full, fixed, moved, Labelled("Cu"), Atoms(), full[:0]]


def same(one, other):
    """Whether all attributes are the same, bit for bit."""
    assert type(one) is type(other)
    assert vars(one).keys() == vars(other).keys()
    assert pickle.dumps(one.todict()) == pickle.dumps(other.todict())
    assert one.calc is other.calc is None
    assert one.cell.array.dtype == other.cell.array.dtype
    return True


@pytest.mark.parametrize("atoms", structures())
def test_copies_are_ases_and_share_nothing(atoms):
    copy = copy_atoms(atoms)
    assert same(copy, atoms.copy())
    before = atoms.copy()
    copy.cell[:] = 1
    copy.pbc[:] = False
    copy.info["id"] = 8
    for array in copy.arrays.values():
        array[:] = 0
    copy.set_constraint(FixAtoms([]))
    copy.set_celldisp([1, 1, 1])
    assert same(atoms.copy(), before)


@pytest.mark.parametrize("atoms", structures())
def test_dictionaries_become_what_ase_makes_of_them(atoms):
    fields = atoms.todict()
    fields["constraints"] = [constraint.todict() for constraint in atoms.constraints]
    made = atoms_from_dict(pickle.loads(pickle.dumps(fields)))
    assert same(made, Atoms.fromdict(pickle.loads(pickle.dumps(fields))))


def test_this_ase_has_the_attributes_that_are_set():
    assert quickatoms._KNOWN
