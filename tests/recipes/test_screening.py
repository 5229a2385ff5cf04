"""The cookbook's screening: which structures, and their energies, by other ways."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.eos import EquationOfState
from ase.spacegroup import crystal
from matplotlib.figure import Figure
from prefect.settings import get_current_settings
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Composition
from pymatgen.io.ase import AseAtomsAdaptor
from scipy.spatial import ConvexHull

from quacc.store import Store

RECIPE = Path(__file__).parents[2] / "recipes" / "screening.py"


@pytest.fixture(scope="module")
def screening():
    spec = importlib.util.spec_from_file_location("screening", RECIPE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("size", "number"), [(1, 2), (2, 2), (3, 6), (4, 19)])
def test_all_arrangements_and_none_twice(screening, size, number):
    """The numbers of Hart and Forcade's figure 2, both ways round; pymatgen finds all distinct."""
    structures = [
        AseAtomsAdaptor.get_structure(
            screening.on_fcc([("Cu", "Au")[kind] for kind in kinds], cell, sites)
        )
        for cell, sites, kinds in screening.orderings(size)
    ]
    assert len(structures) == number
    assert {len(structure) for structure in structures} == {size}
    assert {len(structure.get_primitive_structure()) for structure in structures} == {size}
    matcher = StructureMatcher(scale=False, primitive_cell=False, attempt_supercell=False)
    assert len(matcher.group_structures(structures)) == number


def least_energy(metal):
    """Return the least energy (eV/atom) of a fcc metal, by plain ASE, from a curve of volumes."""
    a = bulk(metal).cell.lengths()[0] * np.sqrt(2)
    volumes, energies = [], []
    for scale in np.linspace(0.97, 1.03, 13):
        atoms = bulk(metal, "fcc", a=scale * a)
        atoms.calc = EMT()
        volumes.append(atoms.get_volume())
        energies.append(atoms.get_potential_energy())
    return EquationOfState(volumes, energies).fit()[1]


def least_energy_of_cu3au():
    """Return the least energy (eV/atom) of Cu3Au, whose sites leave only the volume to relax."""
    energies, volumes = [], []
    for a in np.linspace(3.65, 3.85, 15):
        atoms = crystal(
            ["Au", "Cu"], [(0, 0, 0), (0.5, 0.5, 0)], spacegroup=221, cellpar=[a, a, a, 90, 90, 90]
        )
        atoms.calc = EMT()
        volumes.append(atoms.get_volume() / 4)
        energies.append(atoms.get_potential_energy() / 4)
    return EquationOfState(volumes, energies).fit()[1]


def test_formation_energies_and_hulls(prefect_server, screening, monkeypatch):
    shown = {}
    monkeypatch.setattr(screening, "show_picture", lambda picture, **_: shown.update(p=picture))
    rows = screening.screening(["Cu", "Au"], 4)
    assert len(rows) == 27
    energies = [row[screening.ENERGY] for row in rows]
    assert energies == sorted(energies)

    [l12] = [row for row in rows if (row["alloy"], row["space group"]) == ("Cu3Au", "Pm-3m")]
    elements = {metal: least_energy(metal) for metal in ("Cu", "Au")}
    formation = least_energy_of_cu3au() - 0.75 * elements["Cu"] - 0.25 * elements["Au"]
    assert l12[screening.ENERGY] == pytest.approx(1000 * formation, abs=0.1)

    # The hull, by another program; its lower side is where facets look down.
    shares = [share(row["alloy"]) for row in rows]
    points = np.array([[0, 0], [1, 0], *zip(shares, energies, strict=True)])
    hull = ConvexHull(points)
    below = hull.equations[hull.equations[:, 1] < 0]
    for row, (x, energy) in zip(rows, points[2:], strict=True):
        bottom = max(-(normal[0] * x + normal[2]) / normal[1] for normal in below)
        assert row["above hull (meV/atom)"] == pytest.approx(energy - bottom, abs=1e-6)

    assert isinstance(shown["p"], Figure)
    [axis] = shown["p"].axes
    assert len(axis.lines[0].get_xdata()) == 29
    # All is in the database.
    found = Store().find([row["key"] for row in rows])
    assert len(found) == 27


def share(formula):
    return Composition(formula).get_atomic_fraction("Au")


def test_as_a_program(prefect_server):
    done = subprocess.run(
        [sys.executable, str(RECIPE), "Cu", "Au", "--size", "2"],
        env=os.environ | get_current_settings().to_environment_variables(exclude_unset=True),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].split()[:2] == ["CuAu", "P4/mmm"]
    assert "4 of 4 done" in done.stderr
    assert len(list(Store().select())) == 4
