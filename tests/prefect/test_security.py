"""What the page "Security" promises, tried by a second user of the same machine."""

import functools
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import cloudpickle
import psutil
import pytest
from prefect import flow, task

from quacc.cluster.certificates import make_folder
from quacc.errors import SettingsError
from quacc.prefect import make_runner
from tests.processes import below, look_at

cloudpickle.register_pickle_by_value(sys.modules[__name__])

NOBODY = 65534

MODULES = ["multiprocessing", "uvicorn", "distributed", "scipy", "ruamel", "spglib", "lz4", "bokeh"]
"""What a worker, or a server, imports after it has looked at its folders."""

ATTACK = """
import os, sys, time
shared, modules = sys.argv[1], sys.argv[2:]
evil = f"open({shared!r} + '/pwned', 'a').write(__name__ + chr(10))\\nraise ImportError\\n"
def plant(folder):
    for module in modules:
        with open(os.path.join(folder, module + ".py"), "w") as file:
            file.write(evil)
os.umask(0)
open(shared + "/pwned", "w").close()
plant(shared)
base = os.path.join(shared, "dask-scratch-space")
os.mkdir(base)
plant(base)
print("ready", flush=True)
while True:
    for folder, names, _ in os.walk(shared):
        for name in names:
            path = os.path.join(folder, name)
            try:
                if os.stat(path).st_uid != os.getuid() and not name.endswith(".moved"):
                    os.rename(path, path + ".moved")
                    os.mkdir(path)
                    plant(path)
            except OSError:
                pass
    time.sleep(0.002)
"""

VICTIM = """
import os, subprocess, sys, time
from ase.build import bulk
from prefect import flow
from prefect.settings import get_current_settings
from quacc.prefect import fan_out, make_runner
from quacc.recipes.emt.core import static_job

@flow(task_runner=make_runner())
def campaign(secret):
    fan_out(static_job, [bulk("Cu"), bulk("Ag")]).results()
    print("ready", flush=True)
    sys.stdin.read()
    fan_out(static_job, [bulk("Au")]).results()

campaign("nobody may read this")
print("done", flush=True)
"""


@functools.cache
def python_of_others():
    """Return a Python that other users can start; this one may be in a folder of root's."""
    for python in (os.path.realpath(sys.executable), "/usr/local/bin/python3", "/usr/bin/python3"):
        with suppress(OSError):
            if (
                subprocess.run([python, "-c", ""], user=NOBODY, cwd="/", check=False).returncode
                == 0
            ):
                return python
    pytest.skip("other users can start no Python here")


def as_another(code, *words):
    """Start a Python program as another user."""
    return subprocess.Popen(
        [python_of_others(), "-I", "-S", "-c", code, *map(str, words)],
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        cwd="/",
        stdout=subprocess.PIPE,
        text=True,
    )


def seen_by_another(code, *words):
    process = as_another(code, *words)
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return json.loads(told)


