"""Gaussian: its input, what is refused, and how its output is read.

Gaussian's licence can't be had here: nothing is computed. The input is compared with the documented
format (gaussian.com/input, /link0, /molspec, /force, /symmetry, /scf); output is read from genuine
files of Gaussian 09 and 16, which come with GoodVibes, and from the excerpts in ASE's tests.
"""

import gzip
import re
import shutil
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.constraints import FixAtoms
from ase.io.gaussian import read_gaussian_in, read_gaussian_out
from ase.test.fio.test_gaussian_out import BUF_F2_MP2, BUF_H2O, BUF_H2O_L716
from ase.units import Bohr, Hartree
from typer.testing import CliRunner

from quacc.calculators import get_code
from quacc.calculators.codes.gaussian import gaussian_in, read_results
from quacc.calculators.presets import preset
from quacc.cli.main import app
from quacc.errors import CalculationError, InputError, MissingProgramError, StructureError
from quacc.recipes.gaussian.core import freq_job, md_job, neb_job, relax_job, static_job
from quacc.settings import change_settings

DATA = Path(str(distribution("goodvibes").locate_file("goodvibes/examples")))
CODE = get_code("gaussian")


@pytest.fixture(autouse=True)
def program():
    """A program that is none: it ends at once, and writes nothing."""
    with change_settings(commands={"gaussian": "true"}):
        yield


def parameters(atoms, **keywords):
    return static_job.plan(atoms, **keywords).check().calc_parameters


def written(atoms, options=None, **keywords):
    return gaussian_in(atoms, parameters(atoms, **keywords), options)


def test_the_input_in_its_documented_form():
    """Link 0, route, blank line, title, blank line, charge and multiplicity, atoms, blank line."""
    text = written(
        molecule("H2O"),
        {"memory": 2000, "cores": 4},
        method="B3LYP",
        basis="6-31G(d)",
        cartesian=False,
        route={"EmpiricalDispersion": "GD3BJ", "SCF": ["XQC", "MaxCycle=300"]},
    )
    head, route_and_more = text.split("#P ", 1)
    assert head.split() == ["%mem=2000MB", "%nprocshared=4"]
    route, title, structure = route_and_more.split("\n\n")[:3]
    assert re.sub("!.*", "", route).split() == [
        *("B3LYP/6-31G(d)", "nosymm", "5D", "7F"),
        *("EmpiricalDispersion(GD3BJ)", "SCF(XQC,MaxCycle=300)", "force"),
    ]
    assert title
    lines = structure.splitlines()
    assert lines[0] == "0 1"
    assert lines[1].split() == ["O", "0.0000000000", "0.0000000000", "0.1192620000"]
    assert len(lines) == 4
    assert text.endswith("\n\n")


def test_the_input_is_read_back_as_it_was(tmp_path):
    atoms = molecule("CH3CH2OH", vacuum=3)
    atoms.rattle(0.1, seed=1)
    atoms.set_masses([2.0 if one == "H" else None for one in atoms.symbols])
    atoms.set_constraint(FixAtoms([0]))
    atoms.set_initial_charges([1, *[0] * 8])
    text = written(atoms)
    assert "iso=" not in text  # masses are the jobs' business
    assert "TV" not in text
    (tmp_path / "x.com").write_text(text)
    with open(tmp_path / "x.com") as file:
        found = read_gaussian_in(file, attach_calculator=True)
    assert found.get_chemical_symbols() == atoms.get_chemical_symbols()
    np.testing.assert_allclose(found.positions, atoms.positions, atol=1e-10)
    assert found.calc.parameters["charge"] == 1
    assert found.calc.parameters["mult"] == 2
    assert found.calc.parameters["basis"] == "def2svp"


def test_names_of_functionals_as_in_ase():
    assert "PBE1PBE/" in written(molecule("H2O"))
    assert "pbe1pbe/" in written(molecule("H2O"), method="PBE0")
    assert "pbepbe/" in written(molecule("H2O"), method="pbe")


