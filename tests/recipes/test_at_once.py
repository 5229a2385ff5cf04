"""CHGNet and SevenNet compute many structures at once, in the Python that has them (make ml)."""

import json
import os
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.io import write
from prefect import flow

from quacc.calculators.isolated import process_of
from quacc.errors import JobsFailedError
from quacc.prefect import fan_out, make_runner
from quacc.prefect.workflows import elastic_flow
from quacc.recipes.chgnet import core as chgnet
from quacc.recipes.sevenn import core as sevenn
from quacc.recipes.workflows import elastic_flow as elastic
from tests.at_once import together, values
from tests.potentials import POTENTIALS
from tests.processes import below, end_when_asked, look_at, stop, workers

pytestmark = pytest.mark.ml

JOBS = {"chgnet": chgnet, "sevenn": sevenn}

PLAIN = """
import json, sys
from ase.io import read
from chgnet.model.dynamics import CHGNetCalculator
from sevenn.calculator import SevenNetCalculator

calc = CHGNetCalculator(use_device="cpu") if sys.argv[3] == "chgnet" else SevenNetCalculator(
    "7net-0", device="cpu")
found = []
for atoms in read(sys.argv[1], ":"):
    atoms.calc = calc
    found.append([float(atoms.get_potential_energy()), atoms.get_forces().tolist(),
                  atoms.get_stress().tolist()])
json.dump(found, open(sys.argv[2], "w"))
"""


def mixed():
    """Return crystals of one to 32 atoms, a layer and a molecule, in boxes and not."""
    found = [
        bulk("Cu"),
        bulk("NaCl", "rocksalt", a=5.6, cubic=True) * (2, 2, 1),
        molecule("C2H6", vacuum=9.0, pbc=True),
        bulk("Si") * (2, 2, 2),
        fcc111("Al", (1, 1, 3), vacuum=9.0),
        bulk("Fe", cubic=True) * (2, 1, 1),
    ]
    found[4].pbc = True
    for number, atoms in enumerate(found):
        atoms.rattle(0.05, seed=number)
    return found


@pytest.mark.parametrize("name", JOBS)
def test_the_numbers_are_those_of_one_by_one_and_of_plain_ase(name, tmp_path):
    job, items = JOBS[name].static_job, mixed()
    write(tmp_path / "mixed.traj", items)
    command = [POTENTIALS, "-c", PLAIN, tmp_path / "mixed.traj", tmp_path / "plain.json", name]
    subprocess.run(command, check=True, capture_output=True)
    plain = json.loads((tmp_path / "plain.json").read_text())
    items.append(molecule("H2O"))  # without a box
    alone = [job(atoms) for atoms in items]
    found = values(together(job, items, len(items)))
    for mine, one in zip(found, alone, strict=True):
        assert mine["key"] == one["key"]
        assert mine["results"].keys() == one["results"].keys()
        for what, value in one["results"].items():
            scale = np.abs(value).max()
            np.testing.assert_allclose(
                mine["results"][what], value, rtol=1e-5, atol=1e-5 * max(scale, 1.0)
            )
            assert np.asarray(mine["results"][what]).dtype == float
    for mine, (energy, forces, stress) in zip(found, plain, strict=False):
        assert mine["results"]["energy"] == pytest.approx(energy, rel=1e-5)
        np.testing.assert_allclose(mine["results"]["forces"], forces, atol=1e-5)
        np.testing.assert_allclose(mine["results"]["stress"], stress, atol=1e-5)


def test_the_one_that_fails_is_named():
    items = [bulk("Cu"), Atoms("Cu"), bulk("Au"), Atoms("Po", cell=[3, 3, 3], pbc=True)]
    outcomes = together(chgnet.static_job, items, 4)
    assert not outcomes[0].failure
    assert not outcomes[2].failure
    assert "static_job of Cu with" in outcomes[1].failure
    assert "isolated" in outcomes[1].failure
    assert "Po" in outcomes[3].failure


