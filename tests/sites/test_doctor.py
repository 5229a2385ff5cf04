"""``quacc site doctor`` on a real Slurm, well and broken in many ways."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from quacc.sites.doctor import _limit, examine
from quacc.sites.profile import load_site
from quacc.sites.trial import _course, _listening

slurm = pytest.mark.slurm


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, devcluster):
    with devcluster.DevCluster(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def _home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def running(cluster, monkeypatch):
    monkeypatch.setenv("SLURM_CONF", str(cluster.config))
    return cluster


def find(wait=60.0, site="devcluster", **changes):
    return list(examine(load_site(site).with_changes(**changes), wait))


def wrong(**changes):
    """Return the only thing that is wrong."""
    [finding] = [one for one in find(**changes) if one.ok is False]
    assert finding.remedy
    return f"{finding.text} {finding.remedy}"


def nothing_is_left(cluster, tmp_path):
    assert cluster.call("squeue", "-h", "-o", "%j", "-t", "pending,running") == ""
    left = [*tmp_path.rglob(".quacc-doctor-*"), *Path(os.environ["QUACC_RESULTS_DIR"]).glob(".q*")]
    return left == []


@slurm
def test_a_healthy_site(running, tmp_path):
    found = find(scratch="$HOME/scratch", prologue=["export X=1", "test $X = 1"])
    assert [one.text for one in found if one.ok is False] == []
    told = "\n".join(one.text for one in found)
    for words in (
        "The partition main exists and is up.",
        "walltime 00:10:00 is within the partition's limit.",
        "The partition has 2 nodes with 1 core and 1GB.",
        "Workers will be told to connect to 127.0.0.1.",
        "Slurm would accept the job script.",
        "started on n",
        f"The node's Python is {sys.executable}.",
        "The node imports quacc, and all versions are those of this machine.",
        "The node reaches this machine at 127.0.0.1.",
        "The node sees and can write results_dir.",
        f"The node can write scratch {tmp_path}/home/scratch.",
        "The launcher is /",
    ):
        assert words in told
    assert nothing_is_left(running, tmp_path)


@slurm
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"queue": "mian"}, ["no partition 'mian'. Did you mean 'main'?", "one of main"]),
        ({"memory": "9GB"}, ["0 nodes with 1 core and 9GB", "memory to at most 4000MiB"]),
        ({"cores": 3}, ["0 nodes with 3 cores", "cores to at most 2"]),
        ({"nodes": 3}, ["has 2 nodes", "the site asks for 3"]),
        ({"constraint": "fast"}, ["of kind fast"]),
        ({"gpus": 1}, ["and 1 GPUs"]),
        ({"interface": "ib7"}, ["'ib7'", "'lo'"]),
        ({"directives": "--begin=never"}, ["Slurm refuses the job script", "never"]),
        ({"directives": "--gres=gpu:1"}, ["Slurm refuses", "Correct gpus"]),
        ({"log_directory": "/proc/no"}, ["log_directory /proc/no cannot be written"]),
        ({"shared": "$NOT_SET/x"}, ["$NOT_SET is not set here"]),
    ],
)
def test_no_job_is_submitted_where_it_could_not_work(running, tmp_path, changes, told):
    before = running.call("scontrol", "show", "job", "-o")
    answer = wrong(**changes)
    for words in told:
        assert words in answer
    assert running.call("scontrol", "show", "job", "-o") == before


@slurm
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"python": "/no/python"}, ["Python does not run (status 127)", "/no/python", "python to"]),
        ({"prologue": "module_ load x"}, ["`module_ load x` failed with status 127", "not found"]),
        ({"prologue": ["(exit 4)"]}, ["`( exit 4 )` failed with status 4"]),
        ({"prologue": ["echo bye", "exit 3"]}, ["prologue ended the job", "bye"]),
        ({"launcher": "mpirrun -n {ranks}"}, ["program mpirrun: not found"]),
        ({"scratch": "/proc/no"}, ["cannot write scratch /proc/no"]),
        ({"scratch": "$NOT_SET"}, ["cannot write scratch $NOT_SET", "empty there"]),
    ],
)
def test_what_only_a_job_can_tell(running, tmp_path, changes, told):
    answer = wrong(**changes)
    for words in told:
        assert words in answer
    assert nothing_is_left(running, tmp_path)


@slurm
def test_another_python_and_other_versions(running, tmp_path):
    patch = tmp_path / "patched" / "sitecustomize.py"
    patch.parent.mkdir()
    patch.write_text("import cloudpickle\ncloudpickle.__version__ = '0.1'\n")
    assert "cloudpickle is 0.1, here it is" in wrong(prologue=f"export PYTHONPATH={patch.parent}")
    # -E: a Python that sees none of this one's packages.
    found = find(python=f"{sys._base_executable} -E -S")
    told = "\n".join(one.text for one in found if one.ok is False)
    assert "quacc cannot be imported: ModuleNotFoundError" in told
    assert "dask cannot be imported" in told


@slurm
def test_accounting_is_not_needed(running):
    found = find(account="m1", qos="x", wait=60)
    assert any("accounting cannot be asked" in one.text and one.ok is None for one in found)


@slurm
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"account": "m123"}, "charge the account 'm123'. Did you mean 'm1234'? Set account to"),
        (
            {"account": "M1234", "qos": "debg"},
            "the qos 'debg'. Did you mean 'debug'? Set qos to one",
        ),
        ({"account": "other", "qos": "debug"}, "cannot use the qos 'debug'"),
    ],
)
def test_accounts(running, monkeypatch, tmp_path, changes, told):
    # Slurm's accounting needs a database server of its own; this is what it prints.
    program = tmp_path / "sacctmgr"
    program.write_text("#!/bin/sh\nprintf 'm1234|debug,regular\\nother|regular\\n'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert told in wrong(**changes)
    assert all(one.ok is not False for one in find(account="m1234", qos="regular"))


@slurm
def test_a_job_that_does_not_start(running, tmp_path):
    running.call("sbatch", "-N2", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 300")
    try:
        deadline = time.monotonic() + 20
        while not running.call("squeue", "-h", "-t", "running") and time.monotonic() < deadline:
            time.sleep(0.1)
        answer = wrong(wait=3)
        assert "did not start in 3 s" in answer
        assert "Resources" in answer or "Priority" in answer
        assert running.call("squeue", "-h", "-o", "%j", "-t", "pending") == ""
        interrupted = subprocess.Popen(
            ["quacc", "site", "doctor", "devcluster"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Where the tests run in the background, Ctrl-C is ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        while running.call("squeue", "-h", "-t", "pending") == "":
            assert interrupted.poll() is None
            time.sleep(0.1)
        interrupted.send_signal(signal.SIGINT)
        _, errors = interrupted.communicate(timeout=60)
        assert interrupted.returncode == 130
        assert "cancelled" in errors
        assert running.call("squeue", "-h", "-o", "%j", "-t", "pending") == ""
    finally:
        running.call("scancel", "-u", running.call("id", "-un"))
    assert not [*tmp_path.rglob(".quacc-doctor-*")]


@slurm
def test_a_slurm_that_does_not_answer(cluster, monkeypatch, tmp_path):
    config = cluster.config.read_text()
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    (tmp_path / "slurm.conf").write_text(
        "".join(
            f"SlurmctldPort={port}\n" if line.startswith("SlurmctldPort") else f"{line}\n"
            for line in config.splitlines()
        )
        + "MessageTimeout=2\n"
    )
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))
    assert "Slurm does not answer. Try again later" in wrong()


def test_a_machine_without_the_commands(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "sbatch, squeue, sinfo, scancel: not found" in wrong()
    assert "bsub" in wrong(scheduler="lsf")


def test_what_a_person_must_set_first():
    assert "needs account" in wrong(site="perlmutter-cpu")


@pytest.mark.parametrize(("status", "told"), [(0, "The queue big exists."), (1, "is refused: no")])
def test_other_queueing_systems_are_checked_from_here_only(monkeypatch, tmp_path, status, told):
    # None of them can be had here; the commands only say whether the queue exists.
    for name in ("qsub", "qstat", "qdel"):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\necho no >&2; exit {status}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = "\n".join(one.text for one in find(scheduler="pbs", queue="big"))
    assert told in found
    assert "made for Slurm only" in found


def test_local_needs_no_job():
    found = find(site="local")
    assert all(one.ok is not False for one in found)
    assert "no job is needed" in found[-1].text


def test_only_who_knows_the_token_is_answered():
    def say(text):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(text)
            return connection.recv(100)

    with _listening("127.0.0.1", "secret") as port:
        assert say(b"secret\n") == b"quacc\n"
        assert say(b"secre\n") == b""
        assert say(b"\xff\xfe\n") == b""
        assert say(b"secret\n") == b"quacc\n"
        threads = threading.active_count()
    assert threading.active_count() < threads
    with pytest.raises(ConnectionRefusedError):
        say(b"secret\n")


def test_a_folder_that_the_node_does_not_see(tmp_path):
    [finding] = _course("1", tmp_path)
    assert finding.ok is False
    assert "shared" in finding.remedy


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("infinite", float("inf")),
        ("30:00", 1800),
        ("2:00:00", 7200),
        ("1-00:00:00", 86400),
        ("45", 45),
    ],
)
def test_time_limits_as_sinfo_writes_them(text, expected):
    assert _limit(text) == expected
