"""How far a fan-out is: what a person sees in a terminal, a notebook, the log, the dashboard."""

import asyncio
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time

import nbclient
import nbformat
import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import temporary_settings

from quacc.prefect.show.pace import Pace
from quacc.prefect.show.progress import Progress
from tests.prefect.programs import Server

PROGRAM = """
import logging
from quacc.prefect.show.progress import Progress

with Progress("relax", 4) as progress, Progress("static", None) as other:
    print("printed")
    logging.warning("logged")
    progress.update(computed=2, cached=1, failed=1)
    other.update(computed=1000, cached=0, failed=0)
print("after")
"""


def text(pace, now):
    return pace.view(now).text


def test_rate_and_time_left():
    pace = Pace(10_000, now=1000)
    assert text(pace, 1000) == "0 of 10,000 done"
    pace.count(1000.1, computed=0, cached=4000, failed=0)  # cached ones tell nothing of the rate
    assert text(pace, 1001) == "4,000 of 10,000 done (4,000 cached)"
    for second in range(1, 101):
        pace.count(1000 + second, computed=19 * second, cached=4000, failed=second)
    assert text(pace, 1100) == ("6,000 of 10,000 done (4,000 cached, 100 failed), 20/s, 3 min left")
    assert pace.view(1100).percent == 60
    pace.count(1300, computed=5900, cached=4000, failed=100)
    pace.end(1300)
    assert text(pace, 1300) == "10,000 of 10,000 done (4,000 cached, 100 failed) in 5 min"


def test_rate_follows_a_change():
    pace = Pace(None, now=0)
    for second in range(1, 1001):
        pace.count(second, computed=100 * second, cached=0, failed=0)
    for second in range(1, 1001):
        pace.count(1000 + second, computed=100_000 + 2 * second, cached=0, failed=0)
    assert pace.rate(2000) == pytest.approx(2, rel=1e-3)
    assert text(pace, 2000) == "102,000 done, 2.0/s"
    assert len(pace._samples) < 100


def test_an_hour_in_the_queue_does_not_count():
    pace = Pace(1000, now=0)
    for second in range(1, 121):
        pace.count(3600 + second, computed=second, cached=0, failed=0)
    assert pace.rate(3720) == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize(
    ("every", "expected"),
    [(0.5, "2.0/s"), (1.2, "50/min"), (60, "1.0/min"), (600, "6.0/h"), (86400, "0.0/h")],
)
def test_rates_of_slow_items(every, expected):
    pace = Pace(None, now=0)
    for item in range(1, 4):
        pace.count(item * every, computed=item, cached=0, failed=0)
    assert text(pace, 3 * every).endswith(expected)
    # None ended for long, and it shows.
    assert pace.rate(30 * every + 90) < 1 / every


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(99, "99 s"), (100, "2 min"), (5999, "100 min"), (7200, "2.0 h"), (259200, "3.0 days")],
)
def test_durations(seconds, expected):
    pace = Pace(2, now=0)
    pace.count(1, computed=1, cached=0, failed=0, total=seconds + 1)
    assert text(pace, 1) == f"1 of {seconds + 1:,} done, 1.0/s, {expected} left"
    pace.end(seconds)
    assert text(pace, seconds) == f"stopped: 1 of {seconds + 1:,} done in {expected}"


def test_nothing_to_do():
    pace = Pace(0, now=0)
    pace.end(1)
    assert text(pace, 1) == "0 of 0 done in 1 s"
    assert pace.view(1).percent == 100


def screen(written):
    """Return the lines that a terminal shows after this was written to it."""
    lines, row, column = [""], 0, 0
    for part in re.findall(r"\x1b\[[?0-9;]*[A-Za-z]|.", written, re.DOTALL):
        if part == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif part == "\r":
            column = 0
        elif part.endswith("A") and len(part) > 1:
            row -= int(part[2:-1])
        elif part == "\x1b[2K":
            lines[row] = ""
        elif not part.startswith("\x1b"):
            lines[row] = lines[row][:column].ljust(column) + part + lines[row][column + 1 :]
            column += 1
    return [line.rstrip() for line in lines]


