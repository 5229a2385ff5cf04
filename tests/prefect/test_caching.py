"""What is computed once is not computed again: the cache of tasks and of ``cached``."""

import functools
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.constraints import FixAtoms
from ase.io import write
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_HOME
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner
from prefect.transactions import transaction
from prefect_dask import DaskTaskRunner

from quacc.cache.results import ResultsCache
from quacc.calculators.codes.emt import CODE
from quacc.errors import ParameterError, PreemptedError, StructureError
from quacc.key import calculation_key
from quacc.prefect import as_task, cached, fan_out
from quacc.prefect.daskrunner import DaskRunner
from quacc.recipes.emt.core import md_job, relax_job, static_job
from quacc.recipes.emt.slabs import bulk_to_slabs_flow
from quacc.recipes.mopac import core as mopac
from quacc.runners.deadline import carry_on, stop_soon
from quacc.runners.job import calculation_of
from quacc.runners.static import static
from quacc.settings import change_settings, get_settings
from quacc.store import Store
from quacc.store.seal import remove_seal

sys.path.insert(0, str(Path(__file__).parents[1] / "store"))
from store_cases import assert_same


def is_known(job, *args, **kwargs):
    return ResultsCache().find([calculation_of(job, args, kwargs)]) != [None]


def computed_in(results):
    """Return which computations results come from."""
    return {tuple(sorted(result["provenance"].items())) for result in results}


# What has the same key


def marked_copper():
    atoms = bulk("Cu", "fcc", a=3.6, cubic=True)
    atoms.positions[0] += [0.01, -0.02, 0.03]
    atoms.set_constraint(FixAtoms([1]))
    atoms.set_initial_magnetic_moments([1.0, 0.0, 0.0, -0.5])
    atoms.set_momenta(np.arange(12.0).reshape(4, 3))
    return atoms


@pytest.mark.parametrize(
    ("momenta", "key"),
    [
        (False, "3f7753bc98a1271ca801949dec567c86f0be7c12b2bd288b17262536b7ad09d6"),
        (True, "26f348d881c9b939396e96e70b0cf206d10871f2008bd07190e5bea1aeb9cdb8"),
    ],
)
def test_keys_stay_what_they_are_in_peoples_databases(momenta, key):
    numbers = {3: np.float64(1.5), "steps": 5, "fmax": 0.05, "kpts": (2, 2, 1)}
    others = {"smooth": True, "ro": None, "method": "PM7", "nested": {"b": [1, 2.5], "a": {"x"}}}
    made = calculation_key(
        recipe="emt.md_job",
        version=2,
        atoms=marked_copper(),
        parameters=numbers | others,
        fingerprint="emt ase 3.29.0",
        momenta=momenta,
        extra="abc",
    )
    assert made == key


@pytest.mark.parametrize("structure", ["Cu", marked_copper()])
def test_the_quick_key_is_the_key_of_the_result(structure):
    jobs = [(static_job, {}), (relax_job, {"fmax": 0.3}), (md_job, {"steps": 2})]
    for job, kwargs in jobs:
        assert calculation_of(job, (structure,), kwargs).key == job(structure, **kwargs)["key"]
    assert calculation_of(bulk_to_slabs_flow, (structure,), {}) is None


def test_the_quick_key_keeps_the_structure_of_its_time():
    atoms = bulk("Cu")
    calculation = calculation_of(static_job, (atoms,), {})
    atoms.info["mine"] = 1
    atoms.positions += 1
    assert_same(calculation.input_atoms, bulk("Cu"))


