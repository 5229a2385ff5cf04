"""CP2K, against inputs written by hand, ASE's shell, finite differences, and what goes wrong."""

import gzip
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.cp2k import CP2K
from ase.constraints import FixAtoms
from ase.units import Rydberg

from quacc.calculators.codes.cp2k import CODE, _mesh, _points
from quacc.errors import (
    CalculationError,
    InputError,
    MissingProgramError,
    ParameterError,
    StructureError,
)
from quacc.recipes.cp2k.core import freq_job, md_job, neb_job, relax_job, static_job
from quacc.settings import change_settings

pytestmark = pytest.mark.cp2k

FAST = {"basis_set": "SZV-MOLOPT-SR-GTH", "cutoff": 150.0, "rel_cutoff": 30.0}
HARTREE, BOHR = 27.21138386, 0.52917720859  # CODATA 2006, which CP2K has


def boxed(name, side=5.0):
    atoms = molecule(name, cell=[side] * 3)
    atoms.center()
    return atoms


def unzipped(result, name):
    with gzip.open(Path(result["directory"]) / f"{name}.gz", "rt") as stream:
        return stream.read()


def scf(**keywords):
    return {"force_eval": {"dft": {"scf": keywords}}}


BY_HAND = """
&GLOBAL
  PROJECT hand
&END
&FORCE_EVAL
  METHOD QS
  &DFT
    BASIS_SET_FILE_NAME BASIS_MOLOPT
    POTENTIAL_FILE_NAME GTH_POTENTIALS
    LSD
    MULTIPLICITY 3
    &QS
      EPS_DEFAULT 1.0E-12
    &END
    &MGRID
      CUTOFF [Ry] 150
      REL_CUTOFF [Ry] 30
    &END
    &SCF
      EPS_SCF 1.0E-6
    &END
    &POISSON
      PERIODIC NONE
      PSOLVER MT
    &END
    &XC
      &XC_FUNCTIONAL PBE
      &END
    &END
  &END
  &SUBSYS
    &CELL
      ABC 5.0 5.0 5.0
      PERIODIC NONE
    &END
    &COORD
      O 2.5 2.5 1.9
      O 2.5 2.5 3.1
    &END
    &KIND O
      BASIS_SET SZV-MOLOPT-SR-GTH
      POTENTIAL GTH-PBE-q6
      MAGNETIZATION 1
    &END
  &END
  &PRINT
    &FORCES
    &END
  &END
&END
"""


