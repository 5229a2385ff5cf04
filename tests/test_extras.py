"""What structures and files say beside elements and positions."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.constraints import FixAtoms
from ase.io import write

from quacc.atoms import as_atoms
from quacc.atoms.adsorption import Site, with_adsorbate
from quacc.atoms.defects import make_defects
from quacc.atoms.read import read_structures
from quacc.atoms.same import check_match
from quacc.atoms.slabs import make_slabs
from quacc.errors import ParameterError, StructureError, plain
from quacc.extras import charge_of, unpaired_of
from quacc.recipes import workflows
from quacc.recipes.emt.core import md_job, neb_job, relax_job, static_job
from quacc.recipes.emt.slabs import bulk_to_slabs_flow
from quacc.recipes.tools.workflow import with_calculator
from quacc.recipes.workflows.phonon import Lattice
from tests.emt import defects_flow, hull_flow

elastic_flow = with_calculator(workflows.elastic_flow, "lj")

CIF = """data_x
_cell_length_a 3.85
_cell_length_b 3.85
_cell_length_c 3.85
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_space_group_name_H-M_alt 'F m -3 m'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
"""


@pytest.mark.parametrize("sites", ["Cu1 Cu 0 0 0 0.5\nAu1 Au 0 0 0 0.5\n", "Cu1 Cu 0 0 0 0.9\n"])
def test_partial_occupancy_of_a_file(tmp_path, sites):
    file = tmp_path / "alloy.cif"
    file.write_text(CIF + sites)
    with pytest.raises(StructureError, match="ordered supercell"):
        static_job(str(file))
    with pytest.raises(StructureError, match="alloy.cif.*ordered supercell"):
        read_structures(tmp_path)
    file.write_text(CIF + "Cu1 Cu 0 0 0 1.0\n")
    assert len(as_atoms(str(file))) in (1, 4)


def test_partial_occupancy_of_an_array(tmp_path):
    atoms = bulk("Cu", cubic=True)
    atoms.set_array("occupancy", np.array([1, 1, 1, 0.5]))
    write(tmp_path / "one.extxyz", atoms)
    with pytest.raises(StructureError, match="ordered supercell"):
        as_atoms(str(tmp_path / "one.extxyz"))
    atoms.arrays["occupancy"][:] = 1
    assert len(as_atoms(atoms)) == 4


def test_the_moments_of_a_magnetic_cif_are_not_lost(tmp_path):
    (tmp_path / "one.cif").write_text(
        CIF + "Fe1 Fe 0 0 0 1\nloop_\n_atom_site_moment_label\n_atom_site_moment_crystalaxis_z\n"
        "Fe1 2.2\n"
    )
    with pytest.raises(StructureError, match="magnetic moments, which ASE does not read"):
        as_atoms(str(tmp_path / "one.cif"))


def test_charge_and_multiplicity_in_the_input_of_another_program(tmp_path):
    (tmp_path / "one.com").write_text(
        "#p hf/3-21g\n\nwater\n\n1 2\nO 0.0 0.0 0.0\nH 0.0 0.0 1.0\nH 0.0 1.0 0.0\n\n"
    )
    atoms = as_atoms(str(tmp_path / "one.com"))
    assert (charge_of(atoms), unpaired_of(atoms)) == (1, 1)


@pytest.mark.parametrize("name", ["charge", "total_charge", "Charge"])
def test_a_charge_in_info(tmp_path, name):
    water = molecule("H2O")
    water.info[name] = np.int64(-1)
    write(tmp_path / "water.extxyz", water)
    for atoms in (as_atoms(water), as_atoms(str(tmp_path / "water.extxyz"))):
        assert charge_of(atoms) == -1
        assert charge_of(as_atoms(atoms)) == -1
    with pytest.raises(StructureError, match="knows no charge"):
        static_job(water)


def test_a_spin_in_info():
    oxygen = Atoms("O2", [[0, 0, 0], [0, 0, 1.2]])
    for name, value in {"multiplicity": 3, "uhf": 2}.items():
        oxygen.info = {name: value}
        assert unpaired_of(as_atoms(oxygen)) == 2
    oxygen.info = {"spin": 1}
    with pytest.raises(StructureError, match="2S"):
        as_atoms(oxygen)
    oxygen.info = {"charge": 0.4}
    with pytest.raises(StructureError, match="no whole number"):
        as_atoms(oxygen)
    oxygen.info = {"charge": 1}
    oxygen.set_initial_charges([-0.5, -0.5])
    with pytest.raises(StructureError, match="contradicts itself"):
        as_atoms(oxygen)


@pytest.mark.parametrize("name", ["initial_charges", "initial_magmoms", "momenta", "masses"])
def test_what_is_not_finite_is_refused(name):
    atoms = bulk("Cu", cubic=True)
    shape = (4, 3) if name == "momenta" else 4
    atoms.set_array(name, np.full(shape, np.nan))
    with pytest.raises(StructureError, match="finite"):
        md_job(atoms, steps=1)
    with pytest.raises(StructureError, match="finite"):
        neb_job(bulk("Cu", cubic=True), atoms)


@pytest.mark.parametrize(
    "change",
    [
        lambda atoms: atoms.set_initial_charges([0.5, 0, 0, -0.5]),
        lambda atoms: atoms.set_initial_magnetic_moments([1, 0, 0, 0]),
        lambda atoms: atoms.set_masses([64, None, None, None]),
        lambda atoms: atoms.set_constraint(FixAtoms([0])),
    ],
)
def test_both_ends_of_a_path_say_the_same(change):
    ends = [bulk("Cu", cubic=True) for _ in range(2)]
    ends[1].positions[0] += 0.3
    check_match(*ends)
    change(ends[1])
    with pytest.raises(StructureError, match="differ"):
        neb_job(*ends)
    change(ends[0])
    check_match(*ends)


def test_isotopes_are_no_lattice_points():
    """A one-dimensional chain of two masses has modes that one of their mean has not."""
    isotopes = bulk("Cu", cubic=True)
    isotopes.set_masses([63, 63, 65, 65])
    lattice = Lattice(isotopes, [1, 1, 1], 0.01)
    assert lattice.phonopy.primitive.masses.tolist() == [63, 63, 65, 65]
    plain_one = Lattice(bulk("Cu", cubic=True), [1, 1, 1], 0.01)
    assert len(plain_one.phonopy.primitive) == 1


def test_isotopes_of_a_slab():
    heavy = bulk("Cu")
    heavy.set_masses([65])
    slab = make_slabs(heavy)[0].atoms
    np.testing.assert_array_equal(slab.get_masses(), 65)
    mixed = bulk("Cu", cubic=True)
    mixed.set_masses([63, 63, 65, 65])
    with pytest.raises(StructureError, match="masses of Cu differ"):
        make_slabs(mixed)


def test_a_defect_is_neutral_and_has_its_own_mass():
    salt = bulk("NaCl", "rocksalt", a=5.64)
    salt.set_initial_charges([1, -1])
    salt.set_masses([23, 37])
    vacancy, other = make_defects(salt, [3, 3, 3], [(None, "Na"), ("K", "Na")])
    assert charge_of(vacancy.atoms) == charge_of(other.atoms) == 0
    assert other.atoms.get_masses()[other.atoms.numbers == 19] == pytest.approx(39.0983)
    assert set(other.atoms.get_masses()[other.atoms.numbers == 17]) == {37}


def test_an_adsorbate_keeps_charge_and_masses():
    slab = fcc111("Cu", (1, 1, 3), vacuum=8)
    water = molecule("H2O")
    water.set_initial_charges([1, 0, 0])
    water.set_masses([18, 2, 2])
    whole = with_adsorbate(slab, water, Site("top", slab.positions[-1]), distance=2.0)
    assert charge_of(whole) == 1
    assert whole.get_masses()[-3:].tolist() == [18, 2, 2]
    assert whole.get_masses()[0] == pytest.approx(63.546)


def test_left_over_constraints_are_refused():
    """C66 of hcp argon with both atoms held was 23 % too large."""
    argon = bulk("Ar", "hcp", a=3.75, c=3.75 * 1.633)
    argon.set_constraint(FixAtoms([0, 1]))
    for held in (argon, {"atoms": argon}):
        with pytest.raises(StructureError, match="elastic tensor"):
            elastic_flow(held)
    copper = bulk("Cu", cubic=True)
    copper.set_constraint(FixAtoms([0]))
    for flow in (bulk_to_slabs_flow, defects_flow, lambda one: hull_flow([one])):
        with pytest.raises(StructureError, match="Remove its constraints"):
            flow(copper)


def test_charged_cells_stay_what_they_are():
    charged = bulk("Cu")
    charged.set_initial_charges([1])
    with pytest.raises(StructureError, match="charge"):
        make_slabs(charged)


def test_numbers_of_numpy_are_numbers():
    plain_one = {"relax_cell": True, "fmax": 0.05, "steps": 3, "asap_cutoff": False}
    numpy_one = {
        "relax_cell": np.bool_(True),
        "fmax": np.float64(0.05),
        "steps": np.int64(3),
        "asap_cutoff": np.bool_(False),
    }
    one, other = relax_job("Cu", **plain_one), relax_job("Cu", **numpy_one)
    assert one["key"] == other["key"]
    assert one["parameters"] == other["parameters"]
    assert {type(value) for value in other["parameters"].values()} <= {bool, int, float, str}
    with pytest.raises(ParameterError):
        relax_job("Cu", relax_cell=np.int64(1))


def test_plain():
    given = {"a": [np.float32(0.5), (np.int8(1), np.str_("x"))], np.str_("b"): np.arange(2)}
    made = plain(given)
    assert made == {"a": [0.5, (1, "x")], "b": [0, 1]}
    assert type(made["a"][0]) is float
    assert type(made["a"][1][1]) is str
    assert [type(key) for key in made] == [str, str]
    assert type(plain(np.longdouble(0.5))) is float
    assert plain(np.array(3.0)) == 3.0
    atoms = bulk("Cu")
    assert plain({"final": atoms})["final"] is atoms


def test_what_is_refused_is_not_served_either():
    """Results are looked for by keys, which do not hold everything that is refused."""
    mixed, charged = bulk("Cu"), bulk("Cu")
    mixed.info["occupancy"] = {"0": {"Cu": 0.5, "Au": 0.5}}
    charged.set_initial_charges([1])
    for atoms in (mixed, charged):
        with pytest.raises(StructureError):
            _ = static_job.plan(atoms).key
