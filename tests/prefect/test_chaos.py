"""Everything goes wrong at once: workers are killed, the API restarts, and some items are bad."""

import os
import random
import re
import signal
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress

import cloudpickle
import psutil
import pytest
from ase import Atoms
from ase.build import bulk
from prefect import flow
from prefect.context import FlowRunContext

from quacc.errors import JobsFailedError, LostWorkerError, TimeLimitError
from quacc.prefect import fan_out, make_runner
from quacc.recipes.emt.core import relax_job
from quacc.store import Store
from tests.prefect.programs import Server, reporting_to, states
from tests.processes import workers

cloudpickle.register_pickle_by_value(sys.modules[__name__])

FLOW_PROCESS = os.getpid()
TIME_LIMIT = 4.0
COUNT = 300


class Trap(Atoms):
    """A structure that does something bad when a worker takes it out of its parcel."""

    def __reduce__(self):
        return spring, (self.info["fate"], self.todict())


def spring(fate, atoms):
    if os.getpid() != FLOW_PROCESS:
        FATES[fate]()
    return Atoms.fromdict(atoms)


def fail():
    raise ValueError("this one is bad")


def crash():
    os.kill(os.getpid(), signal.SIGSEGV)


def loop():
    while True:
        pass


def hold_the_interpreter():
    re.match("(a+)+b", "a" * 60)  # one call of C that takes years, and lets no thread go on


FATES = {"raises": fail, "crashes": crash, "loops": loop, "holds": hold_the_interpreter}
ERRORS = {
    "raises": ValueError,
    "crashes": LostWorkerError,
    "loops": TimeLimitError,
    "holds": TimeLimitError,
}


def items(bad):
    """Return different structures; those of the given numbers are bad."""
    chosen = random.Random(1)
    made = []
    for number in range(COUNT):
        atoms = bulk(chosen.choice(["Cu", "Ag", "Au", "Ni", "Pd", "Pt", "Al"]), cubic=True)
        atoms.rattle(0.05, seed=number)
        if number in bad:
            atoms = Trap(atoms, info={"fate": bad[number]})
        made.append(atoms)
    return made


def energy(atoms, *, scale):
    """Return what tells items apart; it takes some time."""
    time.sleep(0.02)
    return scale * float(atoms.positions.sum())


@contextmanager
def trouble(server, came):
    """Kill workers, a random one after a random number of results, and the server in between."""
    chosen = random.Random(2)
    over = threading.Event()
    killed = []

    def kill_workers():
        due = 0
        while not over.wait(chosen.uniform(0, 0.2)):
            if came.total() > due:
                with suppress(psutil.NoSuchProcess):
                    psutil.Process(chosen.choice(workers())).kill()
                    killed.append(due)
                due = came.total() + chosen.randint(10, 60)

    def restart_the_server():
        while not over.wait(0.1):
            if came.total() > 100:
                server.kill()
                server.start()
                return

    threads = [threading.Thread(target=target) for target in (kill_workers, restart_the_server)]
    for thread in threads:
        thread.start()
    try:
        yield killed
    finally:
        over.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("job", [energy, relax_job])
def test_every_good_result_arrives_once_and_every_bad_item_is_named(job, tmp_path):
    bad = {41: "raises", 97: "crashes", 163: "loops", 240: "holds"}
    keywords = {"scale": 2.0} if job is energy else {"fmax": 0.02}
    structures = items(bad)
    came, values, errors, runs = Counter(), {}, [], []

    @flow(task_runner=make_runner())
    def campaign():
        runs.append(FlowRunContext.get().flow_run.id)
        with trouble(server, came) as killed:
            try:
                for index, result in fan_out(job, structures, time_limit=TIME_LIMIT, **keywords):
                    came[index] += 1
                    values[index] = result if job is energy else result["key"]
            except JobsFailedError as failure:
                errors.extend(failure.exceptions)
        assert killed

    with Server(tmp_path / "prefect") as server, reporting_to(server):
        campaign()
        state, task_runs = states(runs[0])
    assert came == Counter(set(range(COUNT)) - set(bad))
    assert [type(error) for error in errors] == [ERRORS[fate] for fate in bad.values()]
    for error, index in zip(errors, bad, strict=True):
        name = structures[index].get_chemical_formula()
        assert error.__notes__[-1] == f"structure: {name} (item {index})"
    if job is energy:
        assert values == {index: energy(structures[index], **keywords) for index in came}
    stored = {row.key for row in Store().select(limit=None)}
    assert stored == (set() if job is energy else set(values.values()))
    assert state == "Completed"  # the flow made do without the bad ones
    assert {run.rpartition(": ")[2] for run in task_runs} == {"Completed", "Failed"}
    assert workers() == []
