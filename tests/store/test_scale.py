"""Many rows: what is found, without reading everything, and while others write."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from ase.build import bulk

from quacc.store import Store, Summary, Writer

sys.path.insert(0, str(Path(__file__).parent))
from store_cases import key_of, make

ROWS = 10_000
FORMULAS = [f"AuCu{n}" for n in range(2, 102)]
RECIPES = [("emt.static_job", "emt"), ("emt.relax_job", "emt"), ("mopac.relax_job", "mopac")]
ONE = make(bulk("Cu", cubic=True), "")


def numbered(i: int) -> dict[str, Any]:
    recipe, calculator = RECIPES[i % len(RECIPES)]
    return {
        **ONE,
        "key": key_of(i),
        "name": recipe,
        "formula": FORMULAS[i % len(FORMULAS)],
        "calculator": {**ONE["calculator"], "name": calculator},
        "results": {**ONE["results"], "energy": i / 7},
        "number": i,
    }


def filled(store: Store, rows: int) -> Store:
    step = rows // 10
    for start in range(0, rows, step):
        store.add([numbered(i) for i in range(start, start + step)])
    return store


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return filled(Store(tmp_path_factory.mktemp("big") / "results.db"), ROWS)


@pytest.fixture
def big_server(url: str) -> Store:
    return filled(Store(url), 2000)


def check(store: Store, rows: int) -> None:
    """Compare what is found with what was written."""
    keys = {key_of(i): i for i in range(rows)}
    every = list(store.select())
    numbers = [keys[row.key] for row in every]
    assert sorted(numbers) == list(range(rows))
    assert all(a.created >= b.created for a, b in pairwise(every))

    wanted = random.Random(0).sample([*keys], rows // 2)
    found = store.find([*wanted, key_of("unknown")])
    assert [*found] == wanted
    assert all(
        (result["number"], result["results"]["energy"]) == (keys[key], keys[key] / 7)
        for key, result in found.items()
    )
    assert store.get(wanted[0][:10])["key"] == wanted[0]

    moments = sorted({row.created for row in every})  # one for each batch
    early = moments[2] + (moments[3] - moments[2]) / 2
    late = moments[7] + (moments[8] - moments[7]) / 2
    filters: list[tuple[dict[str, Any], Callable[[Summary], bool]]] = [
        ({"formula": "Cu7Au"}, lambda row: row.formula == "AuCu7"),
        ({"recipe": "emt.relax_job"}, lambda row: row.recipe == "emt.relax_job"),
        ({"calculator": "Mopac"}, lambda row: row.calculator == "mopac"),
        ({"since": late}, lambda row: row.created >= late),
        ({"until": early}, lambda row: row.created <= early),
        (
            {"formula": "Cu7Au", "calculator": "emt", "since": early, "until": late},
            lambda row: (
                (row.formula, row.calculator) == ("AuCu7", "emt") and early <= row.created <= late
            ),
        ),
        ({"formula": "Cu7Au", "recipe": "no.such_job"}, lambda _: False),
    ]
    for selection, belongs in filters:
        expected = [row for row in every if belongs(row)]
        assert len(expected) < rows
        assert expected or "recipe" in selection
        assert list(store.select(**selection)) == expected
        assert list(store.select(**selection, limit=5)) == expected[:5]


def test_what_is_found(big: Store) -> None:
    check(big, ROWS)


@pytest.mark.postgres
def test_what_is_found_on_postgresql(big_server: Store) -> None:
    check(big_server, 2000)
    keys = [key_of(i) for i in range(0, 2000, 2)]
    assert big_server.remove(keys) == 1000
    assert len(list(big_server.select())) == 1000
    assert big_server.find(keys) == {}


def test_no_statement_reads_whole_tables(big: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """`EXPLAIN` of all that SQLite was asked; only the index of summaries is read through."""
    statements: list[str] = []
    connect = sqlite3.connect

    def traced(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection = connect(*args, **kwargs)
        connection.set_trace_callback(statements.append)
        return connection

    monkeypatch.setattr(sqlite3, "connect", traced)
    some = [key_of(i) for i in range(0, 1200, 2)]
    results = list(big.find(some).values())
    big.get(some[0][:9])
    big.add(results, replace=True)
    big.remove(some)
    big.add(results)
    for selection in (
        {},
        {"limit": 51},
        {"formula": "Cu2Au"},
        {"recipe": "emt.static_job", "since": datetime.now()},
        {"calculator": "emt", "until": datetime.now(), "limit": 51},
    ):
        list(big.select(**selection))
    monkeypatch.undo()

    explained, connection = 0, connect(str(big))
    for statement in statements:
        if statement.startswith(("SELECT", "DELETE")) and "sqlite_" not in statement:
            rows = connection.execute(f"EXPLAIN QUERY PLAN {statement}")
            plan = "\n".join(row[3] for row in rows)
            if plan == "SCAN information":  # ASE's version of the tables
                continue
            allowed = "SCAN systems USING COVERING INDEX quacc_summary"
            assert "SCAN" not in plan.replace(allowed, ""), (statement[:200], plan)
            explained += 1
    connection.close()
    assert explained > 20


@pytest.mark.postgres
def test_rows_are_deleted_through_indices_on_postgresql(big_server: Store, url: str) -> None:
    """Else PostgreSQL reads four tables for each row, to see whether they refer to it."""
    import psycopg2

    with psycopg2.connect(url) as connection:
        cursor = connection.cursor()
        cursor.execute("ANALYZE")
        for table in ("species", "keys", "text_key_values", "number_key_values"):
            where = "x.key = 'recipe' AND" if table == "number_key_values" else ""
            cursor.execute(f"EXPLAIN SELECT 1 FROM ONLY {table} x WHERE {where} id = 7")
            plan = "\n".join(row[0] for row in cursor.fetchall())
            # No numbers are stored here, and an empty table is read as it is.
            assert ("quacc_" in plan) != (table == "number_key_values"), plan
    connection.close()


READER = """
import sys
from quacc.store import Store
store, sizes = Store(sys.argv[1]), [0]
while len(sizes) < 6:
    rows = list(store.select())
    assert len(rows) >= sizes[-1], "rows have gone"
    assert len(store.find([row.key for row in rows[:30]])) == len(rows[:30])
    if len(rows) > sizes[-1]:
        sizes.append(len(rows))
        print(len(rows), flush=True)
"""


def check_readers(store: Store, location: str) -> None:
    """Each must see the database grow five times, and never an error or half a row."""
    store.add([make(bulk("Cu"), key_of("first"))])
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", READER, location], stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    deadline = time.monotonic() + 120
    with Writer(store, interval=0.02) as writer:
        for i in forever(deadline):
            writer.put(numbered(i))
            time.sleep(0.001)
            if all(reader.poll() is not None for reader in readers):
                break
    for reader in readers:
        shown, _ = reader.communicate()
        assert reader.returncode == 0
        assert len(shown.split()) == 5
    assert len(list(store.select())) == i + 2


def forever(deadline: float) -> Iterator[int]:
    i = 0
    while time.monotonic() < deadline:
        yield i
        i += 1


def test_readers_while_a_writer_writes(tmp_path: Path) -> None:
    check_readers(Store(tmp_path / "results.db"), str(tmp_path / "results.db"))
    assert [path.name for path in tmp_path.iterdir()] == ["results.db"]


@pytest.mark.postgres
def test_readers_while_a_writer_writes_to_postgresql(url: str) -> None:
    check_readers(Store(url), url)