def test_heavy_elements_without_core_potentials_are_warned_of():
    iodide = Atoms("IH", [[0, 0, 0], [0, 0, 1.6]])
    assert not static_job.plan(iodide).check().warnings
    (warning,) = static_job.plan(iodide, basis="6-311G(d)").check().warnings
    assert "core potentials for I." in warning
    assert not static_job.plan(iodide, basis="6-311G(d)", route={"Int": "DKH"}).check().warnings


def test_the_preset_precise():
    text = written(molecule("H2O"), **preset("gaussian", "precise"))
    assert "Int(SuperFine)\nSCF(Conver=9)\n" in text


def test_spin_and_charge_are_those_of_the_structure():
    assert "\n0 3\n" in written(molecule("O2"))
    oxygen = molecule("O2")
    oxygen.set_initial_magnetic_moments([1, -1])
    assert "\n0 1\n" in written(oxygen)
    assert any("both signs" in text for text in static_job.plan(oxygen).check().warnings)
    radical = molecule("OH")
    radical.set_initial_magnetic_moments(None)
    assert "\n0 2\n" in written(radical)
    assert any("taken for a doublet" in text for text in static_job.plan(radical).check().warnings)
    assert "\n-1 1\n" in written(radical, charge=-1)
    assert "\n0 4\n" in written(radical, multiplicity=4)


@pytest.mark.parametrize(
    "method",
    [
        *("HF", "B3LYP", "ROB3LYP", "UB3LYP", "PBE1PBE", "wB97XD", "M062X", "CAM-B3LYP", "MP2"),
        *("B2PLYPD3", "mPW2PLYP", "revTPSSrevTPSS", "G96LYP", "MN15", "TPSSh", "LC-wPBE", "BMK"),
        *(
            "PW6B95D3",
            "APFD",
            "SVWN5",
            "O3LYP",
            "B97D3",
            "tHCTHhyb",
            "M11",
            "SOGGA11X",
            "DSDPBEP86",
        ),
    ],
)
def test_methods_that_are_taken(method):
    assert f"{method}/" in written(molecule("H2O"), method=method)


@pytest.mark.parametrize(
    "method",
    [
        *(
            "CCSD",
            "CCSD(T)",
            "UCCSD(T)",
            "CCD",
            "CID",
            "CISD",
            "QCISD(T)",
            "BD(T)",
            "MP3",
            "MP4(SDQ)",
        ),
        *("MP4", "MP5", "CASSCF(6,6)", "GVB(4)", "TD", "TDA", "TD(NStates=3)", "CIS", "EOMCCSD"),
        *("SAC-CI", "ZINDO", "CBS-QB3", "G3", "G4MP2", "W1U", "AM1", "PM6", "PM7", "UFF", "Amber"),
        *("DFTB", "ONIOM(B3LYP:PM6)", "External", "B3LYP/6-31G", "dRPA", "EPT"),
    ],
)
def test_methods_that_are_refused(method):
    """Without analytic forces, or with an energy that ASE does not read (gaussian.com/methods)."""
    with pytest.raises(InputError, match="method (cannot be|must be)"):
        static_job("H2O", method=method)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"route": {"Opt": "Tight"}}, "cannot have 'Opt'"),
        ({"route": {"Freq": ""}}, "cannot have 'Freq'"),
        ({"route": {"IOp": "5/13=1"}}, "cannot have 'IOp'"),
        ({"route": {"TD": "NStates=3"}}, "cannot have 'TD'"),
        ({"route": {"Symmetry": "Loose"}}, "cannot have 'Symmetry'"),
        ({"route": {"Counterpoise": "2"}}, "cannot have 'Counterpoise'"),
        ({"route": {"Guess": "Read"}}, "cannot be Read"),
        ({"route": {"Guess": ["Mix", "Only"]}}, "cannot be Only"),
        ({"route": {"SCRF": ["SMD", "Solvent=Water", "ExternalIteration"]}}, "ExternalIteration"),
        ({"route": {"SCRF": "Read"}}, "cannot be Read"),
        ({"route": {"Pop": ["MK", "ReadRadii"]}}, "cannot be ReadRadii"),
        ({"route": {"SCF": "XQC\n\nx"}}, "must be words"),
        ({"route": {"SCF": 5}}, "must be words"),
        ({"route": "SCF=XQC"}, "route must be"),
        ({"method": "B3LYP\n%chk=x"}, "method must be a word"),
        ({"basis": "6-31G(d) opt"}, "basis must be a word"),
        ({"basis": "Gen"}, "a basis set that Gaussian has"),
        ({"cartesian": "6D"}, "cartesian"),
        ({"charge": 10}, "has 0 electrons"),
        ({"charge": 0.5}, "whole number"),
        ({"multiplicity": 2}, "S is one of 0, 1"),
        ({"memory": 0}, "memory"),
        ({"functional": "PBE"}, "Unknown keyword 'functional'"),
        ({"dispersion": "d3bj:pbe", "route": {"empiricaldispersion": "GD3"}}, "already"),
        ({"dispersion": "d3bj:pbe", "method": "wB97XD"}, "already"),
        ({"dispersion": "d3bj:pbe", "method": "MP2"}, "dispersion by correlation"),
        ({"dispersion": "d3bj:b3lyp"}, "fitted to other energies"),
    ],
)
def test_what_is_refused(keywords, message):
    with pytest.raises(InputError, match=message):
        static_job("H2O", **keywords)


