"""Phonons by perturbation theory, against matdyn.x, finite differences of forces, and faults."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.constraints import FixAtoms

from quacc.errors import CalculationError, InputError, MissingProgramError
from quacc.recipes import report
from quacc.recipes.espresso.core import dfpt_job, static_job
from quacc.settings import change_settings
from tests.recipes.espresso.test_core import unzipped

pytestmark = pytest.mark.espresso

FIXED = {"occupations": "fixed"}
SILICON = {
    "pseudopotentials": {"Si": "Si.pz-vbc.UPF"},
    "ecutwfc": 12.0,
    "ecutrho": 48.0,
    "kpts": [2, 2, 2],
    "input_data": FIXED,
    "mesh": 20.0,
    "t_step": 100.0,
}
POLAR = {
    **SILICON,
    "pseudopotentials": {"Al": "Al.pz-vbc.UPF", "As": "As.pz-bhs.UPF"},
    "qpoints": [1, 1, 1],
}


def polar():
    return bulk("AlAs", "zincblende", a=5.61)


@pytest.fixture(scope="module")
def of_polar(tmp_path_factory):
    with change_settings(results_dir=str(tmp_path_factory.mktemp("polar"))):
        yield dfpt_job(polar(), **POLAR)


@pytest.fixture(scope="module")
def of_silicon(tmp_path_factory):
    with change_settings(results_dir=str(tmp_path_factory.mktemp("silicon"))):
        yield dfpt_job(bulk("Si", a=5.43), qpoints=[2, 2, 2], **SILICON)


def matdyn(result, folder, points):
    """Return frequencies (THz) that matdyn.x interpolates at Cartesian q-points (2π/alat)."""
    constants = unzipped(Path(result["directory"]) / "force_constants.gz")
    (folder / "force_constants").write_text(constants)
    rows = "\n".join(" ".join(f"{one:.10f}" for one in point) for point in points)
    masses = dict(zip(result["atoms"].symbols, result["atoms"].get_masses(), strict=True))
    amass = ", ".join(f"amass({n})={mass:.10f}" for n, mass in enumerate(masses.values(), 1))
    (folder / "in").write_text(
        f"&input\n flfrc='force_constants', asr='simple', flfrq='found', {amass}\n/\n"
        f"{len(points)}\n{rows}\n"
    )
    subprocess.run(["matdyn.x", "-in", "in"], cwd=folder, check=True, capture_output=True)
    words = (folder / "found").read_text().partition("/")[2].split()
    size = 3 + 3 * len(result["atoms"])
    return np.array(words, float).reshape(len(points), size)[:, 3:] * units.invcm / THZ


THZ = 1e12 * units._hplanck / units._e


def test_bands_are_those_of_matdyn(of_silicon, tmp_path):
    """At their ends; matdyn.x reads what q2r.x has written, phonopy what the job makes of it."""
    cell = of_silicon["atoms"].cell
    ends = np.array([[0, 0, 0], [0.5, 0, 0.5]]) @ cell.reciprocal().array * cell.lengths()[0]
    part = of_silicon["bands"][0]
    assert part["labels"] == ["Γ", "X"]
    found = matdyn(of_silicon, tmp_path, ends)
    np.testing.assert_allclose(found, part["frequencies"][[0, -1]], atol=0.02)
    np.testing.assert_allclose(found[0], of_silicon["gamma_frequencies"], atol=0.02)


def test_longitudinal_modes_split_as_in_matdyn(of_polar, tmp_path):
    """Along Γ-X of a polar crystal, near Γ."""
    [near] = matdyn(of_polar, tmp_path, [[1e-4, 0, 0]])
    found = of_polar["bands"][0]["frequencies"][0]
    np.testing.assert_allclose(found[3:], near[3:], atol=0.02)
    assert found[5] > found[4] + 0.1
    assert of_polar["gamma_frequencies"][5] == pytest.approx(found[4], abs=1e-4)


def test_born_charges_and_dielectric_tensor_are_what_ph_writes(of_polar):
    born = of_polar["born_charges"]
    np.testing.assert_allclose(born.sum(axis=0), 0, atol=1e-9)
    assert born[0, 0, 0] > 1  # of aluminium
    output = unzipped(Path(of_polar["directory"]) / "ph.out.gz")
    rows = output.split("Dielectric constant in cartesian axis")[-1].split()
    assert of_polar["dielectric_tensor"][0, 0] == pytest.approx(float(rows[1]), rel=1e-6)
    assert any("Born charges add up" in text for text in of_polar["warnings"])  # few k-points


def test_gamma_is_a_finite_difference_of_forces(of_silicon):
    """Both without any other assumption than the same SCF."""
    given = {name: SILICON[name] for name in ("pseudopotentials", "ecutwfc", "ecutrho", "kpts")}
    forces = []
    for sign in (1, -1):
        atoms = bulk("Si", a=5.43)
        atoms.positions[0, 0] += sign * 0.01
        data = {**FIXED, "conv_thr": 1e-12}
        result = static_job(atoms, input_data=data, **given)
        forces.append(result["results"]["forces"])
    slope = -(forces[0] - forces[1]) / 0.02
    constant = (slope[0, 0] - slope[1, 0]) / 2  # eV/Å²
    mass = atoms.get_masses()[0] / 2
    terahertz = np.sqrt(constant / mass) / (2 * np.pi) * units.second / 1e12
    assert of_silicon["gamma_frequencies"][3:] == pytest.approx([terahertz] * 3, rel=5e-3)


def test_silicon_s_optical_mode():
    """15.5 THz was measured: Nilsson and Nelin, Phys. Rev. B 6, 3777 (1972)."""
    given = {**SILICON, "kpts": [4, 4, 4], "ecutwfc": 16.0, "ecutrho": 64.0}
    result = dfpt_job(bulk("Si", a=5.43), qpoints=[1, 1, 1], **given)
    assert result["gamma_frequencies"][3:] == pytest.approx([15.5] * 3, rel=0.05)


def test_what_is_stopped_is_continued(of_silicon, tmp_path):
    """ph.x is stopped after each second or so, and ends with what it has in one go."""
    with change_settings(checkpoint_interval=1.0, results_dir=str(tmp_path)):
        parts = dfpt_job(bulk("Si", a=5.43), qpoints=[2, 2, 2], **SILICON)
    text = unzipped(Path(parts["directory"]) / "ph.in.gz")
    assert "recover          = .true." in text
    for found, expected in zip(parts["bands"], of_silicon["bands"], strict=True):
        np.testing.assert_allclose(found["frequencies"], expected["frequencies"], atol=0.02)


def wrapped(folder, body):
    """Return a pw.x with the programs beside it, of which ph.x is this script."""
    for name in ("pw.x", "q2r.x"):
        (folder / name).symlink_to(shutil.which(name))
    script = folder / "ph.x"
    script.write_text(f"#!/bin/sh\n{body}\n")
    script.chmod(0o700)
    return change_settings(commands={"espresso": str(folder / "pw.x")})


def test_a_killed_ph_goes_on(tmp_path):
    """Its second start is killed; the next call has the SCF and the first part of the response."""
    body = f"""echo >> {tmp_path}/starts
