"""Elastic constants, against energies, published numbers and symmetry."""

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.calculators.emt import EMT
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from quacc.errors import ParameterError, StructureError
from quacc.recipes.emt.core import relax_job, static_job
from quacc.recipes.workflows import elastic
from tests.emt import elastic_flow, eos_flow


def energy(atoms, strain):
    """Energy density (GPa) of a strained crystal, with plain ASE."""
    atoms = atoms.copy()
    volume = atoms.get_volume()
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    atoms.calc = EMT()
    return atoms.get_potential_energy() / volume / units.GPa


@pytest.fixture(scope="module")
def copper():
    return relax_job("Cu", relax_cell=True, fmax=1e-4)


def test_copper_against_finite_differences_of_the_energy(copper):
    result = elastic_flow(copper)
    atoms, step = copper["atoms"], 2e-3
    along = np.diag([step, 0, 0])
    shear = np.array([[0, step / 2, 0], [step / 2, 0, 0], [0, 0, 0]])
    e0 = energy(atoms, 0 * along)
    c11 = (energy(atoms, along) + energy(atoms, -along) - 2 * e0) / step**2
    c44 = (energy(atoms, shear) + energy(atoms, -shear) - 2 * e0) / step**2
    both = np.diag([step, step, 0])
    c12 = (energy(atoms, both) + energy(atoms, -both) - 2 * e0) / step**2 / 2 - c11
    tensor = result["elastic_tensor"]
    assert tensor[0, 0] == pytest.approx(c11, rel=5e-3)
    assert tensor[3, 3] == pytest.approx(c44, rel=5e-3)
    assert tensor[0, 1] == pytest.approx(c12, rel=5e-3)


def test_aluminium_against_published_constants_of_the_same_potential():
    """ASE's EMT at a = 4 Å, C11 52.62, C12 32.67, C44 35.59 GPa: pyiron's atomistics package
    (tests of its elastic workflow), from energies with strains up to 0.005."""
    result = elastic_flow(bulk("Al", a=4.0), relax_job=None)
    tensor = result["elastic_tensor"]
    assert tensor[0, 0] == pytest.approx(52.62, rel=0.02)
    assert tensor[0, 1] == pytest.approx(32.67, rel=0.02)
    assert tensor[3, 3] == pytest.approx(35.59, rel=0.02)


def test_stresses_and_energies_agree(copper):
    from_stress = elastic_flow(copper)
    from_energy = elastic_flow(copper, from_energy=True)
    np.testing.assert_allclose(
        from_stress["elastic_tensor"], from_energy["elastic_tensor"], atol=1.0
    )


def test_the_bulk_modulus_is_that_of_the_equation_of_state(copper):
    result = elastic_flow(copper)
    assert result["bulk_modulus"] == pytest.approx(
        eos_flow(copper, points=9, step=0.004)["bulk_modulus"], rel=0.01
    )
    assert result["bulk_modulus_voigt"] == pytest.approx(result["bulk_modulus_reuss"])  # cubic


def test_a_cubic_crystal_takes_few_calculations(copper):
    cubic = elastic_flow(copper)
    # One at rest; of each strain, along an axis and shear, two sizes and both signs: shears of
    # either sign are equivalent.
    assert len(set(cubic["jobs"])) - 1 == 2 * (1 + 4 + 2)


def test_the_cell_and_its_orientation_do_not_matter(copper):
    primitive = elastic_flow(copper)
    cubic = relax_job(bulk("Cu", cubic=True), relax_cell=True, fmax=1e-4)
    whole = elastic_flow(cubic)
    np.testing.assert_allclose(primitive["elastic_tensor"], whole["elastic_tensor"], atol=0.05)
    turned = cubic["atoms"].copy()
    turned.rotate(37, (1, 2, 3), rotate_cell=True)
    rotated = elastic_flow(static_job(turned))
    assert rotated["universal_anisotropy"] == pytest.approx(whole["universal_anisotropy"], rel=1e-2)
    assert rotated["shear_modulus"] == pytest.approx(whole["shear_modulus"], rel=1e-3)
    np.testing.assert_allclose(rotated["eigenvalues"], whole["eigenvalues"], rtol=2e-3)


def test_a_hexagonal_crystal_with_internal_strains_against_its_energies():
    atoms = bulk("Cu", "hcp", a=2.55, c=4.16)
    relaxed = relax_job(atoms, relax_cell=True, fmax=1e-4)
    result = elastic_flow(relaxed, relax_kwargs={"fmax": 1e-4})
    other = elastic_flow(relaxed, relax_kwargs={"fmax": 1e-4}, from_energy=True)
    np.testing.assert_allclose(result["elastic_tensor"], other["elastic_tensor"], atol=2.0)
    clamped = elastic_flow(relaxed, relax_positions=False)
    # Atoms that may move can only soften a crystal.
    difference = clamped["elastic_tensor"] - result["elastic_tensor"]
    assert np.linalg.eigvalsh(difference).min() > -0.5
    assert np.linalg.eigvalsh(difference).max() > 0.1
    default = elastic_flow(relaxed)
    np.testing.assert_allclose(default["elastic_tensor"], result["elastic_tensor"], atol=0.5)
    assert not default["warnings"][1:]  # but for EMT's own
    loose = elastic_flow(relaxed, relax_kwargs={"fmax": 0.02})
    assert "were left with forces of 0.01" in loose["warnings"][-1]


