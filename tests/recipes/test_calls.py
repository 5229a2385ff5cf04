"""How workflows are called: with a calculator, with jobs, or with names of jobs."""

import importlib
import inspect
import linecache
import pickle
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, molecule
from prefect import flow

import quacc.prefect.workflows as tracked
from quacc.cache.questions import question
from quacc.calculators import code_names, get_code
from quacc.errors import InputError, ParameterError, StructureError
from quacc.prefect import as_flow, fan_out
from quacc.recipes import workflows
from quacc.recipes.emt import core, slabs
from quacc.recipes.lj.core import static_job as lj_static_job
from quacc.recipes.report import workflows as modules
from quacc.recipes.tools.verbs import submit
from quacc.recipes.tools.workflow import check_workflow, resolved
from quacc.recipes.workflows import bulk_to_slabs_flow, double_relax_flow, eos_flow
from quacc.settings import change_settings
from quacc.store import Store
from tests import emt

ARGON = {"name": "lj", "epsilon": 0.0104, "sigma": 3.4}
FLOWS = [name for name in workflows.__all__ if name.endswith("_flow")]


@pytest.mark.parametrize("name", FLOWS)
def test_command_file_and_function_have_one_name(name):
    flow = getattr(workflows, name)
    assert flow.__module__ == f"quacc.recipes.workflows.{name.removesuffix('_flow')}"
    assert modules()[name] is sys.modules[flow.__module__]
    assert pickle.loads(pickle.dumps(flow)) is flow
    assert inspect.signature(flow).parameters["calculator"].default is None
    assert getattr(tracked, name).name == name


def test_no_workflow_is_missing():
    files = {path.stem for path in Path(workflows.__file__).parent.glob("*.py")}
    assert {f"{file}_flow" for file in files - {"__init__", "converge"}} == set(FLOWS)
    assert set(FLOWS) == modules().keys()
    assert {name for name in vars(tracked) if name.endswith("_flow")} == {*FLOWS, "as_flow"}


def test_a_calculator_by_name_or_its_jobs_is_the_same():
    result = eos_flow("Cu", calculator="emt")
    assert result["key"] == eos_flow("Cu", core.relax_job, core.static_job)["key"]
    assert result["key"] == eos_flow("Cu", "emt.relax_job", "emt.static_job")["key"]
    assert result["name"] == "emt.eos_flow"
    with change_settings(calculator="emt"):
        assert eos_flow("Cu")["key"] == result["key"]


def test_parameters_of_a_calculator_go_to_all_its_jobs():
    result = eos_flow("Ar", calculator=ARGON)
    kwargs = {name: value for name, value in ARGON.items() if name != "name"}
    jobs = eos_flow("Ar", calculator="lj", relax_kwargs=kwargs, static_kwargs=kwargs)
    assert result["jobs"] == jobs["jobs"]
    assert result["parameters"]["calculator"] == ARGON
    other = eos_flow("Ar", None, calculator=ARGON | {"epsilon": 0.02})
    assert not {*other["jobs"]} & {*result["jobs"]}
    named = eos_flow("Ar", "lj.relax_job", "lj.static_job", calculator=ARGON | {"epsilon": 0.02})
    assert named["energy"] == pytest.approx(result["energy"] * 0.02 / 0.0104, rel=1e-3)
    with pytest.raises(ParameterError, match="do not reach static_job"):
        eos_flow("Ar", static_job=lj_static_job, calculator=ARGON)
    other = partial(lj_static_job, epsilon=0.02, sigma=3.4)
    with pytest.raises(ParameterError, match="do not reach static_job"):
        eos_flow("Ar", static_job=other, calculator=ARGON)
    with pytest.raises(ParameterError, match="reach none of the jobs"):
        eos_flow("Cu", core.relax_job, core.static_job, calculator=ARGON)
    with change_settings(calculator="nothing"), pytest.raises(InputError, match="The setting"):
        eos_flow("Cu")


def test_parameters_of_a_calculator_in_a_flow_of_prefect(prefect_server):
    result = tracked.eos_flow("Ar", calculator=ARGON | {"epsilon": 0.02})
    serial = eos_flow("Ar", calculator=ARGON | {"epsilon": 0.02})
    assert result["jobs"] == serial["jobs"]
    assert result["parameters"] == serial["parameters"]
    assert Store().get(result["key"])["parameters"]["calculator"]["epsilon"] == 0.02


