"""The thread that writes results in batches."""

from __future__ import annotations

import contextlib
import sqlite3
import sys
import threading
import time
from pathlib import Path

import pytest
from ase.build import bulk

from quacc.errors import StoreError
from quacc.store import RejectedError, Store, Writer
from quacc.store import writer as writer_module
from quacc.store.connection import TIMEOUT

sys.path.insert(0, str(Path(__file__).parent))
from store_cases import key_of, make


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results.db")


def test_writer_takes_results_from_many_threads(store: Store) -> None:
    one = make(bulk("Cu"), "")
    with Writer(store) as writer:

        def put(n: int) -> None:
            for i in range(100):
                writer.put({**one, "key": key_of(n, i)})

        threads = [threading.Thread(target=put, args=[n]) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        writer.flush()
        assert len(list(store.select())) == 800
        writer.put(make(bulk("Cu"), key_of("last")))
    assert len(list(store.select())) == 801
    with pytest.raises(StoreError, match="not open"):
        writer.put(make(bulk("Cu"), key_of("late")))


def test_writer_replaces_what_it_is_told_to(store: Store) -> None:
    old = [make(bulk("Cu"), key_of(i), steps=1) for i in range(2)]
    store.add(old)
    with Writer(store) as writer:
        writer.put({**old[0], "steps": 2}, replace=True)
        writer.put({**old[1], "steps": 2})
    assert [store.get(key_of(i))["steps"] for i in range(2)] == [2, 1]


def test_writer_writes_without_being_asked(store: Store) -> None:
    with Writer(store, interval=0.05) as writer:
        writer.put(make(bulk("Cu"), key_of(1)))
        deadline = time.monotonic() + 20
        while not list(store.select()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    with Writer(store, interval=1000, batch=3) as writer:
        for i in range(3):
            writer.put(make(bulk("Cu"), key_of("batch", i)))
        while len(list(store.select())) < 4:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_writer_never_waits_for_the_database(store: Store, tmp_path: Path) -> None:
    store.add([make(bulk("Cu"), key_of(1))])
    other = sqlite3.connect(tmp_path / "results.db", isolation_level=None)
    with Writer(store, interval=0.01) as writer:
        other.execute("BEGIN EXCLUSIVE")
        started = time.monotonic()
        for i in range(2, 52):
            writer.put(make(bulk("Cu"), key_of(i)))
            time.sleep(0.001)
        assert time.monotonic() - started < TIMEOUT  # of one that waits
        other.execute("ROLLBACK")
        writer.flush()
        assert len(list(store.select())) == 51


def test_writer_keeps_results_when_the_body_fails(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), Writer(store, interval=1000) as writer:
        writer.put(make(bulk("Cu"), key_of(1))) or 1 / 0
    assert len(list(store.select())) == 1


def test_writer_sets_aside_what_cannot_be_written_and_tries_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "RETRY", 0.05)
    (tmp_path / "folder").touch()  # a file where the folder should be
    store = Store(tmp_path / "folder" / "results.db")
    results = [make(bulk("Cu"), key_of(i)) for i in range(4)]
    with Writer(store, interval=0.01) as writer:
        writer.put(results[0])
        writer.flush()
        assert store._journal.pending().keys == [key_of(0)]
        (tmp_path / "folder").unlink()
        with pytest.raises(StoreError, match="of type object"):
            writer.put(make(bulk("Cu"), key_of("bad"), bad=object()))  # not taken
        deadline = time.monotonic() + 20
        while not list(store.select()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        writer.put(results[1])
        writer.flush()
        assert len(list(store.select())) == 2
    assert store._journal.pending().files == []


def test_writer_reports_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "folder").touch()
    store = Store(tmp_path / "folder" / "results.db")
    result = make(bulk("Cu"), key_of(1))
    with pytest.raises(StoreError, match="One result is not in the database yet, but safe in"):
        with Writer(store) as writer:
            writer.put(result)
    with pytest.raises(ZeroDivisionError) as error, Writer(store) as writer:
        writer.put(result) or 1 / 0
    assert "not in the database yet" in error.value.__notes__[0]
    (tmp_path / "folder").unlink()
    Store(tmp_path / "folder" / "results.db").check_writable()  # as the next run does
    assert [row.key for row in store.select()] == [key_of(1)]


def test_a_store_that_cannot_be_written_ends_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quacc.store.keeper.PATIENCE", 0.3)
    monkeypatch.setattr(writer_module, "RETRY", 0.05)
    (tmp_path / "folder").touch()
    store = Store(tmp_path / "folder" / "results.db")
    writer = Writer(store, interval=0.01).__enter__()
    started = time.monotonic()
    with pytest.raises(StoreError, match="nothing more is computed.*quacc results recover"):
        for i in range(1000):
            writer.put(make(bulk("Cu"), key_of(i)))
            time.sleep(0.02)
    assert 0.3 < time.monotonic() - started < 10
    with pytest.raises(StoreError, match="safe in"):
        writer.close()
    assert len(store._journal.pending().keys) == i + 1  # also the last


def test_one_rejected_result_keeps_no_other_out(store: Store) -> None:
    bad = make(bulk("Cu"), key_of("bad"), formula="Cu\udce9")  # no text that SQLite has
    with pytest.raises(StoreError, match=f"The result {key_of('bad')[:10]} could not") as error:
        with Writer(store, interval=1000) as writer:
            for i in range(3):
                writer.put(make(bulk("Cu"), key_of(i)))
            writer.put(bad)
            for i in range(3, 6):
                writer.put(make(bulk("Cu"), key_of(i)))
    assert str(store._journal.pending().files[0]) in str(error.value)
    assert {row.key for row in store.select()} == {key_of(i) for i in range(6)}
    assert store._journal.pending().keys == [key_of("bad")]
    assert [*store.bring_in(again=True)] == [key_of("bad")]  # still rejected, and kept
    assert store._journal.pending().keys == [key_of("bad")]


ODD = {
    "text as energy": {"results": {"energy": "low"}},
    "no results": {"results": None},
    "an endless number": {"results": {"energy": 10**400}},
    "no atoms": {"atoms": None},
    "a half character": {"formula": "Cu\udce9"},
    "a NUL": {"note": "a\0b"},
    "a function": {"note": print},
    "no name": {"name": None},
    "a calculator of a strange name": {"calculator": {"name": "\ud800"}},
    "a large number as a label": {"labels": 2**200},
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_an_odd_result_keeps_no_other_out(
    odd: str, kind: str, store: Store, request: pytest.FixtureRequest
) -> None:
    if kind == "postgresql":
        store = Store(request.getfixturevalue("url"))
    good = [make(bulk("Cu"), key_of(i)) for i in range(4)]
    writer = Writer(store, interval=1000).__enter__()
    for result in (*good[:2], {**make(bulk("Cu"), key_of("odd")), **ODD[odd]}, *good[2:]):
        with contextlib.suppress(RejectedError):
            writer.put(result)
    with contextlib.suppress(StoreError):
        writer.close()
    assert {key_of(i) for i in range(4)} <= {row.key for row in store.select()}
    found = store.find([key_of("odd")])
    assert found or odd != "a large number as a label"
    assert all(result.get("labels", 2**200) == 2**200 for result in found.values())
