"""NWChem, against input written by hand, PySCF, published values and finite differences."""

import gzip
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.units import Bohr, Hartree

from quacc.calculators import get_code
from quacc.errors import CalculationError, InputError, MissingProgramError
from quacc.recipes.nwchem.core import freq_job, md_job, relax_job, static_job
from quacc.settings import change_settings

pytestmark = pytest.mark.nwchem

SMALL = {"theory": "scf", "basis": "sto-3g"}


def by_hand(folder, atoms, lines, task):
    """Return energy (eV) and forces (eV/Å) of an input written by hand."""
    places = "\n".join(f" {one.symbol} {one.x:.12f} {one.y:.12f} {one.z:.12f}" for one in atoms)
    (folder / "x.nw").write_text(
        f"start x\ngeometry units angstrom noautosym nocenter\n{places}\nend\n{lines}\n"
        f"task {task} gradient\n"
    )
    command = ["nwchem", "x.nw"]
    ran = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, check=True, text=True)
    energy = re.findall(r"Total (?:SCF|DFT) energy =\s*(\S+)", ran.stdout)[-1]
    rows = ran.stdout.partition("ENERGY GRADIENTS")[2].splitlines()[4 : 4 + len(atoms)]
    gradient = np.array([row.split()[5:8] for row in rows], dtype=float)
    return float(energy) * Hartree, -gradient * Hartree / Bohr


