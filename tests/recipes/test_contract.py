"""Contracts 1 and 2, for every job: plain functions in, plain dictionaries out."""

import json
import multiprocessing
import os
import pickle
import socket
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import ase
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.io.jsonio import decode, encode

import quacc
from quacc.recipes.emt import core as emt
from quacc.recipes.emt.slabs import bulk_to_slabs_flow
from quacc.recipes.lj import core as lj
from quacc.settings import get_settings

JOBS = {
    "emt.static_job": (emt.static_job, {}),
    "emt.relax_job": (emt.relax_job, {"fmax": 0.05, "trajectory": True}),
    "emt.md_job": (emt.md_job, {"steps": 2, "trajectory": True}),
    "lj.static_job": (lj.static_job, {"epsilon": 0.4, "sigma": 2.3}),
    "lj.relax_job": (lj.relax_job, {"epsilon": 0.4, "sigma": 2.3, "steps": 2}),
    "lj.md_job": (lj.md_job, {"epsilon": 0.4, "sigma": 2.3, "steps": 2}),
    "lj.freq_job": (lj.freq_job, {"epsilon": 0.4, "sigma": 2.3, "thermo": "harmonic"}),
}
every_job = pytest.mark.parametrize("name", JOBS)


def copper():
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.05, seed=1)
    atoms.set_constraint(FixAtoms([0]))
    atoms.info["origin"] = "test"
    return atoms


def run(name, atoms=None):
    job, options = JOBS[name]
    return job(copper() if atoms is None else atoms, **options)


def same(one, other):
    """Tell whether two results are equal to the last bit, types included."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, Atoms):
        return one == other and same(one.info, other.info) and same(one.arrays, other.arrays)
    return type(one) is type(other) and one == other


@every_job
def test_the_keys_of_a_result(name):
    result = run(name)
    assert result["name"] == name
    assert result["formula"] == "Cu"
    assert len(result["key"]) == 64
    assert result["calculator"] == {
        "name": name.split(".")[0],
        "version": f"ase {ase.__version__}",
        "fingerprint": f"{name.split('.')[0]} ase {ase.__version__}",
    }
    assert result["directory"] is None
    assert result["atoms"].calc is None
    assert result["input_atoms"].calc is None
    assert isinstance(result["results"]["energy"], float)
    assert result["results"]["forces"].shape == (4, 3)
    assert result["results"]["stress"].shape == (6,)
    assert all(isinstance(text, str) for text in result["warnings"])


@every_job
def test_provenance(name):
    provenance = run(name)["provenance"]
    assert provenance["quacc"] == quacc.__version__
    assert provenance["ase"] == ase.__version__
    assert provenance["host"] == socket.gethostname()
    assert provenance["pid"] == os.getpid()
    assert provenance["job_id"] is None
    assert provenance["attempts"] == 1
    assert provenance["started"].endswith("+00:00")
    assert 0 < provenance["cpu_seconds"] < provenance["wall_seconds"] * 1.5


def test_the_job_id_of_a_batch_system(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    assert run("emt.static_job")["provenance"]["job_id"] == "4711"


def test_defaults_are_among_the_parameters():
    assert emt.relax_job("Cu")["parameters"] == {
        "relax_cell": False,
        "fmax": 0.01,
        "steps": 1000,
        "optimizer": "ScaledBFGS",
        "trajectory": False,
        "asap_cutoff": False,
    }


@every_job
def test_the_input_is_not_touched(name):
    atoms = copper()
    calculator = atoms.calc = EMT()
    before = pickle.dumps(atoms.todict())
    run(name, atoms)
    assert pickle.dumps(atoms.todict()) == before
    assert atoms.calc is calculator
    assert calculator.results == {}


@every_job
def test_results_survive_json_and_pickle(name):
    result = run(name)
    assert same(pickle.loads(pickle.dumps(result)), result)
    text = encode(result)
    json.loads(text)
    assert same(decode(text, always_array=False), result)


def test_a_workflow_s_result_survives_json_and_pickle():
    result = bulk_to_slabs_flow("Cu")
    assert same(pickle.loads(pickle.dumps(result)), result)
    assert same(decode(encode(result), always_array=False), result)


@every_job
def test_in_memory_jobs_touch_no_disk(name):
    run(name)
    assert list(Path.cwd().iterdir()) == []
    assert not get_settings().results_dir.exists()
    assert not get_settings().scratch.exists()
    assert not (Path.home() / "quacc_results").exists()


@every_job
def test_a_result_is_an_input(name):
    first = run("emt.relax_job")
    assert run(name, first)["input_atoms"] == first["atoms"]


def energies(structures, mapping):
    return [result["results"]["energy"] for result in mapping(emt.relax_job, structures)]


@pytest.fixture(scope="module")
def structures():
    made = []
    for seed in range(24):
        atoms = bulk(["Cu", "Al", "Au"][seed % 3], cubic=True)
        atoms.rattle(0.1, seed=seed)
        made.append(atoms)
    return made


@pytest.fixture(scope="module")
def in_a_loop(structures):
    return energies(structures, map)


def test_eight_threads(structures, in_a_loop):
    here = Path.cwd()
    with ThreadPoolExecutor(8) as pool:
        assert energies(structures, pool.map) == in_a_loop
    assert Path.cwd() == here


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_two_processes(structures, in_a_loop, method):
    here = Path.cwd()
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        assert energies(structures, pool.map) == in_a_loop
    assert Path.cwd() == here
