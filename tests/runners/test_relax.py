"""Relaxations against plain ASE."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, fcc111, molecule
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.qmmm import ForceConstantCalculator
from ase.constraints import FixAtoms
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS

from quacc.errors import NotConvergedError, NotFiniteError, ParameterError, StructureError
from quacc.recipes.emt.core import relax_job
from quacc.recipes.lj import core as lj
from quacc.runners.optimizers import ScaledBFGS
from quacc.runners.relax import OPTIMIZERS


def rattled():
    atoms = bulk("Cu", cubic=True) * (2, 1, 1)
    atoms.rattle(0.1, seed=7)
    return atoms


def test_same_path_as_plain_ase():
    plain = rattled()
    plain.calc = EMT()
    energies = []
    dynamics = BFGS(plain, logfile=None)
    dynamics.attach(lambda: energies.append(plain.get_potential_energy()))
    dynamics.run(fmax=0.02, steps=100)
    result = relax_job(rattled(), fmax=0.02, optimizer="BFGS")
    assert result["steps"] == dynamics.nsteps
    assert result["force_calls"] == dynamics.nsteps + 1
    np.testing.assert_allclose(result["history"]["energy"], energies, atol=1e-10)
    np.testing.assert_allclose(result["atoms"].positions, plain.positions, atol=1e-10)
    np.testing.assert_allclose(result["results"]["forces"], plain.get_forces(), atol=1e-10)
    np.testing.assert_allclose(result["results"]["stress"], plain.get_stress(), atol=1e-10)


@pytest.mark.parametrize("relax_cell", [False, True])
def test_by_default_fewer_force_calls_than_plain_bfgs(relax_cell):
    scaled = relax_job(rattled(), relax_cell=relax_cell)
    assert scaled["parameters"]["optimizer"] == "ScaledBFGS"
    plain = relax_job(rattled(), relax_cell=relax_cell, optimizer="BFGS")
    assert scaled["force_calls"] < 0.7 * plain["force_calls"]
    assert scaled["results"]["energy"] == pytest.approx(plain["results"]["energy"], abs=1e-3)


def test_one_step_finds_the_minimum_of_a_spring():
    """Where the curvature is the same everywhere, the first step tells all of it."""
    springs = Atoms("Cu2", positions=[[0, 0, 0], [0.05, 0.1, 0.1]])
    springs.calc = ForceConstantCalculator(D=4.0 * np.eye(6), ref=Atoms("Cu2"), f0=np.zeros((2, 3)))
    dynamics = ScaledBFGS(springs, logfile=None)
    assert dynamics.run(fmax=1e-6)
    assert dynamics.nsteps == 2
    np.testing.assert_allclose(dynamics.H, 4.0 * np.eye(6), atol=1e-9)
    np.testing.assert_allclose(springs.positions, 0, atol=1e-7)


def test_a_stiff_structure_takes_the_path_of_plain_bfgs():
    springs = Atoms("Cu2", positions=[[0, 0, 0], [0.05, 0.1, 0.1]])
    springs.calc = ForceConstantCalculator(D=90 * np.eye(6), ref=Atoms("Cu2"), f0=np.zeros((2, 3)))
    other = springs.copy()
    other.calc = springs.calc
    one, two = ScaledBFGS(springs, logfile=None), BFGS(other, logfile=None)
    one.run(fmax=1e-6)
    two.run(fmax=1e-6)
    assert one.nsteps == two.nsteps
    np.testing.assert_allclose(springs.positions, other.positions, atol=1e-12)


def test_same_cell_as_plain_ase():
    plain = rattled()
    plain.calc = EMT()
    BFGS(FrechetCellFilter(plain), logfile=None).run(fmax=1e-4)
    result = relax_job(rattled(), relax_cell=True, fmax=1e-4, optimizer="BFGS")
    assert result["results"]["energy"] == pytest.approx(plain.get_potential_energy(), abs=1e-8)
    np.testing.assert_allclose(result["atoms"].cell, plain.cell, atol=1e-6)
    np.testing.assert_allclose(result["results"]["stress"], 0, atol=1e-5)


@pytest.mark.parametrize("relax_cell", [False, True])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_all_optimizers_find_the_minimum(optimizer, relax_cell):
    result = relax_job(rattled(), fmax=0.005, optimizer=optimizer, relax_cell=relax_cell)
    perfect = relax_job(bulk("Cu", cubic=True) * (2, 1, 1), fmax=0.005, relax_cell=relax_cell)
    assert result["converged"]
    assert result["history"]["fmax"][-1] < 0.005
    assert len(result["history"]["energy"]) == len(result["history"]["fmax"])
    assert result["results"]["energy"] == pytest.approx(perfect["results"]["energy"], abs=2e-3)
    assert result["results"]["energy"] == pytest.approx(result["history"]["energy"][-1], abs=1e-12)


def test_the_argon_dimer_is_at_its_textbook_distance():
    dimer = Atoms("Ar2", positions=[[0, 0, 0], [0, 0, 4.0]])
    options = {"sigma": 3.4, "epsilon": 0.0104, "rc": 50.0}
    result = lj.relax_job(dimer, fmax=1e-6, **options)
    assert result["atoms"].get_distance(0, 1) == pytest.approx(2 ** (1 / 6) * 3.4, abs=1e-4)
    assert result["results"]["energy"] == pytest.approx(-0.0104, abs=1e-6)


def test_constraints_are_kept():
    slab = fcc111("Cu", (2, 2, 3), vacuum=8, periodic=True)
    slab.rattle(0.1, seed=1)
    slab.set_constraint(FixAtoms(mask=slab.positions[:, 2] < 10))
    fixed = slab.constraints[0].index
    assert 0 < len(fixed) < len(slab)
    result = relax_job(slab)
    assert (result["atoms"].positions[fixed] == slab.positions[fixed]).all()
    assert result["atoms"].constraints[0].index.tolist() == fixed.tolist()
    assert np.abs(result["results"]["forces"][fixed]).max() > 0.01  # the true ones
    assert result["history"]["fmax"][-1] < 0.01  # those that count


def test_unconverged_is_told_but_no_error():
    result = relax_job(rattled(), steps=2)
    assert result["converged"] is False
    assert result["steps"] == 2
    assert "did not converge in 2 steps" in result["warnings"][0]


def test_unconverged_is_an_error_on_request():
    with pytest.raises(NotConvergedError, match="did not converge in 2 steps") as caught:
        relax_job(rattled(), steps=2, require_convergence=True)
    assert caught.value.atoms == relax_job(rattled(), steps=2)["atoms"]
    assert caught.value.result["steps"] == 2


def test_requiring_convergence_is_not_another_calculation():
    assert relax_job("Cu")["key"] == relax_job("Cu", require_convergence=True)["key"]


def test_trajectory_on_request():
    result = relax_job(rattled(), trajectory=True, fmax=0.05)
    frames = result["trajectory"]
    assert len(frames) == result["steps"] + 1
    assert (frames[0].positions == rattled().positions).all()
    assert frames[-1].positions == pytest.approx(result["atoms"].positions)
    for frame, energy in zip(frames, result["history"]["energy"], strict=True):
        plain = frame.copy()
        plain.calc = EMT()
        assert plain.get_potential_energy() == pytest.approx(energy, abs=1e-10)
        assert frame.info["energy"] == energy
        np.testing.assert_allclose(frame.arrays["forces"], plain.get_forces(), atol=1e-10)
    assert "trajectory" not in relax_job("Cu")


def test_an_exploding_structure_is_an_error_with_its_last_structure():
    # Lennard-Jones atoms this deep in the core overflow within a few steps.
    atoms = Atoms("Ar2", positions=[[0, 0, 0], [0, 0, 1.2]])
    with pytest.raises(NotFiniteError, match="returned an energy of") as caught:
        lj.relax_job(atoms, epsilon=1.0, sigma=1e30, rc=1e40)
    assert len(caught.value.atoms) == 2


STRAINED = bulk("Cu", cubic=True)
STRAINED.set_cell(STRAINED.cell.array * [1.02, 1.0, 0.97], scale_atoms=True)


def relaxed(relax_cell, **kwargs):
    """Return the relaxed structure, the change of its cell's lengths, and the stress (GPa)."""
    result = relax_job(STRAINED, relax_cell=relax_cell, fmax=1e-4, **kwargs)
    assert result["converged"]
    atoms, stress = result["atoms"], result["results"]["stress"] / units.GPa
    np.testing.assert_allclose(atoms.cell.angles(), 90)
    return atoms, atoms.cell.lengths() / STRAINED.cell.lengths(), stress


