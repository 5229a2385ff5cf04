"""UPET with models of random weights, in the Python that has it (make upet)."""

from functools import partial

import pytest
from ase.build import bulk

from quacc.errors import InputError, ParameterError
from quacc.recipes.upet.core import relax_job, static_job
from quacc.runners.job import calculation_of
from quacc.settings import change_settings
from tests.weights import (
    copper,
    make,
    marks_of,
    plain,
    python_of,
    require_derivatives,
    require_no_images,
    require_same,
    water,
)

pytestmark = marks_of("upet")

MAKE = """
import copy, json, sys
from pathlib import Path
import torch
from ase.io import read
from metatomic_ase import MetatomicCalculator
from metatrain.pet import PET
from metatrain.utils.architectures import get_default_hypers
from metatrain.utils.data import DatasetInfo
from metatrain.utils.data.target_info import get_energy_target_info
from metatrain.utils.io import load_model
from upet.calculator import UPETCalculator

folder = Path(sys.argv[1])

def made(name, seed, targets=("energy",), **more):
    torch.manual_seed(seed)
    hypers = copy.deepcopy(get_default_hypers("pet")["model"])
    hypers |= {"d_pet": 8, "d_head": 8, "d_node": 8, "d_feedforward": 8, "num_heads": 1}
    hypers |= {"num_attention_layers": 1, "num_gnn_layers": 2, "cutoff": 4.0, **more}
    energy = {"quantity": "energy", "unit": "eV"}
    targets = {target: get_energy_target_info(target, energy) for target in targets}
    info = DatasetInfo(length_unit="angstrom", atomic_types=[1, 8, 29], targets=targets)
    model = PET(hypers, info)
    if model.system_conditioning is not None:  # which begins with zeros
        for parameter in model.system_conditioning.parameters():
            torch.nn.init.normal_(parameter)
    torch.save(model.get_checkpoint(), folder / name)

made("one.ckpt", 1)
made("other.ckpt", 2)
made("several.ckpt", 3, ("energy/pbe", "energy/r2scan"))
made("state.ckpt", 4, system_conditioning=True, max_charge=2, max_spin_multiplicity=4)
load_model(folder / "one.ckpt").export().save(folder / "one.pt")
torch.save({"state": 1}, folder / "dictionary.ckpt")

found = {}
for name, file, dtype, structure, keywords, info in json.loads(sys.argv[2]):
    atoms = read(folder / structure)
    atoms.info = info
    variants = {"energy": keywords["variant"]} if keywords else None
    if file.endswith(".pt"):
        atoms.calc = MetatomicCalculator(str(folder / file), device="cpu")
    else:
        atoms.calc = UPETCalculator(
            checkpoint_path=folder / file, dtype=dtype, variants=variants, device="cpu"
        )
    found[name] = {"energy": float(atoms.get_potential_energy())}
    found[name]["forces"] = atoms.get_forces().tolist()
    if atoms.pbc.all():
        found[name]["stress"] = atoms.get_stress().tolist()
(folder / "found.json").write_text(json.dumps(found))
"""

