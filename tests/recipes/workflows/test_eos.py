"""Equation of state, against ASE's own and published numbers."""

import ase.eos
import numpy as np
import pytest
from ase import units
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS

from quacc.errors import JobsFailedError, ParameterError, StructureError
from quacc.recipes.emt.core import relax_job, static_job
from quacc.recipes.workflows import eos
from quacc.recipes.workflows.eos import fit
from tests.emt import eos_flow


def test_silver_is_that_of_ases_documentation():
    """ASE's tutorial has 16.781 Å³ and 100.142 GPa, with a wider range and another form."""
    result = eos_flow("Ag", points=9, step=0.005)
    assert result["volume"] == pytest.approx(16.781, rel=2e-3)
    assert result["bulk_modulus"] == pytest.approx(100.142, rel=2e-2)


@pytest.mark.parametrize("form", eos.FORMS)
def test_the_fit_is_ases(form):
    scales = 1 + 0.01 * np.arange(-3, 4)
    volumes, energies = [], []
    for scale in scales:
        atoms = bulk("Cu", a=3.6 * scale)
        atoms.calc = EMT()
        volumes.append(atoms.get_volume())
        energies.append(atoms.get_potential_energy())
    volume, energy, modulus = ase.eos.EquationOfState(volumes, energies, eos=form).fit()
    found = fit(np.array(volumes), np.array(energies), form)
    assert found["volume"] == pytest.approx(volume, rel=1e-6)
    assert found["energy"] == pytest.approx(energy, abs=1e-8)
    assert found["bulk_modulus"] == pytest.approx(modulus / units.GPa, rel=1e-5)


@pytest.mark.parametrize("form", eos.FORMS)
def test_a_curve_of_the_form_gives_its_own_numbers_without_error(form):
    volumes = np.linspace(10, 14, 8)
    energies = getattr(ase.eos, form)(volumes, -3.0, 0.8, 4.5, 12.0)
    found = fit(volumes, energies, form)
    assert found["volume"] == pytest.approx(12.0, rel=1e-7)
    assert found["bulk_modulus"] == pytest.approx(0.8 / units.GPa, rel=1e-6)
    assert found["bulk_modulus_derivative"] == pytest.approx(4.5, rel=1e-5)
    assert found["bulk_modulus_error"] < 1e-4


def test_standard_errors_are_the_scatter_of_fits_to_noisy_energies():
    volumes = np.linspace(10, 14, 9)
    exact = ase.eos.birchmurnaghan(volumes, -3.0, 0.8, 4.5, 12.0)
    rng = np.random.default_rng(0)
    fits = [
        fit(volumes, exact + rng.normal(scale=1e-3, size=9), "birchmurnaghan") for _ in range(300)
    ]
    for name in ("volume", "bulk_modulus", "bulk_modulus_derivative"):
        scatter = np.std([one[name] for one in fits])
        told = np.median([one[f"{name}_error"] for one in fits])
        assert told == pytest.approx(scatter, rel=0.25)


def test_the_modulus_is_the_derivative_of_the_pressure():
    """B0 from stresses of strained cells, which the fit knows nothing of."""
    result = eos_flow("Al", points=9, step=0.004)
    pressures, volumes = [], []
    for scale in (0.999, 1.001):
        atoms = result["atoms"].copy()
        atoms.set_cell(atoms.cell * scale, scale_atoms=True)
        atoms.calc = EMT()
        pressures.append(-atoms.get_stress()[:3].mean() / units.GPa)
        volumes.append(atoms.get_volume())
    modulus = -result["volume"] * np.diff(pressures)[0] / np.diff(volumes)[0]
    assert result["bulk_modulus"] == pytest.approx(modulus, rel=0.02)
    atoms = result["atoms"].copy()
    atoms.calc = EMT()
    assert abs(atoms.get_stress()[:3].mean() / units.GPa) < 0.05


def test_what_comes_out():
    result = eos_flow("Cu")
    assert result["name"] == "emt.eos_flow"
    assert result["formula"] == "Cu"
    assert len(result["volumes"]) == len(result["energies"]) == 7
    assert len(result["jobs"]) == 8
    assert result["converged"]
    assert result["units"]["bulk_modulus"] == "GPa"
    assert result["atoms"].get_volume() == pytest.approx(result["volume"])
    assert [one["form"] for one in result["fits"]] == list(eos.FORMS)
    # All forms agree about a smooth curve.
    assert np.ptp([one["bulk_modulus"] for one in result["fits"]]) < 0.02 * result["bulk_modulus"]


def test_common_and_bound_are_the_same_calculation():
    bound = eos_flow("Cu", points=5)
    common = eos.eos_flow("Cu", relax_job=relax_job, static_job=static_job, points=5)
    assert bound["key"] == common["key"]
    assert bound["bulk_modulus"] == common["bulk_modulus"]


