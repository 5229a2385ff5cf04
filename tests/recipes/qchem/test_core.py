"""Q-Chem: its input, what is refused, and how its output is read.

Q-Chem's licence can't be had here: nothing is computed. The input is compared with the documented
format (Q-Chem manual 6, "Q-Chem Inputs": "Molecular Coordinate Input ($molecule)", "Job
Specification: The $rem Input Section") and with ASE's writer; energy, structure and dipole are read
from a genuine file of Q-Chem 5.2, which comes with IOData. It asked for no forces: their block is
written into it in the layout of the genuine one below.
"""

import gzip
import re
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.qchem import QChem
from ase.constraints import FixAtoms
from ase.units import Bohr, Debye, Hartree
from typer.testing import CliRunner

from quacc.calculators import get_code
from quacc.calculators.code import Place
from quacc.calculators.codes.qchem import qchem_in
from quacc.calculators.presets import preset
from quacc.cli.main import app
from quacc.errors import CalculationError, InputError, MissingProgramError, StructureError
from quacc.recipes.qchem.core import freq_job, md_job, neb_job, relax_job, static_job
from quacc.settings import change_settings

DATA = Path(str(distribution("qc-iodata").locate_file("iodata/test/data")))
CODE = get_code("qchem")


@pytest.fixture(autouse=True)
def program():
    """A program that is none: it ends at once, and writes nothing."""
    with change_settings(commands={"qchem": "true"}):
        yield


def parameters(atoms, **keywords):
    return static_job.plan(atoms, **keywords).check().calc_parameters


def written(atoms, memory=None, **keywords):
    return qchem_in(atoms, parameters(atoms, **keywords), memory)


def sections(text):
    return {name: body.strip() for name, body in re.findall(r"(?s)\$(\w+)\n(.*?)\$end", text)}


def variables(text):
    return dict(line.split() for line in sections(text)["rem"].splitlines())


def test_the_input_in_its_documented_form():
    text = written(
        molecule("H2O"),
        2000,
        method="B3LYP",
        basis="6-31G*",
        rem={"dft_d": "D3_BJ", "XC_GRID": 3, "unrestricted": True, "INCDFT": False},
    )
    assert list(sections(text)) == ["comment", "rem", "molecule"]
    assert variables(text) == {
        "JOBTYPE": "FORCE",
        "METHOD": "B3LYP",
        "BASIS": "6-31G*",
        "SCF_CONVERGENCE": "8",
        "THRESH": "11",
        "MAX_SCF_CYCLES": "100",
        "MEM_TOTAL": "2000",
        "SYM_IGNORE": "TRUE",
        "DFT_D": "D3_BJ",
        "XC_GRID": "3",
        "UNRESTRICTED": "TRUE",
        "INCDFT": "FALSE",
    }
    lines = [line.split() for line in sections(text)["molecule"].splitlines()]
    assert lines[0] == ["0", "1"]
    assert lines[1] == ["O", "0.000000000000", "0.000000000000", "0.119262000000"]
    assert len(lines) == 4


def test_the_same_input_as_ase_writes(tmp_path):
    """But for the charge, which ASE does not take from the atoms, and for six digits."""
    oxygen = molecule("O2")
    oxygen.rattle(0.1, seed=1)
    theirs = QChem(
        label=str(tmp_path / "x"),
        method="pbe0",
        basis="def2-svp",
        thresh="11",
        scf_convergence="8",
        max_scf_cycles="100",
    )
    theirs.write_input(oxygen, ["energy", "forces"])
    text = (tmp_path / "x.inp").read_text()
    ours = written(oxygen, method="pbe0", basis="def2-svp")
    assert {k: v.lower() for k, v in variables(ours).items()} == {
        k: v.lower() for k, v in variables(text).items()
    }
    head, *atoms = sections(ours)["molecule"].splitlines()
    their_head, *their_atoms = sections(text)["molecule"].splitlines()
    assert head.split() == their_head.split() == ["0", "3"]
    for one, other in zip(atoms, their_atoms, strict=True):
        assert one.split()[0] == other.split()[0]
        np.testing.assert_allclose(
            np.array(one.split()[1:], float), np.array(other.split()[1:], float), atol=6e-7
        )
    oxygen.set_initial_charges([1, 0])
    oxygen.set_initial_magnetic_moments([1, 0])
    theirs.write_input(oxygen, ["energy", "forces"])
    assert sections((tmp_path / "x.inp").read_text())["molecule"].startswith("0 2")  # the charge!
    assert sections(written(oxygen))["molecule"].startswith("1 2")


