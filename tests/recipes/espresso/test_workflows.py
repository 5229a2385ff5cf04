"""Workflows with Quantum ESPRESSO: differences of pw.x's own numbers, and measured values."""

import numpy as np
import pytest
from ase import units
from ase.build import bulk, molecule

from quacc.recipes import workflows
from quacc.recipes.espresso.core import static_job
from quacc.recipes.tools.workflow import with_calculator
from quacc.recipes.workflows.converge import converge

elastic_flow = with_calculator(workflows.elastic_flow, "espresso")
eos_flow = with_calculator(workflows.eos_flow, "espresso")
molecule_flow = with_calculator(workflows.molecule_flow, "espresso")
phonon_flow = with_calculator(workflows.phonon_flow, "espresso")

pytestmark = pytest.mark.espresso

# Cold smearing reaches across a gap as small as LDA's: with so few k-points the optical phonon of
# silicon falls from 15.5 to 13.7 THz.
INSULATOR = {"input_data": {"system": {"occupations": "fixed"}}}
SILICON = {"pseudopotentials": {"Si": "Si.pz-vbc.UPF"}, "kpts": [4, 4, 4], **INSULATOR}
HYDROGEN = {"pseudopotentials": {"H": "H.pz-vbc.UPF"}, "kpts": [1, 1, 1], **INSULATOR}


def test_the_optical_phonon_of_silicon():
    """Measured: 15.53 THz at 300 K (Dolling 1963)."""
    options = {**SILICON, "ecutwfc": 16.0, "ecutrho": 64.0}
    result = phonon_flow("Si", relax_job=None, supercell=[1, 1, 1], static_kwargs=options)
    assert result["displacements"] == 1
    at_gamma = result["bands"][0]["frequencies"][0]
    np.testing.assert_allclose(at_gamma[:3], 0, atol=1e-3)

    forces = []
    for sign in (1, -1):
        atoms = bulk("Si")
        atoms.positions[0, 0] += sign * 0.01
        forces.append(static_job(atoms, **options)["results"]["forces"][0, 0])
    stiffness = -(forces[0] - forces[1]) / 0.02  # eV/Å²; both atoms move against each other
    omega = np.sqrt(stiffness * 2 / bulk("Si").get_masses()[0])
    by_hand = omega * units.s * 1e-12 / (2 * np.pi)
    np.testing.assert_allclose(at_gamma[3:], by_hand, rtol=2e-3)
    assert by_hand == pytest.approx(15.53, rel=0.02)


def test_the_elastic_tensor_of_silicon():
    """Measured: 165.7, 63.9 and 79.6 GPa (Hall 1967).

    Plane waves come in as the cell grows, so that at this cutoff the pressure is off the slope of
    the energy by half a GPa and more (Pulay); their differences are compared.
    """
    options = {**SILICON, "ecutwfc": 20.0, "ecutrho": 80.0}
    crystal = static_job(bulk("Si", a=5.4), **options)
    result = elastic_flow(
        crystal,
        strain=0.01,
        points=1,
        relax_kwargs={**options, "fmax": 0.02},
        static_kwargs=options,
    )
    tensor = result["elastic_tensor"]
    np.testing.assert_allclose(tensor[[0, 0, 3], [0, 1, 3]], [165.7, 63.9, 79.6], rtol=0.05)

    small, large = (static_job(bulk("Si", a=5.4 * scale), **options) for scale in (0.99, 1.01))
    low, middle, high = (
        -one["results"]["stress"][:3].mean() / units.GPa for one in (large, crystal, small)
    )
    # The second Piola-Kirchhoff stress of a crystal scaled by s under the pressure P is -s P.
    expected = (high - low) / (3 * 0.02) - middle / 3
    assert result["bulk_modulus"] == pytest.approx(expected, rel=0.015)


def test_hydrogen_as_a_gas():
    """Measured: 4161 1/cm between the lowest two levels, 130.68 J/(mol K) at 298.15 K and 1 bar
    (Huber and Herzberg 1979, Cox 1989)."""
    options = {**HYDROGEN, "ecutwfc": 30.0, "ecutrho": 120.0}
    atoms = molecule("H2")
    atoms.center(vacuum=2.5)
    result = molecule_flow(atoms, relax_kwargs={**options, "fmax": 0.02}, freq_kwargs=options)
    (found,) = result["frequencies"]
    assert found == pytest.approx(4161, rel=0.06)
    assert result["entropy"] * units.mol / units.J == pytest.approx(130.68, rel=0.01)

    energies = [result["energy"]]
    relaxed = result["atoms"]
    for change in (0.02, -0.02):
        stretched = relaxed.copy()
        stretched.set_distance(0, 1, relaxed.get_distance(0, 1) + change)
        energies.append(static_job(stretched, **options)["results"]["energy"])
    stiffness = (energies[1] + energies[2] - 2 * energies[0]) / 0.02**2
    omega = np.sqrt(stiffness * 2 / relaxed.get_masses()[0])
    assert found == pytest.approx(omega * units._hbar * units.s * units.J / units.invcm, rel=0.01)


def test_convergence_with_k_points():
    result = converge(
        eos_flow,
        "static_kwargs.kpts",
        [[3, 3, 3], [4, 4, 4], [5, 5, 5]],
        "Si",
        relax_job=None,
        points=5,
        static_kwargs={**SILICON, "ecutwfc": 20.0, "ecutrho": 80.0},
        of="energy",
        tolerance=0.2,
    )
    energies = np.array([one["energy"] for one in result["properties"]])
    off = np.abs(energies - energies[-1])[:-1]
    assert off[0] > 3 * off[1]
    assert result["enough"] == [4, 4, 4]
    options = {**SILICON, "kpts": [5, 5, 5], "ecutwfc": 20.0, "ecutrho": 80.0}
    direct = static_job("Si", **options)["results"]["energy"]
    assert energies[-1] == pytest.approx(direct, abs=0.02)  # at 5.43 Å, near the minimum
