"""What the database could not take is not lost."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from ase.build import bulk

from quacc.errors import StoreError
from quacc.settings import change_settings
from quacc.store import Store, Writer
from quacc.store.journal import Journal
from quacc.store.upkeep import check

sys.path.insert(0, str(Path(__file__).parent))
from store_cases import assert_same, everything, key_of, make, workflow


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results.db")


def test_every_result_comes_back_as_it_was(store: Store, tmp_path: Path) -> None:
    whole = workflow()
    path = store._journal.append([store._rows(everything()), store._rows(whole)])
    assert path.parent == tmp_path
    assert path.stat().st_mode & 0o777 == 0o600
    assert store._journal.pending().keys == [everything()["key"], whole["key"]]
    assert store.bring_in() == {}
    assert not path.exists()
    assert_same(everything(), store.get(everything()["key"]))
    assert_same(whole, store.get(whole["key"]))


def test_every_result_comes_back_from_postgresql_too(url: str, tmp_path: Path) -> None:
    store, whole = Store(url), workflow()
    with change_settings(results_dir=tmp_path):
        path = store._journal.append([store._rows(everything()), store._rows(whole)])
        assert path.parent == tmp_path
        store.check_writable()
        assert not path.exists()
        assert_same(everything(), store.get(everything()["key"]))
        assert_same(whole, store.get(whole["key"]))


SCRIPT = """
import sys
sys.path.insert(0, {folder!r})
from store_cases import *
from quacc.store import Store
store, first = Store(sys.argv[1]), int(sys.argv[2])
one = make(bulk("Cu"), "", blob=np.zeros(2000))
print("ready", flush=True)
for i in range(first, first + 100_000):
    store._journal.append([store._rows({{**one, "key": key_of(i)}})])
    print(i, flush=True)
"""


def test_killed_writers_leave_whole_records(store: Store, tmp_path: Path) -> None:
    """Three processes write at once, and are killed; what they said is there, is there."""
    script = SCRIPT.format(folder=str(Path(__file__).parent))
    path = str(tmp_path / "results.db")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, path, str(first)], stdout=subprocess.PIPE, text=True
        )
        for first in (0, 100_000, 200_000)
    ]
    told: list[int] = []
    for process in processes:
        assert process.stdout is not None
        told += [int(process.stdout.readline()) for _ in range(11) if process.stdout.readline()]
    for process in processes:
        process.send_signal(signal.SIGKILL)
    for process in processes:
        told += [int(line) for line in process.communicate()[0].split("\n")[:-1] if line.strip()]
    store.check_writable()
    found = {row.key for row in store.select()}
    assert len(told) > 30
    assert {key_of(i) for i in told} <= found
    assert store._journal.pending().files == []


def test_what_is_no_whole_record_is_left_out(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = (make(bulk("Cu"), key_of(i)) for i in range(2))
    path = store._journal.append([store._rows(one)])
    whole = path.read_bytes()
    path.write_bytes(b"x" + whole[:-7])  # torn by a crash of the machine
    store._journal.append([store._rows(two)])
    store._journal.append([store._rows(one)])
    content = path.read_bytes()
    path.write_bytes(content[:-100] + bytes([content[-100] ^ 1]) + content[-99:])
    assert store._journal.pending().keys == [key_of(1)]
    store.check_writable()
    assert [row.key for row in store.select()] == [key_of(1)]
    assert "no whole record" in caplog.text
    assert not path.exists()


def test_on_a_full_disk_it_is_elsewhere(store: Store, tmp_path: Path) -> None:
    """A limit on the size of files stands in for the full disk; elsewhere starts from nothing."""
    rows = store._rows(make(bulk("Cu"), key_of(1)))
    first = store._journal.append([rows])
    size = first.stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, hard))
    try:
        second = store._journal.append([store._rows(make(bulk("Cu"), key_of(2)))])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert second.parent == Path.home() / ".local" / "state" / "quacc"
    assert second.parent.stat().st_mode & 0o777 == 0o700
    assert first.stat().st_size == size  # nothing of the second is in it
    store.check_writable()
    assert {row.key for row in store.select()} == {key_of(1), key_of(2)}
    assert not second.exists()


def test_a_journal_that_others_can_have_written_is_not_read(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    path = store._journal.append([store._rows(make(bulk("Cu"), key_of(1)))])
    path.chmod(0o666)
    store.check_writable()
    assert list(store.select()) == []
    assert "may be written by other users" in caplog.text
    assert path.exists()
    assert "may be written by other users" in check(store)[1][0]
    path.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
        Store(store._location).check_writable()
        assert list(store.select()) == []


def test_nowhere_to_write_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the results are kept in memory, until one place or the other can be written."""
    monkeypatch.setattr(Journal, "_places", lambda self: iter([tmp_path / "no" / "journal"]))
    monkeypatch.setattr("quacc.store.keeper.PATIENCE_WITHOUT", 0.0)
    (tmp_path / "folder").touch()
    store = Store(tmp_path / "folder" / "results.db")
    with Writer(store, interval=0.01) as writer:
        writer.put(make(bulk("Cu"), key_of(1)))
        with pytest.raises(StoreError, match="set aside either.*One result is not stored"):
            writer.flush()
        (tmp_path / "folder").unlink()
    assert [row.key for row in store.select()] == [key_of(1)]


