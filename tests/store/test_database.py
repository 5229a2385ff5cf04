"""The results database on SQLite: what comes back, and how it is found."""

from __future__ import annotations

import pickle
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ase.build import bulk, molecule

from quacc.errors import InputError, StoreError
from quacc.store import Store, UnknownKeyError
from quacc.store.queries import BY_KEY, BY_PREFIX, summaries

sys.path.insert(0, str(Path(__file__).parent))
from store_cases import assert_same, key_of, make, workflow


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results.db")


def test_reading_creates_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "folder" / "results.db")
    assert list(store.select()) == []
    assert store.find([key_of(1)]) == {}
    assert store.remove([key_of(1)]) == 0
    with pytest.raises(UnknownKeyError, match="No result has the key"):
        store.get(key_of(1))
    assert list(tmp_path.iterdir()) == []
    assert store.add([]) == 0
    assert list(tmp_path.iterdir()) == []


def test_an_empty_file_is_an_empty_database(tmp_path: Path) -> None:
    (tmp_path / "results.db").touch()  # what a writer killed at once leaves
    store = Store(tmp_path / "results.db")
    assert list(store.select()) == []
    assert store.add([make(bulk("Cu"), key_of(1))]) == 1


def test_known_keys_are_skipped_and_unconverged_ones_replaced(store: Store) -> None:
    first = make(bulk("Cu"), key_of(1), converged=False, steps=1)
    second = make(bulk("Cu"), key_of(1), converged=True, steps=2)
    third = make(bulk("Cu"), key_of(1), converged=True, steps=3)
    assert store.add([first]) == 1
    assert store.add([second]) == 1
    assert store.add([third, third]) == 0
    assert store.get(key_of(1))["steps"] == 2
    assert len(list(store.select())) == 1

    again = [make(bulk("Cu"), key_of(2), converged=c, steps=s) for c, s in ((False, 1), (True, 2))]
    assert store.add([*again, again[0]]) == 1
    assert store.get(key_of(2))["steps"] == 2


def test_replace(store: Store) -> None:
    def result(key: str, steps: int, converged: bool = True) -> dict[str, Any]:
        return make(bulk("Cu"), key_of(key), converged=converged, steps=steps)

    def steps(key: str) -> int:
        steps: int = store.get(key_of(key))["steps"]
        return steps

    assert store.add([result("a", 1)]) == 1
    assert store.add([result("a", 2)]) == 0
    assert store.add([result("a", 3), result("b", 3)], replace=True) == 2
    assert (steps("a"), steps("b")) == (3, 3)
    assert len(list(store.select())) == 2
    # Within a batch, as in a file: the later one takes the place of the earlier.
    assert store.add([result("a", 4), result("a", 5), result("c", 5)], replace=True) == 2
    assert (steps("a"), steps("c")) == (5, 5)
    mixed = [
        *store._rows(result("a", 6), replace=True),
        *store._rows(result("a", 7)),
        *store._rows(result("b", 6, converged=False), replace=True),
        *store._rows(result("b", 7)),
        *store._rows(result("c", 6)),
        *store._rows(result("d", 6)),
        *store._rows(result("d", 7), replace=True),
    ]
    assert store._write(mixed) == 3
    assert [steps(key) for key in "abcd"] == [6, 7, 5, 7]

    assert store.add([workflow()]) == 4
    changed = workflow()
    changed["slabs"][0]["steps"] = 8
    assert store.add([changed]) == 0
    assert store.add([changed], replace=True) == 4
    assert_same(changed, store.get(changed["key"]))


def test_prefixes(store: Store) -> None:
    keys = ["abcdef1" + "0" * 57, "abcdef2" + "0" * 57, "123456f" + "f" * 57]
    store.add([make(bulk("Cu"), key) for key in keys])
    assert store.get("123456")["key"] == keys[2]
    assert store.get(" ABCDEF1")["key"] == keys[0]
    with pytest.raises(StoreError, match="2 results have a key that starts with 'abcdef'") as error:
        store.get("abcdef")
    assert keys[0] in str(error.value)
    assert keys[1] in str(error.value)
    with pytest.raises(UnknownKeyError, match="at least 6 characters"):
        store.get("12345")
    with pytest.raises(KeyError, match=f"Did you mean {keys[2]}"):
        store.get("123456e" + "f" * 57)


