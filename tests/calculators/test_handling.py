"""What each calculator does with what a structure says, as the documentation tells."""

import importlib
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.constraints import FixAtoms
from typer.testing import CliRunner

from quacc.calculators import code_names, get_code, handling
from quacc.calculators.code import HANDLES
from quacc.cli.main import app
from quacc.errors import InputError
from quacc.recipes import workflows
from quacc.recipes.report import abilities
from quacc.recipes.tools.workflow import with_calculator

HYDROGEN = {"pseudopotentials": {"H": "H.pz-vbc.UPF"}, "ecutwfc": 12, "kpts": (1, 1, 1)}
OPTIONS = {
    "abinit": {"ecut": 8, "kpts": (1, 1, 1)},
    "emt": {},
    "lj": {"epsilon": 0.0104, "sigma": 2.0},
    "mopac": {},
    "tblite": {},
    "espresso": HYDROGEN,
    "nwchem": {"theory": "scf", "basis": "sto-3g"},
    "pyscf": {"xc": "HF", "basis": "STO-3G"},
    "cp2k": {"basis_set": "SZV-MOLOPT-SR-GTH", "cutoff": 150.0, "rel_cutoff": 30.0},
    "chgnet": {},
    "sevenn": {},
    "lammps": {"potential": "Cu_mishin1.eam.alloy"},
    "eam": {"potential": "Cu_mishin1.eam.alloy"},
    "tersoff": {"potential": "Si.tersoff"},
}
NOT_RUN = ("aims", "gaussian", "mace", "matgl", "orb", "orca", "qchem", "upet", "vasp")
"""Not run here; tests/recipes has what they make of a structure."""
MOLECULES = [
    pytest.param(name, marks=getattr(pytest.mark, name))
    for name in ("mopac", "tblite", "nwchem", "pyscf")
]

ELECTRONS = ("mopac", "tblite", "espresso", "abinit", "nwchem", "pyscf", "cp2k")
PLANE_WAVES = ("espresso", "abinit")
MARKS = {code: getattr(pytest.mark, code) for code in ELECTRONS}
MARKS |= {"chgnet": pytest.mark.ml, "sevenn": pytest.mark.ml}
MARKS |= dict.fromkeys(("lammps", "eam", "tersoff"), pytest.mark.lammps)
CELLS = [pytest.param(code, row, marks=MARKS.get(code, [])) for code in OPTIONS for row in HANDLES]


def small(name):
    """Two atoms that the code computes within a second."""
    if name in PLANE_WAVES:
        return Atoms("H2", [[0, 0, 0], [0, 0, 0.8]], cell=[5, 5, 5], pbc=True)
    if name == "cp2k":
        return Atoms("H2", [[2.5, 2.5, 2.1], [2.5, 2.5, 2.9]], cell=[5, 5, 5])
    if name in ELECTRONS:
        return Atoms("H2", [[0, 0, 0], [0, 0, 0.8]])
    element = "Si" if name == "tersoff" else "Cu"
    return Atoms(f"{element}2", [[0, 0, 0], [0, 0, 2.4]])


def jobs(name):
    return importlib.import_module(f"quacc.recipes.{name}.core")


def energy(name, atoms, **more):
    return static(name, atoms, **more)["results"]["energy"]


def static(name, atoms, **more):
    return jobs(name).static_job(atoms, **OPTIONS[name], **more)


