"""ORCA: its input, what is refused, and how its output is read.

ORCA's licence can't be had here: nothing is computed. The input is compared with the documented
format (ORCA manual 6.0, "General Structure of the Input File", "Input of Coordinates", "Global
Memory Use", "Parallel Calculations"; "Single Point Energies and Gradients": EnGrad); output is read
from genuine files of ORCA 4.2 and 5.0, which come with IOData, and from those in ASE's tests.
"""

import ast
import gzip
import inspect
import re
import shutil
from importlib.metadata import distribution
from io import StringIO
from pathlib import Path

import ase.test.fio.test_orca
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.orca import OrcaTemplate
from ase.constraints import FixAtoms
from ase.io.orca import read_forces, read_geom_orcainp
from ase.units import Bohr, Hartree
from typer.testing import CliRunner

from quacc.calculators import get_code
from quacc.calculators.codes.orca import orca_inp, read_results
from quacc.calculators.presets import preset
from quacc.cli.main import app
from quacc.errors import CalculationError, InputError, MissingProgramError, StructureError
from quacc.recipes.orca.core import freq_job, md_job, neb_job, relax_job, static_job
from quacc.settings import change_settings

DATA = Path(str(distribution("qc-iodata").locate_file("iodata/test/data")))
CODE = get_code("orca")


@pytest.fixture(autouse=True)
def program():
    """A program that is none: it ends at once, and writes nothing."""
    with change_settings(commands={"orca": "true"}):
        yield


def parameters(atoms, **keywords):
    return static_job.plan(atoms, **keywords).check().calc_parameters


def written(atoms, options=None, **keywords):
    return orca_inp(atoms, parameters(atoms, **keywords), options)


def test_the_input_in_its_documented_form():
    text = written(
        molecule("H2O"),
        {"memory": 3000, "cores": 4},
        method="B3LYP/G",
        basis="def2-TZVP",
        words="RIJCOSX def2/J D4 CPCM(water)",
        blocks={"SCF": "shift shift 0.3 erroff 0 end", "cpcm": "surfacetype vdw_gaussian"},
    )
    lines = [line.strip() for line in text.splitlines()]
    assert lines == [
        "! EnGrad B3LYP/G def2-TZVP TightSCF RIJCOSX def2/J D4 CPCM(water)",
        *("%scf", "maxiter 125", "shift shift 0.3 erroff 0 end", "end"),
        *("%cpcm", "surfacetype vdw_gaussian", "end"),
        "%pal nprocs 4 end",
        "%maxcore 3000",
        "*xyz 0 1",
        "O   0.0 0.0 0.119262",
        "H   0.0 0.763239 -0.477047",
        "H   0.0 -0.763239 -0.477047",
        "*",
    ]


def test_the_structure_is_read_back_as_it_was():
    atoms = molecule("CH3CH2OH", vacuum=3)
    atoms.rattle(0.1, seed=1)
    atoms.set_tags(71)  # a ghost to ASE's writer
    atoms.set_constraint(FixAtoms([0]))
    atoms.set_initial_charges([1, *[0] * 8])
    text = written(atoms)
    assert "*xyz 1 2" in text
    assert ":" not in text
    found = read_geom_orcainp(StringIO(text))
    assert found.get_chemical_symbols() == atoms.get_chemical_symbols()
    np.testing.assert_array_equal(found.positions, atoms.positions)


def test_heavy_elements_without_core_potentials_are_warned_of():
    iodide = Atoms("IH", [[0, 0, 0], [0, 0, 1.6]])
    assert not static_job.plan(iodide).check().warnings
    (warning,) = static_job.plan(iodide, basis="cc-pVTZ").check().warnings
    assert "core potentials for I." in warning
    assert not static_job.plan(iodide, basis="cc-pVTZ", words="ZORA").check().warnings


def test_the_preset_precise():
    text = written(molecule("H2O"), **preset("orca", "precise"))
    assert "! EnGrad PBE0 def2-SVP VeryTightSCF DefGrid3 \n" in text


def test_spin_is_that_of_the_structure():
    assert "*xyz 0 3" in written(molecule("O2"))
    radical = molecule("OH")
    radical.set_initial_magnetic_moments(None)
    assert "*xyz 0 2" in written(radical)
    assert any("taken for a doublet" in text for text in static_job.plan(radical).check().warnings)
    assert "*xyz -1 1" in written(radical, charge=-1)


