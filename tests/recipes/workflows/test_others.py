"""Double relaxation, batches and convergence."""

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.db import connect
from ase.io import write

from quacc.atoms.read import read_structures
from quacc.errors import ParameterError, StructureError
from quacc.recipes.emt.core import relax_job, static_job
from quacc.recipes.workflows.batch import batch_flow as any_batch
from quacc.recipes.workflows.converge import converge
from tests.emt import batch_flow, double_relax_flow, eos_flow


def test_a_good_first_relaxation_saves_dear_calls():
    """Here both are the same calculator, so that next to nothing is left for the second."""
    atoms = bulk("Cu", cubic=True) * 2
    atoms.rattle(0.15, seed=2)
    result = double_relax_flow(atoms, relax_job, compare=True)
    assert result["direct_calls"] == relax_job(atoms)["steps"] + 1
    assert result["dear_calls"] == 1
    assert result["saved"] == result["direct_calls"] - 1
    assert result["cheap_calls"] == result["direct_calls"]
    assert result["energy"] == pytest.approx(result["direct_energy"], abs=1e-4)
    alone = double_relax_flow(atoms, relax_job)
    assert alone["saved"] is None
    assert alone["dear_calls"] == 1


def test_different_minima_are_told():
    def elsewhere(atoms):
        return relax_job(bulk("Cu", "bcc", a=2.9))

    given = bulk("Cu", a=3.6)
    result = double_relax_flow(given, elsewhere, compare=True)
    assert any("different minima" in warning for warning in result["warnings"])


def test_folders_databases_trajectories_and_lists(tmp_path):
    metals = [bulk(name) for name in ("Al", "Cu", "Ni")]
    folder = tmp_path / "structures"
    folder.mkdir()
    for atoms in metals:
        write(folder / f"{atoms.symbols}.cif", atoms)
    (folder / ".hidden").write_text("no structure")
    write(tmp_path / "all.extxyz", metals)
    with connect(tmp_path / "all.db") as database:
        for atoms in metals:
            database.write(atoms)
    (tmp_path / "list.csv").write_text("name,structure\na,Al\nb,structures/Cu.cif\nc,Ni\n")
    expected = [static_job(atoms)["results"]["energy"] for atoms in metals]
    for source in (folder, tmp_path / "all.extxyz", tmp_path / "all.db", tmp_path / "list.csv"):
        rows = batch_flow(source)["rows"]
        assert [row["formula"] for row in rows] == ["Al", "Cu", "Ni"]
        np.testing.assert_allclose([row["energy"] for row in rows], expected, atol=1e-6)
    rows = batch_flow(metals, relax_job, job_kwargs={"relax_cell": True})["rows"]
    assert all(row["converged"] for row in rows)
    assert [row["energy"] for row in rows] < expected


def test_what_cannot_be_read_is_named(tmp_path):
    (tmp_path / "bad.csv").write_text("structure\nCu\nXq\n")
    with pytest.raises(StructureError, match=r"bad.csv, line 3.*'Xq'"):
        read_structures(tmp_path / "bad.csv")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "notes.txt").write_text("hello")
    with pytest.raises(StructureError, match=r"notes.txt"):
        read_structures(folder)
    with pytest.raises(StructureError, match="no file or folder"):
        read_structures("nowhere")
    with pytest.raises(StructureError, match="no structures"):
        read_structures([])
    with pytest.raises(StructureError, match="folder, file or list"):
        read_structures(3)


def test_a_batch_takes_any_job():
    result = any_batch([molecule("N2"), molecule("H2O")], static_job)
    assert [row["natoms"] for row in result["rows"]] == [2, 3]


def test_convergence():
    result = converge(
        eos_flow, "step", [0.04, 0.02, 0.01, 0.005], "Cu", of="bulk_modulus", tolerance=1.0
    )
    assert result["property"] == "bulk_modulus"
    numbers = [one["bulk_modulus"] for one in result["properties"]]
    assert numbers[-1] == eos_flow("Cu", step=0.005)["bulk_modulus"]
    enough = result["values"].index(result["enough"])
    assert all(abs(number - numbers[-1]) <= 1.0 for number in numbers[enough:])
    assert enough == 0 or abs(numbers[enough - 1] - numbers[-1]) > 1.0


def test_another_tolerance_is_another_result():
    keys = {
        converge(eos_flow, "step", [0.02, 0.01], "Cu", of=of, tolerance=tolerance)["key"]
        for of in ("volume", "bulk_modulus")
        for tolerance in (None, 1.0, 2.0)
    }
    assert len(keys) == 6


def test_an_unknown_property_is_told_before_the_second_value():
    seen = []

    def counted(*args, **kwargs):
        seen.append(kwargs["step"])
        return eos_flow(*args, **kwargs)

    with pytest.raises(ParameterError, match=r"step = 0\.02 has no number 'colour'.*bulk_modulus"):
        converge(counted, "step", [0.02, 0.01], "Cu", of="colour")
    assert seen == [0.02]


def test_convergence_of_a_keyword_of_a_job():
    result = converge(eos_flow, "relax_kwargs.fmax", [0.1, 0.001], "Cu", of="volume")
    assert result["values"] == [0.1, 0.001]
    assert result["enough"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("step", [0.01]), "two values"),
        (("step", [0.01, 0.02], "Cu", "colour"), "bulk_modulus"),
    ],
)
def test_bad_convergence(arguments, message):
    parameter, values, *rest = arguments
    structure = rest[:1] or ["Cu"]
    with pytest.raises(ParameterError, match=message):
        converge(eos_flow, parameter, values, *structure, of=rest[1] if rest[1:] else None)