def test_what_a_structure_cannot_say():
    with pytest.raises(StructureError, match=r"molecules alone with Gaussian.*pbc"):
        static_job(bulk("Si"))
    water = molecule("H2O")
    water.set_initial_charges([0.5, 0, 0])
    with pytest.raises(StructureError, match="no whole number"):
        static_job(water)
    water.set_initial_charges([1, 0, 0])
    with pytest.raises(InputError, match="contradicts"):
        static_job(water, charge=2)
    water.set_initial_charges(None)
    water.set_initial_magnetic_moments([[0, 0, 1], [0, 0, 0], [0, 1, 0]])
    with pytest.raises(StructureError, match="vectors"):
        static_job(water)


def test_memory_and_cores_are_not_in_the_key(tmp_path, monkeypatch):
    key = static_job.plan("H2O").key
    assert static_job.plan("H2O", memory=4000, cores=8).key == key
    assert static_job.plan("H2O", basis="6-31G").key != key
    (tmp_path / "Default.Route").write_text("-#- SCF=Conver=4\n")
    monkeypatch.setenv("GAUSS_EXEDIR", f"/no/such/folder:{tmp_path}")
    other = static_job.plan("H2O").key
    assert other != key
    (tmp_path / "Default.Route").write_text("-#- SCF=Conver=9\n")
    assert static_job.plan("H2O").key not in (key, other)
    monkeypatch.setenv("GAUSS_RDEF", "Int=CoarseGrid")
    with pytest.raises(InputError, match="GAUSS_RDEF='Int=CoarseGrid'"):
        static_job("H2O")