def test_composite_methods_have_their_own_basis_set():
    assert "! EnGrad r2SCAN-3c TightSCF \n" in written(molecule("H2O"), method="r2SCAN-3c")
    assert "! EnGrad PBE0 def2-SVP TightSCF \n" in written(molecule("H2O"))
    with pytest.raises(InputError, match="has a basis set of its own"):
        static_job("H2O", method="r2SCAN-3c", basis="def2-SVP")


@pytest.mark.parametrize(
    "method",
    [
        *("HF", "UHF", "B3LYP", "B3LYP/G", "PBE0", "r2SCAN-3c", "wB97X-D3", "wB97M-V", "RI-MP2"),
        *(
            "MP2",
            "DLPNO-MP2",
            "SCS-MP2",
            "B2PLYP",
            "DLPNO-B2PLYP",
            "RI-B2PLYP",
            "M06-2X",
            "CAM-B3LYP",
        ),
        *("revDSD-PBEP86-D4/2021", "rev-PBE", "RPBE", "BP86", "MN15", "LC-wPBE", "TPSSh", "PWPB95"),
    ],
)
def test_methods_that_are_taken(method):
    assert f" {method} " in written(molecule("H2O"), method=method)


@pytest.mark.parametrize(
    "method",
    [
        *(
            "CCSD",
            "CCSD(T)",
            "DLPNO-CCSD(T)",
            "DLPNO-CCSD(T1)",
            "RI-CCSD(T)",
            "CCSD(T)-F12",
            "QCISD",
        ),
        *("MP3", "SCS-MP3", "MP4", "CEPA/1", "NCPF/1", "CASSCF", "SC-NEVPT2", "NEVPT2", "EOM-CCSD"),
        *(
            "STEOM-DLPNO-CCSD",
            "ADC2",
            "OO-RI-MP2",
            "ZINDO/S",
            "AM1",
            "PM3",
            "XTB2",
            "GFN2-XTB",
            "MP2-F12",
        ),
        *("Native-GFN2-xTB", "MRCI+Q", "FIC-MRCI", "B3LYP Opt"),
    ],
)
def test_methods_that_are_refused(method):
    with pytest.raises(InputError, match="method (cannot be|must be)"):
        static_job("H2O", method=method)


@pytest.mark.parametrize(
    "words",
    [
        *("RIJCOSX def2/J", "RI def2-TZVP/C", "AutoAux", "cc-pVTZ/C", "D3BJ", "SMD(water)", "ZORA"),
        *(
            "SlowConv KDIIS SOSCF",
            "NoRI NoCOSX",
            "DefGrid3",
            "DKH2",
            "UKS",
            "VDWGaussian",
            "NoFrozenCore",
        ),
    ],
)
def test_words_that_are_taken(words):
    assert f" {words} " in written(molecule("H2O"), words=words)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        *(
            ({"words": one}, f"cannot have {re.escape(one)}")
            for one in (
                *(
                    "Opt",
                    "TightOpt",
                    "COPT",
                    "OptTS",
                    "Freq",
                    "NumFreq",
                    "AnFreq",
                    "NumGrad",
                    "IRC",
                ),
                *("MD", "NEB-TS", "GOAT", "QM/XTB", "MORead", "AutoStart", "NoAutoStart", "PAL8"),
                *(
                    "UseSym",
                    "VeryTightSCF",
                    "CCSD(T)",
                    "DLPNO-CCSD(T)",
                    "XTB2",
                    "HF",
                    "SP",
                    "ESD(ABS)",
                ),
            )
        ),
        ({"words": "D4\n%maxcore 5"}, "words must be"),
        ({"words": "D4 # x"}, "words must be"),
        ({"words": ["D4"]}, "words must be"),
        ({"blocks": {"geom": "maxiter 5"}}, "cannot have %geom"),
        ({"blocks": {"pal": "nprocs 5"}}, "cannot have %pal"),
        ({"blocks": {"tddft": "nroots 5"}}, "cannot have %tddft"),
        ({"blocks": {"scf": 'moinp "x.gbw"'}}, "cannot set moinp"),
        ({"blocks": {"scf": "guess moread"}}, "cannot set guess moread"),
        ({"blocks": {"scf": "MaxIter 5"}}, "cannot set MaxIter"),
        ({"blocks": {"scf": "ConvForced false"}}, "cannot set ConvForced"),
        ({"blocks": {"method": "functional PBE"}}, "cannot set functional"),
        ({"blocks": {"scf": "shift 1\nend\n%geom"}}, "must be the lines between"),
        ({"blocks": {"scf": ""}}, "must be the lines between"),
        ({"blocks": "%scf end"}, "blocks must be"),
        ({"method": "B3LYP\n!Opt"}, "method must be a word"),
        ({"basis": "def2-SVP Opt"}, "basis must be a word"),
        ({"convergence": "LooseSCF"}, "convergence 'LooseSCF' is unknown"),
        ({"maxiter": 0}, "maxiter"),
        ({"charge": 10}, "has 0 electrons"),
        ({"multiplicity": 2}, "S is one of 0, 1"),
        ({"cores": 0}, "cores"),
        ({"functional": "PBE"}, "Unknown keyword 'functional'"),
        ({"dispersion": "d3bj:pbe0", "words": "D4"}, "already"),
        ({"dispersion": "d3bj:pbe0", "method": "B97-3c"}, "already"),
        ({"dispersion": "d3bj:pbe0", "method": "RI-MP2"}, "dispersion by correlation"),
    ],
)
def test_what_is_refused(keywords, message):
    with pytest.raises(InputError, match=message):
        static_job("H2O", **keywords)


