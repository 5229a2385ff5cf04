"""Workflows with tblite: its own interface by hand, and measured values."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from scipy.optimize import minimize_scalar
from tblite.ase import TBLite

from quacc.recipes import workflows
from quacc.recipes.tools.workflow import with_calculator

neb_flow = with_calculator(workflows.neb_flow, "tblite")
phonon_flow = with_calculator(workflows.phonon_flow, "tblite")


pytestmark = pytest.mark.tblite


def test_ammonia_turns_inside_out_through_the_plane():
    """Measured: 0.25 eV (Swalen and Ibers 1962)."""
    pyramid = molecule("NH3")
    inverted = pyramid.copy()
    inverted.positions[0, 2] = 2 * pyramid.positions[1, 2] - pyramid.positions[0, 2]
    result = neb_flow(
        pyramid, inverted, relax_kwargs={"fmax": 0.005}, neb_kwargs={"images": 5, "fmax": 0.02}
    )
    assert result["converged"]
    assert result["reaction_energy"] == pytest.approx(0, abs=1e-4)  # one mirrors the other
    assert result["energies"] == pytest.approx(result["energies"][::-1], abs=2e-3)

    def planar(bond):
        angles = np.radians([90, 210, 330])
        rim = bond * np.array([np.cos(angles), np.sin(angles), 0 * angles]).T
        atoms = Atoms("NH3", [[0, 0, 0], *rim], calculator=TBLite(method="GFN2-xTB", verbosity=0))
        return atoms.get_potential_energy()

    top = minimize_scalar(planar, bracket=(0.98, 1.02))
    assert result["barrier"] == pytest.approx(top.fun - result["energies"][0], abs=1e-3)
    assert result["barrier"] == pytest.approx(0.25, abs=0.03)
    saddle = result["atoms"]
    np.testing.assert_allclose(saddle.get_distances(0, [1, 2, 3]), top.x, atol=5e-3)


def test_the_optical_phonon_of_diamond():
    """Measured: 39.9 THz (Solin and Ramdas 1970)."""
    crystal = bulk("C", a=3.567)
    options = {"method": "GFN1-xTB"}
    result = phonon_flow(crystal, relax_job=None, supercell=[3, 3, 3], static_kwargs=options)
    assert any("no k-points" in warning for warning in result["warnings"])
    at_gamma = result["bands"][0]["frequencies"][0]
    np.testing.assert_allclose(at_gamma[:3], 0, atol=1e-3)

    # Half of the atoms move against the others.
    atoms = crystal * 3
    atoms.calc = TBLite(method="GFN1-xTB", verbosity=0)
    forces = []
    for sign in (1, -1):
        atoms.positions = (crystal * 3).positions
        atoms.positions[::2, 0] += sign * 0.01
        forces.append(atoms.get_forces()[::2, 0].mean())
    stiffness = -(forces[0] - forces[1]) / 0.02
    omega = np.sqrt(stiffness * 2 / atoms.get_masses()[0])
    by_hand = omega * units.s * 1e-12 / (2 * np.pi)
    np.testing.assert_allclose(at_gamma[3:], by_hand, rtol=2e-3)
    assert by_hand == pytest.approx(39.9, rel=0.05)
