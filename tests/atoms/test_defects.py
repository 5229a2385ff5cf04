"""The distinct sites of point defects, against geometry and symmetry."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.geometry import get_distances

from quacc.atoms.defects import make_defects


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        # Octahedra and tetrahedra of fcc; the tetrahedra of bcc; hexagonal and cubic holes of
        # diamond. (neighbours, distance in lattice constants, how many in the primitive cell)
        ("Cu", [(6, 1 / 2, 1), (4, np.sqrt(3) / 4, 2)]),
        ("Fe", [(4, np.sqrt(5) / 4, 6)]),
        ("Si", [(4, np.sqrt(3) / 4, 2), (6, np.sqrt(11) / 8, 4)]),
    ],
)
def test_interstitial_sites(host, expected):
    atoms = bulk(host)
    side = (atoms.get_volume() * (2 if host == "Fe" else 4)) ** (1 / 3)
    made = make_defects(atoms, [4, 4, 4], [("H", None)])
    found = []
    for one in made:
        whole = one.atoms
        _, far = get_distances(whole.positions[-1], whole.positions[:-1], cell=whole.cell, pbc=True)
        assert far.min() == pytest.approx(one.nearest)
        found.append((int((far < far.min() + 0.01).sum()), far.min() / side, one.multiplicity))
    assert [(count, many) for count, _, many in found] == [(c, m) for c, _, m in expected]
    np.testing.assert_allclose([far for _, far, _ in found], [f for _, f, _ in expected], atol=1e-6)
    names = ["H_i"] if len(expected) == 1 else [f"H_i{n}" for n in range(1, len(expected) + 1)]
    assert [one.name for one in made] == names


@pytest.mark.parametrize("stretch", [(1, 1, 1), (1.027, 1.027, 1.027), (1.01, 1.01, 0.98)])
def test_sites_do_not_depend_on_rounding(stretch):
    exact = bulk("Cu", cubic=True)
    exact.symbols[0] = "Au"
    exact.set_cell(exact.cell * np.array(stretch), scale_atoms=True)
    turned = exact.copy()
    turned.rotate(35, (1, 2, 3), rotate_cell=True)
    turned.positions += 1e-12 * np.random.default_rng(1).normal(size=(4, 3))
    changes = [("H", None), (None, "Cu")]
    ours, theirs = (make_defects(one, [2, 2, 2], changes) for one in (exact, turned))
    many = {one.name: one.multiplicity for one in ours}
    if stretch[0] == stretch[2]:
        # Octahedra of copper, octahedra with gold, tetrahedra.
        assert many == {"H_i1": 1, "H_i2": 3, "H_i3": 8, "v_Cu": 3}
    else:  # neither the sites of copper nor those between are all equivalent now
        assert sorted(many.values()) == [1, 1, 1, 2, 2, 8]  # of octahedra, of copper: 1 + 2
    assert many == {one.name: one.multiplicity for one in theirs}
    near = [one.nearest for one in ours]
    np.testing.assert_allclose([one.nearest for one in theirs], near, atol=1e-6)


def test_a_repeated_cell_has_the_same_distinct_sites():
    perovskite = Atoms(
        "SrTiO3",
        scaled_positions=[[0, 0, 0], [0.5] * 3, [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
        cell=[3.9] * 3,
        pbc=True,
    )
    changes = [(None, "O"), ("H", None)]
    one = make_defects(perovskite, [2, 2, 2], changes)
    two = make_defects(perovskite * (2, 1, 1), [1, 2, 2], changes)
    assert [row.name for row in one] == [row.name for row in two]
    assert [2 * row.multiplicity for row in one] == [row.multiplicity for row in two]
    assert one[0].multiplicity == 3


def test_sites_of_other_moments_are_others():
    iron = bulk("Fe", cubic=True)
    iron.set_initial_magnetic_moments([3.0, -1.0])
    vacant = make_defects(iron, [3, 3, 3], [(None, "Fe")])
    assert [row.multiplicity for row in vacant] == [1, 1]
    (replaced, _) = make_defects(iron, [3, 3, 3], [("Al", "Fe")])
    moments = replaced.atoms.get_initial_magnetic_moments()
    assert moments[replaced.atoms.symbols == "Al"] == [0]
    iron.set_initial_magnetic_moments([2.0, -2.0])
    assert [row.multiplicity for row in make_defects(iron, [3, 3, 3], [(None, "Fe")])] == [2]
