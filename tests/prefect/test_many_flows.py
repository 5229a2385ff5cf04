"""``fan_out`` of workflows, jobs under other names, and Prefect on workers."""

import sys
from functools import partial

import cloudpickle
import pytest
from ase import Atoms
from ase.build import bulk
from prefect import flow, task
from prefect.task_runners import ThreadPoolTaskRunner

from quacc.cache.questions import question
from quacc.errors import JobsFailedError, ParameterError
from quacc.prefect import as_flow, as_task, cached, fan_out, make_runner
from quacc.recipes.emt.core import relax_job, static_job
from quacc.recipes.emt.prefect.slabs import bulk_to_slabs_flow as tracked_slabs
from quacc.recipes.emt.slabs import bulk_to_slabs_flow
from quacc.recipes.tools.verbs import bare, gather_each, submit
from quacc.settings import change_settings
from quacc.store import Store
from tests.emt import elastic_flow, eos_flow
from tests.tracked import eos_flow as tracked_eos

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture(autouse=True, scope="module")
def _by_value():
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def many(job, items, runner=None, **kwargs):
    """Return the results of a fan-out, and its counts."""

    @flow(task_runner=runner or ThreadPoolTaskRunner(max_workers=2))
    def campaign():
        work = fan_out(job, items, **kwargs)
        return work.results(), work.counts

    return campaign()


def crystals(count):
    found = []
    for index in range(count):
        atoms = bulk(["Cu", "Ag", "Au", "Ni", "Pd", "Pt"][index % 6], cubic=True)
        atoms.set_cell(atoms.cell * (1 + 0.001 * index), scale_atoms=True)
        found.append(atoms)
    return found


def rows():
    return {row.key: row.created for row in Store().select()}


def test_a_screening_is_what_plain_calls_return_and_is_served_as_a_whole():
    items = crystals(30)
    results, counts = many(eos_flow, items, make_runner(), points=5)
    assert (counts.computed, counts.cached) == (30, 0)
    assert all(one["key"] in rows() for one in results)
    for index in (0, 7, 29):
        plain = eos_flow(items[index], points=5)
        assert results[index].keys() == plain.keys()
        assert results[index]["key"] == plain["key"]
        assert results[index]["bulk_modulus"] == pytest.approx(plain["bulk_modulus"], rel=1e-9)
    before = rows()
    again, counts = many(tracked_eos, items, points=5, relax_kwargs={})
    assert (counts.computed, counts.cached) == (0, 30)
    assert [one["key"] for one in again] == [one["key"] for one in results]
    assert again[0].keys() == results[0].keys()
    assert rows() == before


@pytest.mark.parametrize(
    ("serial", "kwargs"),
    [(bulk_to_slabs_flow, {"max_index": 1}), (elastic_flow, {})],
    ids=["slabs", "elastic"],
)
def test_other_workflows(serial, kwargs):
    items = [bulk("Cu"), bulk("Ag")]
    results, _ = many(serial, items, **kwargs)
    assert [one["key"] for one in results] == [serial(atoms, **kwargs)["key"] for atoms in items]
    assert many(as_flow(serial), items, **kwargs)[1].cached == 2


def test_the_prefect_form_and_a_partial():
    (one,), counts = many(partial(tracked_slabs, max_index=1), [bulk("Cu")], min_thickness=8.0)
    assert counts.computed == 1
    assert one["parameters"]["min_thickness"] == 8.0


def test_what_a_flow_has_answered_is_served_to_a_fan_out():
    result = tracked_eos(bulk("Cu"), points=5)
    (served,), counts = many(eos_flow, [bulk("Cu")], points=5)
    assert counts.cached == 1
    assert served["key"] == result["key"]
    assert served["atoms"] == result["atoms"]


def test_one_that_fails_leaves_the_others():
    items = [bulk("Cu"), Atoms("Cu"), bulk("Ag")]
    with pytest.raises(JobsFailedError, match="1 of 3") as caught:
        many(eos_flow, items, points=5)
    (error,) = caught.value.exceptions
    assert error.__notes__ == ["structure: Cu (item 1)"]
    assert [one["formula"] for one in caught.value.results] == ["Cu", "Ag"]


def test_equal_jobs_of_several_workflows_are_computed_once():
    def twice(atoms, relax_job=relax_job, label=""):
        futures = [submit(relax_job, one) for one in (atoms, atoms)]
        return [*gather_each(futures, ["first", "second"], "twice"), label]

    results, _ = many(as_flow(twice), [bulk("Cu")] * 5)
    assert len({str(one[0]["provenance"]) for one in results}) == 1
    assert len(rows()) == 1


def test_a_run_that_is_left_goes_on_and_computes_nothing_twice():
    items = crystals(40)

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=2))
    def left():
        for count, _ in enumerate(fan_out(eos_flow, items, points=5), 1):
            if count == 3:
                return

    left()
    before = rows()
    assert len(before) >= 3
    _, counts = many(eos_flow, items, points=5)
    assert counts.cached >= 3
    assert counts.cached + counts.computed == 40
    assert before.items() <= rows().items()
    assert len(rows()) == 40 * (1 + 1 + 5)


def test_refresh_computes_again():
    items = [bulk("Cu")]
    many(eos_flow, items, points=5)
    before = rows()
    assert many(eos_flow, items, points=5, refresh=True)[1].computed == 1
    assert rows().keys() == before.keys()


