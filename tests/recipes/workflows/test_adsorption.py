"""Adsorption, against counted sites, plain ASE and symmetry."""

from itertools import pairwise

import numpy as np
import pytest
from ase import Atoms
from ase.build import bcc110, bulk, fcc100, fcc110, fcc111, hcp0001, molecule
from ase.calculators.emt import EMT
from ase.constraints import FixedPlane
from ase.neighborlist import neighbor_list
from ase.optimize import BFGS

from quacc.atoms.adsorption import (
    adsorption_sites,
    as_molecule,
    hold_bottom,
    is_slab,
    with_adsorbate,
)
from quacc.atoms.slabs import make_slabs
from quacc.errors import ParameterError, StructureError
from quacc.recipes import report
from quacc.recipes.emt.core import static_job
from quacc.recipes.workflows.adsorption import _short_names, _slabs, tabulate
from tests.emt import adsorption_flow

RELAX = {"fmax": 0.01}


@pytest.mark.parametrize(
    ("build", "symbol", "kinds"),
    [
        # Of fcc(111): on top, bridge, and the hollows called fcc and hcp.
        (fcc111, "Cu", ["bridge", "hollow", "hollow", "top"]),
        (fcc100, "Cu", ["bridge", "hollow", "top"]),
        # Long and short bridge.
        (fcc110, "Cu", ["bridge", "bridge", "hollow", "top"]),
        (bcc110, "Fe", ["bridge", "bridge", "hollow", "top"]),
        (hcp0001, "Ti", ["bridge", "hollow", "hollow", "top"]),
    ],
)
@pytest.mark.parametrize("size", [(1, 1, 4), (2, 2, 4), (3, 3, 4)])
def test_distinct_sites_are_those_of_the_textbooks(build, symbol, kinds, size):
    slab = build(symbol, size, vacuum=8.0, periodic=True)
    assert sorted(site.kind for site in adsorption_sites(slab)) == kinds


@pytest.mark.parametrize("build", [fcc111, fcc100, fcc110, bcc110])
def test_sites_do_not_depend_on_last_digits(build):
    """Which are others on other processors, where nothing is to be computed again."""
    slab = build("Cu", (2, 2, 3), a=3.6, vacuum=8.0)
    expected = adsorption_sites(slab)
    for seed in range(3):
        moved = slab.copy()
        moved.positions += np.random.default_rng(seed).normal(size=(len(slab), 3)) * 1e-13
        for site, same in zip(adsorption_sites(moved), expected, strict=True):
            assert site.position == pytest.approx(same.position, abs=1e-9)


def test_nor_do_those_among_atoms_on_a_circle():
    slabs = make_slabs(bulk("GaAs", "zincblende", a=5.65), min_thickness=6.0, min_vacuum=10.0)
    for slab in (one.atoms for one in slabs):
        moved = slab.copy()
        moved.positions += np.random.default_rng(0).normal(size=(len(slab), 3)) * 2e-15
        for site, same in zip(adsorption_sites(moved), adsorption_sites(slab), strict=True):
            assert site.position == pytest.approx(same.position, abs=1e-9)


def test_sites_are_where_they_should_be():
    slab = fcc111("Cu", (2, 2, 4), vacuum=8.0, periodic=True)
    neighbours = {"top": 1, "bridge": 2, "hollow": 3}
    top = slab.positions[slab.positions[:, 2] > slab.positions[:, 2].max() - 0.1]
    nearest = 3.61 / np.sqrt(2)
    for site in adsorption_sites(slab):
        probe = slab[[atom.index for atom in slab if atom.tag == 1]]
        probe.append("X")
        probe.positions[-1] = site.position
        distances = np.sort(probe.get_distances(-1, range(len(top)), mic=True))
        radius = {"top": 0.0, "bridge": nearest / 2, "hollow": nearest / np.sqrt(3)}[site.kind]
        np.testing.assert_allclose(distances[: neighbours[site.kind]], radius, atol=0.02)


def test_oxygen_on_a_slab_is_that_of_plain_ase():
    slab = fcc111("Cu", (2, 2, 3), vacuum=8.0, periodic=True)
    result = adsorption_flow(slab, "O", reference="O2", relax_kwargs=RELAX)
    assert [row["site"] for row in result["sites"]] == ["hollow", "hollow", "bridge", "top"]

    def relaxed(atoms):
        atoms = atoms.copy()
        atoms.calc = EMT()
        BFGS(atoms, logfile=None).run(fmax=0.01)
        return atoms.get_potential_energy(), atoms

    clean, surface = relaxed(hold_bottom(slab, 0.5))
    gas, _ = relaxed(molecule("O2"))
    top = surface.copy()
    atom = max(top, key=lambda atom: atom.position[2])
    top.append("O")
    top.positions[-1] = atom.position + np.array([0, 0, 2.0])
    energy = relaxed(top)[0] - clean - gas / 2
    assert result["sites"][-1]["adsorption_energy"] == pytest.approx(energy, abs=2e-3)
    assert result["reference_energy"] == pytest.approx(gas / 2, abs=1e-3)


