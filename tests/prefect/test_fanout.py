"""``fan_out`` on real workers, against a real Prefect server."""

import itertools
import os
import re
import signal
import sys
import time
from functools import partial
from pathlib import Path

import cloudpickle
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from prefect import flow, task
from prefect.context import FlowRunContext
from prefect.task_runners import ThreadPoolTaskRunner

from quacc.errors import (
    CalculationError,
    JobsFailedError,
    LostWorkerError,
    ParameterError,
    StructureError,
    TimeLimitError,
)
from quacc.prefect import as_task, fan_out, make_runner
from quacc.recipes.emt.core import relax_job, static_job
from quacc.recipes.tools.verbs import gather, submit
from quacc.store import Store
from tests.prefect.programs import Script, states

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture(autouse=True, scope="module")
def _by_value():
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def rattled(count, seed=0):
    rng = np.random.default_rng(seed)
    for index in range(count):
        atoms = bulk(["Cu", "Ag", "Au", "Ni"][index % 4], cubic=True)
        atoms.rattle(0.05, rng=rng)
        yield atoms


def run(body, runner=None):
    """Call a function inside a flow; return what it returns, and the flow run's id."""
    ids = []

    @flow(name="campaign", task_runner=runner or ThreadPoolTaskRunner())
    def campaign():
        ids.append(FlowRunContext.get().flow_run.id)
        return body()

    return campaign(), ids[0]


def energies(results):
    return [result["results"]["energy"] for result in results]


# Results


def test_results_are_those_of_plain_calls_in_the_order_of_the_items():
    items = list(rattled(80))
    results, _ = run(lambda: fan_out(relax_job, items, fmax=0.05).results(), make_runner())
    assert energies(results) == pytest.approx(
        energies([relax_job(atoms, fmax=0.05) for atoms in items]), abs=1e-10
    )
    assert all(result["provenance"]["pid"] != os.getpid() for result in results)
    assert {row.key for row in Store().select()} == {result["key"] for result in results}


# Not on its process pool: Prefect starts a server in the pool's process, which outlives it.
def test_on_prefects_threads():
    items = list(rattled(40))
    found, _ = run(lambda: dict(fan_out(static_job, items)), ThreadPoolTaskRunner(max_workers=2))
    assert sorted(found) == list(range(40))
    for index, atoms in enumerate(items):
        assert found[index]["results"]["energy"] == static_job(atoms)["results"]["energy"]


@pytest.mark.usefixtures("server_for_all")
def test_on_prefects_dask():
    from prefect_dask import DaskTaskRunner

    runner = DaskTaskRunner(
        cluster_kwargs={"n_workers": 1, "threads_per_worker": 1, "dashboard_address": None}
    )
    results, _ = run(lambda: fan_out(static_job, rattled(5)).results(), runner)
    assert energies(results) == energies([static_job(atoms) for atoms in rattled(5)])


def test_items_of_all_kinds():
    relaxed = relax_job("Cu")
    bulk("Ag").write("silver.xyz")
    results, _ = run(
        lambda: fan_out(static_job, ["Cu", relaxed, Path("silver.xyz"), bulk("Au")]).results()
    )
    assert [result["formula"] for result in results] == ["Cu", "Cu", "Ag", "Au"]
    assert results[1]["input_atoms"] == relaxed["atoms"]


def test_no_items():
    assert run(lambda: fan_out(static_job, []).results())[0] == []
    assert run(lambda: list(fan_out(static_job, iter(()))))[0] == []


def test_a_function_of_the_users_own():
    def total(number, times=1):
        return {"sum": sum(range(number)) * times}

    results, _ = run(lambda: fan_out(total, range(200), times=2).results(), make_runner())
    assert [result["sum"] for result in results] == [n * (n - 1) for n in range(200)]
    assert list(Store().select()) == []


def test_an_iterator_is_taken_bit_by_bit():
    taken = []

    def source():
        for index, atoms in enumerate(itertools.cycle([bulk("Cu"), bulk("Ag")])):
            taken.append(index)
            yield atoms.copy()

    def some():
        fan = fan_out(static_job, source(), batch=50)
        return list(itertools.islice(fan, 500))

    found, _ = run(some)
    assert len({index for index, _ in found}) == 500
    assert len(taken) < 5000


