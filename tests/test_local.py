"""Workflows on this machine's cores, without a server: the same numbers, and nothing twice."""

import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from quacc.errors import JobsFailedError, LostWorkerError, ParameterError, StoreError
from quacc.local import run
from quacc.recipes.emt import core
from quacc.recipes.tools.verbs import gather_each, submit
from quacc.recipes.workflows import batch_flow, bulk_to_slabs_flow, eos_flow
from quacc.store import Store
from tests.processes import below

FAST = {"points": 5, "calculator": "emt"}


def rows():
    return sorted(row.key for row in Store().select())


@pytest.mark.parametrize("cores", [1, 2])
def test_the_numbers_are_those_of_the_plain_call(cores):
    found, plain = run(eos_flow, "Cu", cores=cores, **FAST), eos_flow("Cu", **FAST)
    for name in ("key", "bulk_modulus", "volume", "energies", "jobs", "parameters", "converged"):
        np.testing.assert_equal(found[name], plain[name])
    assert rows() == sorted({found["key"], *found["jobs"]})


def test_slabs_are_those_of_the_plain_call():
    found = run(bulk_to_slabs_flow, "Cu", calculator="emt")
    plain = bulk_to_slabs_flow("Cu", calculator="emt")
    np.testing.assert_equal(found["surfaces"], plain["surfaces"])


def test_what_is_known_is_not_computed(monkeypatch):
    told = []
    first = run(eos_flow, "Cu", tell=lambda **counts: told.append(counts), **FAST)
    assert told[-1] == {"computed": 6, "cached": 0, "failed": 0, "total": 6}
    monkeypatch.setattr("quacc.local.Cores.start", None)
    again = run(eos_flow, "Cu", **FAST)
    assert again["key"] == first["key"]
    np.testing.assert_array_equal(again["energies"], first["energies"])
    # Of the whole, or of its parts where the whole is another.
    Store().remove([first["key"]])
    told.clear()
    assert run(eos_flow, "Cu", tell=lambda **counts: told.append(counts), **FAST)["jobs"]
    assert told[-1] == {"computed": 0, "cached": 6, "failed": 0, "total": 6}


def test_prefect_is_served_what_was_computed_here_and_the_other_way_round():
    from quacc.prefect import workflows

    first = run(eos_flow, "Cu", **FAST)
    count = len(rows())
    assert workflows.eos_flow("Cu", **FAST)["key"] == first["key"]
    assert len(rows()) == count


def static(structures, static_job):
    futures = [submit(static_job, structure) for structure in structures]
    return gather_each(futures, [str(one) for one in structures], "static")


def my_job(atoms, kill=""):
    if kill and atoms.get_chemical_formula() == kill:
        os.kill(os.getpid(), signal.SIGKILL)
    return core.static_job(atoms)


def test_the_same_question_is_computed_once_and_everybody_gets_his_own():
    told = []
    tell = lambda **counts: told.append(counts)  # noqa: E731
    results = run(static, ["Cu", "Al", "Cu", "Cu"], core.static_job, tell=tell)
    assert [one["formula"] for one in results] == ["Cu", "Al", "Cu", "Cu"]
    assert told[-1] == {"computed": 2, "cached": 2, "failed": 0, "total": 4}
    results[0]["results"]["energy"] = 0.0
    assert results[2]["results"]["energy"] == results[3]["results"]["energy"] != 0.0


def test_a_failure_spoils_no_other():
    with pytest.raises(JobsFailedError, match="Fe") as caught:
        run(static, ["Cu", "Fe", "Al"], core.static_job)
    assert [one["formula"] for one in caught.value.results] == ["Cu", "Al"]
    assert len(rows()) == 2


def test_a_job_that_kills_its_workers_fails_alone():
    structures = [bulk(name) for name in ("Cu", "Al", "Ag", "Au")]
    with pytest.raises(JobsFailedError) as caught:
        run(static, structures, partial(my_job, kill="Ag"))
    [error] = caught.value.exceptions
    assert isinstance(error, LostWorkerError)
    assert "my_job killed 3 worker processes, the last one by signal SIGKILL" in str(error)
    assert len(caught.value.results) == 3
    assert len(rows()) == 3


def changed(atoms):
    result = core.static_job(atoms)
    result["results"]["energy"] += 1
    return result


def test_changed_numbers_are_not_stored_as_a_job_s():
    results = run(static, ["Cu"], changed)
    assert results[0]["results"]["energy"] > 0.5
    assert rows() == []


