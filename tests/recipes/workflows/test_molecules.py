"""Thermochemistry, against plain ASE and measured enthalpies."""

from fractions import Fraction

import numpy as np
import pytest
from ase import units
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.optimize import BFGS
from ase.thermochemistry import IdealGasThermo
from ase.vibrations import Vibrations

from quacc.errors import ParameterError, StructureError
from quacc.recipes import workflows
from quacc.recipes.workflows.reaction import parse
from tests.emt import molecule_flow, reaction_flow

SYMMETRY = {"H2": ("linear", 2), "N2": ("linear", 2), "NH3": ("nonlinear", 3)}


def with_ase(name, tmp_path):
    atoms = molecule(name)
    atoms.calc = EMT()
    BFGS(atoms, logfile=None).run(fmax=0.001)
    vibrations = Vibrations(atoms, name=str(tmp_path / name))
    vibrations.run()
    geometry, number = SYMMETRY[name]
    return IdealGasThermo(
        vib_energies=vibrations.get_energies(),
        geometry=geometry,
        potentialenergy=atoms.get_potential_energy(),
        atoms=atoms,
        symmetrynumber=number,
        spin=0,
        ignore_imag_modes=True,
    )


@pytest.mark.parametrize("name", SYMMETRY)
def test_molecules_are_ases(name, tmp_path):
    gas = with_ase(name, tmp_path)
    result = molecule_flow(name, relax_kwargs={"fmax": 0.001})
    expected = gas.get_gibbs_energy(298.15, 1e5, verbose=False)
    assert result["gibbs_energy"] == pytest.approx(expected, abs=2e-3)
    assert result["enthalpy"] == pytest.approx(gas.get_enthalpy(298.15, verbose=False), abs=2e-3)
    assert result["gibbs_energy"] == pytest.approx(
        result["enthalpy"] - 298.15 * result["entropy"], abs=1e-9
    )


def test_the_synthesis_of_ammonia_is_ases(tmp_path):
    parts = {name: with_ase(name, tmp_path) for name in SYMMETRY}
    result = reaction_flow("N2 + 3 H2 -> 2 NH3", relax_kwargs={"fmax": 0.001})
    expected = {
        name: gas.get_gibbs_energy(298.15, 1e5, verbose=False) for name, gas in parts.items()
    }
    assert result["reaction_gibbs_energy"] == pytest.approx(
        2 * expected["NH3"] - 3 * expected["H2"] - expected["N2"], abs=5e-3
    )
    assert result["formula"] == "H3N"


@pytest.mark.tblite
def test_entropies_are_the_measured_ones():
    """Standard entropies at 298.15 K and 1 bar (CODATA; Cox, Wagman and Medvedev 1989)."""
    for name, measured in {"H2": 130.680, "N2": 191.609, "NH3": 192.77, "H2O": 188.835}.items():
        result = workflows.molecule_flow(name, calculator="tblite", relax_kwargs={"fmax": 0.001})
        found = result["entropy"] / (units.J / units.mol)
        assert found == pytest.approx(measured, rel=0.01)