def test_the_preset_precise():
    found = variables(written(molecule("H2O"), **preset("qchem", "precise")))
    assert (found["SCF_CONVERGENCE"], found["XC_GRID"], found["THRESH"]) == ("10", "3", "13")


def test_charge_spin_and_constraints():
    atoms = molecule("CH3CH2OH", vacuum=3)
    atoms.set_constraint(FixAtoms([0]))
    atoms.set_initial_charges([-1, *[0] * 8])
    assert sections(written(atoms))["molecule"].startswith("-1 2")
    radical = molecule("OH")
    radical.set_initial_magnetic_moments(None)
    assert sections(written(radical))["molecule"].startswith("0 2")
    assert any("taken for a doublet" in text for text in static_job.plan(radical).check().warnings)
    assert sections(written(radical, multiplicity=4))["molecule"].startswith("0 4")


def test_core_potentials():
    """Named in ECP (manual: "Basis Sets and Effective Core Potentials")."""
    iodide = Atoms("IH", [[0, 0, 0], [0, 0, 1.6]])
    assert variables(written(iodide))["ECP"] == "def2-ECP"
    assert variables(written(iodide, basis="LANL2DZ", ecp="fit-LANL2DZ"))["ECP"] == "fit-LANL2DZ"
    assert "ECP" not in variables(written(iodide, basis="3-21G"))
    (warning,) = static_job.plan(iodide, basis="3-21G").check().warnings
    assert "core potentials for I." in warning
    with pytest.raises(InputError, match="made for effective core potentials"):
        static_job(iodide, basis="LANL2DZ")
    assert "ECP" not in variables(written(molecule("H2O")))


@pytest.mark.parametrize(
    "method",
    [
        *(
            "HF",
            "B3LYP",
            "PBE0",
            "PBE",
            "BLYP",
            "wB97X-V",
            "wB97M-V",
            "B97M-V",
            "M06-2X",
            "MN15",
            "TPSSh",
        ),
        *("SCAN", "r2SCAN", "HSE-HJS", "CAM-B3LYP", "LRC-wPBEh", "wB97X-D3", "B97-D3", "revPBE0"),
        *(
            "optB88-vdW",
            "GAM",
            "SPW92",
            "CASE21",
            "CF22D",
            "wB97X-rV",
            "BMK",
            "X3LYP",
            "MPW1K",
            "O3LYP",
        ),
    ],
)
def test_methods_that_are_taken(method):
    assert variables(written(molecule("H2O"), method=method))["METHOD"] == method


@pytest.mark.parametrize(
    "method",
    [
        *(
            "MP2",
            "RI-MP2",
            "RIMP2",
            "SOS-MP2",
            "MP3",
            "MP4",
            "CCSD",
            "CCSD(T)",
            "RI-CCSD",
            "QCISD",
            "CCD",
        ),
        *(
            "OD",
            "VOD",
            "CIS",
            "CIS(D)",
            "EOM-CCSD",
            "EOM-EE-CCSD",
            "ADC(2)",
            "CASSCF",
            "RASSCF",
            "RAS-CI",
        ),
        *(
            "B2PLYP",
            "B2GPPLYP",
            "XYG3",
            "XYGJ-OS",
            "DSD-PBEP86-D3",
            "PWPB95-D3",
            "PTPSS-D3",
            "PBE0-DH",
        ),
        *("PBE0-2", "PBE-QIDH", "wB97X-2", "wB97M(2)", "OOMP2", "SF-CIS", "TDDFT", "PBE0 MP2"),
    ],
)
def test_methods_that_are_refused(method):
    """ASE reads "Total energy in the final basis set", which is that of the SCF."""
    with pytest.raises(InputError, match="method (cannot be|must be)"):
        static_job("H2O", method=method)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        *(
            ({"rem": {one: 1}}, f"cannot set {one}")
            for one in (
                *("JOBTYPE", "job_type", "SYM_IGNORE", "INPUT_BOHR", "SCF_GUESS", "CIS_N_ROOTS"),
                *(
                    "solvent_method",
                    "GEOM_OPT_MAX_CYCLES",
                    "EE_SINGLETS",
                    "AIMD_STEPS",
                    "MOM_START",
                ),
                *("SKIP_SCFMAN", "CC_REF_PROP", "STABILITY_ANALYSIS", "IDERIV", "QM_MM", "NBO"),
            )
        ),
        ({"rem": {"METHOD": "PBE"}}, "pass method="),
        ({"rem": {"exchange": "PBE"}}, "pass method="),
        ({"rem": {"Correlation": "mp2"}}, "pass method="),
        ({"rem": {"mem_total": 5}}, "pass memory="),
        ({"rem": {"scf_max_cycles": 5}}, "pass max_scf_cycles="),
        ({"rem": {"XC_GRID": "3\n$end"}}, "one word or number"),
        ({"rem": {"XC_GRID": 0.5}}, "one word or number"),
        ({"rem": {"XC GRID": 1}}, "no variable"),
        ({"rem": ["XC_GRID"]}, "rem must be"),
        ({"method": "PBE0\n$end"}, "method must be a word"),
        ({"basis": "6-31G* x"}, "basis must be a word"),
        ({"scf_convergence": 3}, "from 5 to 14"),
        ({"scf_convergence": 8.0}, "from 5 to 14"),
        ({"charge": 10}, "has 0 electrons"),
        ({"multiplicity": 2}, "S is one of 0, 1"),
        ({"cores": 0}, "cores"),
        ({"functional": "PBE"}, "Unknown keyword 'functional'"),
        ({"dispersion": "d3bj:pbe0", "rem": {"dft_d": "D3_BJ"}}, "already"),
        ({"dispersion": "d3bj:pbe0", "method": "wB97X-V"}, "already"),
        ({"dispersion": "d3bj:pbe0", "method": "wB97X-D3"}, "already"),
        ({"dispersion": "d3bj:b3lyp"}, "fitted to other energies"),
    ],
)
def test_what_is_refused(keywords, message):
    with pytest.raises(InputError, match=message):
        static_job("H2O", **keywords)


