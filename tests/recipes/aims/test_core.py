"""FHI-aims: its input, what is refused, and how its output is read.

FHI-aims's licence can't be had here: nothing is computed. The input is compared with ASE's own
writers and the documented format; output is read from genuine files of FHI-aims, which ASE's tests
have.
"""

import gzip
import re
import shutil
import warnings
from pathlib import Path

import ase.test
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.constraints import FixAtoms
from ase.io import read
from ase.io.aims import write_control
from typer.testing import CliRunner

from quacc.calculators import get_code
from quacc.calculators.codes.aims import control_in, geometry_in, read_results
from quacc.cli.main import app
from quacc.errors import (
    CalculationError,
    InputError,
    MissingProgramError,
    ParameterError,
    StructureError,
)
from quacc.recipes.aims.core import freq_job, md_job, neb_job, relax_job, static_job
from quacc.settings import change_settings
from tests.species import write_species

DATA = Path(ase.test.__file__).parent / "testdata" / "aims"
CODE = get_code("aims")


@pytest.fixture(autouse=True)
def species(tmp_path):
    """Species defaults, and a program that is none: it ends at once, and writes nothing."""
    root = write_species(tmp_path / "species_defaults")
    with change_settings(pseudopotentials={"aims": str(root)}, commands={"aims": "true"}):
        yield root


def parameters(atoms, **keywords):
    return static_job.plan(atoms, **keywords).check().calc_parameters


def written(atoms, **keywords):
    """Return the general part of control.in, by keyword, and its lines of species."""
    found = parameters(atoms, **keywords)
    text = control_in(atoms, found, CODE.files(found))
    general, _, rest = text.partition("\n\n")
    return {line.split()[0]: line.split(None, 1)[1].strip() for line in general.splitlines()}, rest


