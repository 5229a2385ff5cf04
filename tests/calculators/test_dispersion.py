"""D3 and D4 on top of codes, against dftd3 and dftd4 by themselves, and finite differences."""

import importlib

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from quacc.calculators import code_names, get_code
from quacc.calculators.dispersion import Dispersion
from quacc.errors import InputError, ParameterError, StructureError
from quacc.recipes.emt.core import static_job as emt_static
from quacc.recipes.espresso.core import static_job as espresso_static
from quacc.recipes.pyscf.core import freq_job, neb_job, relax_job, static_job
from quacc.recipes.report import citations
from quacc.recipes.tools.workflow import other_reference
from quacc.runners.job import calculation_of

PBE = {"xc": "PBE", "basis": "STO-3G", "grid_level": 1}
GRAPHITE = {
    "ecutwfc": 12,
    "kpts": [2, 2, 1],
    "pseudopotentials": {"C": "C.pbe-rrkjus.UPF"},
    "input_data": {"ecutrho": 60, "conv_thr": 1e-6},
}


def dimer():
    """Two molecules of water."""
    other = molecule("H2O")
    other.rotate(70, "x")
    other.translate([0.1, 0.2, 3.0])
    return molecule("H2O") + other


def correction(atoms, value, **parameters):
    """Return the correction alone, of a crystal for a potential of PBE."""
    code = get_code("chgnet")
    return Dispersion(value, code, {"model": "0.3.0", **parameters}, atoms)


@pytest.mark.pyscf
@pytest.mark.parametrize("method", ["d3bj", "d3zero", "d3bjm", "d3zerom", "d4"])
def test_water_dimer_is_the_code_and_the_package(method):
    from dftd3.ase import DFTD3
    from dftd4.ase import DFTD4

    atoms = dimer()
    by_itself = DFTD4(method="pbe") if method == "d4" else DFTD3(method="pbe", damping=method)
    atoms.calc = by_itself
    result = static_job(dimer(), **PBE, dispersion=f"{method}:PBE")
    bare = static_job(dimer(), **PBE)["results"]
    energy = bare["energy"] + atoms.get_potential_energy()
    assert result["results"]["energy"] == pytest.approx(energy, abs=1e-8)
    forces = bare["forces"] + atoms.get_forces()
    np.testing.assert_allclose(result["results"]["forces"], forces, atol=1e-8)
    assert result["results"]["dipole"] == pytest.approx(bare["dipole"], abs=1e-6)
    found = result["provenance"]["dispersion"]
    assert found["energy"] == pytest.approx(atoms.get_potential_energy(), abs=1e-10)


@pytest.mark.pyscf
def test_forces_are_the_derivative_of_the_energy():
    atoms, step = dimer(), 1e-3
    given = PBE | {"dispersion": "d3bj", "conv_tol": 1e-11}
    force = static_job(atoms, **given)["results"]["forces"][3, 2]
    energies = []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions[3, 2] += sign * step
        energies.append(static_job(moved, **given)["results"]["energy"])
    assert force == pytest.approx((energies[1] - energies[0]) / (2 * step), abs=1e-4)