def test_crystals_are_refused():
    with pytest.raises(StructureError, match=r"molecules alone with Q-Chem.*pbc"):
        static_job(bulk("Si"))


def test_memory_and_cores_are_not_in_the_key_but_the_user_s_defaults_are(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("QC", raising=False)
    key = static_job.plan("H2O").key
    assert static_job.plan("H2O", memory=4000, cores=8).key == key
    (tmp_path / ".qchemrc").write_text("$rem\nthresh 8\n$end\n")
    other = static_job.plan("H2O").key
    assert other != key
    (tmp_path / ".qchemrc").write_text("$rem\nthresh 14\n$end\n")
    third = static_job.plan("H2O").key
    assert third not in (key, other)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "preferences").write_text("$rem\nxc_grid 1\n$end\n")
    monkeypatch.setenv("QC", str(tmp_path))
    assert static_job.plan("H2O").key not in (key, other, third)


def test_what_is_missing_is_said_before_anything_runs():
    with change_settings(commands={"qchem": "no_such_qchem"}):
        for job, more in [
            (static_job, ()),
            (relax_job, ()),
            (md_job, ()),
            (freq_job, ()),
            (neb_job, (molecule("H2O"),)),
        ]:
            with pytest.raises(MissingProgramError, match=r"'no_such_qchem' is not found.*licence"):
                job("H2O", *more)


def script(folder, lines):
    file = folder / "program"
    file.write_text(f'#!/bin/sh\n[ "$1" = version.in ] && exit\n{lines}\n')
    file.chmod(0o755)
    return str(file)


def test_how_it_is_started(tmp_path):
    """With threads (manual: "Running Q-Chem"), and without a launcher."""
    program = script(tmp_path, f"echo $* > {tmp_path}/words; exit 1")
    with change_settings(commands={"qchem": program}, launcher="no_such_launcher"):
        with pytest.raises(CalculationError):
            static_job("H2O", cores=4)
        assert (tmp_path / "words").read_text() == "-nt 4 qchem.inp qchem.out\n"
        with pytest.raises(CalculationError):
            static_job("H2O")
    assert (tmp_path / "words").read_text() == "qchem.inp qchem.out\n"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("", "it wrote no output; check that the setting commands.qchem"),
        ("kill -9 $$", "Killed"),
        ("echo QC not defined; exit 1", "QC not defined"),
        ("echo no licence >&2; exit 3", "no licence"),
        (
            "echo ' Q-Chem fatal error occurred in module 0, line  264:' > $2\n"
            "echo ' Invalid charge/multiplicity combination!' >> $2; exit 1",
            "line  264:; Invalid charge/multiplicity combination",
        ),
        (
            "echo ' Please increase MEM_STATIC in $rem.' > $2; exit 1",
            "Please increase MEM_STATIC",
        ),
        (
            "echo ' Basis not supported for the above atom.' > $2; exit 1",
            "Basis not supported for the above atom",
        ),
        ("echo ' Unable to validate license' > $2; exit 1", "Unable to validate license"),
        ("echo 'Starting' > $2; exit 1", "its last lines are: Starting"),
    ],
)
def test_a_program_that_ends_early(tmp_path, lines, message):
    """Programs that are not Q-Chem, with its messages as pymatgen knows them: nothing may be taken
    for a result of theirs."""
    with change_settings(commands={"qchem": script(tmp_path, lines)}):
        with pytest.raises(CalculationError, match=message) as raised:
            static_job("H2O")
    (file,) = Path(raised.value.directory).glob("qchem.inp*")
    assert "FORCE" in gzip.decompress(file.read_bytes()).decode()


