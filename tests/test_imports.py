"""What an import loads, and what it survives."""

import subprocess
import sys

import pytest

HEAVY = ("prefect", "dask", "distributed", "pymatgen", "matplotlib", "pandas", "pydantic", "rich")


def loaded_by(statement):
    code = f"{statement}; import sys; print(*{{name.split('.')[0] for name in sys.modules}})"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(told.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "from quacc.recipes.emt.core import relax_job; relax_job('Cu')",
        "from quacc.recipes.lj.core import md_job; md_job('Cu', epsilon=0.4, sigma=2.3, steps=1)",
        "import quacc.recipes.emt.slabs",
        "import quacc.recipes.workflows",
        "import quacc.recipes.mopac.core",
        "import quacc.store, quacc.atoms.slabs, quacc.errors, quacc.schemas",
    ],
)
def test_recipes_load_nothing_heavy(statement):
    assert not loaded_by(statement).intersection(HEAVY)


def test_the_documented_path_of_make_runner():
    from quacc.prefect import make_runner
    from quacc.util import wflows

    assert wflows.make_runner is make_runner