@pytest.mark.parametrize("table", [handling, abilities])
def test_the_documentation_has_this_table(table):
    head, *rows = table()
    lines = ["| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]]
    text = (Path(__file__).parents[2] / "docs" / "calculators.md").read_text()
    assert "\n".join(lines) in text, "\n".join(lines)
    assert all(cell for row in rows for cell in row)


def test_every_calculator_is_tried_here():
    assert [row[0] for row in handling()[1:]] == code_names() == sorted([*OPTIONS, *NOT_RUN])


@pytest.mark.parametrize(("name", "row"), CELLS)
def test_each_cell(name, row):
    globals()[f"check_{row.replace(' ', '_')}"](name, cell(name, row))


def cell(name, row):
    head, *rows = handling()
    return next(one for one in rows if one[0] == name)[head.index(row)]


def check_partial_occupancy(name, says):
    assert says == "refused"
    atoms = small(name)
    atoms.info["occupancy"] = {"0": {str(atoms.symbols[0]): 0.5}}
    with pytest.raises(InputError, match="occupancy"):
        static(name, atoms)


def check_pbc(name, says):
    if name in ("tblite", "nwchem", "pyscf", "cp2k", *PLANE_WAVES):
        layer = small(name)
        layer.cell, layer.pbc = [5, 5, 8], [True, True, False]
        with pytest.raises(InputError, match="pbc"):
            static(name, layer)
        return
    assert says.startswith("honoured")
    energies = []
    for height in (6, 30):  # the energy of a layer does not depend on the vacuum that is not there
        layer = small(name)
        layer.cell = [[2.5, 0, 0], [0, 2.5, 0], [0, 0, height]]
        layer.pbc = [True, True, False]
        energies.append(energy(name, layer * (4, 4, 1) if name == "mopac" else layer))
        alone = layer.copy()
        alone.pbc = False
    assert energies[0] == pytest.approx(energies[1], abs=1e-6)
    assert energies[0] != pytest.approx(energy(name, alone), abs=1e-2)


def check_charges(name, says):
    charged, mixed = small(name), small(name)
    charged.set_initial_charges([0.5, 0.4999])
    mixed.set_initial_charges([0.2, -0.2])
    half = small(name)
    half.set_initial_charges([0.4, 0])
    with pytest.raises(InputError, match="add up to 0.4"):
        static(name, half)
    if name not in ELECTRONS:
        assert says.startswith("refused")
        with pytest.raises(InputError, match="no charge"):
            static(name, charged)
        assert any("charges" in text for text in static(name, mixed)["warnings"])
        return
    keyword = {"charge": 1} if name != "espresso" else {"input_data": {"tot_charge": 1}}
    right = energy(name, small(name), **keyword)
    assert energy(name, charged) == pytest.approx(right, abs=1e-4)
    assert energy(name, mixed) == pytest.approx(energy(name, small(name)), abs=1e-6)
    told = small(name)
    told.info["charge"] = 1
    assert energy(name, told) == pytest.approx(right, abs=1e-4)
    with pytest.raises(InputError, match="contradicts"):
        static(
            name,
            charged,
            **({"charge": 2} if name != "espresso" else {"input_data": {"tot_charge": 0}}),
        )


def check_moments(name, says):
    magnetic, vectors = small(name), small(name)
    magnetic.set_initial_magnetic_moments([1, 1])
    vectors.set_initial_magnetic_moments([[0, 0, 1], [0, 1, 0]])
    if name not in ELECTRONS:
        assert "warning" in says
        assert any("magnetic moments" in text for text in static(name, magnetic)["warnings"])
        return
    with pytest.raises(InputError, match="vectors"):
        static(name, vectors)
    if name == "espresso":
        with pytest.raises(InputError, match="nspin=1"):
            static(name, magnetic, input_data={"nspin": 1})
        result = static(name, magnetic, input_data={"tot_magnetization": 2, "nbnd": 4})
        assert result["parameters"]["input_data"]["nspin"] == 2
        assert result["results"]["magmom"] == pytest.approx(2, abs=1e-2)
        return
    if name == "abinit":
        stretched = small(name)
        stretched.positions[1, 2] = 2.5  # halfway through its cell
        stretched.set_initial_magnetic_moments([1, 1])
        assert static(name, stretched)["results"]["magmom"] == pytest.approx(2, abs=0.1)
        return
    assert energy(name, magnetic) > energy(name, small(name)) + 1  # the triplet is not bound
    odd = small(name)
    odd.set_initial_magnetic_moments([1, 0])
    with pytest.raises(InputError, match="S is one of 0, 1, and cannot be 0.5"):
        static(name, odd)


def check_masses(name, says):
    assert "refused" in says
    for wrong in (0.0, -1.0, np.nan):
        bad = small(name)
        bad.arrays["masses"] = np.array([1.0, wrong])
        with pytest.raises(InputError, match="masses of atom 1"):
            static(name, bad)
    heavy = small(name)
    heavy.set_masses(4 * heavy.get_masses())
    start = {"steps": 1, "dynamics": "NVE", "timestep": 0.1, **OPTIONS[name]}
    moved = []
    for atoms in (small(name), heavy):
        atoms.set_momenta(np.zeros((2, 3)))
        atoms.arrays["momenta"][0, 0] = 1e-3
        after = jobs(name).md_job(atoms, **start)["atoms"].positions[0, 0]
        moved.append(after - atoms.positions[0, 0])
    assert moved[0] == pytest.approx(4 * moved[1], rel=1e-2)


def check_constraints(name, says):
    assert says == "honoured"
    atoms = small(name)
    atoms.set_constraint(FixAtoms([0]))
    result = jobs(name).relax_job(atoms, steps=1, **OPTIONS[name])
    np.testing.assert_array_equal(result["atoms"].positions[0], atoms.positions[0])
    assert (result["atoms"].positions[1] != atoms.positions[1]).any()


def check_velocities(name, says):
    assert "md_job" in says
    moving = small(name)
    moving.set_velocities([[0.01, 0, 0], [0.01, 0, 0]])
    options = {"steps": 1, "dynamics": "NVE", "timestep": 0.1, **OPTIONS[name]}
    after = jobs(name).md_job(moving, **options)["atoms"]
    assert after.get_velocities()[:, 0] == pytest.approx([0.01, 0.01], rel=1e-2)


@pytest.mark.parametrize("name", MOLECULES)
def test_an_odd_number_of_electrons_is_a_doublet(name, request):
    """R ln 2 = 5.763 J/(mol K) = 5.9728e-5 eV/K of entropy."""
    request.applymarker(getattr(pytest.mark, name))
    radical = molecule("CH3")
    radical.set_initial_magnetic_moments(None)
    result = jobs(name).freq_job(radical, **OPTIONS[name])
    assert result["thermo"]["spin"] == 0.5
    assert sum("doublet" in text for text in result["warnings"]) == 1
    with pytest.raises(InputError, match="cannot be 0"):
        jobs(name).freq_job(radical, spin=0, **OPTIONS[name])
    even = jobs(name).freq_job("H2O", **OPTIONS[name])
    assert even["thermo"]["spin"] == 0
    assert not any("doublet" in text for text in even["warnings"])
    named = radical.copy()
    named.set_initial_magnetic_moments([1, 0, 0, 0])
    same = jobs(name).freq_job(named, **OPTIONS[name])["thermo"]
    assert same["entropy"] == pytest.approx(result["thermo"]["entropy"], abs=2e-5)


@pytest.mark.tblite
def test_jobs_that_follow_one_another_compute_one_state():
    molecule_flow = with_calculator(workflows.molecule_flow, "tblite")
    neb_flow = with_calculator(workflows.neb_flow, "tblite")
    phonon_flow = with_calculator(workflows.phonon_flow, "tblite")
    qha_flow = with_calculator(workflows.qha_flow, "tblite")
    vacancy_flow = with_calculator(workflows.vacancy_flow, "tblite")

    with pytest.raises(InputError, match="'unpaired electrons': 2"):
        molecule_flow("H2O", relax_kwargs={"multiplicity": 3})
    with pytest.raises(InputError, match="'charge': 1"):
        molecule_flow("H2O", freq_kwargs={"charge": 1})
    ends = [molecule("NH3"), molecule("NH3")]
    ends[1].positions[:, 2] *= -1
    with pytest.raises(InputError, match="'unpaired electrons': 2"):
        neb_flow(*ends, relax_kwargs={"multiplicity": 3})
    silicon = bulk("Si")
    with pytest.raises(InputError, match="'charge': 1"):
        qha_flow(silicon, static_kwargs={"charge": 1})
    with pytest.raises(InputError, match="'charge': 1"):
        phonon_flow(silicon, static_kwargs={"charge": 1})
    with pytest.raises(InputError, match="'unpaired electrons': 2"):
        vacancy_flow(silicon, supercell=(2, 2, 2), neb_kwargs={"multiplicity": 3})


@pytest.mark.mopac
def test_spin_and_charge_in_the_words_of_mopac():
    from quacc.recipes.mopac.core import static_job

    water = molecule("H2O")
    with pytest.raises(InputError, match="charge="):
        static_job(water, task="1SCF GRADIENTS CHARGE=1")
    with pytest.raises(InputError, match="cannot be 0.5"):
        static_job(water, task="1SCF GRADIENTS DOUBLET")
    water.set_initial_magnetic_moments([6, 0, 0])
    with pytest.raises(InputError, match="SEPTET|SEXTET"):
        static_job(water)


@pytest.mark.tblite
def test_a_layer_is_not_served_by_tblite_either():
    from quacc.recipes.tblite.core import static_job

    layer = small("tblite")
    layer.cell, layer.pbc = [5, 5, 8], [True, True, False]
    with pytest.raises(InputError, match="pbc"):
        _ = static_job.plan(layer).key


@pytest.mark.parametrize("name", MOLECULES)
def test_charges_of_every_type(name, request):
    request.applymarker(getattr(pytest.mark, name))
    results = [static(name, "H2O", charge=one) for one in (1, np.int64(1), np.float64(1.0), 1.0)]
    assert len({one["key"] for one in results}) == 1
    assert len({one["results"]["energy"] for one in results}) == 1
    for wrong in (0.4, np.float64(0.4), True, np.bool_(True), np.nan, "1"):
        with pytest.raises(InputError, match="charge must be"):
            static(name, "H2O", charge=wrong)


def test_the_documentation_has_the_potentials():
    text = (Path(__file__).parents[2] / "docs" / "calculators.md").read_text()
    for name in ("chgnet", "sevenn"):
        for model, one in get_code(name).trainings.items():
            row = f"| `{name}`, `{model}` | {one.functional} | {one.data} | {one.licence} |"
            assert row in text
            assert one.functional in " ".join(shown(name).split())


def shown(name):
    return CliRunner().invoke(app, ["calculators", "show", name]).output
