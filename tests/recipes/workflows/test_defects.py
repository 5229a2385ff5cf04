"""Point defects, against plain ASE, other workflows, geometry and sum rules."""

import sys
from itertools import combinations

import numpy as np
import pytest
from ase.build import bulk, fcc111, molecule
from ase.calculators.emt import EMT
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS

from quacc.errors import InputError, JobsFailedError, MissingProgramError
from quacc.prefect import cached
from quacc.recipes import report, workflows
from quacc.recipes.emt.core import relax_job
from quacc.store import Store
from tests.emt import defects_flow, vacancy_flow

TIGHT = {"fmax": 0.005}


def alloy(first, second, count):
    atoms = bulk(first, cubic=True)
    atoms.symbols[:count] = second
    return atoms


def relaxed(atoms, cell=False):
    """Energy and structure, by plain ASE."""
    atoms = atoms.copy()
    atoms.calc = EMT()
    BFGS(FrechetCellFilter(atoms) if cell else atoms, logfile=None).run(fmax=0.005)
    return atoms.get_potential_energy(), atoms


def named(result):
    return {row["name"]: row for row in result["defects"]}


def energies(result):
    """Formation energies by name, an array over the conditions."""
    return {row["name"]: np.array(row["formation_energies"]) for row in result["defects"]}


@pytest.fixture(scope="module")
def crystal():
    """Cu3Au, of the structure L1_2."""
    return relax_job(alloy("Cu", "Au", 1), relax_cell=True, fmax=0.005)


@pytest.fixture(scope="module")
def own(crystal):
    """Its vacancies and antisites."""
    kinds = ["vacancy", "antisite"]
    return defects_flow(crystal, kinds=kinds, supercell=[2, 2, 2], relax_kwargs=TIGHT)


def test_a_vacancy_is_that_of_plain_ase_and_of_the_other_workflow():
    reference = relax_job("Cu", relax_cell=True, fmax=1e-4)
    options = {"supercell": [3, 3, 3], "relax_kwargs": TIGHT}
    result = defects_flow(reference, kinds="vacancy", **options)
    (row,) = result["defects"]
    assert (row["name"], row["multiplicity"], row["kind"]) == ("v_Cu", 1, "vacancy")
    (found,) = row["formation_energies"]
    whole = reference["atoms"] * (3, 3, 3)
    expected = relaxed(whole[1:])[0] - 26 / 27 * relaxed(whole)[0]
    assert found == pytest.approx(expected, abs=2e-4)
    other = vacancy_flow(reference, **options, neb_kwargs={"fmax": 1.0})
    assert found == pytest.approx(other["formation_energy"], abs=1e-9)
    assert row["atoms"].get_chemical_formula() == "Cu26"
    assert result["above_hull"] == 0
    assert result["conditions"][0]["relative"] == {"Cu": 0}
    assert "coexist" not in report.summary(result)


def test_an_unrelaxed_vacancy_of_pair_potentials_costs_the_cohesive_energy():
    """Taking an atom out loses its bonds, of which each atom of the crystal owns half."""
    options = {"sigma": 3.4, "epsilon": 0.0104, "rc": 9.0, "ro": 8.0, "fmax": 1e3}
    result = workflows.defects_flow(
        "Ar", calculator="lj", kinds=["vacancy"], supercell=[4, 4, 4], relax_kwargs=options
    )
    condition = result["conditions"][0]
    (found,) = result["defects"][0]["formation_energies"]
    assert found == pytest.approx(-condition["chemical_potentials"]["Ar"], abs=1e-9)


def test_all_distinct_defects_of_an_alloy(own):
    many = {name: row["multiplicity"] for name, row in named(own).items()}
    assert many == {"v_Au": 1, "v_Cu": 3, "Cu_Au": 1, "Au_Cu": 3}
    assert {row["kind"] for row in own["defects"]} == {"vacancy", "antisite"}
    assert own["natoms"] == 32
    assert own["formula"] == "AuCu3"
    formulas = {name: row["atoms"].get_chemical_formula() for name, row in named(own).items()}
    assert formulas["v_Cu"] == "Au8Cu23"
    assert formulas["Cu_Au"] == "Au7Cu25"


