"""Molecular dynamics: conservation laws, statistics, and plain ASE."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import Stationary, thermalize_momenta
from ase.md.verlet import VelocityVerlet

from quacc.errors import ParameterError, StructureError
from quacc.recipes.emt.core import md_job, static_job


def copper():
    return bulk("Cu", cubic=True) * (2, 2, 2)


def test_nve_conserves_energy_and_momentum():
    result = md_job(copper(), steps=200, timestep=2.0, temperature=600)
    history = result["history"]
    total = history["energy"] + history["kinetic_energy"]
    assert np.ptp(history["energy"]) > 0.5
    assert np.ptp(total) < 0.01
    np.testing.assert_allclose(result["atoms"].get_momenta().sum(axis=0), 0, atol=1e-10)
    assert history["time"].tolist() == [2.0 * step for step in range(201)]


def test_nve_follows_plain_ase():
    plain = copper()
    rng = np.random.default_rng(5)
    thermalize_momenta(plain, temperature_K=300, rng=rng)
    Stationary(plain, preserve_temperature=False)
    start = plain.copy()
    plain.calc = EMT()
    VelocityVerlet(plain, 3 * units.fs).run(30)
    for given in (copper(), start):  # momenta made from the seed, and given
        result = md_job(given, steps=30, timestep=3.0, seed=5)
        np.testing.assert_allclose(result["atoms"].positions, plain.positions, atol=1e-10)
        np.testing.assert_allclose(result["atoms"].get_momenta(), plain.get_momenta(), atol=1e-10)


def test_langevin_follows_plain_ase():
    plain = copper()
    rng = np.random.default_rng(2)
    thermalize_momenta(plain, temperature_K=400, rng=rng)
    Stationary(plain, preserve_temperature=False)
    plain.calc = EMT()
    Langevin(
        plain, 2 * units.fs, temperature_K=400, friction=0.02 / units.fs, fixcm=False, rng=rng
    ).run(20)
    result = md_job(
        copper(),
        dynamics="Langevin",
        steps=20,
        timestep=2.0,
        temperature=400,
        friction=0.02,
        seed=2,
    )
    np.testing.assert_allclose(result["atoms"].positions, plain.positions, atol=1e-10)


@pytest.mark.parametrize("dynamics", ["Langevin", "Bussi"])
def test_thermostats_reach_their_temperature(dynamics):
    result = md_job(
        copper(),
        dynamics=dynamics,
        steps=600,
        timestep=4.0,
        temperature=500,
        friction=0.02,
        thermostat_time=50,
    )
    temperatures = result["history"]["temperature"][200:]
    # The standard error of 400 correlated samples of 96 degrees of freedom is some 3 %.
    assert temperatures.mean() == pytest.approx(500, rel=0.1)


@pytest.mark.parametrize(
    ("dynamics", "steps", "thermostat_time"),
    [("Langevin", 2500, 1), ("Bussi", 2500, 10), ("NPT", 700, 40)],
)
def test_every_degree_of_freedom_has_its_share_of_the_heat(dynamics, steps, thermostat_time):
    """Equipartition. Four atoms have nine beside those of the centre of mass: where the kinetic
    energy is that of twelve, they are a third too hot."""
    crystal = bulk("Cu", cubic=True)
    result = md_job(
        crystal,
        dynamics=dynamics,
        steps=steps,
        timestep=5.0,
        temperature=200,
        friction=0.02,
        thermostat_time=thermostat_time,
        barostat_time=400,
        trajectory=True,
        seed=1,
    )
    history, frames = result["history"], result["trajectory"]
    masses = crystal.get_masses()[:, None]
    relative = [
        atoms.get_momenta() - masses * atoms.get_momenta().sum(axis=0) / masses.sum()
        for atoms in frames
    ]
    kinetic = (np.array(relative) ** 2 / (2 * masses)).sum(axis=(1, 2))[steps // 7 :]
    # The standard error is some 3 %, found with other seeds.
    inner = 2 * kinetic.mean() / (9 * units.kB)
    assert inner == pytest.approx(200, rel=0.1)
    assert history["temperature"][steps // 7 :].mean() == pytest.approx(inner, rel=1e-6)
    if dynamics != "NPT":  # each mode of a harmonic crystal has as much potential energy
        minimum = static_job(crystal)["results"]["energy"]
        potential = history["energy"][steps // 7 :].mean() - minimum
        assert 2 * potential / (9 * units.kB) == pytest.approx(200, rel=0.15)


def test_the_drift_of_the_whole_is_no_heat():
    moving = copper()
    thermalize_momenta(moving, temperature_K=300, rng=np.random.default_rng(0))
    Stationary(moving, preserve_temperature=False)
    still = md_job(moving, steps=5)["history"]
    expected = 2 * moving.get_kinetic_energy() / (units.kB * 93)
    assert still["temperature"][0] == pytest.approx(expected)
    moving.set_velocities(moving.get_velocities() + np.array([0.05, 0, 0]))
    drifting = md_job(moving, steps=5)
    np.testing.assert_allclose(drifting["history"]["temperature"], still["temperature"], rtol=1e-6)
    assert drifting["history"]["kinetic_energy"][0] > 2 * still["kinetic_energy"][0]
    assert drifting["atoms"].get_momenta().sum() == pytest.approx(moving.get_momenta().sum())
    for dynamics in ("Bussi", "NPT"):
        ended = md_job(moving, dynamics=dynamics, steps=5)["atoms"]
        np.testing.assert_allclose(ended.get_momenta().sum(axis=0), 0, atol=1e-9)


def test_what_is_held_has_the_degrees_of_freedom_that_are_left():
    crystal = copper()
    crystal.set_constraint(FixAtoms(range(28)))
    thermalize_momenta(crystal, temperature_K=300, rng=np.random.default_rng(0))
    found = md_job(crystal, steps=1, dynamics="Bussi")["history"]["temperature"][0]
    assert found == pytest.approx(2 * crystal.get_kinetic_energy() / (units.kB * 12))
    alone = Atoms("Cu", momenta=[[1, 2, 3]], cell=[9, 9, 9], pbc=True)
    found = md_job(alone, steps=1)["history"]["temperature"][0]
    assert found == pytest.approx(alone.get_temperature())


def test_the_barostat_relaxes_the_pressure():
    squeezed = copper()
    squeezed.set_cell(squeezed.cell * 0.98, scale_atoms=True)
    result = md_job(
        squeezed,
        dynamics="NPT",
        steps=500,
        timestep=4.0,
        temperature=100,
        thermostat_time=50,
        barostat_time=200,
    )
    assert result["history"]["volume"][250:].mean() > 1.03 * squeezed.get_volume()
    np.testing.assert_allclose(result["atoms"].cell.angles(), 90, atol=1e-9)


def test_seeds():
    options = {"dynamics": "Langevin", "steps": 5}
    one, same, other = (md_job(copper(), seed=seed, **options) for seed in (1, 1, 2))
    assert one["key"] == same["key"] != other["key"]
    assert (one["atoms"].positions == same["atoms"].positions).all()
    assert (one["atoms"].positions != other["atoms"].positions).any()


def test_momenta_belong_to_the_question():
    moving = copper()
    thermalize_momenta(moving, temperature_K=300, rng=np.random.default_rng(0))
    assert md_job(moving, steps=1)["key"] != md_job(copper(), steps=1)["key"]


def test_sampling_and_trajectory():
    result = md_job(copper(), steps=10, sample_every=5, trajectory=True)
    assert result["history"]["time"].tolist() == [0, 5, 10]
    assert len(result["trajectory"]) == 3
    assert result["trajectory"][-1].positions == pytest.approx(result["atoms"].positions)
    assert result["steps"] == 10


def test_fixed_atoms_stay():
    atoms = copper()
    atoms.set_constraint(FixAtoms([0, 5]))
    result = md_job(atoms, dynamics="Langevin", steps=10)
    assert (result["atoms"].positions[[0, 5]] == atoms.positions[[0, 5]]).all()
    assert (result["atoms"].positions[1] != atoms.positions[1]).all()


def test_a_molecule_has_no_volume_in_its_history():
    assert "volume" not in md_job(molecule("N2"), steps=1)["history"]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"dynamics": "NVT"}, "dynamics 'NVT' is unknown"),
        ({"steps": 0}, "steps"),
        ({"timestep": -1}, "timestep"),
        ({"temperature": 0}, "temperature"),
        ({"pressure": float("inf")}, "pressure"),
        ({"friction": "a"}, "friction"),
        ({"seed": -1}, "seed"),
        ({"seed": 0.5}, "seed"),
        ({"sample_every": 0}, "sample_every"),
        ({"thermostat_tim": 1}, "Did you mean 'thermostat_time'"),
    ],
)
def test_wrong_keywords(wrong, told):
    with pytest.raises(ParameterError, match=told):
        md_job("Cu", **wrong)


def test_npt_needs_a_crystal_without_constraints():
    with pytest.raises(StructureError, match="periodic in three directions"):
        md_job(molecule("N2"), dynamics="NPT")
    atoms = copper()
    atoms.set_constraint(FixAtoms([0]))
    with pytest.raises(StructureError, match="constraints"):
        md_job(atoms, dynamics="NPT")


def test_something_must_be_free_to_move():
    still = Atoms("Cu")
    still.set_constraint(FixAtoms([0]))
    with pytest.raises(StructureError, match="All atoms are fixed"):
        md_job(still, steps=1)