def test_all_slabs_of_a_crystal():
    result = adsorption_flow("Cu", "N", max_index=1, min_lateral=5.0)
    surfaces = {tuple(row["miller"]) for row in result["sites"]}
    assert surfaces == {(1, 1, 1), (1, 1, 0), (1, 0, 0)}
    assert len(result["sites"]) == 4 + 3 + 4
    energies = [row["adsorption_energy"] for row in result["sites"]]
    assert energies == sorted(energies)
    assert result["atoms"].get_chemical_formula().endswith("N")


def test_both_sides_of_slabs_whose_sides_differ():
    alloy = static_job(bulk("CuAu", "cesiumchloride", a=3.0))

    def still(atoms, **kwargs):
        return static_job(atoms) | {"converged": True}

    result = adsorption_flow(alloy, "N", still, min_lateral=3.0)
    sides = {
        miller: {row["side"] for row in result["sites"] if row["miller"] == list(miller)}
        for miller in [(1, 0, 0), (1, 1, 0), (1, 1, 1)]
    }
    both = {"upper", "lower"}
    assert sides == {(1, 0, 0): both, (1, 1, 0): {None}, (1, 1, 1): both}
    assert "(1 0 0) termination 0, lower side" in {row["surface"] for row in tabulate(result)}

    assert len(result["sites"]) > 15
    figure = report.plot(result)
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].get_yticklabels()]
    assert all(not one.overlaps(other) for one, other in pairwise(boxes))

    # By plain ASE, below the slab as it was carved.
    slab = next(
        slab.atoms
        for slab in make_slabs(alloy, min_thickness=8.0, min_vacuum=15.0, min_lateral=3.0)
        if slab.miller == (1, 0, 0)
    )

    def energy(atoms):
        atoms = atoms.copy()
        atoms.calc = EMT()
        return atoms.get_potential_energy()

    for side, sign in [("upper", 1), ("lower", -1)]:
        outer = slab[int((sign * slab.positions[:, 2]).argmax())]
        below = slab + Atoms("N", [outer.position + np.array([0, 0, 2.0 * sign])])
        expected = energy(below) - energy(slab) - energy(Atoms("N"))
        (row,) = (
            row
            for row in result["sites"]
            if (row["miller"], row["side"], row["site"]) == ([1, 0, 0], side, "top")
        )
        assert row["adsorption_energy"] == pytest.approx(expected, abs=1e-6)


def test_no_side_comes_twice():
    # Zincblende: of (100), sides of zinc and of sulphur. Of (111), those and, of each, one whose
    # atoms have one bond and one whose atoms have three.
    zinc_sulphide = bulk("ZnS", "zincblende", a=5.41)
    carve = {"max_index": 1, "min_thickness": 7.0, "min_vacuum": 10.0, "min_lateral": 0.0}
    sides = {}
    for label, slab in _slabs(zinc_sulphide, carve):
        highest = int(slab.positions[:, 2].argmax())
        counted = (slab.symbols[highest], int((neighbor_list("i", slab, 2.6) == highest).sum()))
        sides.setdefault(tuple(label["miller"]), []).append(counted)
    assert sorted(sides[1, 0, 0]) == [("S", 2), ("Zn", 2)]
    assert sorted(sides[1, 1, 1]) == [("S", 1), ("S", 3), ("Zn", 1), ("Zn", 3)]
    assert len(sides[1, 1, 0]) == 1


def test_molecules_stand_on_their_anchor():
    slab = fcc100("Cu", (2, 2, 3), vacuum=8.0, periodic=True)
    site = adsorption_sites(slab)[0]
    carbon = 1  # of ASE's CO, the oxygen comes first
    whole = with_adsorbate(slab, molecule("CO"), site, distance=1.8, anchor=carbon)
    oxygen, bound = whole[-2], whole[-1]
    assert bound.symbol == "C"
    assert oxygen.z - bound.z == pytest.approx(molecule("CO").get_distance(0, 1))
    np.testing.assert_allclose(bound.position, site.position + np.array([0, 0, 1.8]))
    np.testing.assert_allclose(oxygen.position[:2], bound.position[:2], atol=1e-9)


