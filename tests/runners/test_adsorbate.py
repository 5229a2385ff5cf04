"""Thermochemistry of adsorbates, against ASE's classes, and the limits of the formulae."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import add_adsorbate, fcc111, molecule
from ase.constraints import FixAtoms
from ase.thermochemistry import HarmonicThermo, HinderedThermo
from ase.vibrations import VibrationsData

from quacc.errors import InputError
from quacc.recipes.emt.core import freq_job, relax_job
from quacc.recipes.mopac.core import freq_job as mopac_freq_job
from quacc.runners.adsorbate import hindered

BARRIERS = {
    "thermo": "hindered",
    "translation_barrier": 0.05,
    "rotation_barrier": 0.02,
    "rotational_minima": 6,
    "site_area": 6.0,
}


def on_copper(adsorbate, height):
    slab = fcc111("Cu", (2, 2, 2), vacuum=7.0, periodic=True)
    slab.set_constraint(FixAtoms(range(len(slab))))
    add_adsorbate(slab, adsorbate, height, "fcc")
    return relax_job(slab, fmax=0.005, steps=500)["atoms"]


@pytest.fixture(scope="module")
def flat():
    lying = molecule("C2H2")
    lying.rotate(90, "y")
    return on_copper(lying, 1.6)


@pytest.fixture(scope="module")
def atom():
    return on_copper("O", 1.2)


def energies_of(result):
    atoms, hessian = result["atoms"], result["hessian"]
    moving = [index for index in range(len(atoms)) if index not in atoms.constraints[0].index]
    return moving, VibrationsData.from_2d(atoms, hessian, indices=moving).get_energies()


def test_the_adsorbate_s_harmonic_thermochemistry_is_ase_s(atom):
    result = freq_job(atom, thermo="harmonic", temperature=400)
    _, energies = energies_of(result)
    solid = HarmonicThermo(energies, potentialenergy=result["results"]["energy"])
    thermo = result["thermo"]
    for name, value in {
        "internal_energy": solid.get_internal_energy(400, verbose=False),
        "entropy": solid.get_entropy(400, verbose=False),
        "helmholtz_energy": solid.get_helmholtz_energy(400, verbose=False),
    }.items():
        assert thermo[name] == pytest.approx(value, abs=1e-9)
    ratios = energies.real / (units.kB * 400)  # and the formula
    entropy = units.kB * (ratios / np.expm1(ratios) - np.log(-np.expm1(-ratios))).sum()
    assert thermo["entropy"] == pytest.approx(entropy, abs=1e-9)


def test_a_hindered_molecule_is_ase_s(flat):
    result = freq_job(flat, temperature=400, symmetry_number=2, **BARRIERS)
    moving, energies = energies_of(result)
    alone = result["atoms"][moving]
    alone.pbc = False
    arms = (alone.positions - alone.get_center_of_mass())[:, :2]
    inertia = float(alone.get_masses() @ np.square(arms).sum(axis=1))
    ase = HinderedThermo(
        energies,
        trans_barrier_energy=0.05,
        rot_barrier_energy=0.02,
        sitedensity=1e16 / 6.0,
        rotationalminima=6,
        potentialenergy=result["results"]["energy"],
        mass=float(alone.get_masses().sum()),
        inertia=inertia,
        atoms=alone,
        symmetrynumber=2,
        ignore_imag_modes=True,
    )
    thermo = result["thermo"]
    assert thermo["model"] == "hindered"
    assert thermo["zero_point_energy"] == pytest.approx(ase.get_zero_point_energy(), abs=1e-9)
    assert thermo["entropy"] == pytest.approx(ase.get_entropy(400, verbose=False), abs=1e-9)
    internal = ase.get_internal_energy(400, verbose=False)
    assert thermo["internal_energy"] == pytest.approx(internal, abs=1e-9)
    assert thermo["helmholtz_energy"] == pytest.approx(internal - 400 * thermo["entropy"], abs=1e-9)
    cut = flat.copy()
    cut.positions += 0.4 * cut.cell[0] + 0.5 * cut.cell[1]
    cut.wrap()
    again = freq_job(cut, temperature=400, symmetry_number=2, **BARRIERS)["thermo"]
    assert again["entropy"] == pytest.approx(thermo["entropy"], rel=1e-4)


def test_an_atom_moves_and_does_not_turn(atom):
    given = {"thermo": "hindered", "translation_barrier": 0.3, "site_area": 6.0}
    result = freq_job(atom, temperature=300, **given)
    assert len(result["frequencies"]) == 3
    assert not any("motions" in text for text in result["warnings"])
    quantum = units._hplanck * np.sqrt(0.3 * units._e / (2 * 15.999 * units._amu * 6e-20))
    energy = result["frequencies"][2] * units.invcm / 2 + quantum / units._e
    assert result["thermo"]["zero_point_energy"] == pytest.approx(energy, rel=1e-6)


def test_free_and_stiff_limits():
    """A gas in two dimensions without barriers, a harmonic oscillator between high ones."""
    mass, area, kelvin = 28 * units._amu, 6e-20, 500.0

    def quantum(barrier):
        return units._hplanck * np.sqrt(barrier * units._e / (2 * mass * area)) / units._e

    energy, entropy = hindered(quantum(1e-7), 1e-7, kelvin)
    heat = units._k * kelvin
    gas = 0.5 + np.log(np.sqrt(2 * np.pi * mass * heat * area) / units._hplanck)
    assert energy == pytest.approx(units.kB * kelvin / 2, rel=1e-3)
    assert entropy == pytest.approx(units.kB * gas, rel=1e-4)
    stiff = HarmonicThermo([0.02])
    energy, entropy = hindered(0.02, 100.0, kelvin)
    assert entropy == pytest.approx(stiff.get_entropy(kelvin, verbose=False), rel=1e-3)
    assert energy + 0.01 == pytest.approx(
        stiff.get_internal_energy(kelvin, verbose=False), rel=1e-3
    )
    assert np.isfinite(hindered(0.01, 1.0, 1.0)).all()


def test_modes_that_are_no_motions_of_the_whole_are_told(atom):
    loose = atom.copy()
    loose.set_constraint(FixAtoms([0, 1, 2, 3, 4, 5, 6]))  # an atom of the slab moves, too
    given = {**BARRIERS, "rotational_minima": 3}
    warnings = freq_job(loose, **given)["warnings"]
    assert any("motions of the adsorbate as a whole" in text for text in warnings)


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"thermo": "hindered"}, "needs translation_barrier"),
        ({"translation_barrier": 0.1}, "of thermo='hindered' alone"),
        ({**BARRIERS, "rotational_minima": None}, "belong together"),
        ({**BARRIERS, "rotation_barrier": None, "rotational_minima": None}, "can turn"),
        ({**BARRIERS, "site_area": -1.0}, "site_area"),
        ({**BARRIERS, "rotational_minima": 1.5}, "rotational_minima"),
        ({**BARRIERS, "low_modes": "grimme"}, "low_modes='truhlar' with thermo='hindered'"),
    ],
)
def test_wrong_keywords(flat, keywords, words):
    with pytest.raises(InputError, match=words):
        freq_job(flat, **keywords)


def test_wrong_structures(atom):
    with pytest.raises(InputError, match="nothing turns"):
        freq_job(atom, **BARRIERS)
    free = atom.copy()
    free.set_constraint()
    with pytest.raises(InputError, match="own atoms are fixed"):
        freq_job(free, **BARRIERS)
    with pytest.raises(InputError, match="on a slab"):
        freq_job(Atoms("N2", [[0, 0, 0], [0, 0, 1.1]], constraint=FixAtoms([0])), **BARRIERS)


def test_keys_of_before_are_the_same(atom):
    keys = {
        freq_job.plan(atom, thermo="harmonic", **more).key for more in ({}, {"site_area": None})
    }
    assert len(keys) == 1
    assert freq_job.plan(atom, **{**BARRIERS, "site_area": 5.0}).key not in keys


@pytest.mark.mopac
def test_enthalpies_are_not_mixed_with_hindered_motions(atom):
    given = {"thermo": "hindered", "translation_barrier": 0.3, "site_area": 6.0}
    with pytest.raises(InputError, match="is an enthalpy at 298.15 K"):
        mopac_freq_job(atom, **given)