def test_partials_and_tasks():
    items = list(rattled(2))
    for job in (partial(relax_job, fmax=0.2), as_task(partial(relax_job, fmax=0.2))):
        results, _ = run(lambda job=job: fan_out(job, items).results())
        assert [result["fmax"] for result in results] == [0.2, 0.2]
    results, _ = run(lambda: fan_out(task(static_job), items).results())
    assert [result["name"] for result in results] == ["emt.static_job"] * 2


# What is known already


def test_nothing_is_computed_twice():
    items = list(rattled(50))

    def twice():
        first = fan_out(relax_job, items[:30])
        before = first.results()
        second = fan_out(relax_job, items)
        return before, second.results(), first.counts, second.counts

    (before, after, first, second), _ = run(twice)
    assert (first.computed, first.cached) == (30, 0)
    assert (second.computed, second.cached) == (20, 30)
    for old, new in zip(before, after, strict=False):
        assert old["provenance"] == new["provenance"]
        assert old["results"]["energy"] == new["results"]["energy"]


def test_equal_items_are_computed_once_and_each_gets_its_own():
    items = [bulk("Cu") for _ in range(1500)]
    for index, atoms in enumerate(items):
        atoms.info["number"] = index

    def all_of_them():
        fan = fan_out(static_job, iter(items))
        return fan.results(), fan.counts

    (results, counts), _ = run(all_of_them)
    assert (counts.computed, counts.cached) == (1, 1499)
    assert [result["input_atoms"].info["number"] for result in results] == list(range(1500))
    assert [result["atoms"].info["number"] for result in results] == list(range(1500))
    assert len({id(result["results"]["forces"]) for result in results}) == 1500


@pytest.mark.parametrize("count", [2, 1200])
def test_refresh_computes_again_and_replaces(count):
    items = [bulk("Cu", a=3.6), *[bulk("Cu", a=3.7) for _ in range(count - 1)]]

    def again():
        old = fan_out(static_job, items).results()
        fan = fan_out(static_job, items, refresh=True)
        return old, fan.results(), fan.counts

    (old, new, counts), _ = run(again)
    assert counts.computed == 2
    assert new[0]["provenance"]["started"] > old[0]["provenance"]["started"]
    stored = Store().get(new[0]["key"])
    assert stored["provenance"] == new[0]["provenance"]


def test_what_did_not_converge_is_computed_again():
    def again():
        first = fan_out(relax_job, list(rattled(3)), steps=1)
        second = fan_out(relax_job, list(rattled(3)), steps=1)
        return first.results(), second.results(), second.counts

    (first, second, counts), _ = run(again)
    assert [result["converged"] for result in [*first, *second]] == [False] * 6
    assert counts.cached == 0


def test_keys_leave_the_results_in_the_database():
    items = list(rattled(20))
    keys, _ = run(lambda: fan_out(static_job, items).result_keys())
    assert keys == [static_job(atoms)["key"] for atoms in items]
    assert len(Store().find(keys)) == 20
    with pytest.raises(ParameterError, match="no job of quacc's"):
        run(lambda: fan_out(len, items).result_keys())


def test_a_loop_that_is_left_keeps_what_is_done():
    items = list(rattled(60))

    def some():
        seen = []
        for _, result in fan_out(relax_job, items, batch=5):
            seen.append(result["key"])
            if len(seen) == 7:
                break
        return seen

    seen, _ = run(some, make_runner())
    assert seen == list(dict.fromkeys(seen))
    stored = {row.key for row in Store().select()}
    assert set(seen) <= stored
    assert len(stored) < 60


# Failures


def fragile(number):
    if number == 13:
        raise CalculationError("the thirteenth fails")
    if number == 14:
        return lambda: (_ for _ in ()), threading_lock()
    return number


def threading_lock():
    import threading

    return threading.Lock()


