"""``as_task`` and ``as_flow`` against a real Prefect server."""

import asyncio
import time
from functools import partial

import pytest
from ase.build import bulk
from prefect import flow, get_client, task
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.sorting import LogSort, TaskRunSort
from prefect.context import FlowRunContext
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker

from quacc.errors import CalculationError, JobsFailedError, StoreError
from quacc.prefect import as_flow, as_task
from quacc.recipes.emt import slabs
from quacc.recipes.emt.core import relax_job, static_job
from quacc.recipes.emt.prefect.slabs import bulk_to_slabs_flow
from quacc.recipes.tools.verbs import submit
from quacc.settings import change_settings
from quacc.store import Store

pytestmark = pytest.mark.usefixtures("prefect_server")


def ask(question):
    """Return what the server answers, after everything reported has arrived."""
    APILogWorker.drain_all()
    EventsWorker.drain_all()

    async def answer():
        async with get_client() as client:
            return await question(client)

    return asyncio.run(answer())


def task_runs_of(flow_run, count):
    """Return a flow run's task runs, when the server has written so many of them."""

    async def question(client):
        return await client.read_task_runs(
            flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run])),
            limit=200,
            sort=TaskRunSort.END_TIME_DESC,
        )

    for _ in range(100):
        runs = ask(question)
        if len([run for run in runs if run.state_type and run.state.is_final()]) >= count:
            return runs
        time.sleep(0.2)
    raise AssertionError(f"{len(runs)} of {count} task runs after 20 s")


def test_every_job_is_a_readable_task_run():
    seen = {}

    def remember(flow, flow_run, state):
        seen["id"], seen["name"], seen["parameters"] = (
            flow_run.id,
            flow_run.name,
            flow_run.parameters,
        )

    tracked = as_flow(slabs.bulk_to_slabs_flow, on_completion=[remember])
    result = tracked(bulk("Cu"), max_index=1)
    runs = task_runs_of(seen["id"], 8)
    assert sorted(run.name for run in runs) == sorted(
        ["relax Cu", "static Cu", *["relax Cu6", "static Cu6"] * 2, "relax Cu8", "static Cu8"]
    )
    assert {frozenset(run.tags) for run in runs} == {
        frozenset({"emt", "relax"}),
        frozenset({"emt", "static"}),
    }
    assert {run.state_name for run in runs} == {"Completed"}
    assert seen["name"] == "bulk_to_slabs Cu"
    assert seen["parameters"] == {
        "atoms": "Cu (1 atom, cell 2.553 2.553 2.553 Å 60.0 60.0 60.0°, periodic along abc)",
        "slab_relax_electron": "relax_job",
        "slab_static_electron": "static_job",
        "calculator": "emt",
        "max_index": 1,
        "min_thickness": 10.0,
        "min_vacuum": 20.0,
        "min_lateral": 0.0,
        "symmetric_only": False,
        "relax_kwargs": None,
        "static_kwargs": None,
    }

    async def artifacts(client):
        flow_run = {"flow_run_id": {"any_": [str(seen["id"])]}}
        answer = await client.request("POST", "/artifacts/filter", json={"artifacts": flow_run})
        return answer.json()

    (table,) = [one for one in ask(artifacts) if one["type"] == "table"]
    assert table["key"] == "emt-bulk-to-slabs-flow"
    assert table["type"] == "table"
    assert "(111)" in table["data"]
    assert result["key"][:10] in table["description"]


def messages(flow_run):
    """Return what a flow run and its task runs have logged, newest first."""

    async def question(client):
        mine = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[flow_run]))
        return await client.read_logs(mine, sort=LogSort.TIMESTAMP_DESC, limit=20, offset=0)

    return [log.message for log in ask(question)]


def test_a_run_logs_its_structure_and_parameters():
    @flow
    def one():
        as_task(relax_job).submit(bulk("Cu", cubic=True), fmax=0.2).result()
        return FlowRunContext.get().flow_run.id

    (line,) = [text for text in messages(one()) if text.startswith("relax of Cu4")]
    assert "(4 atoms, cell 3.610 3.610 3.610 Å 90.0 90.0 90.0°, periodic along abc)" in line
    assert "fmax=0.2, steps=1000, optimizer='ScaledBFGS'" in line


def test_a_partial_keeps_its_name_and_its_keywords():
    relax_loosely = as_task(partial(relax_job, fmax=0.3))
    assert relax_loosely.name == "emt.relax_job"

    @flow
    def one():
        result = relax_loosely.submit(static_job("Cu")).result()
        return result, FlowRunContext.get().flow_run.id

    result, run = one()
    assert result["fmax"] == 0.3
    (line,) = [text for text in messages(run) if "from emt.static_job" in text]
    assert "fmax=0.3" in line


def test_a_task_stays_as_it_is():
    mine = task(relax_job, name="mine")
    assert as_task(mine) is mine


attempts = []


def flaky(atoms, error):
    attempts.append(error)
    if len(attempts) < 3:
        raise error
    return static_job(atoms)


