"""What goes wrong with the results database while a campaign runs.

docs/faults.md has a row for each of these tests.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from ase import Atoms
from ase.build import bulk
from prefect import flow, task

from quacc.cache.results import ResultsCache
from quacc.errors import StoreError
from quacc.prefect import as_flow, cached, fan_out
from quacc.recipes.emt.core import static_job
from quacc.recipes.tools.verbs import submit
from quacc.settings import change_settings, get_settings
from quacc.store import Store, connection

sys.path.insert(0, str(Path(__file__).parents[1] / "store"))
from postgres_server import PROGRAMS, QUOTED, as_server_user, missing, new_database, running_server

pytestmark = pytest.mark.usefixtures("prefect_server")


def crystals(first: int, count: int) -> Iterator[Atoms]:
    for i in range(first, first + count):
        yield bulk("Cu", a=3.5 + 0.01 * i)


@flow
def campaign(fault: Callable[[], Any], count: int = 6) -> list[Any]:
    """A fan-out; the fault comes when half of it has been computed."""

    def items() -> Iterator[Atoms]:
        yield from crystals(0, count)
        time.sleep(0.6)  # fan_out takes what has come after half a second
        yield bulk("Cu", a=4)
        fault()
        time.sleep(0.6)
        yield from crystals(count, count)

    return fan_out(static_job, items()).results()


def energies(results: list[Any]) -> list[float]:
    return [result["results"]["energy"] for result in results]


def expected(count: int = 6) -> list[float]:
    cells = [*crystals(0, count), bulk("Cu", a=4), *crystals(count, count)]
    return energies([static_job(cell) for cell in cells])


def stored() -> set[str]:
    return {row.key for row in Store().select()}


@pytest.fixture
def folder() -> Path:
    return get_settings().results_dir


def test_database_gone(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    results = campaign(lambda: (folder / "results.db").unlink())
    assert energies(results) == expected()
    assert "it is no longer there, and what has been stored there is lost" in caplog.text
    assert not (folder / "results.db").exists()  # not begun anew in silence
    assert list(folder.glob("results.db.journal-*"))
    assert energies(campaign(lambda: None)) == expected()  # the next run takes what was saved
    assert stored() == {result["key"] for result in results}


def test_results_folder_removed(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    results = campaign(lambda: shutil.rmtree(folder))
    assert energies(results) == expected()
    assert "it is no longer there, and what has been stored there is lost" in caplog.text
    assert not folder.exists()
    assert str(Path.home() / ".local" / "state" / "quacc") in caplog.text
    Store().check_writable()
    assert {result["key"] for result in results[-6:]} <= stored()


def test_broken_database(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    def garbage() -> None:
        size = (folder / "results.db").stat().st_size
        with (folder / "results.db").open("r+b") as stream:
            stream.write(os.urandom(size))

    results = campaign(garbage)
    assert energies(results) == expected()
    assert "has been overwritten" in caplog.text
    with pytest.raises(StoreError, match="put a copy of the database in its place"):
        Store().check_writable()
    (folder / "results.db").unlink()
    with suppress(StoreError):  # says that it is gone
        Store().check_writable()
    Store().check_writable()
    assert {result["key"] for result in results[-6:]} <= stored()


def test_damaged_pages(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The header is whole, and SQLite finds out as it reads."""

    def damage() -> None:
        with (folder / "results.db").open("r+b") as stream:
            stream.seek(4096)
            stream.write(os.urandom((folder / "results.db").stat().st_size - 4096))

    results = campaign(damage)
    assert energies(results) == expected()
    assert "quacc results check" in caplog.text


