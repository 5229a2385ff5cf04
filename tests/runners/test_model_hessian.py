"""The model of bonds from which relaxations start."""

from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, graphene, molecule
from ase.calculators.emt import EMT
from ase.collections import g2
from ase.constraints import FixAtoms, FixBondLength
from ase.filters import FrechetCellFilter
from ase.neighborlist import neighbor_list

from quacc.recipes.emt.core import relax_job
from quacc.runners.model_hessian import _near, model_hessian
from quacc.runners.optimizers import ScaledBFGS

MOLECULES = ["H2O", "CH3CH2OH", "C6H6", "CO2", "C2H2", "H2O2", "C3H4_C2v", "AlCl3", "2-butyne"]


def moved(atoms: Atoms) -> np.ndarray:
    """Return rotations and translations, one in each column."""
    turns = [np.cross(axis, atoms.positions).ravel() for axis in np.eye(3)]
    shifts = [np.tile(axis, len(atoms)) for axis in np.eye(3)]
    return np.array([*turns, *shifts]).T


@pytest.mark.parametrize("name", MOLECULES)
def test_symmetric_and_blind_to_rigid_motion(name: str) -> None:
    atoms = molecule(name)
    atoms.rattle(0.05, seed=1)
    hessian = model_hessian(atoms)
    np.testing.assert_allclose(hessian, hessian.T, atol=1e-12)
    np.testing.assert_allclose(hessian @ moved(atoms), 0, atol=1e-7)
    values = np.linalg.eigvalsh(hessian)
    assert values[0] > -1e-9
    assert (values > 1e-6).sum() == 3 * len(atoms) - 6  # nothing else is free


def test_every_molecule_of_g2_has_one() -> None:
    for name in g2.names:
        values = np.linalg.eigvalsh(model_hessian(molecule(name)))
        assert values[0] > -1e-6
        assert values[-1] < 400


@pytest.mark.parametrize("name", ["CH3CH2OH", "2-butyne"])
def test_turned_and_renumbered(name: str) -> None:
    atoms = molecule(name)
    atoms.rattle(0.05, seed=2)
    hessian = model_hessian(atoms)
    order = np.random.default_rng(3).permutation(len(atoms))
    columns = (3 * order[:, None] + np.arange(3)).ravel()
    np.testing.assert_allclose(
        model_hessian(atoms[order]), hessian[np.ix_(columns, columns)], atol=1e-9
    )
    turned = atoms.copy()
    turned.rotate(40, (1, 2, 3))
    np.testing.assert_allclose(
        np.linalg.eigvalsh(model_hessian(turned)), np.linalg.eigvalsh(hessian), atol=1e-8
    )


def test_across_the_boundary_of_the_cell() -> None:
    inside = molecule("CH3CH2OH")
    inside.set_cell([12, 12, 12])
    inside.center()
    across = inside.copy()
    across.pbc = True
    across.positions += 6
    across.wrap()
    np.testing.assert_allclose(model_hessian(across), model_hessian(inside), atol=1e-9)


@pytest.mark.parametrize("name", ["Cu", "C", "W"])
def test_a_crystal_may_shift(name: str) -> None:
    hessian = model_hessian(bulk(name, cubic=True) * 2)
    np.testing.assert_allclose(hessian.reshape(len(hessian), -1, 3).sum(axis=1), 0, atol=1e-9)
    values = np.linalg.eigvalsh(hessian)
    np.testing.assert_allclose(values[:3], 0, atol=1e-9)
    assert values[3] > 0.1


def test_argon_and_atoms_on_top_of_each_other_have_none() -> None:
    assert not model_hessian(bulk("Ar", cubic=True) * 2).max() > 0.01
    assert not model_hessian(Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 0.5]])).any()
    assert not model_hessian(Atoms("C")).any()


