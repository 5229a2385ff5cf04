"""A new code, and a new property: what CONTRIBUTING says is all that they need."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import quacc

CODE = '''"""Springs between all atoms, as a toy."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from ase.calculators.calculator import Calculator, all_changes

from quacc.calculators.code import NO_ELECTRONS, Code, Place
from quacc.calculators.keyword import Keyword, positive


class _Springs(Calculator):
    implemented_properties = ["energy", "forces"]

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        k, length = self.parameters["stiffness"], self.parameters["length"]
        between = atoms.get_all_distances(vector=True)
        distances = np.linalg.norm(between, axis=2) + np.eye(len(atoms))
        stretched = distances - length * (1 - np.eye(len(atoms))) - np.eye(len(atoms))
        forces = k * (stretched / distances)[:, :, None] * between
        self.results = {"energy": k / 4 * float((stretched**2).sum()), "forces": forces.sum(1)}


class SpringCode(Code):
    name = "spring"
    title = "springs between all atoms"
    keywords = {
        "stiffness": Keyword(5.0, "of every spring (eV/Å²)", positive),
        "length": Keyword(1.5, "of every spring (Å)", positive),
    }
    properties = ("energy", "forces")
    electrons = False
    handles = NO_ELECTRONS
    install = "it is a toy"
    citation = "@misc{Hooke1678, author = {Hooke, Robert}, title = {De Potentia}, year = {1678}}"

    def version(self) -> str:
        return "1"

    def build(self, parameters: Mapping[str, Any], place: Place) -> Calculator:
        return _Springs(**parameters)


CODE = SpringCode()
'''

CORE = '''"""Jobs with springs."""

from quacc.calculators.codes.spring import CODE
from quacc.runners.job import job
from quacc.runners.relax import relax

relax_job = job(CODE, relax)
'''

PROPERTY = '''"""How long the shortest bond of a relaxed molecule is."""

from collections.abc import Mapping
from typing import Any

from quacc.atoms.convert import StructureLike
from quacc.recipes.tools.verbs import Job, gather, submit
from quacc.recipes.tools.workflow import Calculator, finish, keywords, workflow
from quacc.schemas import FlowResult

UNITS = {"bond": "Å"}


class BondResult(FlowResult):
    bond: float
    """The shortest distance (Å)."""


@workflow
def bond_flow(
    atoms: StructureLike,
    relax_job: Job = "relax_job",
    *,
    calculator: Calculator | None = None,
    relax_kwargs: Mapping[str, Any] | None = None,
) -> BondResult:
    """Return the shortest bond of a relaxed molecule.

    Parameters
    ----------
    atoms
        The molecule.
    relax_job
        The job.
    calculator
        Name of the calculator.
    relax_kwargs
        Keywords of the job.
    """
    relax_kwargs = keywords("relax_kwargs", relax_kwargs)
    chain = [submit(relax_job, atoms, **relax_kwargs)]
    ((relaxed,),) = gather([chain], ["molecule"], "bond_flow")
    bond = float(min(d for d in relaxed["atoms"].get_all_distances().ravel() if d > 0))
    parameters = {"relax_kwargs": relax_kwargs}
    return finish(
        "bond_flow", relaxed["atoms"], [relaxed], parameters, {"bond": bond}, UNITS, []
    )


def summarise(result: BondResult) -> str:
    return f"the shortest bond is {result['bond']:.3f} Å"


def tabulate(result: BondResult) -> list[dict[str, Any]]:
    return [{"bond (Å)": result["bond"]}]


def draw(result: BondResult, figure: Any) -> None:
    figure.add_subplot().hist([result["bond"]])
'''


@pytest.fixture
def extended(tmp_path):
    """Return how to run Python with a quacc that has one code and one property more."""
    package = tmp_path / "house" / "quacc"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(quacc.__file__).parent, package, ignore=ignored)
    (package / "calculators/codes/spring.py").write_text(CODE, "utf-8")
    (package / "recipes/spring").mkdir()
    (package / "recipes/spring/__init__.py").touch()
    (package / "recipes/spring/core.py").write_text(CORE, "utf-8")
    (package / "recipes/workflows/bond.py").write_text(PROPERTY, "utf-8")
    environment = {**os.environ, "PYTHONPATH": str(package.parent), "COLUMNS": "120"}

    def run(*words):
        done = subprocess.run(
            [sys.executable, *words],
            capture_output=True,
            text=True,
            env=environment,
            cwd=tmp_path,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_a_new_code_is_one_file_and_its_folder_and_a_new_property_is_one_file(extended):
    def command(*words):
        return extended("-c", "from quacc.cli.main import main; main()", *words)

    told = command("calculators", "show", "spring")
    assert "of every spring (eV/Å²)" in told
    assert "Hooke1678" in told
    assert "bond" in command("recipes")
    assert "relax-kwargs" in command("run", "bond", "-h")
    program = """
import json
from quacc.recipes.workflows import bond
from quacc.recipes.spring.core import relax_job
from quacc.recipes import report
from quacc.errors import ParameterError

made = {"name": "spring", "length": 1.25}
result = bond.bond_flow("N2", calculator=made, relax_kwargs={"fmax": 1e-4})
try:
    relax_job("N2", lenght=1)
except ParameterError as error:
    refused = str(error)
try:
    relax_job("N2", length=-1)
except ParameterError as error:
    refused += str(error)
print(json.dumps([result["bond"], report.summary(result), refused, relax_job.__doc__]))
"""
    bond, summary, refused, doc = json.loads(extended("-c", program))
    assert bond == pytest.approx(1.25, abs=1e-3)
    assert summary == "N2: the shortest bond is 1.250 Å"
    assert "Did you mean 'length'?" in refused
    assert "length must be a finite number above zero, not -1" in refused
    assert "Of every spring (Å). A number above zero." in doc
    table = command("run", "bond", "CO", "-c", "spring", "--local")
    assert "1.500" in table
