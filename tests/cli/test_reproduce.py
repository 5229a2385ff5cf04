"""``quacc results reproduce``."""

import importlib

import pytest
from ase import Atoms
from ase.build import bulk, fcc100, molecule
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from typer.testing import CliRunner

from quacc.cache.once import cached
from quacc.cache.results import of_process
from quacc.cli.main import app
from quacc.errors import InputError
from quacc.recipes.emt.core import freq_job, md_job, neb_job, relax_job, static_job
from quacc.recipes.workflows import eos_flow
from quacc.settings import change_settings
from quacc.store import Store


def reproduce(key):
    return CliRunner().invoke(app, ["results", "reproduce", key])


def agrees(result):
    done = reproduce(result["key"])
    assert done.exit_code == 0, done.output
    assert "The versions are the same" in done.output
    return done.output


def test_jobs_with_all_that_their_records_hold():
    fixed = bulk("Cu", cubic=True)
    fixed.rattle(0.05, seed=1)
    fixed.set_constraint(FixAtoms([0]))
    agrees(cached(relax_job)(fixed, fmax=0.1, optimizer="FIRE", asap_cutoff=True))
    agrees(cached(relax_job)("Al", relax_cell=True, trajectory=True))
    agrees(cached(md_job)(fixed, steps=5, dynamics="Langevin", seed=4))
    agrees(cached(freq_job)("N2", temperature=77.0, symmetry_number=2))
    slab = fcc100("Al", (1, 1, 2), vacuum=5)
    end = slab.copy()
    end.positions[0] += [0.0, 0.0, 0.05]
    agrees(cached(neb_job)(slab, end, images=1, steps=2))


@pytest.mark.parametrize(
    ("code", "atoms", "kwargs"),
    [
        ("lj", bulk("Ar", a=5.3), {}),
        pytest.param("mopac", molecule("H2O"), {}, marks=pytest.mark.mopac),
        pytest.param("tblite", molecule("H2O"), {}, marks=pytest.mark.tblite),
        pytest.param(
            *("abinit", Atoms("H2", [[0, 0, 0], [0, 0, 0.8]], cell=[5, 5, 5], pbc=True)),
            {"ecut": 8.0, "kpts": (2, 1, 1)},
            marks=pytest.mark.abinit,
        ),
        pytest.param(
            *("espresso", Atoms("H2", [[0, 0, 0], [0, 0, 0.8]], cell=[5, 5, 5], pbc=True)),
            {"pseudopotentials": {"H": "H.pz-vbc.UPF"}, "ecutwfc": 12.0, "kpts": (2, 1, 1)},
            marks=pytest.mark.espresso,
        ),
    ],
)
def test_every_calculator(code, atoms, kwargs):
    core = importlib.import_module(f"quacc.recipes.{code}.core")
    agrees(cached(core.static_job)(atoms, **kwargs))


def test_of_a_workflow_all_jobs():
    with change_settings(calculator="emt"):
        result = eos_flow("Cu", cached(relax_job), cached(static_job), points=5)
    of_process().keep_now(result)
    assert agrees(result).count("emt.static_job") == 5


def test_another_energy_and_another_version_are_told(monkeypatch):
    key = cached(static_job)("Cu")["key"]
    calculate = EMT.calculate

    def shifted(self, *args, **kwargs):
        calculate(self, *args, **kwargs)
        self.results["energy"] += 0.01

    monkeypatch.setattr(EMT, "calculate", shifted)
    monkeypatch.setattr("ase.__version__", "99.0")
    done = reproduce(key)
    assert done.exit_code == 1
    assert "  10  " in done.output  # meV per atom
    assert "and is 99.0 now" in done.output
    assert "is not reproduced" in done.output
    assert len(list(Store().select())) == 1


def test_what_is_no_job_of_quacc_s():
    key = cached(static_job)("Cu")["key"]
    result = {**Store().get(key), "name": "mine.static_job", "key": "f" * 64}
    of_process().keep_now(result)
    done = reproduce("f" * 64)
    assert isinstance(done.exception, InputError)
    assert "does not say how to run it" in str(done.exception)
