"""Quantum ESPRESSO, against its own output, plain ASE, and what goes wrong."""

import gzip
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from quacc.calculators.codes.espresso import CODE, _candidates, _functional, _moments
from quacc.errors import (
    CalculationError,
    InputError,
    MissingProgramError,
    ParameterError,
    StructureError,
)
from quacc.recipes import workflows
from quacc.recipes.espresso.core import relax_job, static_job
from quacc.recipes.tools.workflow import with_calculator
from quacc.settings import change_settings

pytestmark = pytest.mark.espresso

eos_flow = with_calculator(workflows.eos_flow, "espresso")

SILICON = {"pseudopotentials": {"Si": "Si.pz-vbc.UPF"}, "ecutwfc": 16.0, "ecutrho": 64.0}
FAST = {**SILICON, "kpts": [2, 2, 2]}


def unzipped(file):
    with gzip.open(file, "rt") as stream:
        return stream.read()


def test_silicon_is_what_pw_prints():
    result = static_job("Si", **FAST)
    assert result["calculator"]["name"] == "espresso"
    assert re.match(r"espresso \d+\.\d", result["calculator"]["fingerprint"])
    folder = Path(result["directory"])
    output = unzipped(folder / "espresso.pwo.gz")
    rydberg = float(re.findall(r"!\s+total energy\s+=\s+(\S+) Ry", output)[-1])
    assert result["results"]["energy"] == pytest.approx(rydberg * 13.605693, abs=1e-4)
    kbar = float(re.findall(r"P=\s*(\S+)", output)[-1])
    pressure = -result["results"]["stress"][:3].mean() * 1602.1766
    assert pressure == pytest.approx(kbar, abs=0.1)
    assert result["parameters"]["pseudopotentials"] == {"Si": "Si.pz-vbc.UPF"}


def test_forces_are_derivatives_of_the_energy():
    atoms = bulk("Si")
    atoms.rattle(0.05, seed=1)
    energies = []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions[0, 0] += sign * 0.01
        energies.append(static_job(moved, **FAST)["results"]["energy"])
    force = -(energies[0] - energies[1]) / 0.02
    assert static_job(atoms, **FAST)["results"]["forces"][0, 0] == pytest.approx(force, abs=5e-3)


def test_forces_on_fixed_atoms_are_kept():
    from ase.constraints import FixAtoms

    atoms = bulk("Si")
    atoms.rattle(0.05, seed=1)
    free = static_job(atoms, **FAST)["results"]["forces"]
    atoms.set_constraint(FixAtoms([0]))
    np.testing.assert_allclose(static_job(atoms, **FAST)["results"]["forces"], free, atol=1e-3)


def test_positions_and_cell_are_relaxed():
    atoms = bulk("Si", a=5.3)
    atoms.rattle(0.03, seed=2)
    result = relax_job(atoms, relax_cell=True, fmax=0.03, **FAST)
    assert result["converged"]
    again = static_job(result, **FAST)
    assert np.abs(again["results"]["forces"]).max() < 0.03
    # The basis is fixed while the cell changes, so that a little stress is left (Pulay).
    assert np.abs(again["results"]["stress"]).max() < 0.03


def test_an_equation_of_state():
    """Measured: 5.431 Å and 98.8 GPa (Kittel); LDA comes within some per cent."""
    options = {**SILICON, "kpts": [4, 4, 4]}
    result = eos_flow("Si", relax_job=None, static_kwargs=options, points=5, step=0.015)
    assert result["bulk_modulus"] == pytest.approx(98.8, rel=0.08)
    assert (4 * result["volume"]) ** (1 / 3) == pytest.approx(5.431, rel=0.01)


def test_steps_start_from_the_density_before():
    atoms = bulk("Si")
    atoms.rattle(0.1, seed=3)
    result = relax_job(atoms, fmax=0.02, **FAST)
    assert result["steps"] > 1
    text = unzipped(Path(result["directory"]) / "espresso.pwi.gz")
    assert not (Path(result["directory"]) / "out").exists()  # gigabytes that nobody needs
    assert re.search(r"startingpot\s*=\s*'file'", text)