@pytest.mark.parametrize("runner", [ThreadPoolTaskRunner, make_runner])
def test_items_that_fail_spoil_no_others(runner):
    with pytest.raises(JobsFailedError, match="2 of 100 structures failed") as failed:
        run(lambda: fan_out(fragile, range(100), batch=10).results(), runner())
    first, second = failed.value.exceptions
    assert isinstance(first, CalculationError)
    assert first.__notes__ == ["structure: (item 13)"]
    assert "cannot be sent back" in str(second)
    assert failed.value.results == [n for n in range(100) if n not in (13, 14)]


def test_a_bad_structure_is_an_error_of_its_own():
    close = Atoms("Cu2", [[0, 0, 0], [0, 0, 0.01]], cell=[5, 5, 5], pbc=True)
    items = [close, bulk("Cu"), "no such thing", bulk("Ag")]
    with pytest.raises(JobsFailedError) as failed:
        run(lambda: fan_out(static_job, items).results())
    assert [type(error) for error in failed.value.exceptions] == [StructureError] * 2
    assert "Cu2 (item 0)" in str(failed.value)
    assert "item 2" in str(failed.value)
    assert [result["formula"] for result in failed.value.results] == ["Cu", "Ag"]


def test_an_argument_that_cannot_travel_fails_alone():
    items = [bulk("Cu"), bulk("Ag"), bulk("Au")]
    items[1].info["lock"] = threading_lock()
    with pytest.raises(JobsFailedError, match="Ag \\(item 1\\): .*cannot be sent") as failed:
        run(lambda: fan_out(len, items).results(), make_runner())
    assert failed.value.results == [1, 1]


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda items: fan_out(relax_job, items, fmax=-1).results(), "fmax must be"),
        (lambda items: fan_out(relax_job, items, fmx=1).results(), "Did you mean 'fmax'"),
        (lambda items: fan_out(relax_job, items, batch=0), "batch must be"),
        (lambda items: fan_out(relax_job, items, time_limit=-1), "time_limit must be"),
        (lambda items: fan_out(relax_job, items, refresh="yes"), "refresh must be"),
        (lambda items: fan_out(relax_job, items[0]), "takes many items"),
        (lambda items: fan_out(relax_job, "Cu"), "takes many items"),
        (lambda items: fan_out(relax_job, items, time_limit=1).results(), "make_runner"),
    ],
)
def test_what_makes_no_sense_is_told_before_the_work(ask, told):
    with pytest.raises(ParameterError, match=told):
        run(lambda: ask(list(rattled(3))))
    assert list(Store().select()) == []


def test_it_belongs_inside_a_flow():
    with pytest.raises(ParameterError, match="inside a Prefect flow"):
        fan_out(relax_job, ["Cu"]).results()
    with pytest.raises(RuntimeError, match="call fan_out again"):
        run(lambda: [(fan := fan_out(static_job, ["Cu"])).results(), fan.results()])


def test_a_passing_error_is_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr("quacc.prefect.fanout.dispatcher.DELAY", 0.1)

    def flaky(number, folder):
        mark = Path(folder, str(number))
        if number % 5 == 0 and not mark.exists():
            mark.touch()
            raise ConnectionError("the license server is busy")
        if number == 7:
            raise ConnectionError("always")
        return number

    with pytest.raises(JobsFailedError, match="1 of 20 .*item 7.*always") as failed:
        run(lambda: fan_out(flaky, range(20), folder=str(tmp_path)).results(), make_runner())
    assert failed.value.results == [n for n in range(20) if n != 7]


def deadly(number):
    if number == 30:
        os.kill(os.getpid(), signal.SIGSEGV)
    if number == 60:
        while True:
            pass
    return number


def test_items_that_kill_or_hang_their_worker_are_found():
    fan = {}

    def all_of_them():
        fan["out"] = fan_out(deadly, range(100), batch=20, time_limit=2)
        return fan["out"].results()

    with pytest.raises(JobsFailedError, match="2 of 100") as failed:
        run(all_of_them, make_runner())
    killed, hung = failed.value.exceptions
    assert isinstance(killed, LostWorkerError)
    assert killed.__notes__[-1] == "structure: (item 30)"
    assert isinstance(hung, TimeLimitError)
    assert "time limit of 2 s" in str(hung)
    assert hung.__notes__[-1] == "structure: (item 60)"
    assert failed.value.results == [n for n in range(100) if n not in (30, 60)]
    assert fan["out"].counts.computed == 98