def test_other_spellings_of_the_same_are_known(tmp_path):
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.05, seed=1)
    cached(relax_job)(atoms, fmax=0.1, steps=50)
    write(tmp_path / "copper.extxyz", atoms)
    my_copper = atoms.copy()
    assert is_known(relax_job, my_copper, fmax=0.1, steps=50)
    assert is_known(relax_job, atoms, steps=50, fmax=0.1)
    assert is_known(relax_job, atoms, steps=np.int64(50), fmax=np.float64(0.1), relax_cell=False)
    assert is_known(partial(relax_job, fmax=0.1), atoms, steps=50)
    assert is_known(relax_job, str(tmp_path / "copper.extxyz"), fmax=0.1, steps=50)
    assert is_known(relax_job, {"atoms": atoms}, fmax=0.1, steps=50)
    assert is_known(relax_job, atoms, fmax=0.1, steps=50, require_convergence=True)


def test_other_parameters_structures_and_jobs_are_not():
    cached(relax_job)("Cu", fmax=0.1)
    assert is_known(relax_job, "Cu", fmax=0.1)
    assert not is_known(relax_job, "Cu", fmax=0.11)
    assert not is_known(relax_job, "Cu", fmax=0.1, asap_cutoff=True)
    assert not is_known(relax_job, "Al", fmax=0.1)
    assert not is_known(static_job, "Cu")


def test_another_version_of_the_code_or_recipe_is_not_known(monkeypatch):
    cached(static_job)("Cu")

    def known(version):
        calculation = static(CODE, "Cu")
        calculation.version = version
        return ResultsCache().find([calculation]) != [None]

    assert known(version=1)
    assert not known(version=2)
    monkeypatch.setattr("ase.__version__", "99.0")
    assert not is_known(static_job, "Cu")


@pytest.mark.mopac
def test_other_contents_of_a_file_are_not_known(tmp_path):
    file = tmp_path / "weights.dat"
    ask = {"copy_files": {tmp_path: ["weights.dat"]}}
    file.write_text("1.0")
    first = cached(mopac.static_job)("H2O", **ask)
    assert is_known(mopac.static_job, "H2O", **ask)
    file.write_text("2.0")
    assert not is_known(mopac.static_job, "H2O", **ask)
    file.write_text("1.0")
    assert_same(cached(mopac.static_job)("H2O", **ask), first)


# In a notebook's loop


def test_cached_computes_once_and_looks_like_the_job():
    relax = cached(partial(relax_job, fmax=0.1))
    first, second = relax("Cu"), relax("Cu")
    assert_same(first, second)
    stored = Store().get(first["key"])
    remove_seal(stored)
    assert_same(stored["provenance"], first["provenance"])
    assert relax.__name__ == "relax_job"
    assert "relax_cell" in relax.__signature__.parameters
    with pytest.raises(ParameterError, match="fmax"):
        cached(relax_job)("Cu", fmax=-1)
    with pytest.raises(StructureError, match="Å apart"):
        cached(relax_job)(Atoms("Cu2"))


def test_refresh_computes_again_and_replaces():
    first = cached(static_job)("Cu")
    again = cached(static_job, refresh=True)("Cu")
    assert computed_in([again]) != computed_in([first])
    assert computed_in([cached(static_job)("Cu")]) == computed_in([again])


def test_threads_with_the_same_question_compute_once():
    atoms = bulk("Cu", cubic=True) * 2
    atoms.rattle(0.1, seed=1)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(cached(relax_job), [atoms.copy() for _ in range(8)]))
    assert len(computed_in(results)) == 1
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(cached(static_job), [bulk("Cu", a=a) for a in np.linspace(3.4, 3.8, 40)]))
    assert sum(row.recipe == "emt.static_job" for row in Store().select()) == 40


def test_a_failure_lets_the_next_one_try():
    relax = cached(relax_job)
    for _ in range(2):
        with pytest.raises(StructureError, match="periodic in three"):
            relax("H2O", relax_cell=True)


@functools.wraps(relax_job)
def my_energy(atoms, **kwargs):
    return relax_job(atoms, **kwargs)["results"]["energy"]