def test_a_cell_under_pressure():
    atoms, _, stress = relaxed(True, pressure=10.0)
    np.testing.assert_allclose(stress, [-10, -10, -10, 0, 0, 0], atol=1e-3)
    # p = -dE/dV, from the energies alone.
    energies = []
    for volume in (0.999, 1.001):
        cell = atoms.copy()
        cell.set_cell(cell.cell * volume ** (1 / 3), scale_atoms=True)
        cell.calc = EMT()
        energies.append(cell.get_potential_energy())
    slope = (energies[1] - energies[0]) / (0.002 * atoms.get_volume())
    assert -slope / units.GPa == pytest.approx(10.0, rel=1e-4)


def test_the_shape_of_a_cell_at_constant_volume():
    atoms, _, stress = relaxed("constant_volume")
    assert atoms.get_volume() == pytest.approx(STRAINED.get_volume(), rel=1e-9)
    np.testing.assert_allclose(np.ptp(stress[:3]), 0, atol=5e-3)
    np.testing.assert_allclose(atoms.cell.lengths(), atoms.cell.lengths().mean(), rtol=1e-4)


def test_the_volume_of_a_cell_of_one_shape():
    _, change, stress = relaxed("hydrostatic")
    np.testing.assert_allclose(change, change[0], rtol=1e-9)
    assert change[0] != pytest.approx(1.0, rel=1e-4)
    assert stress[:3].sum() == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(
    ("relax_cell", "moves"),
    [
        ("in_plane", [True, True, False]),
        ([1, 1, 0, 0, 0, 1], [True, True, False]),
        (np.array([False, False, True, False, False, False]), [False, False, True]),
    ],
)
def test_some_strains_of_a_cell(relax_cell, moves):
    _, change, stress = relaxed(relax_cell)
    for length, strain, part in zip(change, stress, moves, strict=False):
        assert (length != pytest.approx(1.0, rel=1e-4)) == part
        assert (strain == pytest.approx(0, abs=5e-3)) == part