@pytest.mark.tblite
def test_the_combustion_of_hydrogen():
    """Its entropy is measured (CODATA): 188.835 - 130.680 - 205.152 / 2 J/K/mol; its energy is
    that of the three relaxed molecules in tblite's own interface."""
    from tblite.ase import TBLite

    result = workflows.reaction_flow(
        "2 H2 + O2 -> 2 H2O", calculator="tblite", relax_kwargs={"fmax": 0.001}
    )
    entropy = result["reaction_entropy"] / 2 / (units.J / units.mol)
    assert entropy == pytest.approx(188.835 - 130.680 - 205.152 / 2, abs=1.0)
    energies = {}
    for name in ("H2", "O2", "H2O"):
        atoms = molecule(name)
        atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
        BFGS(atoms, logfile=None).run(fmax=0.001)
        energies[name] = atoms.get_potential_energy()
    assert result["reaction_energy"] == pytest.approx(
        2 * energies["H2O"] - 2 * energies["H2"] - energies["O2"], abs=1e-3
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("N2 + 3 H2 -> 2 NH3", {"N2": -1, "H2": -3, "NH3": 2}),
        ("H2 + 1/2 O2 → H2O", {"H2": -1, "O2": Fraction(-1, 2), "H2O": 1}),
        ("2H2 + O2 = 2H2O", {"H2": -2, "O2": -1, "H2O": 2}),
        ("0.5 H2 + H -> H + H", {"H2": Fraction(-1, 2), "H": 1}),
    ],
)
def test_equations(text, expected):
    assert parse(text, {}) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("N2 + H2", "reactants -> products"),
        ("N2 + H2 -> NH3", "does not balance.*H 1"),
        ("N2 -> N2", "Nothing happens"),
        ("N2 + 3  -> NH3", "no number and name|neither a file"),
        ("1/0 N2 -> N2", "no number"),
        (3, "no reaction"),
    ],
)
def test_wrong_equations(text, message):
    with pytest.raises((ParameterError, StructureError), match=message):
        reaction_flow(text)


@pytest.mark.parametrize(
    "wrong",
    [
        {"freq_kwargs": {"spin": 1}},
        {"freq_kwargs": {"spin": 0}},
        {"freq_kwargs": {"symmetry_number": 2}},
        {"freq_kwargs": {"charge": 1}},
        {"relax_kwargs": {"multiplicity": 3}},
    ],
)
def test_what_belongs_to_one_molecule_is_refused_for_all(wrong):
    ((job, given),) = wrong.items()
    message = f"{job} of a reaction cannot hold '{next(iter(given))}'.*structures="
    with pytest.raises(ParameterError, match=message):
        reaction_flow("N2 + 3 H2 -> 2 NH3", **wrong)


def test_the_spin_of_each_gas_is_that_of_its_structure():
    singlet = molecule("O2")
    singlet.set_initial_magnetic_moments([0, 0])
    gases = {"triplet": molecule("O2"), "singlet": singlet}
    result = reaction_flow("triplet -> singlet", structures=gases, freq_kwargs={"spin": None})
    expected = -units.kB * np.log(3)
    assert result["reaction_entropy"] == pytest.approx(expected, rel=1e-6)
    one = molecule_flow(singlet, freq_kwargs={"spin": 1, "symmetry_number": 1})
    by_hand = next(gas for gas in result["species"] if gas["name"] == "triplet")
    assert one["entropy"] - by_hand["entropy"] == pytest.approx(units.kB * np.log(2), rel=1e-6)


def test_names_may_stand_for_structures(tmp_path):
    result = reaction_flow("2 A -> N2", structures={"A": molecule("N")})
    assert result["reaction_energy"] < -5
    assert [one["name"] for one in result["species"]] == ["A", "N2"]


def test_crystals_are_no_molecules():
    with pytest.raises(StructureError, match="periodic"):
        molecule_flow("Cu")


def test_a_molecule_in_a_box_is_the_molecule():
    """The thermochemistry of a plane-wave code, which has nothing but boxes."""
    box = molecule("N2")
    box.center(vacuum=6.0)
    box.pbc = True
    free, boxed = (molecule_flow(one, relax_kwargs={"fmax": 1e-4}) for one in ("N2", box))
    for name in ("enthalpy", "entropy", "gibbs_energy"):
        assert boxed[name] == pytest.approx(free[name], rel=1e-5)
    box.center(vacuum=2.0)
    with pytest.raises(StructureError, match="with 4.0 Å of vacuum"):
        molecule_flow(box)


def test_frequencies_are_those_of_the_job():
    result = molecule_flow("N2")
    assert len(result["frequencies"]) == 1
    assert np.isfinite(result["frequencies"]).all()