def test_what_is_asked_knows_all_that_counts(monkeypatch):
    atoms = bulk("Cu")
    asked = question(eos_flow, [atoms], {})
    same = [
        {"points": 7},
        {"points": 7.0},
        {"relax_kwargs": {}},
        {"relax_kwargs": None},
        {"relax_job": relax_job},
        {"relax_job": cached(relax_job)},
    ]
    assert {question(eos_flow, [atoms], one) for one in same} == {asked}
    tagged = atoms.copy()
    tagged.info["mine"] = 1
    others = [
        question(eos_flow, [atoms], one)
        for one in (
            {"points": 9},
            {"step": 0.02},
            {"form": "vinet"},
            {"relax_positions": True},
            {"relax_kwargs": {"fmax": 0.001}},
            {"static_kwargs": {"fixed": 1}},
            {"relax_job": None},
            {"static_job": partial(static_job, properties=["energy", "forces", "stress"])},
        )
    ]
    others += [question(eos_flow, [tagged], {}), question(elastic_flow, [atoms], {})]
    others = [one for one in others if one is not None]
    assert len({asked, *others}) == len(others) + 1
    assert len(others) >= 9
    import quacc.recipes.workflows.eos as module

    monkeypatch.setattr(module, "VERSION", 2, raising=False)
    assert question(eos_flow, [atoms], {}) not in {None, asked}


def test_where_only_own_results_are_trusted_workflows_are_made_of_their_jobs():
    items = crystals(2)
    with change_settings(trust="own"):
        first, counts = many(eos_flow, items)
        assert counts.computed == 2
        forged = Store().get(first[0]["key"])
        forged["bulk_modulus"] *= 2
        Store().add([forged], replace=True)
        again, _ = many(eos_flow, items)
    assert [one["bulk_modulus"] for one in again] == [one["bulk_modulus"] for one in first]
    served, _ = many(eos_flow, items)
    assert served[0]["bulk_modulus"] == forged["bulk_modulus"]  # where everybody's are trusted


def test_a_file_is_known_by_what_is_in_it(tmp_path):
    name = tmp_path / "crystal.extxyz"
    bulk("Cu").write(name)
    asked = question(eos_flow, [str(name)], {})
    assert asked is not None
    bulk("Ag").write(name)
    assert question(eos_flow, [str(name)], {}) not in {None, asked}


def test_unconverged_workflows_are_not_served():
    kwargs = {"points": 5, "relax_kwargs": {"steps": 1, "require_convergence": False}}
    atoms = bulk("Cu", a=4.0)
    ((result,), _), (_, counts) = [many(eos_flow, [atoms], **kwargs) for _ in range(2)]
    assert result["converged"] is False
    assert counts.cached == 0


# Jobs under other names


def test_a_cached_job_or_a_task_of_it_is_the_job():
    wraps = [
        cached,
        lambda job: partial(cached(partial(job, fmax=0.02))),
        lambda job: task(cached(job)),
        lambda job: as_task(cached(job)),
    ]

    @flow(task_runner=make_runner())
    def campaign():
        for number, wrap in enumerate(wraps):
            items = [bulk("Cu", a=3.6 + 0.01 * number), bulk("Ag", a=4.1 + 0.01 * number)]
            first, again = (fan_out(wrap(relax_job), items) for _ in range(2))
            assert {one["key"] for one in first.results()} <= set(rows())
            assert len(rows()) == 2 * (number + 1)
            assert (first.counts.computed, first.counts.cached) == (2, 0)
            again.results()
            assert (again.counts.computed, again.counts.cached) == (0, 2)

    campaign()


def test_a_wrapper_of_the_users_is_no_job():
    import functools

    @functools.wraps(cached(relax_job))
    def mine(atoms):
        return len(atoms)

    assert bare(mine) is mine
    assert many(cached(relax_job), [bulk("Cu")])[1].computed == 1


@pytest.mark.parametrize("wrap", [lambda job: task(cached(job)), lambda job: as_task(cached(job))])
def test_a_task_of_a_cached_job_is_submitted_as_the_job(wrap):
    @flow(task_runner=make_runner())
    def one():
        return wrap(relax_job).submit(bulk("Cu")).result()

    result = one()
    assert list(rows()) == [result["key"]]
    assert one()["provenance"] == result["provenance"]


def test_workflows_of_cached_jobs():
    result = tracked_eos(bulk("Cu"), cached(relax_job), cached(static_job), points=5)
    assert result["key"] == eos_flow(bulk("Cu"), points=5)["key"]
    assert many(eos_flow, [bulk("Cu")], points=5)[1].cached == 1


# On a worker


def subflow(atoms):
    return tracked_eos(atoms, points=5)["energy"]


def job_task(atoms):
    return as_task(static_job)(atoms)["name"]


def inner_fan_out(atoms):
    return fan_out(static_job, [atoms]).results()


def runner(atoms):
    with make_runner():
        return len(atoms)


def serial_inside(atoms):
    return eos_flow(atoms, points=5)["formula"]


def inside(body):
    return body(bulk("Cu"))


def test_on_a_worker_prefect_is_refused_and_plain_workflows_are_fine():
    bodies = [subflow, job_task, serial_inside, inner_fan_out, runner]
    with pytest.raises(JobsFailedError) as caught:
        many(inside, bodies, make_runner())
    assert caught.value.results == ["Cu"]
    assert [type(error) for error in caught.value.exceptions] == 4 * [ParameterError]
    for error in caught.value.exceptions:
        assert "on a worker" in str(error)
