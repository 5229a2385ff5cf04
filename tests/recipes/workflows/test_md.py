"""Molecular dynamics, against conservation laws, exact walks, and liquid argon."""

import re

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk

from quacc.errors import ParameterError
from quacc.recipes import report, workflows
from quacc.recipes.tools.workflow import with_calculator
from quacc.recipes.workflows.md import (
    _analyse,
    _diffuses,
    _peak,
    diffusion,
    mean_square_displacement,
    radial_distribution,
)
from tests.emt import md_flow

lj_md_flow = with_calculator(workflows.md_flow, "lj")


def test_copper_keeps_its_energy_and_stays_where_it_is():
    result = md_flow(
        bulk("Cu", cubic=True) * 2,
        timestep=2.0,
        equilibration=200,
        steps=400,
        sample_every=10,
        temperature=300,
    )
    assert abs(result["energy_drift"]) < 5e-4
    assert np.ptp(result["total_energy"]) < 0.02
    # Half of the kinetic energy goes into the potential, unless the thermostat refills it.
    assert 100 < result["temperature"] < 450
    assert result["first_peak"] == pytest.approx(3.6 / np.sqrt(2), rel=0.02)
    # Vibrations are no diffusion.
    assert result["diffusion"] is None
    assert result["diffusion_error"] is None
    assert result["diffusion_by_element"] == {"Cu": {"value": None, "error": None}}
    assert any("as vibrations move them" in text for text in result["warnings"])
    # Without a thermostat half of the heat went into the potential: the crystal was at rest.
    assert result["temperature"] > 0.95 * 300 or any(
        "mean temperature" in text for text in result["warnings"]
    )
    assert result["msd"]["values"][0] == 0
    assert result["atoms"].get_momenta().any()


def test_a_smaller_timestep_keeps_energy_better():
    """Velocity Verlet: its fluctuations go with the square of the timestep."""
    spread = []
    for timestep, every in ((4.0, 1), (2.0, 2)):
        result = md_flow(
            bulk("Cu", cubic=True) * 2,
            timestep=timestep,
            equilibration=int(200 / timestep),
            steps=50 * every,
            sample_every=every,
            temperature=600,
            blocks=2,
        )
        spread.append(np.std(result["total_energy"]))
    assert spread[1] < spread[0] / 2.5


def test_the_diffusion_of_a_random_walk():
    rng = np.random.default_rng(3)
    steps = rng.normal(scale=0.1, size=(1500, 60, 3))
    paths = steps.cumsum(axis=0)
    # <r²> = 6 D t: each step of 1 fs adds 3 times 0.01 Å².
    assert diffusion(paths, 1.0) == pytest.approx(0.03 / 6 * 0.1, rel=0.3)
    lags, values = mean_square_displacement(paths)
    assert values[1] == pytest.approx(0.03, rel=0.02)
    assert len(lags) == 751


def test_each_element_diffuses_on_its_own():
    """A conductor: lithium walks at random, the rest shakes. The mean of all told neither."""
    rng = np.random.default_rng(4)
    paths = rng.normal(scale=0.05, size=(800, 120, 3))
    paths[:, ::2] += rng.normal(scale=0.1, size=(800, 60, 3)).cumsum(axis=0)
    start = rng.uniform(0, 20, (120, 3))
    box = {"cell": [20.0] * 3, "pbc": True}
    frames = [Atoms("LiO" * 60, positions=start + one, **box) for one in paths]
    history = {name: np.ones(800) for name in ("energy", "kinetic_energy", "temperature")}
    run = {"history": {"time": np.arange(800.0), **history}, "trajectory": frames}
    found, warnings = _analyse(run, 1.0, 5, True)
    lithium, oxygen = (found["diffusion_by_element"][symbol] for symbol in ("Li", "O"))
    assert abs(lithium["value"] - 0.03 / 6 * 0.1) < 3 * lithium["error"] < 3e-4
    assert oxygen == {"value": None, "error": None}
    assert len(warnings) == 1
    assert re.search("of O: .* as vibrations move them", warnings[0])
    assert found["diffusion"] is None
    assert found["diffusion_error"] is None
    assert found["msd_by_element"]["Li"][1] == pytest.approx(0.03 + 6 * 0.05**2, rel=0.02)
    mean = (found["msd_by_element"]["Li"] + found["msd_by_element"]["O"]) / 2
    np.testing.assert_allclose(mean, found["msd"]["values"])


def test_of_an_alloy_every_element_is_told():
    alloy = bulk("Cu", cubic=True) * 2
    alloy.symbols[::4] = "Au"
    result = md_flow(alloy, equilibration=20, steps=200)
    assert result["diffusion"] is None
    assert list(result["diffusion_by_element"]) == ["Au", "Cu"]
    assert "D(Au)" not in report.summary(result)
    result["diffusion_by_element"]["Au"] = {"value": 1e-5, "error": 1e-6}
    assert "D(Au) = (1.00e-05 ± 1e-06) cm²/s" in report.summary(result)
    quantities = [row["quantity"] for row in report.table(result)]
    assert "diffusion of Cu (cm²/s)" in quantities
    labels = [text.get_text() for text in report.plot(result).axes[2].get_legend().get_texts()]
    assert labels == ["Au", "Cu"]