def test_what_is_missing_is_said_before_anything_runs():
    with change_settings(commands={"gaussian": "no_such_g16"}):
        for job, more in [
            (static_job, ()),
            (relax_job, ()),
            (md_job, ()),
            (freq_job, ()),
            (neb_job, (molecule("H2O"),)),
        ]:
            with pytest.raises(MissingProgramError, match=r"'no_such_g16' is not found.*licence"):
                job("H2O", *more)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("", "it wrote no output; check that the setting commands.gaussian"),
        ("kill -9 $$", "Killed"),
        ("echo no licence >&2; exit 3", "no licence"),
        (
            "echo ' The combination of multiplicity 2 and  10 electrons is impossible.'; exit 1",
            "multiplicity 2 and  10 electrons is impossible",
        ),
        ("echo ' galloc:  could not allocate memory.'; exit 1", "could not allocate memory"),
        (
            "echo ' Atomic number out of range for 6-31G(d) basis set.'; exit 1",
            "out of range for 6-31G",
        ),
        (
            "echo ' Erroneous write. Write -1 instead of 4096.'; exit 1",
            "Erroneous write. Write -1",
        ),
        (
            "echo ' Error termination via Lnk1e in /opt/g16/l301.exe at Mon Nov 30.'; exit 1",
            "Error termination via Lnk1e in /opt/g16/l301.exe",
        ),
        ("echo ' SCF has begun'; exit 1", "its last lines are: SCF has begun"),
    ],
)
def test_a_program_that_ends_early(tmp_path, lines, message):
    """Programs that are not Gaussian, with its messages as QCEngine, custodian and AQME know them:
    nothing may be taken for a result of theirs."""
    with change_settings(commands={"gaussian": script(tmp_path, lines)}):
        with pytest.raises(CalculationError, match=message) as raised:
            static_job("H2O")
    (file,) = Path(raised.value.directory).glob("gaussian.com*")
    assert "force" in gzip.decompress(file.read_bytes()).decode()


def script(folder, lines):
    file = folder / "program"
    file.write_text(f"#!/bin/sh\n{lines}\n")
    file.chmod(0o755)
    return str(file)


def test_an_scf_that_does_not_converge_is_tried_once_more_by_another_algorithm(tmp_path):
    """With XQC (gaussian.com/scf); the words are Gaussian's own, and no energy is taken."""
    lines = (
        f"cat > {tmp_path}/$$.com; test -s {tmp_path}/$$.com || exit 0\n"  # asked for its version
        f"grep -ic xqc {tmp_path}/$$.com >> {tmp_path}/tries\n"
        "echo ' >>>>>>>>>> Convergence criterion not met.'\n"
        "echo ' SCF Done:  E(RPBE1PBE) =  -76.2     A.U. after  129 cycles'\n"
        "echo ' Convergence failure -- run terminated.'; exit 1"
    )
    with change_settings(commands={"gaussian": script(tmp_path, lines)}):
        with pytest.raises(CalculationError, match="the SCF did not converge"):
            static_job("H2O")
        tries = (tmp_path / "tries").read_text().split()
        assert tries == ["0", "1"], tries
        with pytest.raises(CalculationError, match="the SCF did not converge"):
            static_job("H2O", route={"scf": "QC"})
    assert (tmp_path / "tries").read_text().split() == ["0", "1", "0"]


def test_the_version_is_that_of_the_banner(tmp_path):
    """Of a genuine file, printed by ``cat``: Gaussian prints it before it misses its input."""
    with change_settings(commands={"gaussian": script(tmp_path, f"cat '{DATA}/methane.log'")}):
        assert CODE.version() == "ES64L-G16RevB.01"
    assert CODE.version() == "unknown"  # then the program's content is in the key
    assert "sha256:" in static_job.plan("H2O").fingerprint


def genuine(name):
    """Return the last step of a genuine file: of one structure, with energy and forces."""
    text = (DATA / name).read_text()
    return text[text.rindex(" Charge = ") :]


def unturned(text):
    """Without the standard orientation, as NoSymm has it."""
    return re.sub(r" +Standard orientation:.*?\n( -+\n)(.*?\n){2}( -+\n)(.*?\n)*?( -+\n)", "", text)


FILES = {
    "methane.log": ("B3LYP", 5, 1, -40.5183831835),
    "H2O.out": ("B97D", 3, 1, -76.3681281356),
    "HCN_triplet.out": ("B97D", 3, 3, -93.1537874991),
}