CASES = {
    "closed shell": (
        ("H2O", 0, 0),
        {"theory": "scf", "basis": "6-31g*"},
        "basis spherical\n * library 6-31g*\nend\nscf\n thresh 1e-6\nend",
    ),
    "triplet": (
        ("O2", 2, 0),
        {"theory": "scf", "basis": "sto-3g"},
        "basis spherical\n * library sto-3g\nend\nscf\n uhf\n triplet\n thresh 1e-6\nend",
    ),
    "cation": (
        ("H2O", 1, 1),
        {"xc": "becke88 lyp", "basis": {"O": "6-31g", "H": "sto-3g"}},
        "charge 1\nbasis spherical\n O library 6-31g\n H library sto-3g\nend\n"
        "dft\n mult 2\n xc becke88 lyp\n grid fine\n convergence energy 1e-8\nend",
    ),
    "Cartesian": (
        ("H2O", 0, 0),
        {"theory": "scf", "basis": "6-31g*", "cartesian": True},
        "basis cartesian\n * library 6-31g*\nend\nscf\n thresh 1e-6\nend",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_same_as_an_input_by_hand(name, tmp_path):
    (formula, spin, charge), given, lines = CASES[name]
    atoms = Atoms(molecule(formula).symbols, molecule(formula).positions)
    atoms.set_initial_charges([charge, *[0] * (len(atoms) - 1)])
    atoms.set_initial_magnetic_moments([spin, *[0] * (len(atoms) - 1)])
    result = static_job(atoms, **given)
    energy, forces = by_hand(tmp_path, atoms, lines, given.get("theory", "dft"))
    assert result["results"]["energy"] == pytest.approx(energy, abs=1e-6)
    np.testing.assert_allclose(result["results"]["forces"], forces, atol=2e-4)
    assert result["parameters"]["multiplicity"] == spin + 1
    assert result["parameters"]["charge"] == charge
    assert ("dipole" in result["results"]) == (charge == 0)


@pytest.mark.pyscf
@pytest.mark.parametrize(
    ("atoms", "ours", "theirs", "close"),
    [
        (molecule("H2O"), {"theory": "scf", "basis": "6-31g*"}, {"basis": "6-31G*"}, 1e-6),
        (molecule("OH"), {"theory": "scf", "basis": "6-31g"}, {"basis": "6-31G"}, 1e-6),
        (Atoms("IH", [[0, 0, 0], [0, 0, 1.6]]), {"theory": "scf"}, {}, 2e-6),
        (molecule("H2O"), {"xc": "b3lyp"}, {"xc": "B3LYP"}, 2e-5),
        (molecule("H2O"), {"basis": "sto-3g"}, {"basis": "STO-3G", "xc": "PBE0"}, 2e-5),
    ],
    ids=["RHF", "UHF", "core potential", "B3LYP", "PBE0"],
)
def test_same_as_pyscf(atoms, ours, theirs, close):
    from quacc.recipes.pyscf.core import static_job as pyscf_job

    found = static_job(atoms, **ours)["results"]
    expected = pyscf_job(atoms, conv_tol=1e-10, **{"xc": "HF", **theirs})["results"]
    assert found["energy"] == pytest.approx(expected["energy"], abs=close)
    np.testing.assert_allclose(found["forces"], expected["forces"], atol=1e-3)
    np.testing.assert_allclose(found["dipole"], expected["dipole"], atol=1e-4)


def test_water_is_as_published():
    """Hehre, Radom, Schleyer and Pople, Ab Initio Molecular Orbital Theory (1986): HF/6-31G*, which
    is defined with Cartesian functions."""
    given = {"theory": "scf", "basis": "6-31g*", "cartesian": True}
    relaxed = relax_job("H2O", fmax=0.002, **given)
    assert relaxed["converged"]
    assert relaxed["results"]["energy"] / Hartree == pytest.approx(-76.01075, abs=1e-5)
    assert relaxed["atoms"].get_distance(0, 1) == pytest.approx(0.947, abs=6e-4)
    assert relaxed["atoms"].get_angle(1, 0, 2) == pytest.approx(105.5, abs=0.06)
    found = freq_job(relaxed, **given)["frequencies"]
    np.testing.assert_allclose(found, [1827, 4070, 4188], atol=3)


def test_forces_are_derivatives_of_the_energy():
    atoms = molecule("H2O")
    atoms.rattle(0.05, seed=1)
    given = {"basis": "sto-3g", "input_data": {"dft": {"disp": "vdw 3"}}}
    forces = static_job(atoms, **given)["results"]["forces"]
    energies = []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions[1, 1] += sign * 5e-3
        energies.append(static_job(moved, **given)["results"]["energy"])
    assert forces[1, 1] == pytest.approx((energies[1] - energies[0]) / 1e-2, abs=5e-4)


def test_dynamics_keep_the_energy():
    history = md_job("H2", steps=4, timestep=0.2, **SMALL)["history"]
    assert np.ptp(history["energy"] + history["kinetic_energy"]) < 1e-3


def test_files_are_kept_but_for_scratch():
    result = static_job("H2", **SMALL)
    names = {file.name for file in Path(result["directory"]).iterdir()}
    assert names == {"nwchem.nwi.gz", "nwchem.nwo.gz", "nwchem.err.gz"}
    with gzip.open(Path(result["directory"]) / "nwchem.nwi.gz", "rt") as file:
        text = file.read()
    assert text.count("task") == 1
    assert "task scf gradient" in text


def test_a_folder_with_a_space_in_its_name(tmp_path):
    with change_settings(results_dir=tmp_path / "my results", scratch_dir=tmp_path / "my scratch"):
        assert static_job("H2", **SMALL)["results"]["energy"] < -30


def test_memory_is_no_part_of_the_key():
    plain = static_job.plan("H2", **SMALL)
    more = static_job.plan("H2", memory=300, **SMALL)
    assert more.key == plain.key
    assert more.compute()["results"]["energy"] < -30


def test_basis_sets_of_a_library_belong_to_the_key(tmp_path, monkeypatch):
    before = static_job.plan("H2", **SMALL).key
    text = Path("/usr/share/nwchem/libraries/sto-3g").read_text()
    (tmp_path / "sto-3g").write_text(text.replace("3.42525091", "3.40000000"))
    monkeypatch.setenv("NWCHEM_BASIS_LIBRARY", f"{tmp_path}/")
    plan = static_job.plan("H2", **SMALL)
    assert plan.key != before
    energy = plan.compute()["results"]["energy"]
    monkeypatch.delenv("NWCHEM_BASIS_LIBRARY")
    assert abs(static_job("H2", **SMALL)["results"]["energy"] - energy) > 1e-3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"theory": "mp2"}, "theory .mp2. is unknown"),
        ({"theory": "scf", "xc": "b3lyp"}, "has no functional"),
        ({"xc": "b3lyp\ntask dft optimize"}, "xc must be a word"),
        ({"basis": 'sto-3g"'}, "basis must be a word"),
        ({"basis": "def2-spv"}, "no 'def2-spv'.*Did you mean 'def2-svp'"),
        ({"basis": {"O": "sto-3g"}}, "no basis set for H"),
        ({"basis": "stuttgart_rlc_ecp"}, "made for an effective core potential of O"),
        ({"charge": 10}, "has 0 electrons"),
        ({"multiplicity": 2}, "S is one of 0, 1"),
        ({"input_data": {"driver": {"maxiter": 2}}}, "jobs of their own"),
        ({"input_data": {"task": {"dft": "optimize"}}}, "cannot have 'task'"),
        ({"input_data": {"dft": {"mult": 3}}}, "cannot set mult"),
        ({"input_data": {"dft": {"xc hfexch": None}}}, "cannot set xc"),
        ({"input_data": {"dft": {"convergence": {"energy": 1}}}}, "cannot set energy"),
        ({"input_data": {"dft": {"convergence energy": 1}}}, "cannot set convergence"),
        ({"input_data": {"scf": {"vectors": "input x"}}}, "cannot set vectors"),
        ({"input_data": {"dft": {"disp": "vdw 3\nend"}}}, "word of NWChem's input"),
    ],
)
def test_refusals(given, message):
    with pytest.raises(InputError, match=message):
        static_job("H2O", **given)


