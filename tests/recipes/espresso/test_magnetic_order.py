"""Magnetic orderings with Quantum ESPRESSO."""

from itertools import pairwise

import pytest
from ase.build import bulk

from quacc.calculators import code_names, get_code
from quacc.calculators.code import HANDLES
from quacc.errors import InputError
from quacc.recipes.espresso.core import static_job
from quacc.recipes.workflows import magnetic_order_flow

HYDROGEN = {"pseudopotentials": {"H": "H.pz-vbc.UPF"}, "ecutwfc": 12, "kspacing": 0.1}
IRON = {
    "pseudopotentials": {"Fe": "Fe.pz-nd-rrkjus.UPF"},
    "ecutwfc": 20,
    "ecutrho": 160,
    "kspacing": 0.12,
    "input_data": {"degauss": 0.02},
}


def with_espresso(atoms, keywords, **options):
    return magnetic_order_flow(atoms, calculator={"name": "espresso", **keywords}, **options)


@pytest.mark.espresso
def test_stretched_hydrogen_is_heisenberg_s_antiferromagnet():
    """Of a half-filled lattice of one orbital, antiparallel neighbours lower the energy.

    Six of them on the simple cubic lattice in the G-type order, 4 in C, 2 in A, none where all are
    parallel (Wollan and Koehler, Phys. Rev. 100, 545 (1955)).
    """
    result = with_espresso(bulk("H", "sc", a=3.0), HYDROGEN, moments={"H": 0.9})
    rows = result["orderings"]
    assert all(row["kept"] for row in rows)
    assert rows[-1]["name"] == "NM"
    magnetic = rows[:-1]
    assert [_antiparallel(row["atoms"]) for row in magnetic] == [6, 4, 2, 0]
    assert [row["degeneracy"] for row in magnetic] == [1, 3, 3, 1]
    steps = [b["energy"] - a["energy"] for a, b in pairwise(magnetic)]
    assert min(steps) > 0
    assert steps == pytest.approx([sum(steps) / 3] * 3, rel=0.15)  # by the number of such pairs
    assert result["atoms"] == rows[0]["atoms"]
    alone = static_job(rows[0]["atoms"], **HYDROGEN)["results"]
    assert rows[0]["energy"] == alone["energy"] / 2
    assert rows[0]["moments"] == pytest.approx(alone["magmoms"].tolist())
    assert alone["magmom"] == pytest.approx(0, abs=0.01)


def _antiparallel(atoms):
    """Return how many of the six neighbours of the first atom have the other sign."""
    many = atoms.repeat(4)
    moments = many.get_initial_magnetic_moments()
    there = abs(many.get_distances(0, range(len(many)), mic=True) - 3.0) < 0.01
    assert there.sum() == 6
    return int((moments[there] * moments[0] < 0).sum())


@pytest.mark.espresso
def test_iron_is_a_ferromagnet():
    """Of 2.22 μB: Danan, Herr and Meyer, J. Appl. Phys. 39, 669 (1968)."""
    result = with_espresso(bulk("Fe", a=2.87), IRON, cells=1)
    assert [row["name"] for row in result["orderings"]] == ["FM", "NM"]
    assert result["orderings"][0]["moments"] == pytest.approx([2.22], abs=0.15)
    assert result["orderings"][1]["relative"] > 0.3


@pytest.mark.espresso
def test_an_ordering_that_is_lost_is_told():
    """Dense hydrogen is no magnet."""
    result = with_espresso(
        bulk("H", "sc", a=1.6), HYDROGEN, moments={"H": 0.9}, cells=1, kinds=KEPT
    )
    by_name = {row["name"]: row for row in result["orderings"]}
    assert by_name["FM"]["kept"] is False
    assert by_name["FM"]["became"] == "nonmagnetic"
    assert by_name["FM"]["energy"] == pytest.approx(by_name["NM"]["energy"], abs=2e-3)
    assert any("FM did not stay ferromagnetic" in text for text in result["warnings"])
    assert any("No magnetic ordering is known" in text for text in result["warnings"])


KEPT = ["ferromagnetic", "nonmagnetic"]


@pytest.mark.espresso
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"moments": {"Ni": 1}}, "not in the crystal"),
        ({"moments": {"H": -1}}, "moments of H must be"),
        ({}, "pymatgen has no moments"),
        ({"moments": {"H": 1}, "limit": 2}, "5 orderings, more than limit=2: FM, AFM1"),
        ({"moments": {"H": 1}, "static_kwargs": {"kspacing": None, "kpts": [4, 4, 4]}}, "kspacing"),
        ({"moments": {"H": 1}, "kinds": "ferimagnetic"}, "ferrimagnetic"),
        ({"moments": {"H": 1}, "static_kwargs": {"ecutwf": 20}}, "ecutwfc"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(InputError, match=message):
        with_espresso(bulk("H", "sc", a=3.0), HYDROGEN, **options)


def test_what_the_table_says_of_moments_is_what_is_refused():
    for name in code_names():
        code = get_code(name)
        says = {**HANDLES, **code.handles}["moments"]
        assert code.site_moments == ("start of the SCF" in says)
