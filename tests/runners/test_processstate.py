"""A job leaves no marks on those that follow it in its process."""

import decimal
import gc
import io
import locale
import logging
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import threading
import warnings

import cloudpickle
import numpy as np
import pytest
import threadpoolctl

from quacc.cluster.transport import pack, pack_arguments, pack_calls, run_calls, run_packed, unpack
from quacc.runners.processstate import CHANGED, capture, put_back


@pytest.fixture(autouse=True)
def _mine(monkeypatch):
    """This test process runs one job at a time, too."""
    monkeypatch.setattr("quacc.runners.processstate._mine", True)


@pytest.fixture(autouse=True, scope="module")
def _by_value():
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def state():
    """Return all that a job could see of others."""
    mask = os.umask(0o22)
    os.umask(mask)
    return {
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "umask": mask,
        "locale": locale.setlocale(locale.LC_ALL),
        "numpy": np.geterr(),
        "decimal": decimal.getcontext().prec,
        "handler": repr(signal.getsignal(signal.SIGUSR1)),
        "blocked": signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        "timer": signal.getitimer(signal.ITIMER_VIRTUAL),
        "limit": resource.getrlimit(resource.RLIMIT_NOFILE),
        "recursion": sys.getrecursionlimit(),
        "collects": gc.isenabled(),
        "timeout": socket.getdefaulttimeout(),
        "stack": threading.stack_size(),
        "path": list(sys.path),
        "filters": list(warnings.filters),
        "logging": (logging.root.level, logging.root.manager.disable),
        "stdout": sys.stdout is sys.__stdout__,
    }


def leave_marks():
    os.environ.update({"LEAK": "yes", "OMP_NUM_THREADS": "7", "QUACC_RESULTS_DIR": "/nowhere"})
    del os.environ["PATH"]
    os.chdir("/")
    os.umask(0o77)
    locale.setlocale(locale.LC_ALL, "C")
    np.seterr(all="raise")
    decimal.getcontext().prec = 3
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    signal.setitimer(signal.ITIMER_VIRTUAL, 1000)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
    sys.setrecursionlimit(777)
    gc.disable()
    socket.setdefaulttimeout(3.0)
    threading.stack_size(1 << 20)
    sys.path.insert(0, "/nowhere")
    warnings.simplefilter("error")
    logging.disable(logging.CRITICAL)
    sys.stdout = io.StringIO()


def job(number):
    seen = {**state(), "random": (random.random(), float(np.random.random()))}
    random.seed(1)
    np.random.seed(1)
    leave_marks()
    if number == 1:
        raise ValueError("marks are removed of those that fail, too")
    return seen


def test_every_job_finds_its_process_as_the_first_did():
    before = state()
    calls = pack_calls({}, job, [(i, pack_arguments((i,), {})) for i in range(4)])
    outcomes = []
    run_calls(calls, 60.0, outcomes.append)
    assert state() == before
    results = [unpack(one.packed) for one in outcomes if not one.failure]
    assert len(results) == 3
    numbers = [result.pop("random") for result in results]
    assert all(result == before for result in results)
    assert len({number for pair in numbers for number in pair}) == 6  # nobody's seed is another's


def test_a_single_call_is_put_back_too():
    before = state()
    unpack(run_packed(pack({}, job, (0,), {})))
    assert state() == before


def test_a_folder_that_is_gone(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    before = capture()
    os.chdir("/")
    assert put_back(before) is None


def test_numbers_of_threads():
    before = threadpoolctl.threadpool_info()
    taken = capture()
    threadpoolctl.threadpool_limits(3)
    assert put_back(taken) is None
    assert threadpoolctl.threadpool_info() == before


PROGRAM = """
import os, resource
from quacc.runners.processstate import capture, own_process, put_back
own_process()
capture()
os.setuid(65534)
before = capture()
resource.setrlimit(resource.RLIMIT_NOFILE, (10, 10))
print(put_back(before))
"""


@pytest.mark.skipif(os.getuid() != 0, reason="becomes another user")
def test_what_cannot_be_put_back_is_named():
    out = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    ).stdout
    assert out.startswith(CHANGED)
    assert "its limits" in out


def test_in_other_processes_nothing_is_touched(monkeypatch):
    """Such as a person's own, where other threads run."""
    monkeypatch.setattr("quacc.runners.processstate._mine", False)
    monkeypatch.delenv("LEAK", raising=False)
    random.seed(3)
    expected = random.random()
    random.seed(3)
    before = capture()
    os.environ["LEAK"] = "yes"
    assert put_back(before) is None
    assert os.environ["LEAK"] == "yes"
    assert random.random() == expected
