"""Ordering of crystals with partly occupied sites."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.constraints import FixAtoms
from pymatgen.core import Lattice, Structure
from pymatgen.transformations.standard_transformations import (
    OrderDisorderedStructureTransformation,
)

from quacc.atoms.disorder import (
    arrange,
    as_disordered,
    composition,
    oxidation_states_of,
    supercells,
)
from quacc.errors import InputError
from quacc.recipes.emt.core import static_job
from tests.emt import magnetic_order_flow, order_flow

HEAD = """data_crystal
_cell_length_a {a}
_cell_length_b {a}
_cell_length_c {a}
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_space_group_name_H-M_alt '{group}'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
"""
QUICK = {"fmax": 0.1}


@pytest.fixture
def cif(tmp_path):
    def write(sites, a=3.8, group="F m -3 m"):
        file = tmp_path / "crystal.cif"
        file.write_text(HEAD.format(a=a, group=group) + "\n".join(sites) + "\n")
        return str(file)

    return write


def ranked(structure, supercell=None, charges=None, limit=10):
    """Return arrangements by Ewald energy, without relaxing any."""
    crystal = as_disordered(structure)
    cells = supercells(crystal, supercell)
    states = oxidation_states_of(composition(crystal, cells), charges)
    return arrange(crystal, cells, states, limit)


@pytest.mark.parametrize("supercell", [None, [2, 2, 2]])
def test_rock_salt_is_the_order_of_ions_on_a_simple_cubic_lattice(cif, supercell):
    """Madelung's constant of rock salt is 1.747565 (Evjen, Phys. Rev. 39, 675 (1932))."""
    file = cif(["Na1 Na 0 0 0 0.5", "Cl1 Cl 0 0 0 0.5"], a=2.82, group="P m -3 m")
    found, number, _ = ranked(file, supercell)
    ion = -2 * found[0].ewald * 2.82 / (units._e / (4e-10 * np.pi * units._eps0))
    assert ion == pytest.approx(1.747565, abs=2e-6)
    assert found[0].degeneracy == 2
    if supercell:  # the colourings of four of a cube's corners: six under its group, 70 in all
        assert number == 6
        assert sum(one.degeneracy for one in found) == 70


def test_the_order_of_lithium_iron_oxide(cif):
    """The low-temperature form of LiFeO2 is I4_1/amd, as electrostatics has it.

    Hauck, Acta Cryst. A36, 228 (1980).
    """
    from quacc.atoms.disorder import space_group

    file = cif(["Li1 Li 0 0 0 0.5", "Fe1 Fe 0 0 0 0.5", "O1 O 0.5 0.5 0.5 1"], a=4.1)
    found, _, _ = ranked(file, [1, 1, 2])
    assert space_group(found[0].atoms) == "I4_1/amd (141)"
    disordered = Structure(
        Lattice.cubic(4.1), [{"Li+": 0.5, "Fe3+": 0.5}] * 4 + ["O2-"] * 4, _rocksalt()
    )
    disordered.make_supercell([1, 1, 2])
    other = OrderDisorderedStructureTransformation(algo=1)
    (best,) = other.apply_transformation(disordered, return_ranked_list=1)
    assert found[0].ewald * 16 == pytest.approx(best["energy"], abs=1e-4)


def _rocksalt():
    crystal = bulk("NaCl", "rocksalt", a=4.1, cubic=True)
    return [*crystal.get_scaled_positions()[0::2], *crystal.get_scaled_positions()[1::2]]


def test_copper_gold_is_ordered_as_it_is_found(cif):
    """L1_0, P4/mmm; L1_1, R-3m, is the only other one with two atoms."""
    result = order_flow(cif(["Cu1 Cu 0 0 0 0.5", "Au1 Au 0 0 0 0.5"]), relax_kwargs=QUICK)
    assert [row["space_group"] for row in result["orderings"]] == ["P4/mmm (123)", "R-3m (166)"]
    assert [row["degeneracy"] for row in result["orderings"]] == [6, 8]
    assert (result["cells"], result["arrangements"], result["inequivalent"]) == (2, 14, 2)
    assert result["oxidation_states"] is None
    best = result["orderings"][0]
    assert best["energy"] == static_job(best["atoms"])["results"]["energy"] / 2
    assert result["atoms"] == best["atoms"]
    assert sorted(result["atoms"].symbols) == ["Au", "Cu"]


