"""Which stored results are served, and that they are what a fresh computation gives."""

import copy
import functools
import logging
import shutil
import sqlite3
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.constraints import FixAtoms
from prefect import flow

from quacc.cache.results import ResultsCache
from quacc.errors import MissingProgramError, NotConvergedError, ParameterError
from quacc.prefect import as_task
from quacc.prefect.daskrunner import DaskRunner
from quacc.recipes.emt.core import md_job, relax_job, static_job
from quacc.recipes.emt.slabs import bulk_to_slabs_flow
from quacc.recipes.lj import core as lj
from quacc.recipes.mopac import core as mopac
from quacc.recipes.tools.verbs import check
from quacc.runners.job import calculation_of
from quacc.settings import change_settings, get_settings
from quacc.store import Store

sys.path.insert(0, str(Path(__file__).parents[1] / "store"))
from store_cases import assert_same


def look_up(function, *args, **kwargs):
    calculation = calculation_of(function, args, kwargs)
    if calculation is None:
        return None, None
    return calculation.key, ResultsCache().find([calculation])[0]


def keep(result):
    known = ResultsCache()
    known.keep(result)
    known.close()
    return result


def test_the_keys_of_what_is_on_its_way_are_not_remembered_for_ever(monkeypatch):
    monkeypatch.setattr("quacc.cache.results._MOST", 3)
    cache = ResultsCache()
    for a in (3.6, 3.61, 3.62, 3.63, 3.64, 3.65):
        cache.keep(static_job(bulk("Cu", a=a)))
        assert len(cache._new) <= 3
    assert len(list(Store().select())) >= 4
    cache.close()


# Whose results are served


def test_the_name_of_a_salt_is_told_to_whoever_uses_it():
    potential = {"epsilon": 0.01, "sigma": 2.0}
    keep(lj.static_job(molecule("NaCl"), **potential))
    _, served = look_up(lj.static_job, "NaCl", **potential)
    assert served is not None
    assert [text for text in served["warnings"] if "name of the molecule" in text]


def test_a_job_is_served_to_all_who_ask_the_same():
    result = keep(relax_job("Al"))
    for asked in (relax_job, partial(relax_job, fmax=0.01), as_task(relax_job).plain_job):
        key, served = look_up(asked, "Al")
        assert key == result["key"]
        assert_same(served, result)
    key, served = look_up(relax_job, "Al", fmax=0.02)
    assert key not in (None, result["key"])
    assert served is None
    with pytest.raises(ParameterError, match="fmax"):
        look_up(relax_job, "Al", fmax=-1)


@functools.wraps(relax_job)
def my_energy(atoms, **kwargs):
    return relax_job(atoms, **kwargs)["results"]["energy"]


def posing(atoms):
    return 1.0


posing.__module__, posing.__name__ = relax_job.__module__, relax_job.__name__


def nameless(atoms):
    return 1.0


nameless.__module__ = None


def test_others_functions_and_workflows_are_not_served_what_they_contain():
    keep(relax_job("Al"))
    for asked in (bulk_to_slabs_flow, my_energy, partial(my_energy), posing, nameless, len, "text"):
        assert look_up(asked, "Al") == (None, None)


def outer_job(atoms):
    return {"twice": 2 * relax_job(atoms)["results"]["energy"]}


def test_a_job_that_makes_more_of_another_is_not_served_the_other(monkeypatch):
    keep(relax_job("Al"))
    core = sys.modules[relax_job.__module__]
    monkeypatch.setattr(outer_job, "__module__", core.__name__)
    monkeypatch.setattr(core, "outer_job", outer_job, raising=False)
    assert look_up(outer_job, "Al") == (None, None)


def test_a_stored_result_of_another_recipe_is_not_served():
    result = relax_job("Al")
    Store().add([{**result, "name": "mine.relax_job"}])
    assert look_up(relax_job, "Al") == (result["key"], None)


# Which of them


def test_unconverged_results_are_not_served_whatever_the_options():
    result = keep(relax_job(bulk("Cu") * 2, steps=1, fmax=1e-9, relax_cell=True))
    assert result["converged"] is False
    for required in (False, True):
        options = {"steps": 1, "fmax": 1e-9, "relax_cell": True, "require_convergence": required}
        assert look_up(relax_job, bulk("Cu") * 2, **options) == (result["key"], None)
    with pytest.raises(NotConvergedError):
        relax_job(bulk("Cu") * 2, **options)
    keep(relax_job("Cu"))  # one that did converge serves both
    for required in (False, True):
        assert look_up(relax_job, "Cu", require_convergence=required)[1]["converged"]


