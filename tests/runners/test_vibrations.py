"""Vibrations and thermochemistry, against formulae and ASE's own."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.lj import LennardJones
from ase.constraints import FixAtoms, FixBondLength
from ase.thermochemistry import HarmonicThermo, IdealGasThermo
from ase.vibrations import Vibrations

from quacc.errors import CalculationError, ParameterError, StructureError
from quacc.recipes.lj.core import freq_job, relax_job

ARGON = {"sigma": 3.4, "epsilon": 0.0104, "rc": 50.0}


@pytest.fixture(scope="module")
def dimer():
    return relax_job(Atoms("Ar2", positions=[[0, 0, 0], [0, 0, 4.0]]), fmax=1e-7, **ARGON)


def test_the_dimer_vibrates_as_the_formula_says(dimer):
    result = freq_job(dimer, displacement=0.001, **ARGON)
    # V'' of Lennard-Jones at its minimum is 36 * 2^(2/3) epsilon / sigma^2.
    curvature = 36 * 2 ** (2 / 3) * 0.0104 / 3.4**2
    reduced = dimer["atoms"].get_masses()[0] / 2
    energy = units._hbar * 1e10 * np.sqrt(curvature * units._e / reduced / units._amu) / units._e
    assert result["frequencies"] == pytest.approx([energy / units.invcm], rel=1e-4)
    assert result["thermo"]["geometry"] == "linear"
    assert result["thermo"]["symmetry_number"] == 2
    assert result["thermo"]["zero_point_energy"] == pytest.approx(energy / 2, rel=1e-4)
    assert result["warnings"] == []


def cluster():
    # Four Lennard-Jones atoms form a tetrahedron.
    atoms = molecule("NH3")
    atoms.rattle(0.05, seed=1)
    return relax_job(atoms, fmax=1e-6, epsilon=0.5, sigma=1.0)


def test_same_as_ase_for_a_cluster(tmp_path):
    relaxed = cluster()
    plain = relaxed["atoms"].copy()
    plain.calc = LennardJones(epsilon=0.5, sigma=1.0)
    vibrations = Vibrations(plain, delta=0.01, name=str(tmp_path / "vib"))
    vibrations.run()
    energies = vibrations.get_energies()
    result = freq_job(relaxed, epsilon=0.5, sigma=1.0, temperature=400, pressure=2.0)
    np.testing.assert_allclose(
        result["frequencies"] * units.invcm, np.sort(energies.real)[6:], atol=1e-8
    )
    gas = IdealGasThermo(
        energies,
        "nonlinear",
        potentialenergy=plain.get_potential_energy(),
        atoms=plain,
        symmetrynumber=result["thermo"]["symmetry_number"],
        spin=0,
        ignore_imag_modes=True,
    )
    thermo = result["thermo"]
    assert thermo["enthalpy"] == pytest.approx(gas.get_enthalpy(400, verbose=False), abs=1e-6)
    assert thermo["entropy"] == pytest.approx(gas.get_entropy(400, 2e5, verbose=False), abs=1e-8)
    assert thermo["gibbs_energy"] == pytest.approx(
        gas.get_gibbs_energy(400, 2e5, verbose=False), abs=1e-6
    )
    assert thermo["gibbs_energy"] == pytest.approx(thermo["enthalpy"] - 400 * thermo["entropy"])


@pytest.mark.parametrize("thermo", ["ideal_gas", "harmonic"])
def test_a_molecule_in_a_box_is_free(thermo):
    """Its rotations are no vibrations, and its thermochemistry is that without a box."""
    potential = {"epsilon": 0.5, "sigma": 1.0, "thermo": thermo}
    free = cluster()["atoms"]
    box = free.copy()
    box.set_cell([[14.0, 0, 0], [2.0, 13.0, 0], [0, 1.0, 12.0]])
    box.pbc = True
    box.positions += 0.1
    box.wrap()  # the boundaries cut it
    assert np.ptp(box.positions, axis=0).max() > 6
    expected, found = freq_job(free, **potential), freq_job(box, **potential)
    assert len(found["frequencies"]) == 6
    np.testing.assert_allclose(found["frequencies"], expected["frequencies"], rtol=1e-5)
    for name, value in expected["thermo"].items():
        assert found["thermo"][name] == (
            value if isinstance(value, str) else pytest.approx(value, rel=1e-6)
        )
    assert found["warnings"] == expected["warnings"]


def test_a_molecule_without_enough_vacuum_says_so():
    potential = {"epsilon": 0.5, "sigma": 1.0}
    tight = cluster()["atoms"].copy()
    tight.center(vacuum=2.0)
    tight.pbc = True
    found = freq_job(tight, thermo="harmonic", **potential)
    assert len(found["frequencies"]) == 9
    assert any("only 4.0 Å of vacuum" in text for text in found["warnings"])
    with pytest.raises(StructureError, match="at least 6 Å of vacuum"):
        freq_job(tight, **potential)
    argon = freq_job(bulk("Ar", "fcc", a=5.3, cubic=True), thermo="harmonic", **ARGON)
    assert not any("vacuum" in text for text in argon["warnings"])


def test_low_modes_are_free_rotors_or_raised(dimer):
    """By the formulae of the papers, in SI units; the mode is at 24 1/cm."""
    harmonic, grimme, truhlar = (
        freq_job(dimer, low_modes=one, temperature=300.0, **ARGON)
        for one in ("harmonic", "grimme", "truhlar")
    )
    kT, (wavenumber,) = units._k * 300.0, harmonic["frequencies"]

    def entropy(of):
        x = units._hplanck * units._c * 100 * of / kT
        return units._k * (x / np.expm1(x) - np.log(-np.expm1(-x)))

    mu = units._hplanck / (8 * np.pi**2 * units._c * 100 * wavenumber)
    inertia = np.mean(dimer["atoms"].get_moments_of_inertia()) * units._amu * 1e-20
    mu = mu * inertia / (mu + inertia)
    rotor = units._k * (0.5 + np.log(np.sqrt(8 * np.pi**3 * mu * kT / units._hplanck**2)))
    weight = 1 / (1 + (100 / wavenumber) ** 4)
    more = (1 - weight) * (rotor - entropy(wavenumber)) / units._e
    assert more < -1e-5
    thermo = [one["thermo"] for one in (harmonic, grimme, truhlar)]
    assert thermo[1]["entropy"] - thermo[0]["entropy"] == pytest.approx(more, rel=1e-5)
    more = (entropy(100.0) - entropy(wavenumber)) / units._e
    assert thermo[2]["entropy"] - thermo[0]["entropy"] == pytest.approx(more, rel=1e-5)
    assert len({one["enthalpy"] for one in thermo}) == 1
    for one in thermo:
        assert one["gibbs_energy"] == pytest.approx(one["enthalpy"] - 300.0 * one["entropy"])
    assert len({one["key"] for one in (harmonic, grimme, truhlar)}) == 3
    assert harmonic["key"] == freq_job(dimer, temperature=300.0, **ARGON)["key"]


def test_low_modes_of_what_is_not_free(dimer):
    fixed = dimer["atoms"].copy()
    fixed.set_constraint(FixAtoms([0]))
    found = [
        freq_job(fixed, thermo="harmonic", low_modes=one, **ARGON)
        for one in ("harmonic", "truhlar")
    ]
    low = [one for one in found[0]["frequencies"] if 0 < one < 100]
    assert len(low) > 0
    kelvin = 298.15
    raised = len(low) * HarmonicThermo([100 * units.invcm]).get_entropy(kelvin, verbose=False)
    plain = HarmonicThermo([one * units.invcm for one in low]).get_entropy(kelvin, verbose=False)
    entropies = [one["thermo"]["entropy"] for one in found]
    assert entropies[1] - entropies[0] == pytest.approx(raised - plain)
    with pytest.raises(ParameterError, match="free molecules"):
        freq_job(fixed, thermo="harmonic", low_modes="grimme", **ARGON)


def test_an_atom_has_the_sackur_tetrode_entropy():
    result = freq_job(Atoms("Ar"), temperature=298.15, pressure=1.0, **ARGON)
    # 154.845 J/(mol K) at 298.15 K and 1 bar: Chase, NIST-JANAF Tables, 4th ed. (1998).
    entropy = result["thermo"]["entropy"] / units.J * units.mol
    assert entropy == pytest.approx(154.845, abs=0.01)
    assert len(result["frequencies"]) == 0
    assert result["thermo"]["enthalpy"] == pytest.approx(2.5 * units.kB * 298.15)


def test_fixed_atoms_are_left_out(dimer):
    atoms = dimer["atoms"].copy()
    atoms.set_constraint(FixAtoms([0]))
    result = freq_job(atoms, thermo="harmonic", **ARGON)
    assert result["hessian"].shape == (3, 3)
    assert len(result["frequencies"]) == 3
    free = freq_job(dimer, **ARGON)["frequencies"][-1]
    # One atom against a wall has twice the reduced mass of the dimer.
    assert result["frequencies"][-1] == pytest.approx(free / np.sqrt(2), rel=1e-3)


def test_harmonic_thermochemistry_of_a_crystal():
    argon = relax_job(bulk("Ar", "fcc", a=5.3, cubic=True), relax_cell=True, fmax=1e-6, **ARGON)
    result = freq_job(argon, thermo="harmonic", temperature=50, **ARGON)
    assert len(result["frequencies"]) == 9  # without the three translations
    assert (result["frequencies"] > 10).all()
    solid = HarmonicThermo(
        result["frequencies"] * units.invcm, potentialenergy=argon["results"]["energy"]
    )
    thermo = result["thermo"]
    assert thermo["helmholtz_energy"] == pytest.approx(
        solid.get_helmholtz_energy(50, verbose=False), abs=1e-9
    )
    assert thermo["helmholtz_energy"] == pytest.approx(
        thermo["internal_energy"] - 50 * thermo["entropy"]
    )


def test_the_hessian_is_symmetric_and_sums_to_zero(dimer):
    hessian = freq_job(dimer, **ARGON)["hessian"]
    np.testing.assert_array_equal(hessian, hessian.T)
    np.testing.assert_allclose(hessian[:, :3] + hessian[:, 3:], 0, atol=1e-9)


def test_a_saddle_point_and_its_forces_are_reported():
    line = Atoms("Ar3", positions=[[0, 0, 0], [0, 0, 3.816], [0, 0, 7.632]])
    result = freq_job(relax_job(line, fmax=1e-6, **ARGON), **ARGON)
    assert (result["frequencies"] < 0).sum() == 2
    assert "2 imaginary or zero modes" in result["warnings"][0]
    stretched = Atoms("Ar2", positions=[[0, 0, 0], [0, 0, 3.4]])
    assert "not relaxed" in freq_job(stretched, **ARGON)["warnings"][0]


def test_spin_comes_from_the_moments():
    oxygen = molecule("O2")
    thermo = freq_job(oxygen, sigma=1.0, epsilon=1.0)["thermo"]
    assert thermo["spin"] == 1.0
    none = freq_job(oxygen, spin=0.0, sigma=1.0, epsilon=1.0)["thermo"]
    assert thermo["entropy"] - none["entropy"] == pytest.approx(units.kB * np.log(3))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"displacement": 0}, "displacement"),
        ({"displacement": 1e-9}, "between 0.0001 and 0.5"),
        ({"displacement": 30.0}, "between 0.0001 and 0.5"),
        ({"thermo": "gas"}, "thermo 'gas' is unknown"),
        ({"temperature": -3}, "temperature"),
        ({"pressure": 0}, "pressure"),
        ({"symmetry_number": 0}, "symmetry_number"),
        ({"spin": 0.3}, "spin"),
        ({"spin": "up"}, "spin"),
        ({"sigm": 1.0}, "Did you mean 'sigma'"),
    ],
)
def test_wrong_keywords(wrong, told):
    with pytest.raises(ParameterError, match=told):
        freq_job("N2", **wrong)


def test_thermochemistry_must_be_finite(dimer):
    with pytest.raises(CalculationError, match="enthalpy.* not finite numbers"):
        freq_job(dimer, temperature=1e300, **ARGON)


def test_modes_without_stiffness_are_reported():
    apart = Atoms("Ar3", positions=[[0, 0, 0], [0, 60, 0], [60, 0, 0]])
    assert "3 imaginary or zero modes" in freq_job(apart, **ARGON)["warnings"][-1]


def test_wrong_structures():
    with pytest.raises(StructureError, match="is periodic"):
        freq_job(bulk("Ar", "fcc", a=5.3), **ARGON)
    fixed = molecule("N2")
    fixed.set_constraint(FixAtoms([0]))
    with pytest.raises(StructureError, match="has fixed atoms"):
        freq_job(fixed, **ARGON)
    fixed.set_constraint(FixAtoms([0, 1]))
    with pytest.raises(StructureError, match="All atoms are fixed"):
        freq_job(fixed, thermo="harmonic", **ARGON)
    fixed.set_constraint(FixBondLength(0, 1))
    with pytest.raises(StructureError, match="FixBondLength"):
        freq_job(fixed, **ARGON)


def test_without_a_real_mode_there_is_no_thermochemistry():
    """Inside a wide octahedron an atom is pulled to all corners: a maximum of the energy."""
    corners = [sign * 6.0 * axis for axis in np.eye(3) for sign in (1, -1)]
    cage = Atoms("Ar7", positions=[[0, 0, 0], *corners])
    cage.set_constraint(FixAtoms(range(1, 7)))
    with pytest.raises(CalculationError, match="no mode has a real frequency"):
        freq_job(cage, thermo="harmonic", **ARGON)
