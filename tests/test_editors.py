"""What editors and type checkers see of quacc, outside of its checkout."""

import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]

GOOD = """
from typing import Any, assert_type

from ase.build import bulk
from prefect import flow, task

from quacc.prefect.workflows import eos_flow as tracked_eos
from quacc.recipes.emt.core import relax_job, static_job
from quacc.recipes.emt.prefect.slabs import bulk_to_slabs_flow as tracked_slabs
from quacc.recipes.emt.slabs import bulk_to_slabs_flow
from quacc.recipes.workflows import eos_flow
from quacc.recipes.workflows.eos import EOSResult
from quacc.schemas import OptResult, SlabsResult, StaticResult
from quacc.util.wflows import make_runner

relaxed = relax_job(bulk("Cu"), relax_cell=True, fmax=0.02, asap_cutoff=True)
assert_type(relaxed, OptResult)
assert_type(relaxed["steps"], int)
assert_type(static_job(relaxed), StaticResult)
assert_type(relax_job.plan("Cu").compute(), OptResult)
assert_type(relax_job.plan("Cu").key, str)
assert_type(eos_flow("Cu", calculator="emt", points=5), EOSResult)
assert_type(eos_flow("Cu", static_job="lj.static_job")["bulk_modulus"], float)
assert_type(bulk_to_slabs_flow("Cu", slab_static_electron=None), SlabsResult)
assert_type(tracked_eos("Cu", calculator="emt"), EOSResult)
assert_type(tracked_slabs("Cu"), SlabsResult)


@flow(task_runner=make_runner())
def workflow(atoms: Any) -> SlabsResult:
    future = task(relax_job).submit(atoms)
    return tracked_slabs(future.result()["atoms"], task(relax_job), None)
"""

BAD = """
from quacc.prefect.workflows import eos_flow as tracked
from quacc.recipes.emt.core import relax_job
from quacc.recipes.emt.slabs import bulk_to_slabs_flow
from quacc.recipes.workflows import eos_flow

eos_flow("Cu", calculator="emt", poins=5)
eos_flow("Cu", calculator="emt", points="five")
bulk_to_slabs_flow("Cu", max_indx=2)
relax_job("Cu", fmax="small")
relax_job(bulk="Cu")
"""
STRICT = ("--strict", "--allow-any-generics", "--no-warn-return-any")
"""As pyproject.toml has it for quacc, or mypy would have to read all packages again."""
WRONG = [7, 8, 9, 10, 11]
"""The lines with a mistake. Prefect's flows are overloaded, which takes mypy's eyes."""


@pytest.fixture(scope="module", params=["editable", "plain"])
def python(request, tmp_path_factory):
    """Return an interpreter that has quacc, and all that it needs."""
    if request.param == "editable":
        return sys.executable
    folder = tmp_path_factory.mktemp("plain")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    venv.create(folder / "venv", with_pip=False)
    (packages,) = (folder / "venv").glob("lib/python*/site-packages")
    (wheel,) = folder.glob("quacc-*.whl")
    with ZipFile(wheel) as files:
        files.extractall(packages)
        assert not [one for one in files.namelist() if not one.startswith("quacc")]
    # The rest is where this Python has it; a path file is not followed twice.
    (packages / "needed.pth").write_text(sysconfig.get_path("purelib"))
    return str(folder / "venv" / "bin" / "python")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Return a folder for what mypy knows of the packages, with what `make lint` has found."""
    folder = tmp_path_factory.mktemp("mypy")
    if (known := ROOT / ".mypy_cache").exists():
        shutil.copytree(known, folder, dirs_exist_ok=True)
    return folder


def run(checker, python, folder, cache):
    """Return the lines that a checker has something against, by file."""
    (folder / "good.py").write_text(GOOD)
    (folder / "bad.py").write_text(BAD)
    command = {
        "mypy": ["mypy", *STRICT, f"--cache-dir={cache}", f"--python-executable={python}"],
        "pyright": ["pyright", f"--pythonpath={python}"],
    }[checker]
    told = subprocess.run(
        [Path(sys.executable).parent / command[0], *command[1:], "good.py", "bad.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.findall(r"(good|bad)\.py:(\d+):.* error: ", told.stdout)
    return told.stdout + told.stderr, {(name, int(line)) for name, line in found}


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_types_and_misspelt_keywords(checker, python, tmp_path, cache):
    told, found = run(checker, python, tmp_path, cache)
    assert found == {("bad", line) for line in WRONG}, told
