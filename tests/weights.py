"""What the tests of potentials with weights of one's own share: Pythons, structures, checks."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, fcc111, molecule

ENVIRONMENTS = Path(__file__).parents[1] / ".envs"


def python_of(name):
    """Return the Python that has a package (make <name>)."""
    return ENVIRONMENTS / name / "bin" / "python"


def marks_of(name):
    missing = not python_of(name).exists()
    return [
        pytest.mark.slow,
        pytest.mark.skipif(missing, reason=f"{name} is not installed (make {name})"),
    ]


def copper():
    atoms = bulk("Cu", cubic=True)
    atoms.symbols[0] = "O"
    atoms.rattle(0.1, seed=1)
    return atoms


def water(charge=0, unpaired=0):
    atoms = molecule("H2O")
    atoms.set_initial_charges([charge, 0, 0])
    atoms.set_initial_magnetic_moments([unpaired, 0, 0])
    return atoms


def make(name, script, folder, cases):
    """Run a package's script, which saves models, and what its own calculator gives for cases."""
    copper().write(folder / "copper.traj")
    molecule("H2O").write(folder / "water.traj")
    named = json.dumps([[case, *given] for case, given in cases.items()])
    subprocess.run([python_of(name), "-c", script, folder, named], check=True, capture_output=True)


def plain(folder):
    """Return what :func:`make` has found."""
    return json.loads((folder / "found.json").read_text())


def require_same(result, expected, dtype):
    close = {"rtol": 1e-5, "atol": 1e-5} if dtype == "float32" else {"rtol": 1e-9, "atol": 1e-9}
    for name, value in expected.items():
        np.testing.assert_allclose(result["results"][name], value, **close)
        assert np.asarray(result["results"][name]).dtype == float
    assert np.abs(result["results"]["forces"]).max() > 1e-4


def require_derivatives(static_job, **keywords):
    """Compare forces and stress to finite differences of the energy."""
    atoms = copper()
    result = static_job(atoms, **keywords)["results"]

    def energy(changed):
        return static_job(changed, **keywords)["results"]["energy"]

    step, ends = 1e-4, []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions[1, 0] += sign * step
        ends.append(energy(moved))
    force = (ends[1] - ends[0]) / (2 * step)
    assert force == pytest.approx(result["forces"][1, 0], abs=2e-6)
    ends = []
    for sign in (1, -1):
        strained = atoms.copy()
        strained.set_cell(atoms.cell * (1 + sign * step), scale_atoms=True)
        ends.append(energy(strained))
    trace = (ends[0] - ends[1]) / (2 * step * 3 * atoms.get_volume())
    assert trace == pytest.approx(result["stress"][:3].mean(), rel=1e-4, abs=1e-6)


def require_no_images(static_job, **keywords):
    """Compare a thin layer that is not periodic upwards to one with much vacuum."""
    layer, apart = (fcc111("Cu", (1, 1, 3), vacuum=vacuum) for vacuum in (0.5, 9.0))
    apart.pbc = True
    assert layer.pbc.tolist() == [True, True, False]
    energies = [static_job(one, **keywords)["results"]["energy"] for one in (layer, apart)]
    assert energies[0] == pytest.approx(energies[1], abs=1e-8)
