"""Rows that somebody made to do harm: they are refused, by every command that reads rows."""

from __future__ import annotations

import json
import pickle
import random
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ase.build import bulk, molecule
from ase.constraints import FixAtoms, FixBondLength, FixInternals
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from quacc.cli.main import app
from quacc.errors import QuaccError, StoreError
from quacc.store import Store
from quacc.store.codec import POSTGRESQL, decode, plain, to_binary, to_json

sys.path.insert(0, str(Path(__file__).parent))
from store_cases import assert_same, everything, key_of, make

BAD = key_of("bad")


def body(**parts: Any) -> bytes:
    """Return binary data with a description of its own, after 64 bytes for arrays."""
    text = json.dumps({"key": BAD, **parts}).encode()
    return (72).to_bytes(8, "little") + bytes(range(64)) + text


def array(shape: Any, dtype: Any, place: Any) -> bytes:
    return body(results={"forces": {"__ndarray__": [shape, dtype, place]}})


HOSTILE = {
    "objects": array([8], "object", 8),
    "one object": array([], "O", 8),
    "records": array([1], "O,O", 8),
    "texts as an array": array([1], "<U4", 8),
    "void": array([1], "V8", 8),
    "times": array([1], "datetime64[s]", 8),
    "longdouble": array([1], "float128", 8),
    "a negative shape": array([-1], "float64", 8),
    "two negative": array([-2, -2], "float64", 8),
    "empty and negative": array([0, -1], "float64", 8),
    "more than is there": array([9], "float64", 8),
    "beyond the end": array([1], "float64", 10**6),
    "before the start": array([1], "float64", -8),
    "much too large": array([10**9, 10**9, 10**9], "float64", 8),
    "no shape": array("8", "float64", 8),
    "unhashable": array([1], ["float64"], 8),
    "wide texts": body(x={"__texts__": [[1], "<U999999999", ["a"]]}),
    "no texts": body(x={"__texts__": [[1], "<U9", [["a"]]]}),
    "texts of objects": body(x={"__texts__": [[1], "object", ["a"]]}),
    "texts, negative": body(x={"__texts__": [[-1], "<U1", ["a"]]}),
    "a module": body(x={"__ase_objtype__": "os.system", "command": "true"}),
    "a list for a name": body(x={"__ase_objtype__": ["atoms"]}),
    "a cell of texts": body(x={"__ase_objtype__": "cell", "array": "x"}),
    "deep lists": body(x=json.loads("[" * 300 + "]" * 300)),
    "deep dictionaries": body(x=json.loads('{"a":' * 300 + "1" + "}" * 300)),
    "deep pairs": body(x=json.loads("[1,[" * 100 + "]]" * 100)),
    "atoms without arrays": body(atoms={"__ase_objtype__": "atoms", "numbers": [1]}),
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "results.db")
    store.add([make(bulk("Cu"), BAD)])
    return store


def put(tmp_path: Path, data: bytes) -> None:
    with sqlite3.connect(tmp_path / "results.db") as connection:
        connection.execute("UPDATE systems SET data = ? WHERE unique_id = ?", [data, BAD])
    connection.close()


@pytest.mark.parametrize("hostile", HOSTILE)
def test_it_is_refused(store: Store, tmp_path: Path, hostile: str) -> None:
    put(tmp_path, HOSTILE[hostile])
    for read in (store.get, lambda key: store.find([key])):
        with pytest.raises(StoreError, match="quacc results rm"):
            read(BAD)


