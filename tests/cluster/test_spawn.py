"""Worker processes: copies of a fork server that are like processes of their own."""

import atexit
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import psutil
import pytest
from prefect import flow, task

import quacc.cluster.spawn
from quacc.prefect import make_runner
from quacc.settings import change_settings, get_settings
from tests.processes import fork_servers, workers


def answer(function, *args):
    """Return what a function returns in a new process."""
    context = get_context("quacc")
    ours, theirs = context.Pipe()
    process = context.Process(target=send, args=(theirs, function, args))
    process.start()
    theirs.close()
    try:
        return ours.recv()
    finally:
        process.join()
        ours.close()


def send(pipe, function, args):
    pipe.send(function(*args))


def about(name):
    loaded = "distributed.worker" in sys.modules
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGHUP)
    return os.environ.get(name), os.getcwd(), loaded, handlers, psutil.Process().ppid()


def test_a_copy_has_what_a_new_process_would_have(tmp_path, monkeypatch):
    *_, server = answer(about, "QUACC_FIRST")
    monkeypatch.setenv("QUACC_FIRST", "one")
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGHUP)
    assert answer(about, "QUACC_FIRST") == ("one", str(tmp_path), True, before, server)
    monkeypatch.delenv("QUACC_FIRST")
    assert answer(about, "QUACC_FIRST")[0] is None


def test_what_libraries_read_when_they_are_loaded_needs_a_server_of_its_own(monkeypatch):
    *_, server = answer(about, "HOME")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    threads, *_, other = answer(about, "OMP_NUM_THREADS")
    assert threads == "7"
    assert other != server


def draw():
    return float(np.random.random())


def test_copies_draw_random_numbers_of_their_own():
    assert len({answer(draw) for _ in range(3)}) == 3


def print_and_leave(file):
    atexit.register(Path(file).write_text, "at exit")
    print("printed by the copy", flush=True)


def test_a_copy_prints_where_this_process_does_and_does_what_is_left_at_its_end(tmp_path, capfd):
    answer(print_and_leave, tmp_path / "file")
    assert "printed by the copy" in capfd.readouterr().out
    assert (tmp_path / "file").read_text() == "at exit"


def test_without_a_socket_workers_are_spawned(monkeypatch, tmp_path, capfd):
    def fail():
        raise OSError("AF_UNIX path too long")

    monkeypatch.setattr(quacc.cluster.spawn, "_server", fail)
    value, *_, parent = answer(about, "HOME")
    assert value == os.environ["HOME"]
    assert parent == os.getpid()
    answer(print_and_leave, tmp_path / "file")
    assert "printed by the copy" in capfd.readouterr().out


def inherited(file):
    file.touch()
    margin = get_settings().walltime_margin
    return margin, file.stat().st_mode & 0o777, os.sched_getaffinity(0)


def test_a_copy_has_the_settings_rights_and_cores_of_its_time(tmp_path):
    default = get_settings().walltime_margin
    with change_settings(walltime_margin=777):
        assert answer(inherited, tmp_path / "first")[0] == 777
    cores = os.sched_getaffinity(0)
    before = os.umask(0o077)
    os.sched_setaffinity(0, {min(cores)})
    try:
        assert answer(inherited, tmp_path / "second") == (default, 0o600, {min(cores)})
    finally:
        os.umask(before)
        os.sched_setaffinity(0, cores)


def test_the_exit_status_is_told_once_whoever_asks():
    """As the threads of several nannies do."""
    context, found = get_context("quacc"), Counter()

    def start_and_join():
        for _ in range(5):
            process = context.Process(target=os._exit, args=(7,))
            process.start()
            joining = threading.Thread(target=process.join)
            joining.start()
            multiprocessing.active_children()
            joining.join()
            found[process.exitcode] += 1

    threads = [threading.Thread(target=start_and_join) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {7: 20}


def test_a_server_ends_with_its_process(tmp_path):
    code = (
        "import os, signal, sys\n"
        "from tests.cluster.test_spawn import about, answer\n"
        "print(answer(about, 'HOME')[-1], flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(__file__).parents[2]
    found = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert found.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 30
    while psutil.pid_exists(int(found.stdout)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def slow(number):
    time.sleep(3)
    return number


@pytest.mark.usefixtures("prefect_server")
def test_a_killed_fork_server_is_nobodys_fault():
    @flow(task_runner=make_runner())
    def campaign():
        futures = [task(slow).submit(number) for number in range(2)]
        deadline = time.monotonic() + 60
        while len(workers()) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(1)
        for server in fork_servers():
            os.kill(server, signal.SIGKILL)
        return [future.result() for future in futures]

    assert campaign() == [0, 1]
