"""The serial workflow: what it takes, what it returns, how it fails."""

from functools import partial
from unittest.mock import patch

import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT

from quacc.errors import (
    CalculationError,
    InputError,
    JobsFailedError,
    ParameterError,
    StructureError,
)
from quacc.recipes.emt.core import relax_job, static_job
from quacc.recipes.emt.slabs import bulk_to_slabs_flow


def test_a_structure_is_relaxed_first_and_a_result_taken_as_it_is():
    strained = bulk("Cu", a=3.7)
    free = bulk_to_slabs_flow(strained, slab_static_electron=None)
    assert free["bulk"]["name"] == "emt.relax_job"
    assert free["bulk"]["parameters"]["relax_cell"] is True
    kept = bulk_to_slabs_flow(static_job(strained), slab_static_electron=None)
    assert kept["atoms"] == strained
    assert kept["bulk"]["name"] == "emt.static_job"
    assert kept["surfaces"][0]["area"] > free["surfaces"][0]["area"]


def test_with_and_without_static():
    with_static = bulk_to_slabs_flow("Cu")
    without = bulk_to_slabs_flow("Cu", relax_job, None)
    assert len(with_static["jobs"]) == 8
    assert len(without["jobs"]) == 4
    assert {slab["name"] for slab in with_static["slabs"]} == {"emt.static_job"}
    for one, other in zip(with_static["surfaces"], without["surfaces"], strict=True):
        assert one["surface_energy"] == pytest.approx(other["surface_energy"], abs=1e-9)
        assert one["steps"] == other["steps"]


def test_jobs_and_keys():
    result = bulk_to_slabs_flow("Cu")
    assert [slab["key"] for slab in result["slabs"]] == [row["key"] for row in result["surfaces"]]
    assert {slab["key"] for slab in result["slabs"]} < set(result["jobs"])
    assert result["key"] == bulk_to_slabs_flow("Cu")["key"]
    assert result["key"] != bulk_to_slabs_flow("Cu", min_vacuum=22.0)["key"]


def test_keywords_reach_the_jobs_and_the_slabs():
    result = bulk_to_slabs_flow(
        "Cu",
        max_index=2,
        min_lateral=3.0,
        min_thickness=5.0,
        relax_kwargs={"fmax": 0.05, "asap_cutoff": True},
        static_kwargs={"asap_cutoff": True},
    )
    assert len(result["surfaces"]) == 6
    assert result["bulk"]["parameters"]["asap_cutoff"] is True
    assert all(slab["parameters"]["asap_cutoff"] for slab in result["slabs"])
    loose = bulk_to_slabs_flow("Cu", partial(relax_job, fmax=0.5), None, min_thickness=5.0)
    assert loose["slabs"][0]["fmax"] == 0.5


def test_an_alloy_slab_of_another_composition_has_no_surface_energy():
    alloy = bulk("CuAu", "cesiumchloride", a=3.0)
    result = bulk_to_slabs_flow(alloy, min_thickness=5, slab_static_electron=None)
    for row in result["surfaces"]:
        slab = next(one for one in result["slabs"] if one["key"] == row["key"])
        balanced = slab["formula"] == result["formula"]
        assert (row["surface_energy"] is not None) == balanced


def fails_on_110(atoms, **kwargs):
    if getattr(atoms, "symbols", None) is not None and len(atoms) == 8:
        raise CalculationError("the walls fell in", atoms=atoms)
    return relax_job(atoms, **kwargs)


def test_one_failing_slab_does_not_lose_the_others():
    with pytest.raises(JobsFailedError, match=r"1 of 3 .*Cu8 \(1 1 0\).*walls fell in") as caught:
        bulk_to_slabs_flow("Cu", fails_on_110)
    (failure,) = caught.value.exceptions
    assert isinstance(failure, CalculationError)
    assert len(failure.atoms) == 8
    assert failure.__notes__ == ["structure: Cu8 (1 1 0) termination 0"]
    names = [result["name"] for result in caught.value.results]
    assert names == ["emt.relax_job", "emt.static_job"] * 3  # the first two are the bulk's


def test_a_failing_bulk():
    def fails(atoms, **kwargs):
        raise CalculationError("no")

    with pytest.raises(CalculationError, match="no"):
        bulk_to_slabs_flow("Cu", fails)


def counting(calls):
    def job(atoms, **kwargs):
        calls.append(atoms)
        return relax_job(atoms, **kwargs)

    return job


