"""Wulff shapes, against intersections of half-spaces."""

from collections import Counter

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io.jsonio import decode, encode
from ase.spacegroup import crystal
from matplotlib.figure import Figure
from pymatgen.analysis.wulff import WulffShape
from scipy.spatial import ConvexHull, HalfspaceIntersection

from quacc.atoms.slabs import conventional_cell
from quacc.recipes.emt.core import static_job
from quacc.recipes.emt.slabs import bulk_to_slabs_flow
from quacc.recipes.tools.wulff import draw_wulff, shape_of, wulff

BISMUTH = crystal(
    "Bi", [(0, 0, 0.234)], spacegroup=166, cellpar=[4.546, 4.546, 11.862, 90, 90, 120]
)


def trigonal(h, k, l):  # noqa: E741 - the field's letter
    """The planes that a threefold axis and inversion make."""
    turned = [(h, k, l), (k, -h - k, l), (-h - k, h, l)]
    return turned + [tuple(-index for index in plane) for plane in turned]


def row(miller, energy, symmetric=True):
    return {"miller": list(miller), "surface_energy": energy, "symmetric": symmetric}


def enclosed(planes, cell):
    """Area of each family of planes, and the volume, by scipy."""
    reciprocal = np.linalg.inv(cell).T
    normals = {family: np.unique(millers, axis=0) @ reciprocal for family, millers in planes}
    normals = {
        family: some / np.linalg.norm(some, axis=1)[:, None] for family, some in normals.items()
    }
    halves = [[*n, -family[1]] for family, some in normals.items() for n in some]
    points = HalfspaceIntersection(np.array(halves), np.zeros(3)).intersections
    hull = ConvexHull(points)
    areas = dict.fromkeys(normals, 0.0)
    for simplex, equation in zip(hull.simplices, hull.equations, strict=True):
        a, b, c = points[simplex]
        family = max(normals, key=lambda family: (normals[family] @ equation[:3]).max())
        areas[family] += np.linalg.norm(np.cross(b - a, c - a)) / 2
    return areas, hull.volume


@pytest.mark.parametrize("energies", [(0.6, 0.5, 0.7), (0.5, 0.6, 0.7), (0.9, 0.5, 5.0)])
def test_a_trigonal_crystal_has_six_faces_of_a_kind(energies):
    one, other, base = energies
    cell = np.array(conventional_cell(BISMUTH)[0].lattice.matrix)
    faces = {(1, 0, 1): one, (1, 0, -1): other, (0, 0, 1): base}
    areas, volume = enclosed(
        [((miller, energy), trigonal(*miller)) for miller, energy in faces.items()], cell
    )
    shape = shape_of(BISMUTH, faces)
    assert len(shape.facets) == 6 + 6 + 2
    assert shape.volume == pytest.approx(volume)
    for miller, energy in faces.items():
        assert shape.miller_area_dict[miller] == pytest.approx(areas[miller, energy], abs=1e-9)
    surfaces = sorted(
        (row(miller, energy) for miller, energy in faces.items()),
        key=lambda row: row["surface_energy"],
    )
    found, _ = wulff(BISMUTH, surfaces, 1)
    total = sum(areas.values())
    for facet in found["facets"]:
        area = areas[tuple(facet["miller"]), facet["surface_energy"]]
        assert facet["area_fraction"] == pytest.approx(area / total, abs=1e-9)
    mean = sum(energy * area for (_, energy), area in areas.items()) / total
    assert found["surface_energy"] == pytest.approx(mean)


def test_cubic_shapes_are_pymatgens():
    energies = {(1, 0, 0): 1.0, (1, 1, 0): 1.05, (1, 1, 1): 0.9, (2, 1, 0): 1.02}
    copper = bulk("Cu")
    ours = shape_of(copper, energies)
    theirs = WulffShape(conventional_cell(copper)[0].lattice, list(energies), energies.values())
    assert len(ours.facets) == len(theirs.facets)
    assert ours.area_fraction_dict == pytest.approx(theirs.area_fraction_dict)
    assert ours.weighted_surface_energy == pytest.approx(theirs.weighted_surface_energy)


def test_pyrite_s_pentagons_are_twelve():
    pyrite = crystal(
        ["Fe", "S"],
        [(0, 0, 0), (0.385, 0.385, 0.385)],
        spacegroup=205,
        cellpar=[5.418, 5.418, 5.418, 90, 90, 90],
    )
    assert len(shape_of(pyrite, {(2, 1, 0): 1.0}).facets) == 12


def test_what_the_shape_lacks_is_told():
    salt = bulk("NaCl", "rocksalt", a=5.64)
    _, told = wulff(salt, [row((1, 0, 0), 0.2), row((1, 1, 1), None, symmetric=False)], 1)
    assert any("without (111)" in text and "composition" in text for text in told)
    assert any("without (110)" in text and "symmetric_only" in text for text in told)
    assert len(told) == 2
    every = [row((1, 0, 0), 0.2), row((1, 1, 0), 0.3), row((1, 1, 1), 0.5, symmetric=False)]
    _, (told,) = wulff(salt, every, 1)
    assert "of (111) differ" in told
    every[2]["symmetric"] = True
    assert wulff(salt, every, 1)[1] == []


def test_planes_that_enclose_nothing_make_no_shape():
    shape, (told,) = wulff(bulk("Ti"), [row((1, 0, 0), 1.0), row((1, 1, 0), 1.0)], 1)
    assert shape is None
    assert "(100), (110), enclose no volume" in told


def rhombohedral():
    """A crystal like bismuth, that is nearly simple cubic, with six faces of a kind."""
    return crystal("Au", [(0, 0, 0.236)], spacegroup=166, cellpar=[4.1, 4.1, 9.6, 90, 90, 120])


def test_the_figure_shows_the_faces_that_the_numbers_are_of():
    result = bulk_to_slabs_flow(
        static_job(rhombohedral()),
        slab_static_electron=None,
        relax_kwargs={"steps": 1},
        min_thickness=7,
        min_vacuum=8,
    )
    shown = [facet for facet in result["wulff"]["facets"] if facet["area_fraction"] > 1e-6]
    # As many as the tables' -3m makes of each form.
    count = {(0, 0, 1): 2, (1, 0, 1): 6, (1, 0, -1): 6, (1, 0, 0): 6, (1, 1, 0): 6, (1, 1, 1): 12}
    expected = sorted(count[tuple(facet["miller"])] for facet in shown)
    assert {(1, 0, 1), (1, 0, -1)} <= {tuple(facet["miller"]) for facet in shown}
    figure = Figure()
    draw_wulff(decode(encode(result), always_array=False), figure)
    drawn = Counter(tuple(one.get_facecolor()[0]) for one in figure.axes[0].collections)
    assert sorted(drawn.values()) == expected


def test_a_crystal_whose_planes_have_other_compositions():
    gold_copper = Atoms("CuAu", scaled_positions=[[0, 0, 0], [0.5] * 3], cell=[3.0] * 3, pbc=True)
    result = bulk_to_slabs_flow(
        static_job(gold_copper), slab_static_electron=None, symmetric_only=True, min_thickness=5
    )
    lacking = {(1, 0, 0), (1, 1, 0), (1, 1, 1)} - {
        tuple(one["miller"]) for one in result["surfaces"] if one["surface_energy"] is not None
    }
    assert lacking
    told = " ".join(result["warnings"])
    assert all(f"({''.join(map(str, miller))})" in told for miller in lacking)