def as_ase(function, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # that they will be another package
        return function(*args, **kwargs)


def test_the_input_of_a_crystal_in_its_documented_form(species):
    salt = bulk("NaCl", "rocksalt", a=5.64)
    general, rest = written(salt, kpts=[4, 4, 3], control={"k_offset": [0.5, 0, 0.25]})
    assert general == {
        "xc": "pbe",
        "spin": "none",
        "relativistic": "atomic_zora scalar",
        "charge": "0.0",
        "occupation_type": "gaussian 0.01",
        "sc_accuracy_rho": "1e-06",
        "sc_accuracy_etot": "1e-06",
        "sc_accuracy_eev": "0.001",
        "sc_iter_limit": "200",
        "compute_forces": ".true.",
        "k_grid": "4 4 3",
        "compute_analytical_stress": ".true.",
        "k_offset": "0.5 0 0.25",
    }
    folder = species / "defaults_2020" / "intermediate"
    assert rest == (folder / "17_Cl_default").read_text() + (folder / "11_Na_default").read_text()


def test_the_input_of_a_molecule():
    general, _ = written(molecule("H2O"))
    assert not general.keys() & {"k_grid", "compute_analytical_stress"}
    assert general["output"] == "dipole"
    assert "lattice_vector" not in geometry_in(molecule("H2O", vacuum=5))
    charged = molecule("H2O")
    charged.set_initial_charges([1, 0, 0])
    general, _ = written(charged)
    assert general["charge"] == "1.0"
    assert "output" not in general  # the dipole of an ion depends on the origin
    assert "initial_charge" not in geometry_in(charged)


def test_the_same_control_as_ase_writes(tmp_path, species):
    """But for the charge, which ASE leaves out, and for a mesh with Γ."""
    atoms = bulk("Al")
    ours, rest = written(
        atoms,
        kpts=[4, 4, 4],
        occupation_type="methfessel-paxton",
        width=0.1,
        sc_accuracy_forces=1e-4,
    )
    given = {
        "xc": "pbe",
        "spin": "none",
        "relativistic": "atomic_zora scalar",
        "smearing": ("methfessel-paxton", 0.1, 1),
        "sc_accuracy_rho": 1e-6,
        "sc_accuracy_etot": 1e-6,
        "sc_accuracy_eev": 1e-3,
        "sc_accuracy_forces": 1e-4,
        "sc_iter_limit": 200,
        "compute_forces": True,
        "k_grid": (4, 4, 4),
        "compute_analytical_stress": True,
        "species_dir": str(species / "defaults_2020" / "intermediate"),
    }
    as_ase(write_control, tmp_path / "control.in", atoms, given)
    text = (tmp_path / "control.in").read_text()
    lines = [line for line in text.partition("####")[0].splitlines() if line and line[0] != "#"]
    theirs = {line.split()[0]: line.split(None, 1)[1].strip() for line in lines}
    assert float(ours.pop("charge")) == 0
    kind, width, order = theirs.pop("occupation_type").split()
    assert ours.pop("occupation_type").split() == [kind, str(float(width)), order]
    assert ours == theirs
    assert text.rstrip().endswith(rest.rstrip())


@pytest.mark.parametrize("kind", ["crystal", "molecule"])
def test_the_geometry_is_read_back_as_it_was(kind, tmp_path):
    atoms = bulk("Fe", cubic=True) if kind == "crystal" else molecule("CH3CH2O", vacuum=3)
    atoms.rattle(0.1, seed=1)
    if kind == "molecule":
        atoms.positions += 20  # out of its box
    atoms.set_initial_magnetic_moments(np.linspace(1.2345678912, -2, len(atoms)))
    atoms.set_constraint(FixAtoms([0]))
    (tmp_path / "geometry.in").write_text(geometry_in(atoms))
    found = as_ase(read, tmp_path / "geometry.in", format="aims")
    assert found.get_chemical_symbols() == atoms.get_chemical_symbols()
    np.testing.assert_allclose(found.positions, atoms.positions, atol=1e-14)
    moments = atoms.get_initial_magnetic_moments()
    np.testing.assert_allclose(found.get_initial_magnetic_moments(), moments, atol=1e-14)
    assert not found.constraints  # all forces are wanted
    if kind == "crystal":
        assert found.pbc.all()
        np.testing.assert_allclose(found.cell.array, atoms.cell.array, atol=1e-14)
    else:
        assert not found.pbc.any()


def test_spin_is_that_of_the_structure():
    atoms = bulk("Fe", cubic=True)
    atoms.set_initial_magnetic_moments([2, -2])
    assert written(atoms)[0]["spin"] == "collinear"
    assert "fixed_spin_moment" not in written(atoms)[0]
    with pytest.raises(ParameterError, match="contradicts"):
        static_job(atoms, spin_polarized=False)
    oxygen = molecule("O2")
    assert written(oxygen, fixed_spin_moment=True)[0]["fixed_spin_moment"] == "2.0"
    oxygen.set_initial_magnetic_moments([1, 0])
    with pytest.raises(StructureError, match="cannot be 0.5"):
        static_job(oxygen, fixed_spin_moment=True)
    oxygen.set_initial_magnetic_moments(None)
    with pytest.raises(ParameterError, match="needs magnetic moments"):
        static_job(oxygen, fixed_spin_moment=True)
    with pytest.raises(ParameterError, match="needs magnetic moments to start"):
        static_job(oxygen, spin_polarized=True)
    general, _ = written(oxygen, spin_polarized=True, control={"default_initial_moment": 1.0})
    assert general["default_initial_moment"] == "1.0"
    with pytest.raises(ParameterError, match="default_initial_moment of control"):
        static_job(atoms, control={"default_initial_moment": 1.0})
    radical = molecule("OH")
    radical.set_initial_magnetic_moments(None)
    assert any("too high" in text for text in static_job.plan(radical).check().warnings)


def test_a_keyword_without_value(species):
    found = parameters("Si", control={"many_body_dispersion": "", "output": ["hirshfeld", "dos 1"]})
    lines = control_in(bulk("Si"), found, CODE.files(found)).splitlines()
    assert "many_body_dispersion" in lines
    assert [line.split(None, 1)[1] for line in lines if line.startswith("output")] == [
        "hirshfeld",
        "dos 1",
    ]


def test_meshes():
    """ASE's kspacing_to_grid: as many points as |b| / spacing, rounded up."""
    copper = bulk("Cu", a=3.6)
    length = np.sqrt(3) / 3.6
    expected = int(length / 0.04) + 1
    assert written(copper)[0]["k_grid"] == f"{expected} {expected} {expected}"
    assert written(copper, stress="numerical")[0]["compute_numerical_stress"] == ".true."


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"control": {"relax_geometry": "bfgs 1e-2"}}, "moves the atoms"),
        ({"control": {"MD_run": "300 NVE"}}, "moves the atoms"),
        ({"control": {"relax_unit_cell": "full"}}, "moves the atoms"),
        ({"control": {"postprocess_anyway": True}}, "did not converge"),
        ({"control": {"use_pimd_wrapper": "localhost 1"}}, "moves the atoms"),
        ({"control": {"restart": "x"}}, "moves the atoms"),
        ({"control": {"total_energy_method": "rpa"}}, "one SCF"),
        ({"control": {"charge": 1}}, "pass charge="),
        ({"control": {"XC": "pbe"}}, "pass xc="),
        ({"control": {"k_grid": [2, 2, 2]}}, "pass kpts="),
        ({"control": {"compute_numerical_stress": True}}, "pass stress="),
        ({"control": {"species": "H"}}, "pass species_defaults="),
        ({"control": {"a b": 1}}, "no keyword"),
        ({"control": {"n_max_pulay": "8\nrelax_geometry bfgs"}}, "a value is"),
        ({"control": {"n_max_pulay": "8 # 9"}}, "a value is"),
        ({"control": {"n_max_pulay": None}}, "a value is"),
        ({"control": ["relax_geometry"]}, "control must be"),
        ({"xc": "mp2"}, "after the SCF"),
        ({"xc": "pbe\nspin collinear"}, "xc must be"),
        ({"xc": "hse06"}, "screening parameter"),
        ({"xc": "hse06 0.11"}, "screening parameter"),
        ({"relativistic": "zora scalar 1e-9"}, "zora scalar 1e-9. is unknown"),
        ({"species_defaults": "../light"}, "species_defaults must be"),
        ({"species_defaults": "/light"}, "species_defaults must be"),
        ({"species_defaults": "defaults_2020/light"}, "no '14_Si_default' in .*light'.*Si is in "),
        ({"species_defaults": {"Al": "light"}}, "names no folder for Si"),
        ({"kpts": [2, 2, 2], "kspacing": 0.2}, "Only one of"),
        ({"width": 0}, "width"),
        ({"stress": "none"}, "'none' is unknown"),
    ],
)
def test_what_is_refused(keywords, message):
    with pytest.raises(InputError, match=message):
        static_job("Si", **keywords)