def test_many_workflows_with_parameters_are_packed_together(prefect_server):
    @flow
    def campaign():
        return fan_out(eos_flow, crystals, relax_job=None, calculator=calculator).results()

    crystals = [bulk("Ar", a=5.2 + 0.01 * number) for number in range(20)]
    calculator = ARGON
    results = campaign()
    assert results[3]["key"] == eos_flow(crystals[3], None, calculator=ARGON)["key"]
    job = resolved(eos_flow, ("Ar",), {"calculator": ARGON}).arguments["static_job"]
    assert job is resolved(eos_flow, ("Cu",), {"calculator": dict(ARGON)}).arguments["static_job"]
    with pytest.raises(ParameterError, match="Did you mean 'epsilon'"):
        calculator = {"name": "lj", "epsilo": 1}
        campaign()


def test_a_flow_of_prefect_checks_before_it_computes(prefect_server, monkeypatch):
    monkeypatch.setattr("ase.calculators.emt.EMT.calculate", None)
    with pytest.raises(InputError, match="asap_cutoff"):
        tracked.eos_flow("Cu", calculator="emt", static_kwargs={"asap_cutof": 1})


def test_workflows_of_ones_own_keep_their_parameters(prefect_server):
    def own(atoms, relax=core.relax_job, calculator="my own", kind_of_job="fast", how=sorted):
        return calculator, kind_of_job, how, submit(relax, atoms).result()["name"]

    found = as_flow(own)("Cu", relax="emt.relax_job", how="slow")
    assert found == ("my own", "fast", "slow", "emt.relax_job")
    given = np.zeros(3)

    def numbers(atoms, relax=core.relax_job, weights=given):
        return submit(relax, atoms).result()["name"]

    assert as_flow(numbers)("Cu") == "emt.relax_job"
    assert as_flow(partial(eos_flow, points=5))("Cu", calculator="emt")["parameters"]["points"] == 5


def test_one_job_of_another_calculator():
    job = "lj.static_job"
    kwargs = {"static_kwargs": {"epsilon": 0.4, "sigma": 2.3}}
    mixed = eos_flow("Cu", static_job=job, calculator="emt", **kwargs)
    assert [one["name"] for one in mixed["calculators"]] == ["emt", "lj"]
    given = eos_flow("Cu", core.relax_job, lj_static_job, **kwargs)
    assert mixed["key"] == given["key"]
    assert double_relax_flow("Cu", "emt.relax_job", calculator="emt", relax_kwargs={"fmax": 0.1})


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "eos_flow needs a calculator: pass calculator='emt'"),
        ({"calculator": "emtt"}, "no calculator 'emtt'. Did you mean 'emt'?"),
        ({"calculator": {"epsilon": 1.0}}, "A calculator is a name"),
        ({"calculator": 3}, "A calculator is a name"),
        ({"calculator": "emt", "static_job": "statc_job"}, "Did you mean 'static_job'"),
        ({"calculator": "emt", "static_job": "code_names"}, "is no job"),
        ({"calculator": "emt", "static_job": "bands_job"}, "that have it: abinit, espresso"),
        ({"calculator": "emt", "static_job": "ljj.static_job"}, "Did you mean 'lj'"),
        ({"calculator": "emt", "static_job": 3}, "3 is no job"),
        ({"calculator": {"name": "emt", "cutoff": 3}}, "Unknown keyword 'cutoff'"),
        ({"calculator": {"name": "emt", "fmax": 3}}, "Unknown keyword 'fmax'"),
        ({"calculator": {"name": "emt", "atoms": 3}}, "Unknown keyword 'atoms'"),
        ({"calculator": {"name": "emt", 1: 3}}, "A calculator is a name"),
    ],
)
def test_what_is_no_calculator_and_no_job_is_refused(given, told, monkeypatch):
    monkeypatch.setattr("ase.calculators.emt.EMT.calculate", None)
    with pytest.raises((InputError, ParameterError), match=told.replace("?", r"\?")):
        eos_flow("Cu", **given)