def test_vacancies(cif):
    """Removing a quarter of fcc's atoms leaves what Hart and Forcade count for four sites."""
    result = order_flow(cif(["Cu1 Cu 0 0 0 0.75"], a=3.6), relax_cell=False, relax_kwargs=QUICK)
    assert len(result["orderings"]) == 7
    assert all(len(row["atoms"]) == 3 for row in result["orderings"])
    for row in result["orderings"]:
        assert row["atoms"].get_volume() == pytest.approx(3.6**3)


def test_the_file_is_read_as_pymatgen_reads_it(cif):
    file = cif(["Li1 Li 0 0 0 0.3333", "Ni1 Ni 0 0 0 0.5", "O1 O 0.5 0.5 0.5 1"], a=4.1)
    crystal = as_disordered(file)
    read = Structure.from_file(file, primitive=True).composition.get_el_amt_dict()
    ours = {}
    for one in crystal.occupancies:
        for element, part in one.items():
            ours[element] = ours.get(element, 0) + part
    assert ours == pytest.approx(read, abs=1e-3)
    cells = supercells(crystal, None)
    assert cells.size == 6
    assert composition(crystal, cells) == {"Li": 2, "Ni": 3, "O": 6}


def test_split_positions_are_not_occupied_together():
    split = Atoms("Cu2", scaled_positions=[[0, 0, 0], [0.1, 0, 0]], cell=[5, 4, 4], pbc=True)
    split.info["occupancy"] = {"0": {"Cu": 0.5}}
    split.set_array("spacegroup_kinds", np.array([0, 0]))
    found, number, crowded = ranked(split, [1, 1, 2])
    assert crowded
    assert all(one.atoms.get_all_distances(mic=True)[0, 1] > 3 for one in found)
    assert number == len(found)


def held():
    crystal = bulk("Cu")
    crystal.info["occupancy"] = {"0": {"Cu": 0.5, "Au": 0.5}}
    crystal.set_array("spacegroup_kinds", np.array([0]))
    crystal.set_constraint(FixAtoms([0]))
    return crystal


HALF = ["Cu1 Cu 0 0 0 0.5", "Au1 Au 0 0 0 0.5"]


@pytest.mark.parametrize(
    ("sites", "options", "message"),
    [
        (["Cu1 Cu 0 0 0 1"], {}, "nothing to order"),
        (["Cu1 Cu 0 0 0 0.7", "Au1 Au 0 0 0 0.7"], {}, "add up to 1.4"),
        (["Fe1 Fe2+ 0 0 0 0.3", "Fe2 Fe3+ 0 0 0 0.7"], {}, "two oxidation states"),
        (["Cu1 Cu 0 0 0 0.5", "Au1 Au 0.5 0.5 0 0.5"], {}, "two equivalent positions"),
        (["Cu1 Cu 0 0 0 0.9", "Au1 Au 0 0 0 0.1"], {"supercell": [1, 1, 1]}, r"=\[1, 1, 5\]"),
        (["Cu1 Cu 0 0 0 0.983"], {}, "too many|more than the 200000|59 primitive"),
        (HALF, {"supercell": [3, 3, 4]}, "more than the 200000.*Take a smaller supercell"),
        (HALF, {"limit": 1}, "2 inequivalent orderings, more than limit=1"),
        (HALF, {"oxidation_states": {"Cu": 1}}, "must name the elements Au, Cu"),
        (HALF, {"oxidation_states": {"Cu": 1, "Au": 1}}, r"add up to \+2"),
    ],
)
def test_refusals(cif, sites, options, message):
    with pytest.raises(InputError, match=message):
        order_flow(cif(sites), **options)


def test_what_the_structure_says_is_not_lost():
    with pytest.raises(InputError, match="constraints"):
        order_flow(held())
    free = held()
    free.set_constraint()
    free.set_initial_magnetic_moments([1])
    with pytest.raises(InputError, match="magnetic moments"):
        order_flow(free)
    with pytest.raises(InputError, match="no occupancies"):
        order_flow("Cu")
    with pytest.raises(InputError, match=r"quacc run order FILE\.cif"):
        static_job(free)


@pytest.mark.parametrize("calculator", ["emt", "chgnet", "tblite", "lj"])
def test_calculators_without_moments_of_atoms_compute_no_magnetic_order(calculator):
    with pytest.raises(InputError, match="all magnetic orderings would be one"):
        magnetic_order_flow("Fe", calculator=calculator)
