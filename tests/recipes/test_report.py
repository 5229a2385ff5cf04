"""What people look at: summaries, tables, figures, citations."""

import json
import math
import re

import numpy as np
import pytest
from ase.build import bulk, fcc111
from ase.geometry import find_mic
from ase.io.jsonio import decode, encode
from matplotlib.figure import Figure

from quacc.calculators import get_code
from quacc.errors import InputError
from quacc.recipes import report, workflows
from quacc.recipes.emt import core
from quacc.recipes.emt.slabs import bulk_to_slabs_flow
from quacc.recipes.workflows.converge import converge
from quacc.store import Store
from tests.emt import (
    adsorption_flow,
    batch_flow,
    defects_flow,
    double_relax_flow,
    elastic_flow,
    eos_flow,
    hull_flow,
    magnetic_order_flow,
    md_flow,
    molecule_flow,
    neb_flow,
    order_flow,
    phonon_flow,
    qha_flow,
    reaction_flow,
    stacking_fault_flow,
    ts_flow,
    vacancy_flow,
)


def hop():
    """A vacancy of copper and its neighbour change places."""
    whole = bulk("Cu", cubic=True) * 2
    initial, final = whole.copy(), whole.copy()
    near = int(whole.get_distances(0, range(1, len(whole)), mic=True).argmin()) + 1
    final.positions[near] = whole.positions[0]
    return initial[1:], final[1:]


def over():
    """The neighbour of a vacancy of copper near the middle of its hop."""
    initial, final = hop()
    moved, _ = find_mic(final.positions - initial.positions, initial.cell)
    between = initial.copy()
    between.positions += 0.45 * moved
    return between


def alloy():
    """Cu3Au."""
    atoms = bulk("Cu", cubic=True)
    atoms.symbols[0] = "Au"
    return atoms


def shared():
    """Copper and gold that share the sites of fcc."""
    atoms = bulk("Cu", a=3.8)
    atoms.info["occupancy"] = {"0": {"Cu": 0.5, "Au": 0.5}}
    atoms.set_array("spacegroup_kinds", np.array([0]))
    return atoms


HYDROGEN = {
    "name": "espresso",
    "pseudopotentials": {"H": "H.pz-vbc.UPF"},
    "ecutwfc": 12,
    "kspacing": 0.1,
}

MADE = {
    "adsorption_flow": lambda: adsorption_flow(
        fcc111("Cu", (1, 1, 3), vacuum=8.0, periodic=True), "O", reference="O2"
    ),
    "batch_flow": lambda: batch_flow(["Al", "Cu", "Ni"]),
    "bulk_to_slabs_flow": lambda: bulk_to_slabs_flow("Cu", slab_static_electron=None),
    "converge": lambda: converge(eos_flow, "points", [5, 7], "Cu", tolerance=1.0),
    "defects_flow": lambda: defects_flow(
        alloy(), kinds=["vacancy", "antisite"], supercell=[2, 2, 2]
    ),
    "double_relax_flow": lambda: double_relax_flow("Cu", core.relax_job, compare=True),
    "elastic_flow": lambda: elastic_flow("Cu"),
    "eos_flow": lambda: eos_flow("Cu"),
    "hull_flow": lambda: hull_flow(["Cu", "Au", "Cu"]),
    "magnetic_order_flow": lambda: magnetic_order_flow(
        bulk("H", "sc", a=3.0), cells=1, moments={"H": 0.9}, calculator=HYDROGEN
    ),
    "md_flow": lambda: md_flow(bulk("Cu", cubic=True) * 2, equilibration=20, steps=200),
    "molecule_flow": lambda: molecule_flow("NH3"),
    "neb_flow": lambda: neb_flow(*hop()),
    "order_flow": lambda: order_flow(shared()),
    "phonon_flow": lambda: phonon_flow("Cu", supercell=[3, 3, 3], mesh=20.0),
    "qha_flow": lambda: qha_flow("Cu", supercell=[3, 3, 3], mesh=20.0, t_max=400),
    "reaction_flow": lambda: reaction_flow("N2 + 3 H2 -> 2 NH3"),
    "stacking_fault_flow": lambda: stacking_fault_flow("Cu", points=7),
    "ts_flow": lambda: ts_flow(over()),
    "vacancy_flow": lambda: vacancy_flow("Cu", supercell=[2, 2, 2]),
}


@pytest.fixture(scope="module")
def made():
    """One result of each workflow, kept by the test run."""
    return {}


MARKS = {"magnetic_order_flow": pytest.mark.espresso}


@pytest.fixture(params=[pytest.param(one, marks=MARKS.get(one, [])) for one in sorted(MADE)])
def result(request, made):
    if request.param not in made:
        made[request.param] = MADE[request.param]()
    return made[request.param]