def test_an_antisite_is_that_of_plain_ase(own, crystal):
    whole = crystal["atoms"] * (2, 2, 2)
    perfect, _ = relaxed(whole)
    copper, _ = relaxed(bulk("Cu"), cell=True)
    gold = perfect / 8 - 3 * copper  # where the alloy is in equilibrium with copper
    whole.symbols[0] = "Cu"
    expected = relaxed(whole)[0] - perfect - copper + gold
    rich = [one["phases"] for one in own["conditions"]].index(["AuCu3", "Cu"])
    assert energies(own)["Cu_Au"][rich] == pytest.approx(expected, abs=1e-3)


def test_potentials_are_limited_by_the_crystal_and_the_elements(own, crystal):
    """The corners are the pure elements, and the crystal is in equilibrium at both."""
    assert [one["phases"] for one in own["conditions"]] == [["AuCu3", "Au"], ["AuCu3", "Cu"]]
    for condition, element in zip(own["conditions"], ["Au", "Cu"], strict=True):
        potentials = condition["chemical_potentials"]
        total = 3 * potentials["Cu"] + potentials["Au"]
        assert total == pytest.approx(crystal["results"]["energy"], abs=1e-6)
        pure, _ = relaxed(bulk(element), cell=True)
        assert potentials[element] == pytest.approx(pure, abs=1e-4)
        assert condition["relative"][element] == pytest.approx(0, abs=1e-9)
        assert min(condition["relative"].values()) < -0.01


def test_what_keeps_the_composition_costs_the_same_everywhere(own):
    each = energies(own)
    for pair in (each["Cu_Au"] + each["Au_Cu"], 3 * each["v_Cu"] + each["v_Au"]):
        assert np.ptp(pair) < 1e-9
    assert np.ptp(each["Cu_Au"]) > 0.02  # alone, it does not
    assert each["Cu_Au"][1] < each["Cu_Au"][0]  # cheaper where there is much copper


def test_a_competing_phase_narrows_the_range(own, crystal):
    result = defects_flow(
        crystal,
        kinds=["vacancy"],
        competing=[alloy("Cu", "Au", 2)],
        supercell=[2, 2, 2],
        relax_kwargs=TIGHT,
    )
    assert [one["phases"] for one in result["conditions"]] == [["AuCu3", "AuCu"], ["AuCu3", "Cu"]]
    wide, narrow = (
        [one["relative"]["Cu"] for one in found["conditions"]] for found in (own, result)
    )
    assert narrow[1] == pytest.approx(wide[1], abs=1e-9)
    assert wide[0] < narrow[0] - 1e-3 < narrow[1]
    # The other alloy is in equilibrium, too, where it is the limit.
    potentials = result["conditions"][0]["chemical_potentials"]
    pair = relax_job(alloy("Cu", "Au", 2), relax_cell=True, **TIGHT)["results"]["energy"]
    assert 2 * potentials["Cu"] + 2 * potentials["Au"] == pytest.approx(pair, abs=1e-9)


def test_corners_of_three_elements():
    """By brute force: two phases and the crystal in equilibrium, no other phase gains."""
    ternary = alloy("Cu", "Au", 1)
    ternary.symbols[1] = "Pd"
    result = defects_flow(
        ternary,
        kinds=[],
        substitutions={"Pd": ["Au"]},
        competing=[alloy("Cu", "Pd", 2)],
        supercell=[2, 2, 2],
    )
    elements = ["Au", "Cu", "Pd"]
    others = ["Au", "Cu", "Pd", alloy("Cu", "Pd", 2)]
    found = [relax_job(one, relax_cell=True) for one in (ternary, *others)]
    counts = np.array([[sum(one["atoms"].symbols == e) for e in elements] for one in found])
    energy = np.array([one["results"]["energy"] for one in found])
    corners = []
    for pair in combinations(range(1, 5), 2):
        potentials = np.linalg.solve(counts[[0, *pair]], energy[[0, *pair]])
        if (counts @ potentials < energy + 1e-9).all():
            corners.append(potentials)
    ours = [[one["chemical_potentials"][e] for e in elements] for one in result["conditions"]]
    assert len(corners) == 3
    np.testing.assert_allclose(sorted(ours), sorted(map(list, corners)), atol=1e-6)
    assert all("AuCu2Pd" in one["phases"] for one in result["conditions"])
    # With this potential, gold rather sits elsewhere.
    assert max(result["defects"][0]["formation_energies"]) < 0
    assert "Au_Pd is negative" in result["warnings"][0]


