"""CHGNet and SevenNet, run for real in the Python that has them (make ml)."""

import json
import re
import subprocess
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.collections import dcdft
from ase.units import GPa

from quacc.calculators.isolated import process_of
from quacc.errors import CalculationError, InputError, MissingProgramError, ParameterError
from quacc.recipes.chgnet import core as chgnet
from quacc.recipes.sevenn import core as sevenn
from quacc.recipes.workflows import eos_flow
from quacc.runners.job import calculation_of
from tests.potentials import POTENTIALS

pytestmark = pytest.mark.ml

JOBS = {
    "chgnet": chgnet.static_job,
    "chgnet r2scan": partial(chgnet.static_job, model="r2scan"),
    "sevenn": sevenn.static_job,
    "sevenn l3i5": partial(sevenn.static_job, model="7net-l3i5"),
    "sevenn mf-0": partial(sevenn.static_job, model="7net-mf-0", modal="R2SCAN"),
}

PLAIN = """
import json, sys
from ase.io import read
from chgnet.model.dynamics import CHGNetCalculator
from chgnet.model.model import CHGNet
from sevenn.calculator import SevenNetCalculator

made = {
    "chgnet": lambda: CHGNetCalculator(use_device="cpu"),
    "chgnet r2scan": lambda: CHGNetCalculator(CHGNet.load(model_name="r2scan"), use_device="cpu"),
    "sevenn": lambda: SevenNetCalculator("7net-0", device="cpu"),
    "sevenn l3i5": lambda: SevenNetCalculator("7net-l3i5", device="cpu"),
    "sevenn mf-0": lambda: SevenNetCalculator("7net-mf-0", device="cpu", modal="R2SCAN"),
}
found = {}
for name, make in made.items():
    atoms = read(sys.argv[1])
    atoms.calc = make()
    found[name] = {"energy": float(atoms.get_potential_energy())}
    found[name]["forces"] = atoms.get_forces().tolist()
    found[name]["stress"] = atoms.get_stress().tolist()
    if "magmoms" in atoms.calc.results:
        found[name]["magmoms"] = atoms.get_magnetic_moments().tolist()
json.dump(found, open(sys.argv[2], "w"))
"""


