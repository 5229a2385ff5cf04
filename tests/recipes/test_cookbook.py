"""The cookbook's files: each runs, with numbers that plain ASE, or the literature, has too."""

import importlib.util
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.build import add_adsorbate, bulk, fcc100
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.io import write
from ase.mep import NEB
from ase.optimize import BFGS
from prefect import Flow
from prefect.settings import get_current_settings
from typer import Typer
from typer.testing import CliRunner

from quacc.cli.script import _command, calculator
from quacc.errors import InputError
from quacc.recipes.tools.documented import explained

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(
    file.stem for file in (ROOT / "recipes").glob("*.py") if "script(" in file.read_text()
)


def load(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "recipes" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # the flow's hints are looked up there
    spec.loader.exec_module(module)
    return module


def flow_of(name):
    return getattr(load(name), name)


def test_there_are_enough_and_the_page_names_them():
    page = (ROOT / "docs" / "cookbook.md").read_text()
    assert len(SCRIPTS) >= 12
    for file in (ROOT / "recipes").iterdir():
        if file.is_file():
            assert f"| `{file.name}` |" in page


@pytest.mark.parametrize("name", SCRIPTS)
def test_each_is_a_deployable_program(name):
    text = (ROOT / "recipes" / f"{name}.py").read_text()
    assert f"python recipes/{name}.py" in text
    assert "\nNeeds: " in text
    flow = flow_of(name)
    assert isinstance(flow, Flow)
    # The form of a deployment: every parameter has a type, a default, and an explanation.
    schema = flow.parameters.model_dump()["properties"]
    assert all("default" in one for one in schema.values())
    assert set(explained(inspect.getdoc(flow.fn))) == set(schema)
    plain = {"string", "number", "integer", "boolean", "array"}
    assert all(one["type"] in plain for one in schema.values())
    program = Typer()
    program.command()(_command(flow))
    help_text = CliRunner().invoke(program, ["--help"]).output
    for parameter in list(schema)[1:]:
        assert f"--{parameter.replace('_', '-')}" in help_text


def test_a_program_in_a_process_of_its_own(prefect_server):
    """Its arguments, its workers, its table; and what is wrong is said in one line."""
    server = get_current_settings().to_environment_variables(exclude_unset=True)

    def call(*arguments):
        command = [sys.executable, str(ROOT / "recipes" / "elastic_family.py"), *arguments]
        return subprocess.run(command, env=os.environ | server, capture_output=True, text=True)

    write("mine.cif", bulk("Cu", cubic=True))
    done = call("mine.cif", "--strain", "0.004")
    assert done.returncode == 0, done.stderr
    # EMT's bulk modulus of copper (GPa), also by a fit of energies: see test_eos.
    assert 130 < float(re.search(r"mine\.cif.*", done.stdout)[0].split()[4]) < 138
    wrong = call("mine.cif", "--calculator", "emt color=red")
    assert wrong.returncode == 1
    assert re.search(r"^quacc: Unknown keyword 'color'\.", wrong.stderr, re.MULTILINE)


def test_a_calculators_text():
    assert calculator("emt") == {"name": "emt"}
    assert calculator("espresso ecutwfc=40 pseudopotentials.Si=Si.UPF kpts='[2, 2, 2]'") == {
        "name": "espresso",
        "ecutwfc": 40,
        "pseudopotentials": {"Si": "Si.UPF"},
        "kpts": [2, 2, 2],
    }
    for wrong in ("", "emt red", "emt 'a"):
        with pytest.raises(InputError):
            calculator(wrong)


def test_adsorption_on_alloys(prefect_server):
    module = load("adsorption_on_alloys")
    rows = module.adsorption_on_alloys(["Cu"], ["Pd"])
    assert [row["crystal"] for row in rows] == ["Cu3Pd", "Cu"]
    # By hand: O in the fcc hollow of Cu(111).
    assert rows[1]["site"] == "hollow"
    assert -0.6 < rows[1]["adsorption energy (eV)"] < 0
    cell = module.l12("Cu", "Pd")
    assert cell.get_chemical_formula() == "Cu3Pd"
    assert len({*np.round(cell.get_all_distances(mic=True)[0, 1:], 8)}) == 1


def test_phonon_stability(prefect_server):
    rows = flow_of("phonon_stability")(["Cu", "Cu-bcc"], min_length=8.0)
    assert [row["stable"] for row in rows] == [True, False]
    assert rows[1]["lowest (THz)"] < -0.5


@pytest.mark.lammps  # has the potential's file
def test_binary_hull(prefect_server):
    rows = flow_of("binary_hull")()
    assert [row["compound"].split()[0] for row in rows] == ["Al3Cu", "AlCu", "AlCu3"]
    # By plain ASE: relaxed cubes of EMT.
    lowest = {key: cube(key) for key in ("Al4", "Cu4", "AlCu3")}
    formation = lowest["AlCu3"] - lowest["Al4"] / 4 - 3 * lowest["Cu4"] / 4
    assert rows[2]["emt: formation (meV/atom)"] == pytest.approx(250 * formation, abs=0.2)
    assert all(row["eam: formation (meV/atom)"] < 0 for row in rows)


def test_a_hull_by_one_code_with_two_sets_of_keywords(prefect_server):
    flow = flow_of("binary_hull")
    texts = ["emt", "emt asap_cutoff=true"]
    rows = flow(["Cu", "Au"], texts)
    assert all(f"{text}: above hull (meV/atom)" in rows[0] for text in texts)
    with pytest.raises(InputError, match="two metals, not 3"):
        flow(["Cu", "Au", "Ag"])


def cube(symbols):
    """Return the least energy (eV) of four atoms on the fcc lattice, by plain ASE."""
    energies = []
    lengths = np.linspace(3.5, 4.15, 66)
    for a in lengths:
        atoms = bulk("Cu", a=a, cubic=True)
        atoms.symbols = symbols
        atoms.calc = EMT()
        energies.append(atoms.get_potential_energy())
    best = int(np.argmin(energies))
    around = slice(best - 2, best + 3)
    fit = np.polynomial.Polynomial.fit(lengths[around], energies[around], 4)
    fine = np.linspace(lengths[best] - 0.01, lengths[best] + 0.01, 2001)
    return float(fit(fine).min())


@pytest.mark.tblite
def test_reaction_energies(prefect_server):
    rows = flow_of("reaction_energies")()
    # Hess: the sum of two of them is a third one.
    both = flow_of("reaction_energies")(["CO2 + 4 H2 -> CH4 + 2 H2O"])[0]
    for name in ("energy (eV)", "enthalpy (eV)", "Gibbs energy (eV)"):
        assert rows[2][name] - rows[1][name] == pytest.approx(both[name], abs=1e-6)


def test_defects(prefect_server):
    rows = flow_of("defects")(kinds=["vacancy"])
    assert {row["defect"] for row in rows} == {"v_Cu", "v_Au"}
    first, second = [name for name in rows[0] if name.startswith("with ")]
    # Of Cu3Au, mu of gold rises by three times what that of copper falls.
    change = {row["defect"]: row[first] - row[second] for row in rows}
    assert change["v_Au"] == pytest.approx(-3 * change["v_Cu"], abs=1e-6)


def test_hop_barrier(prefect_server):
    [row] = flow_of("hop_barrier")(["Al"], images=3)
    assert row["barrier (eV)"] == pytest.approx(barrier(), abs=0.003)


def barrier():
    """Return the barrier of gold's hop on Al(100) (eV), by plain ASE."""
    ends = []
    slab = fcc100("Al", (2, 2, 3), vacuum=6)
    add_adsorbate(slab, "Au", 1.7, "hollow")
    slab.set_constraint(FixAtoms(mask=slab.get_tags() == 3))
    for shift in (0, slab.cell[0, 0] / 2):
        end = slab.copy()
        end.positions[-1, 0] += shift
        end.calc = EMT()
        BFGS(end, logfile=None).run(fmax=0.01)
        ends.append(end)
    images = [ends[0], *(ends[0].copy() for _ in range(3)), ends[1]]
    for image in images[1:-1]:
        image.calc = EMT()
    band = NEB(images, climb=True)
    band.interpolate(mic=True)
    BFGS(band, logfile=None).run(fmax=0.03, steps=200)
    return max(image.get_potential_energy() for image in images) - ends[0].get_potential_energy()


def test_diffusion(prefect_server):
    """Rahman's argon, less what a cell of this size takes (Yeh and Hummer; η of 0.25 mPa s)."""
    [row] = flow_of("diffusion")(temperatures=[94.4])
    length = 17.4e-10  # m
    finite = 2.837 * 1.380649e-23 * 94.4 / (6 * np.pi * 2.5e-4 * length) * 1e4  # cm²/s
    error = row["standard error (cm²/s)"]
    assert row["diffusion (cm²/s)"] == pytest.approx(2.43e-5 - finite, abs=3 * error)
    assert error < 2e-6
    argon = load("diffusion").argon()
    grams = 39.948 / 6.02214e23 * len(argon)
    assert grams / (argon.get_volume() * 1e-24) == pytest.approx(1.374, rel=1e-4)


@pytest.mark.espresso
def test_dft_after_a_cheap_potential(prefect_server):
    [row] = flow_of("dft_after_ml")(fmax=0.05)
    assert row["saved"] == row["without the cheap one"] - row["dear calls"]
    assert row["saved"] > 0


@pytest.mark.espresso
def test_convergence(prefect_server):
    rows = flow_of("convergence")(cutoffs=[12.0, 16.0], meshes=["6 6 6", "9 9 9"], tolerance=10.0)
    assert [row.get("ecutwfc", row.get("kpts")) for row in rows][:3] == [
        "12.0",
        "16.0",
        "[6, 6, 6]",
    ]
    assert rows[1]["enough"] == "12.0"
    # Of aluminium 76 GPa are measured.
    assert rows[-1]["bulk modulus (GPa)"] == pytest.approx(80, abs=25)


@pytest.mark.lammps
def test_active_learning(prefect_server):
    rows = flow_of("active_learning")(rounds=2, first=12, candidates=12, each=4)
    assert [row["cells"] for row in rows] == [12, 16]
    assert rows[-1]["force error (meV/Å)"] < 200
