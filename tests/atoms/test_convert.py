"""One way in for every structure."""

import re
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.io import write

from quacc.atoms import as_atoms
from quacc.atoms.convert import about_name
from quacc.errors import StructureError


def test_atoms_are_copied_without_their_calculator():
    atoms = bulk("Cu", cubic=True)
    atoms.set_constraint(FixAtoms([0]))
    atoms.calc = EMT()
    copy = as_atoms(atoms)
    assert copy == atoms
    assert copy is not atoms
    assert copy.calc is None
    assert atoms.calc is not None
    assert copy.constraints[0].index.tolist() == [0]


def test_the_result_of_a_job():
    assert as_atoms({"atoms": bulk("Cu"), "results": {}}) == bulk("Cu")


@pytest.mark.parametrize("name", ["Cu", "Fe", "Si", "Mg"])
def test_elements_are_crystals(name):
    assert as_atoms(name) == bulk(name)


@pytest.mark.parametrize("name", ["H2O", "N2", "CH3CH2OH"])
def test_molecules(name):
    assert as_atoms(name) == molecule(name)


@pytest.mark.parametrize("suffix", ["extxyz", "vasp", "traj", "json"])
@pytest.mark.parametrize("kind", [str, Path])
def test_files(tmp_path, suffix, kind):
    atoms = bulk("NaCl", "rocksalt", a=5.64)
    path = tmp_path / f"salt.{suffix}"
    write(path, atoms)
    read = as_atoms(kind(path))
    assert sorted(read.symbols) == sorted(atoms.symbols)
    np.testing.assert_allclose(read.cell, atoms.cell, atol=1e-8)
    assert read.calc is None


def test_a_file_without_suffix_in_the_current_folder():
    write("POSCAR", bulk("Al"), format="vasp")
    assert as_atoms("POSCAR").get_chemical_formula() == "Al"


def test_the_last_image_of_several(tmp_path):
    path = tmp_path / "two.extxyz"
    write(path, [bulk("Cu"), bulk("Al")])
    assert as_atoms(path).get_chemical_formula() == "Al"


def test_files_win_over_nothing_and_names_over_files():
    write("Cu", bulk("Al"), format="traj")
    assert as_atoms("Cu") == bulk("Cu")
    assert as_atoms("./Cu").get_chemical_formula() == "Al"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (None, "None of type NoneType is not a structure"),
        (3.0, "3.0 of type float"),
        ([bulk("Cu")], "of type list"),
        ({}, "no Atoms under 'atoms'"),
        ({"atoms": None}, "no Atoms under 'atoms'"),
        ("Cuu", "Did you mean 'Cu'?"),
        ("Br", "neither a file nor a name"),
        ("", "neither a file nor a name"),
        ("missing.xyz", "There is no file 'missing.xyz'"),
        (Path("no/where.cif"), "There is no file"),
        ("Uuo", "neither a file nor a name"),
    ],
)
def test_refusals(given, told):
    with pytest.raises(StructureError, match=re.escape(told)):
        as_atoms(given)


def test_an_unreadable_file(tmp_path):
    path = tmp_path / "broken.cif"
    path.write_text("this is no crystal")
    with pytest.raises(StructureError, match=r"cannot read a structure from .*broken\.cif"):
        as_atoms(path)


def test_a_folder_is_not_a_structure(tmp_path):
    with pytest.raises(StructureError, match="no file"):
        as_atoms(tmp_path)


def test_an_empty_structure():
    with pytest.raises(StructureError, match="no atoms"):
        as_atoms(Atoms())


@pytest.mark.parametrize("name", ["NaCl", "LiF", "LiH", "AlF3", "AlCl3"])
def test_the_names_of_salts_are_told_to_be_molecules(name):
    assert "name of the molecule" in about_name(name)[0]
    assert not as_atoms(name).pbc.any()


def test_other_names_need_no_word():
    for structure in ("Cu", "H2O", "O2", "SiO", "NaCl.cif", bulk("NaCl", "rocksalt", a=5.64), {}):
        assert about_name(structure) == []
