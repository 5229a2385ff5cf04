"""PySCF, against its own interface, published values and finite differences."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.units import Bohr, Hartree

from quacc.calculators import get_code
from quacc.errors import CalculationError, InputError
from quacc.recipes.pyscf.core import freq_job, md_job, neb_job, relax_job, static_job

pytestmark = pytest.mark.pyscf

SMALL = {"xc": "HF", "basis": "STO-3G"}


def solver(atoms, xc, basis, spin=0, charge=0, **more):
    """Return PySCF's own SCF, by hand."""
    from pyscf import dft, gto, scf

    lines = "; ".join(f"{atom.symbol} {atom.x} {atom.y} {atom.z}" for atom in atoms)
    mol = gto.M(atom=lines, basis=basis, spin=spin, charge=charge, verbose=0, **more)
    if xc == "HF":
        return scf.UHF(mol) if spin else scf.RHF(mol)
    return dft.UKS(mol, xc=xc) if spin else dft.RKS(mol, xc=xc)


@pytest.mark.parametrize(
    ("atoms", "spin", "charge", "given"),
    [
        (molecule("H2O"), 0, 0, {"xc": "PBE0", "basis": "def2-SVP"}),
        (molecule("H2O"), 1, 1, {"xc": "B3LYP", "basis": "6-31G"}),
        (molecule("O2"), 2, 0, {"xc": "HF", "basis": "def2-SVP"}),
        (molecule("OH"), 1, 0, {"xc": "PBE", "basis": "STO-3G"}),
        (molecule("OH"), 0, -1, {"xc": "HF", "basis": {"O": "6-31+G", "H": "STO-3G"}}),
    ],
    ids=["closed shell", "cation", "triplet", "radical", "anion"],
)
def test_same_as_pyscf_by_hand(atoms, spin, charge, given):
    atoms = Atoms(atoms.symbols, atoms.positions)
    atoms.set_initial_charges([charge, *[0] * (len(atoms) - 1)])
    atoms.set_initial_magnetic_moments([spin, *[0] * (len(atoms) - 1)])
    result = static_job(atoms, **given)
    by_hand = solver(atoms, spin=spin, charge=charge, **given)
    by_hand.kernel()
    assert by_hand.converged
    assert result["results"]["energy"] == pytest.approx(by_hand.e_tot * Hartree, abs=1e-6)
    forces = -by_hand.nuc_grad_method().kernel() * Hartree / Bohr
    # PySCF's default leaves out that the grid moves with the atoms.
    np.testing.assert_allclose(result["results"]["forces"], forces, atol=1e-3)
    assert result["parameters"]["multiplicity"] == spin + 1
    assert result["parameters"]["charge"] == charge
    assert ("dipole" in result["results"]) == (charge == 0)


@pytest.mark.parametrize(
    "given",
    [
        {"xc": "PBE0", "basis": "6-31G", "grid_level": 1},
        {"xc": "r2SCAN", "basis": "STO-3G", "multiplicity": 3, "grid_level": 1},
        {"xc": "HF", "basis": "def2-SVP", "density_fit": True},
    ],
    ids=lambda given: given["xc"],
)
def test_forces_are_derivatives_of_the_energy(given):
    atoms = molecule("H2O")
    atoms.rattle(0.05, seed=1)
    given = {**given, "conv_tol": 1e-11}
    forces = static_job(atoms, **given)["results"]["forces"]
    energies = []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions[1, 1] += sign * 2e-3
        energies.append(static_job(moved, **given)["results"]["energy"])
    assert forces[1, 1] == pytest.approx((energies[1] - energies[0]) / 4e-3, abs=1e-4)
    np.testing.assert_allclose(forces.sum(axis=0), 0, atol=1e-6)


def test_water_with_a_minimal_basis_is_as_published():
    """Yamaguchi, Frisch, Gaw, Schaefer and Binkley, J. Chem. Phys. 84, 2262 (1986), Table 6, and
    NIST CCCBDB: HF/STO-3G."""
    relaxed = relax_job("H2O", fmax=0.001, **SMALL)
    assert relaxed["converged"]
    energy = relaxed["results"]["energy"] / Hartree
    assert energy == pytest.approx(-74.965901, abs=1e-6)
    found = freq_job(relaxed, displacement=0.005, **SMALL)["frequencies"]
    np.testing.assert_allclose(found, [2170.04, 4140.00, 4391.07], atol=1)


def test_water_with_a_polarised_basis_is_as_published():
    """Hehre, Radom, Schleyer and Pople, Ab Initio Molecular Orbital Theory (1986): HF/6-31G*, which
    is defined with Cartesian functions."""
    given = {"xc": "HF", "basis": "6-31G*", "cartesian": True}
    relaxed = relax_job("H2O", fmax=0.001, **given)
    assert relaxed["results"]["energy"] / Hartree == pytest.approx(-76.01075, abs=1e-5)
    assert relaxed["atoms"].get_distance(0, 1) == pytest.approx(0.947, abs=6e-4)
    assert relaxed["atoms"].get_angle(1, 0, 2) == pytest.approx(105.5, abs=0.06)
    found = freq_job(relaxed, displacement=0.005, **given)["frequencies"]
    np.testing.assert_allclose(found, [1827, 4070, 4188], atol=2)
    spherical = static_job(relaxed, **{**given, "cartesian": False})["results"]["energy"]
    assert spherical > relaxed["results"]["energy"] + 0.01


