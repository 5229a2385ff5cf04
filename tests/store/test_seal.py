"""A result that somebody changed or forged is not served as one's own."""

from __future__ import annotations

import copy
import logging
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import molecule
from ase.constraints import FixAtoms, FixBondLengths

from quacc.cache.results import ResultsCache
from quacc.errors import StoreError
from quacc.recipes.emt.core import freq_job, md_job, relax_job, static_job
from quacc.runners.job import calculation_of
from quacc.settings import change_settings
from quacc.store import Store
from quacc.store.checksum import checksum
from quacc.store.seal import _signing_key, is_own, is_whole, seal

sys.path.insert(0, str(Path(__file__).parent))
from store_cases import everything


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    _signing_key.cache_clear()
    return tmp_path


def ethane() -> Any:
    atoms = molecule("C2H6")
    atoms.rattle(0.02, seed=1)
    atoms.info["note"] = {"a": (1, 2.0)}
    atoms.set_constraint([FixAtoms([0]), FixBondLengths([[0, 1]], bondlengths=[1.6])])
    return atoms


def keep(result: Any) -> None:
    known = ResultsCache()
    known.keep(result)
    known.close()


def served(*args: Any, job: Any = relax_job, **kwargs: Any) -> Any:
    return ResultsCache().find([calculation_of(job, args, kwargs)])[0]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "sqlite":
        return Store(tmp_path / "sealed.db")
    return Store(request.getfixturevalue("url"))


def test_what_comes_back_is_whole_and_ones_own(store: Store) -> None:
    results = [
        relax_job(ethane(), steps=2, trajectory=True),
        static_job("Cu"),
        md_job("Cu", steps=3),
        freq_job(relax_job("CO")),
        everything() | {"provenance": relax_job("Cu")["provenance"]},
    ]
    for result in results:
        before = copy.deepcopy(result)
        store.add([seal(result, sign=True)])
        found = store.get(result["key"])
        assert is_own(found)
        if result["name"] != "emt.static_job" or "odd" not in result:
            assert is_whole(found)
        assert result.keys() == before.keys()
        assert "signature" not in result["provenance"]


def changes(value: Any, where: tuple[Any, ...] = ()) -> Any:
    """Yield the places of all numbers and texts in a result."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from changes(item, (*where, name))
    elif isinstance(value, list):
        for name, item in enumerate(value):
            yield from changes(item, (*where, name))
    else:
        yield where


def changed(result: Any, where: tuple[Any, ...]) -> Any:
    result = copy.deepcopy(result)
    holder = result
    for name in where[:-1]:
        holder = holder[name]
    value = holder[where[-1]]
    if hasattr(value, "positions"):
        value.positions[0, 0] += 1e-9
    elif isinstance(value, np.ndarray):
        value.flat[0] = value.flat[0] + 1e-3
    else:
        holder[where[-1]] = "another"
    return result


def test_whatever_is_changed_is_noticed() -> None:
    whole = seal(relax_job(ethane(), steps=2, trajectory=True), sign=True)
    places = [*changes(whole)]
    assert len(places) > 30
    for where in places:
        bad = changed(whole, where)
        assert not is_own(bad), where
        common = {"input_atoms", "parameters", "calculator", "provenance", "directory", "warnings"}
        if where[0] not in common | {"name", "formula", "key"}:
            assert not is_whole(bad), where
    for name in ("tags", "info", "constraints"):
        bad = copy.deepcopy(whole)
        if name == "tags":
            bad["atoms"].set_tags(1)
        elif name == "info":
            bad["atoms"].info["note"]["a"] = (1, 3.0)
        else:
            bad["atoms"].constraints[1].bondlengths = [1.7]
        assert not is_own(bad), name


def test_a_changed_history_is_not_served(caplog: pytest.LogCaptureFixture) -> None:
    result = seal(relax_job("Al"), sign=False)
    keep(result)
    assert served("Al")["steps"] == result["steps"]
    result["history"]["energy"][0] += 1
    Store().add([result], replace=True)
    with caplog.at_level(logging.WARNING):
        assert served("Al") is None
    assert "quacc results rm" in caplog.text


def test_results_of_before_are_still_served() -> None:
    Store().add([relax_job("Al")])
    assert served("Al") is not None


def test_only_ones_own_are_trusted() -> None:
    result = relax_job("Al")
    keep(result)
    with change_settings(trust="own"):
        assert served("Al") is None
        keep(result)  # replaces it
        assert served("Al")["key"] == result["key"]
        assert "signature" not in result["provenance"]
        twice = ResultsCache().find([calculation_of(relax_job, ("Al",), {}) for _ in range(2)])
        assert None not in twice
        assert all("signature" not in one["provenance"] for one in twice)
    assert served("Al") is not None  # by all
    forged = Store().get(result["key"])
    forged["results"]["energy"] -= 1.0
    forged["provenance"]["checksum"] = checksum(forged["results"], forged["atoms"])
    Store().add([forged], replace=True)
    assert served("Al")["results"]["energy"] == forged["results"]["energy"]
    with change_settings(trust="own"):
        assert served("Al") is None


def test_a_signature_is_of_one_key_only() -> None:
    """A row that one has signed, under the key of another calculation."""
    result = seal(relax_job("Al"), sign=True)
    moved = result | {"key": calculation_of(relax_job, ("Al",), {"fmax": 0.02}).key}
    assert is_own(result)
    assert not is_own(moved)


def test_the_key_is_private(home: Path) -> None:
    seal(static_job("Cu"), sign=True)
    key = home / ".config/quacc/signing/key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.parent.stat().st_mode & 0o777 == 0o700
    assert [file.name for file in key.parent.iterdir()] == ["key"]
    for path, mode, reason in [
        (key, 0o640, "may be read"),
        (key, 0o602, "may be written"),
        (key.parent, 0o750, "may be read"),
    ]:
        before = path.stat().st_mode
        path.chmod(mode)
        _signing_key.cache_clear()
        with pytest.raises(StoreError, match=reason):
            seal(static_job("Cu"), sign=True)
        path.chmod(before)
    key.write_bytes(b"short")
    with pytest.raises(StoreError, match="damaged"):
        seal(static_job("Cu"), sign=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_the_key_of_another_user_is_refused(home: Path) -> None:
    seal(static_job("Cu"), sign=True)
    os.chown(home / ".config/quacc/signing/key", 65534, 65534)
    _signing_key.cache_clear()
    with pytest.raises(StoreError, match="belongs to another user"):
        seal(static_job("Cu"), sign=True)
