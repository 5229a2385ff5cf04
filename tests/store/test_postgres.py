"""The results database on a real PostgreSQL server, started for these tests."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ase.build import bulk

from quacc.errors import StoreError
from quacc.store import Store, UnknownKeyError, Writer

sys.path.insert(0, str(Path(__file__).parent))
from store_cases import assert_same, everything, key_of, make, workflow

PROGRAMS = Path("/usr/lib/postgresql/15/bin")
PASSWORD = "p@ss/w:rd#1"
QUOTED = "p%40ss%2Fw%3Ard%231"

pytestmark = pytest.mark.postgres


def as_server_user(*command: Any, **options: Any) -> Any:
    """Run a program as somebody who is not root, which PostgreSQL refuses to be."""
    if os.geteuid() == 0:
        options |= {"user": "postgres", "group": "postgres", "extra_groups": []}
    return subprocess.run([str(part) for part in command], cwd="/", check=True, **options)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Yield ``host:port`` of a fresh server that wants a password."""
    if not (PROGRAMS / "initdb").exists():
        pytest.skip(f"PostgreSQL's server programs are not in {PROGRAMS}")
    if os.geteuid() == 0:
        pwd = pytest.importorskip("pwd")
        try:
            owner = pwd.getpwnam("postgres").pw_uid
        except KeyError:
            pytest.skip("PostgreSQL cannot run as root, and there is no user 'postgres'")
    # Short, because a socket's path must be, and outside pytest's folder, which is private.
    folder = Path(tempfile.mkdtemp(prefix="quacc-pg-"))
    password = folder / "password"
    password.write_text(PASSWORD)
    if os.geteuid() == 0:
        for path in (folder, password):
            os.chown(path, owner, -1)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data = folder / "data"
    control = [PROGRAMS / "pg_ctl", "-D", data]
    try:
        as_server_user(
            PROGRAMS / "initdb", "-D", data, "-U", "quacc", "--pwfile", password,
            "--auth=scram-sha-256", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8",
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        options = f"-c listen_addresses=127.0.0.1 -p {port} -k {folder} -c fsync=off"
        as_server_user(
            *control, "-w", "-t", "60", "-l", folder / "log", "-o", options, "start",
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        yield f"127.0.0.1:{port}"
    finally:
        if (data / "postmaster.pid").exists():
            as_server_user(*control, "-m", "immediate", "stop", stdout=subprocess.DEVNULL)
        shutil.rmtree(folder)


@pytest.fixture
def url(server: str, request: pytest.FixtureRequest) -> str:
    """Address of a new, empty database."""
    import psycopg2

    name = f"test_{abs(hash(request.node.nodeid))}"
    connection = psycopg2.connect(f"postgresql://quacc:{QUOTED}@{server}/postgres")
    connection.autocommit = True
    connection.cursor().execute(f"CREATE DATABASE {name}")
    connection.close()
    return f"postgresql://quacc:{QUOTED}@{server}/{name}"


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


def test_a_failing_batch_leaves_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(url)
    store.add([make(bulk("Cu"), key_of("first"))])
    rows = [row for i in range(3) for row in store._rows(make(bulk("Cu"), key_of(i)))]
    rows[2].ase_row.positions = rows[2].ase_row.positions.astype(str)  # refused by the server
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
