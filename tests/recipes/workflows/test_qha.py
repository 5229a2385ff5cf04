"""Quasi-harmonic thermodynamics, against identities and measured expansion."""

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.constraints import FixAtoms

from quacc.errors import CalculationError, ParameterError, StructureError
from quacc.recipes.emt.core import relax_job
from tests.emt import eos_flow, qha_flow


@pytest.fixture(scope="module")
def copper():
    relaxed = relax_job("Cu", relax_cell=True, fmax=1e-5)
    return qha_flow(relaxed, supercell=[4, 4, 4], mesh=40.0, t_max=800)


def test_copper_expands(copper):
    alpha = copper["thermal_expansion"]
    assert (alpha[3:] > 0).all()
    # Measured 50e-6/K at 300 K (Kittel, 3 x 16.7e-6); a potential fitted to other things is not
    # as good as that.
    assert 20e-6 < alpha[30] < 100e-6
    assert (np.diff(copper["volume"])[3:] > 0).all()
    assert (np.diff(copper["bulk_modulus"])[3:] < 0).all()


def test_identities_of_thermodynamics(copper):
    t, g, v = copper["temperatures"], copper["gibbs_energy"], copper["volume"]
    alpha, modulus = copper["thermal_expansion"], copper["bulk_modulus"] * units.GPa
    np.testing.assert_allclose(np.gradient(np.log(v), t)[5:-1], alpha[5:-1], rtol=0.02)
    assert (np.diff(g) < 0).all()
    # Cp - Cv = T V B alpha^2, and Cv is below Dulong and Petit's 3 kB.
    difference = t * v * modulus * alpha**2
    cv = copper["heat_capacity"] - difference
    assert cv[50] == pytest.approx(3 * units.kB, rel=0.03)
    # Grueneisen's parameter is alpha B V / Cv.
    gamma = alpha[50] * modulus[50] * v[50] / cv[50]
    assert copper["gruneisen"][50] == pytest.approx(gamma, rel=0.03)


def test_at_zero_kelvin_it_is_the_static_crystal_but_for_zero_point_motion(copper):
    static = eos_flow(copper["atoms"], relax_job=None, points=9, step=0.005)
    assert copper["volume"][0] == pytest.approx(static["volume"], rel=0.01)
    assert copper["volume"][0] > static["volume"]
    assert copper["bulk_modulus"][0] == pytest.approx(static["bulk_modulus"], rel=0.05)


def test_pressure_makes_it_smaller(copper):
    relaxed = relax_job("Cu", relax_cell=True, fmax=1e-5)
    pressed = qha_flow(relaxed, supercell=[4, 4, 4], mesh=40.0, t_max=800, pressure=1.0)
    shrunk = 1 - pressed["volume"][30] / copper["volume"][30]
    assert shrunk == pytest.approx(1.0 / copper["bulk_modulus"][30], rel=0.05)
    # G(p) - G(0) is the integral of V dp.
    work = (pressed["gibbs_energy"] - copper["gibbs_energy"])[30] / units.GPa
    mean = (pressed["volume"][30] + copper["volume"][30]) / 2
    assert work == pytest.approx(mean, rel=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"points": 3}, "points"), ({"step": 0.1}, "smaller steps"), ({"form": "birch"}, "vinet")],
)
def test_bad_input(options, message):
    with pytest.raises(ParameterError, match=message):
        qha_flow("Cu", **options)


def test_no_atom_may_be_fixed():
    atoms = bulk("Cu", cubic=True)
    atoms.set_constraint(FixAtoms([0]))
    with pytest.raises(StructureError, match="Remove its constraints"):
        qha_flow(atoms)


def test_imaginary_modes_are_an_error():
    with pytest.raises(CalculationError, match="imaginary modes"):
        qha_flow(bulk("Al", "bcc", a=3.2), relax_job=None, supercell=[3, 3, 3])
