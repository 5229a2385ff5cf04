"""Phonons, against ASE's own phonons, conservation laws and the literature."""

import numpy as np
import pytest
from ase import units
from ase.build import add_adsorbate, bulk, fcc111, graphene, molecule
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms, FixBondLength
from ase.phonons import Phonons

from quacc.atoms.modify import repeats_for
from quacc.errors import ParameterError, StructureError
from quacc.recipes import workflows
from quacc.recipes.emt.core import freq_job, relax_job, static_job
from quacc.recipes.lj import core as lj
from quacc.recipes.tools.workflow import with_calculator
from quacc.recipes.workflows.phonon import Lattice
from quacc.runners.lattice_dynamics import IMAGINARY
from tests.emt import phonon_flow

lj_phonon_flow = with_calculator(workflows.phonon_flow, "lj")

THZ = 1e12 * units._hplanck / units._e
"""eV."""


@pytest.fixture(scope="module")
def copper():
    return phonon_flow(relax_job("Cu", relax_cell=True, fmax=1e-5), supercell=[5, 5, 5])


def frequencies(result, *labels):
    """Frequencies (THz) at a point of the path."""
    for part in result["bands"]:
        for end, label in enumerate(part["labels"]):
            if label in labels:
                return part["frequencies"][-end]
    raise AssertionError(f"{labels} not among the labels")


def test_copper_is_that_of_ases_phonons_module(copper, tmp_path):
    atoms = copper["atoms"]
    other = Phonons(atoms, EMT(), supercell=(5, 5, 5), delta=0.01, name=str(tmp_path / "phonon"))
    other.run()
    other.read(acoustic=True)
    for point, label in (((0.5, 0, 0.5), "X"), ((0.5, 0.5, 0.5), "L")):
        expected = np.sort(other.band_structure(np.array([point]))[0]) / THZ
        np.testing.assert_allclose(np.sort(frequencies(copper, label)), expected, rtol=5e-3)


def test_three_acoustic_modes_begin_at_zero(copper):
    np.testing.assert_allclose(frequencies(copper, "Γ"), 0, atol=1e-3)
    assert copper["sum_rule"] < 1e-2
    assert copper["stable"]
    assert copper["imaginary_modes"] == 0
    np.testing.assert_allclose(copper["force_constants"].sum(axis=1), 0, atol=1e-10)


def test_heat_capacity_goes_to_dulong_and_petit(copper):
    thermal = copper["thermal"]
    assert thermal["heat_capacity"][0] == 0
    assert thermal["heat_capacity"][-1] == pytest.approx(3 * units.kB, rel=0.01)
    assert thermal["heat_capacity"][-1] < 3 * units.kB
    # S = -dF/dT, C = T dS/dT.
    t, f, s = thermal["temperatures"], thermal["free_energy"], thermal["entropy"]
    np.testing.assert_allclose(-np.gradient(f, t)[5:-1], s[5:-1], rtol=1e-2, atol=1e-6)
    np.testing.assert_allclose(
        (t * np.gradient(s, t))[8:-1], thermal["heat_capacity"][8:-1], rtol=2e-2
    )


def test_the_density_of_states_counts_all_modes(copper):
    dos = copper["dos"]
    assert np.trapezoid(dos["density"], dos["frequencies"]) == pytest.approx(3, rel=0.02)


def test_the_zero_point_energy_is_that_of_the_density_of_states(copper):
    dos = copper["dos"]
    mean = np.trapezoid(dos["density"] * dos["frequencies"], dos["frequencies"]) * THZ / 2
    assert copper["thermal"]["free_energy"][0] == pytest.approx(mean, rel=0.02)


def test_the_cell_does_not_matter(copper):
    cubic = relax_job(bulk("Cu", cubic=True), relax_cell=True, fmax=1e-5)
    result = phonon_flow(cubic, supercell=[3, 3, 3])
    assert len(result["primitive"]) == 1
    assert result["highest_frequency"] == pytest.approx(copper["highest_frequency"], rel=0.02)
    np.testing.assert_allclose(
        np.sort(frequencies(result, "X")), np.sort(frequencies(copper, "X")), rtol=0.02
    )


def test_a_crystal_in_another_orientation_has_the_same_bands(copper):
    turned = copper["atoms"].copy()
    turned.rotate(25, (1, 2, 3), rotate_cell=True)
    result = phonon_flow(static_job(turned), supercell=[5, 5, 5])
    np.testing.assert_allclose(
        np.sort(frequencies(result, "X")), np.sort(frequencies(copper, "X")), rtol=2e-3
    )


