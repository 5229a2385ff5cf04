"""Nobody else gets in: what listens, where, and what it answers to strangers."""

import os
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import cloudpickle
import distributed
import psutil
import pytest
from prefect import flow, task
from prefect.context import FlowRunContext

from quacc.cluster.certificates import make_folder
from quacc.prefect import make_runner
from tests.processes import below, look_at

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("prefect_server")]

cloudpickle.register_pickle_by_value(sys.modules[__name__])


def listening(pids):
    """Return addresses that processes and those below them listen on."""
    tree = {child.pid for pid in pids for child in below(pid)} | {*pids}
    return {
        (address.laddr.ip, address.laddr.port)
        for addresses in look_at(tree, lambda process: process.net_connections("inet")).values()
        for address in addresses
        if address.status == psutil.CONN_LISTEN
    }


def answers_plainly(address):
    """Tell whether somebody answers who does not ask for TLS with a certificate."""
    with socket.create_connection(address, timeout=5) as connection:
        connection.settimeout(3)
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        try:
            return connection.recv(100).startswith(b"HTTP")
        except (TimeoutError, ConnectionError):
            return False


def accepts_without_certificate(address):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection(address, timeout=5) as connection:
            with context.wrap_socket(connection) as wrapped:
                wrapped.settimeout(3)
                wrapped.sendall(b"x" * 100)
                return bool(wrapped.recv(10))
    except (OSError, ssl.SSLError):
        return False


def job_processes():
    """Return the worker, the fork server, and the nanny."""
    above = os.getppid()
    return os.getpid(), above, psutil.Process(above).ppid()


def test_everything_beyond_the_loopback_asks_for_a_certificate(on_slurm):
    """On the machine's own network, as between login and compute nodes."""
    del on_slurm["interface"]
    before = listening([os.getpid()])

    seen = {}

    @flow(task_runner=make_runner(on_slurm))
    def looked_at():
        worker = task(job_processes).submit().result()
        seen["open"] = (listening([os.getpid()]) - before) | listening(worker)
        seen["scheduler"] = FlowRunContext.get().task_runner.client.scheduler.address
        beyond = {address for address in seen["open"] if not address[0].startswith("127.")}
        seen["plain"] = {address for address in beyond if answers_plainly(address)}
        seen["anybody"] = {address for address in beyond if accepts_without_certificate(address)}
        seen["beyond"] = beyond
        with pytest.raises((OSError, TypeError)):
            distributed.Client(seen["scheduler"].replace("tls://", "tcp://"), timeout=3)
        stranger = distributed.Security.temporary()  # a certificate, but not of this run
        with pytest.raises(OSError, match="(?i)certificate|ssl|timed out"):
            distributed.Client(seen["scheduler"], security=stranger, timeout=3)

    looked_at()
    assert seen["scheduler"].startswith("tls://")
    assert seen["beyond"], "the machine has no network; nothing was tested"
    assert seen["plain"] == set()
    assert seen["anybody"] == set()


def test_certificates_are_for_the_user_alone_and_for_one_run(on_slurm):
    cache = Path.home() / ".cache" / "quacc"
    before = list(cache.glob("run-*"))

    @flow(task_runner=make_runner(on_slurm))
    def campaign():
        task(job_processes).submit().result()
        [keys] = [file for file in cache.glob("run-*") if file not in before]
        return {file: file.stat().st_mode & 0o777 for file in [keys, *keys.iterdir()]}

    first, second = campaign(), campaign()
    assert set(first.values()) == {0o700, 0o600}
    assert len(first) == 4
    assert not set(first) & set(second)
    assert not [file for file in {*first, *second} if file.exists()]
    assert cache.stat().st_mode & 0o777 == 0o700


def test_certificates_of_a_run_that_was_killed_are_removed_by_the_next(tmp_path):
    killed = f"from quacc.cluster.certificates import make_folder; make_folder({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", killed], check=True)
    mine = make_folder(tmp_path)
    assert make_folder(tmp_path) != mine
    assert len(list(tmp_path.iterdir())) == 2
    assert mine.exists()


def test_without_tls_only_when_asked(on_slurm):
    @flow(task_runner=make_runner(on_slurm, secure=False))
    def campaign():
        task(job_processes).submit().result()
        return FlowRunContext.get().task_runner.client.scheduler.address

    assert campaign().startswith("tcp://")
