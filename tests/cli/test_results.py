"""``quacc results`` on a real database."""

from __future__ import annotations

import csv
import hashlib
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.io import read
from ase.io.jsonio import decode
from typer.testing import CliRunner

from quacc.cli.results import app, parse_moment
from quacc.errors import InputError, StoreError
from quacc.store import Store, UnknownKeyError


def result(atoms: Atoms, name: str, formula: str, **more: Any) -> dict[str, Any]:
    atoms = atoms.copy()
    atoms.calc = EMT()
    values: dict[str, Any] = {"energy": atoms.get_potential_energy()}
    values["forces"] = atoms.get_forces(apply_constraint=False)
    if atoms.pbc.all():
        values["stress"] = atoms.get_stress(apply_constraint=False)
    atoms.calc = None
    return {
        "name": name,
        "formula": formula,
        "key": hashlib.sha256(f"{name} {atoms}".encode()).hexdigest(),
        "calculator": {"name": "emt", "version": "3.29", "fingerprint": "f"},
        "parameters": {"asap_cutoff": False, "note": "[bold]"},
        "input_atoms": atoms.copy(),
        "atoms": atoms,
        "results": values,
        "provenance": {"host": "login1", "started": "2026-01-31T12:00:00", "wall_seconds": 0.25},
        "directory": None,
        "warnings": ["Take [care]."],
        **more,
    }


@pytest.fixture
def jobs() -> list[dict[str, Any]]:
    slab = fcc111("Cu", (1, 1, 4), vacuum=6, periodic=True)
    slab.rattle(0.05, seed=1)
    slab.set_constraint(FixAtoms([0, 1]))
    relaxed = {"converged": False, "steps": 7, "fmax": 0.01}
    return [
        result(bulk("Cu"), "emt.static_job", "Cu"),
        result(molecule("H2O"), "emt.static_job", "H2O"),
        result(slab, "emt.relax_job", "Cu", **relaxed),
    ]


@pytest.fixture
def flow(jobs: list[dict[str, Any]]) -> dict[str, Any]:
    surface = {
        "miller": [1, 1, -1], "termination": 0, "natoms": 4, "area": 5.6, "steps": 7,
        "energy_per_atom": 0.12345, "surface_energy": 1.2345, "symmetric": True,
        "converged": False, "key": jobs[2]["key"],
    }  # fmt: skip
    unknown = {**surface, "miller": [10, 1, 0], "surface_energy": None}
    return {
        "name": "emt.bulk_to_slabs_flow", "formula": "Cu", "key": "f" * 64,
        "atoms": jobs[0]["atoms"], "parameters": {}, "surfaces": [surface, unknown],
        "bulk": jobs[0], "slabs": [jobs[2]], "jobs": [jobs[0]["key"], jobs[2]["key"]],
        "warnings": [],
    }  # fmt: skip


@pytest.fixture
def store(tmp_path: Path, jobs: list[dict[str, Any]], flow: dict[str, Any]) -> Store:
    store = Store(tmp_path / "results.db")
    store.add([*jobs, flow])
    return store


@pytest.fixture
def run(tmp_path: Path) -> Any:
    def run(*words: str, answer: str | None = None, fails: bool = False) -> str:
        command = [*words, "--store", str(tmp_path / "results.db")]
        done = CliRunner().invoke(app, command, input=answer, catch_exceptions=False)
        assert (done.exit_code != 0) == fails, done.output
        return done.output

    return run


def test_nothing_there(run: Any, tmp_path: Path) -> None:
    assert "No results found" in run("ls")
    assert "No results found" in run("rm", "--recipe", "x", "--yes")
    with pytest.raises(StoreError, match="nothing was written"):
        run("export", str(tmp_path / "out.csv"))
    with pytest.raises(UnknownKeyError):
        run("show", "abcdef")
    assert list(tmp_path.iterdir()) == []


def test_ls(run: Any, store: Store, jobs: list[dict[str, Any]]) -> None:
    text = run("ls")
    assert len([line for line in text.splitlines() if "emt." in line]) == 4
    line = next(line for line in text.splitlines() if jobs[2]["key"][:10] in line)
    assert line.split()[:6] == [
        jobs[2]["key"][:10], "Cu", "emt.relax_job", "4",
        f"{jobs[2]['results']['energy']:.4f}", "no",
    ]  # fmt: skip
    assert "There are more than these 2" in run("ls", "--limit", "2")
    assert jobs[1]["key"][:10] in run("ls", "--formula", "H2O", "--since", "1h")
    assert "No results found" in run("ls", "--until", "2020-01-01")
    assert "No results found" in run("ls", "--calculator", "vasp")


