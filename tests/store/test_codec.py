"""Every value comes back as it was, and ASE's own tools read it too."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.io import read

from quacc.errors import StoreError
from quacc.store import Store

sys.path.insert(0, str(Path(__file__).parent))
from store_cases import (
    assert_same,
    assert_same_tables,
    cases,
    everything,
    key_of,
    make,
    written_by_ase,
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results.db")


def test_round_trip_is_bit_identical(store: Store) -> None:
    result = everything()
    assert store.add([result]) == 1
    assert_same(result, store.get(result["key"]))
    assert_same(result, store.find([result["key"]])[result["key"]])


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


def test_the_columns_are_those_that_ase_writes(store: Store, tmp_path: Path) -> None:
    store.add(cases())  # type: ignore[arg-type]
    written_by_ase(str(tmp_path / "ase.db"), cases())
    connections = [sqlite3.connect(tmp_path / name) for name in ("results.db", "ase.db")]
    assert_same_tables(*connections)


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (object(), "of type object"),
        ([{"a": {1, 2}}], r"\['extra'\]\[0\]\['a'\] is \{1, 2\} of type set"),
        ({1: 2}, "has the key 1"),
        ({"__ndarray__": 2}, "has the key '__ndarray__'"),
        (np.array([object()]), "array of object"),
        (EMT(), "of type EMT"),
    ],
)
def test_what_cannot_be_kept_is_refused(store: Store, value: Any, complaint: str) -> None:
    good, bad = make(bulk("Cu"), key_of(1)), make(bulk("Cu"), key_of(2), extra=value)
    with pytest.raises(StoreError, match=complaint):
        store.add([good, bad])
    assert list(store.select()) == []


def test_the_times_are_those_of_ase():
    from ase.db import core

    from quacc.store import queries

    assert (queries.T2000, queries.YEAR) == (core.T2000, core.YEAR)
