"""A code that writes files: where they go, what happens when it fails."""

import gzip
import os
import re
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.mopac import MOPAC
from ase.thermochemistry import HarmonicThermo
from ase.units import invcm, kcal, mol

from quacc.errors import CalculationError, MissingProgramError, ParameterError
from quacc.recipes import workflows
from quacc.recipes.emt.core import static_job as emt_static
from quacc.recipes.mopac.core import freq_job, md_job, relax_job, static_job
from quacc.recipes.tools.workflow import with_calculator
from quacc.settings import change_settings, get_settings

elastic_flow = with_calculator(workflows.elastic_flow, "mopac")
reaction_flow = with_calculator(workflows.reaction_flow, "mopac")
qha_flow = with_calculator(workflows.qha_flow, "mopac")

pytestmark = pytest.mark.mopac


def test_same_as_plain_ase_and_as_the_program_prints(tmp_path):
    result = static_job("H2O")
    plain = molecule("H2O")
    plain.calc = MOPAC(label=str(tmp_path / "mopac"), command="mopac PREFIX.mop > /dev/null")
    assert result["results"]["energy"] == pytest.approx(plain.get_potential_energy(), abs=1e-10)
    np.testing.assert_allclose(result["results"]["forces"], plain.get_forces(), atol=1e-10)
    with gzip.open(Path(result["directory"]) / "mopac.out.gz", "rt") as output:
        printed = re.search(r"FINAL HEAT OF FORMATION =\s+(\S+) KCAL", output.read())
    assert result["results"]["energy"] == pytest.approx(float(printed[1]) * kcal / mol, abs=1e-6)
    # -57.8 kcal/mol is the experimental value: Chase, NIST-JANAF Tables, 4th ed. (1998).
    assert float(printed[1]) == pytest.approx(-57.8, abs=1.0)


def test_files_are_kept_compressed_under_the_name_of_the_calculation():
    result = static_job("H2O")
    results = get_settings().results_dir
    assert Path(result["directory"]) == results / f"H2O-mopac.static_job-{result['key']}"
    names = {file.name for file in Path(result["directory"]).iterdir()}
    assert {"mopac.mop.gz", "mopac.out.gz"} <= names
    assert all(name.endswith(".gz") for name in names)
    assert list(get_settings().scratch.iterdir()) == []
    assert [entry.name for entry in results.iterdir()] == [Path(result["directory"]).name]
    assert list(Path.cwd().iterdir()) == []


def test_uncompressed_on_request():
    with change_settings(compress=False):
        result = static_job("H2O")
    assert (Path(result["directory"]) / "mopac.out").is_file()


def test_repeating_replaces_the_folder():
    first = static_job("H2O")
    (Path(first["directory"]) / "mine").write_text("")
    assert static_job("H2O")["directory"] == first["directory"]
    assert not (Path(first["directory"]) / "mine").exists()


def test_a_relaxation():
    result = relax_job("H2O", fmax=0.01)
    assert result["converged"]
    assert np.linalg.norm(result["results"]["forces"], axis=1).max() < 0.01
    assert result["results"]["energy"] < static_job("H2O")["results"]["energy"]


def test_vibrations_are_those_of_mopac_s_own_force_calculation(tmp_path):
    relaxed = relax_job("H2O", fmax=0.001)
    found = freq_job(relaxed)["frequencies"]
    lines = ["PM7 FORCE RELSCF=0.0001", "", ""]
    for atom in relaxed["atoms"]:
        lines.append(f"{atom.symbol} {atom.x:.8f} 1 {atom.y:.8f} 1 {atom.z:.8f} 1")
    (tmp_path / "water.mop").write_text("\n".join([*lines, ""]))
    subprocess.run(["mopac", tmp_path / "water.mop"], check=True)
    printed = re.findall(r"FREQUENCY\s+(\S+)", (tmp_path / "water.out").read_text())
    np.testing.assert_allclose(found, [float(number) for number in printed], atol=1.5)


THERMO = r"(?s) (\d+\.00)  VIB\..*?TOT\.\s+(\S+)\s+\S+\s+\S+\s+(\S+)\n"


