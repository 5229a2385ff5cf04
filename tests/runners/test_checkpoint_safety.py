"""A checkpoint that somebody else has made, or a disk has damaged, does no harm."""

from __future__ import annotations

import json
import os
import random
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.constraints import FixBondLengths
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quacc.calculators.codes.emt import EMTCode
from quacc.errors import CalculationError, PreemptedError, QuaccError
from quacc.runners import relax as run
from quacc.runners.checkpoint import Checkpoint, progress_of
from quacc.runners.deadline import carry_on, stop_soon
from quacc.runners.relax import OPTIMIZERS
from quacc.runners.state import check, restore, snapshot
from quacc.settings import get_settings
from quacc.store.codec import decode, plain, to_binary


@pytest.fixture(autouse=True)
def go_on():
    yield
    carry_on()


def relax(atoms=None, steps=100, optimizer="ScaledBFGS", **more):
    if atoms is None:
        atoms = bulk("Cu", cubic=True) * (2, 1, 1)
        atoms.rattle(0.1, seed=7)
    return run.relax(EMTCode(), atoms, steps=steps, optimizer=optimizer, **more).compute()


def stopped(monkeypatch, after=3, **asked) -> Path:
    """Leave a checkpoint behind; return its file."""
    steps = Checkpoint.step

    def step(self, progress, state):
        if progress >= after:
            stop_soon("the test wants it")
        steps(self, progress, state)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "step", step)
        with pytest.raises(PreemptedError) as caught:
            relax(**asked)
    carry_on()
    return get_settings().results_dir / "checkpoints" / caught.value.key


def parts(file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    line, _, body = file.read_bytes().partition(b"\n")
    return json.loads(line), decode(body)


def forge(file: Path, saved: Any, **header: Any) -> None:
    """Write a checkpoint with a right checksum."""
    body = to_binary(plain(saved, "checkpoint"))
    forged = parts(file)[0] | {"checksum": zlib.crc32(body)} | header
    file.write_bytes(json.dumps(forged).encode() + b"\n" + body)


def assert_set_aside(file: Path, reason: str, result: Any = None) -> None:
    result = relax() if result is None else result
    [warning] = result["warnings"]
    assert reason in warning
    assert f"It is kept as {file}-unreadable" in warning
    assert Path(f"{file}-unreadable").exists() or Path(f"{file}-unreadable").is_symlink()
    assert not file.exists()
    assert result["converged"]


def launcher(folder: Path) -> dict[str, Any]:
    """Return a helper that would run a command, if classes were made from what a file says."""
    calculator = {
        "object": ["ase.calculators.calculator", "FileIOCalculator"],
        "fields": {
            "_directory": str(folder),
            "prefix": "x",
            "label": None,
            "profile": {
                "object": ["ase.calculators.calculator", "OldShellProfile"],
                "fields": {"command": f"touch {folder}/PWNED"},
            },
        },
    }
    return {
        "object": ["ase.calculators.socketio", "FileIOSocketClientLauncher"],
        "fields": {"calc": calculator},
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("observers", [["helper", 1, [None], {}]]),
        ("state", "helper"),
        ("force_consistent", "helper"),
        ("newcomer", "helper"),
        ("newcomer", 1),
        ("atoms", 1),
        ("optimizable", None),
        ("restart", "/tmp/overwritten"),
        ("maxstep", {"random generator": {}}),
        ("maxstep", {"other": {}}),
        ("state", {"object": ["ase._4.optimize.bfgs", "BFGSMethod"], "fields": {"step": 1}}),
        ("state", {"object": ["os", "system"], "fields": {}}),
        ("__class__", 1),
    ],
)
def test_forged_fields_are_set_aside(monkeypatch, tmp_path, name, value):
    file = stopped(monkeypatch)
    _, saved = parts(file)
    text = json.dumps(value).replace('"helper"', json.dumps(launcher(tmp_path)))
    saved["optimizer"][name] = json.loads(text)
    forge(file, saved)
    assert_set_aside(file, "does not fit")
    assert not (tmp_path / "PWNED").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda saved: saved.clear(),
        lambda saved: saved.pop("atoms"),
        lambda saved: saved.update(optimizer=[1]),
        lambda saved: saved["atoms"].update(positions=np.zeros((3, 3))),
        lambda saved: saved["atoms"].update(positions=np.full((8, 3), np.nan)),
        lambda saved: saved["atoms"].pop("cell"),
        lambda saved: saved.update(energies="none"),
        lambda saved: saved.update(frames={"cell": np.zeros((2, 3, 3)), "positions": 3}),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_set_aside(monkeypatch, change):
    file = stopped(monkeypatch)
    _, saved = parts(file)
    change(saved)
    forge(file, saved)
    assert_set_aside(file, "does not fit")


def test_one_that_only_fails_when_used_is_set_aside_once(monkeypatch):
    file = stopped(monkeypatch)
    _, saved = parts(file)
    saved["optimizer"]["history"] = [(np.ones(3), np.ones(3))]
    forge(file, saved)
    with pytest.raises(CalculationError) as caught:
        relax()
    assert f"It is kept as {file}-unreadable" in caught.value.__notes__[0]
    assert relax()["warnings"] == []


