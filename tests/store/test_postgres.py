"""The results database on a real PostgreSQL server, started for these tests."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from ase.build import bulk

from quacc.errors import StoreError
from quacc.store import Store, UnknownKeyError, Writer

sys.path.insert(0, str(Path(__file__).parent))
from postgres_server import PASSWORD, QUOTED, new_database
from store_cases import (
    assert_same,
    assert_same_tables,
    cases,
    everything,
    key_of,
    make,
    workflow,
    written_by_ase,
)

pytestmark = pytest.mark.postgres


def test_round_trip_is_bit_identical(url: str) -> None:
    store = Store(url)
    assert list(store.select()) == []
    with pytest.raises(UnknownKeyError):
        store.get(key_of(1))
    result = everything()
    assert store.add([result]) == 1
    assert store.add([result]) == 0
    assert_same(result, store.get(result["key"]))
    assert_same(result, store.get(result["key"][:8]))


def test_plain_ase_reads_it(url: str) -> None:
    from ase.db import connect

    result = everything()
    del result["atoms"].arrays["site"], result["input_atoms"].arrays["site"]
    Store(url).add([result])
    row = connect(url).get(unique_id=result["key"])
    assert row.energy == result["results"]["energy"]
    assert row.toatoms() == result["atoms"]
    assert row.data["atoms"] == result["atoms"]
    assert row.data["array"].tobytes() == result["array"].tobytes()
    listing = subprocess.run(
        [sys.executable, "-m", "ase", "db", url, "-c", "formula,energy,recipe"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "emt.static_job" in listing


def test_the_columns_are_those_that_ase_writes(url: str) -> None:
    import psycopg2

    Store(url).add(cases())  # type: ignore[arg-type]
    ase_url = new_database(url.rpartition("/")[0], "from_ase")
    written_by_ase(ase_url, cases())
    connections = [psycopg2.connect(address) for address in (url, ase_url)]
    assert_same_tables(*connections)
    for connection in connections:
        connection.close()


def test_workflow_select_and_remove(url: str) -> None:
    store = Store(url)
    assert store.add([workflow(converged=False)]) == 4
    result = workflow()
    assert store.add([result]) == 3
    assert_same(result, store.get(result["key"]))
    assert store.add([make(bulk("Cu"), key_of("InF"), formula="InF", converged=False)]) == 1
    assert [row.key for row in store.select(formula="InF")] == [key_of("InF")]
    assert next(store.select(limit=1)).converged is False
    assert len(list(store.select(formula="Cu", calculator="EMT"))) == 4
    assert len(list(store.select(recipe="emt.relax_job"))) == 2
    assert store.remove([key_of("InF"), result["bulk"]["key"], "unknown"]) == 2
    with pytest.raises(StoreError, match="which is no longer in"):
        store.get(result["key"])


@pytest.mark.parametrize(
    "damage",
    [
        {"__ndarray__": [[3], "float64", [1, 2]]},
        {"__ndarray__": [[1], "floax64", [1]]},
        {"__special_number__": None},
        {"__complex__": "x"},
        {"__ase_objtype__": "atomz"},
        {"__labelled_atoms__": {"numbers": [1]}},
    ],
)
def test_a_damaged_row_is_named_with_what_to_do(url: str, damage: Any) -> None:
    import psycopg2

    store, bad = Store(url), key_of("bad")
    store.add([make(bulk("Cu"), bad), make(bulk("Cu"), key_of("good"))])
    with psycopg2.connect(url) as connection:
        connection.cursor().execute(
            "UPDATE systems SET data = jsonb_set(data, '{results}', %s) WHERE unique_id = %s",
            [json.dumps(damage), bad],
        )
    connection.close()
    with pytest.raises(StoreError, match=f"quacc results rm {bad[:10]}") as caught:
        store.find([bad])
    assert QUOTED not in str(caught.value)
    assert store.get(key_of("good"))
    assert store.remove([bad]) == 1
    assert store.add([make(bulk("Cu"), bad)]) == 1
    assert store.get(bad)


def test_a_failing_batch_leaves_nothing(url: str) -> None:
    store = Store(url)
    store.add([make(bulk("Cu"), key_of("first"))])
    rows = [row for i in range(3) for row in store._rows(make(bulk("Cu"), key_of(i)))]
    rows[2].columns.values["positions"] = [["x", "y", "z"]]  # refused by the server
    with pytest.raises(StoreError, match="Results database postgresql"):
        store._write(rows)
    assert len(list(store.select())) == 1


WRITER = """
import sys
sys.path.insert(0, {folder!r})
from store_cases import *
from quacc.store import Store
store, first = Store(sys.argv[1]), int(sys.argv[2])
one = make(bulk("Cu"), "")
print("ready", flush=True)
sys.stdin.readline()
for batch in range(first, first + 10):
    store.add([{{**one, "key": key_of(batch, i), "batch": batch}} for i in range(10)])