def test_terminal():
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "100"},
    ) as program:
        os.close(theirs)
        written = b""
        try:
            while chunk := os.read(ours, 65536):
                written += chunk
        except OSError:  # the other end is closed
            pass
    os.close(ours)
    assert program.returncode == 0
    lines = screen(written.decode())
    assert lines[0] == "printed"
    assert lines[1].endswith("logged")
    assert re.fullmatch(r"relax +━+ 4 of 4 done \(1 cached, 1 failed\) in \d+ s", lines[2])
    assert re.fullmatch(r"static ━+ 1,000 done in \d+ s", lines[3])
    assert lines[4:] == ["after", ""]


def test_output_that_is_no_terminal_holds_no_bar():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.stdout == "printed\nafter\n"
    assert done.stderr.count("\n") == 1
    assert "logged" in done.stderr


def test_notebook():
    cell = nbformat.v4.new_code_cell(PROGRAM.replace("logging.warning", "print"))
    notebook = nbformat.v4.new_notebook(cells=[cell])
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    shown = {}
    for output in cell.outputs:
        if output.output_type == "display_data":
            name = output.data["text/plain"].split(":")[0]
            assert name not in shown
            shown[name] = output.data
    assert "4 of 4 done (1 cached, 1 failed) in" in shown["relax"]["text/plain"]
    assert '<progress value="100.0" max="100"></progress>' in shown["relax"]["text/html"]
    assert "1,000 done in" in shown["static"]["text/html"]


def artifacts(run):
    async def read():
        async with get_client() as client:
            only = {"artifacts": {"flow_run_id": {"any_": [str(run)]}}}
            return (await client.request("POST", "/artifacts/filter", json=only)).json()

    return asyncio.run(read())


def test_dashboard_and_log(prefect_server, caplog):
    @flow
    def campaign():
        with Progress("Relax_25 Å", 4) as progress:
            progress.update(computed=1, cached=1, failed=1)
        return FlowRunContext.get().flow_run.id

    [artifact] = artifacts(campaign())
    assert artifact["type"] == "progress"
    assert artifact["key"] == "progress-relax-25"
    assert artifact["data"] == 75
    assert artifact["description"].startswith(
        "Relax_25 Å: stopped: 3 of 4 done (1 cached, 1 failed) in"
    )
    [line] = [record for record in caplog.records if "3 of 4 done" in record.message]
    assert line.name == "prefect.flow_runs"


def test_asynchronous_flow(prefect_server):
    @flow
    async def campaign():
        with Progress("relax", None) as progress:
            await asyncio.sleep(0)
            progress.update(computed=2, cached=0, failed=0, total=2)
        return FlowRunContext.get().flow_run.id

    [artifact] = artifacts(asyncio.run(campaign()))
    assert artifact["data"] == 100


def drawing():
    return [thread for thread in threading.enumerate() if thread.name.startswith("progress")]


def test_a_server_that_does_not_answer_holds_up_nothing(tmp_path):
    with Server(tmp_path / "prefect") as server, temporary_settings(server.settings()):

        @flow
        def campaign():
            with Progress("relax", 3) as progress:
                progress.update(computed=1, cached=0, failed=0)
                os.kill(server.process.pid, signal.SIGSTOP)
                progress.update(computed=3, cached=0, failed=0)
            left = drawing()
            os.kill(server.process.pid, signal.SIGCONT)
            while drawing():
                time.sleep(0.1)
            return left, FlowRunContext.get().flow_run.id

        left, run = campaign()
        assert [thread.name for thread in left] == ["progress _Artifact"]
        [artifact] = artifacts(run)
        APILogWorker.drain_all()  # what is left when the server ends is tried for a minute
        EventsWorker.drain_all()
    assert artifact["data"] == 100
    assert "3 of 3 done in" in artifact["description"]