def test_crystals_are_refused():
    with pytest.raises(StructureError, match=r"molecules alone with ORCA.*pbc"):
        static_job(bulk("Si"))


def test_memory_and_cores_are_not_in_the_key():
    key = static_job.plan("H2O").key
    assert static_job.plan("H2O", memory=4000, cores=8).key == key
    assert static_job.plan("H2O", words="D4").key != key


def test_what_is_missing_is_said_before_anything_runs():
    with change_settings(commands={"orca": "no_such_orca"}):
        for job, more in [
            (static_job, ()),
            (relax_job, ()),
            (md_job, ()),
            (freq_job, ()),
            (neb_job, (molecule("H2O"),)),
        ]:
            with pytest.raises(MissingProgramError, match=r"'no_such_orca' is not found.*licence"):
                job("H2O", *more)


def script(folder, lines, head="#!/bin/sh"):
    file = folder / "program"
    file.write_text(f"{head}\n{lines}\n")
    file.chmod(0o755)
    return str(file)


def test_the_screen_reader_of_the_same_name_is_not_taken_for_it(tmp_path):
    """GNOME's Orca is a Python script."""
    reader = script(tmp_path, "print('Orca 46.1')", "#!/usr/bin/python3")
    with change_settings(commands={"orca": reader}):
        with pytest.raises(MissingProgramError, match=r"screen reader of GNOME.*whole path"):
            static_job("H2O")


def test_it_is_started_with_its_whole_path(tmp_path, monkeypatch):
    """On several cores it starts its parts, and not without (manual: "Parallel Calculations")."""
    real = tmp_path / "orca_6_0"
    real.mkdir()
    (tmp_path / "bin").mkdir()
    program = script(real, "echo started as $0; exit 1")
    (tmp_path / "bin" / "orca").symlink_to(program)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    with change_settings(commands={"orca": "orca"}, launcher="no_such_launcher"):
        with pytest.raises(CalculationError, match=f"started as {program}"):
            static_job("H2O", cores=4)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("", "it wrote no output; check that the setting commands.orca"),
        ("kill -9 $$", "it wrote no output"),
        ("echo no licence >&2; exit 3", "no licence"),
        (
            "echo 'error while loading shared libraries: libmpi.so.40: cannot open' >&2; exit 1",
            "loading shared libraries: libmpi.so.40",
        ),
        (
            "echo 'Error : multiplicity (2) is even and number of electrons (10) is even -> "
            "impossible'; exit 1",
            r"multiplicity \(2\) is even and number of electrons \(10\) is even",
        ),
        (
            "echo '    There are no main basis functions on atom number 0 (Pu)'; exit 1",
            r"no main basis functions on atom number 0 \(Pu\)",
        ),
        (
            "echo ' Error  (ORCA_SCF): Not enough memory available!'\n"
            "echo '       ====>        Please increase MaxCore to more than:         29.9 MB'\n"
            "echo 'ORCA finished by error termination in LEANSCF'; exit 1",
            r"Not enough memory available; Please increase MaxCore to more than: +29.9 MB",
        ),
        (
            "echo 'UNRECOGNIZED OR DUPLICATED KEYWORD(S) IN SIMPLE INPUT LINE'; exit 1",
            "UNRECOGNIZED OR DUPLICATED KEYWORD",
        ),
        ("echo 'Starting'; exit 1", "its last lines are: Starting"),
    ],
)
def test_a_program_that_ends_early(tmp_path, lines, message):
    """Programs that are not ORCA, with its messages as its own Python interface (OPI) knows them:
    nothing may be taken for a result of theirs."""
    with change_settings(commands={"orca": script(tmp_path, lines)}):
        with pytest.raises(CalculationError, match=message) as raised:
            static_job("H2O")
    (file,) = Path(raised.value.directory).glob("orca.inp*")
    assert "EnGrad" in gzip.decompress(file.read_bytes()).decode()