PROGRAM = """
import sys
from ase.build import bulk
from quacc.recipes.espresso.core import relax_job
from quacc.settings import change_settings

atoms = bulk("Si")
atoms.rattle(0.2, seed=4)
with change_settings(checkpoint_interval=0.01):
    result = relax_job(atoms, fmax=0.005, **{options})
print("RESULT", result["steps"], result["provenance"]["attempts"], result["results"]["energy"])
"""


# Its fourth calculation does not begin: three steps have ended.
HELD = """#!/bin/sh
folder=$(dirname "$0")
case "$*" in
*.pwi*)
    echo >> "$folder/calculations"
    if [ "$(wc -l < "$folder/calculations")" -eq 4 ]; then
        touch "$folder/held"
        exec sleep 600
    fi
esac
exec pw.x "$@"
"""


def test_a_killed_pw_goes_on_from_its_last_geometry_and_density(tmp_path):
    program = PROGRAM.replace("{options}", repr(FAST))
    wrapper = tmp_path / "pw"
    wrapper.write_text(HELD)
    wrapper.chmod(0o700)
    started = subprocess.Popen(
        [sys.executable, "-c", program],
        env=os.environ | {"QUACC_COMMANDS__ESPRESSO": str(wrapper)},
        start_new_session=True,
    )
    end = time.monotonic() + 120
    try:
        while not (tmp_path / "held").exists():
            assert started.poll() is None
            assert time.monotonic() < end
            time.sleep(0.1)
    finally:
        os.killpg(started.pid, 9)
        started.wait()
    again = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    steps, attempts, energy = again.stdout.split("RESULT")[1].split()
    assert int(attempts) == 2
    whole = relax_job(_rattled(), fmax=0.005, **FAST)
    assert float(energy) == pytest.approx(whole["results"]["energy"], abs=2e-3)
    assert int(steps) <= whole["steps"] + 3


def _rattled():
    atoms = bulk("Si")
    atoms.rattle(0.2, seed=4)
    return atoms


def test_a_missing_program_is_named():
    with change_settings(commands={"espresso": "/no/pw.x"}):
        with pytest.raises(MissingProgramError, match=r"commands\.espresso"):
            static_job("Si", **FAST)


def test_a_missing_folder_of_pseudopotentials_is_named():
    with change_settings(pseudopotentials={"espresso": "/no/pseudo"}):
        with pytest.raises(
            (ParameterError, MissingProgramError), match="pseudopotentials.espresso"
        ):
            static_job("Si", **FAST)
        assert "/no/pseudo" in CODE.missing()


def test_a_missing_pseudopotential_is_named():
    with pytest.raises(ParameterError, match=r"no pseudopotential 'Si.nothing.UPF'.*Si.pz-vbc.UPF"):
        static_job("Si", pseudopotentials={"Si": "Si.nothing.UPF"})
    with pytest.raises(ParameterError, match="no pseudopotentials for Ag"):
        static_job("Ag")
    with pytest.raises(ParameterError, match=r"Choose one: pseudopotentials=\{'Si'"):
        static_job("Si")


def test_a_broken_pseudopotential_is_told_in_pws_own_words(tmp_path):
    (tmp_path / "Si.broken.UPF").write_text("nothing")
    with change_settings(pseudopotentials={"espresso": str(tmp_path)}):
        with pytest.raises(CalculationError, match=r"(?i)readpp|read_upf|pseudo"):
            static_job("Si", ecutwfc=10, kpts=[1, 1, 1])


def test_an_scf_that_does_not_converge_is_named():
    hard = {"electron_maxstep": 2, "conv_thr": 1e-30}
    with pytest.raises(CalculationError, match=r"did not converge in 8 iterations.*mixing_beta"):
        static_job("Si", **FAST, input_data=hard)


def test_an_scf_that_does_not_converge_at_first_is_mixed_less():
    few = {"electron_maxstep": 4}
    mended, plain = static_job("Si", **FAST, input_data=few), static_job("Si", **FAST)
    assert mended["results"]["energy"] == pytest.approx(plain["results"]["energy"], abs=1e-6)
    assert mended["parameters"]["input_data"] == few  # what was asked for
    [told] = [text for text in mended["warnings"] if "SCF" in text]
    assert "did not converge; tried again with mixing_beta=0.35 and electron_maxstep=8" in told