def test_lookup_goes_through_an_index(store: Store, tmp_path: Path) -> None:
    store.add([make(bulk("Cu"), key_of(i)) for i in range(3)])
    connection = sqlite3.connect(tmp_path / "results.db")

    def plan(statement: str, values: list[Any]) -> str:
        rows = connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)
        return "\n".join(row[3] for row in rows)

    by_key = plan(BY_KEY.format(columns="unique_id, data", marks="?, ?"), ["a", "b"])
    assert by_key.startswith("SEARCH systems USING INDEX")
    assert "(unique_id=?)" in by_key
    assert "INDEX unique_id_index (unique_id>? AND unique_id<?)" in plan(BY_PREFIX, ["a", "b"])
    # A summary comes from the index alone, not from the rows with their big arrays.
    for filters in (
        {},
        {"formula": "Cu"},
        {"recipe": "x", "limit": 3},
        {"calculator": "emt", "since": datetime.now(UTC)},
    ):
        empty = dict.fromkeys(("formula", "recipe", "calculator", "since", "until", "limit"))
        listing = plan(*summaries(**{**empty, **filters}))
        assert "systems USING COVERING INDEX quacc_summary" in listing
        assert "TEMP B-TREE" not in listing


def test_find_many(store: Store) -> None:
    one = make(bulk("Cu"), "")
    results = [{**one, "key": key_of(i), "number": i} for i in range(1203)]
    assert store.add(results) == 1203
    found = store.find([*(r["key"] for r in results), key_of("unknown")])
    assert {key: r["number"] for key, r in found.items()} == {
        r["key"]: r["number"] for r in results
    }


def test_select(store: Store) -> None:
    store.add([make(bulk("Cu"), key_of(1))])
    store.add([make(molecule("H2O"), key_of(2), formula="H2O", converged=True)])
    middle = datetime.now(UTC)
    time.sleep(0.01)
    nitride = make(bulk("Cu"), key_of(3), formula="NaN", name="mopac.relax_job", converged=False)
    nitride["calculator"]["name"] = "mopac"
    store.add([nitride, make(bulk("Cu"), key_of(4), formula="InF")])

    rows = list(store.select())
    assert [row.key for row in rows] == [key_of(4), key_of(3), key_of(2), key_of(1)]
    copper = rows[3]
    assert (copper.formula, copper.recipe, copper.calculator) == ("Cu", "emt.static_job", "emt")
    assert (copper.natoms, copper.converged) == (1, None)
    assert copper.energy == store.get(key_of(1))["results"]["energy"]
    assert abs(copper.created - datetime.now(UTC)) < timedelta(minutes=1)
    assert rows[2].converged is True
    assert rows[1].converged is False

    def numbers(**filters: Any) -> list[int]:
        names = {key_of(i): i for i in range(1, 5)}
        return [names[row.key] for row in store.select(**filters)]

    assert numbers(formula="OH2") == [2]
    assert numbers(formula="Cu4") == [1]
    assert numbers(formula="NaN") == [3]  # not a number, but sodium nitride
    assert numbers(formula="FIn") == [4]
    assert numbers(recipe="emt.static_job") == [4, 2, 1]
    assert numbers(calculator="MOPAC") == [3]
    assert numbers(since=middle) == [4, 3]
    assert numbers(until=middle) == [2, 1]
    assert numbers(limit=2) == [4, 3]
    assert numbers(recipe="emt.static_job", calculator="mopac") == []
    with pytest.raises(InputError, match="'Xy2' is not a chemical formula"):
        store.select(formula="Xy2")


def test_rows_of_others_are_left_out(store: Store, tmp_path: Path) -> None:
    from ase.db import connect

    connect(tmp_path / "results.db", use_lock_file=False).write(bulk("Au"), data={"a": 1})
    assert list(store.select()) == []
    store.add([make(bulk("Cu"), key_of(1))])
    assert len(list(store.select())) == 1


