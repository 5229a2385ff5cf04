"""How the process of a Prefect server is started and waited for, once at a time."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from quacc.cluster.processes import is_dead
from quacc.deploy.log import LOG, last_lines, open_log
from quacc.deploy.serve import CHOICES
from quacc.errors import SettingsError
from quacc.ownfiles import read_own
from quacc.prefect.lifecycle.running import Running, credentials, read, state_file
from quacc.prefect.lifecycle.server import TUNING

_PORTS = range(4200, 4300)
_PATIENCE = 180.0  # s; a loaded login node
_SILENCE = 45.0  # s; an answer that takes longer does not come
_LOOK = 0.2  # s


@contextmanager
def lock(place: Path) -> Iterator[int | None]:
    """Take the lock that a running server has; yields the open file, or None where it is taken."""
    with open(os.open(place / "lock", os.O_RDWR | os.O_CREAT, 0o600)) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield file.fileno()


def refuse_elsewhere(place: Path) -> None:
    """Refuse what another machine's server forbids.

    Raises
    ------
    SettingsError
        A server has left word of itself, and whether it runs cannot be told from here.
    """
    running = read(place)
    if running and not running.is_alive() and not is_dead(running.process):
        raise SettingsError(
            f"The Prefect server runs on {running.machine}, since {when(running)}: log in there. "
            f"If it is certain that it does not, remove {state_file(place)}."
        )


def when(running: Running) -> str:
    """Return when a server started, for people."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(running.started))


def chosen_before(place: Path) -> dict[str, Any]:
    """Return where the server listened the last time, and which database it had."""
    file = place / CHOICES
    try:
        return dict(json.loads(read_own(file, secret=True))) if file.exists() else {}
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"{file}, which says which database the Prefect server has, cannot be trusted or read "
            f"({error}). Remove that file, and start the server as the first time."
        ) from None


def listener(host: str, port: int | None, before: int | None) -> socket.socket:
    """Take a port at which nobody else can answer from now on."""
    ports = [port] if port else [before or _PORTS[0], *_PORTS]
    for one in ports:
        held = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        # Connections of the server before this one may not be forgotten yet.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            held.bind((host, one))
            held.listen()
        except OSError as error:
            held.close()
            problem = error
        else:
            return held
    raise SettingsError(
        f"The server cannot listen at port {one} of {host}: {problem.strerror or problem}. Give "
        "another one with --port, or another address of this machine with --host."
    )


def popen(place: Path, held: socket.socket, lock: int) -> subprocess.Popen[bytes]:
    log = open_log(place / LOG)
    ours = ("PREFECT_API_", "PREFECT_SERVER_API_", "PREFECT_SERVER_DATABASE_", "PREFECT_UI_")
    usual = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    with held, open(log, "ab") as stream:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "quacc.deploy.serve", str(place), str(held.fileno())],
            pass_fds=[held.fileno(), lock],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,  # it outlives the terminal
            cwd=place,  # modules are looked for there by Prefect's migrations
            env={
                **usual,
                **{setting.name: str(value) for setting, value in TUNING.items()},
                "PREFECT_HOME": str(place.parent),
            },
        )


def wait_for(
    place: Path, process: subprocess.Popen[bytes] | None = None, *, answer: bool = True
) -> Running:
    """Return the server when it answers: the one that was started, or that somebody has started."""
    begun = time.monotonic()
    while time.monotonic() - begun < _PATIENCE:
        refuse_elsewhere(place)
        running = read(place)
        if running and running.is_alive():
            if not answer or not running.why_silent(credentials(place)):
                return running
            starts = time.time() - running.started < _PATIENCE
            if not starts and time.monotonic() - begun > _SILENCE:
                break
        elif process is None:
            with lock(place) as free:
                if free is not None:
                    raise SettingsError(
                        "The Prefect server that was being started has ended; "
                        f"{place / LOG} says why."
                    )
        if process is not None and (status := process.poll()) is not None:
            raise SettingsError(
                f"The Prefect server has ended while it started (exit status {status}). The end of "
                f"its log, {place / LOG}:\n{last_lines(place / LOG)}"
            )
        time.sleep(_LOOK)
    raise SettingsError(
        f"The Prefect server's process is there, but does not answer. Its log is {place / LOG}; "
        "`quacc server stop` ends it."
    )