@pytest.mark.mopac
def test_a_result_whose_files_are_gone_is_computed_again():
    result = keep(mopac.static_job("H2O"))
    assert_same(look_up(mopac.static_job, "H2O")[1], result)
    shutil.rmtree(result["directory"])
    assert look_up(mopac.static_job, "H2O") == (result["key"], None)
    again = keep(mopac.static_job("H2O"))
    assert again["directory"] == result["directory"]
    assert look_up(mopac.static_job, "H2O")[1] is not None


def test_codes_that_only_the_workers_have_are_left_to_them():
    with change_settings(commands={"mopac": "/no/such/mopac"}):
        assert look_up(mopac.static_job, "H2O") == (None, None)
        assert calculation_of(mopac.static_job, ("H2O",), {}) is None


class Elsewhere:
    """Anything with a submit, as Prefect's tasks are."""

    def __init__(self, fn):
        self.fn = fn

    def submit(self, *args, **kwargs):
        raise AssertionError("only checked")


def test_the_check_before_a_workflow_misses_a_program_only_where_it_would_run():
    with change_settings(commands={"mopac": "/no/such/mopac"}):
        check(Elsewhere(mopac.static_job), "H2O")
        check(as_task(mopac.static_job), "H2O")
        with pytest.raises(MissingProgramError, match="/no/such/mopac"):
            check(mopac.static_job, "H2O")
    with pytest.raises(ParameterError, match="fmax"):
        check(Elsewhere(relax_job), "Cu", fmax=-1)
    called = []
    check(functools.wraps(relax_job)(lambda atoms: called.append(atoms)), "Cu")
    assert called == []


@pytest.mark.mopac
@pytest.mark.usefixtures("prefect_server")
def test_a_flow_with_a_code_that_only_the_workers_have(monkeypatch):
    monkeypatch.setenv("QUACC_COMMANDS__MOPAC", "/no/such/mopac")
    on_node = {"commands": {"mopac": shutil.which("mopac")}}
    one_worker = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": None}

    def water(settings):
        runner = DaskRunner(
            worker_settings=settings,
            cluster_class="distributed.LocalCluster",
            cluster_kwargs=one_worker,
        )

        @flow(task_runner=runner)
        def campaign():
            check(as_task(mopac.static_job), "H2O")
            return as_task(mopac.static_job).submit("H2O").result()

        return campaign()

    result = water(on_node)
    assert Store().get(result["key"])["results"]["energy"] == result["results"]["energy"]
    with pytest.raises(MissingProgramError, match="/no/such/mopac"):
        water({})


def test_damaged_rows_cost_a_warning_and_the_time_to_compute(caplog):
    result = keep(static_job("Al"))
    with sqlite3.connect(get_settings().database) as connection:
        connection.execute("UPDATE systems SET data = substr(data, 1, length(data) - 40)")
    with caplog.at_level(logging.WARNING):
        assert look_up(static_job, "Al") == (result["key"], None)
    assert f"quacc results rm {result['key'][:10]}" in caplog.text
    Store().remove([result["key"]])
    keep(result)
    assert look_up(static_job, "Al")[1] is not None


@pytest.mark.parametrize("lost", ["results", "directory", "input_atoms"])
def test_what_is_no_whole_result_is_not_served(lost):
    result = static_job("Al")
    Store().add([{name: value for name, value in result.items() if name != lost}])
    assert look_up(static_job, "Al") == (result["key"], None)


# Many at once


def test_each_of_many_gets_its_own_result(caplog):
    lattice = [3.5, 3.6, 3.7, 3.8]
    results = [keep(static_job(bulk("Cu", a=a))) for a in lattice]
    damaged, gone = results[1]["key"], results[3]["key"]
    with sqlite3.connect(get_settings().database) as connection:
        query = "UPDATE systems SET data = substr(data, 1, length(data) - 40) WHERE unique_id = ?"
        connection.execute(query, [damaged])
    Store().remove([gone])
    asked = [bulk("Cu", a=a) for a in [3.7, *lattice, 3.7]]
    for tag, atoms in enumerate(asked):
        atoms.set_tags(tag)
        atoms.info["note"] = {"tag": tag}
    with caplog.at_level(logging.WARNING):
        found = ResultsCache().find([calculation_of(static_job, (atoms,), {}) for atoms in asked])
    assert f"quacc results rm {damaged[:10]}" in caplog.text
    assert [result is None for result in found] == [False, False, True, False, True, False]
    for atoms, result in zip(asked, found, strict=True):
        if result:
            fresh = static_job(atoms)
            del fresh["provenance"], result["provenance"]
            assert_same(result, fresh)
    found[0]["results"]["forces"] += 1
    found[0]["atoms"].info["note"]["tag"] = "changed"
    for one in (found[3], found[5]):
        assert abs(one["results"]["forces"]).max() < 1e-10
        assert one["atoms"].info["note"]["tag"] != "changed"
    assert asked[0].info["note"] == {"tag": 0}