def test_workflow_results_refer_to_their_parts(store: Store, tmp_path: Path) -> None:
    result = workflow()
    assert store.add([result["bulk"]]) == 1
    assert store.add([result]) == 3  # two slabs and the workflow
    assert_same(result, store.get(result["key"]))
    assert_same(result["slabs"][1], store.get(result["slabs"][1]["key"]))
    rows = {row.key: row for row in store.select()}
    assert len(rows) == 4
    assert rows[result["key"]].energy is None
    assert rows[result["key"]].calculator == "emt"

    both = store.find([result["key"], result["bulk"]["key"]])
    both[result["key"]]["bulk"]["atoms"].positions += 1  # parts are never shared
    assert_same(result["bulk"], both[result["bulk"]["key"]])
    sizes = sqlite3.connect(tmp_path / "results.db").execute(
        "SELECT length(data) FROM systems ORDER BY id"
    )
    assert sizes.fetchall()[-1][0] < 3000  # its parts are not in it

    assert store.remove([result["bulk"]["key"], key_of("unknown")]) == 1
    assert store.find([result["key"]]) == {}
    with pytest.raises(StoreError, match=f"made from {result['bulk']['key'][:10]}, which is no"):
        store.get(result["key"])
    assert store.add([result]) == 1
    assert_same(result, store.get(result["key"]))


def test_a_workflow_with_unconverged_parts_is_replaced_with_them(store: Store) -> None:
    assert store.add([workflow(converged=False)]) == 4
    assert store.add([workflow(converged=True)]) == 3
    result = store.get(workflow()["key"])
    assert [surface["converged"] for surface in result["surfaces"]] == [True, True]
    assert [slab["converged"] for slab in result["slabs"]] == [True, True]


def test_remove(store: Store, tmp_path: Path) -> None:
    store.add([make(bulk("Cu"), key_of(i)) for i in range(5)])
    assert store.remove([key_of(0), key_of(1), key_of(1), "nonsense"]) == 2
    assert {row.key for row in store.select()} == {key_of(2), key_of(3), key_of(4)}
    connection = sqlite3.connect(tmp_path / "results.db")
    for table in ("species", "keys", "text_key_values", "number_key_values"):
        assert not connection.execute(
            f"SELECT * FROM {table} WHERE id NOT IN (SELECT id FROM systems)"
        ).fetchall()


def test_not_a_result(store: Store) -> None:
    with pytest.raises(StoreError, match="no 'key'"):
        store.add([{"energy": 1}])  # type: ignore[list-item]


def test_locations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreError, match=r"must end in '\.db'"):
        Store(tmp_path / "results.json")
    with pytest.raises(StoreError, match=r"cannot be the results database") as error:
        Store("mysql://me:secret@host/db")
    assert "secret" not in str(error.value)
    (tmp_path / "text.db").write_text("This is a text, not a database." * 100)
    with pytest.raises(StoreError, match="file is not a database"):
        list(Store(tmp_path / "text.db").select())
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"file"):
        Store(tmp_path / "file" / "results.db").add([make(bulk("Cu"), key_of(1))])
    monkeypatch.chdir(tmp_path)
    assert str(tmp_path / "here.db") in repr(Store("here.db"))
    strange = Store("strange ?#%41 name.db")
    strange.add([make(bulk("Cu"), key_of(1))])
    assert (tmp_path / "strange ?#%41 name.db").exists()


@pytest.mark.parametrize("from_settings", ["QUACC_STORE", "QUACC_RESULTS_DIR"])
def test_location_from_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, from_settings: str
) -> None:
    monkeypatch.delenv("QUACC_STORE", raising=False)
    name = {"QUACC_STORE": tmp_path / "mine.db", "QUACC_RESULTS_DIR": tmp_path}[from_settings]
    monkeypatch.setenv(from_settings, str(name))
    expected = name if name.suffix == ".db" else name / "results.db"
    Store().add([make(bulk("Cu"), key_of(1))])
    assert expected.exists()


def test_a_store_does_not_travel(store: Store) -> None:
    with pytest.raises(TypeError, match="workers never open the results database"):
        pickle.dumps(store)


def test_importing_the_store_is_cheap() -> None:
    code = "import sys, quacc.store; print([m for m in ('ase.db', 'rich', 'psycopg2', 'pydantic')"
    done = subprocess.run(
        [sys.executable, "-c", f"{code} if m in sys.modules])"], capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]"
