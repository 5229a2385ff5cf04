"""Campaigns in notebooks: the notebook of the cookbook, with real kernels on a real Slurm."""

import os
import signal
import sys
import time
from pathlib import Path

import cloudpickle
import nbclient
import nbformat
import pytest
from jupyter_client.manager import start_new_kernel
from prefect import flow, task
from prefect.settings import get_current_settings

from quacc.errors import ParameterError
from quacc.prefect import make_runner
from quacc.prefect.campaign import start
from quacc.store import Store

pytestmark = pytest.mark.usefixtures("prefect_server")

cloudpickle.register_pickle_by_value(sys.modules[__name__])

NOTEBOOK = Path(__file__).parents[2] / "recipes" / "surfaces.ipynb"


def double(number):
    return 2 * number


def sleep(seconds):
    time.sleep(seconds)


def fail(word):
    raise ValueError(word)


@pytest.fixture
def notebook(slurm, monkeypatch):
    """Return the notebook, with Slurm as its site and jobs that take some seconds."""
    server = get_current_settings().to_environment_variables(exclude_unset=True)
    for name, value in server.items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    [settings] = [cell for cell in notebook.cells if cell.id == "settings"]
    settings.source = (
        "SITE = 'devcluster'\nMETALS = ['Cu', 'Ni']\n"
        "OPTIONS = {'min_lateral': 11, 'relax_kwargs': {'fmax': 0.001}}"
    )
    return notebook


def kept():
    return {row.key: row.created for row in Store().select()}


class Kernel:
    """A kernel that runs cells as a person does."""

    def __init__(self):
        self.manager, self.client = start_new_kernel(cwd=os.getcwd())

    def run(self, code):
        told = []

        def hear(message):
            content = message["content"]
            data = content.get("data", {}).get("text/plain", "")
            told.append(content.get("text", "") or data)

        reply = self.client.execute_interactive(code, timeout=60, output_hook=hear)
        assert reply["content"]["status"] == "ok", reply["content"]
        return "".join(told)


@pytest.mark.slurm
def test_a_killed_notebook_is_taken_up_again(notebook, slurm):
    kernel = Kernel()
    try:
        started = time.monotonic()
        for cell in notebook.cells:
            if cell.id in ("settings", "flow", "start"):
                shown = kernel.run(cell.source)
        assert "surfaces: running for 00:00:0" in shown
        deadline = time.monotonic() + 90
        while len(kept()) < 3:
            assert time.monotonic() < deadline, kernel.run("print(campaign)")
            time.sleep(0.2)
        told = kernel.run("print(campaign)")
        assert "surfaces: running" in told, (told, time.monotonic() - started)
        assert "Slurm job" in told
        assert "jobs ended" in told

        # Interrupting the cell that waits leaves the campaign alone.
        asked = kernel.client.execute("campaign.result()")
        time.sleep(1)
        kernel.manager.interrupt_kernel()
        while (reply := kernel.client.get_shell_msg(timeout=30))["parent_header"][
            "msg_id"
        ] != asked:
            pass
        assert reply["content"]["ename"] == "KeyboardInterrupt"
        # What the interrupted cell printed last may come with this one's output.
        assert kernel.run("print(campaign.state)").endswith("running\n")

        before = kept()
        assert len(before) < 16
    finally:
        os.killpg(kernel.manager.provisioner.pid, signal.SIGKILL)
        kernel.client.stop_channels()

    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    [table] = [cell.outputs for cell in notebook.cells if cell.id == "table"]
    assert "Cu [1, 1, 1] " in table[0]["text"]
    after = kept()
    assert len([key for key in after if key not in before]) >= 1
    assert {key: after[key] for key in before} == before
    jobs = [result for result in Store().find(list(after)).values() if "provenance" in result]
    assert all(job["provenance"]["job_id"] for job in jobs)
    assert len({job["provenance"]["job_id"] for job in jobs}) > 1
    deadline = time.monotonic() + 90  # workers notice that their flow is gone
    while slurm.call("squeue", "-h", "-o", "%A"):
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_a_campaign_in_a_script():
    @flow(task_runner=make_runner())
    def doubles(numbers):
        futures = [task(double).submit(number) for number in numbers]
        return [future.result() for future in futures]

    campaign = start(doubles, [1, 2])
    assert campaign.state == "running"
    assert campaign.result(timeout=60) == [2, 4]
    assert campaign.state == "completed"
    assert (campaign.submitted, campaign.ended, campaign.failed) == (2, 2, 0)
    assert "2 of 2 jobs ended" in repr(campaign)
    assert "<progress" in campaign._repr_html_()


def test_a_cancelled_campaign():
    @flow(task_runner=make_runner())
    def endless():
        task(sleep).submit(0).result()  # first, since two workers may begin with any two
        return [task(sleep).submit(120) for _ in range(2)][-1].result()

    campaign = start(endless)
    deadline = time.monotonic() + 60
    while campaign.ended < 1:
        assert time.monotonic() < deadline, campaign
        time.sleep(0.1)
    with pytest.raises(TimeoutError, match="still runs"):
        campaign.result(timeout=0.1)
    campaign.cancel()
    assert campaign.wait(60)
    assert campaign.state == "cancelled"
    with pytest.raises(BaseException, match="cancelled"):
        campaign.result()


def test_a_failed_campaign_tells_what_failed():
    @flow(task_runner=make_runner())
    def failing():
        return task(fail).submit("seven").result()

    campaign = start(failing)
    with pytest.raises(ValueError, match="seven"):
        campaign.result(timeout=60)
    assert campaign.state == "failed"
    assert campaign.failed == 1
    assert "1 failed" in repr(campaign)
    assert "seven" in repr(campaign)


def test_a_flow_that_would_compute_here_is_refused():
    @flow
    def here():
        pass

    with pytest.raises(ParameterError, match="make_runner"):
        start(here)