"""


def test_processes_write_at_once(url: str) -> None:
    """They start with no tables, and half of their results are the same."""
    script = WRITER.format(folder=str(Path(__file__).parent))
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", script, url, str(first)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for first in (0, 5, 0)
    ]  # fmt: skip
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    assert [writer.communicate("go\n") and writer.returncode for writer in writers] == [0, 0, 0]
    found = Store(url).find([row.key for row in Store(url).select()])
    assert len(found) == 150
    assert {key_of(r["batch"], i) for r in found.values() for i in range(10)} == found.keys()


def test_kill_minus_nine(url: str) -> None:
    script = WRITER.format(folder=str(Path(__file__).parent))
    for attempt in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", script, url, str(100 * attempt)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert writer.stdin is not None
        assert writer.stdout is not None
        writer.stdout.readline()
        writer.stdin.write("go\n")
        writer.stdin.flush()
        time.sleep(0.05 + 0.1 * attempt)
        writer.kill()
        writer.communicate()
        started = time.monotonic()
        assert Store(url).add([make(bulk("Cu"), key_of("after", attempt))]) == 1
        assert time.monotonic() - started < 10
        found = Store(url).find([row.key for row in Store(url).select()])
        batches = [r["batch"] for r in found.values() if "batch" in r]
        assert {batches.count(batch) for batch in batches} <= {10}


def test_writer(url: str) -> None:
    with Writer(Store(url)) as writer:
        for i in range(50):
            writer.put(make(bulk("Cu"), key_of(i)))
    assert len(list(Store(url).select())) == 50


def test_the_password_is_never_shown(url: str, server: str) -> None:
    import traceback

    def secret_free(text: str) -> bool:
        return all(part not in text for part in (PASSWORD, QUOTED, "w:rd", "w%3Ard", "p%40"))

    assert secret_free(repr(Store(url)))
    with pytest.raises(TypeError) as travel:
        pickle.dumps(Store(url))
    assert secret_free(str(travel.value))
    bad = (
        url.replace("quacc:", "nobody:"),
        url.replace(server, "127.0.0.1:1"),
        url.replace(server, "no.such.host.invalid"),
        url.replace("/test_", "/none_"),
        url.replace(server, f"{server}x"),
        f"postgresql://quacc:{PASSWORD}@{server}/postgres",  # not quoted
        f"postgresql://{server}/postgres?user=nobody&password={QUOTED}",
        f"postgresql://{server}/postgres?user=nobody&passwordd={QUOTED}",
    )
    for address in bad:
        with pytest.raises(StoreError) as error:
            list(Store(address).select())
        shown = "".join(traceback.format_exception(error.value))
        assert secret_free(shown), shown
        assert "***" in str(error.value)
    with pytest.raises(StoreError, match="Check that the server runs"):
        list(Store(bad[1]).select())


def test_a_missing_package_is_named(url: str) -> None:
    code = (
        "import sys; sys.modules['psycopg2'] = None\n"
        "from quacc.store import Store\n"
        f"try: list(Store({url!r}).select())\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert shown.startswith("StoreError")
    assert "pip install ase-db-backends" in shown
    assert QUOTED not in shown