def test_a_crystal_that_is_not_stable_is_told():
    result = defects_flow(alloy("Cu", "Ag", 2), kinds=["vacancy"], supercell=[2, 2, 2])
    assert [one["phases"] for one in result["conditions"]] == [["Ag", "Cu"]]
    mixed = relax_job(alloy("Cu", "Ag", 2), relax_cell=True)["results"]["energy"]
    pure = [relax_job(one, relax_cell=True)["results"]["energy"] for one in ("Ag", "Cu")]
    expected = mixed / 4 - sum(pure) / 2
    assert result["above_hull"] == pytest.approx(expected, abs=1e-4)
    (warning,) = result["warnings"]
    assert f"{1e3 * result['above_hull']:.1f} meV per atom above Ag, Cu" in warning
    np.testing.assert_allclose([*result["conditions"][0]["relative"].values()], 0, atol=1e-9)


def test_a_foreign_element():
    result = defects_flow(
        "Cu", kinds=[], substitutions={"Cu": "Au"}, supercell=[3, 3, 3], relax_kwargs=TIGHT
    )
    (row,) = result["defects"]
    assert (row["name"], row["kind"]) == ("Au_Cu", "substitution")
    perfect, whole = relaxed(bulk("Cu"), cell=True)
    whole = whole * (3, 3, 3)
    whole.symbols[5] = "Au"
    gold, _ = relaxed(bulk("Au"), cell=True)
    expected = relaxed(whole)[0] - 26 * perfect - gold
    assert row["formation_energies"] == [pytest.approx(expected, abs=1e-3)]
    assert result["conditions"][0]["phases"] == ["Cu", "Au"]
    # With the alloy as its phase, gold is cheaper where it comes from, so that it costs more.
    bound = defects_flow(
        "Cu",
        kinds=[],
        substitutions={"Cu": ["Au"]},
        competing=[alloy("Cu", "Au", 1)],
        supercell=[3, 3, 3],
        relax_kwargs=TIGHT,
    )
    assert bound["conditions"][0]["phases"] == ["Cu", "AuCu3"]
    gain = result["conditions"][0]["chemical_potentials"]["Au"]
    gain -= bound["conditions"][0]["chemical_potentials"]["Au"]
    assert gain > 0.01
    (higher,) = bound["defects"][0]["formation_energies"]
    assert higher == pytest.approx(row["formation_energies"][0] + gain, abs=1e-9)


def test_interstitials_leave_a_saddle_point_when_its_symmetry_is_broken():
    options = {"kinds": ["interstitial"], "supercell": [3, 3, 3], "relax_kwargs": {"fmax": 0.02}}
    kept = defects_flow("Cu", **options)
    ((octahedral,), (tetrahedral,)) = energies(kept).values()
    assert tetrahedral > octahedral + 1
    assert not kept["warnings"]
    broken = defects_flow("Cu", **options, rattle=0.1)
    rows = named(broken)
    assert energies(broken)["Cu_i2"] == pytest.approx([octahedral], abs=0.01)
    assert [name for name, row in rows.items() if row["moved"]] == ["Cu_i2"]
    assert "Cu_i2 relaxed" in broken["warnings"][0]
    assert [row["moved"] for row in report.table(broken)] == ["no", "yes"]


def test_what_is_known_is_not_computed_again(monkeypatch):
    options = {"kinds": ["vacancy"], "supercell": [2, 2, 2], "relax_job": cached(relax_job)}
    first = defects_flow("Cu", **options)
    assert len([*Store().select()]) == 3  # the crystal, without and with the vacancy

    def fails(*_, **__):
        raise AssertionError("computed")

    with monkeypatch.context() as patch:
        patch.setattr(EMT, "calculate", fails)
        again = defects_flow("Cu", **options)
        assert again["key"] == first["key"]
        with pytest.raises(JobsFailedError, match="Au_Cu") as told:
            defects_flow("Cu", **options, substitutions={"Cu": ["Au"]})
    assert len(told.value.exceptions) == 2  # that, and the crystal of gold
    assert len(told.value.results) == 3  # the crystal, its supercell, the vacancy