@pytest.mark.parametrize(
    ("structure", "options"),
    [
        ("Cuu", {}),
        (molecule("N2"), {}),
        ("Cu", {"max_index": 0}),
        ("Cu", {"min_thickness": -1}),
        ("Cu", {"symmetric_only": 2}),
    ],
)
def test_bad_input_is_refused_before_any_job(structure, options):
    calls = []
    with pytest.raises(InputError):
        bulk_to_slabs_flow(structure, counting(calls), **options)
    assert calls == []


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"relax_kwargs": 5}, "relax_kwargs must be keywords"),
        ({"relax_kwargs": {1: 2}}, "relax_kwargs must be keywords"),
        ({"static_kwargs": "fmax"}, "static_kwargs must be keywords"),
        ({"relax_kwargs": {"atoms": 2}}, "cannot hold 'atoms'"),
        ({"relax_kwargs": {"relax_cell": True}}, "cannot hold 'relax_cell'"),
        ({"static_kwargs": {"asap_cutof": True}}, "Did you mean 'asap_cutoff'"),
        ({"slab_relax_electron": "foo"}, "'foo' is no job"),
        ({"slab_relax_electron": None}, "None is no job"),
        ({"slab_static_electron": 3}, "3 is no job"),
        ({"min_lateral": -5}, "min_lateral must be a finite number of at least 0"),
    ],
)
def test_wrong_parameters_are_refused_before_any_job(options, told):
    calls = []
    options = {"slab_relax_electron": counting(calls)} | options
    with pytest.raises(ParameterError, match=told):
        bulk_to_slabs_flow("Cu", **options)
    assert calls == []


def test_a_crystal_without_symmetric_slabs_is_refused_before_any_job():
    calls = []
    crystal = Atoms(  # of space group P1
        "CuAuAg",
        scaled_positions=[[0, 0, 0], [0.5, 0.45, 0.4], [0.2, 0.6, 0.85]],
        cell=[4.5, 5.0, 5.5, 80, 95, 105],
        pbc=True,
    )
    with pytest.raises(ParameterError, match="no slab fits"):
        bulk_to_slabs_flow(crystal, counting(calls), symmetric_only=True)
    assert calls == []


@pytest.mark.parametrize("without", ["energy", "key", "warnings", "calculator"])
def test_half_a_result_is_no_bulk(without):
    given = static_job("Cu")
    if without == "energy":
        given["results"] = None
    else:
        del given[without]
    calls = []
    with pytest.raises(StructureError, match=f"lacks an? ?{without}|lacks {without}"):
        bulk_to_slabs_flow(given, counting(calls))
    assert calls == []


def test_relaxed_slab_cells_are_pointed_out():
    result = bulk_to_slabs_flow("Cu", partial(cell_too), None, min_thickness=5)
    assert any("cells were relaxed, vacuum included" in text for text in result["warnings"])


def cell_too(atoms, **kwargs):
    return relax_job(atoms, **kwargs | {"relax_cell": True, "steps": 2})


def test_energies_of_other_methods_are_refused():
    crystal, asap = static_job("Cu"), static_job("Cu", asap_cutoff=True)
    foreign = crystal | {"calculator": {"name": "x", "version": "1", "fingerprint": "x 1"}}
    with patch.object(EMT, "calculate", side_effect=AssertionError):  # before anything is computed
        with pytest.raises(ParameterError, match=r"another zero.*'x' and 'emt'"):
            bulk_to_slabs_flow(foreign, slab_static_electron=None)
        with pytest.raises(ParameterError, match="asap_cutoff: True and False"):
            bulk_to_slabs_flow(asap, slab_static_electron=None)
    of_ones_own = bulk_to_slabs_flow(asap, counting([]), None)
    assert "different zeros" in of_ones_own["warnings"][0]
    assert bulk_to_slabs_flow(crystal)["warnings"] == []
    older = {"name": "emt", "version": "ase 3.28", "fingerprint": "emt ase 3.28"}
    (warning,) = bulk_to_slabs_flow(crystal | {"calculator": older})["warnings"]
    assert "ase 3.28" in warning


def test_a_wrong_keyword_of_a_job_is_a_wrong_keyword():
    with pytest.raises(ParameterError, match="Did you mean 'fmax'"):
        bulk_to_slabs_flow("Cu", relax_kwargs={"fmx": 1})
    with pytest.raises(StructureError, match="no parameters for Fe"):
        bulk_to_slabs_flow("Fe")


def test_slabs_near_their_images_are_told():
    options = {"max_index": 1, "min_thickness": 4.0, "relax_kwargs": {"fmax": 1.0}}
    near = bulk_to_slabs_flow("Cu", min_vacuum=3.0, **options)["warnings"]
    assert any("act on one another" in text for text in near)
    far = bulk_to_slabs_flow("Cu", min_vacuum=8.0, **options)["warnings"]
    assert not any("act on one another" in text for text in far)