def test_the_bottom_is_held():
    slab = fcc100("Cu", (1, 1, 4), vacuum=8.0, periodic=True)
    assert list(hold_bottom(slab, 0.5).constraints[0].index) == [0, 1]
    assert not hold_bottom(slab, 0.0).constraints


def test_constraints_that_are_given_are_kept():
    slab = fcc100("Cu", (1, 1, 4), vacuum=8.0, periodic=True)
    slab.set_constraint(FixedPlane([2], [0, 0, 1]))
    (kept,) = hold_bottom(slab, 0.5).constraints
    assert isinstance(kept, FixedPlane)
    result = adsorption_flow(slab, "N", relax_kwargs={"steps": 1})
    (kept,) = result["atoms"].constraints
    assert isinstance(kept, FixedPlane)
    assert list(kept.index) == [2]


def cut(slab):
    """The same slab, its middle at z=0, folded into the cell."""
    moved = slab.copy()
    moved.positions[:, 2] -= slab.positions[:, 2].mean()
    moved.wrap()
    assert np.ptp(moved.positions[:, 2]) > np.ptp(slab.positions[:, 2]) + 1
    return moved


def left_handed(slab):
    other = slab.copy()
    other.cell = slab.cell[[1, 0, 2]]
    return other


def downward(slab):
    other = slab.copy()
    other.cell[2] *= -1
    return other


def tilted(slab):
    other = slab.copy()
    other.cell[2] += slab.cell[0]
    return other


def sunk(slab):
    other = slab.copy()
    other.positions[:, 2] -= slab.positions[:, 2].max() + 1.0
    return other


def without_height(slab):
    other = slab.copy()
    other.cell[2] = 0.0
    other.pbc = [True, True, False]
    return other


@pytest.mark.parametrize(
    "changed", [cut, left_handed, downward, tilted, sunk, without_height], ids=lambda f: f.__name__
)
def test_sites_do_not_depend_on_how_the_slab_is_written(changed):
    slab = fcc111("Cu", (1, 1, 4), vacuum=8.0, periodic=True)
    slab.symbols[-1] = "Au"  # so that the sides differ

    def environments(slab):
        found = []
        for site in adsorption_sites(slab):
            probe = slab + Atoms("H", [site.position + np.array([0, 0, 1.5])])
            probe.pbc = [True, True, True]
            probe.cell[2] = [0, 0, 40] if not slab.pbc[2] else slab.cell[2]
            i, j, d = neighbor_list("ijd", probe, 4.5)
            near = zip(probe.numbers[j[i == len(slab)]], d[i == len(slab)].round(5), strict=True)
            found.append((site.kind, sorted(near)))
        return sorted(found)

    assert environments(changed(slab)) == environments(slab)
    assert list(hold_bottom(changed(slab), 0.5).constraints[0].index) == [0, 1]


def test_a_slab_that_is_cut_adsorbs_as_the_whole_one():
    slab = fcc111("Cu", (1, 1, 3), vacuum=8.0, periodic=True)
    whole = adsorption_flow(slab, "O", reference="O2", relax_kwargs=RELAX)
    pieces = adsorption_flow(cut(slab), "O", reference="O2", relax_kwargs=RELAX)
    for one, other in zip(whole["sites"], pieces["sites"], strict=True):
        assert other["site"] == one["site"]
        assert other["adsorption_energy"] == pytest.approx(one["adsorption_energy"], abs=1e-4)
        assert other["height"] == pytest.approx(one["height"], abs=1e-3)


def test_a_slab_that_lies_on_its_side_is_refused():
    slab = fcc111("Cu", (1, 1, 3), vacuum=8.0, periodic=True)
    slab.rotate(90, "x", rotate_cell=True)
    with pytest.raises(StructureError, match="in the xy plane"):
        adsorption_sites(slab)


def test_all_sites_are_checked_before_anything_is_computed():
    slab = fcc100("Cu", (1, 2, 3), vacuum=8.0, periodic=True)
    for one in (-1, -2):
        mixed = slab.copy()
        mixed.symbols[one] = "H"  # which an oxygen may be so near to, but not to copper
        with pytest.raises(StructureError, match="overlap|closer|apart"):
            adsorption_flow(mixed, "O", reference="O2", distance=0.8, relax_kwargs={"steps": 1})