@pytest.mark.parametrize("value", ["d3bj:pbe", "d3zero:pbe", "d4:pbe"])
def test_forces_and_stress_of_a_crystal(value):
    two = {"method": value[:-4], "functional": "pbe", "three_body": False}
    atoms = bulk("Si")
    atoms.positions[1] += [0.1, -0.05, 0.02]
    atoms.set_cell(atoms.cell.array @ np.diag([1.0, 1.02, 0.99]), scale_atoms=True)
    found = correction(atoms, two).compute(atoms)
    step = 1e-4

    def energy(changed):
        return correction(changed, two).compute(changed)["energy"]

    def moved(sign):
        other = atoms.copy()
        other.positions[0, 1] += sign * step
        return energy(other)

    def strained(row, column, sign):
        other = atoms.copy()
        strain = np.eye(3)
        strain[row, column] += sign * step / 2
        strain[column, row] += sign * step / 2
        other.set_cell(atoms.cell.array @ strain, scale_atoms=True)
        return energy(other)

    assert found["forces"][0, 1] == pytest.approx((moved(-1) - moved(1)) / (2 * step), abs=1e-4)
    for index, (row, column) in enumerate([(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]):
        difference = strained(row, column, 1) - strained(row, column, -1)
        stress = difference / (2 * step) / atoms.get_volume()
        assert found["stress"][index] == pytest.approx(stress, abs=2e-5)


def test_published_value():
    # Water with TPSS, documentation of s-dftd3 and of dftd4 (eV).
    atoms = molecule("H2O")
    for method, energy in (("d3bj", -0.011441640787279111), ("d4", -0.007310393443152083)):
        code, given = get_code("pyscf"), {"xc": "TPSS", "charge": 0}
        found = Dispersion(method, code, given, atoms).compute(atoms)["energy"]
        assert found == pytest.approx(energy, abs=1e-7)


def test_d4_knows_the_charge():
    from dftd4.ase import DFTD4

    for by in ({"charge": 1}, {}):
        atoms = molecule("H2O")
        if not by:
            atoms.set_initial_charges([1, 0, 0])
        given = {"xc": "PBE", "charge": None, **by}
        found = Dispersion("d4", get_code("pyscf"), given, atoms).compute(atoms)["energy"]
        charged = molecule("H2O")
        charged.set_initial_charges([1, 0, 0])
        charged.calc = DFTD4(method="pbe")
        assert found == pytest.approx(charged.get_potential_energy(), abs=1e-10)


def test_a_layer_is_periodic_in_two_directions():
    energies = []
    for height in (1, 40):
        layer = Atoms("C2", cell=[[2.46, 0, 0], [-1.23, 2.1304, 0], [0, 0, height]])
        layer.set_scaled_positions([[1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0]])
        layer.pbc = (True, True, False)
        found = correction(layer, "d3bj").compute(layer)
        assert "stress" not in found
        energies.append(found["energy"])
        with pytest.raises(StructureError, match="three directions"):
            correction(layer, "d4")
    assert energies[0] == pytest.approx(energies[1], abs=1e-10)


@pytest.mark.espresso
def test_graphite_as_pw_x_has_it():
    """pw.x has D3 with zero damping, and its own version of the code; no three bodies here."""
    atoms = Atoms("C2", cell=[[2.46, 0, 0], [-1.23, 2.1304, 0], [0, 0, 3.35]], pbc=True)
    atoms.set_scaled_positions([[1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0]])
    bare = espresso_static(atoms, **GRAPHITE)["results"]
    ours = espresso_static(atoms, **GRAPHITE, dispersion="d3zero")["results"]
    own = {**GRAPHITE["input_data"], "vdw_corr": "grimme-d3", "dftd3_threebody": False}
    theirs = espresso_static(atoms, **GRAPHITE | {"input_data": own})["results"]
    part = theirs["energy"] - bare["energy"]
    print("pw.x", part, "ours", ours["energy"] - bare["energy"])
    assert ours["energy"] - bare["energy"] == pytest.approx(part, abs=2e-4)
    assert part < -0.1
    np.testing.assert_allclose(ours["forces"], theirs["forces"], atol=2e-3)
    np.testing.assert_allclose(
        ours["stress"] - bare["stress"], theirs["stress"] - bare["stress"], atol=2e-4
    )


@pytest.mark.pyscf
def test_relaxation_frequencies_and_path():
    atoms = molecule("H2")
    given = {**PBE, "xc": "HF", "dispersion": "d3bj"}
    relaxed = relax_job(atoms, **given)
    assert relaxed["converged"]
    again = static_job(relaxed, **given)["results"]["energy"]
    assert relaxed["results"]["energy"] == pytest.approx(again, abs=1e-7)
    assert freq_job(relaxed, **given)["provenance"]["dispersion"]["package"].startswith("dftd3-")
    final = relaxed["atoms"].copy()
    final.positions[1] += 0.2
    path = neb_job(relaxed, final, images=1, steps=1, **given)
    assert "energy" in path["provenance"]["dispersion"]


def key(value, atoms=None, **more):
    atoms = molecule("H2O") if atoms is None else atoms
    return calculation_of(static_job, (atoms,), {**PBE, **more, "dispersion": value})


@pytest.mark.pyscf
def test_it_is_in_the_key_and_in_the_reference():
    bare = key(None)
    assert "dispersion" not in bare.parameters
    assert bare.key == calculation_of(static_job, (molecule("H2O"),), PBE).key
    one = key("d3bj")
    assert one.key == key("d3bj:PBE").key == key(one.parameters["dispersion"]).key
    others = [key("d3zero"), key("d4"), key({"method": "d3bj", "three_body": True})]
    own = key({"method": "d3bj", "parameters": {"s8": 0.7875, "a1": 0.4289, "a2": 4.4407}})
    assert own.key == key(own.parameters["dispersion"]).key
    assert own.dispersion.compute(molecule("H2O"))["energy"] == pytest.approx(
        one.dispersion.compute(molecule("H2O"))["energy"], abs=1e-10
    )
    assert len({one.key for one in (bare, one, *others, own)}) == 6
    records = [{"calculator": a.calculator, "parameters": a.parameters} for a in (bare, one, own)]
    assert "dispersion" in other_reference(records[0], records[1])
    assert "dispersion" in other_reference(records[2], records[1])
    assert not other_reference(records[1], records[1])


def test_citations():
    record = {"name": "pyscf.static_job", "parameters": {"dispersion": "d3bj:pbe"}}
    assert "Grimme2011" in citations(record)
    record["parameters"]["dispersion"] = {"method": "d4", "functional": "pbe"}
    assert "Caldeweyher2019" in citations(record)


@pytest.mark.pyscf
@pytest.mark.parametrize(
    ("value", "more", "words"),
    [
        ("d5:pbe", {}, "no dispersion 'd5'"),
        ("d3bj:nonsense", {"xc": "LDA,VWN"}, "no damping parameters"),
        ("d3bj", {"xc": "LDA,VWN"}, "Nothing says for certain"),
        ("d3bj:b3lyp", {}, "fitted to other energies"),
        ({"method": "d3bj", "parameters": {"s8": 1.0}}, {}, "lack a1, a2"),
        ({"method": "d3bj", "parameters": {"b": 1.0}}, {}, "no damping parameter b"),
        ({"method": "d3bj", "atm": True}, {}, "must be"),
        ("d3bj", {"xc": "B3LYP-D3BJ"}, "already"),
        ("d3bj:wb97x", {"xc": "WB97X-V"}, "already"),
    ],
)
def test_refused(value, more, words):
    with pytest.raises(ParameterError, match=words):
        _ = key(value, **more).key


def test_elements_without_parameters():
    with pytest.raises(StructureError, match="Rf"):
        correction(Atoms("Rf"), "d3bj")


VASP = {"xc": None, "incar": {}}
TWICE = {
    "espresso": {"input_data": {"vdw_corr": "grimme-d3"}, "pseudopotentials": {}},
    "abinit": {"input_data": {"vdw_xc": 7}},
    "nwchem": {"theory": "dft", "xc": "pbe0", "input_data": {"dft": {"disp": "vdw 3"}}},
    "cp2k": {"xc": "PBE", "input_data": {"FORCE_EVAL": {"DFT": {"XC": {"VDW_POTENTIAL": {}}}}}},
    "vasp": {**VASP, "incar": {"IVDW": 12}},
    "mopac": {"method": "PM6-D3", "task": ""},
    "tblite": {"method": "GFN2-xTB"},
}


@pytest.mark.parametrize(
    ("name", "given"),
    [
        *TWICE.items(),
        ("espresso", {"input_data": {"input_dft": "vdw-df2"}}),
        ("vasp", {"xc": "optb88-vdw", "incar": {}}),
        ("vasp", {"xc": "r2scan+rvv10", "incar": {}}),
        ("mopac", {"method": "PM7", "task": ""}),
    ],
)
def test_dispersion_that_is_there_is_not_counted_twice(name, given):
    with pytest.raises(ParameterError, match="already"):
        get_code(name).uncorrected_functional(given)


@pytest.mark.parametrize(
    ("name", "given", "functional"),
    [
        ("vasp", {**VASP, "incar": {"GGA": "PE", "IVDW": 0}}, "pbe"),
        ("vasp", {"xc": "hse06", "incar": {}}, "hse06"),
        ("nwchem", {"theory": "scf", "xc": None, "input_data": {}}, "hf"),
        ("cp2k", {"xc": "PBE", "input_data": {}}, "PBE"),
        ("chgnet", {"model": "r2scan"}, "r2SCAN"),
        ("sevenn", {"model": "7net-0", "modal": None}, "PBE"),
        ("mopac", {"method": "PM6", "task": "1SCF GRADIENTS"}, "PM6"),
        ("espresso", {"input_data": {"input_dft": "HSE"}}, "HSE06"),
        ("abinit", {"input_data": {"ixc": 11}}, "PBE"),
        ("gaussian", {"method": "UB3LYP", "route": {"SCF": "XQC"}}, "b3lyp"),
        ("gaussian", {"method": "PBE1PBE", "route": {}}, "pbe0"),
        ("orca", {"method": "PBE0", "words": "RIJCOSX def2/J", "blocks": {}}, "PBE0"),
        ("orca", {"method": "PBE0", "words": "", "blocks": {"method": "scalhfx 0.3"}}, None),
        ("qchem", {"method": "PBE0", "rem": {"XC_GRID": 3}}, "PBE0"),
        ("qchem", {"method": "PBE0", "rem": {"HFK_SR_COEF": 3}}, None),
    ],
)
def test_the_functional_that_a_code_computes(name, given, functional):
    assert get_code(name).uncorrected_functional(given) == functional


def test_classical_potentials_are_refused():
    with pytest.raises(InputError, match="fitted to whole energies"):
        emt_static(bulk("Cu"), dispersion="d3bj:pbe")
    assert all("dispersion" in get_code(name).keywords for name in code_names())


@pytest.mark.espresso
@pytest.mark.parametrize("job", ["bands_job", "dos_job", "dfpt_job", "work_function_job"])
def test_jobs_that_it_is_not_part_of_refuse_it(job):
    core = importlib.import_module("quacc.recipes.espresso.core")
    with pytest.raises(ParameterError, match="leave dispersion out"):
        getattr(core, job)("Si", dispersion="d3bj:pbe")