@pytest.mark.parametrize("name", JOBS)
def test_relaxations_find_the_same_minima(name):
    items = [bulk("Si") * (2, 1, 1), bulk("Cu", cubic=True), bulk("MgO", "rocksalt", a=4.2) * 2]
    for number, atoms in enumerate(items):
        atoms.rattle(0.02 + 0.04 * number, seed=number)
    kwargs = {"fmax": 0.02}
    alone = [JOBS[name].relax_job(atoms, **kwargs) for atoms in items]
    found = values(together(JOBS[name].relax_job, items, 3, **kwargs))
    assert len({one["steps"] for one in alone}) > 1
    for mine, one in zip(found, alone, strict=True):
        assert mine["converged"]
        # Of single precision: forces differ in their last digits, and thresholds are near some.
        assert abs(mine["steps"] - one["steps"]) <= 1
        assert mine["results"]["energy"] == pytest.approx(one["results"]["energy"], rel=1e-5)
        np.testing.assert_allclose(mine["atoms"].positions, one["atoms"].positions, atol=2e-3)


def test_a_crash_of_the_model_s_process_ends_none_of_them():
    """All are computed again, one by one, in a new process."""
    items = [bulk("Cu", a=3.5 + 0.02 * number) for number in range(4)]
    energies = [chgnet.static_job(atoms)["results"]["energy"] for atoms in items]
    there = process_of(POTENTIALS, "chgnet")
    stop(there._process)
    with ThreadPoolExecutor(1) as pool:
        crash = pool.submit(end_when_asked, there._process, there._to, signal.SIGKILL)
        found = values(together(chgnet.static_job, items, 4))
        crash.result()
    assert [one["results"]["energy"] for one in found] == pytest.approx(energies, rel=1e-5)
    assert all("could not compute 4 structures at once" in str(one["warnings"]) for one in found)


@pytest.mark.usefixtures("prefect_server")
def test_through_a_fan_out_whose_worker_is_killed():
    items = [bulk("Cu", cubic=True) * (2, 1, 1) for _ in range(12)]
    for number, atoms in enumerate(items):
        atoms.rattle(0.05, seed=number)
    items[5] = Atoms("Cu")  # which CHGNet refuses
    killed = []

    def kill():
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            lines = look_at(below(), lambda one: (one.ppid(), " ".join(one.cmdline())))
            mine = {*workers()}
            parents = [parent for parent, line in lines.values() if "serve.py" in line]
            if found := [pid for pid in parents if pid in mine]:
                time.sleep(3.0)
                os.kill(found[0], signal.SIGKILL)
                killed.append(found[0])
                return
            time.sleep(0.1)

    @flow(task_runner=make_runner())
    def campaign():
        threading.Thread(target=kill, daemon=True).start()
        return fan_out(chgnet.relax_job, items, at_once=6, fmax=0.02).results()

    with pytest.raises(JobsFailedError, match=r"1 of 12 structures failed \(Cu.*item 5") as caught:
        campaign()
    assert killed
    results = caught.value.results
    assert len(results) == 11
    assert {one["provenance"]["options"]["at_once"] for one in results} == {6}
    for mine in results[:2]:
        one = chgnet.relax_job(mine["input_atoms"], fmax=0.02)
        assert mine["results"]["energy"] == pytest.approx(one["results"]["energy"], rel=1e-5)


@pytest.mark.usefixtures("prefect_server")
def test_the_strained_cells_of_a_workflow():
    def constants(calculator):
        @flow(task_runner=make_runner())
        def campaign():
            return elastic_flow(bulk("Cu"), relax_job=None, calculator=calculator)

        return campaign()

    mine = constants({"name": "chgnet", "at_once": 8})
    alone = elastic(bulk("Cu"), relax_job=None, calculator="chgnet")
    np.testing.assert_allclose(mine["elastic_tensor"], alone["elastic_tensor"], rtol=1e-3, atol=0.1)
