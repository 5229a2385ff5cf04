"""Ctrl-C, SIGTERM and kill -9 of a run: nothing stays behind, finished results are kept."""

import os
import signal
import subprocess
import sys
import time

import cloudpickle
import psutil
import pytest
from prefect import flow, task

from quacc.prefect import make_runner
from quacc.store import Store
from tests.processes import below, look_at

cloudpickle.register_pickle_by_value(sys.modules[__name__])


def sleep(seconds):
    time.sleep(seconds)


@pytest.mark.usefixtures("prefect_server")
def test_an_interrupted_flow_does_not_wait_for_its_jobs():
    @flow(task_runner=make_runner())
    def interrupted():
        first = task(sleep).submit(0)
        first.wait()  # the workers are there
        futures = [task(sleep).submit(120) for _ in range(4)]
        time.sleep(1)
        raise KeyboardInterrupt(len(futures))

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert time.monotonic() - started < 60


@pytest.mark.parametrize("name", ["INT", "TERM", "KILL"])
@pytest.mark.parametrize("tracked", ["--prefect", "--local"])
def test_a_run_that_is_ended(name, tracked, tmp_path):
    log = tmp_path / "log"
    with log.open("w") as stream:
        run = subprocess.Popen(
            ["quacc", "run", "bulk_to_slabs", "Cu", "--min-lateral", "24", tracked],
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    while len(list(Store().select())) < 2:
        assert run.poll() is None, log.read_text()
        time.sleep(0.1)
    processes = below(run.pid)
    lines = look_at(processes, psutil.Process.cmdline).values()
    assert any("uvicorn" in " ".join(line) for line in lines) == (tracked == "--prefect")
    if name == "INT":
        os.killpg(run.pid, signal.SIGINT)  # as a terminal does
    else:
        run.send_signal(getattr(signal, f"SIG{name}"))
    run.wait(timeout=30)
    _, alive = psutil.wait_procs(processes, timeout=30)
    assert alive == []
    told = log.read_text()
    if name != "KILL":
        assert run.returncode == 130
        assert "quacc: interrupted. Results of finished jobs are kept" in told
        assert "The same command goes on." in told
        assert "Traceback" not in told
    kept = [row.recipe for row in Store().select()]
    assert {"emt.relax_job", "emt.static_job"} <= set(kept)
    assert len(kept) < 8