def test_effective_core_potentials_come_with_the_basis_set():
    atoms = Atoms("IH", [[0, 0, 0], [0, 0, 1.6]])
    by_hand = solver(atoms, "HF", "def2-SVP", ecp={"I": "def2-SVP"})
    assert by_hand.mol.nelectron == 26  # 28 of iodine's are in the potential
    result = static_job(atoms, xc="HF", basis="def2-SVP")
    assert result["results"]["energy"] == pytest.approx(by_hand.kernel() * Hartree, abs=1e-6)
    assert result["warnings"] == []
    named = static_job(atoms, xc="HF", basis="def2-SVP", ecp={"I": "def2-TZVP"})
    assert named["results"]["energy"] == pytest.approx(result["results"]["energy"], abs=1e-6)
    every = static_job(atoms, **SMALL)
    assert any("without relativity" in text for text in every["warnings"])


def test_density_fitting_is_near():
    exact = static_job("H2O", **SMALL)["results"]["energy"]
    fitted = static_job("H2O", density_fit=True, **SMALL)["results"]["energy"]
    assert 1e-6 < abs(fitted - exact) < 0.01


def test_another_molecule_is_not_that_of_before():
    code = get_code("pyscf")
    place_options = {"max_memory": 4000.0}
    from quacc.calculators.code import Place

    parameters = code.resolve(molecule("H2O"), code.complete(SMALL))
    calculator = code.build(parameters, Place(None, place_options))
    for name in ("H2O", "CH4", "H2O"):
        atoms = molecule(name)
        atoms.calc = calculator
        energy = static_job(name, **SMALL)["results"]["energy"]
        assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-8)


def test_dynamics_keep_the_energy_and_a_path_has_its_barrier():
    history = md_job("H2", steps=10, timestep=0.2, **SMALL)["history"]
    assert np.ptp(history["energy"] + history["kinetic_energy"]) < 1e-3
    left = Atoms("H3", [[0, 0, -0.94], [0, 0, 0], [0, 0, 1.8]])
    left.set_initial_magnetic_moments([0, 0, 1])
    right = left.copy()
    right.positions[:, 2] = [-1.8, 0, 0.94]
    result = neb_job(left, right, images=1, fmax=0.3, **SMALL)
    assert result["barrier"] < 1.5
    assert result["energies"][0] == pytest.approx(result["energies"][-1], abs=1e-5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"xc": "PBEE"}, "no functional 'PBEE'"),
        ({"xc": "B2PLYP"}, "no functional 'B2PLYP'"),
        ({"xc": "LDA"}, "no correlation"),
        ({"xc": ""}, "xc must be a name"),
        ({"xc": "B97-D"}, "dispersion correction PySCF would leave out"),
        ({"xc": "wB97X-D"}, "not supported"),
        ({"basis": "def2-SPV"}, "no basis set 'def2-SPV' for H"),
        ({"basis": {"O": "STO-3G"}}, "no basis set for H"),
        ({"basis": "gth-szv"}, "no basis set 'gth-szv'"),
        ({"basis": "ccecp-cc-pVDZ"}, "Pass ecp="),
        ({"ecp": {"O": "def2-SVP"}}, "no effective core potential"),
        ({"charge": 10}, "has 0 electrons"),
        ({"charge": 0.5}, "whole number"),
        ({"multiplicity": 2}, "S is one of 0, 1"),
        ({"grid_level": 10}, "grid_level"),
        ({"scf": {"levelshift": 0.1}}, "Did you mean 'level_shift'"),
        ({"scf": {"max_cycle": 3}}, "keyword of its own"),
        ({"scf": {"init_guess": "chkfile"}}, "init_guess must be one of"),
        ({"method": "HF"}, "method"),
    ],
)
def test_refusals(given, message):
    with pytest.raises(InputError, match=message):
        static_job("H2O", **given)


def test_crystals_and_layers_are_refused():
    with pytest.raises(InputError, match="molecules alone.*pbc"):
        static_job(bulk("Cu"))
    layer = molecule("H2O", vacuum=6)
    layer.pbc = [True, True, False]
    with pytest.raises(InputError, match="molecules alone.*pbc"):
        _ = static_job.plan(layer).key


def test_a_file_with_the_name_of_a_basis_set_is_not_taken_for_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "STO-3G").write_text("H S\n 1.0 1.0\n")
    with pytest.raises(InputError, match="is a file here"):
        static_job("H2", **SMALL)


def test_a_file_of_defaults_belongs_to_the_key(tmp_path, monkeypatch):
    without = static_job.plan("H2", **SMALL).key
    file = tmp_path / "conf.py"
    monkeypatch.setenv("PYSCF_CONFIG_FILE", str(file))
    file.write_text("B3LYP_WITH_VWN5 = True\n")
    assert static_job.plan("H2", **SMALL).key != without


def test_moments_of_both_signs_count_by_their_sum():
    atoms = Atoms("H2", [[0, 0, 0], [0, 0, 2]])
    atoms.set_initial_magnetic_moments([1, -1])
    result = static_job(atoms, **SMALL)
    assert any("broken-symmetry" in text for text in result["warnings"])
    assert result["parameters"]["multiplicity"] == 1


def test_an_scf_that_does_not_converge_is_an_error():
    with pytest.raises(CalculationError, match="did not converge within 2 cycles"):
        static_job("H2O", max_cycle=2, **SMALL)


def test_the_way_to_convergence_does_not_change_the_energy():
    plain = static_job("H2O", **SMALL)["results"]["energy"]
    other = {"level_shift": 0.3, "init_guess": "hcore", "diis_space": 6}
    assert static_job("H2O", scf=other, **SMALL)["results"]["energy"] == pytest.approx(
        plain, abs=1e-6
    )


def test_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setenv("PYSCF_TMPDIR", str(tmp_path))
    from pyscf import lib

    monkeypatch.setattr(lib.param, "TMPDIR", str(tmp_path))
    static_job("H2", **SMALL)
    assert list(tmp_path.iterdir()) == []