@pytest.mark.parametrize("name", FILES)
def test_a_genuine_molecule(name):
    method, count, multiplicity, energy = FILES[name]
    text = unturned(genuine(name))
    atoms = structure(text)
    assert len(atoms) == count
    given = parameters(atoms, method=method, basis="6-31G(d)", multiplicity=multiplicity)
    found = read_results(text, atoms, given)
    assert found["energy"] / Hartree == pytest.approx(energy, abs=1e-9)
    rows = text.rpartition("Forces (Hartrees/Bohr)")[2].splitlines()[3 : 3 + count]
    printed = np.array([row.split()[2:] for row in rows], dtype=float)
    np.testing.assert_allclose(found["forces"] / (Hartree / Bohr), printed, atol=1e-12)
    assert np.abs(found["forces"]).max() < 0.05  # it is relaxed
    summary = re.search(r"HF=(-\d+\.\d+)", text.replace("\n ", ""))
    assert float(summary[1]) == pytest.approx(energy, abs=1e-6)
    with pytest.raises(CalculationError, match="with the multiplicity"):
        read_results(text, atoms, {**given, "multiplicity": multiplicity + 2})
    with pytest.raises(CalculationError, match="with the charge 0"):
        read_results(text, atoms, {**given, "charge": 2})


def structure(text):
    rows = text.rpartition("Input orientation:")[2].splitlines()[5:]
    end = next(number for number, row in enumerate(rows) if row.startswith(" ---"))
    table = [row.split() for row in rows[:end]]
    return Atoms([int(row[1]) for row in table], [[float(one) for one in row[3:]] for row in table])


def test_output_that_was_turned_is_refused():
    """A genuine one: Gaussian's standard orientation is another than that of its input."""
    text = genuine("methane.log")
    atoms = structure(unturned(text))
    with pytest.raises(CalculationError, match="turned the molecule"):
        read_results(text, atoms, parameters(atoms))


def test_output_of_several_structures_is_refused():
    text = unturned((DATA / "methane.log").read_text())
    atoms = structure(text)
    with pytest.raises(CalculationError, match="or computed several"):
        read_results(text, atoms, parameters(atoms))


@pytest.mark.parametrize("part", [0.0, 0.3, 0.7, 0.95, 0.99])
def test_output_that_is_cut_off_is_an_error(part):
    text = unturned(genuine("methane.log"))
    atoms = structure(text)
    with pytest.raises(CalculationError, match="did not come to its end"):
        read_results(text[: int(part * len(text))], atoms, parameters(atoms))


def test_an_scf_that_did_not_converge_is_an_error(tmp_path):
    """Gaussian 16 ends normally, and ASE takes the energy."""
    text = unturned(genuine("methane.log"))
    atoms = structure(text)
    line = re.search(r" SCF Done:.*\n", text)[0]
    warned = text.replace(line, f" >>>>>>>>>> Convergence criterion not met.\n{line}")
    (tmp_path / "gaussian.log").write_text(warned)
    with open(tmp_path / "gaussian.log") as file:
        assert read_gaussian_out(file).get_potential_energy() < -1000
    with pytest.raises(CalculationError, match="its SCF did not converge"):
        read_results(warned, atoms, parameters(atoms))
    assert "the SCF did not converge" in CODE.diagnose(tmp_path)
    rescued = warned.replace(line, line + line)  # as XQC goes on
    assert read_results(rescued, atoms, parameters(atoms))["energy"] < -1000


def test_another_structure_is_not_taken_for_ours():
    text = unturned(genuine("H2O.out"))
    atoms = structure(text)
    given = parameters(atoms)
    moved, other = atoms.copy(), atoms.copy()
    moved.positions[1, 0] += 1e-3
    other.symbols[1] = "F"
    for wrong in (moved, other, atoms[::-1], atoms[:2]):
        with pytest.raises(CalculationError, match="another structure"):
            read_results(text, wrong, given)