def test_more_points_contain_the_fewer():
    seven = eos_flow("Cu", points=7)
    eleven = eos_flow("Cu", points=11)
    assert len(set(eleven["jobs"]) - set(seven["jobs"])) == 4


def test_the_result_of_a_job_is_taken_as_it_is():
    strained = bulk("Cu", a=3.7)
    result = eos_flow(static_job(strained), points=9, step=0.01)
    assert result["volumes"][4] == pytest.approx(strained.get_volume())
    assert len(result["jobs"]) == 9  # the middle one is the one given


def test_positions_are_relaxed_at_each_volume_if_asked():
    atoms = bulk("Cu", cubic=True)
    atoms.symbols[0] = "Au"
    atoms.rattle(0.05, seed=1)
    given = static_job(atoms)
    held = eos_flow(given, points=5)
    relaxed = eos_flow(given, points=5, relax_positions=True)
    assert (relaxed["energies"] < held["energies"] - 1e-3).all()


def test_a_minimum_outside_the_volumes_is_told():
    result = eos_flow(static_job(bulk("Cu", a=3.9)), points=5, step=0.005)
    assert any("lies outside" in warning for warning in result["warnings"])


def test_failures_name_the_volume():
    def refuses(atoms):
        if atoms.get_volume() > 12:
            raise ValueError("too large")
        return static_job(atoms)

    with pytest.raises(JobsFailedError, match=r"Cu strained by \+0.020: too large") as caught:
        eos_flow("Cu", static_job=refuses)
    assert len(caught.value.results) > 3


@pytest.mark.parametrize(
    ("structure", "options", "error", "message"),
    [
        ("Cu", {"points": 4}, ParameterError, "points"),
        ("Cu", {"step": -0.1}, ParameterError, "step"),
        ("Cu", {"step": 0.2}, ParameterError, "more than 30 %"),
        ("Cu", {"form": "birch-murnaghan"}, ParameterError, "birchmurnaghan"),
        ("Cu", {"relax_positions": True, "relax_job": None}, ParameterError, "relax_job"),
        ("Cu", {"relax_kwargs": {"relax_cell": True}}, ParameterError, "relax_cell"),
        ("Cu", {"relax_kwargs": {"fmx": 0.1}}, ParameterError, "fmax"),
        ("Cu", {"static_kwargs": [1]}, ParameterError, "keywords"),
        (molecule("H2O"), {"relax_job": None}, StructureError, "crystal"),
        ("H2O", {}, StructureError, "crystal"),
    ],
)
def test_bad_input_is_refused_before_anything_is_computed(structure, options, error, message):
    def never(atoms, **kwargs):
        raise AssertionError("computed")

    jobs = {"static_job": never} if "relax_kwargs" not in options else {}
    with pytest.raises(error, match=message):
        eos_flow(structure, **{**jobs, **options})


def test_a_crystal_that_is_not_cubic_with_its_shape_relaxed():
    alloy = bulk("Cu", cubic=True)
    alloy.symbols[[0, 3]] = "Au"  # L1_0, tetragonal
    options = {"points": 5, "step": 0.02, "relax_kwargs": {"fmax": 1e-3}}
    fixed = eos_flow(alloy, **options)
    free = eos_flow(alloy, relax_shape=True, **options)
    assert fixed["key"] != free["key"]
    assert free["parameters"]["relax_shape"] is True
    np.testing.assert_allclose(free["volumes"], fixed["volumes"], rtol=1e-9)
    assert (free["energies"] <= fixed["energies"] + 1e-6).all()
    # Against plain ASE, at the largest volume.
    plain = fixed["atoms"].copy()
    plain.set_cell(plain.cell * (free["volumes"][-1] / plain.get_volume()) ** (1 / 3), True)
    plain.calc = EMT()
    BFGS(FrechetCellFilter(plain, constant_volume=True), logfile=None).run(fmax=1e-3)
    assert free["energies"][-1] == pytest.approx(plain.get_potential_energy(), abs=1e-5)
    assert free["energies"][-1] < fixed["energies"][-1] - 1e-4


def test_around_a_crystal_under_pressure():
    options = {"points": 5, "relax_kwargs": {"pressure": 10.0, "fmax": 1e-3}}
    dense = eos_flow("Cu", relax_shape=True, **options)
    assert dense["volumes"][2] < 0.96 * eos_flow("Cu", points=5)["volumes"][2]


def test_without_a_calculator_it_says_how_to_name_one():
    with pytest.raises(ParameterError, match=r"pass calculator='emt'"):
        eos.eos_flow("Cu")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (0.0457, "134.21 ± 0.05"),
        (3.2, "134 ± 3"),
        (25.0, "134 ± 25"),
        (2e-9, "134.2072"),
        (0.0, "134.2072"),
        (float("inf"), "134.21 ± inf"),
    ],
)
def test_the_error_decides_how_many_digits_are_told(error, told):
    assert eos._with_error(134.20717, error) == told