def test_a_result_can_be_replaced():
    first = keep(static_job("Cu"))
    second = static_job("Cu")
    keep(second)
    assert_same(look_up(static_job, "Cu")[1]["provenance"], first["provenance"])
    known = ResultsCache()
    known.keep(second, replace=True)
    known.close()
    assert_same(look_up(static_job, "Cu")[1]["provenance"], second["provenance"])


# A served result is the one that a fresh computation gives


def plain_structure(momenta):
    atoms = bulk("Cu", cubic=True) * (2, 1, 1)
    atoms.rattle(0.05, seed=1)
    atoms.set_constraint(FixAtoms([0]))
    if momenta:
        atoms.set_momenta(np.random.default_rng(5).normal(size=(len(atoms), 3)))
    return atoms


def marked(momenta):
    """Return the structure with everything that a person may add to it."""
    atoms = plain_structure(momenta)
    numbers = np.arange(len(atoms))
    atoms.set_tags(numbers)
    atoms.set_array("site", np.array([f"site{i}" for i in numbers]))
    atoms.set_array("forces", numbers[:, None] * [1.0, 2.0, 3.0])
    atoms.set_array("energy", numbers * 0.5)  # of each atom, as some codes give
    atoms.set_initial_charges(np.zeros(len(atoms)))
    atoms.set_celldisp([0.1, 0.2, 0.3])
    atoms.info |= {"energy": 5.0, "note": {"from": ["a", None]}, "mine": (1, 2)}
    return atoms


def marked_otherwise(momenta):
    atoms = plain_structure(momenta)
    atoms.set_tags(7)
    atoms.set_array("another", np.ones(len(atoms)))
    atoms.set_array("forces", np.full((len(atoms), 3), 9.0))
    atoms.set_initial_magnetic_moments(np.zeros(len(atoms)))
    atoms.info |= {"energy": -1.0, "note": "theirs", "theirs": True}
    return atoms


def with_velocities(structure, momenta):
    """Return a structure with velocities that don't count."""
    atoms = structure(momenta)
    atoms.set_momenta(np.random.default_rng(6).normal(size=(len(atoms), 3)))
    return atoms


MAKERS = [plain_structure, marked, marked_otherwise]
MD = {"steps": 5, "temperature": 500.0}


@pytest.mark.parametrize(
    ("job", "kwargs", "momenta"),
    [
        (static_job, {}, None),
        (relax_job, {"fmax": 0.1}, None),
        (relax_job, {"fmax": 0.2, "trajectory": True, "optimizer": "FIRE"}, None),
        (relax_job, {"relax_cell": True, "fmax": 0.3, "trajectory": True}, None),
        (md_job, MD, False),
        (md_job, MD, True),
        (md_job, {**MD, "trajectory": True, "dynamics": "Langevin"}, True),
        (lj.freq_job, {"thermo": "harmonic", "sigma": 2.27, "epsilon": 0.4}, None),
    ],
)
@pytest.mark.parametrize("first", MAKERS)
@pytest.mark.parametrize("second", MAKERS)
def test_served_is_fresh(first, second, job, kwargs, momenta):
    if momenta is None:  # they don't count
        theirs = with_velocities(first, False) if first is marked_otherwise else first(False)
        mine = with_velocities(second, False) if second is marked else second(False)
    else:
        theirs, mine = first(momenta), second(momenta)
    keep(job(theirs, **kwargs))
    given = copy.deepcopy(mine)
    _, served = look_up(job, mine, **kwargs)
    fresh = job(mine, **kwargs)
    assert served.pop("provenance").keys() == fresh.pop("provenance").keys()
    assert_same(served, fresh)
    # The caller's own structure stays out of it.
    for atoms in (served["atoms"], served["input_atoms"], *served.get("trajectory", [])):
        atoms.set_tags(99)
        atoms.info.setdefault("note", {})
        if isinstance(atoms.info["note"], dict):
            atoms.info["note"]["from"] = "changed"
    assert_same(mine, given)


def test_served_is_fresh_for_a_molecule_and_a_result_as_the_structure():
    ethane = molecule("C2H6")
    keep(relax_job(ethane, fmax=0.1))
    ethane.info["name"] = "ethane"
    start = static_job(ethane)
    served = look_up(relax_job, start, fmax=0.1)[1]
    assert isinstance(served["atoms"], Atoms)
    assert served["atoms"].info == {"name": "ethane"}


def test_numbers_that_a_function_of_the_users_has_changed_are_not_served():
    changed = relax_job("Al")
    changed["results"]["energy"] += 1.0
    Store().add([changed])
    assert look_up(relax_job, "Al")[1] is None


def test_what_is_stored_keeps_its_checksum():
    Store().add([relax_job("Al")])
    assert look_up(relax_job, "Al")[1]["results"]["energy"] < 1
