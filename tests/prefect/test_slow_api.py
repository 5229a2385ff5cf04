"""A Prefect API that is slow, limits the rate of requests, or is gone, in mid-run."""

import re
import sys
import threading
import time
from contextlib import contextmanager

import cloudpickle
import pytest
from ase.build import bulk
from prefect import flow
from prefect.concurrency._asyncio import ConcurrencySlotAcquisitionError
from prefect.context import FlowRunContext
from prefect.settings import temporary_settings

from quacc.prefect import fan_out, make_runner
from quacc.prefect.lifecycle import watch as lifecycle
from tests.prefect.programs import Proxy, Server, reporting_to, states

cloudpickle.register_pickle_by_value(sys.modules[__name__])

COUNT = 300

SLOTS = b"/api/v2/concurrency_limits/increment-with-lease"
"""What a task run asks before it starts."""


def volume(atoms):
    time.sleep(0.02)
    return atoms.get_volume()


@contextmanager
def meanwhile(action):
    """Do something in another thread, and wait for its end."""
    thread = threading.Thread(target=action)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def slow(proxy, log):
    proxy.delay = 1.0


def limiting(proxy, log):
    proxy.limits = True
    while proxy.requests["refused"] < 40:
        time.sleep(0.1)
    proxy.limits = False


def gone(proxy, log):
    time.sleep(2)
    proxy.go_away()
    while "does not answer" not in log.text:
        time.sleep(0.1)
    time.sleep(5)
    proxy.come_back()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("server") / "prefect") as started:
        yield started


@pytest.mark.parametrize("trouble", [slow, limiting, gone])
def test_a_fan_out_completes_and_the_server_knows(trouble, server, monkeypatch, caplog):
    monkeypatch.setattr(lifecycle, "PERIOD", 0.5)
    structures = [bulk("Cu", a=3.5 + 0.001 * number, cubic=True) for number in range(COUNT)]

    @flow(task_runner=make_runner())
    def campaign():
        with meanwhile(lambda: trouble(proxy, caplog)):
            results = fan_out(volume, structures).results()
        return FlowRunContext.get().flow_run.id, results

    with Proxy(server) as proxy, reporting_to(proxy):
        run, results = campaign()
    assert results == [atoms.get_volume() for atoms in structures]
    with temporary_settings(server.settings()):
        state, jobs = states(run)
    assert state == "Completed"
    assert {job.rpartition(": ")[2] for job in jobs} == {"Completed"}
    assert sum(map(items_of, jobs)) == COUNT
    assert proxy.requests["passed"] < 100


def mass(atoms):
    return atoms.get_masses().sum()


def test_a_server_that_fails_to_start_task_runs(server, monkeypatch):
    """It is asked five times; then the flow ends with its error, and does not hang.

    Prefect asks only once for tags that have no limit, so the job is one that no other test has.
    """
    monkeypatch.setattr(lifecycle, "PERIOD", 0.5)

    @flow(task_runner=make_runner())
    def campaign():
        return fan_out(mass, [bulk("Cu")]).results()

    with Proxy(server) as proxy, reporting_to(proxy):
        proxy.fails[SLOTS] = 100
        with pytest.raises(ConcurrencySlotAcquisitionError, match="500 Internal"):
            campaign()
        assert proxy.requests["failed"] == 5
        proxy.fails[SLOTS] = 4
        assert campaign() == [bulk("Cu").get_masses().sum()]
    assert proxy.requests["failed"] == 5 + 4


def items_of(job):
    """Return how many items a task run of this name has."""
    found = re.match(r"volume (\d+)\b", job)
    return int(found[1]) if found else 1
