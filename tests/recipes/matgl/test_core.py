"""MatGL with models of random weights, in the Python that has it (make matgl)."""

from functools import partial

import pytest
from ase.build import bulk

from quacc.errors import InputError, ParameterError
from quacc.recipes.matgl.core import static_job
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

pytestmark = marks_of("matgl")

MAKE = """
import json, sys
from pathlib import Path
import matgl
import torch
from ase.io import read
from matgl.apps.pes import Potential
from matgl.ext.ase import PESCalculator
from matgl.models import M3GNet, QET, TensorNet

folder = Path(sys.argv[1])
known = ("H", "O", "Cu")

def made(name, seed, kind, more={}, **network):
    torch.manual_seed(seed)
    network = {"element_types": known, "is_intensive": False, "cutoff": 4.0, "units": 8, **network}
    model = kind(**network)
    refs = torch.tensor([-1.0, -2.0, -3.0])
    Potential(model, element_refs=refs, data_std=0.5, **more).save(folder / name)

made("tensornet", 1, TensorNet)
made("other", 2, TensorNet)
made("m3gnet", 3, M3GNet, threebody_cutoff=3.0)
made("charged", 4, QET, {"calc_charge": True})
TensorNet(element_types=known, is_intensive=False, units=8).save(folder / "bare")

found = {}
for name, file, dtype, charge in json.loads(sys.argv[2]):
    bits = int(dtype.removeprefix("float"))
    matgl.set_default_dtype("float", bits)
    potential = matgl.load_model(folder / file).to(getattr(torch, dtype))
    atoms = read(folder / "copper.traj")
    atoms.set_initial_charges([charge, 0, 0, 0])
    atoms.calc = PESCalculator(potential, stress_unit="eV/A3", use_voigt=True)
    found[name] = {"energy": float(atoms.get_potential_energy())}
    found[name]["forces"] = atoms.get_forces().tolist()
    if atoms.pbc.all():
        found[name]["stress"] = atoms.get_stress().tolist()
(folder / "found.json").write_text(json.dumps(found))
"""

CASES = {
    "double": ("tensornet", "float64", 0),
    "single": ("tensornet", "float32", 0),
    "m3gnet": ("m3gnet", "float64", 0),
    "neutral": ("charged", "float64", 0),
    "cation": ("charged", "float64", 1),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    make("matgl", MAKE, folder, CASES)
    return folder


@pytest.fixture(autouse=True)
def _settings(folder):
    python = str(python_of("matgl"))
    with change_settings(environments={"matgl": python}, potentials_dir=str(folder)):
        yield


@pytest.mark.parametrize("name", CASES)
def test_the_numbers_are_those_of_plain_ase(name, folder):
    file, dtype, charge = CASES[name]
    atoms = copper()
    atoms.set_initial_charges([charge, 0, 0, 0])
    result = static_job(atoms, model=file, dtype=dtype)
    require_same(result, plain(folder)[name], dtype)
    assert " state.pt:" in result["calculator"]["fingerprint"]
    assert result["provenance"]["model"]["elements"] == "H O Cu"


def test_what_differs_has_another_energy_and_key(folder):
    found = plain(folder)
    assert abs(found["neutral"]["energy"] - found["cation"]["energy"]) > 1e-5
    jobs = [
        partial(static_job, model="tensornet"),
        partial(static_job, model="other"),
        partial(static_job, model="tensornet", dtype="float32"),
    ]
    assert len({calculation_of(job, (copper(),), {}).key for job in jobs}) == len(jobs)


@pytest.mark.parametrize("model", ["tensornet", "m3gnet"])
def test_forces_and_stress_are_derivatives_of_the_energy(model):
    require_derivatives(static_job, model=model)


def test_what_is_not_periodic_meets_no_images():
    require_no_images(static_job, model="tensornet")


@pytest.mark.parametrize(
    ("keywords", "atoms", "words"),
    [
        ({}, bulk("Cu"), "pass model='…'"),
        ({"model": "M3GNet-PES-MatPES-PBE-2025.2"}, bulk("Cu"), "a folder with model.json"),
        ({"model": "tensornet"}, bulk("Al"), "has no Al. It has H, O, Cu"),
        ({"model": "tensornet"}, water(1, 1), "knows no charge"),
        ({"model": "bare"}, bulk("Cu"), "holds TensorNet, not a Potential"),
    ],
)
def test_what_makes_no_sense(keywords, atoms, words):
    with pytest.raises(InputError, match=words):
        calculation_of(static_job, (atoms,), keywords, check=True)


def test_weights_that_others_could_have_written(folder):
    file = folder / "other" / "model.pt"
    file.chmod(0o666)
    with pytest.raises(ParameterError, match="other users may write to it: run chmod go-w"):
        static_job(copper(), model="other")
    file.chmod(0o644)
    assert static_job(copper(), model="other")["results"]["energy"]