@pytest.mark.parametrize(
    ("hard", "mended_by"),
    [
        ({"diagonalization": "cg", "diago_cg_maxiter": 1}, "david"),
        ({"diago_thr_init": 1e-30, "diago_david_ndim": 2}, "ppcg"),
    ],
)
def test_a_diagonalization_that_fails_is_done_in_another_way(hard, mended_by):
    mended, plain = static_job("Si", **FAST, input_data=hard), static_job("Si", **FAST)
    assert mended["results"]["energy"] == pytest.approx(plain["results"]["energy"], abs=1e-6)
    [told] = mended["warnings"]
    assert told.endswith(
        f"diagonalization of pw.x failed; tried again with diagonalization={mended_by}."
    )


def test_an_scf_that_need_not_converge_is_refused():
    """pw.x would return its last energy as if it were one."""
    for data in ({"scf_must_converge": False}, {"electrons": {"SCF_must_converge": False}}):
        with pytest.raises(ParameterError, match="not converged are no result"):
            static_job("Si", **FAST, input_data=data)


@pytest.mark.parametrize(
    ("atoms", "more", "words"),
    [
        ("Si", {"input_data": {"max_seconds": 0.01}}, "stopped at max_seconds"),
        ("Si", {"npool": 3}, "invalid number of pools.*npool may exceed neither"),
        (
            Atoms("H", cell=[3, 3, 3], pbc=True),
            {
                "pseudopotentials": {"H": "H.pz-vbc.UPF"},
                "input_data": {"occupations": "fixed"},
                "kpts": [1, 1, 1],
            },
            "charge is wrong.*fixed occupations are for insulators",
        ),
    ],
)
def test_failures_that_only_the_user_can_mend(atoms, more, words):
    with pytest.raises(CalculationError, match=words):
        static_job(atoms, **{**FAST, **more})


ALUMINIUM = {"pseudopotentials": {"Al": "Al.pz-vbc.UPF"}, "ecutwfc": 12.0, "kpts": [2, 2, 2]}


def test_too_few_bands_are_more_at_the_second_try():
    hot = {"degauss": 0.6}
    mended = static_job(bulk("Al"), **ALUMINIUM, input_data=hot)
    plain = static_job(bulk("Al"), **ALUMINIUM, input_data={**hot, "nbnd": 30})
    assert mended["results"]["energy"] == pytest.approx(plain["results"]["energy"], abs=1e-5)
    assert mended["parameters"]["input_data"] == hot
    [told] = mended["warnings"]
    assert re.match(r"The highest band of pw.x was not empty; tried again with nbnd=\d+", told)
    assert plain["warnings"] == []


def test_too_few_bands_that_were_asked_for_are_refused():
    """pw.x says nothing, and its energy is wrong."""
    for more in ({"nbnd": 2}, {"nbnd": 2, "occupations": "tetrahedra_opt"}):
        with pytest.raises(CalculationError, match="highest of the 2 bands of pw.x is filled to"):
            static_job(bulk("Al"), **ALUMINIUM, input_data=more)
    negative = {"smearing": "mp", "degauss": 0.25, "nbnd": 8}
    with pytest.raises(CalculationError, match="highest of the 8 bands of pw.x is filled to"):
        static_job(bulk("Al"), **{**ALUMINIUM, "kpts": [1, 1, 1]}, input_data=negative)
    fixed = {"occupations": "fixed", "nbnd": 4}  # none is empty, and none has to be
    assert static_job("Si", **FAST, input_data=fixed)["warnings"] == []


def test_what_has_no_reason_shows_the_last_lines(tmp_path):
    script = tmp_path / "pw.x"
    script.write_text('#!/bin/sh\npw.x "$@" | head -40\nexit 3\n')
    script.chmod(0o755)
    with change_settings(commands={"espresso": str(script)}):
        with pytest.raises(CalculationError, match="no error; its last lines are") as told:
            static_job("Si", **FAST)
    assert "Program PWSCF" in unzipped(Path(told.value.directory, "espresso.pwo.gz"))


