"""``quacc results publish``: an RO-Crate that others can read, check and compute again."""

import json
from hashlib import sha256
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from ase.io import read
from ase.io.jsonio import decode
from typer.testing import CliRunner

from quacc.cache.once import cached
from quacc.cache.results import of_process
from quacc.cli.main import app
from quacc.errors import InputError
from quacc.recipes.emt.core import relax_job, static_job
from quacc.recipes.workflows import eos_flow
from quacc.settings import change_settings
from quacc.store import Store


def call(*words):
    done = CliRunner().invoke(app, words)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture
def eos():
    with change_settings(calculator="emt"):
        result = eos_flow("Cu", cached(relax_job), cached(static_job), points=5)
    of_process().keep_now(result)
    return result


@pytest.fixture
def with_files(tmp_path):
    """A result of a code that kept files, among them one that may not be passed on."""
    files = tmp_path / "kept"
    (files / "out").mkdir(parents=True)
    for name in ("INCAR", "POTCAR.gz", "out/OUTCAR"):
        (files / name).write_text(name)
    (files / "link").symlink_to("/etc/hostname")
    result = {**static_job("H2O"), "directory": str(files), "key": "d" * 64}
    Store().add([result])
    return result


def test_all_is_there_and_described(eos, with_files, tmp_path):
    told = call(
        *("results", "publish", eos["key"], "dddddd", "data", "--title", "Copper"),
        *("--author", "Ann Lee, 0000-0002-1825-0097", "--author", "Bo", "--license", "CC0-1.0"),
    )
    assert "Wrote 2 results, made from 6 others" in told
    assert "Left out kept/POTCAR.gz" in told
    folder = Path("data")
    document = json.loads((folder / "ro-crate-metadata.json").read_text())
    assert document["@context"] == "https://w3id.org/ro/crate/1.1/context"
    graph = {one["@id"]: one for one in document["@graph"]}
    assert len(graph) == len(document["@graph"])
    # https://www.researchobject.org/ro-crate/specification/1.1/root-data-entity.html
    assert graph["ro-crate-metadata.json"]["about"] == {"@id": "./"}
    assert graph["ro-crate-metadata.json"]["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    root = graph["./"]
    assert root["name"] == "Copper"
    assert {"description", "datePublished", "license", "author"} <= root.keys()
    assert root["license"]["@id"] == "https://spdx.org/licenses/CC0-1.0"
    assert [graph[one["@id"]]["name"] for one in root["author"]] == ["Ann Lee", "Bo"]
    # Whatever is referred to is there, each file once, with its own content.
    for entity in graph.values():
        for value in entity.values():
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, dict) and entity["@id"] != "ro-crate-metadata.json":
                    assert one["@id"] in graph
    parts = {unquote(one["@id"]) for one in root["hasPart"]}
    there = {str(one.relative_to(folder)) for one in folder.rglob("*") if one.is_file()}
    assert parts == there - {"ro-crate-metadata.json"}
    for name in parts:
        content = (folder / name).read_bytes()
        assert graph[name]["sha256"] == sha256(content).hexdigest()
    assert {one for one in there if one.startswith("files/")} == {
        f"files/{'d' * 16}/INCAR", f"files/{'d' * 16}/out/OUTCAR"
    }  # fmt: skip
    names = {one["name"] for one in graph.values() if one["@type"] == "SoftwareApplication"}
    assert names == {"quacc", "ase", "python", "calculator emt"}
    assert str(tmp_path) not in (folder / "results.json").read_text()
    assert [one for one in Path().iterdir() if one.name.startswith(".quacc")] == []


def test_the_numbers_come_back(eos):
    call("results", "publish", "latest", "data")
    document = decode(Path("data/results.json").read_text(), always_array=False)
    assert document["units"]["forces"] == "eV/Å"
    again = {one["key"]: one for one in document["results"]}
    assert {*again} == {eos["key"], *eos["jobs"]}
    whole = again[eos["key"]]
    assert whole["bulk_modulus"] == eos["bulk_modulus"]
    assert whole["units"]["bulk_modulus"] == "GPa"
    assert np.array_equal(whole["atoms"].positions, eos["atoms"].positions)
    energies = {
        one.info["key"]: one.get_potential_energy() for one in read("data/structures.extxyz", ":")
    }
    assert energies == pytest.approx({key: again[key]["results"]["energy"] for key in eos["jobs"]})
    [cif] = Path("data/structures").glob("*eos_flow*.cif")
    assert read(cif).get_volume() == pytest.approx(eos["volume"], abs=1e-3)
    readme = Path("data/README.md").read_text()
    assert "GPa" in readme
    assert eos["key"][:16] in readme
    bib = Path("data/citations.bib").read_text()
    assert bib.count("Larsen2017") == 1
    assert "Birch1947" in bib
    # On another machine, from the folder alone.
    told = call("results", "reproduce", eos["key"], "--store", "data/results.db")
    assert told.count("emt.static_job") == 5
    assert "The versions are the same" in told


def test_what_is_refused(eos):
    Path("old").mkdir()
    for words, reason in (
        (["old"], "'old' exists"),
        (["nowhere/data"], "Cannot write 'nowhere/data'"),
        (["data", "--license", "my own"], "no name of a licence"),
        (["data", "--author", "0000-0002-1825-0097"], "has no name"),
    ):
        with pytest.raises(InputError, match=reason):
            call("results", "publish", "latest", *words)
    assert [one.name for one in Path().iterdir()] == ["old"]
    assert list(Path("old").iterdir()) == []