def test_locked_for_a_while(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Longer than quacc waits for a lock: a tenth of a second here, 60 s otherwise."""
    other: list[sqlite3.Connection] = []
    free = threading.Event()

    def lock() -> None:
        monkeypatch.setattr("quacc.store.connection.TIMEOUT", 0.1)
        connection = sqlite3.connect(
            folder / "results.db", isolation_level=None, check_same_thread=False, timeout=20
        )
        connection.execute("BEGIN EXCLUSIVE")
        other.append(connection)
        threading.Timer(2, lambda: (connection.execute("COMMIT"), free.set())).start()

    results = campaign(lock)
    assert energies(results) == expected()
    assert "Another process has been writing" in caplog.text
    assert free.wait(20)
    Store().check_writable()
    assert stored() == {result["key"] for result in results}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mounted)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only root can mount a small file system")
    try:
        yield mounted
    finally:
        subprocess.run(["umount", "-l", str(mounted)], check=True)


def test_disk_full(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    filler = small_disk / "filler"

    def fill() -> None:
        with suppress(OSError), filler.open("wb", buffering=0) as stream:
            while True:
                stream.write(bytes(1000))

    with change_settings(results_dir=small_disk):
        results = campaign(fill, count=40)
        assert energies(results) == expected(40)
        assert "Make room" in caplog.text or "disk may be full" in caplog.text
        assert str(Path.home() / ".local" / "state" / "quacc") in caplog.text
        filler.unlink()
        Store().check_writable()
        assert stored() == {result["key"] for result in results}


def test_a_store_that_stays_away_ends_the_campaign(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After 5 minutes; half a second here."""
    monkeypatch.setattr("quacc.store.keeper.PATIENCE", 0.5)
    monkeypatch.setattr("quacc.store.writer.RETRY", 0.1)
    computed = []

    @flow
    def endless() -> None:
        def items() -> Iterator[Atoms]:
            for i in range(10_000):
                yield bulk("Cu", a=3.5 + 0.0001 * i)
                time.sleep(0.01)
                if i == 100:
                    (folder / "results.db").write_bytes(b"garbage" * 10_000)

        computed.extend(result for _, result in fan_out(static_job, items()))

    with pytest.raises(StoreError, match="nothing more is computed.*quacc results recover"):
        endless()
    assert len(computed) < 5000


@pytest.mark.parametrize("as_tasks", [False, True])
def test_a_store_that_stays_away_ends_a_workflow(
    folder: Path, monkeypatch: pytest.MonkeyPatch, as_tasks: bool
) -> None:
    monkeypatch.setattr("quacc.store.keeper.PATIENCE", 0.3)
    monkeypatch.setattr("quacc.store.writer.RETRY", 0.1)
    ended: list[Any] = []

    def endless(atoms: Atoms, job: Any = static_job) -> None:
        for i in range(1000):
            if i == 10:
                (folder / "results.db").write_bytes(b"garbage" * 10_000)
            ended.append(submit(job, bulk("Cu", a=3.5 + 0.001 * i)).result())

    job = task(static_job) if as_tasks else static_job
    with pytest.raises(StoreError, match="nothing more is computed"):
        as_flow(endless)(bulk("Cu"), job)
    assert 10 < len(ended) < 500
    waiting = Store()._journal.pending().keys
    assert {result["key"] for result in ended[11:]} <= set(waiting)


@pytest.mark.parametrize("end", [KeyboardInterrupt, StoreError])
def test_what_was_read_is_kept_when_a_workflow_ends(
    monkeypatch: pytest.MonkeyPatch, end: type[BaseException]
) -> None:
    """Prefect shows a result before it tells that there is one."""
    keep, results = ResultsCache.keep, []

    def slow(self: ResultsCache, *args: Any, **kwargs: Any) -> None:
        time.sleep(0.5)
        keep(self, *args, **kwargs)
        if end is StoreError:
            self.stop = StoreError("It stays away.")

    monkeypatch.setattr(ResultsCache, "keep", slow)

    def ending(atoms: Atoms, job: Any = static_job) -> None:
        runs = [submit(job, atoms), submit(job, bulk("Al"))]
        results.extend(run.result() for run in runs)
        if end is StoreError:
            while True:
                time.sleep(0.01)
                submit(job, bulk("Ni"))
        raise KeyboardInterrupt

    with pytest.raises(end):
        as_flow(ending)(bulk("Cu"), task(static_job))
    assert {result["key"] for result in results} <= stored()


def test_a_store_that_stays_away_ends_cached_jobs(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quacc.store.keeper.PATIENCE", 0.3)
    job = cached(static_job)
    job("Cu")
    (folder / "results.db").write_bytes(b"garbage" * 10_000)
    keys = [job("Al")["key"]]  # it is given, all the same
    with pytest.raises(StoreError, match="nothing more is computed"):
        for i in range(1000):
            keys.append(job(bulk("Cu", a=3.5 + 0.001 * i))["key"])
    assert set(keys) <= set(Store()._journal.pending().keys)
    (folder / "results.db").unlink()
    job("Ni")
    assert set(keys) <= stored()


@pytest.fixture
def postgres() -> Iterator[str]:
    if reason := missing():
        pytest.skip(reason)
    with running_server() as address:
        yield new_database(f"postgresql://quacc:{QUOTED}@{address}", "campaign")


@pytest.mark.postgres
def test_server_away_for_some_seconds(postgres: str) -> None:
    """It is stopped, and started 4 s later; neither a fan-out nor a cached job loses anything."""
    port = postgres.rpartition(":")[2].partition("/")[0]
    servers = Path(tempfile.gettempdir()).glob("quacc-pg-*/data/postmaster.pid")
    [data] = [path.parent for path in servers if path.read_text().split("\n")[3] == port]
    control = [PROGRAMS / "pg_ctl", "-D", data, "-w", "-l", data.parent / "log"]
    back = threading.Event()

    def start() -> None:
        options = f"-c listen_addresses=127.0.0.1 -p {port} -k {data.parent} -c fsync=off"
        as_server_user(*control, "-o", options, "start", stdout=subprocess.DEVNULL)
        back.set()

    def away() -> None:
        back.clear()
        as_server_user(*control, "-m", "immediate", "stop", stdout=subprocess.DEVNULL)
        threading.Timer(4, start).start()

    with change_settings(store=postgres):
        results = campaign(away)
        assert energies(results) == expected()
        assert back.wait(30)
        assert stored() == {result["key"] for result in results}
        connection._answering.clear()  # as in a process that has only just begun
        away()
        result = cached(static_job)("Al")
        assert result["key"] in stored()
        assert back.wait(30)