def test_the_debye_temperature_of_argon_is_the_measured_one():
    """92 K (Kittel, Introduction to Solid State Physics, 8th ed., table 5.1), from the heat
    capacity at low temperature, with Rahman's parameters (Phys. Rev. 136, A405 (1964))."""
    potential = {"epsilon": 119.8 * units.kB, "sigma": 3.405, "rc": 12.0}
    relaxed = lj.relax_job(bulk("Ar", a=5.3), relax_cell=True, fmax=1e-5, **potential)
    result = lj_phonon_flow(
        relaxed, supercell=[5, 5, 5], mesh=200.0, t_max=10, t_step=1, static_kwargs=potential
    )
    assert result["stable"]
    heat = result["thermal"]["heat_capacity"][4] / units.kB
    debye = 4 * (12 * np.pi**4 / 5 / heat) ** (1 / 3)
    assert debye == pytest.approx(92, rel=0.06)


def test_an_unstable_crystal_has_imaginary_modes():
    result = phonon_flow(static_job(bulk("Cu", "sc", a=2.4)), supercell=[4, 4, 4])
    assert not result["stable"]
    assert result["lowest_frequency"] < IMAGINARY
    assert result["imaginary_modes"] > 0
    assert any("imaginary modes" in warning for warning in result["warnings"])


def test_a_fixed_substrate_has_no_phonons():
    """Then at Γ there are the vibrations that freq_job computes, which holds the substrate."""
    slab = fcc111("Cu", (1, 1, 3), vacuum=8.0, periodic=True)
    add_adsorbate(slab, "O", 1.2, "fcc")
    slab.set_constraint(FixAtoms(range(3)))
    relaxed = relax_job(slab, fmax=1e-4)
    result = phonon_flow(relaxed, supercell=[1, 1, 1])
    assert len(result["primitive"]) == 1
    other = freq_job(relaxed, thermo="harmonic")
    wavenumbers = frequencies(result, "Γ") * THZ / units.invcm
    np.testing.assert_allclose(np.sort(wavenumbers), other["frequencies"], rtol=2e-3)


def test_a_layer_is_taken_as_it_is():
    """Its cell cannot be relaxed, as it has no stress across the vacuum."""
    layer = fcc111("Cu", (1, 1, 1), vacuum=8.0)
    assert phonon_flow(layer, relax_job=None, mesh=10.0)["supercell"][2] == 1
    assert phonon_flow(static_job(layer), mesh=10.0)["supercell"][2] == 1
    with pytest.raises(StructureError, match="periodic in three"):
        phonon_flow(layer)


def test_the_supercell_is_as_wide_as_was_asked():
    atoms = bulk("Cu")
    repeats = repeats_for(atoms, None, 12.0)
    heights = 1 / np.linalg.norm(np.linalg.inv((atoms * repeats).cell), axis=0)
    assert heights.min() >= 12
    assert heights.min() < 12 + 2.5
    assert len(Lattice(atoms, repeats, 0.01).displaced) == 1


@pytest.mark.parametrize(
    ("structure", "options", "error", "message"),
    [
        (molecule("H2O"), {"relax_job": None}, StructureError, "freq_job"),
        (graphene("C2", vacuum=None), {"relax_job": None}, StructureError, "three cell vectors"),
        ("H2O", {}, StructureError, "freq_job"),
        ("Cu", {"supercell": "222"}, ParameterError, r"three whole numbers such as \[2, 2, 2\]"),
        ("Cu", {"supercell": [2, 2, 0]}, ParameterError, r"supercell\[2\] must be a whole number"),
        ("Cu", {"supercell": [1, 1, 1]}, StructureError, "supercell of one atom"),
        ("Cu", {"displacement": 0}, ParameterError, "displacement"),
        ("Cu", {"mesh": -1}, ParameterError, "mesh"),
    ],
)
def test_bad_input(structure, options, error, message, monkeypatch):
    monkeypatch.setattr(EMT, "calculate", None)
    with pytest.raises(error, match=message):
        phonon_flow(structure, **options)


def test_a_left_handed_cell_is_the_same_crystal():
    atoms = relax_job(bulk("Cu"), relax_cell=True, fmax=1e-4)["atoms"]
    turned = atoms.copy()
    turned.set_cell(atoms.cell[[1, 0, 2]])
    assert turned.cell.handedness == -atoms.cell.handedness
    options = {"relax_job": None, "supercell": [3, 3, 3], "mesh": 20.0}
    one, other = phonon_flow(atoms, **options), phonon_flow(turned, **options)
    for name in ("lowest_frequency", "highest_frequency"):
        assert other[name] == pytest.approx(one[name], abs=1e-3)
    with pytest.raises(StructureError, match="left-handed"):
        turned.pbc = [True, True, False]
        phonon_flow(turned, **options)


def test_a_crystal_that_is_not_relaxed_is_told():
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.05, seed=1)
    result = phonon_flow(static_job(atoms), supercell=[1, 1, 1], mesh=10.0)
    assert any("not relaxed" in text for text in result["warnings"])
    relaxed = phonon_flow("Cu", supercell=[2, 2, 2], mesh=10.0)
    assert not any("not relaxed" in text for text in relaxed["warnings"])


def test_other_constraints_are_refused():
    atoms = bulk("Cu", cubic=True)
    atoms.set_constraint(FixBondLength(0, 1))
    with pytest.raises(StructureError, match="FixAtoms"):
        phonon_flow(atoms, relax_job=None)