def true_hessian(atoms: Atoms) -> np.ndarray:
    forces = []
    for column in range(3 * len(atoms)):
        both = []
        for shift in (0.005, -0.005):
            moved = atoms.copy()
            moved.positions[column // 3, column % 3] += shift
            moved.calc = atoms.calc
            both.append(moved.get_forces().ravel())
        forces.append((both[1] - both[0]) / 0.01)
    return np.array(forces)


@pytest.mark.parametrize("name", ["H2O", "CH3CH2OH", "C6H6", "CH3CN"])
def test_much_like_that_of_gfn2(name: str) -> None:
    """Curvatures along the modes of the true one are right within a factor of three."""
    TBLite = pytest.importorskip("tblite.ase").TBLite
    atoms = molecule(name)
    atoms.calc = TBLite(method="GFN2-xTB", verbosity=0, accuracy=0.01)
    true, modes = np.linalg.eigh(true_hessian(atoms))
    modelled = np.einsum("ij,ik,kj->j", modes, model_hessian(atoms), modes)
    stiff = true > 5
    assert stiff.sum() >= len(atoms)
    ratio = modelled[stiff] / true[stiff]
    assert 1 / 3 < ratio.min() < ratio.max() < 3
    assert np.corrcoef(np.log(modelled[stiff]), np.log(true[stiff]))[0, 1] > 0.9


@pytest.mark.parametrize("name", ["CH3CH2OH", "C6H6", "CH3SCH3"])
def test_molecules_take_half_of_the_force_calls(name: str) -> None:
    pytest.importorskip("tblite")
    from quacc.recipes.tblite.core import relax_job

    atoms = molecule(name)
    atoms.rattle(0.05, seed=5)
    plain = relax_job(atoms, optimizer="BFGS", accuracy=0.1)
    result = relax_job(atoms, accuracy=0.1)
    assert result["force_calls"] <= 0.6 * plain["force_calls"]
    assert result["results"]["energy"] == pytest.approx(plain["results"]["energy"], abs=1e-3)


def slab() -> Atoms:
    atoms = fcc111("Cu", (2, 2, 4), vacuum=8, periodic=True)
    atoms.rattle(0.1, seed=1)
    atoms.set_constraint(FixAtoms(mask=atoms.get_tags() > 2))
    return atoms


def test_slabs_take_a_third_of_the_force_calls() -> None:
    plain, result = relax_job(slab(), optimizer="BFGS"), relax_job(slab())
    assert result["force_calls"] <= plain["force_calls"] / 3
    assert result["results"]["energy"] == pytest.approx(plain["results"]["energy"], abs=1e-3)


def test_held_atoms_soften_nothing() -> None:
    """Without them in the model, as without them in the structure: they are walls."""
    atoms = slab()
    atoms.calc = EMT()
    dynamics = ScaledBFGS(atoms, logfile=None)
    dynamics.run(fmax=0.01, steps=1)
    held = np.repeat(atoms.get_tags() > 2, 3)
    assert not dynamics.H[np.ix_(held, ~held)].any()
    assert np.linalg.eigvalsh(dynamics.H)[0] > 0.2


@pytest.mark.parametrize("kind", ["cell", "constraint", "argon"])
def test_where_there_is_no_model_all_curvatures_are_alike(kind: str) -> None:
    atoms: Any = bulk("Ar" if kind == "argon" else "Cu", cubic=True)
    if kind == "constraint":
        atoms.set_constraint(FixBondLength(0, 1))
    target = FrechetCellFilter(atoms) if kind == "cell" else atoms
    assert not ScaledBFGS(target, logfile=None).modelled


@pytest.mark.parametrize("moved", [False, True])
def test_the_pairs_are_those_of_ase(moved: bool) -> None:
    structures = [
        bulk("Cu"),
        bulk("Mg"),
        bulk("C", cubic=True),
        molecule("C6H6"),
        fcc111("Pt", (2, 2, 3), vacuum=6),
        graphene(vacuum=5),
    ]
    for atoms in structures:
        atoms.rattle(0.1, seed=2)
        if moved:  # out of the cell
            atoms.positions += 3.3 * atoms.cell.array.sum(axis=0)
            atoms.positions[0] += atoms.pbc @ atoms.cell.array * 4
        for reach in (2.0, 3.7, 6.0):
            mine, reference = _near(atoms, reach), neighbor_list("ijD", atoms, reach)
            rows = [
                sorted(map(tuple, (np.c_[start, end, vectors] + 1e-9).round(6)))
                for start, end, vectors in (mine, reference)
            ]
            assert len(rows[0]) == len(rows[1])
            if rows[0]:
                np.testing.assert_allclose(rows[0], rows[1], atol=2e-6)