def test_functions_of_others_cannot_be_cached():
    for job in (my_energy, bulk_to_slabs_flow, as_task(relax_job), task(relax_job), len, 3):
        with pytest.raises(ParameterError, match="is no job of quacc's"):
            cached(job)


def test_unconverged_results_are_stored_and_computed_again():
    ask = {"steps": 1, "fmax": 1e-9, "relax_cell": True}
    first, second = (cached(relax_job)("Cu", **ask) for _ in range(2))
    assert first["converged"] is second["converged"] is False
    assert computed_in([first]) != computed_in([second])
    assert Store().get(first["key"])["converged"] is False


def test_what_was_preempted_is_not_stored_as_finished():
    stop_soon("the test wants it")
    try:
        with pytest.raises(PreemptedError):
            cached(md_job)("Cu", steps=3)
    finally:
        carry_on()
    assert list(Store().select()) == []
    assert cached(md_job)("Cu", steps=3)["steps"] == 3


@pytest.mark.usefixtures("prefect_server")
def test_what_is_stored_on_any_road_is_signed():
    @flow
    def both():
        return fan_out(static_job, ["Al"]).results()

    with change_settings(trust="own"):
        results = [cached(static_job)("Cu"), *both()]
        assert all("signature" in Store().get(one["key"])["provenance"] for one in results)
        again = [cached(static_job)("Cu"), *both()]
    assert_same(again, results)


def test_what_cannot_be_stored_is_returned_and_spoils_nothing_else(caplog):
    noted = bulk("Cu")
    noted.info["note"] = object()
    structures = [noted, *(bulk("Cu", a=a) for a in (3.5, 3.6, 3.7))]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(cached(static_job), structures))
    assert [result["name"] for result in results] == ["emt.static_job"] * 4
    assert "could not be stored" in caplog.text
    assert len(list(Store().select())) == 3


