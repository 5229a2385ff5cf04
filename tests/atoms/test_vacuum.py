"""What is a molecule, and what is near its images."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc111, graphene, molecule

from quacc.atoms.vacuum import (
    gap,
    is_crowded_molecule,
    is_isolated,
    least_gap,
    touches_own_image,
)


def boxed(name, vacuum):
    atoms = molecule(name)
    atoms.center(vacuum=vacuum / 2)
    atoms.pbc = True
    return atoms


def test_the_gap_is_normal_to_the_other_vectors():
    atoms = Atoms("Cu", cell=[[10, 0, 0], [5, 8, 0], [0, 0, 6]], pbc=True)
    assert gap(atoms, 0) == pytest.approx(10 * 8 / np.hypot(5, 8))
    assert gap(atoms, 2) == pytest.approx(6)
    assert least_gap(atoms) == pytest.approx(6)
    assert least_gap(molecule("H2O")) == np.inf


def test_molecules_and_crystals():
    assert is_isolated(molecule("C2H6"))
    assert is_isolated(boxed("C2H6", 6.5))
    assert not is_isolated(boxed("C2H6", 5.5))
    assert is_crowded_molecule(boxed("C2H6", 3.5))
    assert not is_crowded_molecule(boxed("C2H6", 6.5))
    for crystal in (
        bulk("Cu"),
        bulk("Cs", "bcc", a=6.14, cubic=True),
        bulk("Ar", "fcc", a=5.3, cubic=True),
        bulk("NaCl", "rocksalt", a=5.64),
        graphene(vacuum=10.0),
        fcc111("Cu", (1, 1, 3), vacuum=8.0, periodic=True),
        boxed("H2O", 4.0) * (2, 1, 1),  # two molecules are no molecule
    ):
        assert not is_isolated(crystal)
        assert not is_crowded_molecule(crystal)


def test_adsorbates_and_their_images():
    benzene = molecule("C6H6")
    benzene.set_cell([7.0, 7.0, 20.0])
    assert touches_own_image(benzene, (0, 1)) == pytest.approx(7.0 - 4.96, abs=0.1)
    benzene.set_cell([8.0, 8.0, 20.0])
    assert touches_own_image(benzene, (0, 1)) is None
    slab = fcc111("Cu", (1, 1, 3), vacuum=8.0)
    add_adsorbate(slab, "O", 1.2)
    assert touches_own_image(slab[-1:], (0, 1)) == pytest.approx(3.61 / np.sqrt(2), abs=0.01)