def test_what_a_structure_cannot_say():
    for pbc in ([True, True, False], [True, False, False]):
        slab = fcc111("Al", (1, 1, 3), vacuum=7)
        slab.pbc = pbc
        with pytest.raises(StructureError, match="pbc"):
            static_job(slab)
    water = molecule("H2O")
    with pytest.raises(ParameterError, match="is for crystals"):
        static_job(water, kpts=[2, 2, 2])
    water.set_initial_charges([0.5, 0, 0])
    with pytest.raises(StructureError, match="no whole number"):
        static_job(water)
    water.set_initial_charges([1, 0, 0])
    with pytest.raises(ParameterError, match="contradicts"):
        static_job(water, charge=2)
    with pytest.raises(StructureError, match="0 electrons"):
        static_job(Atoms("H", [[0, 0, 0]]), charge=1)
    water = molecule("H2O")
    water.set_initial_magnetic_moments([[0, 0, 1], [0, 0, 0], [0, 1, 0]])
    with pytest.raises(StructureError, match="vectors"):
        static_job(water)


def test_the_species_defaults_are_in_the_key(species):
    """And a missing or wrong one is named before anything runs."""
    mixed = {"*": "defaults_2020/intermediate", "Cl": "defaults_2020/tight"}
    salt = bulk("NaCl", "rocksalt", a=5.64)
    plan = static_job.plan(salt, species_defaults=mixed)
    names = [file.parent.name for file in CODE.files(plan.calc_parameters)]
    assert names == ["tight", "intermediate"]
    key = plan.key
    file = species / "defaults_2020" / "tight" / "17_Cl_default"
    file.write_text(file.read_text() + "    hydro 2 p 3.5\n")
    assert static_job.plan(salt, species_defaults=mixed).key != key
    (species / "defaults_2020" / "tight" / "11_Na_default").write_text(file.read_text())
    with pytest.raises(ParameterError, match="of another element, or of none: species Cl"):
        static_job(salt, species_defaults="defaults_2020/tight")
    with pytest.raises(ParameterError, match="H is in defaults_2020/intermediate, "):
        static_job("H2", species_defaults="light")


