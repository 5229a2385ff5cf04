"""Orb with models of random weights, in the Python that has it (make orb)."""

from functools import partial

import pytest
from ase.build import bulk

from quacc.errors import InputError
from quacc.recipes.orb.core import static_job
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

pytestmark = marks_of("orb")

MAKE = """
import json, sys
from pathlib import Path
import torch
from ase.io import read
from orb_models.forcefield import pretrained
from orb_models.forcefield.calculator import ORBCalculator

folder = Path(sys.argv[1])

def made(name, seed, architecture, **network):
    torch.manual_seed(seed)
    model = architecture(device="cpu", **network)
    torch.save(model.state_dict(), folder / name)

made("one.ckpt", 1, pretrained.orb_v3_conservative_architecture)
made("direct.ckpt", 2, pretrained.orb_v3_direct_architecture)
made(
    "omol.ckpt", 3, pretrained.orb_v3_conservative_architecture,
    has_charge_spin_cond=True, has_stress=False,
)

found = {}
for name, file, network, dtype, structure, info in json.loads(sys.argv[2]):
    precision = "float64" if dtype == "float64" else "float32-highest"
    model = pretrained.ORB_PRETRAINED_MODELS[network](
        str(folder / file), device="cpu", precision=precision, compile=False
    )
    atoms = read(folder / structure)
    atoms.info = info
    atoms.calc = ORBCalculator(model, device="cpu")
    found[name] = {"energy": float(atoms.get_potential_energy())}
    found[name]["forces"] = atoms.get_forces().tolist()
    if atoms.pbc.all():
        found[name]["stress"] = atoms.get_stress().tolist()
(folder / "found.json").write_text(json.dumps(found))
"""

CASES = {
    "double": ("one.ckpt", "orb-v3-conservative-inf-omat", "float64", "copper.traj", {}),
    "single": ("one.ckpt", "orb-v3-conservative-inf-omat", "float32", "copper.traj", {}),
    "direct": ("direct.ckpt", "orb-v3-direct-inf-omat", "float64", "copper.traj", {}),
    "molecule": ("direct.ckpt", "orb-v3-direct-inf-omat", "float64", "water.traj", {}),
    "neutral": (
        "omol.ckpt",
        "orb-v3-conservative-omol",
        "float64",
        "water.traj",
        {"charge": 0, "spin": 1},
    ),
    "cation": (
        "omol.ckpt",
        "orb-v3-conservative-omol",
        "float64",
        "water.traj",
        {"charge": 1, "spin": 2},
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    make("orb", MAKE, folder, CASES)
    return folder


@pytest.fixture(autouse=True)
def _settings(folder):
    python = str(python_of("orb"))
    with change_settings(environments={"orb": python}, potentials_dir=str(folder)):
        yield


OMAT = "orb-v3-conservative-inf-omat"
OMOL = "orb-v3-conservative-omol"


@pytest.mark.parametrize("name", CASES)
def test_the_numbers_are_those_of_plain_ase(name, folder):
    file, network, dtype, structure, info = CASES[name]
    atoms = copper() if structure == "copper.traj" else water()
    if info:
        atoms = water(info["charge"], info["spin"] - 1)
    result = static_job(atoms, model=file, dtype=dtype, network=network)
    require_same(result, plain(folder)[name], dtype)
    assert f" {file}:" in result["calculator"]["fingerprint"]
    assert any("no derivatives" in text for text in result["warnings"]) == ("direct" in network)


def test_what_differs_has_another_energy_and_key(folder):
    found = plain(folder)
    assert abs(found["neutral"]["energy"] - found["cation"]["energy"]) > 1e-6
    twenty = "orb-v3-conservative-20-omat"
    jobs = [
        partial(static_job, model="one.ckpt", network=OMAT),
        partial(static_job, model="one.ckpt", network=twenty),
        partial(static_job, model="one.ckpt", network=OMAT, dtype="float32"),
    ]
    assert len({calculation_of(job, (copper(),), {}).key for job in jobs}) == len(jobs)


def test_forces_and_stress_are_derivatives_of_the_energy():
    require_derivatives(static_job, model="one.ckpt", network=OMAT)


def test_what_is_not_periodic_meets_no_images():
    require_no_images(static_job, model="one.ckpt", network=OMAT)


@pytest.mark.parametrize(
    ("keywords", "atoms", "words"),
    [
        ({"network": OMAT}, bulk("Cu"), "pass model='…'"),
        ({"model": "one.ckpt"}, bulk("Cu"), "needs the name of the network"),
        ({"model": "one.ckpt", "network": "orb-v9"}, bulk("Cu"), "network"),
        ({"model": "one.ckpt", "network": OMOL}, water(), "has no weights of orb-v3"),
        ({"model": "direct.ckpt", "network": OMAT}, bulk("Cu"), "has no weights of orb-v3"),
        ({"model": "copper.traj", "network": OMAT}, bulk("Cu"), "has no weights of orb-v3"),
        ({"model": "omol.ckpt", "network": OMOL}, bulk("Cu"), "is for molecules"),
        ({"model": "one.ckpt", "network": OMAT}, water(1, 1), "knows no charge"),
        ({"model": "omol.ckpt", "network": OMOL}, water(1), "says its spin"),
    ],
)
def test_what_makes_no_sense(keywords, atoms, words):
    with pytest.raises(InputError, match=words):
        calculation_of(static_job, (atoms,), keywords, check=True)