def test_pools_are_no_part_of_the_question():
    # Packages of Python's may bring an mpirun of another MPI.
    mpirun = shutil.which("mpirun.openmpi") or "mpirun"
    launcher = f"{mpirun} --allow-run-as-root --oversubscribe -n 2"
    with change_settings(launcher=launcher):
        result = static_job("Si", **FAST, npool=2)
    assert result["key"] == static_job.plan("Si", **FAST).key
    assert result["provenance"]["options"] == {"npool": 2}
    output = unzipped(Path(result["directory"]) / "espresso.pwo.gz")
    assert re.search(r"K-points division:\s+npool\s+=\s+2", output)
    alone = static_job("Si", **FAST)
    assert result["results"]["energy"] == pytest.approx(alone["results"]["energy"], abs=1e-6)


def test_an_unknown_keyword_of_pw_is_told_in_its_own_words():
    with pytest.raises((CalculationError, InputError), match="(?i)nonsense|namelist"):
        static_job("Si", **FAST, input_data={"system": {"nonsense": 3}})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"calculation": "relax"}, "cannot set calculation of &CONTROL to 'relax'"),
        ({"CONTROL": {"Calculation": "vc-relax"}}, "cannot set calculation"),
        ({"control": {"outdir": "there"}}, "cannot set outdir"),
        ({"mixing_bta": 0.3}, "Did you mean 'mixing_beta'"),
        ({"system": 3}, "'system' cannot be 3"),
        ({"mixing_beta": {}}, "'mixing_beta' cannot be"),
        ({1: 2}, "1 cannot be 2"),
    ],
)
def test_keywords_of_pw_that_are_not_the_users(data, message):
    with pytest.raises(ParameterError, match=message):
        static_job("Si", **FAST, input_data=data)


def test_functionals_are_not_mixed():
    atoms = bulk("SiC", "zincblende", a=4.36)
    with pytest.raises(ParameterError, match="different functionals"):
        static_job(atoms, pseudopotentials={"Si": "Si.pz-vbc.UPF", "C": "C.pbe-rrkjus.UPF"})


def test_the_pseudopotential_is_part_of_the_key(tmp_path):
    one = static_job("Si", **FAST)["key"]
    other = static_job("Si", **{**FAST, "pseudopotentials": {"Si": "Si.pbe-rrkj.UPF"}})["key"]
    assert one != other
    copy = tmp_path / "Si.pz-vbc.UPF"
    copy.write_bytes((CODE.folder() / "Si.pz-vbc.UPF").read_bytes())
    with change_settings(pseudopotentials={"espresso": str(tmp_path)}):
        assert static_job("Si", **FAST)["key"] == one  # the same file elsewhere
        copy.write_bytes(copy.read_bytes() + b"\n")
        assert static_job("Si", **FAST)["key"] != one


def test_a_molecule_needs_a_cell():
    with pytest.raises(StructureError, match=r"center\(vacuum=6\)"):
        static_job(molecule("H2"), pseudopotentials={"H": "H.pz-vbc.UPF"})


def test_names_of_elements_are_not_mixed_up():
    assert all(name[:2] != "Co" for name in _candidates(CODE.folder(), "C"))
    assert _functional(CODE.folder() / "Si.pz-vbc.UPF", 0) == "PZ"
    assert _functional(CODE.folder() / "Si.pbe-rrkj.UPF", 0) == "PBE"


def test_the_launcher_starts_it():
    with change_settings(launcher="env QUACC_TEST=1"):
        assert static_job("Si", **FAST)["results"]["energy"] < 0


HYDROGEN = {"pseudopotentials": {"H": "H.pz-vbc.UPF"}, "ecutwfc": 20, "kpts": (1, 1, 1)}


def test_magnetic_moments_are_those_that_pw_prints():
    """pw.x 6.7 prints magn: 0.9911, and a total magnetization of 1.00."""
    atom = Atoms("H", [[3, 3, 3]], cell=[6, 6, 6], pbc=True, magmoms=[1.0])
    results = static_job(atom, **HYDROGEN)["results"]
    assert results["magmoms"] == pytest.approx([0.9911], abs=1e-3)
    assert results["magmom"] == pytest.approx(1.0, abs=0.01)
    atom.set_initial_magnetic_moments(None)
    assert "magmoms" not in static_job(atom, **HYDROGEN)["results"]


