"""Slabs with Quantum ESPRESSO: the dipole correction, and work functions."""

import re
from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.build import add_adsorbate, bulk, fcc100

from quacc.errors import InputError, MissingProgramError, ParameterError, StructureError
from quacc.recipes import report
from quacc.recipes.espresso.core import static_job, work_function_job
from quacc.settings import change_settings
from tests.recipes.espresso.test_core import unzipped

pytestmark = pytest.mark.espresso

GIVEN = {
    "pseudopotentials": {"Al": "Al.pz-vbc.UPF", "H": "H.pz-vbc.UPF"},
    "ecutwfc": 14.0,
    "kpts": [4, 4, 1],
}


def aluminium():
    return fcc100("Al", (1, 1, 3), a=3.95, vacuum=7.0, periodic=True)


def covered():
    slab = aluminium()
    add_adsorbate(slab, "H", 1.6, "ontop")
    return slab


@pytest.fixture(scope="module")
def corrected(tmp_path_factory):
    with change_settings(results_dir=str(tmp_path_factory.mktemp("slab"))):
        yield work_function_job(covered(), dipole=True, **GIVEN)


def test_aluminium():
    """4.41 eV was measured: Grepstad, Gartland and Slagsvold, Surf. Sci. 57, 348 (1976)."""
    result = work_function_job(aluminium(), **GIVEN)
    below, above = result["work_functions"]
    assert below == pytest.approx(above, abs=1e-4)
    assert below == pytest.approx(4.41, abs=0.3)  # of three layers
    assert result["warnings"] == []
    energy = static_job(aluminium(), **GIVEN)["results"]["energy"]
    assert result["results"]["energy"] == pytest.approx(energy, abs=1e-6)
    printed = re.findall(r"the Fermi energy is\s+(\S+) ev", output_of(result))
    assert result["fermi_energy"] == pytest.approx(float(printed[-1]), abs=1e-3)


def output_of(result):
    return unzipped(Path(result["directory"]) / "espresso.pwo.gz")


def test_the_step_of_the_potential_is_the_dipole_that_pw_prints(corrected):
    below, above = corrected["vacuum_levels"]
    step = re.findall(r"Potential amp\.\s+(\S+) Ry", output_of(corrected))[-1]
    inside = float(step) * units.Rydberg  # over all of the cell but the layer
    layer = corrected["parameters"]["input_data"]["eopreg"]
    assert above - below == pytest.approx(inside / (1 - layer), rel=0.01)
    assert corrected["warnings"] == []


def test_more_vacuum_changes_nothing(corrected):
    """As long as the images are not felt, which is what the correction is for."""
    wider = covered()
    wider.cell[2, 2] += 6.0
    result = work_function_job(wider, dipole=True, **GIVEN)
    assert result["work_functions"] == pytest.approx(corrected["work_functions"], abs=0.02)
    energies = [one["results"]["energy"] for one in (result, corrected)]
    assert energies[0] == pytest.approx(energies[1], abs=2e-3)
    lower = covered()
    lower.positions[:, 2] -= 9.0  # the boundary of the cell cuts it
    lower.wrap()
    moved = work_function_job(lower, dipole=True, **GIVEN)
    assert moved["work_functions"] == pytest.approx(corrected["work_functions"], abs=0.02)


def test_a_field_in_the_vacuum_is_told():
    result = work_function_job(covered(), **GIVEN)
    assert any("dipole=True" in text for text in result["warnings"])


def test_forces_are_derivatives_of_the_corrected_energy():
    slab = covered()
    energies = []
    for sign in (1, -1):
        moved = slab.copy()
        moved.positions[-1, 2] += sign * 0.01
        energies.append(static_job(moved, dipole=True, **GIVEN)["results"]["energy"])
    force = -(energies[0] - energies[1]) / 0.02
    found = static_job(slab, dipole=True, **GIVEN)["results"]["forces"][-1, 2]
    assert found == pytest.approx(force, abs=0.02)


def test_keys_without_a_dipole_are_those_from_before_there_was_one():
    plain = static_job.plan(aluminium(), **GIVEN)
    assert static_job.plan(aluminium(), dipole=False, **GIVEN).key == plain.key
    assert "dipole" not in plain.parameters
    assert static_job.plan(aluminium(), dipole=True, **GIVEN).key != plain.key


def test_pp_that_is_not_there(tmp_path):
    link = tmp_path / "pw.x"
    link.symlink_to("/usr/bin/pw.x")
    with (
        change_settings(commands={"espresso": str(link)}),
        pytest.raises(MissingProgramError, match="pp.x is not beside pw.x"),
    ):
        work_function_job.plan(aluminium(), **GIVEN).check()


def test_summary_table_and_figure(corrected, tmp_path):
    assert "work functions" in report.summary(corrected)
    assert [row["side"] for row in report.table(corrected)] == ["below", "above"]
    (axes,) = report.plot(corrected, tmp_path / "potential.png").axes
    assert axes.get_ylabel() == "potential (eV)"
    assert "Bengtsson" in report.citations(corrected)
    assert np.ptp(corrected["potential"]) > 5
    files = {file.name for file in Path(corrected["directory"]).iterdir()}
    assert not any("cube" in name for name in files)


@pytest.mark.parametrize(
    ("job", "atoms", "keywords", "error", "words"),
    [
        (work_function_job, bulk("Al"), {}, StructureError, "at least 6 Å of vacuum"),
        (static_job, bulk("Al"), {"dipole": True}, StructureError, "slab in the xy plane"),
        (
            static_job,
            aluminium(),
            {"dipole": True, "input_data": {"eopreg": 0.1}},
            ParameterError,
            "sets eopreg of input_data",
        ),
        (static_job, aluminium(), {"dipole": "z"}, InputError, "dipole"),
    ],
)
def test_bad_input(job, atoms, keywords, error, words):
    with pytest.raises(error, match=words):
        job(atoms, **GIVEN, **keywords)