def test_the_check_of_a_workflow_computes_nothing(monkeypatch):
    monkeypatch.setattr("ase.calculators.emt.EMT.calculate", None)
    check_workflow(eos_flow, "Cu", calculator="emt")
    check_workflow(partial(eos_flow, "Cu"), relax_job=None, calculator="emt")
    with pytest.raises(ParameterError, match="points"):
        check_workflow(eos_flow, "Cu", points=3, calculator="emt")
    with pytest.raises(InputError, match="asap_cutoff"):
        check_workflow(eos_flow, "Cu", static_kwargs={"asap_cutof": 1}, calculator="emt")


def test_the_key_of_a_question_knows_the_calculator():
    argon = question(eos_flow, ("Ar",), {"calculator": ARGON})
    assert argon != question(eos_flow, ("Ar",), {"calculator": ARGON | {"epsilon": 0.02}})
    copper = question(eos_flow, ("Cu",), {"calculator": "emt"})
    assert copper == question(emt.eos_flow, ("Cu",), {})
    assert copper != question(eos_flow, ("Cu",), {"calculator": "emt", "points": 9})
    assert question(eos_flow, ("Cu",), {}) is None  # which the workflow refuses


def test_files_whose_contents_may_change_are_no_questions(tmp_path):
    bulk("Cu").write(tmp_path / "cu.xyz")
    molecule("CO").write(tmp_path / "co.xyz")
    emt_ = {"calculator": "emt"}
    assert question(workflows.adsorption_flow, ("Cu", "CO"), emt_) is not None
    file = str(tmp_path / "co.xyz")
    assert question(workflows.adsorption_flow, ("Cu", file), emt_) is None
    assert question(workflows.batch_flow, (str(tmp_path / "cu.xyz"),), emt_) is None
    assert question(eos_flow, (str(tmp_path / "cu.xyz"),), emt_) is not None  # it is read


def test_the_documented_doors_have_emt():
    assert inspect.signature(slabs.bulk_to_slabs_flow).parameters["calculator"].default == "emt"
    assert inspect.getdoc(slabs.bulk_to_slabs_flow) == inspect.getdoc(bulk_to_slabs_flow)
    assert pickle.loads(pickle.dumps(slabs.bulk_to_slabs_flow)) is slabs.bulk_to_slabs_flow


def test_serial_workflows_load_no_prefect():
    code = (
        "import sys; import quacc.recipes.workflows\n"
        "heavy = {'prefect', 'dask', 'pymatgen', 'matplotlib', 'phonopy', 'pandas', 'pydantic'}\n"
        "assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_calculator_has_recipes():
    for code in code_names():
        assert importlib.import_module(f"quacc.recipes.{code}.core").relax_job


@pytest.mark.parametrize("name", code_names())
def test_every_calculator_has_all_jobs(name):
    core = importlib.import_module(f"quacc.recipes.{name}.core")
    for job in (
        core.static_job,
        core.relax_job,
        core.md_job,
        core.freq_job,
        core.neb_job,
        core.ts_job,
    ):
        assert pickle.loads(pickle.dumps(job)) is job
        assert "code" not in inspect.signature(job).parameters
        taken = inspect.signature(job).parameters
        for word, keyword in {**get_code(name).keywords, **get_code(name).options}.items():
            assert taken[word].default == keyword.default
            assert f"{word} {keyword}" in " ".join(job.__doc__.split())


@pytest.mark.parametrize("workflow", ["eos", "elastic", "qha", "vacancy", "defects"])
def test_a_molecule_is_no_crystal(workflow):
    with pytest.raises(StructureError, match="takes a crystal, .* but N2 has pbc"):
        getattr(emt, f"{workflow}_flow")("N2")


def test_prefect_s_caches_tell_the_jobs_apart():
    """By the source of a function: one for all would serve one calculator's result as another's."""
    sources = []
    for name in code_names():
        core = importlib.import_module(f"quacc.recipes.{name}.core")
        for job in (
            core.static_job,
            core.relax_job,
            core.md_job,
            core.freq_job,
            core.neb_job,
            core.ts_job,
        ):
            linecache.checkcache()
            sources.append(inspect.getsource(job))
    assert len({*sources}) == 6 * len(code_names())


def test_jobs_that_run_in_memory_copy_no_files():
    assert "copy_files" not in inspect.signature(core.relax_job).parameters
    assert "copy_files" not in core.relax_job.__doc__
    mopac = importlib.import_module("quacc.recipes.mopac.core")
    assert "copy_files" in inspect.signature(mopac.relax_job).parameters
    assert "copy_files" in mopac.relax_job.__doc__