@pytest.fixture(scope="module")
def shared():
    """A temporary folder of everybody's, in which another user is active."""
    if os.getuid() != 0:
        pytest.skip("only root can start programs as another user")
    folder = Path(tempfile.mkdtemp(prefix="everybody-"))
    folder.chmod(0o1777)
    if not seen_by_another(f"import os; print(int(os.access({str(folder)!r}, os.W_OK)))"):
        pytest.skip(f"another user cannot reach {folder}")
    attacker = as_another(ATTACK, folder, *MODULES)
    try:
        assert attacker.stdout.readline() == "ready\n"
        yield folder
    finally:
        attacker.kill()
        attacker.communicate()
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def victim(shared, tmp_path_factory):
    """A campaign that is started in the folder of everybody's, without a Prefect API."""
    home = tmp_path_factory.mktemp("home")
    home.chmod(0o755)
    prefect = Path(tempfile.mkdtemp(prefix="prefect-home-"))  # reached by others
    prefect.chmod(0o755)
    script = home / "campaign.py"
    script.write_text(VICTIM)
    process = subprocess.Popen(
        [sys.executable, script],
        cwd=shared,
        env={
            **os.environ,
            "HOME": str(home),
            "TMPDIR": str(shared),
            "PREFECT_HOME": str(prefect),
            "DASK_TEMPORARY_DIRECTORY": str(shared),
            "QUACC_RESULTS_DIR": str(home),
            "QUACC_SCRATCH_DIR": str(shared),
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    lines = iter(process.stdout.readline, "")
    try:
        assert any(line == "ready\n" for line in lines)
        yield process
        told, _ = process.communicate(timeout=120)
        assert "done" in told
        assert not list(shared.glob("quacc-worker-*"))  # removed at the end
    finally:
        process.kill()
        process.communicate()
        shutil.rmtree(prefect)


def tree(victim):
    return [victim.pid, *(process.pid for process in below(victim.pid))]


def test_nobody_elses_code_runs_in_local_workers_or_servers(shared, victim):
    assert (shared / "pwned").read_text() == ""
    [folder] = shared.glob("quacc-worker-*")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert folder.stat().st_uid == os.getuid()


GET = """
import http.client, json, sys
found = []
for port in sys.argv[1:]:
    for path in ("/", "/status", "/metrics", "/health", "/info/main/workers.html", "/sitemap.json",
                 "/json/counts.json", "/proxy/1/127.0.0.1/", "/statics/css/base.css",
                 "/api/admin/version", "/api/flow_runs/count", "/api/openapi.json"):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=3)
            connection.request("GET", path)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException):
            continue
        if status < 400:
            found.append(f"{port}{path}")
print(json.dumps(found))
"""


def test_nothing_answers_another_user(victim):
    ports = {
        str(one.laddr.port)
        for ones in look_at(tree(victim), lambda process: process.net_connections("inet")).values()
        for one in ones
        if one.status == psutil.CONN_LISTEN
    }
    assert len(ports) >= 4  # Prefect's server, Dask's scheduler, its worker and its nanny
    assert seen_by_another(GET, *ports) == []


def test_no_password_is_on_a_command_line(victim):
    lines = [" ".join(line) for line in look_at(tree(victim), psutil.Process.cmdline).values()]
    assert any("uvicorn" in line for line in lines)
    assert not [line for line in lines if "quacc:" in line or "auth_string" in line.lower()]


LIST = """
import json, os, sys
found = []
for folder in sys.argv[1:]:
    for name in ("", "prefect.db", "prefect.db-wal", "profiles.toml"):
        try:
            path = os.path.join(folder, name)
            found.append(os.listdir(path) if os.path.isdir(path) else open(path).read(1))
        except OSError:
            pass
print(json.dumps(found))
"""


def test_nobody_reads_what_prefect_recorded(victim):
    home = next(
        value["PREFECT_HOME"] for value in look_at([victim.pid], psutil.Process.environ).values()
    )
    assert Path(home, "prefect.db").exists()
    assert seen_by_another(LIST, home) == []


def test_nobody_reads_a_runs_files_in_the_shared_folder(shared, victim):
    mine = [one for one in shared.iterdir() if one.stat().st_uid == os.getuid()]
    assert mine
    assert seen_by_another(LIST, *mine) == []


def where():
    from distributed.worker import get_worker

    return get_worker().local_directory, sys.path


@pytest.mark.slurm
@pytest.mark.usefixtures("prefect_server")
def test_nobody_elses_code_runs_in_slurm_jobs(shared, on_slurm, monkeypatch):
    monkeypatch.chdir(shared)  # Slurm's jobs begin there
    (shared / "pwned").write_text("")
    prologue = [f"export TMPDIR={shared}"]

    @flow(task_runner=make_runner(on_slurm | {"job_script_prologue": prologue}))
    def campaign():
        return task(where).submit().result()

    folder, path = campaign()
    private = Path(folder).relative_to(shared).parts[0]
    assert re.fullmatch(r"quacc-worker-.+[0-9a-f]{32}", private)
    assert str(shared) not in path
    assert "" not in path
    assert (shared / "pwned").read_text() == ""
    deadline = time.monotonic() + 20
    while (shared / private).exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not (shared / private).exists()


@pytest.mark.parametrize(("owner", "mode"), [(0, 0o777), (NOBODY, 0o1777), (NOBODY, 0o755)])
def test_a_folder_that_others_can_change_is_refused(owner, mode, shared, tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    base.chmod(mode)
    os.chown(base, owner, -1)
    link = tmp_path / "link"
    link.symlink_to(base)
    for one in (base, link, base / "below"):
        if one == base / "below" and mode != 0o777:
            continue
        with pytest.raises(SettingsError, match="Somebody else could replace"):
            make_folder(one)
    node = subprocess.run(
        [sys.executable, "-P", "-m", "quacc.cluster.dask_worker", "tls://127.0.0.1:1"],
        env={**os.environ, "TMPDIR": str(base), "DASK_TEMPORARY_DIRECTORY": str(base)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert node.returncode == 1
    assert "the worker cannot start. Somebody else could replace" in node.stderr
    assert not list(base.glob("quacc-*"))


def test_another_users_leftovers_are_left_alone(shared, tmp_path):
    mine = make_folder(tmp_path, "quacc-worker-")
    dead = subprocess.run(
        [
            sys.executable,
            "-c",
            "from quacc.cluster.processes import signature; print(signature())",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    old = tmp_path / f"quacc-worker-{dead}-0"
    theirs = tmp_path / f"quacc-worker-{dead}-1"
    for folder in (old, theirs):
        folder.mkdir()
    os.chown(theirs, NOBODY, -1)
    make_folder(tmp_path, "quacc-worker-")
    assert mine.exists()
    assert theirs.exists()
    assert not old.exists()


THIEF = """
import socket
thief = socket.socket()
thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
try:
    thief.bind(("127.0.0.1", {port}))
    print(1)
except OSError:
    print(0)
"""


def test_the_servers_port_is_taken_before_it_starts():
    from quacc.prefect.lifecycle.server import _Server

    server = _Server()
    thief = THIEF.format(port=server.port)
    try:
        assert subprocess.check_output([sys.executable, "-c", thief]) == b"0\n"
    finally:
        server._socket.close()


@pytest.mark.parametrize(
    ("name", "text", "refused"),
    [
        ("prefect.toml", "[api]\nurl = 'http://127.0.0.1:1/api'\n", True),
        (".env", "PREFECT_API_URL=http://127.0.0.1:1/api\n", True),
        ("pyproject.toml", "[tool.prefect.api]\nurl = 'http://127.0.0.1:1/api'\n", True),
        ("pyproject.toml", "[project]\nname = 'x'\nversion = '1'\n", False),
    ],
)
def test_settings_that_another_user_has_written_are_refused(name, text, refused, shared, tmp_path):
    (tmp_path / name).write_text(text)
    code = "from quacc.prefect.lifecycle import guard; guard.install()"
    for owner in (os.getuid(), NOBODY):
        os.chown(tmp_path / name, owner, -1)
        done = subprocess.run(
            [sys.executable, "-P", "-c", code],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        if refused and owner == NOBODY:
            assert f"from {tmp_path / name}, which belongs to another user" in done.stderr
        else:
            assert done.returncode == 0, done.stderr


def test_every_promise_of_the_page_is_a_test():
    page = Path(__file__).parents[2] / "docs" / "security.md"
    promised = set(re.findall(r"`(test_[a-z_]+)`", page.read_text()))
    defined = {}
    for file in (Path(__file__), Path(__file__).with_name("test_listening.py")):
        defined[file.name] = set(re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE))
    assert promised <= set().union(*defined.values())
    mine = defined[Path(__file__).name] - {"test_every_promise_of_the_page_is_a_test"}
    assert mine <= promised