CASES = {
    "double": ("one.ckpt", "float64", "copper.traj", {}, {}),
    "single": ("one.ckpt", "float32", "copper.traj", {}, {}),
    "exported": ("one.pt", "float32", "copper.traj", {}, {}),
    "pbe": ("several.ckpt", "float64", "copper.traj", {"variant": "pbe"}, {}),
    "r2scan": ("several.ckpt", "float64", "copper.traj", {"variant": "r2scan"}, {}),
    "molecule": ("one.ckpt", "float64", "water.traj", {}, {}),
    "neutral": ("state.ckpt", "float64", "water.traj", {}, {"charge": 0, "spin": 1}),
    "cation": ("state.ckpt", "float64", "water.traj", {}, {"charge": 1, "spin": 2}),
    "triplet": ("state.ckpt", "float64", "water.traj", {}, {"charge": 0, "spin": 3}),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    make("upet", MAKE, folder, CASES)
    return folder


@pytest.fixture(autouse=True)
def _settings(folder):
    with change_settings(environments={"upet": str(python_of("upet"))}, potentials_dir=str(folder)):
        yield


@pytest.mark.parametrize("name", CASES)
def test_the_numbers_are_those_of_plain_ase(name, folder):
    file, dtype, structure, keywords, info = CASES[name]
    atoms = copper() if structure == "copper.traj" else water()
    if info:
        atoms = water(info["charge"], info["spin"] - 1)
    result = static_job(atoms, model=file, dtype=dtype, **keywords)
    require_same(result, plain(folder)[name], dtype)
    assert f" {file}:" in result["calculator"]["fingerprint"]


def test_what_differs_has_another_energy_and_key(folder):
    found = plain(folder)
    for one, other in [("pbe", "r2scan"), ("neutral", "cation"), ("neutral", "triplet")]:
        assert abs(found[one]["energy"] - found[other]["energy"]) > 1e-5
    jobs = [
        partial(static_job, model="one.ckpt"),
        partial(static_job, model="other.ckpt"),
        partial(static_job, model="one.ckpt", dtype="float32"),
        *(partial(static_job, model="several.ckpt", variant=one) for one in ("pbe", "r2scan")),
    ]
    assert len({calculation_of(job, (copper(),), {}).key for job in jobs}) == len(jobs)
    job = partial(static_job, model="state.ckpt")
    states = [water(), water(1, 1), water(0, 2)]
    assert len({calculation_of(job, (state,), {}).key for state in states}) == 3


def test_forces_and_stress_are_derivatives_of_the_energy():
    require_derivatives(static_job, model="one.ckpt")


def test_what_is_not_periodic_meets_no_images():
    require_no_images(static_job, model="one.ckpt")


def test_a_relaxation_and_its_record():
    before = static_job(copper(), model="one.ckpt")["results"]["energy"]
    result = relax_job(copper(), model="one.ckpt", fmax=1e-2, about={"licence": "BSD-3-Clause"})
    assert result["results"]["energy"] < before
    model = result["provenance"]["model"]
    assert model["elements"] == "H O Cu"
    assert model["variant"] == "energy"
    assert model["licence"].startswith("unknown")


@pytest.mark.parametrize(
    ("keywords", "atoms", "words"),
    [
        ({}, bulk("Cu"), "pass model='…'"),
        ({"model": "pet-mad-s"}, bulk("Cu"), "There is no potential"),
        ({"model": "one.ckpt"}, bulk("Al"), "has no Al. It has H, O, Cu"),
        ({"model": "one.ckpt", "variant": "pbe"}, bulk("Cu"), "the variants energy: pass one"),
        ({"model": "several.ckpt"}, bulk("Cu"), "the variants pbe, r2scan"),
        ({"model": "one.pt"}, bulk("Cu"), "exported in float32"),
        ({"model": "one.ckpt"}, water(1, 1), "knows no charge"),
        ({"model": "state.ckpt"}, water(1), "says its spin"),
        ({"model": "state.ckpt"}, water(0, 1), "cannot be 0.5"),
        ({"model": "state.ckpt"}, water(-3, 1), "takes a charge from -2 to 2, not -3"),
        ({"model": "state.ckpt"}, water(0, 4), "takes a spin from 1 to 4, not 5"),
        ({"model": "dictionary.ckpt"}, bulk("Cu"), "cannot be read as a metatomic model"),
        ({"model": "copper.traj"}, bulk("Cu"), "cannot be read as a metatomic model"),
    ],
)
def test_what_makes_no_sense(keywords, atoms, words):
    with pytest.raises(InputError, match=words):
        calculation_of(static_job, (atoms,), keywords, check=True)


def test_weights_that_others_could_have_written(folder, tmp_path):
    file = tmp_path / "shared.ckpt"
    file.write_bytes((folder / "one.ckpt").read_bytes())
    file.chmod(0o666)
    with pytest.raises(ParameterError, match="other users may write to it: run chmod go-w"):
        static_job(copper(), model=str(file))
    file.chmod(0o644)
    assert static_job(copper(), model=str(file))["results"]["energy"]