def test_the_triplet_of_oxygen_is_that_of_an_input_by_hand(tmp_path):
    (tmp_path / "hand.inp").write_text(
        BY_HAND.replace("&GLOBAL", "&GLOBAL\n  RUN_TYPE ENERGY_FORCE")
    )
    printed = subprocess.run(
        ["cp2k.psmp", "-i", "hand.inp"], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    energy = float(re.search(r"ENERGY\| Total FORCE_EVAL.*:\s+(\S+)", printed)[1])
    rows = re.search(r"# Atom   Kind   Element.*\n(.*)\n(.*)\n", printed).groups()
    forces = np.array([row.split()[3:] for row in rows], float)
    oxygen = Atoms("O2", [[2.5, 2.5, 1.9], [2.5, 2.5, 3.1]], cell=[5, 5, 5], magmoms=[1, 1])
    result = static_job(oxygen, **FAST)["results"]
    assert result["energy"] == pytest.approx(energy * HARTREE, abs=1e-6)
    np.testing.assert_allclose(result["forces"], forces * HARTREE / BOHR, atol=1e-5)
    assert result["magmom"] == pytest.approx(2, abs=1e-5)
    assert result["magmoms"] == pytest.approx([1, 1], abs=1e-5)


def test_water_is_that_of_the_shell_of_ase(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    water = boxed("H2O")
    result = static_job(water, **{**FAST, "eps_scf": 1e-8})["results"]
    inp = """&FORCE_EVAL
  &DFT
    &QS
      EPS_DEFAULT 1e-12
    &END QS
    &MGRID
      REL_CUTOFF 30
    &END MGRID
    &SCF
      EPS_SCF 1e-8
    &END SCF
  &END DFT
&END FORCE_EVAL"""
    with CP2K(
        command="cp2k.psmp -s",
        inp=inp,
        xc="PBE",
        basis_set=FAST["basis_set"],
        potential_file="GTH_POTENTIALS",
        cutoff=150 * Rydberg,
        stress_tensor=False,
    ) as shell:
        # It asks for a stress that CP2K does not have then, and reads zeros.
        water.calc = shell
        assert result["energy"] == pytest.approx(water.get_potential_energy(), abs=1e-5)
        np.testing.assert_allclose(result["forces"], water.get_forces(), atol=1e-5)


def test_the_bond_of_hydrogen_and_its_vibration():
    """Measured: 0.7414 Å and 4401 1/cm (Huber and Herzberg, Constants of Diatomic Molecules, 1979).

    PBE comes within some per cent. With one atom fixed, the reduced mass is twice as large.
    """
    better = {**FAST, "basis_set": "DZVP-MOLOPT-SR-GTH", "cutoff": 250.0}
    hydrogen = boxed("H2")
    hydrogen.set_constraint(FixAtoms([0]))
    relaxed = relax_job(hydrogen, **better)
    assert relaxed["converged"]
    assert relaxed["atoms"].get_distance(0, 1) == pytest.approx(0.7414, rel=0.03)
    assert relaxed["steps"] > 1
    assert "SCF_GUESS RESTART" in unzipped(relaxed, "cp2k.inp")
    assert {one.name for one in Path(relaxed["directory"]).iterdir()} == {
        *("cp2k.inp.gz", "cp2k.out.gz", "cp2k.log.gz")
    }
    frequency = max(freq_job(relaxed, **better)["frequencies"], key=abs)
    assert frequency * np.sqrt(2) == pytest.approx(4401, rel=0.05)


CRYSTAL = Atoms("H2", [[0.1, 0, 0.2], [0.3, 0.4, 1.1]], cell=[[4, 0, 0], [0.4, 4, 0], [0, 0, 4]])
CRYSTAL.pbc = True
HOT = {**FAST, "cutoff": 250.0, "electronic_temperature": 20000.0}


def test_forces_and_stress_with_smeared_occupations_are_derivatives_of_the_energy():
    options = {**HOT, "kspacing": None, "eps_scf": 1e-8}
    result = static_job(CRYSTAL, **options)
    found = result["results"]
    entropy = re.search(r"Electronic entropic energy:\s+(\S+)", unzipped(result, "cp2k.out"))
    assert float(entropy[1]) * HARTREE < -0.4  # so that it matters which energy is returned
    shifts = np.array([[0.3, 0.2, -0.5], [-0.4, 0.6, 1.0]])
    strain = np.array([[1.0, 0.3, -0.2], [0.3, -0.5, 0.4], [-0.2, 0.4, 0.7]])
    slopes = []
    for by, strained in ((0.01, False), (0.002, True)):
        energies = []
        for sign in (1, -1):
            atoms = CRYSTAL.copy()
            if strained:
                deformed = atoms.cell.array @ (np.eye(3) + sign * by * strain)
                atoms.set_cell(deformed, scale_atoms=True)
            else:
                atoms.positions += sign * by * shifts
            energies.append(static_job(atoms, **options)["results"]["energy"])
        slopes.append((energies[0] - energies[1]) / (2 * by))
    assert -(found["forces"] * shifts).sum() == pytest.approx(slopes[0], abs=4e-3)
    work = (
        found["stress"] * strain[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]] * [1, 1, 1, 2, 2, 2]
    ).sum()
    assert work == pytest.approx(slopes[1] / CRYSTAL.get_volume(), abs=1e-4)


def test_k_points_are_a_supercell():
    """Two k-points in one cell are the Γ point of two."""
    one = static_job(CRYSTAL, kpts=[2, 1, 1], **HOT)["results"]
    two = static_job(CRYSTAL * (2, 1, 1), kspacing=None, **HOT)["results"]
    assert 2 * one["energy"] == pytest.approx(two["energy"], abs=1e-4)
    np.testing.assert_allclose(one["stress"], two["stress"], atol=1e-5)


def test_meshes():
    points = _points((3, 2, 1))
    assert sum(weight for _, weight in points) == pytest.approx(1)
    assert len(points) == 4
    assert points[0] == ([0, 0, 0], pytest.approx(1 / 6))
    every = CODE.defaults
    assert _mesh(bulk("Si"), every) == (8, 8, 8)
    assert _mesh(bulk("Si"), {**every, "kspacing": None}) == (1, 1, 1)
    assert _mesh(molecule("H2", cell=[5] * 3), every) == (1, 1, 1)


def test_antiparallel_moments():
    """Far from each other two hydrogen atoms are two atoms; without spin they are not."""
    apart = Atoms("H2", [[2.5, 2.5, 1.5], [2.5, 2.5, 4.5]], cell=[5, 5, 6])
    closed = static_job(apart, **FAST)["results"]["energy"]
    apart.set_initial_magnetic_moments([1, -1])
    result = static_job(apart, **FAST)["results"]
    assert result["magmom"] == pytest.approx(0, abs=1e-6)
    assert result["magmoms"] == pytest.approx([1, -1], abs=0.05)
    assert result["energy"] < closed - 1


def test_a_charge_and_an_odd_number_of_electrons():
    radical = boxed("OH")
    radical.set_initial_magnetic_moments(None)
    result = static_job(radical, **FAST)
    assert result["parameters"]["multiplicity"] == 2
    assert any("doublet" in text for text in result["warnings"])
    assert result["results"]["magmom"] == pytest.approx(1, abs=1e-5)
    assert re.search(r"Ideal and single determinant S\*\*2 :\s+0.75", unzipped(result, "cp2k.out"))
    anion = static_job(radical, charge=-1, **FAST)
    assert "magmom" not in anion["results"]
    assert re.search(r"DFT\| Charge\s+-1\b", unzipped(anion, "cp2k.out"))
    radical.set_initial_charges([-1, 0])
    assert static_job.plan(radical, **FAST).parameters["charge"] == -1
    radical.set_initial_charges([0.5, 0])
    with pytest.raises(StructureError, match="whole number"):
        static_job(radical, **FAST)


REFUSED = {
    "two spins": ({"multiplicity": 3, "magmoms": [1, 0]}, "contradicts"),
    "spin": ({"multiplicity": 2}, "cannot be 0.5"),
    "basis": ({"basis_set": "NOPE"}, "no basis set 'NOPE' for H. BASIS_MOLOPT"),
    "basis of one": ({"basis_set": {"O": "SZV-MOLOPT-SR-GTH"}}, "nothing in basis_set"),
    "pseudopotential": ({"potential": "GTH-NOPE"}, "no pseudopotential 'GTH-NOPE' for H"),
    "file": ({"basis_set_file": "NOPE"}, "no file 'NOPE'"),
    "two meshes": ({"kpts": [2, 2, 2], "kspacing": 0.1}, "Only one of"),
    "functional": ({"xc": None}, "pass potential="),
    "dynamics": ({"input_data": {"MOTION": {"MD": {"STEPS": 3}}}}, "section MOTION"),
    "run": ({"input_data": {"GLOBAL": {"run_type": "MD"}}}, "RUN_TYPE"),
    "cell": ({"input_data": {"force_eval": {"subsys": {"cell": {"ABC": [9, 9, 9]}}}}}, "CELL"),
    "own charge": ({"input_data": {"force_eval": {"dft": {"charge": 1}}}}, "CHARGE"),
    "own xc": ({"input_data": {"force_eval": {"dft": {"xc": {"xc_functional": {}}}}}}, "XC_FUNC"),
    "unconverged": ({"input_data": scf(ignore_convergence_failure=True)}, "IGNORE_CONV"),
    "lines": ({"input_data": scf(cholesky="OFF\n&END SCF")}, "cannot be"),
    "include": ({"input_data": scf(cholesky="@INCLUDE x")}, "cannot be"),
    "names": ({"input_data": {"force_eval": {"a\n&END": 1}}}, "name"),
    "kind": ({"input_data": {"force_eval": {"subsys": {"kind": {"_": "Fe"}}}}}, "KIND Fe"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_before_anything_runs(case, tmp_path):
    given, message = REFUSED[case]
    given = {**FAST, **given}
    atoms = boxed("H2")
    atoms.set_initial_magnetic_moments(given.pop("magmoms", None))
    with (
        change_settings(commands={"cp2k": _spy(tmp_path)}),
        pytest.raises(InputError, match=re.escape(message)),
    ):
        static_job(atoms, **given)
    assert not (tmp_path / "ran").exists()


def _spy(folder):
    """Return a command that leaves a file when CP2K is run for more than its version."""
    script = folder / "spy"
    real = shutil.which("cp2k.psmp")
    script.write_text(f'#!/bin/sh\n[ "$1" = -i ] && touch "{folder}/ran"\nexec {real} "$@"\n')
    script.chmod(0o755)
    return str(script)


def test_structures_that_are_refused():
    with pytest.raises(StructureError, match="vacuum"):
        static_job("H2O", **FAST)
    layer = boxed("H2")
    layer.pbc = [True, True, False]
    with pytest.raises(StructureError, match="pbc"):
        static_job(layer, **FAST)
    with pytest.raises(StructureError, match="13 electrons in its cell"):
        static_job("Al", **FAST)
    corner = molecule("H2", cell=[5] * 3)
    wavelet = {"force_eval": {"dft": {"poisson": {"poisson_solver": "WAVELET"}}}}
    with pytest.raises(StructureError, match="inside its box"):
        static_job(corner, input_data=wavelet, **FAST)
    magnetic = bulk("Al")
    magnetic.set_initial_magnetic_moments([1])
    with pytest.raises(ParameterError, match="keeps no multiplicity"):
        static_job(magnetic, multiplicity=2, electronic_temperature=1000.0, **FAST)
    with pytest.raises(ParameterError, match="valence electrons"):
        static_job(bulk("Mg"), potential="GTH-PBE-q2", **FAST)


def test_an_scf_that_does_not_converge():
    result = static_job(boxed("H2"), max_scf=3, **FAST)
    assert any("orbital transformation" in text for text in result["warnings"])
    right = static_job(boxed("H2"), **FAST)["results"]["energy"]
    assert result["results"]["energy"] == pytest.approx(right, abs=1e-5)
    with pytest.raises(CalculationError, match="the SCF did not converge") as caught:
        static_job(boxed("H2"), max_scf=1, input_data=scf(OT={}), **FAST)
    assert Path(caught.value.directory, "cp2k.out.gz").is_file()


def test_what_cp2k_complains_about():
    with pytest.raises(CalculationError, match="found an unknown keyword NOPE in section DFT"):
        static_job(boxed("H2"), input_data={"force_eval": {"dft": {"nope": 1}}}, **FAST)
    strong = boxed("H2")
    strong.set_initial_magnetic_moments([3, -1])
    with pytest.raises(CalculationError, match="Magnetization value cannot be imposed"):
        static_job(strong, **FAST)


def program(folder, rest):
    script = folder / "cp2k"
    real = shutil.which("cp2k.psmp")
    script.write_text(f'#!/bin/sh\n[ "$1" = --version ] && exec {real} --version\n{rest}\n')
    script.chmod(0o755)
    return change_settings(commands={"cp2k": str(script)})


def test_a_cp2k_that_is_killed_or_silent(tmp_path):
    real = shutil.which("cp2k.psmp")
    with (
        program(tmp_path, f'{real} "$@" & sleep 0.4; kill -9 $!; wait $!'),
        pytest.raises(CalculationError, match="it was killed"),
    ):
        static_job(boxed("H2O"), **FAST)
    with program(tmp_path, "exit 0"), pytest.raises(CalculationError, match="no energy|no output"):
        static_job(boxed("H2"), **FAST)
    with (
        change_settings(commands={"cp2k": "no-such-program"}),
        pytest.raises(MissingProgramError, match=r"commands\.cp2k"),
    ):
        static_job(boxed("H2"), **FAST)
    with (
        change_settings(pseudopotentials={"cp2k": str(tmp_path / "none")}),
        pytest.raises(InputError, match=r"pseudopotentials\.cp2k"),
    ):
        static_job(boxed("H2"), **FAST)


def test_output_of_an_earlier_run_is_not_read(tmp_path):
    first = static_job(boxed("H2"), **FAST)
    with program(tmp_path, "exit 0"), pytest.raises(CalculationError, match="no energy"):
        static_job(boxed("H2"), copy_files=first["directory"], **FAST)


def test_files_that_decide_numbers_are_in_the_key(tmp_path):
    usual = static_job.plan(boxed("H2"), **FAST)
    for name in ("BASIS_MOLOPT", "GTH_POTENTIALS", "dftd3.dat"):
        shutil.copy(CODE.folder() / name, tmp_path)
    dispersion = {
        "type": "DFTD3(BJ)",
        "parameter_file_name": "dftd3.dat",
        "reference_functional": "PBE",
    }
    xc = {"vdw_potential": {"potential_type": "PAIR_POTENTIAL", "pair_potential": dispersion}}
    more = {"input_data": {"force_eval": {"dft": {"xc": xc}}}, **FAST}
    corrected = static_job.plan(boxed("H2"), **more)
    with change_settings(pseudopotentials={"cp2k": str(tmp_path)}):
        assert static_job.plan(boxed("H2"), **FAST).key == usual.key
        assert static_job.plan(boxed("H2"), **more).key == corrected.key
        for name, given, before in (
            ("dftd3.dat", more, corrected.key),
            ("GTH_POTENTIALS", FAST, usual.key),
        ):
            with (tmp_path / name).open("a") as stream:
                stream.write("# changed\n")
            assert static_job.plan(boxed("H2"), **given).key != before
    computed = static_job(boxed("H2"), **more)["results"]["energy"]
    assert computed < static_job(boxed("H2"), **FAST)["results"]["energy"]


def test_dynamics_and_a_path_leave_nothing_behind():
    before = sorted(os.listdir())
    moving = boxed("H2")
    moving.set_velocities([[0, 0, 0.2], [0, 0, -0.2]])
    result = md_job(moving, steps=2, timestep=0.2, dynamics="NVE", **FAST)
    history = result["history"]
    total = history["energy"] + history["kinetic_energy"]
    assert np.ptp(total) < 2e-3 < 10 * np.ptp(history["energy"])
    apart, near = (
        Atoms("H3", [[2, 2, 1.0], [2, 2, middle], [2, 2, 3.4]], cell=[4, 4, 4.4], magmoms=[1, 0, 0])
        for middle in (1.8, 2.6)
    )
    path = neb_job(apart, near, images=1, steps=1, idpp=False, climb=False, **FAST)
    assert path["energies"][1] > path["energies"][0]
    assert path["energies"][0] == pytest.approx(path["energies"][2], abs=0.05)
    assert not list(Path(path["directory"]).rglob("*RESTART*"))
    assert sorted(os.listdir()) == before