@pytest.mark.parametrize("name", ["H2O", "NH3", "C2H4"])
def test_thermochemistry_is_that_of_mopac_itself(name, tmp_path):
    """Heats of formation hold zero-point and thermal energy at 298 K already:
    http://openmopac.net/manual/calc_of_hof.html."""
    relaxed = relax_job(name, fmax=0.001)
    lines = ["PM7 FORCE THERMO(200,400,200) RELSCF=0.0001", "", ""]
    for atom in relaxed["atoms"]:
        lines.append(f"{atom.symbol} {atom.x:.8f} 1 {atom.y:.8f} 1 {atom.z:.8f} 1")
    (tmp_path / "gas.mop").write_text("\n".join([*lines, ""]))
    subprocess.run(["mopac", tmp_path / "gas.mop"], check=True)
    printed = re.findall(THERMO, (tmp_path / "gas.out").read_text())
    assert [float(row[0]) for row in printed] == [298, 200, 400]
    for kelvin, heat, entropy in np.array(printed, dtype=float):
        thermo = freq_job(relaxed, temperature=kelvin, pressure=1.01325)["thermo"]  # 1 atm
        assert thermo["enthalpy"] * mol / kcal == pytest.approx(heat, abs=0.01)
        assert thermo["entropy"] * 1e3 * mol / kcal == pytest.approx(entropy, rel=0.005)
        assert thermo["gibbs_energy"] == pytest.approx(
            thermo["enthalpy"] - kelvin * thermo["entropy"]
        )
        assert thermo["zero_point_energy"] > 0.4
    standard = freq_job(relaxed)
    energy = standard["results"]["energy"]
    assert standard["thermo"]["enthalpy"] == pytest.approx(energy, abs=1e-10)
    fixed = freq_job(relaxed, thermo="harmonic")["thermo"]
    assert fixed["internal_energy"] == pytest.approx(energy, abs=1e-10)
    warm = freq_job(relaxed, thermo="harmonic", temperature=400)["thermo"]
    energies = standard["frequencies"] * invcm
    gain = [HarmonicThermo(energies).get_internal_energy(T, verbose=False) for T in (298.15, 400)]
    assert warm["internal_energy"] - energy == pytest.approx(gain[1] - gain[0], abs=1e-8)
    assert warm["helmholtz_energy"] == pytest.approx(
        warm["internal_energy"] - 400 * warm["entropy"]
    )


def test_a_reaction_s_enthalpy_is_the_difference_of_heats_of_formation():
    result = reaction_flow("N2 + 3 H2 -> 2 NH3")
    assert result["reaction_enthalpy"] == pytest.approx(result["reaction_energy"], abs=1e-9)
    assert result["reaction_zero_point_energy"] > 0.4
    heats = {one["name"]: one["energy"] for one in result["species"]}
    expected = 2 * heats["NH3"] - heats["N2"] - 3 * heats["H2"]
    assert result["reaction_enthalpy"] == pytest.approx(expected, abs=1e-9)


def test_dynamics_keep_the_energy():
    history = md_job("H2O", steps=32, timestep=0.5)["history"]
    total = history["energy"] + history["kinetic_energy"]
    assert np.ptp(total) < 0.05 * np.ptp(history["kinetic_energy"])


def test_vibrations_are_in_the_energy_already():
    with pytest.raises(ParameterError, match="MOPAC .* enthalpies at 298.15 K"):
        qha_flow("Si", relax_job=None, min_length=5)


def test_elastic_constants_without_stresses_are_refused_before_anything_is_computed():
    with pytest.raises(ParameterError, match="MOPAC .* gives no stress.*pass from_energy=True"):
        elastic_flow("Si", relax_job=None)
    with pytest.raises(ParameterError, match="computes no stress.* relax_cell must be False"):
        relax_job("Si", relax_cell=True)


def test_failure_keeps_the_files_and_reports():
    with pytest.raises(CalculationError, match=r"UNRECOGNIZED KEY-WORDS: \(NONSENSE\)") as caught:
        static_job("H2O", task="1SCF GRADIENTS NONSENSE")
    folder = Path(caught.value.directory)
    assert folder.parent == get_settings().results_dir
    assert folder.name.endswith("-failed")
    assert str(folder) in str(caught.value)
    assert "Traceback" in (folder / "error.txt").read_text()
    with gzip.open(folder / "mopac.mop.gz", "rt") as given:
        assert "NONSENSE" in given.read()
    assert caught.value.atoms == molecule("H2O")
    assert list(get_settings().scratch.iterdir()) == []


def test_success_clears_an_earlier_failure(tmp_path):
    # A launcher that fails once, as a node with a fault would.
    launcher = tmp_path / "launch"
    launcher.write_text(f'#!/bin/sh\n[ -e {tmp_path}/ok ] || exit 3\nexec mopac "$@"\n')
    launcher.chmod(0o755)
    with change_settings(commands={"mopac": str(launcher)}):
        with pytest.raises(CalculationError) as caught:
            static_job("H2O")
        (tmp_path / "ok").touch()
        static_job("H2O")
    assert not Path(caught.value.directory).exists()


def test_a_missing_program_is_refused_before_anything_is_written():
    with change_settings(commands={"mopac": "no-such-mopac"}):
        with pytest.raises(MissingProgramError, match=r"commands\.mopac"):
            static_job("H2O")
    assert not get_settings().results_dir.exists()
    assert not get_settings().scratch.exists()


def test_copy_files_from_an_earlier_result():
    first = static_job("H2O")
    plain = relax_job("H2O")
    copied = relax_job("H2O", copy_files=first)
    one = relax_job("H2O", copy_files={first["directory"]: ["mopac.arc"]})
    folder = relax_job("H2O", copy_files=Path(first["directory"]))
    assert len({plain["key"], copied["key"], one["key"]}) == 3
    assert folder["key"] == copied["key"]
    assert copied["results"]["energy"] == pytest.approx(plain["results"]["energy"], abs=1e-4)


