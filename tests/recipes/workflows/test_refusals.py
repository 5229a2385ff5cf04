"""A workflow refuses what any of its jobs would refuse, before the first of them computes."""

import inspect

import numpy as np
import pytest
from ase.build import add_adsorbate, bulk, fcc100
from ase.calculators.emt import EMT

from quacc.errors import InputError, JobsFailedError, StructureError
from quacc.recipes.emt.core import relax_job, static_job
from quacc.recipes.report import workflows
from tests import emt


def adsorbed(hops):
    """Gold in a hollow of aluminium, some hops along the first vector."""
    slab = fcc100("Al", (2, 2, 2), vacuum=5)
    add_adsorbate(slab, "Au", 1.7, "hollow", offset=(hops, 0))
    return slab


def shared():
    """Copper and gold that share the sites of fcc."""
    atoms = bulk("Cu", a=3.8)
    atoms.info["occupancy"] = {"0": {"Cu": 0.5, "Au": 0.5}}
    atoms.set_array("spacegroup_kinds", np.array([0]))
    return atoms


FOLDER = object()
GIVEN = {  # what each workflow takes
    "adsorption_flow": ("Cu", "O"),
    "batch_flow": (FOLDER, relax_job),
    "double_relax_flow": ("Cu", relax_job),
    "hull_flow": (["Cu", "Au"],),
    "magnetic_order_flow": ("Fe",),
    "molecule_flow": ("N2",),
    "neb_flow": (adsorbed(0), adsorbed(1)),
    "order_flow": (shared(),),
    "reaction_flow": ("N2 + 3 H2 -> 2 NH3",),
    "ts_flow": (adsorbed(0),),
}
OPTIONS = {
    "adsorption_flow": {"reference": "O2"},
    "eos_flow": {"relax_positions": True},
    "elastic_flow": {"relax_positions": True},
}
KEYWORDS = [
    (flow, name)
    for flow, module in workflows().items()
    for name in inspect.signature(getattr(module, flow)).parameters
    # Magnetic order refuses EMT itself.
    if name.endswith("_kwargs") and flow != "magnetic_order_flow"
]


@pytest.fixture(scope="module")
def copper():
    return static_job("Cu")


@pytest.fixture
def nothing_computed(monkeypatch, copper):
    def fails(*_, **__):
        raise AssertionError("computed")

    monkeypatch.setattr(EMT, "calculate", fails)


def bound(flow):
    return getattr(emt, flow)


@pytest.mark.parametrize(("flow", "name"), KEYWORDS)
@pytest.mark.usefixtures("nothing_computed")
def test_an_unknown_keyword_of_any_job(flow, name, tmp_path):
    bulk("Cu").write(tmp_path / "cu.xyz")
    given = [tmp_path if one == FOLDER else one for one in GIVEN.get(flow, ["Cu"])]
    with pytest.raises(InputError, match="asap_cutoff"):
        bound(flow)(*given, **OPTIONS.get(flow, {}), **{name: {"asap_cutof": True}})


@pytest.mark.parametrize("flow", ["eos_flow", "elastic_flow", "qha_flow", "vacancy_flow"])
@pytest.mark.usefixtures("nothing_computed")
def test_a_crystal_that_is_relaxed_already_does_not_hide_it(flow, copper):
    with pytest.raises(InputError, match="asap_cutoff"):
        bound(flow)(copper, **OPTIONS.get(flow, {}), relax_kwargs={"asap_cutof": True})


@pytest.mark.parametrize("flow", sorted(workflows().keys() - GIVEN.keys() - {"md_flow"}))
@pytest.mark.usefixtures("nothing_computed")
def test_a_part_of_a_result(flow, copper):
    part = {name: copper[name] for name in ("atoms", "results")}
    with pytest.raises(StructureError, match="not the whole result of a job: it lacks name"):
        bound(flow)(part)


def test_what_was_computed_before_a_failure_is_in_the_exception():
    def breaks(atoms, **_):
        raise RuntimeError("broken")

    with pytest.raises(JobsFailedError, match="Cu strained") as caught:
        bound("eos_flow")("Cu", static_job=breaks)
    (crystal,) = caught.value.results
    assert crystal["name"] == "emt.relax_job"
    with pytest.raises(JobsFailedError, match="the hop") as caught:
        bound("vacancy_flow")("Cu", neb_job=breaks, supercell=[2, 2, 2])
    assert len(caught.value.results) == 4