def test_from_a_thread_too_and_many_at_once():
    found = {}

    def one(name):
        found[name] = run(eos_flow, name, **FAST)["bulk_modulus"]

    threads = [threading.Thread(target=one, args=(name,)) for name in ("Cu", "Al", "Ag")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {name: eos_flow(name, **FAST)["bulk_modulus"] for name in ("Cu", "Al", "Ag")}


def test_batches_of_structures():
    result = run(batch_flow, ["Cu", "Al", "Ag"], calculator="emt")
    assert len(result["jobs"]) >= 3


def test_arguments_that_no_job_takes_fail_alone():
    def careless(structures, static_job):
        futures = [submit(static_job, "Cu"), submit(static_job, Odd())]
        return gather_each(futures, ["Cu", "odd"], "careless")

    class Odd:
        def __getattr__(self, name):
            raise RuntimeError("of the argument's own code")

    with pytest.raises(JobsFailedError, match="odd") as caught:
        run(careless, [], core.static_job)
    assert [one["formula"] for one in caught.value.results] == ["Cu"]


def test_an_idle_worker_that_is_killed_costs_nothing():
    others = {process.pid for process in below()}  # such as a server for many tests

    def patient(structures, static_job):
        first = submit(static_job, "Cu").result()
        workers = [process for process in below() if process.pid not in others]
        assert workers
        for worker in workers:
            worker.kill()
        return [first, submit(static_job, "Al").result(), submit(static_job, "Ag").result()]

    assert [one["formula"] for one in run(patient, [], core.static_job)] == ["Cu", "Al", "Ag"]


def test_a_store_that_stays_away_ends_the_run(monkeypatch):
    monkeypatch.setattr("quacc.store.keeper.PATIENCE", 0.3)

    def long(structures, static_job):
        submit(static_job, "Cu").result()
        Path(Store()._location).write_bytes(b"garbage" * 10_000)
        return [submit(static_job, bulk("Cu", a=3.5 + i / 1000)).result() for i in range(1000)]

    with pytest.raises(StoreError, match="nothing more is computed"):
        run(long, [], core.static_job)


def test_mistakes_are_told_before_anything_starts(monkeypatch):
    monkeypatch.setattr("quacc.local.Cores.start", None)
    with pytest.raises(ParameterError, match="points"):
        run(eos_flow, "Cu", points=2, calculator="emt")
    with pytest.raises(ParameterError, match="cores"):
        run(eos_flow, "Cu", cores=0, calculator="emt")


SLOW = """
import sys, time
from ase.build import bulk
from ase.calculators.emt import EMT

calculate = EMT.calculate
def slowly(self, *args, **kwargs):
    time.sleep(0.3)
    open("calls", "a").write("x")
    calculate(self, *args, **kwargs)
EMT.calculate = slowly

from quacc.local import run
from quacc.recipes.emt.core import relax_job
from tests.test_local import relaxed

atoms = bulk("Cu", cubic=True) * 2
atoms.rattle(0.2, seed=3)
try:
    result = run(relaxed, atoms, relax_job)
except KeyboardInterrupt:
    sys.exit(130)
print(result["steps"], len(open("calls").read()))
"""


def relaxed(atoms, relax_job):
    return submit(relax_job, atoms, fmax=0.001).result()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_was_interrupted_goes_on_from_its_checkpoint(tmp_path, monkeypatch, number):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    monkeypatch.setenv("QUACC_CHECKPOINT_INTERVAL", "0.1")
    command = [sys.executable, "-c", SLOW]
    first = subprocess.Popen(command, cwd=tmp_path)
    calls = tmp_path / "calls"
    while not calls.exists() or len(calls.read_text()) < 5:
        assert first.poll() is None
        time.sleep(0.05)
    workers = below(first.pid)
    assert workers
    first.send_signal(number)
    first.wait(30)
    deadline = time.monotonic() + 30
    while any(worker.is_running() and worker.status() != "zombie" for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    steps, count = map(int, done.stdout.split())
    assert count <= steps + 4  # a whole second run would have doubled them


def test_two_runs_at_once_compute_nothing_twice(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    command = [sys.executable, "-c", SLOW.replace("time.sleep(0.3)", "time.sleep(0.1)")]
    both = [subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE) for _ in range(2)]
    counts = [one.communicate()[0].split() for one in both]
    assert counts[0][0] == counts[1][0]
    assert max(int(count) for _, count in counts) <= int(counts[0][0]) + 2


def test_neither_prefect_nor_dask_is_loaded():
    code = (
        "import sys; from quacc.local import run; from quacc.recipes.workflows import eos_flow\n"
        "if __name__ == '__main__':\n"
        "    run(eos_flow, 'Cu', points=5, calculator='emt')\n"
        "    heavy = {'prefect', 'dask', 'distributed', 'matplotlib'} & sys.modules.keys()\n"
        "    assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_ase_itself_is_the_reference():
    atoms = bulk("Cu")
    atoms.calc = EMT()
    [result] = run(static, ["Cu"], core.static_job)
    assert result["results"]["energy"] == atoms.get_potential_energy()