if [ "$(wc -l < {tmp_path}/starts)" -eq 2 ]; then kill -9 $$; fi
exec ph.x "$@\""""
    given = {**SILICON, "qpoints": [1, 1, 1], "tr2_ph": 1e-17}
    with wrapped(tmp_path, body), change_settings(checkpoint_interval=1.0):
        with pytest.raises(CalculationError, match="ph.x was killed by SIGKILL"):
            dfpt_job(bulk("Si", a=5.44), **given)
        result = dfpt_job(bulk("Si", a=5.44), **given)
    assert result["provenance"]["attempts"] == 2
    files = {file.name for file in Path(result["directory"]).iterdir()}
    assert "espresso.pwo.gz" not in files  # pw.x did not run again
    assert result["gamma_frequencies"][3:].min() > 10


def test_faults_are_named(tmp_path):
    given = {**SILICON, "qpoints": [1, 1, 1]}
    with pytest.raises(CalculationError, match="ph.x did not converge in 2 iterations"):
        dfpt_job("Si", input_ph={"niter_ph": 2}, **given)
    data = {**FIXED, "electron_maxstep": 1}
    with pytest.raises(CalculationError, match="SCF did not converge"):
        dfpt_job("Si", **{**given, "input_data": data})
    with wrapped(tmp_path, "echo JOB DONE"):
        with pytest.raises(CalculationError, match="not written its list of q-points"):
            dfpt_job("Si", **given)


def test_programs_that_are_not_there(tmp_path):
    (tmp_path / "pw.x").symlink_to("/usr/bin/pw.x")
    with (
        change_settings(commands={"espresso": str(tmp_path / "pw.x")}),
        pytest.raises(MissingProgramError, match="ph.x is not beside pw.x"),
    ):
        dfpt_job.plan("Si", **SILICON).check()


def test_smeared_insulators_are_told():
    given = {**SILICON, "qpoints": [1, 1, 1], "input_data": {}}
    result = dfpt_job("Si", **given)
    assert result["born_charges"] is None
    assert any("no Born charges" in text for text in result["warnings"])


def test_summary_table_and_figure(of_polar, tmp_path):
    assert "dielectric constant of the electrons" in report.summary(of_polar)
    assert report.table(of_polar)[0]["temperature (K)"] == 0
    left, _ = report.plot(of_polar, tmp_path / "phonons.png").axes
    assert left.get_ylabel() == "frequency (THz)"
    assert "Baroni" in report.citations(of_polar)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"qpoints": [2, 1, 1]}, "has not the symmetry"),
        ({"qpoints": [2, 2]}, "qpoints must be three whole numbers"),
        ({"tr2_ph": 0}, "tr2_ph"),
        ({"input_ph": {"epsil": True}}, "cannot set epsil"),
        ({"input_ph": {"niter": 3}}, "no keyword 'niter'"),
        ({"input_ph": 3}, "dictionary"),
        ({"input_data": {"assume_isolated": "mt"}}, "knows no assume_isolated"),
        ({"input_data": {"occupations": "tetrahedra"}}, "no response of occupations"),
        ({"input_data": {"tot_charge": 1}}, "neutral crystal"),
        ({"input_data": {"tefield": True}}, "knows no tefield"),
    ],
)
def test_bad_input(more, words):
    with pytest.raises(InputError, match=words):
        dfpt_job.plan("Si", **{**SILICON, **more}).check()


def test_structures_that_are_refused():
    fixed, layer = bulk("Si"), bulk("Si")
    fixed.set_constraint(FixAtoms([0]))
    layer.pbc = [True, True, False]
    for atoms, words in ((fixed, "remove the constraints"), (layer, "three directions")):
        with pytest.raises(InputError, match=words):
            dfpt_job.plan(atoms, **SILICON).check()