def test_an_scf_that_does_not_converge_is_tried_once_more_by_another_algorithm(tmp_path):
    """With GDM (manual: "Geometric Direct Minimization (GDM)"); no energy is taken."""
    lines = (
        f"grep -ic gdm $1 >> {tmp_path}/tries\n"
        "echo ' gen_scfman_exception: SCF failed to converge' > $2; exit 1"
    )
    with change_settings(commands={"qchem": script(tmp_path, lines)}):
        with pytest.raises(CalculationError, match="the SCF did not converge"):
            static_job("H2O")
        with pytest.raises(CalculationError, match="the SCF did not converge"):
            static_job("H2O", rem={"scf_algorithm": "RCA_DIIS"})
    assert (tmp_path / "tries").read_text().split() == ["0", "1", "0"]


def test_the_version_is_asked_with_an_input(tmp_path):
    """Of a genuine file, printed by ``cat`` if there is an input with $rem, as QCEngine asks it."""
    file = tmp_path / "qchem"
    lines = f"grep -q rem $1 && cat '{DATA}/water_hf_ccpvtz_freq_qchem.out'"
    file.write_text(f"#!/bin/sh\n{lines}\n")
    file.chmod(0o755)
    with change_settings(commands={"qchem": str(file)}):
        assert CODE.version() == "5.2.0"
    assert CODE.version() == "unknown"  # then the program's content is in the key
    assert "sha256:" in static_job.plan("H2O").fingerprint


EXCERPT = """\
 Calculating analytic gradient of the SCF energy
 Gradient of SCF Energy
            1           2           3           4           5           6
    1  -0.0505528   0.0062279  -0.0013690   0.0505528  -0.0062279   0.0013690
    2  -0.0086123  -0.0191347  -0.0196978   0.0086123   0.0191347   0.0196978
    3   0.0000000   0.0000000   0.0000000  -0.0000000  -0.0000000   0.0000000
            7           8
    1  -0.0002891  -0.0033628
    2   0.0012182   0.0014270
    3  -0.0000000   0.0000000
 Max gradient component =       5.055E-02
 RMS gradient           =       1.385E-02
"""
"""From an output of Q-Chem 5.1 in cclib's data (BSD licence), without its atoms 9 to 20."""


def block(gradient):
    """Return gradients (atoms, 3) in Q-Chem's layout."""
    lines = [" Calculating analytic gradient of the SCF energy", " Gradient of SCF Energy"]
    for first in range(0, len(gradient), 6):
        part = gradient[first : first + 6]
        lines.append("     " + "".join(f"{first + n + 1:8}    " for n in range(len(part))).rstrip())
        lines += [
            f"{axis + 1:5}" + "".join(f"{one:12.7f}" for one in part[:, axis]) for axis in range(3)
        ]
    return "\n".join([*lines, " Max gradient component =       5.055E-02", ""])


GRADIENT = np.array([[0.01, -0.02, 0.03], [-11.0123456, 0.5, -10.5], [11.0023456, -0.48, 10.47]])
WATER = Atoms(
    "OHH", [[0.00575, 0.00426, -0.00301], [0.27588, 0.88612, 0.25191], [0.60257, -0.23578, -0.7114]]
)
GENUINE = (DATA / "water_hf_ccpvtz_freq_qchem.out").read_text()


def with_forces(text=GENUINE, gradient=GRADIENT):
    """Return the genuine output with a block of gradients where Q-Chem has it."""
    head, mark, tail = text.partition(" STANDARD THERMODYNAMIC QUANTITIES")
    assert mark
    return head + block(gradient) + mark + tail


def results(folder, text, atoms=WATER, **keywords):
    """Return what the calculator reads of an output."""
    given = parameters(atoms, **keywords)
    calculator = CODE.build(given, Place(folder))
    (folder / "qchem.out").write_text(text)
    calculator.atoms = atoms
    calculator.read_results()
    return calculator.results


def test_the_layout_of_gradients_is_that_of_a_genuine_one(tmp_path):
    numbers = [line.split()[1:] for line in EXCERPT.splitlines() if re.match(r" {4}[123] ", line)]
    gradient = np.concatenate([np.array(numbers[n : n + 3], float).T for n in (0, 3)])
    ours = block(gradient).splitlines()
    theirs = EXCERPT.splitlines()
    assert [line.replace("-0.0000000", " 0.0000000") for line in ours] == [
        line.replace("-0.0000000", " 0.0000000") for line in theirs[: len(ours)]
    ]


