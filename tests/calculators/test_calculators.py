"""What quacc knows about each code."""

import hashlib
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from quacc.calculators import code_names, get_code, program, wrong_command
from quacc.errors import InputError, MissingProgramError, ParameterError, StructureError
from quacc.recipes.emt import core as emt
from quacc.recipes.lj import core as lj
from quacc.settings import change_settings


@pytest.mark.parametrize("name", code_names())
def test_every_code_says_what_it_is(name):
    code = get_code(name)
    assert code.name == name
    assert code.title
    assert code.install
    assert code.citation.startswith(("@article{", "@inproceedings{", "@misc{"))
    assert "doi" in code.citation
    assert code.complete({}) == dict(code.defaults)
    for name, keyword in {**code.keywords, **code.options}.items():
        assert keyword.meaning
        keyword.require(name, keyword.default)


@pytest.mark.parametrize("name", ["emt", "lj"])
def test_in_memory_codes_are_always_usable(name):
    code = get_code(name)
    assert code.missing() is None
    assert "ase" in code.version()
    assert code.version() in code.fingerprint({})


def test_an_unknown_code():
    with pytest.raises(InputError, match=r"no calculator 'etm'. Did you mean 'emt'\?"):
        get_code("etm")


def test_an_unknown_keyword_is_named_with_the_nearest():
    with pytest.raises(ParameterError, match=r"'sigm'. Did you mean 'sigma'\?.*epsilon"):
        get_code("lj").complete({"sigm": 2.0})


def test_elements_without_parameters_are_named():
    with pytest.raises(StructureError, match="no parameters for Fe, Zn.*It has them for Ag, Al"):
        get_code("emt").check(bulk("FeZn", "cesiumchloride", a=3), {"asap_cutoff": False})


def test_emt_warns_of_elements_that_were_never_fitted():
    code = get_code("emt")
    assert code.check(bulk("Cu"), code.complete({})) == []
    (warning,) = code.check(molecule("H2O"), code.complete({}))
    assert "H, O" in warning
    assert "tests only" in warning


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"epsilon": 0}, "epsilon must be a finite number above zero, not 0"),
        ({"sigma": float("nan")}, "sigma"),
        ({"rc": -1}, "rc"),
        ({"ro": 4.0}, "must be below the cutoff rc = 3 Å"),
        ({"smooth": 1}, "smooth must be True or False"),
    ],
)
def test_lennard_jones_refuses(given, told):
    code = get_code("lj")
    with pytest.raises(ParameterError, match=told):
        code.check(bulk("Ar", "fcc", a=5), code.complete({"epsilon": 1, "sigma": 1, **given}))


def test_lennard_jones_asks_for_its_parameters():
    """With 1 eV and 1 Å, as ASE has them, copper's atoms were 1.09 Å apart."""
    for atoms, given in [
        ("Cu", {}),
        ("Cu", {"epsilon": 0.4}),
        ("Cu", {"sigma": 2.3}),
        ("Ar", {"sigma": 3.4}),
        (Atoms("ArKr", positions=[[0, 0, 0], [0, 0, 4]]), {}),
        (Atoms("He"), {}),
    ]:
        with pytest.raises(ParameterError, match="needs epsilon .eV., .* and sigma"):
            lj.static_job(atoms, **given)


@pytest.mark.parametrize("gas", ["Ne", "Ar", "Kr", "Xe"])
def test_noble_gases_have_published_parameters(gas):
    """The lattice sums of fcc, 12.13188 and 14.45392 (Ashcroft and Mermin, Solid State Physics,
    chapter 20): neighbours at 1.0902 sigma, -8.6068 epsilon an atom."""
    well = {"Ne": 0.0031, "Ar": 0.0104, "Kr": 0.0140, "Xe": 0.0200}[gas]
    diameter = {"Ne": 2.74, "Ar": 3.40, "Kr": 3.65, "Xe": 3.98}[gas]
    relaxed = lj.relax_job(gas, relax_cell=True, fmax=1e-5, rc=15 * diameter)
    neighbour = np.linalg.norm(relaxed["atoms"].cell[0])
    assert neighbour == pytest.approx((2 * 12.13188 / 14.45392) ** (1 / 6) * diameter, rel=1e-4)
    energy = -(14.45392**2) / 12.13188 / 2 * well
    assert relaxed["results"]["energy"] == pytest.approx(energy, rel=1e-3)
    # Measured, in the same chapter; neon is off by its zero-point motion.
    measured = {"Ne": 3.13, "Ar": 3.75, "Kr": 3.99, "Xe": 4.33}[gas]
    assert neighbour == pytest.approx(measured, rel=0.05)
    assert relaxed["parameters"]["epsilon"] == well
    given = lj.static_job(relaxed, epsilon=well, sigma=diameter)
    assert given["key"] == lj.static_job(relaxed)["key"]


