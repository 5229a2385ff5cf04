"""The installed versions of Prefect's server and of what it is made of work together."""

import os
import subprocess
import sys
import time

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from tests.prefect.programs import Server

COMMANDS = [
    *("artifact ls", "automation ls", "block ls", "block type ls", "concurrency-limit ls"),
    *("deployment ls", "flow ls", "flow-run ls"),
    *("global-concurrency-limit ls", "variable ls", "work-pool ls", "work-queue ls"),
]

SERVED = """
from datetime import timedelta
from prefect import flow

@flow
def twice():
    pass

if __name__ == "__main__":
    twice.serve(name="twice", interval=timedelta(seconds=5), limit=1)
"""


LISTED = """
import sys
from prefect.cli import app

for command in sys.argv[1:]:
    sys.argv = ["prefect", *command.split()]
    try:
        app()
    except SystemExit as end:
        if end.code:
            sys.exit(f"{command}: {end.code}")
"""


def test_listing_commands_and_a_schedule(tmp_path):
    # Not the server of a run, which has no schedules.
    with Server(tmp_path / "prefect") as server:
        (tmp_path / "served.py").write_text(SERVED)
        environment = os.environ | server.env | {"COLUMNS": "200"}
        served = subprocess.Popen(
            [sys.executable, "served.py"],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_for_runs(server, 1)
            listed = subprocess.run(
                [sys.executable, "-c", LISTED, *COMMANDS],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
        finally:
            served.terminate()
            served.wait(200)
    assert listed.returncode == 0, listed.stdout + listed.stderr
    assert listed.stdout.count("twice") >= 3  # deployment, flow, flow run


def wait_for_runs(server, count):
    ended = FlowRunFilter(state={"type": {"any_": ["COMPLETED"]}})
    deadline = time.monotonic() + 120
    with (
        temporary_settings(
            {PREFECT_API_URL: server.url, PREFECT_API_AUTH_STRING: "quacc:tests"},
        ),
        get_client(sync_client=True) as client,
    ):
        while len(runs := client.read_flow_runs(flow_run_filter=ended)) < count:
            assert time.monotonic() < deadline, "no schedule fires"
            time.sleep(0.5)
    assert all(run.auto_scheduled for run in runs)
