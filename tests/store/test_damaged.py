"""Rows that a disk or a file system has damaged."""

from __future__ import annotations

import json
import random
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest
from ase.build import bulk
from typer.testing import CliRunner

from quacc.cli.main import app
from quacc.errors import StoreError
from quacc.store import Store
from quacc.store.codec import plain, to_binary

sys.path.insert(0, str(Path(__file__).parent))
from store_cases import assert_same, everything, key_of, make, workflow

BAD, GOOD = key_of("bad"), key_of("good")
BODY = to_binary(plain(everything()))
START = int.from_bytes(BODY[:8], "little")


def blob(text: str) -> bytes:
    """Return binary data with another text after the arrays."""
    return BODY[:START] + text.encode()


def with_damage(name: str, value: Any) -> bytes:
    return blob(json.dumps({"key": BAD, name: value}))


DAMAGED = {
    "empty": b"",
    "short": b"x",
    "cut": BODY[:-40],
    "cut early": BODY[: START // 2],
    "zeros at the end": BODY[:-512] + bytes(512),
    "zeros at the start": bytes(8) + BODY[8:],
    "no UTF-8": BODY[:-100] + b"\xff" + BODY[-99:],
    "an array's name": with_damage("forces", {"__ndarray__": [[1], "floax64", 8]}),
    "an array's place": with_damage("forces", {"__ndarray__": [[1], "float64", 10**9]}),
    "an array's size": with_damage("forces", {"__ndarray__": [[10**30], "float64", 8]}),
    "an array's description": with_damage("forces", {"__ndarray__": 8}),
    "a number": with_damage("energy", {"__special_number__": "nan?"}),
    "a complex number": with_damage("energy", {"__complex__": [1, 2, 3]}),
    "texts": with_damage("site", {"__texts__": [[2], "<U3", ["a"]]}),
    "a structure's arrays": with_damage(
        "atoms", {"__labelled_atoms__": {"numbers": [1], "positions": [[0, 0, 0]], "cell": [1]}}
    ),
    "an object": with_damage("atoms", {"__ase_objtype__": "atomz"}),
    "a reference": with_damage("bulk", {"__quacc_key__": ["no key"]}),
    "endless": blob("[" * 100_000),
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "results.db")
    store.add([make(bulk("Cu"), BAD), make(bulk("Cu"), GOOD)])
    return store


def spoil(tmp_path: Path, column: str, value: Any) -> None:
    with sqlite3.connect(tmp_path / "results.db") as connection:
        connection.execute(f"UPDATE systems SET {column} = ? WHERE unique_id = ?", [value, BAD])
    connection.close()


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_row_is_named_with_what_to_do(store: Store, tmp_path: Path, damage: str) -> None:
    good = store.get(GOOD)
    spoil(tmp_path, "data", DAMAGED[damage])
    for read in (store.get, lambda key: store.find([GOOD, key])):
        with pytest.raises(StoreError, match=f"quacc results rm {BAD[:10]}") as caught:
            read(BAD)
        assert len(str(caught.value)) < 600
    assert_same(store.get(GOOD), good)
    assert len(list(store.select())) == 2
    command = ["results", "rm", BAD[:10], "--yes", "--store", str(tmp_path / "results.db")]
    assert CliRunner().invoke(app, command).exit_code == 0
    assert store.find([BAD]) == {}
    assert store.add([make(bulk("Cu"), BAD)]) == 1
    assert store.get(BAD)["key"] == BAD


def test_damaged_rows_are_reported_and_left_out(store: Store, tmp_path: Path) -> None:
    whole = workflow()
    store.add([whole, {**whole, "key": key_of("other"), "bulk": store.get(BAD)}])
    expected = store.find([GOOD, whole["key"]])
    spoil(tmp_path, "data", BODY[:-40])
    reports: dict[str, str] = {}
    found = store.find(
        [GOOD, BAD, key_of("unknown"), whole["key"], key_of("other")],
        on_damage=lambda key, error: reports.update({key: str(error)}),
    )
    assert_same(found, expected)
    assert [*reports] == [BAD]
    assert f"quacc results rm {BAD[:10]}" in reports[BAD]
    # What is computed again takes the place of the damaged row.
    assert store.add([make(bulk("Cu"), BAD)], replace=True) == 1
    assert len(store.find([BAD, key_of("other")])) == 2


@pytest.mark.parametrize("pairs", ["{", "", "[]", "3", None, b"\xff\x00"])
def test_a_row_with_damaged_pairs_gives_way_to_a_new_result(
    store: Store, tmp_path: Path, pairs: Any
) -> None:
    spoil(tmp_path, "key_value_pairs", pairs)
    with pytest.raises(StoreError, match=f"quacc results rm {BAD[:10]}"):
        list(store.select())
    assert store.add([make(bulk("Cu"), BAD), make(bulk("Cu"), GOOD)]) == 1
    assert len(list(store.select())) == 2


def test_every_byte_of_the_text_may_be_damaged(store: Store, tmp_path: Path) -> None:
    """What is raised is a StoreError, or nothing, where the damage is within a text or number."""
    rng = random.Random(0)
    for _ in range(150):
        body = bytearray(BODY)
        for place in rng.sample(range(START, len(body)), 2):
            body[place] = rng.randrange(32, 127)
        spoil(tmp_path, "data", bytes(body))
        try:
            store.find([BAD])
        except StoreError as error:
            assert "quacc results rm" in str(error)


def test_other_peoples_rows_are_no_results(store: Store, tmp_path: Path) -> None:
    for foreign in ({"key": 3}, {}, [1], 3, "key", None):
        spoil(tmp_path, "data", to_binary(foreign))
        assert store.find([BAD, GOOD]).keys() == {GOOD}
        with pytest.raises(StoreError, match="not written by quacc"):
            store.get(BAD)
