"""What a call was given is what is computed, whatever the caller changes afterwards."""

import sys
import threading
from dataclasses import dataclass

import cloudpickle
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from prefect import flow, task, unmapped
from prefect.task_runners import ThreadPoolTaskRunner

from quacc.prefect import as_flow, as_task, fan_out, make_runner
from quacc.prefect.frozen import frozen, frozen_items
from quacc.recipes.emt.core import static_job
from quacc.recipes.tools.verbs import submit

pytestmark = pytest.mark.usefixtures("prefect_server")

COUNT = 6


@pytest.fixture(autouse=True, scope="module")
def _by_value():
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def stretched(atoms, index):
    """Change one Atoms in place, as in a loop over lattice constants."""
    atoms.set_cell(bulk("Cu", cubic=True).cell * (1 + 0.01 * index), scale_atoms=True)
    return atoms


def one_atoms():
    atoms = bulk("Cu", cubic=True)
    for index in range(COUNT):
        yield stretched(atoms, index)


@pytest.fixture(scope="module")
def right():
    return [static_job(stretched(bulk("Cu", cubic=True), i))["results"]["energy"] for i in range(6)]


def energies(results):
    # Scaled step by step, cells differ in their last digit.
    return pytest.approx([result["results"]["energy"] for result in results], abs=1e-9)


def run(body, runner):
    @flow(task_runner=runner)
    def campaign():
        return body()

    return campaign()


def threads():
    return ThreadPoolTaskRunner(max_workers=1)


def test_a_generator_that_changes_one_structure(right):
    assert energies(run(lambda: fan_out(static_job, one_atoms()).results(), threads())) == right


def test_a_list_that_changes_between_the_call_and_the_results(right):
    def body():
        atoms = [atoms.copy() for atoms in one_atoms()]
        options = {"asap_cutoff": False}
        asked = fan_out(static_job, atoms, **options)
        for one in atoms:
            one.rattle(0.3)
        atoms.clear()
        return asked.results()

    assert energies(run(body, threads())) == right


@dataclass
class Scale:
    factor: float


def doubled(number, scale):
    scale.factor *= 2
    return number * scale.factor


def test_keywords_are_those_of_the_call():
    def body():
        scale = Scale(1.0)
        asked = fan_out(doubled, [1, 2, 3], scale=scale)
        scale.factor = 100.0
        return asked.results()

    assert run(body, threads()) == [2, 4, 6]


@pytest.mark.parametrize("wrap", [task, as_task])
@pytest.mark.parametrize("how", ["submit", "map"])
def test_tasks_on_workers(wrap, how, right):
    def body():
        atoms = bulk("Cu", cubic=True)
        if how == "map":
            return wrap(static_job).map(one_atoms()).result()
        futures = [wrap(static_job).submit(stretched(atoms, i)) for i in range(COUNT)]
        return [future.result() for future in futures]

    assert energies(run(body, make_runner())) == right


def wait(hold):
    hold.wait(30)


@pytest.mark.parametrize("options", [{}, {"name": "mine"}])
@pytest.mark.parametrize("how", ["submit", "map"])
def test_tasks_on_threads(how, options, right):
    hold = threading.Event()

    def body():
        atoms = bulk("Cu", cubic=True)
        busy = task(wait).submit(hold)  # the others start when all changes are made
        static = as_task(static_job)
        if options:
            static = static.with_options(**options)
        if how == "map":
            futures = static.map(one_atoms(), asap_cutoff=unmapped(False))
        else:
            futures = [static.submit(stretched(atoms, i)) for i in range(COUNT)]
        atoms.rattle(0.3)
        hold.set()
        busy.wait()
        return [future.result() for future in futures]

    assert energies(run(body, threads())) == right


def lattice_flow(atoms, job=static_job):
    futures = [submit(job, stretched(atoms, i)) for i in range(COUNT)]
    return [future.result() for future in futures]


def test_workflows_of_ones_own(right):
    found = run(lambda: as_flow(lattice_flow)(bulk("Cu", cubic=True)), threads())
    assert energies(found) == right


ATTEMPTS = []


def spoils(atoms):
    atoms.positions += 1.0
    ATTEMPTS.append(atoms.positions[0, 0])
    if len(ATTEMPTS) < 3:
        raise OSError(11, "try again")
    return float(atoms.positions[0, 0])


def test_a_retry_gets_what_the_first_attempt_got():
    ATTEMPTS.clear()
    again = as_task(spoils, retries=2, retry_delay_seconds=0)
    assert run(lambda: again.submit(bulk("Cu")).result(), threads()) == 1.0
    assert ATTEMPTS == [1.0] * 3


def test_results_that_are_changed_in_the_loop_are_stored_as_they_came():
    from quacc.store import Store

    def body():
        for _, result in fan_out(static_job, one_atoms()):
            result["results"]["energy"] = 0.0
            result["results"]["forces"][:] = 1e3
            result["atoms"].positions[:] = 0

    run(body, threads())
    stored = [Store().get(one.key) for one in Store().select()]
    assert len(stored) == COUNT
    for one in stored:
        assert one["results"]["energy"] != 0.0
        assert np.abs(one["results"]["forces"]).max() < 1
        assert one["atoms"].positions.any()


def test_frozen_shares_nothing_that_changes():
    atoms = bulk("Cu", cubic=True)
    atoms.info["notes"] = ["a"]
    atoms.set_constraint(FixAtoms([0]))
    atoms.calc = EMT()
    given = {"atoms": atoms, "list": [np.zeros(2), (1, {"x": [1]})], "scale": Scale(2.0)}
    own = frozen(given)
    atoms.positions += 1
    atoms.info["notes"].append("b")
    atoms.set_constraint()
    given["list"][0][:] = 5
    given["list"][1][1]["x"].append(2)
    given["scale"].factor = 3.0
    assert own["atoms"].positions[0].tolist() == [0, 0, 0]
    assert own["atoms"].info == {"notes": ["a"]}
    assert own["atoms"].constraints[0].index.tolist() == [0]
    assert own["atoms"].calc is atoms.calc
    assert own["list"][0].tolist() == [0, 0]
    assert own["list"][1] == (1, {"x": [1]})
    assert own["scale"].factor == 2.0


def test_what_has_no_copy_stays():
    lock, function = threading.Lock(), (lambda: 1)
    for value in (lock, function, Atoms, np, sys.stdout, (one for one in "ab")):
        assert frozen(value) is value
    trajectory = {"not": "a list"}
    assert frozen_items(trajectory) is trajectory