UNCONVERGED = (
    "[file orca_leanscf/orca_leanscf.cpp, line 306]: Error (ORCA_LEANSCF): unfortunately,\n"
    "the SCF has not converged. There may be a way out but we have to stop here\n"
    "ORCA finished by error termination in LEANSCF\n"
)
"""As ORCA 6.1 ends."""


def test_an_scf_that_does_not_converge_is_tried_once_more_with_damping(tmp_path):
    """With SlowConv (manual: "SCF Convergence"); no energy is taken."""
    lines = (
        'test -f "$1" || exit 0\n'  # asked for its version
        f"grep -ic slowconv $1 >> {tmp_path}/tries; cat <<EOF\n{UNCONVERGED}EOF\nexit 1"
    )
    with change_settings(commands={"orca": script(tmp_path, lines)}):
        with pytest.raises(CalculationError, match="the SCF did not converge"):
            static_job("H2O")
    assert (tmp_path / "tries").read_text().split() == ["0", "1"]


def test_the_version_is_that_of_the_banner(tmp_path):
    """Of a genuine file, printed by ``cat`` for an input that is not there, as ASE asks it."""
    with change_settings(commands={"orca": script(tmp_path, f"cat '{DATA}/orca_gradient.out'")}):
        assert CODE.version() == "5.0.3"
    assert CODE.version() == "unknown"  # then the program's content is in the key
    assert "sha256:" in static_job.plan("H2O").fingerprint


def of_ase(name):
    """Return a text that ASE's tests read."""
    tree = ast.parse(inspect.getsource(ase.test.fio.test_orca))
    return next(
        node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == name
    )


GENUINE = (DATA / "orca_gradient.out").read_text()


def peptide():
    """Return the structure of the genuine file, from its input."""
    rows = re.findall(r"\| *\d+> ([A-Z][a-z]?)((?: +-?\d+\.\d+){3})", GENUINE)
    return Atoms([row[0] for row in rows], [[float(one) for one in row[1].split()] for row in rows])


def engrad(atoms, energy, gradient):
    """Return ORCA's file of forces, in the layout of the genuine one in ASE's tests."""
    places = [
        f"{number:4} " + " ".join(f"{one:12.7f}" for one in place)
        for number, place in zip(atoms.numbers, atoms.positions / Bohr, strict=True)
    ]
    numbers = "\n".join(f"{one:20.12f}" for one in np.ravel(gradient))
    return (
        f"#\n# Number of atoms\n#\n {len(atoms)}\n#\n# The current total energy in Eh\n#\n"
        f"{energy:20.12f}\n#\n# The current gradient in Eh/bohr\n#\n{numbers}\n#\n"
        "# The atomic numbers and current coordinates in Bohr\n#\n" + "\n".join(places) + "\n"
    )


def printed_gradient():
    rows = GENUINE.partition("CARTESIAN GRADIENT")[2].splitlines()[3:35]
    return np.array([row.split(":")[1].split() for row in rows], dtype=float)


FILE = engrad(peptide(), -742.985592886484, printed_gradient())


def test_the_layout_of_the_file_of_forces_is_that_of_a_genuine_one():
    water = Atoms("OHH", np.array([[0, 0, 0], [1.8897261, 0, 0], [0, 1.8897261, 0]]) * Bohr)
    theirs = of_ase("sample_engradfile")
    gradient = [float(one) for one in theirs.split("Eh/bohr\n#\n")[1].split("#")[0].split()]
    assert engrad(water, -76.422436201230, gradient).split() == theirs.split()


def test_a_genuine_molecule():
    atoms = peptide()
    found = read_results(GENUINE, FILE, atoms, parameters(atoms))
    assert found["energy"] / Hartree == pytest.approx(-742.985592886484, abs=1e-12)
    theirs = read_forces(GENUINE.splitlines())
    np.testing.assert_allclose(found["forces"], theirs, rtol=1e-14)
    np.testing.assert_allclose(found["forces"] / (Hartree / Bohr), -printed_gradient(), atol=1e-12)
    np.testing.assert_allclose(found["dipole"] / Bohr, [0.42692, 2.48902, 0.75997])
    ion = parameters(atoms, charge=2)
    with pytest.raises(CalculationError, match="with the charge 0, and not with 2"):
        read_results(GENUINE, FILE, atoms, ion)
    with pytest.raises(CalculationError, match="with the multiplicity 1, and not with 3"):
        read_results(GENUINE, FILE, atoms, parameters(atoms, multiplicity=3))


