"""MACE with models of random weights, in the Python that has it (make mace).

The weights that people use can't be had here; a small model of MACE's own classes, saved as MACE's
training saves it, goes the same way.
"""

import json
import subprocess
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule

from quacc.calculators import isolated
from quacc.errors import InputError, ParameterError, StructureError
from quacc.recipes.mace.core import relax_job, static_job
from quacc.runners.job import calculation_of
from quacc.settings import change_settings

MACE = Path(__file__).parents[3] / ".envs" / "mace" / "bin" / "python"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not MACE.exists(), reason="MACE is not installed (make mace)"),
]

MAKE = """
import json, sys
from pathlib import Path
import numpy as np
from ase.io import read
from mace import modules  # first: it lets torch read what e3nn brings
from mace.calculators import MACECalculator
import torch
from e3nn import o3

torch.set_default_dtype(torch.float64)
folder = Path(sys.argv[1])

def made(name, seed, **more):
    torch.manual_seed(seed)
    heads = more.get("heads", ["Default"])
    block = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
    model = modules.ScaleShiftMACE(
        r_max=4.0, num_bessel=4, num_polynomial_cutoff=5, max_ell=2, interaction_cls=block,
        interaction_cls_first=block, num_interactions=2, num_elements=3,
        hidden_irreps=o3.Irreps("4x0e+4x1o"), MLP_irreps=o3.Irreps("4x0e"), gate=torch.nn.SiLU(),
        atomic_energies=np.outer(np.arange(1.0, len(heads) + 1), [-1.0, -2.0, -3.0]),
        avg_num_neighbors=8.0, atomic_numbers=[1, 8, 29], correlation=2,
        atomic_inter_scale=[0.5] * len(heads), atomic_inter_shift=[0.1] * len(heads), **more,
    )
    torch.save(model, folder / name)

made("one.model", 1)
made("other.model", 2)
made("heads.model", 3, heads=["pbe", "r2scan"])
spin = {"type": "categorical", "per": "graph", "num_classes": 5, "emb_dim": 4}
charge = {**spin, "offset": 2}
made("state.model", 4, embedding_specs={"total_charge": charge, "total_spin": spin})
made("hot.model", 5, embedding_specs={"elec_temp": {**spin, "type": "continuous", "in_dim": 1}})
torch.save({"state": 1}, folder / "dictionary.model")

torch.set_default_dtype(torch.float32)
found = {}
for name, file, dtype, structure, keywords, info in json.loads(sys.argv[2]):
    atoms = read(folder / structure)
    atoms.info = info
    atoms.calc = MACECalculator(
        model_paths=str(folder / file), device="cpu", default_dtype=dtype, **keywords
    )
    found[name] = {"energy": float(atoms.get_potential_energy())}
    found[name]["forces"] = atoms.get_forces().tolist()
    if atoms.pbc.all():
        found[name]["stress"] = atoms.get_stress().tolist()
(folder / "found.json").write_text(json.dumps(found))
"""


def copper():
    atoms = bulk("Cu", cubic=True)
    atoms.symbols[0] = "O"
    atoms.rattle(0.1, seed=1)
    return atoms


def water(charge=0, unpaired=0):
    atoms = molecule("H2O")
    atoms.set_initial_charges([charge, 0, 0])
    atoms.set_initial_magnetic_moments([unpaired, 0, 0])
    return atoms