def test_what_is_not_there_is_an_error():
    text = unturned(genuine("methane.log"))
    atoms = structure(text)
    given = parameters(atoms)
    without = text.replace("Forces (Hartrees/Bohr)", "Something else")
    with pytest.raises(CalculationError, match="printed no forces"):
        read_results(without, atoms, given)
    with pytest.raises(CalculationError, match="printed no energy"):
        read_results(text.replace("SCF Done:", "SCF:"), atoms, given)
    with pytest.raises(CalculationError, match="cannot be read"):
        read_results(text.replace("-40.5183831835", "**************"), atoms, given)
    other = text.replace("HF=-40.5\n 183832", "HF=-40.5\n 173832")
    assert other != text
    with pytest.raises(CalculationError, match=r"is not the -40.5173832 of its own summary"):
        read_results(other, atoms, given)


STATE = " Charge =  0 Multiplicity = 1\n"
END = " Normal termination of Gaussian 16 at Mon Nov 30 10:00:00 2026.\n"
"""What the excerpts in ASE's tests lack."""


FORCES_OF_TWO = """\
 Center     Atomic                   Forces (Hartrees/Bohr)
 Number     Number              X              Y              Z
 -------------------------------------------------------------------
      1        9           0.000000000    0.000000000    0.010000000
      2        9           0.000000000    0.000000000   -0.010000000
 -------------------------------------------------------------------
"""


def test_excerpts_of_ase():
    water = Atoms("OH2", [[0, 0, 0.119262], [0, 0.763239, -0.477047], [0, -0.763239, -0.477047]])
    text = STATE + BUF_H2O + BUF_H2O_L716 + END
    found = read_results(text, water, parameters(water, method="HF"))
    assert found["energy"] / Hartree == pytest.approx(-75.9834173665, abs=1e-10)
    assert found["forces"][0, 2] / (Hartree / Bohr) == pytest.approx(-0.036558637)
    assert found["dipole"][2] / Bohr == pytest.approx(-1.03989005)
    ion = parameters(water, method="HF", charge=2)
    charged = read_results(text.replace("Charge =  0", "Charge =  2"), water, ion)
    assert "dipole" not in charged  # which depends on the origin


def test_the_energy_of_mp2_is_not_that_of_its_scf():
    fluorine = Atoms("F2", [[0, 0, 0.7], [0, 0, -0.7]])
    given = parameters(fluorine, method="MP2")
    forces = FORCES_OF_TWO
    found = read_results(STATE + BUF_F2_MP2 + forces + END, fluorine, given)
    assert found["energy"] / Hartree == pytest.approx(-0.19912649675787e03, abs=1e-9)
    scf = BUF_F2_MP2.partition(" E2 =")[0]
    with pytest.raises(CalculationError, match="energy of an SCF, and not that of mp2"):
        read_results(STATE + scf + forces + END, fluorine, given)


def test_the_energy_of_a_double_hybrid_is_not_that_of_its_scf():
    """The layout of the line is that which ASE's reader knows."""
    fluorine = Atoms("F2", [[0, 0, 0.7], [0, 0, -0.7]])
    given = parameters(fluorine, method="B2PLYP")
    scf = BUF_F2_MP2.partition(" E2 =")[0]
    line = " E2(B2PLYP) =    -0.1D+00 E(B2PLYP) =    -0.19950000000000D+03\n"
    forces = FORCES_OF_TWO
    found = read_results(STATE + scf + line + forces + END, fluorine, given)
    assert found["energy"] / Hartree == pytest.approx(-199.5, abs=1e-9)
    with pytest.raises(CalculationError, match="energy of an SCF, and not that of b2plyp"):
        read_results(STATE + scf + forces + END, fluorine, given)


def test_output_of_an_earlier_run_is_not_read(tmp_path):
    earlier = tmp_path / "earlier"
    earlier.mkdir()
    shutil.copy(DATA / "methane.log", earlier / "gaussian.log")
    with pytest.raises(CalculationError, match="it wrote no output"):
        static_job("CH4", copy_files=earlier)


def test_dry_run_prints_the_input():
    words = ["run", "static", "H2O", "-c", "gaussian", "--cores", "4", "--dry-run"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    for line in ("#P PBE1PBE/Def2SVP", "%nprocshared=4", "0 1", "nosymm"):
        assert line in done.output