def test_a_layer_that_does_not_lie_in_the_plane():
    with pytest.raises(StructureError, match="do not lie"):
        relax_job(bulk("Cu"), relax_cell="in_plane")


def test_the_forms_of_a_cell_have_keys_of_their_own():
    forms = [
        *({}, {"relax_cell": True}, {"relax_cell": True, "pressure": 1.0}),
        *({"relax_cell": form} for form in ("constant_volume", "hydrostatic", "in_plane")),
        {"relax_cell": [1, 1, 1, 0, 0, 0]},
    ]
    assert len({relax_job.plan("Cu", **form).key for form in forms}) == len(forms)
    spelled = relax_job.plan("Cu", relax_cell=(True, True, True, False, False, False))
    assert spelled.key == relax_job.plan("Cu", **forms[-1]).key
    assert relax_job.plan("Cu", relax_cell=np.True_, pressure=0).key == (
        relax_job.plan("Cu", relax_cell=True).key
    )


@pytest.mark.parametrize(
    "wrong",
    [
        *({"relax_cell": one} for one in ("volume", [1, 1], [0] * 6, [2] * 6, 3, None)),
        *({"pressure": 1.0, "relax_cell": one} for one in (False, "constant_volume")),
        {"relax_cell": True, "pressure": float("nan")},
    ],
)
def test_what_is_no_form_of_a_cell(wrong):
    with pytest.raises(ParameterError, match="relax_cell|pressure"):
        relax_job("Cu", **wrong)


def test_a_molecule_has_no_cell_to_relax():
    with pytest.raises(StructureError, match="periodic in three directions"):
        relax_job(molecule("N2"), relax_cell=True)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"fmax": 0}, "fmax must be a finite number above zero, not 0"),
        ({"fmax": -1}, "fmax"),
        ({"fmax": float("nan")}, "fmax"),
        ({"fmax": "0.1"}, "fmax"),
        ({"fmax": None}, "fmax"),
        ({"steps": 0}, "steps must be a whole number of at least 1, not 0"),
        ({"steps": 2.5}, "steps"),
        ({"steps": True}, "steps"),
        ({"optimizer": "BFSG"}, "Did you mean 'BFGS'"),
        ({"optimizer": BFGS}, "optimizer"),
        ({"optimizer": ""}, "optimizer"),
        ({"relax_cell": 1}, "relax_cell must be True or False"),
        ({"trajectory": "x"}, "trajectory"),
        ({"fmx": 0.1}, "Unknown keyword 'fmx'. Did you mean 'fmax'"),
        ({"asap_cutof": True}, "Did you mean 'asap_cutoff'"),
        ({"require_convergance": True}, "Did you mean 'require_convergence'"),
        ({"recipe": "x"}, "Unknown keyword 'recipe'"),
        ({"code": "x"}, "Unknown keyword 'code'"),
        ({"copy_files": "x"}, "runs in memory and reads no files"),
        ({"asap_cutoff": object()}, "asap_cutoff"),
    ],
)
def test_wrong_keywords(wrong, told):
    with pytest.raises(ParameterError, match=told):
        relax_job("Cu", **wrong)


def test_lj_stress_agrees_with_plain_ase():
    argon = bulk("Ar", "fcc", a=5.2)
    plain = argon.copy()
    plain.calc = LennardJones(sigma=3.4, epsilon=0.0104, rc=10.0, smooth=True)
    options = {"sigma": 3.4, "epsilon": 0.0104, "rc": 10.0, "smooth": True}
    result = lj.static_job(argon, **options)
    np.testing.assert_allclose(result["results"]["stress"], plain.get_stress(), atol=1e-12)
    assert result["results"]["energy"] == pytest.approx(plain.get_potential_energy(), abs=1e-12)
