"""Jobs, and what they would compute."""

import functools
import inspect
import pickle
from functools import partial

import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from quacc.calculators import code_names
from quacc.calculators.codes.emt import EMTCode
from quacc.errors import InputError, StructureError
from quacc.recipes.emt import core
from quacc.runners.job import job, plan_of, planned
from quacc.runners.relax import relax


class Doubled(EMT):
    """Twice EMT's energy and forces."""

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        self.results = {name: 2 * value for name, value in self.results.items()}


class DoubledCode(EMTCode):
    """``asap_cutoff``: as in EMT."""

    name = "doubled"

    def build(self, parameters, place):
        return Doubled(**parameters)


relax_job = job(DoubledCode(), relax)


def test_a_code_of_ones_own():
    result, plain = relax_job("Cu", fmax=0.02), core.relax_job("Cu", fmax=0.01)
    assert result["name"] == "doubled.relax_job"
    assert result["results"]["energy"] == pytest.approx(2 * plain["results"]["energy"])
    assert pickle.loads(pickle.dumps(relax_job)) is relax_job


def test_a_job_of_ones_own_is_cached():
    from quacc.cache.once import cached
    from quacc.store import Store

    key = cached(relax_job)("Cu")["key"]
    assert [row.key for row in Store().select()] == [key]
    assert relax_job.plan("Cu").key == key != core.relax_job.plan("Cu").key


@pytest.mark.parametrize("code", code_names())
def test_every_parameter_is_explained_where_people_look(code):
    module = pytest.importorskip(f"quacc.recipes.{code}.core")
    jobs = [one for name, one in vars(module).items() if name.endswith("_job")]
    assert len(jobs) >= 5
    for one in jobs:
        parameters = inspect.signature(one).parameters
        explained = {
            word.strip(" ,*")
            for line in inspect.getdoc(one).splitlines()
            if line and not line.startswith(" ")
            for word in line.split(",")
        }
        assert parameters.keys() - {"calc_kwargs"} <= explained, one.__name__
        assert "code" not in parameters
        assert one.__name__ in inspect.getsource(one)


def test_a_plan_checks_only_when_asked():
    atoms = bulk("Cu")
    atoms.set_constraint()
    flat = bulk("Cu")
    flat.pbc = [True, True, False]
    plan = core.relax_job.plan(flat, relax_cell=True)
    assert len(plan.key) == 64
    with pytest.raises(StructureError, match="three directions"):
        plan.check()
    with pytest.raises(InputError, match="fmax"):
        core.relax_job.plan(atoms, fmax=-1)


def test_partials_are_jobs_and_what_only_looks_like_one_is_not():
    @functools.wraps(core.relax_job)
    def mine(*args, **kwargs):
        return core.relax_job(*args, **kwargs)

    half = partial(partial(core.relax_job, fmax=0.3), steps=7)
    asked = core.relax_job.plan("Cu", fmax=0.3, steps=9)
    assert planned(half, ("Cu",), {"steps": 9}).key == asked.key
    assert plan_of(half).recipe == "emt.relax_job"
    assert plan_of(mine) is None
    assert plan_of(print) is None
    assert planned(mine, ("Cu",), {}) is None
