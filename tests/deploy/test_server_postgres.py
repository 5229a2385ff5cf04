"""`quacc server` with a real PostgreSQL: its password, its death, dumps of it."""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from tests.deploy.pool import pool_of
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


@contextmanager
def killed(database):
    """Kill PostgreSQL, and start it again."""
    port = database.rpartition(":")[2].partition("/")[0]
    places = Path(tempfile.gettempdir()).glob("quacc-pg-*/data/postmaster.pid")
    [data] = [path.parent for path in places if path.read_text().split("\n")[3] == port]
    control = [PROGRAMS / "pg_ctl", "-D", data, "-w", "-l", data.parent / "log"]
    as_server_user(*control, "-m", "immediate", "stop", stdout=subprocess.DEVNULL)
    yield
    options = f"-c listen_addresses=127.0.0.1 -p {port} -k {data.parent} -c fsync=off"
    as_server_user(*control, "-o", options, "start", stdout=subprocess.DEVNULL)


def test_it_goes_on_when_postgresql_was_killed_and_is_back(place, database):
    [server] = servers(place)
    with killed(database):
        code, told = command(place, "status")
        assert (code, "does not answer" in told) == (1, True)
        assert QUOTED not in told
    python(place, FLOW)
    assert flow_runs(place) == 4
    assert servers(place) == [server]
    assert QUOTED not in (place / "quacc-server" / "server.log").read_text()


@pytest.mark.slurm
def test_jobs_of_a_slurm_pool_go_on_meanwhile(place, database, devcluster, tmp_path_factory):
    """One ends, one is cancelled by its owner, one waits in Slurm, all without PostgreSQL."""
    api = {
        PREFECT_API_URL: f"http://127.0.0.1:{word(place)['port']}/api",
        PREFECT_API_AUTH_STRING: (place / "quacc-server" / "credentials").read_text().strip(),
    }
    with temporary_settings(api), pool_of(devcluster, tmp_path_factory.mktemp("p")) as pool:
        worker = pool.start()
        ends = pool.run("holds", "ends")
        goes = pool.run("holds", "goes")
        stays = pool.run("holds", "stays")
        names = ("ends", "goes", "stays")
        pool.until(lambda: all(pool.marked(name, "holds") for name in names))
        waits = pool.run("quick", "waits", nodes=2, cores=2)
        pool.wait(waits, "Queued (Resources)", "Queued (Priority)")
        with killed(database):
            pool.folder.joinpath("ends", "go").touch()
            pool.cluster.call("scancel", *pool.jobs(goes))
            pool.until(lambda: str(goes) not in pool.squeue())
            time.sleep(15)
        pool.wait(ends, "Completed")
        assert "with scancel by" in pool.wait(goes, "Cancelled").message
        assert pool.look(stays).state_name == "Running"
        pool.cancel(stays)
        pool.wait(stays, "Cancelled")
        pool.wait(waits, "Completed")
        assert worker.poll() is None
        for run in (ends, goes, stays, waits):
            pool.check_clean(run)
        assert pool.marked("waits", "quick") == 1


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
