"""Starting pw.x from a density that was kept."""

import gzip
import re
from pathlib import Path

import pytest
from ase import Atoms
from ase.build import bulk

from quacc.errors import InputError
from quacc.recipes.espresso.core import relax_job, static_job
from quacc.settings import change_settings

pytestmark = pytest.mark.espresso

SILICON = {
    "pseudopotentials": {"Si": "Si.pz-vbc.UPF"},
    "ecutwfc": 14.0,
    "kpts": [2, 2, 2],
    "input_data": {"occupations": "fixed", "conv_thr": 1e-10},
}
HYDROGEN = {
    "pseudopotentials": {"H": "H.pz-vbc.UPF"},
    "ecutwfc": 15.0,
    "kpts": [1, 1, 1],
    "input_data": {"conv_thr": 1e-10},
}


def silicon(a=5.43):
    atoms = bulk("Si", a=a)
    atoms.positions[1, 0] += 0.05
    return atoms


def iterations(result):
    with gzip.open(Path(result["directory"], "espresso.pwo.gz"), "rt") as stream:
        text = stream.read()
    return int(re.search(r"convergence has been achieved in\s+(\d+) iterations", text).group(1))


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    with change_settings(results_dir=str(tmp_path_factory.mktemp("kept"))):
        return static_job(silicon(), keep_density=True, **SILICON)


@pytest.mark.parametrize("a", [5.43, 5.46])
def test_the_scf_starts_from_a_kept_density(kept, a):
    plain = static_job(silicon(a), **SILICON)
    before = iterations(plain)  # of the same key, and so of the same folder
    found = static_job(silicon(a), density_from=kept["directory"], **SILICON)
    assert iterations(found) < before
    if a == 5.43:
        assert iterations(found) <= 2
    assert found["results"]["energy"] == pytest.approx(plain["results"]["energy"], abs=1e-6)
    assert found["results"]["forces"] == pytest.approx(plain["results"]["forces"], abs=1e-4)
    assert found["key"] == plain["key"]  # where it starts decides no number
    assert found["provenance"]["options"]["density_from"] == kept["directory"]
    assert not list(Path(found["directory"]).glob("density*"))
    assert found["warnings"] == plain["warnings"]


def test_a_relaxation_keeps_the_density_of_its_end(kept):
    start = {"keep_density": True, "density_from": kept["directory"]}
    relaxed = relax_job(silicon(), fmax=0.05, **start, **SILICON)
    before = iterations(static_job(relaxed, **SILICON))
    again = static_job(relaxed, density_from=relaxed["directory"], **SILICON)
    assert iterations(again) < before
    assert again["results"]["energy"] == pytest.approx(relaxed["results"]["energy"], abs=1e-6)


@pytest.mark.parametrize(
    ("atoms", "given", "words"),
    [
        (silicon(), {"ecutwfc": 16.0}, r"another cutoff of the density \(Ry\): 112.0, and not 128"),
        (silicon(), {"ecutrho": 64.0}, "another cutoff"),
        (silicon(), {"pseudopotentials": {"Si": "Si.pbe-rrkj.UPF"}}, "other pseudopotentials"),
        (silicon(), {"input_data": {"tot_charge": 1}}, "another charge"),
        (silicon(6.2), {}, "another cell"),
        (silicon() * (2, 1, 1), {}, "is of Si2, and this structure is Si4"),
        (bulk("Si", a=5.43, cubic=True), {}, "is of Si2, and this structure is Si8"),
        (silicon(), {"input_data": {"nspin": 2}}, "With spin or a Hubbard U.*copy_files="),
        (silicon(), {"hubbard_u": {"Si-3p": 1.0}}, "With spin or a Hubbard U"),
        (silicon(), {"density_from": "/no/folder"}, "There is no density in '/no/folder'"),
        (silicon(), {"density_from": 3}, "must be the folder of a result"),
        (silicon(), {"keep_density": "yes"}, "keep_density"),
    ],
)
def test_a_density_of_something_else_is_refused(kept, atoms, given, words):
    whole = {"density_from": kept["directory"], **SILICON, **given}
    with pytest.raises(InputError, match=words):
        static_job.plan(atoms, **whole).check()  # before anything is computed


def test_atoms_elsewhere_are_refused(kept):
    atoms = silicon()
    atoms.positions[1] += [1.1, 0, 0]
    with pytest.raises(InputError, match="atom 1 is 1.1 Å away"):
        static_job.plan(atoms, density_from=kept["directory"], **SILICON).check()
    atoms.positions[1] -= [1.1, 0, 0]
    atoms.positions += atoms.cell[0]  # the same crystal
    static_job.plan(atoms, density_from=kept["directory"], **SILICON).check()


def test_the_start_of_a_magnetic_calculation_is_in_the_key():
    """From the density of the ferromagnet, hydrogen's antiferromagnet is not found."""
    dimer = Atoms("H2", [[0, 0, 0], [0, 0, 2.5]], cell=[4, 4, 5], pbc=True)
    dimer.set_initial_magnetic_moments([1, 1])
    parallel = static_job(dimer, keep_density=True, **HYDROGEN)
    dimer.set_initial_magnetic_moments([1, -1])
    opposite = static_job(dimer, **HYDROGEN)
    copies = {parallel["directory"]: "density.*"}
    other = static_job(dimer, copy_files=copies, **HYDROGEN)
    assert abs(opposite["results"]["magmom"]) < 0.01
    assert other["results"]["magmom"] == pytest.approx(parallel["results"]["magmom"], abs=0.05)
    assert other["results"]["magmom"] > 1
    assert other["key"] != opposite["key"]
    assert not list(Path(other["directory"]).glob("density*"))


def test_a_copied_density_of_something_else_is_refused(kept):
    copies = {kept["directory"]: "density.*"}
    with pytest.raises(InputError, match="another cutoff"):
        static_job(silicon(), copy_files=copies, **{**SILICON, "ecutwfc": 16.0})


def test_where_no_density_is_kept_there_is_none(kept):
    plain = static_job(silicon(), **SILICON)
    with pytest.raises(InputError, match="computed with keep_density=True"):
        static_job.plan(silicon(), density_from=plain["directory"], **SILICON).check()