def test_the_folder_of_restart_files_is_its_own(monkeypatch):
    for name in ("../../secret", ".", f".{'0' * 64}-01234567-files", 3):
        file = stopped(monkeypatch)
        forge(file, parts(file)[1], restart_files=name)
        assert_set_aside(file, "is damaged")


@pytest.mark.parametrize(
    "header",
    [
        {"progress": "3"}, {"progress": -1}, {"progress": True}, {"longest_step": None},
        {"costs": []}, {"costs": {"attempts": "1"}}, {"warnings": "none"}, {"warnings": [1]},
        {"checksum": "0"},
    ],
)  # fmt: skip
def test_a_forged_header_is_damage(monkeypatch, header):
    file = stopped(monkeypatch)
    forge(file, parts(file)[1], **header)
    assert progress_of(file.name) is None
    assert_set_aside(file, "is damaged")


def test_that_of_another_calculation_is_set_aside(monkeypatch):
    file = stopped(monkeypatch)
    other = stopped(monkeypatch, steps=99)
    other.replace(file)
    assert_set_aside(file, "is that of another calculation")


def test_it_is_private(monkeypatch):
    old = os.umask(0)
    try:
        file = stopped(monkeypatch)
    finally:
        os.umask(old)
    assert file.stat().st_mode & 0o777 == 0o600


def test_one_that_others_may_write_is_set_aside(monkeypatch):
    file = stopped(monkeypatch)
    file.chmod(0o620)
    assert progress_of(file.name) is None
    assert_set_aside(file, "may be written by other users")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_that_of_another_user_is_set_aside(monkeypatch):
    file = stopped(monkeypatch)
    os.chown(file, 65534, 65534)
    assert_set_aside(file, "belongs to another user")


def test_a_link_or_a_pipe_is_not_read(monkeypatch, tmp_path):
    file = stopped(monkeypatch)
    target = file.replace(tmp_path / "elsewhere")
    file.symlink_to(target)
    assert_set_aside(file, "cannot be read")
    file = stopped(monkeypatch)
    file.unlink()
    os.mkfifo(file, 0o600)
    assert_set_aside(file, "is no regular file")


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("size", [(2, 1, 1), (3, 3, 3)])
def test_flipped_bits_do_no_harm(monkeypatch, optimizer, size):
    atoms = bulk("Cu", cubic=True) * size
    atoms.rattle(0.1, seed=7)
    file = stopped(monkeypatch, atoms=atoms, optimizer=optimizer)
    content = file.read_bytes()
    line, _, body = content.partition(b"\n")
    rng = random.Random(1)
    start = int.from_bytes(body[:8], "little")
    for _ in range(6):
        damaged = bytearray(body)
        # Where the numbers are described, rather than among them.
        damaged[rng.randrange(start, len(body))] ^= 1 << rng.randrange(8)
        header = json.loads(line) | {"checksum": zlib.crc32(damaged)}
        file.write_bytes(json.dumps(header).encode() + b"\n" + damaged)
        with suppress(QuaccError):
            relax(atoms, optimizer=optimizer, steps=4)
        for rest in file.parent.glob("*"):
            rest.unlink()
    file.write_bytes(content[:-1])
    assert progress_of(file.name) == 3


plain_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["object", "fields", "random generator", "state", "H", "observers", "a"]),
        inner, max_size=3,
    ),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(["state", "maxstep", "alpha", "nsteps", "fmax", "x"]), plain_values)
def test_any_field(name, value):
    from ase.optimize import BFGS

    dynamics = BFGS(bulk("Cu"), logfile=None)
    before = snapshot(dynamics)
    try:
        check(dynamics, {name: value})
    except (ValueError, TypeError, AttributeError, KeyError):
        assert snapshot(dynamics).keys() == before.keys()
    else:
        restore(dynamics, {name: value})


def test_a_matrix_with_places_outside_it_is_refused(monkeypatch):
    # SciPy's C code would write there.
    atoms = bulk("Cu", cubic=True) * (3, 3, 3)
    atoms.rattle(0.1, seed=7)
    file = stopped(monkeypatch, atoms=atoms, optimizer="PreconLBFGS")
    _, saved = parts(file)
    matrix = saved["optimizer"]["precon"]["fields"]["P"]["fields"]
    matrix["indices"] = matrix["indices"] + 10**9
    forge(file, saved)
    assert_set_aside(file, "does not fit", relax(atoms, optimizer="PreconLBFGS"))


def test_what_constraints_have_learned_is_kept(monkeypatch):
    atoms = molecule("C2H6")
    atoms.set_constraint(FixBondLengths([[0, 1]]))
    whole = relax(atoms.copy())
    file = stopped(monkeypatch, atoms=atoms.copy(), after=2)
    lengths = parts(file)[1]["atoms"]["constraints"].constraints[0].bondlengths
    assert lengths == [atoms.get_distance(0, 1)]
    again = relax(atoms.copy())
    assert again["provenance"]["attempts"] == 2
    assert again["steps"] == whole["steps"]
    np.testing.assert_allclose(again["atoms"].positions, whole["atoms"].positions, atol=1e-9)
    kept = again["atoms"].constraints[0].bondlengths
    assert kept[0] == pytest.approx(atoms.get_distance(0, 1), abs=1e-14)
