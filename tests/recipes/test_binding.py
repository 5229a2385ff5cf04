"""Every workflow for every calculator, without a file for each pair."""

import importlib
import inspect
import linecache
import pickle
import subprocess
import sys
from types import ModuleType

import pytest

from quacc.calculators import code_names, get_code
from quacc.errors import StructureError
from quacc.recipes import binding
from quacc.recipes.emt import core
from quacc.recipes.report import workflows
from quacc.recipes.workflows import eos

PAIRS = [(code, flow) for code in code_names() for flow in workflows()]


@pytest.mark.parametrize(("code", "flow"), PAIRS)
def test_all_workflows_are_bound(code, flow):
    name = workflows()[flow].__name__.rpartition(".")[2]
    module = importlib.import_module(f"quacc.recipes.{code}.{name}")
    bound = getattr(module, flow)
    assert bound.__module__ == module.__name__
    for parameter in inspect.signature(bound).parameters.values():
        assert not isinstance(parameter.default, binding_marker())
        if callable(parameter.default) and parameter.default is not parameter.empty:
            assert parameter.default.__module__ == f"quacc.recipes.{code}.core"
    tracked = importlib.import_module(f"quacc.recipes.{code}.prefect.{name}")
    assert getattr(tracked, flow).name == f"{code}.{flow}"


def binding_marker():
    from quacc.recipes.tools.workflow import OfCode

    return OfCode


def test_signature_and_documentation_are_the_workflows_own():
    from quacc.recipes.emt.eos import eos_flow

    assert inspect.getdoc(eos_flow) == inspect.getdoc(eos.eos_flow)
    bound = inspect.signature(eos_flow).parameters
    assert list(bound) == list(inspect.signature(eos.eos_flow).parameters)
    assert bound["relax_job"].default is core.relax_job
    assert pickle.loads(pickle.dumps(eos_flow)) is eos_flow


def test_a_calculator_without_the_job_says_so():
    from quacc.recipes.workflows.md import md_flow

    core = ModuleType("some.core")
    with pytest.raises(ImportError, match=r"some\.core has no md_job, which md_flow needs"):
        binding.bind(md_flow, core, "some.md")


@pytest.mark.parametrize(
    "name",
    [
        "quacc.recipes.emt.nothing",
        "quacc.recipes.nothing.eos",
        "quacc.recipes.emt.verbs",
        "quacc.recipes.emt.workflow",
        "quacc.recipes.emt.converge",
        "quacc.recipes.emt.prefect.prefect",
        "quacc.recipes.emt.eos.eos",
        "quacc.recipes.workflows.prefect",
        "quacc.recipes.nothing",
    ],
)
def test_nothing_else_can_be_imported(name):
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(name)


def test_files_come_first():
    finder = binding.Finder()
    assert finder.find_spec("quacc.recipes.emt.core", None) is None
    assert finder.find_spec("json.eos", None) is None


def test_serial_workflows_load_no_prefect():
    code = (
        "import sys; import quacc.recipes.emt.eos, quacc.recipes.emt.phonons\n"
        "heavy = {'prefect', 'dask', 'pymatgen', 'matplotlib', 'phonopy', 'pandas'}\n"
        "assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_calculator_has_recipes():
    for code in code_names():
        assert importlib.import_module(f"quacc.recipes.{code}.core").relax_job


@pytest.mark.parametrize("name", code_names())
def test_every_calculator_has_all_jobs(name):
    core = importlib.import_module(f"quacc.recipes.{name}.core")
    for job in (core.static_job, core.relax_job, core.md_job, core.freq_job, core.neb_job):
        assert pickle.loads(pickle.dumps(job)) is job
        assert "code" not in inspect.signature(job).parameters
        for keyword, default in get_code(name).defaults.items():
            assert f"{keyword}={default!r}" in " ".join(job.__doc__.split())


@pytest.mark.parametrize("workflow", ["eos", "elastic", "qha", "vacancy", "defects"])
def test_a_molecule_is_no_crystal(workflow):
    module = importlib.import_module(f"quacc.recipes.emt.{workflow}")
    with pytest.raises(StructureError, match="takes a crystal, .* but N2 has pbc"):
        getattr(module, f"{workflow}_flow")("N2")


def test_prefect_s_caches_tell_the_jobs_apart():
    """By the source of a function: one for all would serve one calculator's result as another's."""
    sources = []
    for name in code_names():
        core = importlib.import_module(f"quacc.recipes.{name}.core")
        for job in (core.static_job, core.relax_job, core.md_job, core.freq_job, core.neb_job):
            linecache.checkcache()
            sources.append(inspect.getsource(job))
    assert len({*sources}) == 5 * len(code_names())


def test_jobs_that_run_in_memory_copy_no_files():
    assert "copy_files" not in inspect.signature(core.relax_job).parameters
    assert "copy_files" not in core.relax_job.__doc__
    mopac = importlib.import_module("quacc.recipes.mopac.core")
    assert "copy_files" in inspect.signature(mopac.relax_job).parameters
    assert "copy_files" in mopac.relax_job.__doc__
