"""Killed writers, many writers, a busy database."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from ase.build import bulk

from quacc.errors import StoreError
from quacc.store import Store

sys.path.insert(0, str(Path(__file__).parent))
from store_cases import key_of, make


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results.db")


def test_a_large_batch_is_one_transaction(store: Store) -> None:
    """It takes many statements, and the last of them fails."""
    one = make(bulk("Cu"), "")
    rows = [row for i in range(3000) for row in store._rows({**one, "key": key_of(i)})]
    rows[-1].columns.values["positions"] = object()  # refused by SQLite
    with pytest.raises(StoreError, match="type 'object' is not supported"):
        store._write(rows)
    assert list(store.select()) == []
    assert store._write(rows[:-1]) == 2999


SCRIPT = """
import sys
sys.path.insert(0, {folder!r})
from store_cases import *
from quacc.store import Store
store, first, batches, pad = Store(sys.argv[1]), *map(int, sys.argv[2:5])
one = make(bulk("Cu"), "", blob=np.zeros(pad))
print("ready", flush=True)
for batch in range(first, first + batches):
    store.add([{{**one, "key": key_of(batch, i), "batch": batch}} for i in range(20)])
"""


def start_writer(path: Path, first: int, batches: int, pad: int = 20_000) -> Any:
    script = SCRIPT.format(folder=str(Path(__file__).parent))
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(path), str(first), str(batches), str(pad)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def assert_whole_batches(path: Path) -> int:
    """Check the file, and return the number of batches in it."""
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    store = Store(path)
    found = store.find([row.key for row in store.select()])
    batches: dict[int, int] = {}
    for result in found.values():
        batches[result["batch"]] = batches.get(result["batch"], 0) + 1
    assert set(batches.values()) <= {20}
    return len(batches)


def test_kill_minus_nine(tmp_path: Path) -> None:
    """Whatever the moment, whole batches are left, and the next writer need not wait."""
    path = tmp_path / "results.db"
    rng = random.Random(3)
    written = 0
    for attempt in range(5):
        process = start_writer(path, 1000 * attempt, 1000)
        time.sleep(rng.uniform(0, 0.6))
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        started = time.monotonic()
        key = f"{attempt:064x}"
        extra = [make(bulk("Cu"), key, batch=-attempt - 1)] * 20
        assert Store(path).add(extra) == 1
        assert time.monotonic() - started < 5
        assert Store(path).remove([key]) == 1
        now = assert_whole_batches(path)
        assert now >= written
        written = now
    assert written > 5
    assert not list(tmp_path.glob("*.lock"))


def test_two_processes_write_at_once(tmp_path: Path) -> None:
    """Both start with no file, and half of their results are the same."""
    path = tmp_path / "folder" / "results.db"
    writers = [start_writer(path, first, 10, pad=10) for first in (0, 5, 0)]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0, 0]
    assert assert_whole_batches(path) == 15


def test_a_busy_database_is_waited_for(store: Store, tmp_path: Path) -> None:
    store.add([make(bulk("Cu"), key_of(1))])
    other = sqlite3.connect(tmp_path / "results.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    threading.Timer(0.5, lambda: other.execute("COMMIT")).start()
    assert store.add([make(bulk("Cu"), key_of(2))]) == 1


def test_a_database_that_stays_busy_is_an_error(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add([make(bulk("Cu"), key_of(1))])
    monkeypatch.setattr("quacc.store.connection.TIMEOUT", 0.1)
    other = sqlite3.connect(tmp_path / "results.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreError, match="Another process has been writing"):
        store.add([make(bulk("Cu"), key_of(2))])
    other.execute("ROLLBACK")
