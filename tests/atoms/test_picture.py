"""Pictures of structures, as SVG."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule

from quacc.atoms.picture import MOST, _rotation, picture

SVG = "{http://www.w3.org/2000/svg}"


def parts(atoms, kind):
    return list(ET.fromstring(picture(atoms)).iter(SVG + kind))


def test_all_atoms_are_drawn_inside_and_larger_ones_larger():
    for atoms in (molecule("CH3CH2OH"), bulk("NaCl", "rocksalt", a=5.64, cubic=True)):
        root = ET.fromstring(picture(atoms))
        circles = list(root.iter(SVG + "circle"))
        assert len(circles) == len(atoms)
        for circle in circles:
            x, y, r = (float(circle.get(name)) for name in ("cx", "cy", "r"))
            assert r - 0.1 <= x <= float(root.get("width")) - r + 0.6
            assert r - 0.1 <= y <= float(root.get("height")) - r + 0.6
    sizes = {circle.get("fill")[:2]: float(circle.get("r")) for circle in circles}
    assert len(sizes) >= 1
    radii = sorted({float(circle.get("r")) for circle in circles})
    assert len(radii) == 2  # of chlorine and sodium
    assert radii[1] / radii[0] == pytest.approx(1.66 / 1.02, rel=0.02)  # covalent radii


def test_small_crystals_are_repeated_and_have_a_cell():
    assert len(parts(bulk("Cu"), "circle")) == 8
    assert "2 × 2 × 2 cells" in picture(bulk("Cu"))
    slab = fcc111("Cu", (1, 1, 4), vacuum=6.0, periodic=True)
    assert len(parts(slab, "circle")) == 9 * len(slab)  # not across its vacuum
    assert len([one for one in parts(slab, "path") if one.get("class") == "cell"]) == 96
    assert not [one for one in parts(molecule("H2O"), "path") if one.get("class") == "cell"]


def test_bonds_of_a_molecule():
    assert len([one for one in parts(molecule("C6H6"), "path") if one.get("class") == "bond"]) == 12


@pytest.mark.parametrize("atoms", [bulk("Cu"), molecule("CH3CH2OH"), Atoms("H")])
def test_it_is_a_view_and_no_mirror_image(atoms):
    rotation = _rotation(atoms)
    assert rotation.T @ rotation == pytest.approx(np.eye(3))
    assert np.linalg.det(rotation) == pytest.approx(1)


def test_up_is_up():
    heights = [float(one.get("cy")) for one in parts(fcc111("Cu", (3, 3, 3), vacuum=6.0), "circle")]
    assert max(heights) - min(heights) > 20
    slab = fcc111("Cu", (3, 3, 3), vacuum=6.0)
    top, bottom = slab.positions[-1] @ _rotation(slab), slab.positions[0] @ _rotation(slab)
    assert top[1] > bottom[1]


def test_what_nobody_could_see_is_not_drawn():
    assert picture(Atoms()) is None
    assert picture(Atoms("H" * (MOST + 1), np.random.default_rng(0).random((MOST + 1, 3)))) is None
