"""Servers of `quacc server`, and the commands and flows that meet them."""

import json
import os
import socket
import subprocess
import sys

import psutil
from prefect.settings import PREFECT_HOME, temporary_settings
from typer.testing import CliRunner

from quacc.cli.main import app
from quacc.errors import QuaccError

FLOW = """
import asyncio, json, sys
from prefect import flow
from prefect.settings import PREFECT_API_URL
import quacc.prefect.flows

@flow
def plain():
    return PREFECT_API_URL.value()

@flow
async def later():
    return PREFECT_API_URL.value()

urls = [plain(), asyncio.run(later()), PREFECT_API_URL.value()]
print(json.dumps([urls, "prefect.server.api.server" in sys.modules]))
"""


def command(place, *words, feed=None):
    """Run `quacc server …` as a person with this home would, in this process."""
    with temporary_settings({PREFECT_HOME: place}):
        done = CliRunner().invoke(app, ["server", *map(str, words)], input=feed)
    if isinstance(done.exception, QuaccError):  # which the command prints
        return 1, str(done.exception)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout


def python(place, code, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PREFECT_HOME": str(place), **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def word(place):
    """Return what the server says of itself."""
    return json.loads((place / "quacc-server" / "running.json").read_text())


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def servers(place):
    """Return the processes of servers of this home."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if str(place / "quacc-server") in (process.info["cmdline"] or [])
    ]