def test_a_genuine_energy_without_forces_is_an_error():
    """Of ORCA 4.2, whose input asks for none; then forces of another run are not taken."""
    text = (DATA / "water_orca.out").read_text()
    rows = re.search(r"ANGSTROEM\)\n-+\n((?: +[A-Z].*\n)+)", text)[1].splitlines()
    water = Atoms([r.split()[0] for r in rows], [[float(x) for x in r.split()[1:]] for r in rows])
    with pytest.raises(CalculationError, match="printed no forces"):
        read_results(text, "", water, parameters(water))
    other = engrad(water, -76.3, np.zeros((3, 3)))
    with pytest.raises(CalculationError, match="is of another run"):
        read_results(text, other, water, parameters(water))
    same = engrad(water, -76.347791524303, np.zeros((3, 3)))
    found = read_results(text, same, water, parameters(water))
    assert found["energy"] / Hartree == pytest.approx(-76.347791524303, abs=1e-12)


@pytest.mark.parametrize("part", [0.0, 0.3, 0.9, 0.95, 0.99])
def test_output_that_is_cut_off_is_an_error(part):
    atoms = peptide()
    with pytest.raises(CalculationError, match="did not come to its end"):
        read_results(GENUINE[: int(part * len(GENUINE))], FILE, atoms, parameters(atoms))


def test_an_scf_that_did_not_converge_is_an_error(tmp_path):
    """ORCA ends normally where it came near, and ASE's energy is no number then."""
    atoms = peptide()
    words = "FINAL SINGLE POINT ENERGY (Wavefunction not fully converged!)"
    text = GENUINE.replace("FINAL SINGLE POINT ENERGY", words)
    with pytest.raises(CalculationError, match="the SCF did not converge"):
        read_results(text, FILE, atoms, parameters(atoms))
    for text in (UNCONVERGED, "SCF NOT CONVERGED AFTER 125 CYCLES\n"):
        (tmp_path / "orca.out").write_text(text)
        assert "the SCF did not converge" in CODE.diagnose(tmp_path)


def test_several_energies_are_refused():
    atoms = peptide()
    line = "FINAL SINGLE POINT ENERGY      -742.985592886484\n"
    assert line in GENUINE
    for text in (GENUINE.replace(line, line * 2), GENUINE.replace(line, "")):
        with pytest.raises(CalculationError, match="[02] final energies, but was asked for one"):
            read_results(text, FILE, atoms, parameters(atoms))


def test_another_structure_is_not_taken_for_ours():
    atoms = peptide()
    given = parameters(atoms)
    moved, other = atoms.copy(), atoms.copy()
    moved.positions[1, 0] += 1e-3
    other.symbols[0] = "Si"
    for wrong in (moved, other, atoms[::-1], atoms[:-1]):
        with pytest.raises(CalculationError, match="another structure"):
            read_results(GENUINE, FILE, wrong, given)


def test_numbers_that_cannot_be_read_are_an_error():
    atoms = peptide()
    broken = FILE.replace("-0.075712381000", "***************")
    with pytest.raises(CalculationError, match="cannot be read"):
        read_results(GENUINE, broken, atoms, parameters(atoms))
    short = FILE.replace("     -0.075712381000\n", "")
    with pytest.raises(CalculationError, match="another number of atoms"):
        read_results(GENUINE, short, atoms, parameters(atoms))


def test_what_ase_would_do_in_silence(tmp_path):
    """Without these, quacc would not need a template of its own."""
    ion = molecule("O2")
    ion.set_initial_charges([1, 0])
    ion.set_tags(71)
    OrcaTemplate().write_input(None, tmp_path, ion, {}, ["energy", "forces"])
    text = (tmp_path / "orca.inp").read_text().lower()
    assert "engrad" not in text
    assert "*xyz 0 1" in text
    assert "o : " in text


def test_output_of_an_earlier_run_is_not_read(tmp_path):
    earlier = tmp_path / "earlier"
    earlier.mkdir()
    shutil.copy(DATA / "orca_gradient.out", earlier / "orca.out")
    (earlier / "orca.engrad").write_text(FILE)
    with pytest.raises(CalculationError, match="it wrote no output") as raised:
        static_job(peptide(), copy_files=earlier)
    assert not list(Path(raised.value.directory).glob("orca.engrad*"))


def test_dry_run_prints_the_input():
    words = ["run", "static", "H2O", "-c", "orca", "--cores", "4", "--dry-run"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    for line in ("! EnGrad PBE0 def2-SVP TightSCF", "%pal nprocs 4 end", "*xyz 0 1"):
        assert line in done.output
