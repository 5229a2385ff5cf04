"""Servers of `quacc server`, and the commands and flows that meet them."""

import json
import os
import socket
import subprocess
import sys
from contextlib import suppress

import psutil
import pytest
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


NOBODY = 65534
"""A second user of the machine."""


def python_of_others():
    """Return a Python that other users can start; this one may be in a folder of root's."""
    for one in (os.path.realpath(sys.executable), "/usr/local/bin/python3", "/usr/bin/python3"):
        with suppress(OSError):
            if not subprocess.run([one, "-c", ""], user=NOBODY, cwd="/", check=False).returncode:
                return one
    pytest.skip("other users can start no Python here")


def as_another(code, *arguments, feed=""):
    """Run Python code as another user; return what it prints, as JSON."""
    if os.getuid() != 0:
        pytest.skip("only root can start programs as another user")
    done = subprocess.run(
        [python_of_others(), "-I", "-S", "-c", code, *arguments],
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        cwd="/",
        stdout=subprocess.PIPE,
        text=True,
        input=feed,
        timeout=60,
        check=True,
    )
    return json.loads(done.stdout)