def test_what_is_missing_is_said_before_anything_runs(monkeypatch):
    for job, more in [
        (static_job, ()),
        (relax_job, ()),
        (md_job, ()),
        (freq_job, ()),
        (neb_job, (bulk("Si"),)),
    ]:
        with change_settings(commands={"aims": "no_such_aims"}):
            with pytest.raises(MissingProgramError, match="'no_such_aims' is not found"):
                job("Si", *more)
    with change_settings(pseudopotentials={"aims": "/no/such/folder"}):
        with pytest.raises(MissingProgramError, match="no folder '/no/such/folder'"):
            static_job("Si")
    monkeypatch.setattr(type(CODE), "folder", lambda self: None)
    with pytest.raises(MissingProgramError, match="species_defaults"):
        static_job("Si")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("true", "it wrote no output; check that the setting commands.aims"),
        ("false", "it wrote no output"),
        ("sh -c 'kill -9 $$'", "it wrote no output"),
        ("sh -c 'echo no licence >&2; exit 3'", "no licence"),
        ("sh -c 'echo \"*** control.in: no such keyword\"'", "control.in: no such keyword"),
    ],
)
def test_a_program_that_ends_early(command, message):
    """Programs that are not FHI-aims, so that nothing may be taken for a result of theirs."""
    with change_settings(commands={"aims": command}):
        with pytest.raises(CalculationError, match=message) as raised:
            static_job("Si")
    (control,) = Path(raised.value.directory).glob("control.in*")
    assert "compute_forces" in gzip.decompress(control.read_bytes()).decode()


def test_the_launcher_starts_it():
    """``echo``, which prints what it would have started, on how many cores."""
    with change_settings(launcher="echo on 4 cores:"):
        with pytest.raises(CalculationError, match="last lines are: on 4 cores: true"):
            static_job("Si")


def test_the_version_is_asked_with_the_documented_flag(tmp_path):
    """Here of the head of a genuine file, printed by ``cat`` for any argument."""
    program = tmp_path / "aims.221103.x"
    program.write_text(
        f"#!/bin/sh\ntest $1 = --version && cat '{DATA}/issue_3345_spin_md_light.out'\n"
    )
    program.chmod(0o755)
    with change_settings(commands={"aims": str(program)}):
        assert CODE.version() == "221103"
    assert CODE.version() == "unknown"  # then the program's content is in the key
    assert "sha256:" in static_job.plan("Si").fingerprint


def test_output_of_an_earlier_run_is_not_read(tmp_path):
    earlier = tmp_path / "earlier"
    earlier.mkdir()
    shutil.copy(DATA / "singlepoint.out", earlier / "aims.out")
    with pytest.raises(CalculationError, match="it wrote no output"):
        static_job(WATER, copy_files=earlier)


WATER = Atoms("OH2", [[0, 0, 0], [0.9584, 0, 0], [-0.24, 0.9279, 0]])
"""The structure of ASE's singlepoint.out and md.out."""
SILICON = Atoms(
    "Si2", scaled_positions=[[0, 0, 0], [0.25] * 3], cell=2.903 * (1 - np.eye(3)), pbc=True
)
"""The first structure of ASE's relax.out."""


def genuine(name):
    return (DATA / name).read_text()


def of_one_structure():
    """Return relax.out up to its second structure, with its own last lines."""
    text = genuine("relax.out")
    first = text.partition("Geometry optimization: Attempting to predict")[0]
    return first + "".join(text.splitlines(keepends=True)[-3:])