def test_atoms_beyond_the_cutoff_are_told():
    apart = Atoms("Ar2", positions=[[0, 0, 0], [0, 0, 12.0]])
    for job, atoms in [
        (lj.static_job, apart),
        (lj.relax_job, apart),
        (lj.static_job, bulk("Xe", a=20.0)),
        (emt.static_job, bulk("Cu", a=12.0)),
        (emt.relax_job, Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 12.0]])),
    ]:
        [warning] = job(atoms)["warnings"]
        assert "no interaction" in warning
    near = Atoms("Ar2", positions=[[0, 0, 0], [0, 0, 9.0]])
    for job, atoms in [(lj.static_job, near), (emt.static_job, "Cu"), (lj.static_job, Atoms("Ar"))]:
        assert job(atoms)["warnings"] == []


def test_one_pair_of_parameters_for_two_elements_is_told():
    alloy = bulk("NaCl", "rocksalt", a=5.64)
    [warning] = lj.static_job(alloy, epsilon=0.01, sigma=2.5)["warnings"]
    assert "Cl, Na differ in their masses alone" in warning


def test_a_missing_program_says_how_to_get_and_name_it():
    code = get_code("mopac")
    with change_settings(commands={"mopac": "/no/such/mopac --fast"}):
        with pytest.raises(MissingProgramError) as caught:
            code.check(molecule("H2O"), code.complete({}))
    for part in ("/no/such/mopac", "commands.mopac", "QUACC_COMMANDS__MOPAC", "apt-get install"):
        assert part in str(caught.value)


def test_a_command_for_no_code_disturbs_no_code():
    with change_settings(commands={"mopca": "x", "orca": "y", "mopac": "z"}):
        assert get_code("mopac").program.start_command() == "z"
    assert wrong_command("MOPAC") is None
    assert "commands.mopca names no calculator" in wrong_command("mopca")
    assert "Did you mean 'mopac'?" in wrong_command("mopca")
    assert wrong_command("emt")  # runs in memory


@pytest.fixture
def launcher(tmp_path):
    """Write a script, and make it the command of MOPAC."""
    with ExitStack() as stack:

        def launcher(text, words=""):
            file = tmp_path / "launch"
            file.write_text(text)
            file.chmod(0o755)
            stack.enter_context(change_settings(commands={"mopac": f"{words} {file}"}))
            return file

        yield launcher


def test_a_command_that_cannot_be_read():
    code = get_code("mopac")
    with change_settings(commands={"mopac": "mopac 'x"}):
        assert "No closing quotation" in code.missing()
        for call in (code.version, lambda: code.check(molecule("H2O"), code.complete({}))):
            with pytest.raises(MissingProgramError, match="commands.mopac.*No closing quotation"):
                call()


def test_a_script_that_cannot_be_started(launcher):
    launcher('exec mopac "$@"\n')
    with pytest.raises(MissingProgramError, match=r"commands.mopac.*Exec format.*#!/bin/sh"):
        get_code("mopac").fingerprint({})


def test_a_program_that_does_not_answer(launcher, monkeypatch):
    monkeypatch.setattr("quacc.calculators.program.PATIENCE", 0.2)
    launcher("#!/bin/sh\nexec sleep 30\n")
    with pytest.raises(MissingProgramError, match=r"commands.mopac.*--version within 0.2 s"):
        get_code("mopac").fingerprint({})