@pytest.mark.parametrize(
    ("structure", "options", "message"),
    [
        (molecule("N2"), {}, "crystals|periodic"),
        (fcc111("Cu", (1, 1, 3), vacuum=5), {}, "crystals|periodic"),
        ("Cu", {"kinds": ["vacancies"]}, "Did you mean 'vacancy'"),
        ("Cu", {"kinds": 3}, "kinds must be a list"),
        ("Cu", {"kinds": []}, "no defect to compute"),
        ("Cu", {"kinds": ["antisite"]}, "no defect to compute"),
        ("Cu", {"substitutions": ["Au"]}, "substitutions must tell what replaces"),
        ("Cu", {"substitutions": {"Au": ["Cu"]}}, "'Au', which is not in the crystal"),
        ("Cu", {"substitutions": {"Cu": ["Cu"]}}, "Cu by itself"),
        ("Cu", {"substitutions": {"Cu": ["Xy"]}}, "symbols of elements, not 'Xy'"),
        ("Cu", {"insertions": ["X"]}, "symbols of elements, not 'X'"),
        ("Cu", {"insertions": ["O"]}, "needs a crystal of O, which is not among the competing"),
        ("Cu", {"competing": ["Au"]}, "has Au, which no defect has"),
        ("Cu", {"competing": bulk("Au")}, "competing must be a list"),
        ("Cu", {"substitutions": {"Cu": ["W"]}}, "W"),  # EMT has none
        ("Cu", {"supercell": [1, 1, 1]}, "1×1×1 of Cu is too small"),
        ("Cu", {"supercell": [1, 1, 1], "kinds": ["interstitial"]}, "too small"),
        ("Cu", {"supercell": [2, 2]}, "supercell"),
        ("Cu", {"min_length": -1}, "min_length"),
        ("Cu", {"rattle": -0.1}, "rattle"),
        ("Cu", {"relax_kwargs": {"relax_cell": True}}, "the workflow decides it"),
        ("Cu", {"relax_kwargs": {"fmx": 0.1}}, "fmax"),
    ],
)
def test_mistakes_are_told_before_anything_is_computed(structure, options, message, monkeypatch):
    def fails(*_, **__):
        raise AssertionError("computed")

    monkeypatch.setattr(EMT, "calculate", fails)
    with pytest.raises(InputError, match=message):
        defects_flow(structure, **options)


def test_a_gas_may_be_a_competing_phase():
    result = defects_flow(
        "Cu", kinds=[], insertions=["O"], competing=["O2"], relax_kwargs={"fmax": 0.1}
    )
    gas = relax_job("O2", fmax=0.1)["results"]["energy"]
    assert result["conditions"][0]["phases"] == ["Cu", "O2"]
    assert result["conditions"][0]["chemical_potentials"]["O"] == pytest.approx(gas / 2)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pymatgen.analysis.defects.generators", None)
    with pytest.raises(MissingProgramError, match=r"pip install quacc\[defects\]"):
        defects_flow("Cu")


def test_the_figure_has_bars_or_lines(own):
    lines = report.plot(own).axes[0]
    assert [line.get_label() for line in lines.lines[:2]] == [
        r"$v_{\mathrm{Au}}$",
        r"$v_{\mathrm{Cu}}$",
    ]
    assert [one.get_text() for one in lines.get_xticklabels()] == ["AuCu3\nAu", "AuCu3\nCu"]
    options = {"kinds": ["vacancy"], "supercell": [2, 2, 2]}
    (bar,) = report.plot(defects_flow("Cu", **options)).axes[0].containers
    assert len(bar) == 1


def test_one_competing_phase_may_be_a_name():
    options = {"kinds": "vacancy", "supercell": [2, 2, 2]}
    one = defects_flow("Cu", competing="Cu", **options)
    assert one["parameters"]["competing"] == [bulk("Cu")]
    assert one["key"] == defects_flow("Cu", competing=["Cu"], **options)["key"]
    assert not any("not stable" in text for text in one["warnings"])  # above itself by rounding


def test_a_free_atom_is_no_phase():
    with pytest.raises(InputError, match="H is a free atom.*such as H2"):
        defects_flow("Cu", kinds=[], insertions=["H"], competing=["H"])