def test_copied_files_arrive_unpacked(tmp_path):
    first = static_job("H2O")
    # Keep what the program finds in its folder when it starts.
    launcher = tmp_path / "launch"
    launcher.write_text(f'#!/bin/sh\ncp mopac.arc {tmp_path}/seen 2> /dev/null\nexec mopac "$@"\n')
    launcher.chmod(0o755)
    with change_settings(commands={"mopac": str(launcher)}):
        relax_job("H2O", steps=1, copy_files={first["directory"]: ["mopac.arc"]})
    with gzip.open(Path(first["directory"]) / "mopac.arc.gz") as kept:
        assert len(kept.read()) == (tmp_path / "seen").stat().st_size > 0


@pytest.mark.parametrize(
    ("copy_files", "told"),
    [
        ("/no/such/folder", "no folder '/no/such/folder'"),
        ({"/no/such/folder": ["a"]}, "no folder"),
        (3, "must be an earlier result"),
        ([1], "must be an earlier result"),
        ("", "must be an earlier result"),
        ({"/tmp": [""]}, "must be an earlier result"),
        ({"/tmp": ["/etc/passwd"]}, "must be an earlier result"),
        ({"/tmp": ["../x"]}, "must be an earlier result"),
        ({"/tmp": [3]}, "must be an earlier result"),
        ({"/tmp": None}, "must be an earlier result"),
        ({3: ["x"]}, "must be an earlier result"),
        ("~nouser/x", "no folder"),
    ],
)
def test_wrong_copy_files(copy_files, told):
    with pytest.raises(ParameterError, match=told):
        static_job("H2O", copy_files=copy_files)


def test_copy_files_that_are_not_there(tmp_path):
    (tmp_path / "held").touch()
    with pytest.raises(ParameterError, match="no file 'wanted' in .*, which holds held"):
        static_job("H2O", copy_files={tmp_path: ["wanted"]})
    with pytest.raises(ParameterError, match="runs in memory|code runs"):
        static_job("H2O", copy_files=emt_static("Cu"))


def test_provenance_counts_the_program_s_time():
    provenance = relax_job("H2O")["provenance"]
    assert provenance["wall_seconds"] > 0
    assert provenance["cpu_seconds"] > 0


def test_many_at_once_do_not_meet():
    done, errors = [], []

    def run():
        try:
            done.append(static_job("H2O")["results"]["energy"])
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(set(done)) == 1
    assert len(list(get_settings().results_dir.iterdir())) == 1


def test_ctrl_c_keeps_the_files(tmp_path):
    launcher = tmp_path / "launch"
    launcher.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && exit\ntouch {tmp_path}/started\nexec sleep 60\n'
    )
    launcher.chmod(0o755)
    code = "from quacc.recipes.mopac.core import static_job; static_job('H2O')"
    environment = {**os.environ, "QUACC_COMMANDS__MOPAC": str(launcher)}
    process = subprocess.Popen(
        ["python", "-c", code], env=environment, stderr=subprocess.PIPE, start_new_session=True
    )
    while not (tmp_path / "started").exists():
        assert process.poll() is None
    os.killpg(process.pid, 2)
    _, told = process.communicate(timeout=20)
    assert b"KeyboardInterrupt" in told
    (folder,) = get_settings().results_dir.iterdir()
    assert folder.name.endswith("-failed")
    assert "KeyboardInterrupt" in (folder / "error.txt").read_text()


def test_mopac_s_own_words_for_a_crystal_it_refuses():
    with pytest.raises(CalculationError, match="translation vectors are unreasonably small"):
        static_job("Cu")


def test_a_launcher_that_dies(tmp_path):
    launcher = tmp_path / "launch"
    launcher.write_text("#!/bin/sh\necho launcher: no licence >&2\n")
    launcher.chmod(0o755)
    with change_settings(commands={"mopac": str(launcher)}):
        with pytest.raises(CalculationError, match="failed: launcher: no licence"):
            static_job("H2O")


def test_earlier_output_is_not_taken_for_that_of_a_silent_failure(tmp_path):
    earlier = static_job("H2O")
    launcher = tmp_path / "launch"
    launcher.write_text('#!/bin/sh\n[ "$1" = --version ] && exec mopac --version\nexit 0\n')
    launcher.chmod(0o755)
    with change_settings(commands={"mopac": str(launcher)}), pytest.raises(CalculationError):
        static_job("H2O", copy_files=earlier)


@pytest.mark.parametrize(
    "content",
    [b"no gzip", gzip.compress(b"cut short" * 99)[:20]],
    ids=["no gzip", "cut short"],
)
def test_a_damaged_file_to_copy_is_refused(tmp_path, content):
    (tmp_path / "mopac.arc.gz").write_bytes(content)
    with pytest.raises(ParameterError, match=r"mopac\.arc\.gz' cannot be read"):
        static_job("H2O", copy_files=tmp_path)
