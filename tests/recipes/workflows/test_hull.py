"""Formation energies and the convex hull, against arithmetic."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from quacc.errors import ParameterError, StructureError
from quacc.recipes.emt.core import relax_job
from quacc.recipes.lj import core as lj
from quacc.recipes.workflows.hull import draw
from quacc.recipes.workflows.hull import hull_flow as any_hull_flow
from tests.emt import hull_flow


def alloy(first, second, count):
    atoms = bulk(first, cubic=True)
    atoms.symbols[:count] = second
    return atoms


def test_copper_and_gold():
    crystals = [alloy("Cu", "Au", count) for count in range(5)]
    result = hull_flow(crystals)
    phases = {phase["formula"]: phase for phase in result["phases"]}
    cu3au = relax_job(crystals[1])["formula"]
    energies = {name: phase["energy"] for name, phase in phases.items()}
    per_atom = relax_job(crystals[1], relax_cell=True)["results"]["energy"] / 4
    assert energies[cu3au] == pytest.approx(per_atom, abs=1e-6)
    formation = energies[cu3au] - 0.75 * energies["Cu"] - 0.25 * energies["Au"]
    assert phases[cu3au]["formation_energy"] == pytest.approx(formation, abs=1e-9)
    assert phases["Cu"]["formation_energy"] == phases["Au"]["formation_energy"] == 0
    # The lower hull of the points, by brute force over pairs that enclose each.
    points = sorted(
        (p["composition"].get("Au", 0.0), p["formation_energy"], n) for n, p in phases.items()
    )
    for x, y, name in points:
        hull = min(
            [y]
            + [
                ya + (yb - ya) * (x - xa) / (xb - xa)
                for xa, ya, _ in points
                for xb, yb, _ in points
                if xa <= x <= xb and xa < xb
            ]
        )
        assert phases[name]["above_hull"] == pytest.approx(y - hull, abs=1e-9)
        assert phases[name]["stable"] == (y - hull < 1e-8)


def test_missing_elements_are_added():
    result = hull_flow([alloy("Cu", "Pd", 2)])
    assert {phase["formula"] for phase in result["phases"]} == {"Cu", "Pd", "CuPd"}
    assert result["elements"] == ["Cu", "Pd"]


def test_of_two_crystals_of_an_element_one_is_above():
    result = hull_flow([bulk("Al"), bulk("Al", "hcp", a=2.86, c=4.7), bulk("Al", "bcc", a=3.2)])
    above = [phase["above_hull"] for phase in result["phases"]]
    assert above[0] == 0
    assert above[1] > 1e-4
    energies = np.array([phase["energy"] for phase in result["phases"]])
    np.testing.assert_allclose(above, energies - energies.min(), atol=1e-9)


def test_three_elements():
    ternary = alloy("Cu", "Au", 1)
    ternary.symbols[1] = "Pd"
    result = hull_flow([ternary, alloy("Cu", "Au", 2)])
    assert len(result["phases"]) == 5
    assert all(phase["above_hull"] >= 0 for phase in result["phases"])


def test_a_gas_is_a_molecule():
    """EMT knows oxygen; the oxide's energy is checked by hand."""
    oxide = bulk("CuO", "rocksalt", a=4.2)
    result = hull_flow([oxide, "O2"], relax_kwargs={"fmax": 0.02, "steps": 300})
    energies = {one["formula"]: one["energy"] for one in result["phases"]}
    (found,) = [one for one in result["phases"] if one["formula"] == "CuO"]
    expected = energies["CuO"] - (energies["Cu"] + energies["O2"]) / 2
    assert found["formation_energy"] == pytest.approx(expected)
    gas = relax_job("O2", fmax=0.02)["results"]["energy"]
    assert energies["O2"] == pytest.approx(gas / 2, abs=1e-6)


@pytest.mark.parametrize(
    ("structures", "error", "message"),
    [
        ("Cu", ParameterError, "list"),
        ([], ParameterError, "list"),
        ([molecule("H2O")], StructureError, "crystal"),
        ([molecule("N2")], StructureError, "There is no crystal"),
        (["Cu", Atoms("O")], StructureError, "O is a free atom"),
        (["Cu", fcc111("Cu", (1, 1, 3), vacuum=5)], StructureError, "neither a crystal nor"),
    ],
)
def test_bad_input(structures, error, message):
    with pytest.raises(error, match=message):
        hull_flow(structures)


def test_the_molecule_of_a_salt_is_told():
    potential = {"epsilon": 0.01, "sigma": 2.5}
    halite = bulk("NaCl", "rocksalt", a=5.64)
    chlorine = bulk("Cl", "fcc", a=4.0)
    result = any_hull_flow(
        [halite, "NaCl", bulk("Na", cubic=True), chlorine],
        lj.relax_job,
        lj.static_job,
        relax_kwargs={**potential, "steps": 1},
        static_kwargs=potential,
    )
    assert any("'NaCl' is the name of the molecule" in text for text in result["warnings"])


def test_names_in_the_figure_touch_neither_one_another_nor_the_hull():
    phases = [alloy("Cu", "Au", count) for count in range(5)]
    figure = Figure()
    draw(hull_flow([*phases, bulk("Cu", "bcc", a=2.9)]), figure)
    FigureCanvasAgg(figure).draw()
    [axes] = figure.axes
    boxes = [text.get_window_extent() for text in axes.texts]
    assert sorted(text.get_text() for text in axes.texts) == [
        "Au",
        "Au$_{3}$Cu",
        "AuCu",
        "AuCu$_{3}$",
        "Cu",  # the lower one of two
    ]
    hull = next(line for line in axes.lines if line.get_label() == "stable")
    path = hull.get_path().transformed(axes.transData)
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:number])
        assert not path.intersects_bbox(box, filled=False)
