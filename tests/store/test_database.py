"""The results database on SQLite: what comes back, how it is found, and what survives."""

from __future__ import annotations

import hashlib
import os
import pickle
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms, FixBondLength
from ase.io import read

from quacc.errors import InputError, StoreError
from quacc.store import Store, UnknownKeyError, Writer
from quacc.store.queries import BY_KEY, BY_PREFIX, summaries


def key_of(*parts: Any) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def make(atoms: Atoms, key: str, *, formula: str = "Cu", **more: Any) -> dict[str, Any]:
    """A result as a job returns it, computed with plain ASE."""
    atoms = atoms.copy()
    atoms.calc = EMT()
    results: dict[str, Any] = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
    if atoms.pbc.all():
        results["stress"] = atoms.get_stress()
    atoms.calc = None
    return {
        "name": "emt.static_job",
        "formula": formula,
        "key": key,
        "calculator": {"name": "emt", "version": "3.29", "fingerprint": "f"},
        "parameters": {"asap_cutoff": False},
        "input_atoms": atoms.copy(),
        "atoms": atoms,
        "results": results,
        "provenance": {"host": "login1", "pid": 7, "job_id": None, "wall_seconds": 0.1 + 0.2},
        "directory": None,
        "warnings": [],
        **more,
    }


def everything() -> dict[str, Any]:
    """A result with every kind of value that a result may hold."""
    atoms = fcc111("Cu", (2, 2, 3), vacuum=6, periodic=True)
    atoms.rattle(0.05, seed=1)
    atoms.set_momenta(np.random.default_rng(2).normal(size=(12, 3)))
    atoms.set_constraint([FixAtoms([0, 1, 2]), FixBondLength(4, 5)])
    atoms.set_initial_magnetic_moments(np.linspace(-1, 1, 12))
    atoms.set_array("site", np.array([f"s{i}" for i in range(12)]))
    atoms.set_celldisp([0.1, 0.2, 0.3])
    atoms.info["note"] = {"from": ["a", None, True], "x": 1e-300, "t": (1, (2.0,))}
    odd = [0.0, -0.0, 1e16, -1.5e300, 5e-324, 1 / 3, float("inf"), float("nan")]
    return make(
        atoms,
        key_of("everything"),
        converged=True,
        odd=odd,
        array=np.array(odd),
        big=2**70,
        whole=1.0,
        one=1,
        nothing=None,
        truth=[True, False],
        text="Å · \"'%s ? {}",
        nested=[[1, [2.0, ["x"]]], {}, []],
        empty=np.empty((0, 3)),
        scalar=np.array(2.5),
        single=np.arange(3, dtype=np.float32) / 3,
        integers=np.arange(6, dtype=np.int64).reshape(2, 3),
        flags=np.array([[True], [False]]),
        waves=np.array([1 + 2j, complex(-0.0, np.inf)]),
        transposed=np.arange(6.0).reshape(2, 3).T,
        swapped=np.arange(3, dtype=">f8"),
        number=np.float64(0.1),
        count=np.int64(3),
        yes=np.bool_(True),
        trajectory=[bulk("Cu"), molecule("H2O")],
    )


def assert_same(left: Any, right: Any, where: str = "result") -> None:
    """Same type (NumPy scalars may become Python's), same bits."""
    if isinstance(left, np.generic):
        left = left.item()
    assert type(left) is type(right), where
    if isinstance(left, dict):
        assert left.keys() == right.keys(), where
        for name in left:
            assert_same(left[name], right[name], f"{where}.{name}")
    elif isinstance(left, list | tuple):
        assert len(left) == len(right), where
        for i, (one, other) in enumerate(zip(left, right, strict=True)):
            assert_same(one, other, f"{where}[{i}]")
    elif isinstance(left, np.ndarray):
        assert left.shape == right.shape, where
        assert left.dtype.newbyteorder("=") == right.dtype, where
        assert left.astype(right.dtype).tobytes() == right.tobytes(), where
        assert right.flags.writeable, where
    elif isinstance(left, Atoms):
        assert right.calc is None
        assert_same(dict(left.arrays), dict(right.arrays), where)
        assert_same(left.cell.array, right.cell.array, where)
        assert_same(left.pbc, right.pbc, where)
        assert_same(left.info, right.info, where)
        assert_same(left.get_celldisp(), right.get_celldisp(), where)
        assert [c.todict() for c in left.constraints] == [c.todict() for c in right.constraints]
    elif isinstance(left, float):
        assert left.hex() == right.hex(), where
    else:
        assert left == right, where


def workflow(prefix: str = "w", *, converged: bool = True) -> dict[str, Any]:
    parent = make(bulk("Cu", cubic=True), key_of(prefix, "bulk"))
    slabs = [
        make(
            fcc111("Cu", (1, 1, n), vacuum=5, periodic=True),
            key_of(prefix, n),
            name="emt.relax_job",
            converged=converged,
        )
        for n in (3, 4)
    ]
    return {
        "name": "emt.bulk_to_slabs_flow",
        "formula": "Cu",
        "key": key_of(prefix, "flow"),
        "atoms": parent["atoms"],
        "parameters": {"max_index": 1},
        "surfaces": [
            {
                "miller": [1, 1, 1],
                "termination": i,
                "natoms": len(slab["atoms"]),
                "area": 5.6,
                "energy_per_atom": slab["results"]["energy"] / len(slab["atoms"]),
                "surface_energy": 1.25 if i == 0 else None,
                "symmetric": True,
                "converged": converged,
                "steps": 3,
                "key": slab["key"],
            }
            for i, slab in enumerate(slabs)
        ],
        "bulk": parent,
        "slabs": slabs,
        "deeper": {"first": [slabs[0]]},
        "jobs": [parent["key"], *(slab["key"] for slab in slabs)],
        "warnings": [],
    }


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results.db")