@pytest.mark.parametrize(
    ("moments", "order"),
    [([2, 2, 2, 2], 48), ([2, 2, -2, -2], 16), ([2, 0, 0, 0], 48), ([[0, 0, 1]] * 4, 1)],
)
def test_the_symmetry_is_that_of_the_moments_too(moments, order):
    """Layers of fcc, here of atoms 0 and 1, with moments up and down are tetragonal, 4/mmm."""
    atoms = bulk("Fe", "fcc", a=3.5, cubic=True)
    atoms.set_initial_magnetic_moments(moments)
    assert len({tuple(one.round(3).ravel()) for one in elastic._rotations(atoms)}) == order


def test_an_unstable_crystal_is_told():
    result = elastic_flow(static_job(bulk("Cu", "sc", a=2.4)))
    assert not result["stable"]
    assert result["eigenvalues"][0] < 0
    assert any("mechanically unstable" in warning for warning in result["warnings"])


def test_a_stressed_crystal_is_told():
    result = elastic_flow(static_job(bulk("Cu", a=3.5)))
    assert result["residual_stress"] > 5
    assert any("stress" in warning for warning in result["warnings"])


strains = st.lists(st.floats(-0.02, 0.02), min_size=6, max_size=6).map(
    lambda six: np.array(
        [[six[0], six[5], six[4]], [six[5], six[1], six[3]], [six[4], six[3], six[2]]]
    )
)


@given(strains)
@settings(deadline=None)
def test_deformations_have_the_strain_that_was_asked_for(strain):
    gradient = elastic._deformation(strain)
    np.testing.assert_allclose((gradient.T @ gradient - np.eye(3)) / 2, strain, atol=1e-12)
    np.testing.assert_allclose(gradient, gradient.T, atol=1e-12)


def test_strains_that_symmetry_makes_equal_come_back_by_their_rotations():
    rotations = elastic._rotations(bulk("Cu"))
    strains = elastic._of_energies([0.01, -0.01])
    distinct, origin = elastic._reduce(strains, rotations)
    assert len(distinct) < len(strains) / 3
    for strain, (number, rotation) in zip(strains, origin, strict=True):
        turned = rotations[rotation] @ distinct[number] @ rotations[rotation].T
        np.testing.assert_allclose(turned, strain, atol=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"strain": 0.5}, "linear"), ({"points": 0}, "points"), ({"strain": 0}, "strain")],
)
def test_bad_input(options, message):
    with pytest.raises(ParameterError, match=message):
        elastic_flow("Cu", **options)


def test_no_crystal():
    with pytest.raises(StructureError, match="crystal"):
        elastic_flow("N2", relax_job=None)
    with pytest.raises(StructureError, match="crystal"):  # not that relax_cell is wrong
        elastic_flow("N2")


def test_what_is_zero_by_symmetry_is_zero_in_the_table(copper):
    for i, row in enumerate(elastic.tabulate(elastic_flow(copper))):
        _, *constants = row.values()
        assert [value == 0.0 for value in constants] == [
            (i >= 3 or j >= 3) and i != j for j in range(6)
        ]


def test_constants_of_ones_own_data():
    """Copper's, of Simmons and Wang (1971), from stresses and energies made of them."""
    constants = np.zeros((6, 6))
    constants[:3, :3] = 121.4
    constants[range(3), range(3)] = 168.4
    constants[range(3, 6), range(3, 6)] = 75.4
    pairs = [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]
    rng = np.random.default_rng(0)
    etas = [np.zeros(6), *rng.normal(0, 0.01, (40, 6))]
    strains, stresses = [], []
    for eta in etas:
        strain, stress = np.zeros((3, 3)), np.zeros((3, 3))
        for (i, j), e, s in zip(pairs, eta, constants @ eta, strict=True):
            strain[i, j] = strain[j, i] = e / (1 if i == j else 2)
            stress[i, j] = stress[j, i] = s
        strains.append(strain)
        stresses.append(stress)
    found, residual = elastic.elastic_constants(strains, stresses)
    np.testing.assert_allclose(found, constants, atol=1e-9)
    assert residual == 0
    volume = 11.8
    energies = [-3.5 + volume * units.GPa * eta @ constants @ eta / 2 for eta in etas]
    found, residual = elastic.elastic_constants_of_energies(strains, energies, volume)
    np.testing.assert_allclose(found, constants, atol=1e-6)
    assert residual < 1e-6
    found = elastic.moduli(constants, bulk("Cu"))
    assert found["bulk_modulus"] == pytest.approx((168.4 + 2 * 121.4) / 3)
    assert found["shear_modulus_voigt"] == pytest.approx((168.4 - 121.4 + 3 * 75.4) / 5)
    assert found["asymmetry"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("diagonal", "others", "curves"),
    [
        # Simmons and Wang, Single Crystal Elastic Constants, 1971 (GPa): Cu, Zn, α-U.
        ([168, 168, 168, 75, 75, 75], [121, 121, 121], {"xy, xz, yz"}),
        ([165, 165, 62, 40, 40, 67], [31, 50, 50], {"xy", "xz, yz"}),
        ([215, 199, 267, 124, 73, 74], [46, 22, 108], {"xy", "xz", "yz"}),
    ],
)
def test_directions_that_symmetry_makes_equal_share_a_curve(diagonal, others, curves):
    tensor = np.diag(np.array(diagonal, float))
    for (i, j), value in zip([(0, 1), (0, 2), (1, 2)], others, strict=True):
        tensor[i, j] = tensor[j, i] = value
    figure = Figure()
    elastic.draw({"elastic_tensor": tensor, "formula": "X"}, figure)
    [axes] = figure.axes
    assert {line.get_label() for line in axes.lines} == curves
    first = axes.lines[0]
    along_x = 1 / np.linalg.inv(tensor)[0, 0]
    assert first.get_ydata()[0] == pytest.approx(along_x)
