"""EMT copper: the numbers of plain ASE."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc100, fcc110, fcc111
from ase.calculators.emt import EMT
from ase.eos import EquationOfState
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS

from quacc.recipes.emt.core import relax_job, static_job
from quacc.recipes.emt.slabs import bulk_to_slabs_flow

J_PER_M2 = 16.02176634  # eV/Å² in J/m²
BUILDERS = {(1, 0, 0): fcc100, (1, 1, 0): fcc110, (1, 1, 1): fcc111}


@pytest.fixture(scope="module")
def plain_bulk():
    atoms = bulk("Cu")
    atoms.calc = EMT()
    BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=1e-6)
    return atoms


@pytest.fixture(scope="module")
def relaxed():
    return relax_job("Cu", relax_cell=True, fmax=1e-6)


@pytest.fixture(scope="module")
def surfaces(relaxed):
    result = bulk_to_slabs_flow(relaxed, relax_kwargs={"fmax": 1e-5})
    return {tuple(row["miller"]): row for row in result["surfaces"]}


def test_lattice_constant(relaxed, plain_bulk):
    a = relaxed["atoms"].cell.cellpar()[0] * np.sqrt(2)
    assert a == pytest.approx(plain_bulk.cell.cellpar()[0] * np.sqrt(2), abs=1e-6)
    # 3.59 Å: Jacobsen, Stoltze, Nørskov, Surf. Sci. 366, 394 (1996) fit to 3.61 Å; ASE's cutoff
    # makes the difference.
    assert a == pytest.approx(3.59, abs=0.01)


def test_cohesive_energy(relaxed, plain_bulk):
    atom = static_job(Atoms("Cu"))["results"]["energy"]
    plain = Atoms("Cu", calculator=EMT()).get_potential_energy()
    cohesive = atom - relaxed["results"]["energy"]
    assert cohesive == pytest.approx(plain - plain_bulk.get_potential_energy(), abs=1e-6)
    assert cohesive == pytest.approx(3.51, abs=0.02)  # the parameter E0 of the same paper


def test_bulk_modulus(relaxed, plain_bulk):
    def modulus(energy_of, atoms):
        volumes, energies = [], []
        for scale in np.linspace(0.98, 1.02, 7):
            strained = atoms.copy()
            strained.set_cell(atoms.cell * scale ** (1 / 3), scale_atoms=True)
            volumes.append(strained.get_volume())
            energies.append(energy_of(strained))
        return EquationOfState(volumes, energies, eos="birchmurnaghan").fit()[2]

    def plain_energy(atoms):
        atoms.calc = EMT()
        return atoms.get_potential_energy()

    ours = modulus(lambda atoms: static_job(atoms)["results"]["energy"], relaxed["atoms"])
    assert ours == pytest.approx(modulus(plain_energy, plain_bulk), abs=1e-6)


@pytest.mark.parametrize("miller", BUILDERS)
def test_surface_energies(surfaces, plain_bulk, miller):
    row = surfaces[miller]
    a = plain_bulk.cell.cellpar()[0] * np.sqrt(2)
    slab = BUILDERS[miller]("Cu", (1, 1, row["natoms"]), a=a, vacuum=10, periodic=True)
    slab.calc = EMT()
    BFGS(slab, logfile=None).run(fmax=1e-5)
    area = np.linalg.norm(np.cross(slab.cell[0], slab.cell[1]))
    excess = slab.get_potential_energy() - len(slab) * plain_bulk.get_potential_energy()
    assert row["surface_energy"] == pytest.approx(excess / (2 * area) * J_PER_M2, abs=1e-6)
    assert row["area"] == pytest.approx(area, abs=1e-6)


def test_order_of_surface_energies(surfaces):
    energies = [surfaces[miller]["surface_energy"] for miller in [(1, 1, 1), (1, 0, 0), (1, 1, 0)]]
    assert energies == sorted(energies)
    assert list(surfaces) == [(1, 1, 1), (1, 0, 0), (1, 1, 0)]


def test_static_is_plain_ase():
    atoms = bulk("Cu", cubic=True) * (2, 2, 2)
    atoms.rattle(0.05, seed=0)
    result = static_job(atoms)
    plain = atoms.copy()
    plain.calc = EMT()
    assert result["results"]["energy"] == plain.get_potential_energy()
    np.testing.assert_array_equal(result["results"]["forces"], plain.get_forces())
    np.testing.assert_array_equal(result["results"]["stress"], plain.get_stress())


def test_asap_cutoff_is_passed_on():
    atoms = bulk("Cu")
    atoms.calc = EMT(asap_cutoff=True)
    result = static_job("Cu", asap_cutoff=True)
    assert result["results"]["energy"] == atoms.get_potential_energy()
    assert result["results"]["energy"] != static_job("Cu")["results"]["energy"]
