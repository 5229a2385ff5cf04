"""``quacc results check|vacuum|merge|recover``."""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import bulk
from typer.testing import CliRunner

from quacc.cli.main import app
from quacc.errors import StoreError
from quacc.recipes.emt.core import static_job
from quacc.settings import change_settings
from quacc.store import Store
from quacc.store.largefiles import LargeFiles
from quacc.store.upkeep import check, merge, vacuum

sys.path.insert(0, str(Path(__file__).parent))
from store_cases import assert_same, cases, key_of, make, workflow, written_by_ase

BLOB = np.arange(200_000.0)


def run(store: Store, *command: str) -> tuple[int, str]:
    arguments = ["results", *command, "--store", str(store._location)]
    result = CliRunner().invoke(app, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit | StoreError):
        raise result.exception
    return result.exit_code, result.output.replace("\n", " ")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results.db")


@pytest.fixture
def other(tmp_path: Path) -> Store:
    return Store(tmp_path / "other.db")


def spoil(store: Store, key: str, **columns: Any) -> None:
    with sqlite3.connect(str(store._location)) as connection:
        for name, value in columns.items():
            connection.execute(f"UPDATE systems SET {name} = ? WHERE unique_id = ?", [value, key])
    connection.close()


def test_check_finds_nothing_wrong(store: Store) -> None:
    assert run(store, "check")[0] == 0  # there is nothing
    results = [*cases(), workflow(), static_job("Cu"), make(bulk("Cu"), key_of("blob"), blob=BLOB)]
    store.add(results)
    written_by_ase(str(store._location), [make(bulk("Cu"), "of no interest")])
    code, output = run(store, "check")
    assert code == 0
    assert "no problems" in output


def test_check_lists_all_that_is_wrong(store: Store, tmp_path: Path) -> None:
    changed, cut, wrong, gone, blob, ours = (
        make(bulk("Cu"), key_of(i)) for i in ("changed", "cut", "wrong", "gone", "blob", "ours")
    )
    computed = static_job("Cu")
    forged = {**computed, "results": computed["results"] | {"energy": 1.0}}
    gone["directory"] = str(tmp_path / "no folder")
    blob["blob"] = BLOB
    whole = workflow()
    store.add([cut, wrong, gone, blob, ours, forged, whole])
    store.remove([whole["bulk"]["key"]])
    with sqlite3.connect(str(store._location)) as connection:
        select = "SELECT data FROM systems WHERE unique_id = ?"
        content = {
            k: connection.execute(select, [k]).fetchone()[0] for k in (cut["key"], ours["key"])
        }
    spoil(store, cut["key"], data=content[cut["key"]][:-20])
    spoil(store, wrong["key"], data=content[ours["key"]])
    next(LargeFiles(store._location).folder.iterdir()).unlink()
    store._journal.append([store._rows(changed)])
    code, output = run(store, "check")
    assert code == 1
    for problem in (
        f"{cut['key'][:10]}: it cannot be read",
        f"{wrong['key'][:10]}: it has the content of another one",
        f"{gone['key'][:10]}: its folder {gone['directory']} is no longer there",
        f"{computed['key'][:10]}: its numbers are not those that were computed",
        f"{blob['key'][:10]}: it is in the file",
        f"{whole['key'][:10]}: its parts {whole['bulk']['key'][:10]} are not there",
        "1 results wait in",
        "7 problems",
    ):
        assert problem in output
    assert ours["key"][:10] not in output