def test_a_genuine_molecule(tmp_path):
    found = results(tmp_path, with_forces())
    assert found["energy"] / Hartree == pytest.approx(-76.0571936393, abs=1e-11)
    np.testing.assert_allclose(found["forces"] / (Hartree / Bohr), -GRADIENT, atol=1e-12)
    np.testing.assert_allclose(found["dipole"] / Debye, [1.4989, 1.1097, -0.7840], atol=1e-12)
    with pytest.raises(CalculationError, match="with the charge 0, and not with 2"):
        results(tmp_path, with_forces(), charge=2)
    with pytest.raises(CalculationError, match="with the multiplicity 1, and not with 3"):
        results(tmp_path, with_forces(), multiplicity=3)


def test_the_energy_as_later_versions_name_it(tmp_path):
    """As pymatgen reads them; ASE's reader finds none there."""
    text = with_forces().replace("Total energy in the final basis set =", "Total energy =")
    assert results(tmp_path, text)["energy"] / Hartree == pytest.approx(-76.0571936393, abs=1e-11)


def test_genuine_output_without_forces_is_an_error(tmp_path):
    with pytest.raises(CalculationError, match="printed no forces of one molecule of 3 atoms"):
        results(tmp_path, GENUINE)
    with pytest.raises(CalculationError, match="printed no energy of"):
        text = with_forces().replace("Total energy in the", "Energy in the")
        results(tmp_path, text)
    with pytest.raises(CalculationError, match="printed no forces of one molecule of 3 atoms"):
        results(tmp_path, with_forces(gradient=GRADIENT[:2]))


def test_genuine_output_of_several_molecules_is_refused(tmp_path):
    """Of an energy decomposition analysis, which has the energies of the fragments, too."""
    text = (DATA / "h2o_dimer_eda_qchem5.3.out").read_text()
    with pytest.raises(CalculationError, match="Q-Chem printed no energy and no forces"):
        results(tmp_path, text)


@pytest.mark.parametrize("part", [0.0, 0.3, 0.7, 0.95])
def test_output_that_is_cut_off_is_an_error(tmp_path, part):
    text = with_forces()
    with pytest.raises(CalculationError, match="did not come to its end"):
        results(tmp_path, text[: int(part * len(text))])


def test_an_scf_that_did_not_converge_is_an_error(tmp_path):
    text = with_forces().replace("Convergence criterion met", "")
    with pytest.raises(CalculationError, match="its SCF did not converge"):
        results(tmp_path, text)
    text = with_forces() + " SCF failed to converge\n"
    with pytest.raises(CalculationError, match="its SCF did not converge"):
        results(tmp_path, text)


def test_an_energy_beyond_the_scf_is_refused(tmp_path):
    """The line is of a genuine output of Q-Chem 5.4 in cclib's data: ASE takes the SCF's energy."""
    line = "        MP2         total energy =                   -75.00228214 au\n"
    text = with_forces().replace(" Calculating analytic", line + " Calculating analytic")
    with pytest.raises(CalculationError, match="beyond that of the SCF, which is not read: 'MP2"):
        results(tmp_path, text)
    text = with_forces() + " -- total gradient after adding PCM contribution --\n"
    with pytest.raises(CalculationError, match="in a solvent"):
        results(tmp_path, text)


def test_another_structure_is_not_taken_for_ours(tmp_path):
    moved, other = WATER.copy(), WATER.copy()
    moved.positions[1, 0] += 1e-5
    other.symbols[1] = "F"
    for wrong in (moved, other, WATER[::-1]):
        with pytest.raises(CalculationError, match="another structure"):
            results(tmp_path, with_forces(), wrong)


def test_numbers_that_cannot_be_read_are_an_error(tmp_path):
    text = with_forces().replace("-11.0123456", "***********")
    with pytest.raises(CalculationError, match="cannot be read"):
        results(tmp_path, text)


def test_output_of_an_earlier_run_is_not_read(tmp_path):
    earlier = tmp_path / "earlier"
    earlier.mkdir()
    (earlier / "qchem.out").write_text(with_forces())
    with pytest.raises(CalculationError, match="it wrote no output"):
        static_job(WATER, copy_files=earlier)


def test_dry_run_prints_the_input():
    words = ["run", "static", "H2O", "-c", "qchem", "--memory", "3000", "--dry-run"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    for line in ("$molecule", "PBE0", "FORCE", "MEM_TOTAL"):
        assert line in done.output