@pytest.mark.parametrize(
    ("output", "moments"),
    [
        (
            "     atom:    1    charge:    0.6744    magn:    0.9911    constr:    0.0000\n",
            [0.9911],
        ),
        ("     atom   1 (R=0.357)  charge=  0.6744  magn=  0.9911\n", [0.9911]),
        (
            "     atom   1 (R=0.3)  charge=  0.67  magn= -0.5\n"
            "     atom   2 (R=0.3)  charge=  0.6  magn=  0.25\n",
            [-0.5, 0.25],
        ),
        ("", None),
    ],
)
def test_moments_of_old_and_new_releases(output, moments):
    found = _moments(output, len(moments or [0]))
    assert (found.get("magmoms").tolist() if moments else found) == (moments or {})


def test_charges_of_the_structure_are_the_total_charge():
    atoms = Atoms("H2", [[3, 3, 2.63], [3, 3, 3.37]], cell=[6, 6, 6], pbc=True)
    right = static_job(atoms, input_data={"tot_charge": 1}, **HYDROGEN)["results"]["energy"]
    cation = atoms.copy()
    cation.set_initial_charges([0.5, 0.5])
    result = static_job(cation, **HYDROGEN)
    assert result["results"]["energy"] == pytest.approx(right, abs=1e-6)
    assert result["parameters"]["input_data"] == {"tot_charge": 1}
    alone = cation.copy()
    alone.pbc = False
    with pytest.raises(StructureError, match="and a charge"):
        static_job(alone, **HYDROGEN)
    box = atoms.copy()
    box.pbc = False
    assert any("repeats the molecule" in text for text in static_job(box, **HYDROGEN)["warnings"])


def test_numbers_of_numpy_reach_the_input_as_numbers():
    options = {**SILICON, "ecutwfc": np.arange(12.0, 20, 4)[0], "kpts": np.array([1, 1, 1])}
    data = {"system": {"degauss": np.float32(0.25), "nosym": np.bool_(True)}}
    result = static_job("Si", **{**options, "input_data": data})
    same = static_job(
        "Si",
        **{**SILICON, "ecutwfc": 12.0, "kpts": (1, 1, 1)},
        input_data={"system": {"degauss": 0.25, "nosym": True}},
    )
    assert result["key"] == same["key"]
    assert "np." not in unzipped(Path(result["directory"]) / "espresso.pwi.gz")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"ibrav": 2}, "ibrav"),
        ({"system": {"celldm(1)": 10.2}}, "celldm"),
        ({"nat": 3}, "nat"),
        ({"starting_magnetization(1)": 0.5}, "starting_magnetization"),
    ],
)
def test_what_the_structure_decides(data, message):
    with pytest.raises(ParameterError, match=message):
        static_job("Si", input_data=data, **FAST)


def test_errors_before_the_first_line_of_output_are_told(tmp_path):
    """Of pw.x itself, of the dynamic linker, and of what ASE refuses to write."""
    with pytest.raises(CalculationError, match="read_namelists|bad line in namelist"):
        static_job("Si", input_data={"system": {"ecutfok_typo": 3}}, **FAST)
    program = tmp_path / "pw"
    program.write_text(
        "#!/bin/sh\necho 'pw.x: error while loading shared libraries: libmpi.so.40' >&2\n"
        "echo '-------' >&2\necho 'mpirun noticed that process rank 0 exited' >&2\nexit 127\n"
    )
    program.chmod(0o755)
    with change_settings(commands={"espresso": str(program)}):
        with pytest.raises(CalculationError, match="failed: .*libmpi.so.40"):
            static_job("Si", **FAST)
        program.write_text("#!/bin/sh\nexit 1\n")
        with pytest.raises(CalculationError, match="it wrote no output"):
            static_job("Si", **FAST)
    with pytest.raises(CalculationError) as told:
        static_job("Si", **{**FAST, "input_data": {"system": {"nspin": [1, {}]}}})
    assert "no output" not in str(told.value)
