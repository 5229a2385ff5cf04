"""A real PostgreSQL server, for tests and benchmarks."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAMS = Path("/usr/lib/postgresql/15/bin")
PASSWORD = "p@ss/w:rd#1"
QUOTED = "p%40ss%2Fw%3Ard%231"


def as_server_user(*command: Any, **options: Any) -> Any:
    """Run a program as somebody who is not root, which PostgreSQL refuses to be."""
    if os.geteuid() == 0:
        options |= {"user": "postgres", "group": "postgres", "extra_groups": []}
    return subprocess.run([str(part) for part in command], cwd="/", check=True, **options)


def missing() -> str | None:
    """Return why no server can be started here."""
    if not (PROGRAMS / "initdb").exists():
        return f"PostgreSQL's server programs are not in {PROGRAMS}"
    if os.geteuid() == 0:
        try:
            pwd.getpwnam("postgres")
        except KeyError:
            return "PostgreSQL cannot run as root, and there is no user 'postgres'"
    return None


@contextmanager
def running_server() -> Iterator[str]:
    """Yield ``host:port`` of a fresh server that wants a password."""
    if reason := missing():
        raise RuntimeError(reason)
    # Short, because a socket's path must be, and outside pytest's folder, which is private.
    folder = Path(tempfile.mkdtemp(prefix="quacc-pg-"))
    password = folder / "password"
    password.write_text(PASSWORD)
    if os.geteuid() == 0:
        for path in (folder, password):
            shutil.chown(path, "postgres")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data = folder / "data"
    control = [PROGRAMS / "pg_ctl", "-D", data]
    try:
        as_server_user(
            PROGRAMS / "initdb", "-D", data, "-U", "quacc", "--pwfile", password,
            "--auth=scram-sha-256", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8",
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        options = f"-c listen_addresses=127.0.0.1 -p {port} -k {folder} -c fsync=off"
        as_server_user(
            *control, "-w", "-t", "60", "-l", folder / "log", "-o", options, "start",
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        yield f"127.0.0.1:{port}"
    finally:
        if (data / "postmaster.pid").exists():
            as_server_user(*control, "-m", "immediate", "stop", stdout=subprocess.DEVNULL)
        shutil.rmtree(folder)


def new_database(server: str, name: str) -> str:
    """Return the address of a new, empty database."""
    import psycopg2

    connection = psycopg2.connect(f"{server}/postgres")
    connection.autocommit = True
    connection.cursor().execute(f"CREATE DATABASE {name}")
    connection.close()
    return f"{server}/{name}"
