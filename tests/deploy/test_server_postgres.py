"""`quacc server` with a real PostgreSQL: its password, its death, dumps of it."""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from tests.deploy.servers import FLOW, command, free_port, python, servers, word
from tests.processes import look_at

sys.path.insert(0, str(Path(__file__).parents[1] / "store"))
from postgres_server import (
    PASSWORD,
    PROGRAMS,
    QUOTED,
    as_server_user,
    missing,
    new_database,
    running_server,
)

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def database():
    if reason := missing():
        pytest.skip(reason)
    with running_server() as server:
        yield new_database(f"postgresql://quacc:{QUOTED}@{server}", "prefect")


@pytest.fixture(scope="module")
def place(database):
    folder = Path(tempfile.mkdtemp(prefix="prefect-home-"))
    try:
        code, told = command(
            folder, "start", "--port", free_port(), "--database", "-", feed=f"{database}\n"
        )
        assert code == 0, told
        yield folder
    finally:
        command(folder, "stop")
        shutil.rmtree(folder)


def flow_runs(place):
    """Return what `quacc server status` says."""
    code, told = command(place, "status")
    assert code == 0, told
    [line] = [line for line in told.splitlines() if line.startswith("Runs:")]
    return int(line.split()[1])


def test_the_databases_password_shows_nowhere(place, database):
    python(place, FLOW)
    assert flow_runs(place) == 2
    assert not (place / "prefect.db").exists()
    told = command(place, "status")[1]
    shown = database.replace(QUOTED, "***")
    assert f"Database:    {shown}, " in told
    assert word(place)["database"] == shown
    for secret in (PASSWORD, QUOTED):
        assert secret not in told
        lines = look_at(psutil.process_iter(), psutil.Process.cmdline)
        assert not [line for line in lines.values() if secret in " ".join(line)]
        [server] = servers(place)
        assert secret not in str(server.environ())
        files = [file for file in place.rglob("*") if file.is_file()]
        names = [file.name for file in files if secret.encode() in file.read_bytes()]
        assert names == ([] if secret == PASSWORD else ["chosen.json"])


def test_it_goes_on_when_postgresql_was_killed_and_is_back(place, database):
    port = database.rpartition(":")[2].partition("/")[0]
    places = Path(tempfile.gettempdir()).glob("quacc-pg-*/data/postmaster.pid")
    [data] = [path.parent for path in places if path.read_text().split("\n")[3] == port]
    control = [PROGRAMS / "pg_ctl", "-D", data, "-w", "-l", data.parent / "log"]
    [server] = servers(place)
    as_server_user(*control, "-m", "immediate", "stop", stdout=subprocess.DEVNULL)
    code, told = command(place, "status")
    assert (code, "does not answer" in told) == (1, True)
    assert QUOTED not in told
    options = f"-c listen_addresses=127.0.0.1 -p {port} -k {data.parent} -c fsync=off"
    as_server_user(*control, "-o", options, "start", stdout=subprocess.DEVNULL)
    python(place, FLOW)
    assert flow_runs(place) == 4
    assert servers(place) == [server]
    assert QUOTED not in (place / "quacc-server" / "server.log").read_text()


def test_a_dump_is_made_while_it_runs_and_restored_while_it_does_not(place, tmp_path):
    before = flow_runs(place)
    dump = tmp_path / "prefect.dump"
    assert command(place, "backup", dump)[0] == 0
    assert dump.stat().st_mode & 0o777 == 0o600
    code, told = command(place, "restore", dump)
    assert (code, "runs. Stop it" in told) == (1, True)
    python(place, FLOW)
    assert flow_runs(place) == before + 2
    assert command(place, "stop")[0] == 0
    bad = tmp_path / "bad.dump"
    for content in (b"no dump", dump.read_bytes()[:1000]):
        bad.write_bytes(content)
        code, told = command(place, "restore", bad)
        assert (code, "is no dump" in told) == (1, True)
    code, told = command(place, "restore", dump)
    assert code == 0, told
    assert "What was there before is in" in told
    assert command(place, "start")[0] == 0  # where it was, with the same database
    assert flow_runs(place) == before
    chosen = json.loads((place / "quacc-server" / "chosen.json").read_text())
    assert chosen["port"] == word(place)["port"]