CASES = {
    "double": ("one.model", "float64", "copper.traj", {}, {}),
    "single": ("one.model", "float32", "copper.traj", {}, {}),
    "pbe": ("heads.model", "float64", "copper.traj", {"head": "pbe"}, {}),
    "r2scan": ("heads.model", "float64", "copper.traj", {"head": "r2scan"}, {}),
    "molecule": ("one.model", "float64", "water.traj", {}, {}),
    "neutral": ("state.model", "float64", "water.traj", {}, {"charge": 0, "spin": 1}),
    "cation": ("state.model", "float64", "water.traj", {}, {"charge": 1, "spin": 2}),
    "triplet": ("state.model", "float64", "water.traj", {}, {"charge": 0, "spin": 3}),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    copper().write(folder / "copper.traj")
    molecule("H2O").write(folder / "water.traj")
    cases = json.dumps([[name, *case] for name, case in CASES.items()])
    subprocess.run([MACE, "-c", MAKE, folder, cases], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def plain(folder):
    """Return what plain ASE gives with MACE's own calculator."""
    return json.loads((folder / "found.json").read_text())


@pytest.fixture(autouse=True)
def _settings(folder):
    with change_settings(environments={"mace": str(MACE)}, potentials_dir=str(folder)):
        yield


@pytest.mark.parametrize("name", CASES)
def test_the_numbers_are_those_of_plain_ase(name, plain):
    file, dtype, structure, keywords, info = CASES[name]
    atoms = copper() if structure == "copper.traj" else water()
    if info:
        atoms = water(info["charge"], info["spin"] - 1)
    result = static_job(atoms, model=file, dtype=dtype, **keywords)
    close = {"rtol": 1e-5, "atol": 1e-5} if dtype == "float32" else {"rtol": 1e-10, "atol": 1e-10}
    for one, value in plain[name].items():
        np.testing.assert_allclose(result["results"][one], value, **close)
        assert np.asarray(result["results"][one]).dtype == float
    assert f" {file}:" in result["calculator"]["fingerprint"]
    assert np.abs(result["results"]["forces"]).max() > 1e-3


def test_what_differs_has_another_energy_and_key(plain):
    pairs = [("pbe", "r2scan"), ("neutral", "cation"), ("neutral", "triplet")]
    for one, other in pairs:
        assert abs(plain[one]["energy"] - plain[other]["energy"]) > 1e-4
    jobs = [
        partial(static_job, model="one.model"),
        partial(static_job, model="other.model"),
        partial(static_job, model="one.model", dtype="float32"),
        *(partial(static_job, model="heads.model", head=head) for head in ("pbe", "r2scan")),
    ]
    assert len({calculation_of(job, (copper(),), {}).key for job in jobs}) == len(jobs)
    states = [water(), water(1, 1), water(0, 2)]
    job = partial(static_job, model="state.model")
    assert len({calculation_of(job, (state,), {}).key for state in states}) == 3
    named = calculation_of(partial(static_job, model="one.model", head="Default"), (copper(),), {})
    assert named.key == calculation_of(jobs[0], (copper(),), {}).key


def test_forces_and_stress_are_derivatives_of_the_energy():
    atoms = copper()
    result = static_job(atoms, model="one.model")["results"]

    def energy(changed):
        return static_job(changed, model="one.model")["results"]["energy"]

    step, found = 1e-4, []
    for axis in range(3):
        ends = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[1, axis] += sign * step
            ends.append(energy(moved))
        found.append((ends[1] - ends[0]) / (2 * step))
    np.testing.assert_allclose(found, result["forces"][1], atol=1e-6)
    ends = []
    for sign in (1, -1):
        strained = atoms.copy()
        strained.set_cell(atoms.cell * (1 + sign * step), scale_atoms=True)
        ends.append(energy(strained))
    pressure = (ends[0] - ends[1]) / (2 * step * 3 * atoms.get_volume())
    assert pressure == pytest.approx(result["stress"][:3].mean(), abs=1e-6)


def test_what_is_not_periodic_meets_no_images():
    layer, apart = (fcc111("Cu", (1, 1, 3), vacuum=vacuum) for vacuum in (0.5, 9.0))
    apart.pbc = True
    assert layer.pbc.tolist() == [True, True, False]
    energies = [
        static_job(atoms, model="one.model")["results"]["energy"] for atoms in (layer, apart)
    ]
    assert energies[0] == pytest.approx(energies[1], abs=1e-9)


def test_weights_that_changed_are_others(folder):
    file = folder / "mine.model"
    file.write_bytes((folder / "one.model").read_bytes())
    before = static_job(copper(), model=str(file))
    file.write_bytes((folder / "other.model").read_bytes())
    after = static_job(copper(), model=str(file))
    assert after["key"] != before["key"]
    other = static_job(copper(), model="other.model")["results"]["energy"]
    assert after["results"]["energy"] == pytest.approx(other, abs=1e-10)
    assert before["results"]["energy"] != pytest.approx(other, abs=1e-4)


def test_the_record():
    about = {"functional": "PBE", "licence": "MIT"}
    result = static_job(copper(), model="one.model", about=about)
    model = result["provenance"]["model"]
    assert model["elements"] == "H O Cu"
    assert model["head"] == "Default"
    assert model["licence"].startswith("unknown")
    assert result["provenance"]["options"]["about"] == about
    assert result["key"] == static_job(copper(), model="one.model")["key"]


def test_a_relaxation():
    before = static_job(copper(), model="one.model")["results"]["energy"]
    result = relax_job(copper(), model="one.model", fmax=1e-3)
    assert result["converged"]
    assert result["results"]["energy"] < before - 1e-4


@pytest.mark.parametrize(
    ("keywords", "atoms", "words"),
    [
        ({}, bulk("Cu"), "pass model='…'"),
        ({"model": "medium-mpa-0"}, bulk("Cu"), "There is no potential"),
        ({"model": "~/nothing.model"}, bulk("Cu"), "There is no potential"),
        ({"model": "one.model"}, bulk("Al"), "has no Al. It has H, O, Cu"),
        ({"model": "one.model", "head": "pbe"}, bulk("Cu"), "the heads Default"),
        ({"model": "heads.model"}, bulk("Cu"), "the heads pbe, r2scan"),
        ({"model": "one.model"}, water(1, 1), "knows no charge"),
        ({"model": "state.model"}, water(1), "says its spin"),
        ({"model": "state.model"}, water(0, 1), "cannot be 0.5"),
        ({"model": "state.model"}, water(-3, 1), "takes a charge from -2 to 2, not -3"),
        ({"model": "state.model"}, water(0, 4), "takes a spin from 0 to 4, not 5"),
        ({"model": "hot.model"}, bulk("Cu"), "takes elec_temp"),
        ({"model": "dictionary.model"}, bulk("Cu"), "holds dict"),
        ({"model": "copper.traj"}, bulk("Cu"), "cannot be read as a MACE model"),
        ({"model": "one.model", "dtype": "float16"}, bulk("Cu"), "float64, float32"),
        ({"model": "one.model", "about": {"license": "MIT"}}, bulk("Cu"), "licence"),
    ],
)
def test_what_makes_no_sense(keywords, atoms, words):
    with pytest.raises(InputError, match=words):
        calculation_of(static_job, (atoms,), keywords, check=True)


def test_moments_that_do_not_count_are_told():
    atoms = copper()
    atoms.set_initial_magnetic_moments([1, 0, 0, 0])
    result = static_job(atoms, model="one.model")
    assert any("magnetic moments" in text for text in result["warnings"])
    assert not static_job(water(1, 1), model="state.model")["warnings"]


def test_weights_that_others_could_have_written(folder, tmp_path):
    file = tmp_path / "shared.model"
    file.write_bytes((folder / "one.model").read_bytes())
    file.chmod(0o666)
    with pytest.raises(ParameterError, match="other users may write to it: run chmod go-w"):
        static_job(copper(), model=str(file))
    file.chmod(0o644)
    tmp_path.chmod(0o777)
    with pytest.raises(ParameterError, match="everybody may rename"):
        static_job(copper(), model=str(file))
    tmp_path.chmod(0o700)
    assert static_job(copper(), model=str(file))["results"]["energy"]


def test_a_model_is_loaded_once():
    keywords = {"model": "one.model"}
    static_job(copper(), **keywords)
    process = isolated.process_of(str(MACE), "mace")
    count = process._count
    static_job(copper() * (2, 1, 1), **keywords)
    assert process._count == count + 1  # nothing was asked but the energy


def test_an_atom_alone():
    """Its energy is that of the isolated atom and of the interaction's shift."""
    result = static_job(Atoms("Cu"), model="one.model")
    assert not result["results"]["forces"].any()
    assert issubclass(StructureError, InputError)