@pytest.mark.parametrize(
    ("paths", "neighbour", "reason"),
    [
        ("walk", 0.5, None),
        ("flight", 0.5, r"to the power of 2\.00"),
        ("vibration", 2.5, "as vibrations move them"),
        ("vibration", 0.01, "not linearly"),
        ("walk", 100.0, "as vibrations move them"),
        ("drifting apart and back", 0.01, "not linearly|not above its error"),
    ],
)
def test_only_what_grows_linearly_is_diffusion(paths, neighbour, reason):
    rng = np.random.default_rng(1)
    time = np.arange(1000.0)[:, None, None]
    velocities = rng.normal(size=(1, 30, 3))
    made = {
        "walk": rng.normal(scale=0.1, size=(1000, 30, 3)).cumsum(axis=0),
        "flight": 0.01 * time * velocities,
        "vibration": 0.1 * np.sin(0.3 * time + 6 * rng.random((1, 30, 3))),
        "drifting apart and back": velocities * np.sin(np.pi * time / 100),
    }[paths]
    _, _, told = _diffuses(made, 1.0, 5, neighbour)
    if reason is None:
        assert told is None
    else:
        assert re.search(reason, told)


def test_no_diffusion_of_what_is_not_periodic():
    """The rotation of a cluster is none, and on a surface there are two dimensions."""
    rng = np.random.default_rng(4)
    walk = 0.1 * rng.normal(size=(800, 60, 3)).cumsum(axis=0)
    history = {name: np.ones(800) for name in ("energy", "kinetic_energy", "temperature")}
    start = rng.uniform(0, 15, (60, 3))
    for pbc in (False, [True, True, False]):
        frames = [Atoms("Li60", positions=start + one, cell=[15.0] * 3, pbc=pbc) for one in walk]
        run = {"history": {"time": np.arange(800.0), **history}, "trajectory": frames}
        found, warnings = _analyse(run, 1.0, 5, False)
        assert found["diffusion"] is None
        assert "not periodic" in warnings[0]
        assert found["energy_drift"] is None


def test_the_first_peak_is_the_first():
    """In diamond's structure the second shell, of twelve, is higher than the first, of four."""
    start = bulk("Si", cubic=True) * 3
    frames = []
    for seed in range(20):
        frame = start.copy()
        frame.rattle(0.08, seed=seed)
        frames.append(frame)
    rdf = radial_distribution(frames)
    near = rdf["distances"] < 3
    assert rdf["values"][near].max() < rdf["values"][~near].max()
    assert _peak(rdf) == pytest.approx(5.43 * np.sqrt(3) / 4, abs=0.05)


def test_no_peak_at_the_edge():
    distances = np.linspace(0, 5, 100)
    assert _peak({"distances": distances, "values": distances}) is None
    assert _peak({"distances": distances, "values": 0 * distances}) is None


def test_a_temperature_far_from_the_one_asked_for_is_told():
    """A crystal at rest on its sites gives half of its heat to the potential."""
    options = {"timestep": 5.0, "equilibration": 1, "steps": 300, "production": "NVE"}
    result = md_flow(bulk("Cu", cubic=True) * 2, temperature=600, **options)
    assert result["temperature"] == pytest.approx(300, rel=0.2)
    assert any("600 K were asked for" in text for text in result["warnings"])
    kept = md_flow(
        bulk("Cu", cubic=True) * 2, temperature=600, **{**options, "production": "Bussi"}
    )
    assert kept["energy_drift"] is None
    assert "drift" not in report.summary(kept)


def test_langevin_in_production_is_told():
    result = md_flow("Cu", production="Langevin", equilibration=1, steps=200)
    assert any("friction slows diffusion" in text for text in result["warnings"])


def test_the_distribution_of_an_ideal_gas_is_one():
    rng = np.random.default_rng(0)
    frames = [
        Atoms("Ar200", positions=rng.uniform(0, 20, (200, 3)), cell=[20] * 3, pbc=True)
        for _ in range(60)
    ]
    rdf = radial_distribution(frames)
    far = rdf["distances"] > 3
    assert rdf["values"][far].mean() == pytest.approx(1, abs=0.02)


def test_neighbours_of_a_crystal_are_counted():
    atoms = bulk("Cu", cubic=True, a=3.6) * 3
    rdf = radial_distribution([atoms])
    width = rdf["distances"][1] - rdf["distances"][0]
    near = rdf["distances"] < 3.0
    shells = 4 * np.pi * rdf["distances"] ** 2 * width * len(atoms) / atoms.get_volume()
    assert (rdf["values"] * shells)[near].sum() == pytest.approx(12, rel=0.01)


def test_liquid_argon():
    """Rahman, Phys. Rev. 136, A405 (1964): at 94.4 K and 1.374 g/cm³, D = 2.43e-5 cm²/s and the
    first peak at 3.7 Å. A cell of 108 atoms diffuses some tenths slower (Yeh and Hummer, J. Phys.
    Chem. B 108, 15873 (2004)). Ten picoseconds in five parts: in shorter ones atoms have not yet
    left their cages, and D is too large."""
    density = 1.374 / 39.95 * units.mol * 1e-24
    side = (4 / density) ** (1 / 3)
    start = bulk("Ar", cubic=True, a=side) * 3
    start.rattle(0.3, seed=0)
    potential = {"epsilon": 119.8 * units.kB, "sigma": 3.405, "rc": 7.6, "thermostat_time": 20.0}
    result = lj_md_flow(
        start,
        temperature=94.4,
        timestep=20.0,
        equilibration=150,
        steps=500,
        sample_every=10,
        thermostat="Langevin",
        production="Bussi",
        md_kwargs=potential,
    )
    assert result["temperature"] == pytest.approx(94.4, rel=0.05)
    assert result["first_peak"] == pytest.approx(3.7, abs=0.1)
    error = result["diffusion_error"]
    assert 0 < error < 1.5e-5
    assert 1.2e-5 - error < result["diffusion"] < 2.6e-5 + 2 * error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 100, "sample_every": 50}, "too few"),
        ({"thermostat": "NVE"}, "thermostat"),
        ({"md_kwargs": {"steps": 3}}, "steps"),
        ({"blocks": 1}, "blocks"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(ParameterError, match=message):
        md_flow("Cu", **options)
