"""When a process is gone, and when that cannot be known."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from quacc.cluster.certificates import make_folder
from quacc.cluster.processes import is_alive, is_dead, signature

TELL = "from quacc.cluster.processes import signature; print(signature(), flush=True)"
WAIT = f"{TELL}; input()"


@pytest.fixture
def other():
    """Return a process and its signature."""
    with subprocess.Popen(
        [sys.executable, "-c", WAIT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process, process.stdout.readline().strip()
        process.kill()


def changed(text, **fields):
    names = ("machine", "uid", "boot", "namespace", "pid", "born")
    parts = dict(zip(names, text.rsplit("_", 5), strict=True))
    assert fields.keys() <= parts.keys()
    return "_".join((parts | fields).values())


def test_a_process_is_alive_until_it_ends(other):
    process, text = other
    assert not is_dead(text)
    assert is_alive(text)
    process.kill()
    # Even before its parent, this one, has asked for its end.
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE
    assert is_dead(text)
    assert not is_alive(text)
    process.wait()
    assert is_dead(text)


def test_a_number_that_was_given_again(other):
    _, text = other
    born = int(text.rpartition("_")[2])
    assert is_dead(changed(text, born=str(born - 100)))
    # The kernel's idea of the time of the boot shifts a little.
    assert not is_dead(changed(text, born=str(born + 2)))
    assert not is_dead(changed(text, born=str(born - 2)))


def test_what_cannot_be_judged_is_alive(other):
    process, text = other
    process.kill()
    process.wait()
    assert is_dead(text)
    for elsewhere in (
        {"machine": "elsewhere-12345678"},
        {"uid": str(os.getuid() + 1)},
        {"namespace": "4026539999"},
        {"namespace": "unknown"},
        {"boot": "none"},
    ):
        assert not is_dead(changed(text, **elsewhere))
        assert not is_alive(changed(text, **elsewhere))
    pid = str(process.pid)
    for wrong in ("", "x", "vm:12:13", f"vm_{pid}", changed(text, pid="x"), changed(text, pid="0")):
        assert not is_dead(wrong)
        assert not is_alive(wrong)


def test_a_restart_ends_all_processes_but_not_those_of_other_containers(other):
    _, text = other
    namespace = text.split("_")[-3]
    outermost = namespace == "4026531836"
    assert is_dead(changed(text, boot="00000000")) is outermost
    assert not is_dead(changed(text, boot="00000000", namespace="4026539999"))


def test_from_inside_a_container_nothing_outside_is_dead(other):
    _, text = other
    inside = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
    if not shutil.which("unshare") or subprocess.run([*inside, "true"], check=False).returncode:
        pytest.skip("this machine makes no namespaces")
    judge = f"from quacc.cluster.processes import is_dead; print(is_dead({text!r}))"
    inside_root = [*inside, sys.executable, "-c"]
    for options in (inside_root, [word for word in inside_root if word != "--mount-proc"]):
        told = subprocess.run([*options, judge], capture_output=True, text=True, check=True)
        assert told.stdout == "False\n"
        # Nor the other way round.
        told = subprocess.run([*options, TELL], capture_output=True, text=True, check=True)
        assert not is_dead(told.stdout.strip())


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_another_users_process_is_not_judged(other):
    _, text = other
    uid = os.getuid()
    judge = f"""
import os; from quacc.cluster.processes import is_dead
os.setuid(65534); print(is_dead({text!r}), is_dead({text!r}.replace('_{uid}_', '_65534_')))"""
    told = subprocess.run([sys.executable, "-c", judge], capture_output=True, text=True, check=True)
    assert told.stdout == "False False\n"  # the kernel lets it ask for nothing


def test_the_text_fits_into_the_name_of_a_file_and_into_prefect(tmp_path, monkeypatch):
    monkeypatch.setattr("platform.node", lambda: "a/strange:host name_1.example.org")
    text = signature()
    assert len(text) < 120
    assert not set(text) & set("/: \\\n")
    assert not is_dead(text)
    assert not is_dead(changed(text, machine="a"))
    assert is_dead(changed(text, born="0"))


def test_folders_of_live_runs_stay(other, tmp_path):
    process, text = other
    theirs = tmp_path / f"run-{text}-0123abcd"
    theirs.mkdir()
    mine = make_folder(tmp_path)
    assert Path(make_folder(tmp_path)) != mine
    assert theirs.exists()
    process.kill()
    process.wait()
    make_folder(tmp_path)
    assert not theirs.exists()
    assert mine.exists()