def test_check_and_merge_where_the_file_is_broken(store: Store, other: Store) -> None:
    """Some pages are overwritten: what SQLite can still read is saved."""
    results = [make(bulk("Cu"), key_of(i), blob=np.full(3000, i)) for i in range(40)]
    other.add(results)
    size = os.path.getsize(str(other._location))
    with open(str(other._location), "r+b") as stream:
        stream.seek(size // 2 // 4096 * 4096)
        stream.write(os.urandom(8192))
    code, output = run(other, "check")
    assert code == 1
    assert "quacc results merge" in output
    merged = merge(store, other)
    assert merged.left_out
    saved = {row.key for row in store.select()}
    assert 10 < len(saved) < 40
    assert len(saved) == merged.added
    by_key = {result["key"]: result for result in results}
    for key in saved:
        assert_same(by_key[key], store.get(key))


def test_vacuum_gives_back_the_room(store: Store) -> None:
    small = [make(bulk("Cu"), key_of(i), text="x" * 10_000) for i in range(100)]
    store.add([*small, make(bulk("Cu"), key_of("blob"), blob=BLOB)])
    files = LargeFiles(store._location)
    (files.folder / ("0" * 64 + ".bin")).write_bytes(b"left by a killed process")
    (files.folder / ".partial-1-x").touch()
    before = sum(path.stat().st_size for path in Path(str(store._location)).parent.rglob("*.*"))
    store.remove([key_of(i) for i in range(100)])
    code, output = run(store, "vacuum")
    assert code == 0
    assert len(files.names()) == 1
    after = sum(path.stat().st_size for path in Path(str(store._location)).parent.rglob("*.*"))
    assert f"Freed {before - after:,} bytes" in output
    assert before - after > 1_000_000
    assert check(store) == (1, [])
    store.add([small[0]])  # by the same process, to the same file


def test_vacuum_beside_a_writer(store: Store) -> None:
    stop = threading.Event()
    store.check_writable()

    def write() -> None:
        for i in range(30):
            store.add([make(bulk("Cu"), key_of(i), blob=BLOB + i)])
        stop.set()

    thread = threading.Thread(target=write)
    thread.start()
    while not stop.is_set():
        vacuum(store)
    thread.join()
    assert check(store) == (30, [])


def test_merge_takes_what_is_new_or_better(store: Store, other: Store) -> None:
    def one(name: str, converged: bool, steps: int) -> dict[str, Any]:
        return make(bulk("Cu"), key_of(name), converged=converged, steps=steps)

    store.add([one("a", True, 1), one("b", False, 1), one("c", True, 1), one("d", False, 1)])
    whole = workflow()
    theirs = [one("a", False, 2), one("b", True, 2), one("c", True, 2), one("d", False, 2)]
    large = make(bulk("Cu"), key_of("blob"), blob=BLOB)
    other.add([*theirs, whole, large])
    created = {row.key: row.created for row in other.select()}
    code, output = run(store, "merge", str(other._location))
    assert code == 0
    assert "6 new results, 3 were known" in output
    assert [store.get(key_of(name))["steps"] for name in "abcd"] == [1, 2, 1, 1]
    assert_same(whole, store.get(whole["key"]))
    assert_same(large, store.get(large["key"]))
    for row in store.select(recipe="emt.bulk_to_slabs_flow"):
        assert row.created == created[row.key]
        assert row.converged is True
    assert "0 new results, 9 were known" in run(store, "merge", str(other._location))[1]
    assert check(store) == (len(list(store.select())), [])
    assert run(store, "merge", str(store._location))[0] == 1  # itself
    assert run(store, "merge", "/nowhere/results.db")[0] == 1


def test_merge_to_postgresql_and_back(store: Store, other: Store, url: str, tmp_path: Path) -> None:
    results = [*cases(), workflow(), make(bulk("Cu"), key_of("blob"), blob=BLOB)]
    results.append(make(bulk("Cu"), key_of("odd"), note="caf\udce9"))
    with change_settings(results_dir=tmp_path / "results"):
        store.add(results)
        server = Store(url)
        count = len(list(store.select()))
        assert merge(server, store).added == count
        assert merge(other, server).added == count
        assert merge(server, store).added == merge(other, server).added == 0
        for database in (server, other):
            assert check(database) == (count, [])
            for result in results:
                assert_same(result, database.get(result["key"]))


def test_recover_stores_what_was_set_aside(store: Store) -> None:
    bad = make(bulk("Cu"), key_of("bad"), formula="Cu\udce9")
    good = make(bulk("Cu"), key_of("good"))
    path = store._journal.append([store._rows(good)])
    assert str(path) in run(store, "ls")[1].replace(" ", "").replace("Thereareresultsin", "")
    code, output = run(store, "recover")
    assert code == 0
    assert "1 results brought in" in output
    store._journal.append([store._rows(bad)])
    code, output = run(store, "recover")
    assert code == 1
    assert f"Still not stored: {bad['key'][:10]}" in output
    assert path.exists()
    assert [row.key for row in store.select()] == [good["key"]]