def test_the_latest(run: Any, store: Store, flow: dict[str, Any]) -> None:
    newest = next(iter(store.select(limit=1))).key
    assert newest in run("show", "latest")
    run("rm", "latest", "--yes")
    assert newest not in {row.key for row in store.select()}
    run("rm", "--since", "7d", "--yes")
    with pytest.raises(UnknownKeyError, match="There are no results"):
        run("show", "latest")


def test_show(run: Any, store: Store, jobs: list[dict[str, Any]]) -> None:
    text = run("show", jobs[2]["key"][:8])
    for part in (
        jobs[2]["key"], "Cu4, 4 atoms", "emt 3.29", "no, 7 steps, force threshold 0.01 eV/Å",
        "login1", "2026-01-31T12:00:00", "asap_cutoff = False", "note = '[bold]'", "Take [care].",
        f"{jobs[2]['results']['energy']:.6f} eV", "none (computed in memory)",
    ):  # fmt: skip
        assert part in text
    free = np.linalg.norm(jobs[2]["results"]["forces"][2:], axis=1).max()
    assert f"max force       {free:.4f} eV/Å" in text


def test_show_surfaces(run: Any, store: Store, flow: dict[str, Any]) -> None:
    text = run("show", "ffffff")
    row = next(line for line in text.splitlines() if "(11-1)" in line)
    assert row.split() == ["(11-1)", "0", "4", "7", "0.12345", "1.2345", "–", "no"]
    row = next(line for line in text.splitlines() if "(10 1 0)" in line)
    assert row.split()[-3:] == ["–", "–", "no"]
    assert "made from       2 results" in text
    assert "surface energy (J/m²)" in text
    assert "Cu: 2 surfaces; (11-1) costs least" in text


def test_export_xyz(run: Any, store: Store, jobs: list[dict[str, Any]], tmp_path: Path) -> None:
    file = tmp_path / "out.extxyz"
    text = run("export", str(file))
    assert "Wrote 3 results" in text
    assert "Left out 1" in text
    frames = {atoms.info["key"]: atoms for atoms in read(file, ":")}
    for job in jobs:
        frame = frames[job["key"]]
        assert frame.info["recipe"] == job["name"]
        assert frame.get_potential_energy() == pytest.approx(job["results"]["energy"], abs=1e-12)
        forces = frame.get_forces(apply_constraint=False)
        assert forces == pytest.approx(job["results"]["forces"], abs=1e-7)
        assert frame.positions == pytest.approx(job["atoms"].positions, abs=1e-7)
        if "stress" in job["results"]:
            stress = frame.get_stress(apply_constraint=False)
            assert stress == pytest.approx(job["results"]["stress"], abs=1e-10)