def test_every_workflow_is_tried_here():
    assert {*report.workflows()} <= {*MADE}


def test_summary_and_table(result):
    text = report.summary(result)
    assert "\n" not in text
    assert result["formula"] in text
    rows = report.table(result)
    assert rows
    for row in rows:
        assert row.keys() == rows[0].keys()
        for value in row.values():
            assert value is None or isinstance(value, str | int | float | bool)


def test_figures_have_labelled_axes(result, tmp_path):
    figure = report.plot(result, tmp_path / "figure.png")
    assert isinstance(figure, Figure)
    assert (tmp_path / "figure.png").stat().st_size > 3000
    for name in ("figure.pdf", "figure.svg"):
        report.plot(result, tmp_path / name)
        assert (tmp_path / name).stat().st_size > 1000


def test_results_are_stored_and_come_back(result):
    store = Store()
    store.add([result])
    again = store.get(result["key"])
    assert again["name"] == result["name"]
    assert report.summary(again) == report.summary(result)
    assert report.table(again) == report.table(result)
    report.plot(again)
    (row,) = [row for row in store.select() if row.key == result["key"]]
    assert row.recipe == result["name"]
    assert row.calculator == result["calculators"][0]["name"]


def test_results_survive_json(result):
    again = decode(encode(result))
    assert report.summary(again) == report.summary(result)


def test_units_are_of_properties(result):
    numbers = result["properties"][-1] if "properties" in result else {}
    assert result["units"].keys() <= {*result, *numbers}
    floats = [
        name
        for name, value in result.items()
        if isinstance(value, float) and name not in result["units"]
    ]
    # The others are numbers without a unit.
    assert set(floats) <= {
        "bulk_modulus_derivative",
        "poisson_ratio",
        "universal_anisotropy",
        "first_peak",
        "tolerance",
        "unstable_slip",
        "intrinsic_slip",
    }


def test_citations_are_bibtex(result):
    text = report.citations(result)
    assert "Larsen2017" in text
    code = result["calculators"][0]["name"]
    assert {"emt": "Jacobsen1996", "espresso": "Giannozzi2009"}[code] in text
    entries = re.findall(r"^@\w+\{(\w+),", text, flags=re.MULTILINE)
    assert len(entries) == len(set(entries)) >= 2
    assert text.count("{") == text.count("}")


def test_citations_of_a_job():
    text = report.citations(core.static_job("Cu"))
    assert "Larsen2017" in text
    assert "Jacobsen1996" in text


def test_all_references_have_a_doi_or_a_publisher():
    for entry in report._references().values():
        assert "doi = {10." in entry or "publisher" in entry


def test_methods_are_cited_by_what_was_used():
    assert "Birch1947" in report.citations(MADE["eos_flow"]())
    assert "Togo2023a" not in report.citations(MADE["eos_flow"]())


@pytest.mark.tblite
def test_a_calculators_method_is_cited():
    from quacc.recipes.tblite.core import static_job

    assert "Bannwarth2019" in report.citations(static_job("H2O"))
    assert "Grimme2017" in report.citations(static_job("H2O", method="GFN1-xTB"))


def test_jobs_have_no_figure():
    with pytest.raises(InputError, match=r"emt\.static_job is no workflow"):
        report.plot(core.static_job("Cu"))


def test_a_file_that_cannot_be_written(tmp_path):
    with pytest.raises(InputError, match="Cannot write"):
        report.plot(eos_flow("Cu", points=5), tmp_path / "nowhere" / "a.pdf")
    with pytest.raises(InputError, match="Cannot write"):
        report.plot(eos_flow("Cu", points=5), tmp_path / "a.xyz")


def test_numbers_in_results_are_plain_json(result):
    def walk(value):
        if isinstance(value, dict):
            for one in value.values():
                walk(one)
        elif isinstance(value, list):
            for one in value:
                walk(one)
        elif isinstance(value, float):
            assert not math.isinf(value)

    walk(json.loads(encode(result)))


@pytest.mark.tblite
def test_methods_of_a_calculator_at_the_call_are_cited():
    methods = ("GFN1-xTB", "GFN2-xTB")
    one, other = (
        report.citations(
            workflows.molecule_flow("H2", calculator={"name": "tblite", "method": method})
        )
        for method in methods
    )
    assert get_code("tblite").cite({"method": methods[0]}).strip() in one
    assert get_code("tblite").cite({"method": methods[1]}).strip() in other
    assert one != other


@pytest.mark.pyscf
def test_dispersion_of_a_calculator_at_the_call_is_cited():
    words = {"name": "pyscf", "xc": "PBE", "basis": "STO-3G", "dispersion": "d3bj:pbe"}
    assert "Grimme2011" in report.citations(workflows.molecule_flow("H2", calculator=words))