def test_cached_loads_no_prefect():
    code = (
        "import sys; from quacc.prefect import cached; from quacc.recipes.emt.core import "
        "static_job; cached(static_job)('Cu'); print({'prefect', 'dask'} & set(sys.modules))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "set()"


# As Prefect's tasks

in_prefect = pytest.mark.usefixtures("prefect_server")


def run_in(runner, body):
    return flow(body, name="campaign", task_runner=runner)()


def names_of(futures):
    for future in futures:
        future.wait()
    return [future.state.name for future in futures]


def files_below(folder):
    return {str(path) for path in Path(folder).rglob("*") if path.is_file()}


ONE_WORKER = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": None}


def ours():
    return DaskRunner(cluster_class="distributed.LocalCluster", cluster_kwargs=ONE_WORKER)


@in_prefect
@pytest.mark.parametrize(
    "make",
    [
        lambda: ThreadPoolTaskRunner(max_workers=3),
        lambda: ProcessPoolTaskRunner(max_workers=1),
        lambda: DaskTaskRunner(cluster_kwargs={**ONE_WORKER, "processes": False}),
        ours,
    ],
    ids=["threads", "processes", "prefect-dask", "ours"],
)
@pytest.mark.usefixtures("server_for_all")
def test_every_runner_skips_what_is_done(make):
    relax = as_task(relax_job)
    before = files_below(PREFECT_HOME.value() / "storage")

    def campaign():
        first = relax.submit("Cu")
        names = names_of([first])
        again, other, wrong = relax.map(["Cu", "Al", "Cu"], fmax=[0.01, 0.01, -1])
        names += names_of([again, other, wrong])
        assert isinstance(wrong.state.result(raise_on_failure=False), ParameterError)
        return names, [first.result(), again.result(), other.result()]

    names, results = run_in(make(), campaign)
    assert names == ["Completed", "Cached", "Completed", "Failed"]
    assert_same(results[0], results[1])
    assert {result["key"] for result in Store().find(r["key"] for r in results).values()} == {
        result["key"] for result in results
    }
    assert files_below(PREFECT_HOME.value() / "storage") == before
    assert files_below(get_settings().results_dir) == {str(get_settings().database)}


@in_prefect
@pytest.mark.parametrize("make", [lambda: ThreadPoolTaskRunner(max_workers=8), ours])
def test_equal_tasks_at_once_compute_once(make):
    atoms = bulk("Cu", cubic=True) * 2
    atoms.rattle(0.1, seed=1)

    def campaign():
        futures = [as_task(relax_job).submit(atoms) for _ in range(8)]
        return names_of(futures), [future.result() for future in futures]

    names, results = run_in(make(), campaign)
    assert sorted(names) == ["Cached"] * 7 + ["Completed"]
    assert len(computed_in(results)) == 1


@in_prefect
@pytest.mark.parametrize("make", [lambda: ThreadPoolTaskRunner(max_workers=2), ours])
def test_tasks_refresh(make):
    first = cached(static_job)("Cu")
    seen = [computed_in([first])]

    def campaign():
        known = as_task(static_job)
        for again in (
            as_task(static_job, refresh=True),
            as_task(static_job, refresh_cache=True),
            known.with_options(refresh_cache=True),
            as_task(known, refresh=True),
        ):
            future = again.submit("Cu")
            assert names_of([future]) == ["Completed"]
            seen.append(computed_in([future.result()]))
            future = known.submit("Cu")
            assert names_of([future]) == ["Cached"]
            assert computed_in([future.result()]) == seen[-1]

    run_in(make(), campaign)
    assert len({frozenset(one) for one in seen}) == 5


@in_prefect
def test_whatever_the_options():
    cached(static_job)("Cu")

    def campaign():
        static = as_task(static_job)
        assert static("Cu", return_state=True).name == "Cached"
        assert static("Cu")["formula"] == "Cu"
        for one in (
            as_task(static_job, persist_result=False),
            as_task(static_job, retries=0, name="mine"),
            static.with_options(name="mine", tags=["mine"]),
            as_task(partial(static_job, asap_cutoff=False)),
        ):
            assert names_of([one.submit("Cu")]) == ["Cached"]
        # Whoever wants no cache gets none.
        assert names_of([static.with_options(persist_result=False).submit("Cu")]) == ["Completed"]
        assert names_of([static.with_options(cache_policy=None).submit("Cu")]) == ["Completed"]

    run_in(ThreadPoolTaskRunner(max_workers=1), campaign)


@in_prefect
def test_a_transaction_around_tasks_holds_up_nothing():
    def campaign():
        static = as_task(static_job)
        with pytest.raises(RuntimeError, match="mine"):
            with transaction():
                names = [static("Cu", return_state=True).name for _ in range(3)]
                assert is_known(static_job, "Cu")
                raise RuntimeError("mine")
        return names

    assert run_in(None, campaign) == ["Completed", "Cached", "Cached"]
    assert is_known(static_job, "Cu")


@in_prefect
def test_tasks_of_others_functions_and_unconverged_ones_run_again():
    energy, relax = as_task(my_energy), as_task(relax_job, retries=0)
    ask = {"steps": 1, "fmax": 1e-9, "relax_cell": True}

    def campaign():
        for _ in range(2):
            assert names_of([energy.submit("Cu"), relax.submit("Al", **ask)]) == ["Completed"] * 2

    run_in(ThreadPoolTaskRunner(max_workers=1), campaign)


@in_prefect
def test_the_server_knows_the_state_and_of_no_file():
    cached(static_job)("Cu")

    def campaign():
        future = as_task(static_job).submit("Cu")
        future.wait()
        return str(future.task_run_id)

    run = run_in(ThreadPoolTaskRunner(max_workers=1), campaign)
    with get_client(sync_client=True) as client:
        for _ in range(100):
            state = client.read_task_run(run).state
            if state.is_final():
                break
            time.sleep(0.1)
    assert (state.name, state.type.value) == ("Cached", "COMPLETED")
    assert state.data is None