def test_export_csv(run: Any, store: Store, jobs: list[dict[str, Any]], tmp_path: Path) -> None:
    run("export", str(tmp_path / "out.csv"), "--formula", "H2O")
    with (tmp_path / "out.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert row["key"] == jobs[1]["key"]
    assert float(row["energy"]) == jobs[1]["results"]["energy"]
    assert row["converged"] == ""
    assert datetime.fromisoformat(row["created"]).tzinfo is not None


def test_export_json(run: Any, store: Store, flow: dict[str, Any], tmp_path: Path) -> None:
    run("export", str(tmp_path / "out.json"), "--recipe", flow["name"])
    (back,) = decode((tmp_path / "out.json").read_text(), always_array=False)
    assert back.keys() == flow.keys()
    assert back["surfaces"] == flow["surfaces"]
    assert back["atoms"] == flow["atoms"]
    forces = back["slabs"][0]["results"]["forces"]
    assert forces.tobytes() == flow["slabs"][0]["results"]["forces"].tobytes()


def test_export_spares_what_is_there(run: Any, store: Store, tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    file.write_text("precious")
    with pytest.raises(InputError, match="exists"):
        run("export", str(file))
    with pytest.raises(StoreError, match="No results found"):
        run("export", str(file), "--force", "--formula", "Au")
    with pytest.raises(StoreError, match="Only workflow results"):
        run("export", str(tmp_path / "out.xyz"), "--recipe", "emt.bulk_to_slabs_flow")
    assert file.read_text() == "precious"
    run("export", str(file), "--force")
    assert file.read_text() != "precious"
    with pytest.raises(InputError, match=r"must end in \.extxyz, \.xyz, \.csv, \.json"):
        run("export", str(tmp_path / "out.pdf"))
    with pytest.raises(InputError, match="Cannot write"):
        run("export", str(tmp_path / "nowhere" / "out.csv"))
    assert {path.name for path in tmp_path.iterdir()} == {"results.db", "out.json"}


def test_rm(run: Any, store: Store, jobs: list[dict[str, Any]]) -> None:
    assert "Delete 1 results" in run("rm", jobs[1]["key"][:10], answer="n\n", fails=True)
    assert len(list(store.select())) == 4
    assert "Deleted 1 results" in run("rm", jobs[1]["key"][:10], answer="y\n")
    assert "Deleted 1 results" in run("rm", "--recipe", "emt.relax_job", "--yes")
    assert {row.key for row in store.select()} == {jobs[0]["key"], "f" * 64}
    for words in (["rm", "--yes"], ["rm", "ffffff", "--formula", "Cu", "--yes"]):
        with pytest.raises(InputError, match="either keys, or filters"):
            run(*words)
    with pytest.raises(UnknownKeyError):
        run("rm", "ffffff", "abcdef", "--yes")
    assert len(list(store.select())) == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--since", "99999999999d"], "too far away"),
        (["--since", "0001-01-01"], "too far away"),
        (["--until", "9" * 5000 + "h"], "too far away"),
        (["--formula", "Cu0"], "not a chemical formula"),
        (["--formula", "(" * 5000], "not a chemical formula"),
    ],
)
def test_odd_filters(run: Any, store: Store, words: list[str], told: str) -> None:
    with pytest.raises(InputError, match=told):
        run("ls", *words)


@pytest.mark.parametrize(
    ("location", "told"),
    [
        ("n" * 300 + ".db", "File name too long"),
        ("~nouser/x.db", "no user 'nouser'"),
        ("postgresql://u:se[cret@h/db", "not a valid address"),
    ],
)
def test_odd_locations(location: str, told: str) -> None:
    with pytest.raises(StoreError, match=told) as error:
        CliRunner().invoke(app, ["ls", "--store", location], catch_exceptions=False)
    assert "se[cret" not in str(error.value)
    assert "cret" not in str(error.value)


def test_export_to_long_names(run: Any, store: Store, tmp_path: Path) -> None:
    before = {path.name for path in tmp_path.iterdir()}
    with pytest.raises(InputError, match="File name too long"):
        run("export", str(tmp_path / f"{'n' * 300}.csv"))
    with pytest.raises(InputError, match="Not a directory"):
        run("export", str(tmp_path / "results.db" / "x.csv"))
    longest = f"{'n' * 251}.csv"
    run("export", str(tmp_path / longest))
    assert {path.name for path in tmp_path.iterdir()} == before | {longest}


def test_moments() -> None:
    now = datetime.now().astimezone()
    assert abs(parse_moment("7d") - (now - timedelta(days=7))) < timedelta(seconds=5)
    assert abs(parse_moment("12h") - (now - timedelta(hours=12))) < timedelta(seconds=5)
    assert parse_moment("2026-01-31T12:00+00:00").isoformat().startswith("2026-01-31T")
    day = datetime(2026, 1, 31).astimezone()
    assert parse_moment("2026-01-31") == day
    assert parse_moment("2026-01-31", end=True) == day.replace(
        hour=23, minute=59, second=59, microsecond=999999
    )
    for wrong in ("yesterday", "7x", "31.1.2026"):
        with pytest.raises(InputError, match="is not a time"):
            parse_moment(wrong)


def test_for_scripts(run: Any, store: Store, jobs: list[dict[str, Any]]) -> None:
    rows = json.loads(run("ls", "--json", "--recipe", "emt.static_job"))
    assert {row["key"] for row in rows} == {jobs[0]["key"], jobs[1]["key"]}
    energies = {row["key"]: row["energy"] for row in rows}
    assert energies[jobs[1]["key"]] == jobs[1]["results"]["energy"]
    assert len(json.loads(run("ls", "--json", "--limit", "1"))) == 1
    assert json.loads(run("ls", "--json", "--formula", "Xe")) == []
    again = decode(run("show", "--json", jobs[2]["key"][:8]), always_array=False)
    assert np.array_equal(again["results"]["forces"], jobs[2]["results"]["forces"])
    assert again["atoms"].constraints[0].index.tolist() == [0, 1]
