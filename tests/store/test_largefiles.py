"""Results too large for a row."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path
from typing import Any

import ase.db
import numpy as np
import pytest
from ase.build import bulk

from quacc.errors import StoreError
from quacc.store import Store
from quacc.store.largefiles import LARGE, LargeFiles
from quacc.store.upkeep import check, vacuum

sys.path.insert(0, str(Path(__file__).parent))
from store_cases import assert_same, everything, key_of, make, workflow


def trajectory(key: str, frames: int = 400) -> dict[str, Any]:
    """Frames that are small each, and large together."""
    atoms = bulk("Cu", cubic=True) * 3
    images = []
    for i in range(frames):
        image = atoms.copy()
        image.rattle(0.05, seed=i)
        images.append(image)
    return make(atoms, key, trajectory=images)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results.db")


def files(store: Store) -> list[Path]:
    return sorted(LargeFiles(store._location).folder.glob("*"))


def test_a_trajectory_is_one_file_and_its_row_small(store: Store, tmp_path: Path) -> None:
    large, small = trajectory(key_of("large")), everything()
    assert sum(frame.positions.nbytes for frame in large["trajectory"]) > LARGE
    store.add([large, small])
    [file] = files(store)
    assert file.stat().st_size > LARGE
    with sqlite3.connect(tmp_path / "results.db") as connection:
        sizes = connection.execute("SELECT LENGTH(data) FROM systems ORDER BY 1").fetchall()
    assert sizes[0][0] < 300
    assert_same(large, store.get(large["key"]))
    assert_same(small, store.get(small["key"]))
    row = ase.db.connect(tmp_path / "results.db").get(recipe="emt.static_job", natoms=108)
    assert row.energy == large["results"]["energy"]
    assert row.data["__quacc_file__"] == file.name == row.file
    assert check(store) == (2, [])


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_without_its_file_a_result_is_not_served(store: Store, damage: str) -> None:
    large, good = trajectory(key_of("large")), make(bulk("Cu"), key_of("good"))
    store.add([large, good])
    [file] = files(store)
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(content[:1000] + b"x" + content[1001:])
    reports: dict[str, str] = {}
    found = store.find(
        [large["key"], good["key"]],
        on_damage=lambda key, error: reports.update({key: str(error)}),
    )
    assert [*found] == [good["key"]]
    assert str(file) in reports[large["key"]]
    assert "quacc results rm" in reports[large["key"]]
    count, [problem] = check(store)
    assert count == 2
    assert str(file) in problem
    # Computed again, and stored in its place.
    store.add([large], replace=True)
    assert file.read_bytes() == content
    assert_same(large, store.get(large["key"]))


def test_files_go_with_the_last_row_that_refers_to_them(store: Store) -> None:
    large = trajectory(key_of("large"))
    store.add([large])
    [file] = files(store)
    with sqlite3.connect(str(store._location)) as connection:  # a row that shares the file
        connection.execute("INSERT INTO text_key_values VALUES ('file', ?, 99)", [file.name])
    assert store.remove([large["key"]]) == 1
    assert files(store) == [file]
    assert vacuum(store) >= 0
    assert files(store) == [file]
    with sqlite3.connect(str(store._location)) as connection:
        connection.execute("DELETE FROM text_key_values")
    assert vacuum(store) > LARGE
    assert files(store) == []


def test_rm_and_replace_leave_no_file(store: Store) -> None:
    large = trajectory(key_of("large"))
    store.add([large])
    [first] = files(store)
    store.add([trajectory(key_of("large"), frames=401)], replace=True)
    [second] = files(store)
    assert first != second
    store.remove([large["key"]])
    assert files(store) == []


def test_one_array_larger_than_sqlite_takes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a limit of 2 MB instead of SQLite's 1 GB."""
    connect = sqlite3.connect

    def limited(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection = connect(*args, **kwargs)
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 2_000_000)
        return connection

    monkeypatch.setattr(sqlite3, "connect", limited)
    large = make(bulk("Cu"), key_of("large"), positions=np.zeros(300_000))
    store.add([large])
    assert_same(large, store.get(large["key"]))
    store.remove([large["key"]])
    # As it was before there were files.
    monkeypatch.setattr("quacc.store.rows.LARGE", 10**9)
    with pytest.raises(StoreError, match="too big"):
        store.add([large])


def test_parts_of_a_workflow_are_found_in_their_files(store: Store) -> None:
    whole = workflow()
    whole["bulk"] = trajectory(whole["bulk"]["key"])
    store.add([whole])
    assert len(files(store)) == 1
    assert_same(whole, store.get(whole["key"]))


def test_postgresql_takes_what_json_cannot(url: str, tmp_path: Path) -> None:
    """Half characters, as in the name of a file that is not UTF-8, and what is large."""
    from quacc.settings import change_settings

    store = Store(url)
    odd = make(bulk("Cu"), key_of("odd"), source="/data/caf\udce9.cif")
    null = make(bulk("Cu"), key_of("null"), note="a\0b", names=np.array(["\0c"]), **{"d\0": 1})
    even = make(bulk("Cu"), key_of("even"), source="\\ud800 😀")
    large = trajectory(key_of("large"))
    with change_settings(results_dir=tmp_path):
        store.add([odd, even, large, null])
        assert len(files(store)) == 3
        for result in (odd, even, large, null):
            assert_same(result, store.get(result["key"]))
        assert check(store) == (4, [])
        store.remove([odd["key"], large["key"], null["key"]])
        assert files(store) == []


def test_sqlite_takes_what_json_cannot(store: Store) -> None:
    odd = make(bulk("Cu"), key_of("odd"), source="/data/caf\udce9.cif", note="a\0b")
    odd["atoms"].info["source"] = "caf\udce9"
    store.add([odd])
    assert files(store) == []
    assert_same(odd, store.get(odd["key"]))