# What the server knows


def test_task_runs_tell_what_they_hold():
    items = [*rattled(4), *[bulk("Cu", a=3.5 + 0.01 * i) for i in range(6)]]
    _, flow_run = run(lambda: fan_out(static_job, items, batch=4).results())
    state, runs = states(flow_run)
    assert state == "Completed"
    assert runs == [
        "static 2 Cu: Completed",
        "static 4 Cu: Completed",
        "static 4: Cu4 ... Ni4: Completed",
    ]


def test_a_task_run_with_failed_items_is_failed():
    close = Atoms("Cu2", [[0, 0, 0], [0, 0, 0.01]], cell=[5, 5, 5], pbc=True)
    with pytest.raises(JobsFailedError) as failed:
        run(lambda: remember(fan_out(static_job, [bulk("Cu"), close, bulk("Ag")], batch=3)))
    state, runs = states(REMEMBERED[-1])
    assert (state, runs) == ("Failed", ["static 3: Cu ... Ag: Failed"])
    assert len(failed.value.results) == 2


REMEMBERED = []


def remember(fan):
    REMEMBERED.append(FlowRunContext.get().flow_run.id)
    return fan.results()


# Workflows written with the verbs


def two_stages_flow(names, relax=relax_job, static=static_job):
    chains = []
    for name in names:
        relaxed = submit(relax, name)
        chains.append([relaxed, submit(static, relaxed)])
    found = gather(chains, [str(name) for name in names], "two stages")
    return {
        "name": "two_stages_flow",
        "formula": "X",
        "key": "0" * 64,
        "atoms": bulk("Cu"),
        "warnings": [],
        "energies": energies(chain[-1] for chain in found),
    }


def test_a_workflow_with_many_items_is_packed():
    from quacc.prefect import as_flow

    items = list(rattled(120))
    ids = []
    packed = as_flow(two_stages_flow)

    def body():
        ids.append(FlowRunContext.get().flow_run.id)
        return packed(items)

    result, _ = run(body, make_runner())
    assert result["energies"] == pytest.approx(two_stages_flow(items)["energies"], abs=1e-10)
    stored = list(Store().select(recipe="emt.relax_job"))
    assert len(stored) == 120
    again, _ = run(body, make_runner())
    assert again["energies"] == result["energies"]


# Ends


CAMPAIGN = """
from quacc.prefect import fan_out
from quacc.prefect.lifecycle.server import prefect_api
from ase.build import bulk

def slow_items():
    for i in range(60):
        yield bulk("Cu", cubic=True, a=3.5 + 0.001 * i) * (2, 1, 1)

@flow(task_runner=make_runner())
def screen():
    for n, (index, result) in enumerate(fan_out(relax_job, slow_items(), relax_cell=True)):
        if n == 5:
            print("started", flush=True)
    print("all done", n + 1, flush=True)

screen()
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_and_run_again(how):
    with Script(CAMPAIGN) as script:
        script.wait_for("started")
        time.sleep(1)  # results are stored some at a time
        script.process.send_signal(how)
        script.wait(60)
        told = script.told()
    first = {row.key for row in Store().select()}
    assert 5 <= len(first) < 60
    if how == signal.SIGINT:
        done = int(re.search(r"was interrupted: (\d+)", told)[1])
        assert done == len(first)
        assert "To go on, run it again:" in told
        assert told.rstrip().count("flow.py") >= 1
    with Script(CAMPAIGN) as script:
        begun = time.time()
        script.wait(120)
        assert "all done 60" in script.told()
    store = Store()
    rows = list(store.select())
    assert len(rows) == 60
    again = [row for row in rows if row.key in first and row.created.timestamp() > begun]
    assert again == []