@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (ConnectionResetError("peer"), 3),
        (TimeoutError("late"), 3),
        (OSError(116, "Stale file handle"), 3),
        (CalculationError("no"), 1),
        (ValueError("no"), 1),
        (FileNotFoundError(2, "no"), 1),
    ],
)
def test_retries_only_for_errors_that_can_pass(error, tries):
    attempts.clear()

    @flow
    def one():
        future = as_task(flaky, retry_delay_seconds=0).submit("Cu", error)
        future.wait()
        return future.state.is_completed()

    assert one() is (tries == 3)
    assert len(attempts) == tries


def test_results_are_stored_as_jobs_end_and_found_again():
    result = bulk_to_slabs_flow("Cu")
    store = Store()
    assert set(store.find(result["jobs"])) == set(result["jobs"])
    again = store.get(result["key"])
    assert again["surfaces"] == result["surfaces"]
    assert again["slabs"][0]["results"]["energy"] == result["slabs"][0]["results"]["energy"]
    recipes = [row.recipe for row in store.select()]
    assert recipes.count("emt.relax_job") == 4
    assert recipes.count("emt.static_job") == 4
    assert recipes.count("emt.bulk_to_slabs_flow") == 1


def fails_on_110(atoms, **kwargs):
    if getattr(atoms, "symbols", None) is not None and len(atoms) == 8:
        raise CalculationError("the walls fell in", atoms=atoms)
    return relax_job(atoms, **kwargs)


def test_one_failing_slab_does_not_lose_the_others():
    with pytest.raises(JobsFailedError, match=r"1 of 3 .*Cu8 \(1 1 0\).*walls fell in") as caught:
        bulk_to_slabs_flow("Cu", fails_on_110)
    (failure,) = caught.value.exceptions
    assert isinstance(failure, CalculationError)
    assert failure.__notes__ == ["structure: Cu8 (1 1 0) termination 0"]
    names = [result["name"] for result in caught.value.results]
    assert names == ["emt.relax_job", "emt.static_job"] * 3  # the first two are the bulk's
    assert len(list(Store().select())) == 6  # the bulk's two, and two of each good slab


def test_a_flow_that_failed_is_failed_for_prefect():
    state = bulk_to_slabs_flow("Cu", fails_on_110, return_state=True)
    assert state.is_failed()


def test_an_unwritable_database_is_an_error_before_the_work():
    calls = []

    def counting(atoms, **kwargs):
        calls.append(atoms)
        return relax_job(atoms, **kwargs)

    with change_settings(store="/proc/none/results.db"), pytest.raises(StoreError, match="/proc"):
        bulk_to_slabs_flow("Cu", counting)
    assert calls == []


def unstorable(atoms, **kwargs):
    return relax_job(atoms, **kwargs) | {"extra": object()}


def test_what_cannot_be_stored_loses_nothing():
    result = bulk_to_slabs_flow("Cu", unstorable)
    assert len(result["surfaces"]) == 3
    assert "could not be stored" in result["warnings"][-1]
    assert [row.recipe for row in Store().select()].count("emt.static_job") == 4
    with pytest.raises(JobsFailedError) as caught:
        bulk_to_slabs_flow("Cu", lambda atoms, **kwargs: unstorable(fails_on_110(atoms, **kwargs)))
    assert "could not be stored" in caught.value.__notes__[-1]
    assert caught.value.results


def test_functions_of_the_users_own_return_what_they_like():
    def natoms(atoms):
        return len(atoms)

    def nothing(atoms):
        return None

    returned = []
    counted = task(natoms)

    def campaign(atoms, first=natoms, second=counted, third=nothing, last=relax_job):
        jobs = [submit(job, atoms) for job in (first, second, third)]
        returned.extend(job.result() for job in jobs)
        return submit(last, atoms).result()

    result = as_flow(campaign)(bulk("Cu"))
    assert returned == [1, 1, None]
    assert [row.key for row in Store().select()] == [result["key"]]


@pytest.mark.parametrize("kind", [list, dict, tuple, lambda pairs: None])
def test_workflows_of_the_users_own_return_what_they_like(kind):
    def campaign(atoms, relax=relax_job):
        energy = submit(relax, atoms).result()["results"]["energy"]
        return kind([("energy", energy)])

    returned = as_flow(campaign)(bulk("Cu"))
    [row] = Store().select()
    assert returned == kind([("energy", Store().get(row.key)["results"]["energy"])])


def test_jobs_by_their_names_as_a_deployment_gives_them():
    result = bulk_to_slabs_flow("Cu", "emt.relax_job", None)
    assert {slab["name"] for slab in result["slabs"]} == {"emt.relax_job"}


def test_the_parameters_have_a_schema_for_the_dashboard():
    properties = bulk_to_slabs_flow.parameters.properties
    assert properties["slab_relax_electron"]["default"] == "relax_job"
    assert properties["calculator"]["default"] == "emt"
    assert properties["max_index"]["default"] == 1
    assert bulk_to_slabs_flow.parameters.required == ["atoms"]