def test_round_trip_is_bit_identical(store: Store) -> None:
    result = everything()
    assert store.add([result]) == 1
    assert_same(result, store.get(result["key"]))
    assert_same(result, store.find([result["key"]])[result["key"]])


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


def test_ase_opens_it(store: Store, tmp_path: Path) -> None:
    result = everything()
    store.add([make(molecule("CO"), key_of(1), formula="CO"), result])
    ase = [sys.executable, "-m", "ase"]
    listing = subprocess.run(
        [*ase, "db", "results.db", "-c", "formula,calculator,energy,fmax,recipe,converged"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "Cu12" in listing
    assert f"{result['results']['energy']:.3f}" in listing
    assert "emt.static_job" in listing
    found = subprocess.run(
        [*ase, "db", "results.db", "recipe=emt.static_job,Cu>0", "-n"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert found.split() == ["1", "row"]
    # What `ase gui` does with it.
    frames = read(f"{tmp_path / 'results.db'}@:")
    assert frames[1].get_potential_energy() == result["results"]["energy"]
    assert frames[1].get_forces(apply_constraint=False) == pytest.approx(
        result["results"]["forces"], rel=0, abs=0
    )
    assert frames[1].get_stress(apply_constraint=False) == pytest.approx(
        result["results"]["stress"], rel=0, abs=0
    )

    from ase.db import connect

    row = connect(tmp_path / "results.db").get(unique_id=key_of(1))
    assert row.data["atoms"] == molecule("CO")
    assert not list(tmp_path.glob("*.lock"))


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (object(), "of type object"),
        ([{"a": {1, 2}}], r"\['extra'\]\[0\]\['a'\] is \{1, 2\} of type set"),
        ({1: 2}, "has the key 1"),
        ({"__ndarray__": 2}, "has the key '__ndarray__'"),
        (np.array([object()]), "array of object"),
        (EMT(), "of type EMT"),
        ("a\0b", "NUL"),
    ],
)
def test_what_cannot_be_kept_is_refused(store: Store, value: Any, complaint: str) -> None:
    good, bad = make(bulk("Cu"), key_of(1)), make(bulk("Cu"), key_of(2), extra=value)
    with pytest.raises(StoreError, match=complaint):
        store.add([good, bad])
    assert list(store.select()) == []


def test_not_a_result(store: Store) -> None:
    with pytest.raises(StoreError, match="no 'key'"):
        store.add([{"energy": 1}])  # type: ignore[list-item]


def test_a_large_batch_is_one_transaction(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """ASE would commit after 5000 changes, which are fewer rows than that."""
    from ase.db.sqlite import SQLite3Database

    one = make(bulk("Cu"), "")
    rows = [row for i in range(3000) for row in store._rows({**one, "key": key_of(i)})]
    write, count = SQLite3Database.write, 0

    def fail_late(self: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        if count == len(rows):
            raise OSError(28, "No space left on device")
        return write(self, *args, **kwargs)

    monkeypatch.setattr(SQLite3Database, "write", fail_late)
    with pytest.raises(StoreError, match="No space left"):
        store._write(rows)
    monkeypatch.undo()
    assert list(store.select()) == []


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


SCRIPT = """
import sys
sys.path.insert(0, {folder!r})
from test_database import *
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
    for attempt in range(6):
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
    assert written > 6
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
        assert time.monotonic() - started < 5
        other.execute("ROLLBACK")
        writer.flush()
        assert len(list(store.select())) == 51


def test_writer_keeps_results_when_the_body_fails(store: Store) -> None:
    with pytest.raises(RuntimeError, match="boom"), Writer(store, interval=1000) as writer:
        writer.put(make(bulk("Cu"), key_of(1)))
        raise RuntimeError("boom")
    assert len(list(store.select())) == 1


def test_writer_raises_what_went_wrong_and_tries_again(tmp_path: Path) -> None:
    (tmp_path / "folder").touch()  # a file where the folder should be
    store = Store(tmp_path / "folder" / "results.db")
    results = [make(bulk("Cu"), key_of(i)) for i in range(4)]
    with Writer(store, interval=0.01) as writer:
        writer.put(results[0])
        with pytest.raises(StoreError, match="1 results are not stored"):
            writer.flush()
        time.sleep(0.2)
        with pytest.raises(StoreError, match="2 results are not stored"):
            writer.put(results[1])  # taken all the same
        (tmp_path / "folder").unlink()
        with pytest.raises(StoreError, match="of type object"):
            writer.put(make(bulk("Cu"), key_of("bad"), bad=object()))  # not taken
        time.sleep(0.2)
        writer.put(results[2])
        writer.flush()
        assert len(list(store.select())) == 3


def test_writer_reports_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "folder").touch()
    store = Store(tmp_path / "folder" / "results.db")
    result = make(bulk("Cu"), key_of(1))
    with pytest.raises(StoreError, match="1 results are not stored"), Writer(store) as writer:
        writer.put(result)
    with pytest.raises(RuntimeError, match="boom") as error, Writer(store) as writer:
        writer.put(result)
        raise RuntimeError("boom")
    assert "1 results are not stored" in error.value.__notes__[0]


def test_importing_the_store_is_cheap() -> None:
    code = "import sys, quacc.store; print([m for m in ('ase.db', 'rich', 'psycopg2', 'pydantic')"
    done = subprocess.run(
        [sys.executable, "-c", f"{code} if m in sys.modules])"], capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]"