def test_a_genuine_molecule():
    text = genuine("singlepoint.out")
    found = read_results(text, WATER, parameters(WATER))
    assert found["energy"] == found["free_energy"] == -0.206302072675943e4
    assert found["energy_zero"] == -0.206302072675943e4
    assert found["forces"][0, 0] == -0.478299830661005e1
    assert found["forces"][2, 1] == 0.658952882441297e1
    theirs = as_ase(read, DATA / "singlepoint.out", format="aims-output").calc.results
    np.testing.assert_array_equal(found["forces"], theirs["forces"])
    assert "stress" not in found
    assert "magmom" not in found


def test_a_genuine_crystal():
    found = read_results(of_one_structure(), SILICON, parameters(SILICON))
    assert found["free_energy"] == -0.157476651322907e5
    assert found["forces"].shape == (2, 3)
    pressure = re.findall(r"Pressure: +(\S+)", of_one_structure())[-1]
    assert found["stress"][:3].mean() == pytest.approx(-float(pressure), abs=1e-8)
    assert found["stress"][:3].mean() > 0  # it becomes smaller in the next step
    whole = SILICON.copy()
    whole.positions[1] += whole.cell[0] - whole.cell[2]  # the same crystal
    assert read_results(of_one_structure(), whole, parameters(SILICON))["energy"] < -15000


def test_a_genuine_atom_with_spin():
    atom = Atoms("H", [[0, 0, 0]], magmoms=[1])
    text = genuine("issue_3345_spin_md_light.out")
    with pytest.raises(CalculationError, match="no forces"):
        read_results(text, atom, parameters(atom))  # its control.in asked for none
    forces = "  Total atomic forces (unitary forces cleaned) [eV/Ang]:\n  |    1   0.0  0.0  0.0\n"
    (line,) = [
        line
        for line in text.rpartition("compact form:")[2].splitlines(keepends=True)
        if "Electronic free energy" in line
    ]
    head, _, tail = text.rpartition(line)
    more = head + line + forces + tail
    found = read_results(more, atom, parameters(atom))
    assert found["magmom"] == 1.0
    assert found["energy"] == -0.130174218930995e2
    with pytest.raises(CalculationError, match="2 spin channels"):
        plain = Atoms("H", [[0, 0, 0]])
        read_results(more, plain, parameters(plain))


def test_the_genuine_numerical_stress_is_of_the_last_scf():
    """The file is an excerpt, without forces and without the line of a converged SCF."""
    text = genuine("numerical_stress.out")
    cell = np.diag([11.48355900, 4.15690221, 4.40644566])
    lines = re.findall(r"Species (\w+) +(\S+) +(\S+) +(\S+)", text)
    atoms = Atoms(
        [line[0] for line in lines],
        np.array([line[1:] for line in lines], float),
        cell=cell,
        pbc=True,
    )
    given = {"stress": "numerical", "spin_polarized": False, "charge": 0, "sc_iter_limit": 200}
    with pytest.raises(CalculationError, match="did not converge"):
        read_results(text, atoms, given)
    rows = "".join(f"  |  {number}   0.0  0.0  0.{number}\n" for number in range(1, 9))
    head, compact, tail = text.rpartition("  Energy and forces in a compact form:")
    with pytest.raises(CalculationError, match="no forces"):
        read_results(f"{head}  Self-consistency cycle converged.\n{compact}{tail}", atoms, given)
    tail = tail.replace("\n\n---", f"\n  Total atomic forces (cleaned) [eV/Ang]:\n{rows}\n---", 1)
    text = f"{head}  Self-consistency cycle converged.\n{compact}{tail}"
    found = read_results(text, atoms, given)
    assert found["stress"].tolist() == [0.00244726, 0.00267442, 0.00258710, 5e-8, -2.6e-7, -7e-8]
    assert found["free_energy"] == -0.947172324448842e6
    assert found["forces"][:, 2].tolist() == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
    with pytest.raises(CalculationError, match="no stress"):
        read_results(text, atoms, {**given, "stress": "analytical"})


@pytest.mark.parametrize("part", [0.0, 0.5, 0.8, 0.95, 0.995])
def test_output_that_is_cut_off_is_an_error(part):
    text = genuine("singlepoint.out")
    with pytest.raises(CalculationError, match="did not come to its end"):
        read_results(text[: int(part * len(text))], WATER, parameters(WATER))