@pytest.mark.parametrize("words", ["", "env"])
def test_a_program_without_a_version_is_known_by_its_content(launcher, words):
    code = get_code("mopac")
    file = launcher("#!/bin/sh\necho one\n", words)
    assert code.version() == "unknown"
    first = code.fingerprint({})
    assert hashlib.sha256(file.read_bytes()).hexdigest() in first
    launcher("#!/bin/sh\necho three\n", words)
    assert code.version() == "unknown"
    assert code.fingerprint({}) != first
    launcher("#!/bin/sh\necho one\n", words)
    assert code.fingerprint({}) == first
    launcher("#!/bin/sh\nprintf 'version 1.2\\377 x\\n'\n", words)  # a version, and no UTF-8
    assert code.version().startswith("1.2")
    assert "sha256" not in code.fingerprint({})


@pytest.mark.mopac
@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"method": "PM8"}, "Did you mean 'PM"),
        ({"method": np.array(["PM7", "PM6"])}, "method"),
        ({"relscf": 0}, "relscf"),
        ({"relscf": np.array([1, 2])}, "relscf"),
        ({"charge": 0.5}, "whole number"),
        ({"charge": np.array([0, 1])}, "whole number"),
        ({"charge": 11}, "number of protons, 10"),
        ({"charge": -(10**30)}, "number of protons, 10"),
        ({"task": "1SCF"}, "no forces"),
        ({"task": "GRADIENTS"}, "relaxes the structure itself"),
        ({"task": "GRADIENTS NO1SCF"}, "relaxes the structure itself"),
        ({"task": np.array(["1SCF", "GRADIENTS"])}, "task"),
    ],
)
def test_mopac_refuses(given, told):
    code = get_code("mopac")
    with pytest.raises(ParameterError, match=told):
        code.check(molecule("H2O"), code.complete(given))


@pytest.mark.mopac
def test_initial_charges_that_mopac_would_ignore():
    code, water = get_code("mopac"), molecule("H2O")
    water.set_initial_charges([1e30, 0, 0])
    with pytest.raises(ParameterError, match="number of protons"):
        code.check(water, code.complete({}))
    water.set_initial_charges([1, 0, 0])
    assert code.check(water, code.complete({})) == []


# The end of what MOPAC 22.0.6 writes for the primitive cell of copper.
_BOX = """
          To over-ride this safety check, add keyword 'GEO-OK'

 ******************************************************************************
 *                                                                            *
 *     Error and normal termination messages reported in this calculation     *
 *                                                                            *
 * One or more translation vectors are unreasonably small                     *
 * JOB ENDED NORMALLY                                                         *
 *                                                                            *
 ******************************************************************************

 TOTAL JOB TIME:             0.00 SECONDS
"""


@pytest.mark.parametrize(
    ("output", "log", "told"),
    [
        (_BOX, "MOPAC Job", "One or more translation vectors are unreasonably small"),
        (" *  UNRECOGNIZED KEY-WORDS: (X)", "", "UNRECOGNIZED KEY-WORDS: (X)"),
        ("no box", "a\n\nsrun: error: lost\n", "a; srun: error: lost"),
        (None, "srun: no nodes.\n", "srun: no nodes"),
        (None, "", "it wrote no output; check that the setting commands.mopac starts it"),
        ("no box", 'MOPAC Job: "mopac.mop" ended normally on Nov 20', None),
    ],
)
def test_mopac_explains_a_failure(tmp_path, output, log, told):
    if output is not None:
        (tmp_path / "mopac.out").write_text(output)
    (tmp_path / "mopac.log").write_text(log)
    assert get_code("mopac").diagnose(tmp_path) == told


@pytest.mark.mopac
def test_mopac_tells_its_version():
    assert get_code("mopac").version()[0].isdigit()


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("abinit", marks=pytest.mark.abinit),
        pytest.param("espresso", marks=pytest.mark.espresso),
        pytest.param("mopac", marks=pytest.mark.mopac),
    ],
)
def test_asking_for_the_version_leaves_nothing_in_the_current_folder(name):
    """pw.x, which wants input, wrote a file named CRASH."""
    program._ask.cache_clear()
    assert get_code(name).version()[0].isdigit()
    assert list(Path.cwd().iterdir()) == []