def test_slabs_are_recognised():
    assert is_slab(fcc111("Cu", (1, 1, 3), vacuum=8.0, periodic=True))
    assert is_slab(fcc111("Cu", (1, 1, 3), vacuum=8.0))
    assert not is_slab(bulk("Cu"))
    assert not is_slab(molecule("H2O"))
    moved = fcc111("Cu", (1, 1, 3), vacuum=8.0, periodic=True)
    moved.positions[:, 2] += 5.0
    moved.wrap()
    assert is_slab(moved)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (("Cu", "O"), {"reference": "H2O"}, StructureError, "composition"),
        (("Cu", "O"), {"distance": -1}, ParameterError, "distance"),
        (("Cu", "O"), {"hold": 2}, ParameterError, "between 0 and 1"),
        (("Cu", "O"), {"anchor": 3}, StructureError, "none number 3"),
        (("Cu", Atoms("O")), {"relax_kwargs": {"fmx": 1}}, ParameterError, "fmax"),
        ((molecule("N2"), "O"), {}, StructureError, "crystal"),
    ],
)
def test_bad_input(arguments, options, error, message):
    with pytest.raises(error, match=message):
        adsorption_flow(*arguments, **options)


@pytest.mark.parametrize(
    ("adsorbate", "reference", "message"),
    [
        ("Au", None, r"adsorbate Au is no atom .*ase.Atoms\('Au'\)"),
        ("C", None, r"adsorbate C2 is no atom .*ase.Atoms\('C'\)"),
        (Atoms("C"), "C", "reference C2 is no atom"),
        (bulk("NaCl", "rocksalt", a=5.6), None, "adsorbate ClNa is no .*pbc = False"),
        (fcc100("Cu", (1, 1, 2), vacuum=8.0), None, "adsorbate Cu2 is no atom"),
    ],
)
def test_crystals_are_no_adsorbates(adsorbate, reference, message):
    calls = []
    with pytest.raises(StructureError, match=message):
        adsorption_flow("Cu", adsorbate, calls.append, reference=reference)
    assert calls == []


def boxed(name, **options):
    atoms = molecule(name, **options)
    atoms.center(5.0)
    return atoms


@pytest.mark.parametrize(
    "given",
    [
        Atoms("N"),
        Atoms("N", cell=[9, 9, 9], pbc=True),
        molecule("CO"),
        boxed("CO"),
        boxed("CO", pbc=True),
    ],
)
def test_atoms_and_molecules_stay_as_they_are(given):
    found = as_molecule(given, "adsorbate")
    assert found == given


def test_a_molecule_that_its_box_cuts_is_put_together():
    cut = boxed("CH3OH", pbc=True)
    cut.cell[1, 0], cut.cell[2, 1] = 1.0, 2.0
    whole = cut.get_all_distances()
    cut.positions -= cut.positions[0]
    cut.wrap()
    assert np.ptp(cut.positions, axis=0).max() > 5
    np.testing.assert_allclose(as_molecule(cut, "adsorbate").get_all_distances(), whole)


def test_adsorbates_that_reach_their_images_are_told():
    loose = {"hold": 1.0, "relax_kwargs": {"fmax": 1.0}}
    wide = fcc111("Cu", (2, 2, 2), vacuum=8.0, periodic=True)
    assert not [
        text
        for text in adsorption_flow(wide, "O", reference="O2", **loose)["warnings"]
        if "image" in text
    ]
    tight = fcc111("Cu", (2, 2, 2), vacuum=3.5, periodic=True)
    told = adsorption_flow(tight, "O", reference="O2", **loose)["warnings"]
    assert any("left between an adsorbate and the slab's image" in text for text in told)
    # Without a third period there is no image above.
    tight.pbc[2] = False
    told = adsorption_flow(tight, "O", reference="O2", **loose)["warnings"]
    assert not any("image" in text for text in told)
    dense = fcc111("Cu", (1, 1, 2), vacuum=8.0, periodic=True)
    told = adsorption_flow(dense, "O", reference="O2", **loose)["warnings"]
    assert any("2.6 Å from their own images along the surface" in text for text in told)


def test_names_in_the_figure_tell_sites_apart_and_no_more():
    def row(site, miller, termination=0, side=None):
        return {"site": site, "miller": miller, "termination": termination, "side": side}

    rows = [
        row("hollow", (1, 1, 1)),
        row("hollow", (1, 1, 1)),
        row("top", (1, 1, 1)),
        row("top", (1, 0, -1), 0),
        row("top", (1, 0, -1), 1),
        row("top", (2, 1, 1), 0, "upper"),
        row("top", None, None),
    ]
    assert _short_names(rows) == [
        "hollow 1, (111)",
        "hollow 2, (111)",
        "top, (111)",
        "top, (10-1) termination 0",
        "top, (10-1) termination 1",
        "top, (211), upper side",
        "top, the slab",
    ]
