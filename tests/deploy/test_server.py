"""`quacc server` on SQLite: one server through its life, with the commands a person types."""

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings
from typer.testing import CliRunner

from quacc.cli.main import app
from quacc.errors import SettingsError
from quacc.prefect.lifecycle.running import find
from quacc.prefect.lifecycle.server import prefect_api
from tests.deploy.servers import FLOW, as_another, command, free_port, python, servers, word


def runs(database):
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute("SELECT count(*) FROM flow_run").fetchone()[0]


@pytest.fixture(scope="module")
def place():
    """Prefect's home, which others could reach, of a server that two starts at once have made."""
    folder = Path(tempfile.mkdtemp(prefix="prefect-home-"))
    folder.chmod(0o755)
    port = str(free_port())
    starts = [
        subprocess.Popen(
            [Path(sys.executable).with_name("quacc"), "server", "start", "--port", port],
            env={**os.environ, "PREFECT_HOME": str(folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    try:
        told = [one.communicate(timeout=240) for one in starts]
        assert [one.returncode for one in starts] == [0, 0], told
        assert sorted(out.splitlines()[0] for out, _ in told) == [
            "The Prefect server runs already.",
            "The Prefect server runs.",
        ]
        yield folder
    finally:
        assert command(folder, "stop")[0] == 0
        shutil.rmtree(folder)


def test_two_starts_at_once_make_one_server(place):
    assert [one.pid for one in servers(place)] == [word(place)["pid"]]
    code, told = command(place, "start")
    assert code == 0
    assert "runs already" in told
    assert "-L {0}:127.0.0.1:{0} ".format(word(place)["port"]) in told
    code, told = command(place, "start", "--port", free_port())
    assert code == 1
    assert f"with port = {word(place)['port']}, not" in told
    assert len(servers(place)) == 1


def test_flows_use_it_and_status_counts_them(place):
    url = f"http://127.0.0.1:{word(place)['port']}/api"
    urls, loaded = json.loads(python(place, FLOW))
    assert urls == [url, url, None]
    assert not loaded  # no server of Prefect's own, nor what it is made of
    code, told = command(place, "status")
    assert code == 0
    assert "2 flow runs; 0 task runs" in told
    assert f"{place / 'prefect.db'}, " in told
    assert f"as process {word(place)['pid']}." in told


def test_quacc_run_uses_it(place):
    done = subprocess.run(
        [Path(sys.executable).with_name("quacc"), "run", "static", "Cu", "--prefect"],
        env={**os.environ, "PREFECT_HOME": str(place)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "The dashboard shows the flow run 'static Cu'" in " ".join(done.stdout.split())
    assert runs(place / "prefect.db") == 3


def test_quacc_deployment_uses_it(place):
    with temporary_settings({PREFECT_HOME: place, PREFECT_API_URL: None}):
        done = CliRunner().invoke(app, ["deployment", "ls"], catch_exceptions=False)
    assert done.exit_code == 0
    assert "There are none" in done.output


def test_an_api_that_is_configured_wins(place):
    wrong = f"http://127.0.0.1:{free_port()}/api"
    with temporary_settings({PREFECT_HOME: place, PREFECT_API_URL: wrong}):
        with pytest.raises(SettingsError, match=f"The Prefect API at {wrong} does not answer"):
            with prefect_api():
                pass
        assert f"name another API, {wrong}" in command(place, "status")[1]
    with temporary_settings({PREFECT_HOME: place}), prefect_api() as temporary:
        assert not temporary


SPY = """
import base64, glob, http.client, json, os, sys
place, port = sys.argv[1:]
token = sys.stdin.buffer.read()
secrets, read = [], []
for folder in glob.glob("/proc/[0-9]*"):
    for name in ("cmdline", "environ"):
        try:
            text = open(f"{folder}/{name}", "rb").read()
        except OSError:
            continue
        if place.encode() in text and b"quacc.deploy.serve" in text:
            read.append(name)
        secrets += [f"{folder}/{name}"] if token in text else []
for folder in (place, place + "/quacc-server"):
    for name in ("", "prefect.db", "prefect.db-wal", "credentials", "chosen.json", "server.log",
                 "running.json", "lock", "page"):
        path = os.path.join(folder, name)
        try:
            os.listdir(path) if os.path.isdir(path) else open(path).read(1)
            secrets.append(path)
        except OSError:
            pass
answers = {}
for path in ("/api/admin/version", "/api/flow_runs/count", "/api/admin/settings"):
    for password in (None, "quacc:", "quacc:quacc"):
        sent = {"Content-Type": "application/json"}
        if password:
            sent["Authorization"] = "Basic " + base64.b64encode(password.encode()).decode()
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=20)
        connection.request("POST" if "count" in path else "GET", path, "{}", sent)
        answers[f"{path} {password}"] = connection.getresponse().status
print(json.dumps([secrets, read, answers]))
"""


def test_another_user_sees_no_secret_and_gets_401(place):
    token = (place / "quacc-server" / "credentials").read_text().strip().partition(":")[2]
    secrets, read, answers = as_another(SPY, str(place), str(word(place)["port"]), feed=token)
    assert secrets == []
    assert "environ" not in read
    assert set(answers.values()) == {401}


def test_the_password_is_in_one_file_alone(place):
    password = (place / "quacc-server" / "credentials").read_text().strip()
    assert len(password) > 40
    _, token = password.split(":")
    [server] = servers(place)
    assert token not in " ".join(server.cmdline())
    assert token not in str(server.environ())
    files = [file for file in place.rglob("*") if file.is_file()]
    assert [file.name for file in files if token.encode() in file.read_bytes()] == ["credentials"]
    for file in [place, *place.rglob("*")]:
        if "page" not in file.parts:
            assert file.stat().st_mode & 0o077 == 0, file


def test_it_listens_on_the_loopback_alone(place):
    [server] = servers(place)
    listening = [one for one in server.net_connections("inet") if one.status == "LISTEN"]
    assert [tuple(one.laddr) for one in listening] == [("127.0.0.1", word(place)["port"])]


def test_a_backup_is_made_while_it_runs_and_restored_while_it_does_not(place, tmp_path):
    before, kept = runs(place / "prefect.db"), place / "quacc-server" / "backups"
    copy = tmp_path / "copy.db"
    assert command(place, "backup", copy)[0] == 0
    assert runs(copy) == before
    assert copy.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["copy.db"]
    for words, reason in {("backup", copy): "exists", ("restore", copy): "runs. Stop it"}.items():
        code, told = command(place, *words)
        assert (code, reason in told) == (1, True)
    python(place, FLOW)
    assert runs(place / "prefect.db") == before + 2

    [server] = servers(place)
    assert command(place, "stop") == (0, "The Prefect server has stopped.\n")
    assert not server.is_running() or server.status() == psutil.STATUS_ZOMBIE  # init asks later
    assert command(place, "stop") == (0, "The Prefect server does not run.\n")
    bad = tmp_path / "bad.db"
    for content in (b"no database", copy.read_bytes()[:100_000]):
        bad.write_bytes(content)
        code, told = command(place, "restore", bad)
        assert (code, "is no whole copy" in told) == (1, True)
    assert runs(place / "prefect.db") == before + 2
    assert not kept.exists()
    code, told = command(place, "restore", copy)
    assert code == 0
    assert runs(place / "prefect.db") == before
    [replaced] = kept.iterdir()
    assert str(replaced) in told
    assert runs(replaced) == before + 2

    files = [place / "quacc-server" / name for name in ("credentials", "chosen.json")]
    as_before = [file.read_text() for file in files]
    assert command(place, "start")[0] == 0
    assert [file.read_text() for file in files] == as_before  # password, port, database
    assert f"{before} flow runs" in command(place, "status")[1]


def test_one_that_was_killed_is_not_used_and_starts_again_with_its_runs(place):
    before, port = runs(place / "prefect.db"), word(place)["port"]
    [server] = servers(place)
    server.kill()
    server.wait(20)
    code, told = command(place, "status")
    assert (code, "No Prefect server runs" in told) == (1, True)
    # Somebody else answers at its port: nobody may send them the password.
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind(("127.0.0.1", port))
        thief.listen()
        thief.settimeout(0)
        with temporary_settings({PREFECT_HOME: place}):
            assert find() is None
        with pytest.raises(BlockingIOError):
            thief.accept()
    assert command(place, "start")[0] == 0
    assert word(place)["port"] == port
    assert f"{before} flow runs" in command(place, "status")[1]


def test_it_keeps_its_log_small(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from quacc.deploy.log import rotate\n"
        "log = Path(sys.argv[1]); rotate(log)\n"
        "for i in range(9):\n"
        "    print(str(i) * 1000, flush=True); os.write(2, b'end'); rotate(log, 500)\n"
        "print('last')\n"
    )
    log = tmp_path / "server.log"
    subprocess.run([sys.executable, "-c", code, log], check=True)
    found = {file.name: file.read_text() for file in tmp_path.iterdir()}
    older = {f"server.log.{i}": f"{9 - i}" * 1000 + "\nend" for i in (1, 2, 3)}
    assert found == {"server.log": "last\n", **older}
    assert log.stat().st_mode & 0o777 == 0o600


UNREAPED = """
import ctypes, subprocess, sys

ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: as the first of a container
for word in ("start", "stop"):
    subprocess.run([sys.argv[1], "server", word], check=True)
"""


def test_it_is_stopped_where_nobody_asks_for_the_end_of_processes(tmp_path):
    told = subprocess.run(
        [sys.executable, "-c", UNREAPED, Path(sys.executable).with_name("quacc")],
        env={**os.environ, "PREFECT_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
    )
    assert told.stdout.endswith("The Prefect server has stopped.\n")
    assert not (tmp_path / "quacc-server" / "running.json").exists()