@pytest.mark.parametrize("what", ["file", "folder", "replaced", "emptied", "begun anew"])
def test_a_database_that_vanishes_is_not_begun_anew(tmp_path: Path, what: str) -> None:
    folder = tmp_path / "results"
    store = Store(folder / "results.db")
    store.add([make(bulk("Cu"), key_of(1))])
    if what == "file":
        (folder / "results.db").unlink()
    elif what == "folder":
        shutil.rmtree(folder)
    elif what == "replaced":
        (folder / "results.db").unlink()
        (folder / "results.db").write_bytes(b"")
    elif what == "begun anew":  # by another process; it may well get the same inode
        (folder / "results.db").unlink()
        begin = f"from quacc.store import Store; Store({str(folder / 'results.db')!r})"
        subprocess.run([sys.executable, "-c", f"{begin}.check_writable()"], check=True)
    else:
        os.truncate(folder / "results.db", 0)
    calls = [lambda: store.add([make(bulk("Cu"), key_of(2))]), store.check_writable]
    if what != "begun anew":
        calls.insert(0, lambda: store.find([key_of(1)]))
    for call in calls:
        with pytest.raises(StoreError, match="is lost. Put it back if you can"):
            call()
    assert folder.exists() == (what != "folder")
    store.check_writable()  # the next run, in the same process
    assert list(store.select()) == []


def test_tables_that_vanish_are_not_begun_anew(url: str, tmp_path: Path) -> None:
    import psycopg2

    store, name = Store(url), url.rpartition("/")[2]
    store.add([make(bulk("Cu"), key_of(1))])
    with change_settings(results_dir=tmp_path):
        for begun_anew in (False, True):
            connection = psycopg2.connect(f"{url.removesuffix(name)}postgres")
            connection.autocommit = True
            connection.cursor().execute(f"DROP DATABASE {name}")
            connection.cursor().execute(f"CREATE DATABASE {name}")
            connection.close()
            if begun_anew:
                begin = f"from quacc.store import Store; Store({url!r}).check_writable()"
                subprocess.run([sys.executable, "-c", begin], check=True)
            with pytest.raises(StoreError, match="is lost. Put it back if you can") as error:
                store.add([make(bulk("Cu"), key_of(2))])
            assert "p%40" not in str(error.value)
            with pytest.raises(StoreError, match="is lost"):
                store.check_writable()
            store.check_writable()
            assert list(store.select()) == []