def test_an_scf_that_did_not_converge_is_an_error(tmp_path):
    """ASE's reader takes the genuine file without its second SCF, whose energy is 0.19 eV off."""
    text = genuine("singlepoint.out")
    first, _, rest = text.partition("Self-consistency cycle not yet converged")
    block = "  Energy and forces" + rest.partition("  Energy and forces")[2]
    end = "".join(text.splitlines(keepends=True)[-2:])
    stopped = first + block.partition("  No geometry change")[0] + "\n" + end
    (tmp_path / "aims.out").write_text(stopped)
    taken = as_ase(read, tmp_path / "aims.out", format="aims-output").calc.results
    assert taken["energy"] == pytest.approx(-2063.2114, abs=1e-3)
    with pytest.raises(CalculationError, match="SCF of FHI-aims did not converge within 200"):
        read_results(stopped, WATER, parameters(WATER))
    # The words with which FHI-aims ends then, as NOMAD's parser of its output knows them.
    words = "  *** scf_solver: SCF cycle not converged.\n"
    (tmp_path / "aims.out").write_text(first + words)
    assert "the SCF did not converge" in CODE.diagnose(tmp_path)


def test_another_structure_is_not_taken_for_ours():
    moved = SILICON.copy()
    moved.positions[1, 0] += 1e-3
    larger = SILICON.copy()
    larger.set_cell(larger.cell * 1.001, scale_atoms=True)
    other = SILICON.copy()
    other.symbols[0] = "C"
    single = SILICON.copy()
    single.pbc = False
    for atoms in (moved, larger, other):
        with pytest.raises(CalculationError, match="another structure"):
            read_results(of_one_structure(), atoms, parameters(atoms))
    with pytest.raises(CalculationError, match="another structure"):
        read_results(of_one_structure(), single, parameters(single))
    with pytest.raises(CalculationError, match="another structure"):
        read_results(genuine("singlepoint.out"), WATER[::-1], parameters(WATER))


@pytest.mark.parametrize(("name", "atoms"), [("md.out", WATER), ("relax.out", SILICON)])
def test_output_of_several_structures_is_refused(name, atoms):
    with pytest.raises(CalculationError, match="SCF|structures"):
        read_results(genuine(name), atoms, parameters(atoms))


def test_a_missing_energy_is_not_that_of_one_atom(tmp_path):
    """Without its last table, ASE's reader takes "Electronic free energy per atom"."""
    text = genuine("singlepoint.out")
    head, _, tail = text.rpartition("  Energy and forces in a compact form:")
    text = head + "\n" + tail.partition("eV\n  Total atomic")[2]
    (tmp_path / "aims.out").write_text(text)
    taken = as_ase(read, tmp_path / "aims.out", format="aims-output").calc.results
    assert taken["energy"] == pytest.approx(-687.67, abs=0.01)
    with pytest.raises(CalculationError, match="no energies"):
        read_results(text, WATER, parameters(WATER))


def test_numbers_that_cannot_be_read_are_an_error():
    text = genuine("singlepoint.out").replace("-0.478299830661005E+01", "*********************")
    with pytest.raises(CalculationError, match="cannot be read"):
        read_results(text, WATER, parameters(WATER))


def test_what_a_genuine_output_says_of_failure(tmp_path):
    assert CODE.diagnose(tmp_path) is None
    shutil.copy(DATA / "relax.out", tmp_path / "aims.out")
    assert "Onsite integrals" not in CODE.diagnose(tmp_path)  # a note, and no failure
    shutil.copy(DATA / "preamble_fail.out", tmp_path / "aims.out")
    assert "empty file for general parse failure" in CODE.diagnose(tmp_path)
    with pytest.raises(CalculationError, match="did not come to its end"):
        read_results(genuine("preamble_fail.out"), WATER, parameters(WATER))


def test_dry_run_prints_the_input():
    words = ["run", "static", "Si", "-c", "aims", "--dry-run"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    for line in ("k_grid", "lattice_vector", "species        Si"):
        assert line in done.output