def test_no_interpreter_dies(tmp_path: Path) -> None:
    code = (
        "import sys, pickle\n"
        "from quacc.store.codec import decode\n"
        "for data in pickle.load(sys.stdin.buffer):\n"
        "    try: decode(data)\n"
        "    except Exception: continue\n"
        "    print('not refused', data[72:])\n"
    )
    hostile = pickle.dumps([*HOSTILE.values()])
    done = subprocess.run([sys.executable, "-c", code], input=hostile, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize(
    "parts",
    [
        {"name": "x", "formula": "Cu"},
        {"name": "x", "formula": "Cu", "atoms": {}},
        {"name": 3, "formula": "Cu", "atoms": "ok"},
        {"name": "x", "formula": [], "atoms": "ok"},
        {"name": "x", "formula": "Cu", "atoms": "ok", "results": [1]},
        {"name": "x", "formula": "Cu", "atoms": "ok", "provenance": "me"},
    ],
)
def test_half_a_result_is_damage(store: Store, tmp_path: Path, parts: dict[str, Any]) -> None:
    atoms = {"atoms": bulk("Cu")} if parts.get("atoms") == "ok" else {}
    put(tmp_path, to_binary(plain({"key": BAD, **parts, **atoms})))
    with pytest.raises(StoreError, match="quacc results rm"):
        store.get(BAD)


def run(tmp_path: Path, *command: str) -> None:
    """Run a command: it may fail, with a message, but not crash."""
    result = CliRunner().invoke(app, ["results", *command, "--store", str(tmp_path / "results.db")])
    if result.exception is not None and not isinstance(result.exception, SystemExit | QuaccError):
        raise AssertionError(command) from result.exception


def test_flipped_bits_of_a_real_row(store: Store, tmp_path: Path) -> None:
    """All commands that read rows report what is broken, or nothing."""
    atoms = molecule("C2H6")
    atoms.set_constraint([FixAtoms([0]), FixBondLength(0, 1), FixInternals(bonds=[[None, [0, 2]]])])
    result = make(molecule("C2H6"), BAD, converged=True) | {"atoms": atoms}
    store.add([result], replace=True)
    good = to_binary(plain(result))
    start = int.from_bytes(good[:8], "little")
    rng = random.Random(3)
    for number in range(400):
        data = bytearray(good)
        where = rng.randrange(8) if number % 40 == 0 else rng.randrange(start, len(data))
        data[where] ^= 1 << rng.randrange(8)
        put(tmp_path, bytes(data))
        try:
            store.get(BAD)
        except StoreError:
            continue
        if number % 5 == 0:
            run(tmp_path, "show", BAD[:10])
            run(tmp_path, "export", str(tmp_path / "out.json"), "--force")
    put(tmp_path, good)
    assert_same(result, store.get(BAD))


tags = ["__ndarray__", "__special_number__", "__complex__", "__ase_objtype__", "__texts__",
        "__labelled_atoms__", "__tuple__", "numbers", "positions", "cell", "pbc", "info",
        "constraints", "name", "kwargs", "quacc_state"]  # fmt: skip
words = ["float64", "int8", "object", "complex128", "<U3", "atoms", "cell", "FixAtoms", "bandpath",
         "FixSymmetry", "vibrationsdata"]  # fmt: skip
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(words),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(tags), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(values)
def test_any_content(value: Any) -> None:
    text = json.dumps(value)
    blob = (72).to_bytes(8, "little") + bytes(range(64)) + text.encode()
    for data in (text, blob):
        try:
            decode(data)
        except Exception as error:  # Store turns all of these into a StoreError
            assert not isinstance(error, MemoryError | SystemError)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    try:
        decode(data)
    except Exception as error:
        assert not isinstance(error, MemoryError | SystemError)


def test_what_is_nested_too_deeply_is_not_written(store: Store) -> None:
    for depth in (70, 5000):
        deep: Any = 1
        for _ in range(depth):
            deep = [deep]
        with pytest.raises(StoreError, match="nested more than 64 deep"):
            store.add([make(bulk("Cu"), key_of(depth), extra=deep)])
        if depth == 70:
            with pytest.raises(StoreError, match="nested more than 64 deep"):
                POSTGRESQL.body(plain(deep))


def test_brackets_in_texts_are_no_nesting(store: Store) -> None:
    text = "[" * 500 + '{"\\' * 500
    result = make(bulk("Cu"), key_of("text"), note=text, many=[[1]] * 100)
    store.add([result])
    assert_same(result, store.get(key_of("text")))
    assert decode(to_json(plain({"a": text, "b": [[1]] * 100}))) == {"a": text, "b": [[1]] * 100}


def test_everything_is_still_read(store: Store) -> None:
    result = everything()
    store.add([result])
    assert_same(result, store.get(result["key"]))