def iron():
    atoms = bulk("Fe", cubic=True) * (2, 1, 1)
    atoms.symbols[0] = "O"
    atoms.rattle(0.05, seed=1)
    return atoms


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Return what plain ASE gives with the same potentials."""
    folder = tmp_path_factory.mktemp("plain")
    iron().write(folder / "iron.traj")  # with all digits
    command = [POTENTIALS, "-c", PLAIN, folder / "iron.traj", folder / "found.json"]
    subprocess.run(command, check=True, capture_output=True)
    return json.loads((folder / "found.json").read_text())


@pytest.mark.parametrize("name", JOBS)
def test_the_numbers_are_those_of_plain_ase(name, plain):
    result = JOBS[name](iron())
    expected = plain[name]
    assert ("magmoms" in expected) == name.startswith("chgnet")
    for one, value in expected.items():
        np.testing.assert_allclose(result["results"][one], value, rtol=1e-5, atol=1e-5)
        assert np.asarray(result["results"][one]).dtype == float
    assert re.search(r"\.pth(\.tar)?:[0-9a-f]{16}$", result["calculator"]["fingerprint"])
    assert result["provenance"]["environment"] == POTENTIALS
    assert set(result["provenance"]["model"]) == {"functional", "data", "licence"}


def test_models_differ_in_key_and_record():
    results = [job(iron()) for job in JOBS.values()]
    assert len({one["key"] for one in results}) == len(JOBS)
    assert results[1]["provenance"]["model"]["functional"] == "r2SCAN"
    assert "GPL-3.0" in results[2]["provenance"]["model"]["licence"]


@pytest.mark.parametrize("name", ["chgnet", "sevenn"])
def test_forces_and_stress_are_derivatives_of_the_energy(name):
    """Within single precision: half a percent of the largest."""
    job, atoms = JOBS[name], iron()
    result = job(atoms)["results"]

    def energy(changed):
        return job(changed)["results"]["energy"]

    step, found = 0.02, []
    for axis in range(3):
        ends = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[1, axis] += sign * step
            ends.append(energy(moved))
        found.append(-(ends[0] - ends[1]) / (2 * step))
    scale = np.abs(result["forces"]).max()
    np.testing.assert_allclose(found, result["forces"][1], atol=0.01 * scale)
    ends = []
    for sign in (1, -1):
        strained = atoms.copy()
        strained.set_cell(atoms.cell * (1 + sign * 0.005), scale_atoms=True)
        ends.append(energy(strained))
    pressure = (ends[0] - ends[1]) / (0.01 * 3 * atoms.get_volume())
    assert pressure == pytest.approx(result["stress"][:3].mean(), abs=0.2 * GPa)


@pytest.mark.parametrize("name", ["chgnet", "sevenn"])
def test_what_is_not_periodic_meets_no_images(name):
    job = JOBS[name]
    alone = molecule("H2O")
    boxed = molecule("H2O", vacuum=9, pbc=True)
    crowded = alone.copy()
    crowded.cell = [2.0, 2.0, 2.0]  # but not periodic
    energies = [job(atoms)["results"]["energy"] for atoms in (alone, boxed, crowded)]
    assert energies == pytest.approx([energies[1]] * 3, abs=1e-5)
    assert "stress" not in job(alone)["results"]
    layer, apart = (fcc111("Cu", (1, 1, 3), vacuum=vacuum) for vacuum in (0.5, 9.0))
    apart.pbc = True
    assert layer.pbc.tolist() == [True, True, False]
    energies = [job(atoms)["results"]["energy"] for atoms in (layer, apart)]
    assert energies[0] == pytest.approx(energies[1], abs=1e-4)


def test_a_model_is_loaded_once():
    for number in range(5):
        chgnet.static_job(bulk("Cu", a=3.6 + 0.01 * number))
    printed = process_of(POTENTIALS, "chgnet")._printed
    printed.seek(0)
    before = printed.read().count(b"CHGNet v0.3.0 initialized")
    for number in range(5):
        chgnet.static_job(bulk("Cu", a=3.7 + 0.01 * number))
    printed.seek(0)
    assert printed.read().count(b"CHGNet v0.3.0 initialized") == before


def test_aluminium_s_equation_of_state():
    """Of 7net-0, against all-electron PBE (WIEN2k), as ASE's collection has it."""
    crystal = bulk("Al", a=(4 * dcdft.data["Al"]["wien2k_volume"]) ** (1 / 3))
    result = eos_flow(crystal, relax_job=None, calculator="sevenn", points=7, step=0.0066)
    assert result["volume"] == pytest.approx(dcdft.data["Al"]["wien2k_volume"], rel=0.01)
    assert result["bulk_modulus"] == pytest.approx(dcdft.data["Al"]["wien2k_B"], rel=0.05)


def test_a_relaxation():
    atoms = bulk("Si") * (2, 1, 1)
    atoms.rattle(0.05, seed=2)
    result = chgnet.relax_job(atoms, fmax=0.02)
    assert result["converged"]
    distances = result["atoms"].get_distances(0, [1, 3], mic=True)
    assert distances == pytest.approx([distances[0]] * 2, abs=0.02)


@pytest.mark.parametrize(
    ("job", "atoms", "words"),
    [
        (chgnet.static_job, Atoms("Po", cell=[3, 3, 3], pbc=True), "Po"),
        (partial(chgnet.static_job, model="r2scan"), bulk("Yb", "fcc", 5.5), "not trained on Yb"),
        (partial(chgnet.static_job, model="0.4"), bulk("Cu"), "0.3.0"),
        (partial(sevenn.static_job, model="7net-mf-0"), bulk("Cu"), "modal='PBE'"),
        (partial(sevenn.static_job, modal="PBE"), bulk("Cu"), "leave modal out"),
        (partial(sevenn.static_job, device="tpu"), bulk("Cu"), "cuda"),
    ],
)
def test_what_makes_no_sense(job, atoms, words):
    with pytest.raises(InputError, match=words):
        job(atoms)
    assert issubclass(ParameterError, InputError)


def test_an_atom_without_neighbours():
    with pytest.raises(CalculationError, match="(?i)isolated"):
        chgnet.static_job(Atoms("Cu"))


def test_without_the_package(monkeypatch):
    monkeypatch.delenv("QUACC_ENVIRONMENTS__CHGNET")
    with pytest.raises(MissingProgramError, match=r"pip install quacc\[chgnet\]"):
        chgnet.static_job("Cu")
    assert calculation_of(chgnet.static_job, (bulk("Cu"),), {}) is None


def test_the_example_of_the_documentation(capsys):
    text = (Path(__file__).parents[2] / "docs" / "calculators.md").read_text()
    (example,) = re.findall(r"```py\n(.*?)```", text, re.DOTALL)
    exec(example, {})
    assert "MIT" in capsys.readouterr().out