def test_crystals_and_layers_are_refused():
    with pytest.raises(InputError, match="molecules alone.*pbc"):
        static_job(bulk("Cu"))
    layer = molecule("H2O", vacuum=6)
    layer.pbc = [True, True, False]
    with pytest.raises(InputError, match="molecules alone.*pbc"):
        _ = static_job.plan(layer).key


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({**SMALL, "maxiter": 1}, "the SCF did not converge.*maxiter"),
        ({"basis": "sto-3g", "maxiter": 2}, "the SCF did not converge.*lshift"),
        ({"xc": "blyp"}, "xc_input: invalid format"),
        ({**SMALL, "input_data": {"scf": {"tol2e": "much"}}}, "scf_input: tol2e <thresh>"),
        (
            {**SMALL, "basis": "cc-pvdz-pp", "ecp": {"O": "def2-ecp", "H": "def2-ecp"}},
            "ecp h_def2-ecp",
        ),
        ({**SMALL, "memory": 1}, "(?i)memory|ma_"),
    ],
    ids=["scf", "dft", "functional", "input", "element", "memory"],
)
def test_failures_are_named(given, message):
    with pytest.raises(CalculationError, match=message) as caught:
        static_job("H2O", **given)
    assert caught.value.directory.endswith("-failed")


def launcher(folder, lines):
    file = folder / "launch"
    file.write_text(f'#!/bin/sh\n[ "$1" = /dev/null ] && exec nwchem "$@"\n{lines}\n')
    file.chmod(0o755)
    return change_settings(commands={"nwchem": str(file)})


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("echo launcher: no licence >&2; exit 1", "failed: launcher: no licence"),
        ("exit 0", "it wrote no output"),
        ('nwchem "$@" | head -60; kill -9 $$', "Killed"),
        ('nwchem "$@" | head -60; exit 1', "its output ends with"),
        ('nwchem "$@" | grep -v GRADIENTS', "printed no forces"),
    ],
    ids=["launcher", "silent", "killed", "cut short", "no forces"],
)
def test_what_ends_otherwise(tmp_path, lines, message):
    with launcher(tmp_path, lines), pytest.raises(CalculationError, match=message):
        static_job("H2", **SMALL)


def test_output_of_before_is_not_taken(tmp_path):
    earlier = static_job("H2", **SMALL)
    with launcher(tmp_path, "exit 0"), pytest.raises(CalculationError):
        static_job("H2", copy_files=earlier, **SMALL)


def test_a_missing_program_and_the_version():
    assert get_code("nwchem").version()[0].isdigit()
    with change_settings(commands={"nwchem": "no-such-nwchem"}):
        with pytest.raises(MissingProgramError, match=r"commands\.nwchem"):
            static_job("H2")
