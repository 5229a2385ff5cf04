"""VASP: its input, what is refused, and how its output is read.

VASP's licence can't be had here: nothing is computed. The input is compared with pymatgen's own,
and with the documented format; output is read from genuine files of VASP, which ASE's tests have.
"""

import gzip
import re
import shutil
import warnings
from pathlib import Path

import ase.test
import numpy as np
import pytest
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc111, molecule
from ase.constraints import FixAtoms
from ase.units import GPa
from pymatgen.core.structure import Structure
from pymatgen.io.vasp import sets
from pymatgen.io.vasp.inputs import Incar, Kpoints, Poscar
from typer.testing import CliRunner

from quacc.calculators import get_code, vaspfaults, wrong_command
from quacc.calculators.code import Place
from quacc.calculators.presets import preset
from quacc.calculators.vasprun import read_moments, read_results
from quacc.calculators.vaspsets import SETS, mesh, read_potcar
from quacc.cli.main import app
from quacc.errors import (
    CalculationError,
    InputError,
    MissingProgramError,
    ParameterError,
    StructureError,
)
from quacc.recipes.vasp.core import freq_job, md_job, neb_job, relax_job, static_job
from quacc.settings import change_settings, get_settings
from tests.potcars import write_potcars

DATA = Path(ase.test.__file__).parent / "testdata" / "vasp"
CODE = get_code("vasp")


@pytest.fixture(autouse=True)
def potcars(tmp_path):
    """Folders of POTCARs, and a program that is none: it ends at once, and writes nothing."""
    root = write_potcars(tmp_path / "potcars")
    write_potcars(root, "64")
    with change_settings(pseudopotentials={"vasp": str(root)}, commands={"vasp": "true"}):
        yield root


def written(atoms, folder, job=static_job, **keywords):
    """Return INCAR, KPOINTS (None if there is none) and POSCAR, as pymatgen reads them."""
    calculation = job.plan(atoms, **keywords).check()
    folder.mkdir(exist_ok=True)
    place = Place(folder, calculation.code_options)
    calculator = CODE.build(calculation.calc_parameters, place)
    calculator.write_input(calculation.input_atoms)
    points = folder / "KPOINTS"
    return (
        Incar.from_file(folder / "INCAR"),
        Kpoints.from_file(points) if points.exists() else None,
        Poscar.from_file(folder / "POSCAR", check_for_potcar=False),
    )


def unmagnetic(atoms):
    """Without the moments that ASE gives its ferromagnets."""
    atoms.set_initial_magnetic_moments()
    return atoms


def nickel_oxide():
    """Antiferromagnetic NiO, whose atoms are in no order."""
    atoms = bulk("NiO", "rocksalt", a=4.17, cubic=True)
    atoms = atoms[[1, 0, 2, 3, 5, 4, 7, 6]]
    return atoms


CRYSTALS = {
    "Si": bulk("Si"),
    "Al": bulk("Al"),
    "NiO": nickel_oxide(),
    "Co": unmagnetic(bulk("Co")),
    "LiCoO2": Atoms(
        "LiO2Co",
        scaled_positions=[[0.5] * 3, [0.24] * 3, [0.76] * 3, [0] * 3],
        cell=[[2.87, 0, 0], [1.43, 2.48, 0], [1.43, 0.83, 4.70]],
        pbc=True,
    ),
}
NOT_OURS = {
    *("NSW", "IBRION", "ISIF", "EDIFFG", "POTIM", "LCHARG", "LWAVE", "LAECHG", "LELF", "LVTOT"),
    *("LVHAR", "ISTART", "SYSTEM", "NCORE", "KPAR", "NPAR"),
}
"""Tags of moving atoms and of output, which are quacc's."""


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("crystal", CRYSTALS)
def test_the_input_is_that_of_pymatgens_set(name, crystal, tmp_path, potcars):
    atoms = CRYSTALS[crystal]
    for version in ("52", "54"):
        write_potcars(potcars, version)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        structure = Structure(
            atoms.cell.array, atoms.get_chemical_symbols(), atoms.get_scaled_positions()
        )
        theirs = getattr(sets, name)(structure=structure.get_sorted_structure())
        tags, points, order = theirs.incar, theirs.kpoints, theirs.poscar
        names = dict(zip(order.site_symbols, theirs.potcar_symbols, strict=True))
    missing = {symbol: symbol for symbol, potcar in names.items() if potcar not in _known(potcars)}
    incar, kpoints, poscar = written(atoms, tmp_path / "run", input_set=name, setups=missing)
    assert {**names, **missing} == static_job.plan(
        atoms, input_set=name, setups=missing
    ).calc_parameters["setups"]

    for tag in {*incar, *tags} - NOT_OURS - {"MAGMOM", "LDAUL", "LDAUU", "LDAUJ", "LDAU"}:
        if tag not in tags:  # what VASP does without it
            default = {"LORBIT": 11, "ISPIN": 1, "KGAMMA": True, "PREC": "Accurate"} | {
                "EDIFF": incar["EDIFF"]
            }
            assert incar[tag] == default.get(tag), tag
        else:
            assert str(incar[tag]).lower() == str(tags[tag]).lower(), tag
    assert bool(tags.get("LDAU")) == bool(incar.get("LDAU"))
    for tag in ("LDAUL", "LDAUU", "LDAUJ"):
        if tags.get("LDAU"):
            mine = dict(zip(poscar.site_symbols, incar[tag], strict=True))
            given = dict(zip(order.site_symbols, tags[tag], strict=True))
            uses = {one for one, u in zip(order.site_symbols, tags["LDAUU"], strict=True) if u}
            assert {one: mine[one] for one in uses} == {one: given[one] for one in uses}
            assert all(mine[one] in (0, -1) for one in {*mine} - uses)
    moments = zip(poscar.structure.labels, incar["MAGMOM"], strict=True)
    assert sorted(moments) == sorted(zip(order.structure.labels, tags["MAGMOM"], strict=True))
    if points is None:
        assert kpoints is None
        assert incar["KSPACING"] == tags["KSPACING"]
    else:
        assert kpoints.kpts == points.kpts
        assert kpoints.style == points.style
    assert (incar["NSW"], incar["IBRION"]) == (0, -1)
    assert poscar.structure.matches(structure)


def _known(root):
    return {one.parent.name for one in root.glob("*/*/POTCAR")}


def test_the_files_in_their_documented_form(tmp_path):
    atoms = bulk("NaCl", "rocksalt", a=5.64)
    atoms.set_constraint(FixAtoms([0]))
    written(atoms, tmp_path / "run", kpts=[3, 3, 2], gamma=False, sigma=0.1234567891)
    text = {name: (tmp_path / "run" / name).read_text() for name in ("INCAR", "KPOINTS", "POSCAR")}
    assert text["INCAR"].splitlines() == [
        "ALGO = Normal",
        "EDIFF = 1e-06",
        "ENCUT = 520.0",
        "GGA = PE",
        "IBRION = -1",
        "ISIF = 2",
        "ISMEAR = 0",
        "ISPIN = 1",
        "ISTART = 0",
        "LASPH = .TRUE.",
        "LCHARG = .FALSE.",
        "LREAL = .FALSE.",
        "NELM = 100",
        "NSW = 0",
        "PREC = Accurate",
        "SIGMA = 0.1234567891",
    ]
    assert text["KPOINTS"].splitlines()[1:] == ["0", "Monkhorst-Pack", "3 3 2", "0 0 0"]
    lines = text["POSCAR"].splitlines()
    assert lines[5].split() == ["Na", "Cl"]
    assert lines[6].split() == ["1", "1"]
    assert lines[7] == "Cartesian"  # no selective dynamics: all forces are wanted
    assert (tmp_path / "run" / "POTCAR").read_text().count("TITEL") == 2


def test_no_digit_is_lost_and_no_list_is_out_of_order(tmp_path):
    """ASE's writer would round these to 6 digits, moments to 4, and U to 3."""
    atoms = nickel_oxide()
    moments = [1.23456 * (-1) ** n if one == "Ni" else 0 for n, one in enumerate(atoms.symbols)]
    atoms.set_initial_magnetic_moments(moments)
    luj = {"Ni": {"L": 2, "U": 6.20005, "J": 0.95005}}
    incar, _, poscar = written(
        atoms, tmp_path / "run", encut=512.34567891, ldau_luj=luj, incar={"amix": 0.12345678}
    )
    assert incar["ENCUT"] == 512.34567891
    assert incar["AMIX"] == 0.12345678
    assert incar["ISPIN"] == 2
    assert incar["LORBIT"] == 11
    assert incar["LMAXMIX"] == 4
    at = poscar.site_symbols.index("Ni")
    assert [incar[f"LDAU{letter}"][at] for letter in "LUJ"] == [2, 6.20005, 0.95005]
    assert [incar[f"LDAU{letter}"][1 - at] for letter in "LUJ"] == [-1, 0, 0]
    there = poscar.structure.frac_coords
    for site, moment in zip(atoms.get_scaled_positions(), moments, strict=True):
        apart = there - site
        (index,) = np.flatnonzero(np.abs(apart - np.rint(apart)).max(axis=1) < 1e-6)
        assert incar["MAGMOM"][index] == moment


def test_the_charge_is_the_number_of_electrons(tmp_path):
    water = molecule("H2O", vacuum=5, pbc=True)
    assert "NELECT" not in written(water, tmp_path / "a")[0]
    water.set_initial_charges([1, 0, 0])
    assert written(water, tmp_path / "b")[0]["NELECT"] == 6 + 2 - 1
    water.set_initial_charges()
    assert written(water, tmp_path / "c", charge=-1)[0]["NELECT"] == 6 + 2 + 1
    water.set_initial_charges([0.5, 0, 0])
    with pytest.raises(StructureError, match="no whole number"):
        static_job(water)
    water.set_initial_charges([1, 0, 0])
    with pytest.raises(ParameterError, match="contradicts"):
        static_job(water, charge=2)


def test_a_molecule_is_sampled_at_gamma_alone(tmp_path):
    water = molecule("H2O", vacuum=5)
    _, kpoints, _ = written(water, tmp_path / "run", input_set="MPRelaxSet", ismear=0)
    assert kpoints.kpts == [(1, 1, 1)]
    result = static_job.plan(water).check()
    assert any("repeats the molecule in its box" in text for text in result.warnings)
    water.set_initial_charges([1, 0, 0])
    with pytest.raises(StructureError, match="and a charge"):
        static_job(water)


def test_meshes_are_those_of_kspacing():
    """KSPACING of VASP's manual: N_i = max(1, ceil(|b_i| 2π / KSPACING))."""
    fcc = bulk("Cu", a=3.6)
    length = 2 * np.pi * np.sqrt(3) / 3.6
    assert mesh(fcc, 0.25) == [int(np.ceil(length / 0.25))] * 3
    assert mesh(fcc, length / 7) == [7] * 3
    assert mesh(fcc, 100) == [1] * 3


def test_a_slab_and_its_dipole(tmp_path):
    slab = fcc111("Al", (1, 1, 3), vacuum=7)
    add_adsorbate(slab, "O", 1.2, "fcc")
    slab.pbc = [True, True, False]
    with pytest.raises(StructureError, match="dipole=True"):
        static_job(slab)
    incar, kpoints, _ = written(slab, tmp_path / "run", dipole=True)
    assert (incar["LDIPOL"], incar["IDIPOL"]) == (True, 3)
    assert kpoints.kpts[0][2] == 1
    heights = slab.get_scaled_positions()[:, 2]
    centre = (heights.min() + heights.max()) / 2
    assert float(str(incar["DIPOL"]).strip("[]").split()[-1]) == pytest.approx(centre, abs=1e-5)
    with pytest.raises(ParameterError, match="leave one of both out"):
        static_job(slab, dipole=True, incar={"LDIPOL": True})
    with pytest.raises(StructureError, match="6 Å of vacuum"):
        static_job(bulk("Al"), dipole=True)
    slab.set_initial_charges([1, 0, 0, 0])
    with pytest.raises(StructureError, match="neutral slabs"):
        static_job(slab, dipole=True)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"incar": {"NSW": 50}}, "quacc moves the atoms"),
        ({"incar": {"ibrion": 2}}, "quacc moves the atoms"),
        ({"incar": {"ISIF": 3}}, "quacc moves the atoms"),
        ({"incar": {"PSTRESS": 10}}, "quacc moves the atoms"),
        ({"incar": {"ML_LMLFF": True}}, "quacc moves the atoms"),
        ({"incar": {"ENCUT": 300}}, "pass encut="),
        ({"incar": {"NELECT": 9}}, "initial charges"),
        ({"incar": {"MAGMOM": "2*1"}}, "set_initial_magnetic_moments"),
        ({"incar": {"LDAUU": [1]}}, "ldau_luj"),
        ({"incar": {"NCORE": 4}}, "pass ncore="),
        ({"incar": {"ICHARG": 11}}, "where it starts from"),
        ({"incar": {"LSORBIT": True}}, "collinear"),
        ({"incar": {"LASHP": True}}, "Did you mean 'LASPH'"),
        ({"incar": {"AMIX": "0.1; NSW = 9"}}, "a value is"),
        ({"incar": {"AMIX": "0.1\nNSW = 9"}}, "a value is"),
        ({"incar": {"A = 1\nNSW": 9}}, "cannot have the tag"),
        ({"incar": {"amix": 0.1, "AMIX": 0.2}}, "twice"),
        ({"incar": ["NSW"]}, "dictionary"),
        ({"algo": "Exact"}, "self-consistent"),
        ({"xc": "n12-sx"}, "xc 'n12-sx' is unknown"),
        ({"xc": "pbe", "incar": {"GGA": "PS"}}, "xc='pbe' contradicts GGA"),
        ({"xc": "pbe", "incar": {"METAGGA": "SCAN"}}, "xc='pbe' contradicts METAGGA"),
        ({"ispin": 3}, "1 or 2"),
        ({"ispin": 1, "magmom": {"Si": 1.0}}, "contradicts magmom"),
        ({"setups": {"Si": "Fe_pv"}}, "setups must be"),
        ({"setups": "best"}, "setups must be"),
        ({"setups": {"Si": "Si_../../x"}}, "setups must be"),
        ({"pp_version": "../x"}, "pp_version must be"),
        ({"ldau_luj": {"Si": 4}}, "ldau_luj must be"),
        ({"kpts": [2, 2, 2], "kspacing": 0.2}, "Only one of"),
        ({"kpts": [1, 1, 3], "ismear": -5}, "needs 4 k-points"),
        ({"input_set": "MPRelaxSt"}, "Did you mean 'MPRelaxSet'"),
        ({"lreal": "yes"}, "lreal must be"),
        ({"encut": -1}, "encut"),
    ],
)
def test_what_is_refused(keywords, message):
    with pytest.raises(InputError, match=message):
        static_job("Si", **keywords)


def test_what_a_structure_cannot_say():
    atoms = bulk("Si")
    atoms.set_initial_magnetic_moments([1, -1])
    with pytest.raises(ParameterError, match="ispin=1 contradicts"):
        static_job(atoms, ispin=1)
    atoms = bulk("Si")
    atoms.set_initial_magnetic_moments([[0, 0, 1], [0, 1, 0]])
    with pytest.raises(StructureError, match="vectors"):
        static_job(atoms)
    atoms = bulk("Si")
    atoms.info["occupancy"] = {"0": {"Si": 0.5}}
    with pytest.raises(InputError, match="occupancy"):
        static_job(atoms)
    for pbc in ([True, True, False], [True, False, False]):
        atoms = bulk("Si")
        atoms.pbc = pbc
        with pytest.raises(StructureError, match="pbc"):
            static_job(atoms)
    with pytest.raises(StructureError, match="need a cell"):
        static_job(molecule("H2O"))
    left = bulk("Si")
    left.cell = left.cell[[1, 0, 2]]
    with pytest.raises(StructureError, match="left-handed"):
        static_job(left)


def test_the_moments_of_a_set_count_where_the_structure_has_none(tmp_path):
    iron = unmagnetic(bulk("Fe", cubic=True))
    incar, *_ = written(iron, tmp_path / "a", input_set="MP24StaticSet")
    assert incar["MAGMOM"] == [5.0, 5.0]
    iron.set_initial_magnetic_moments([2.2, 0])
    incar, *_ = written(iron, tmp_path / "b", input_set="MP24StaticSet")
    assert incar["MAGMOM"] == [2.2, 0]
    iron.set_initial_magnetic_moments()
    incar, *_ = written(iron, tmp_path / "c", input_set="MP24StaticSet", ispin=1)
    assert "MAGMOM" not in incar
    incar, *_ = written(iron, tmp_path / "d", magmom={"Fe": 2.5})
    assert (incar["ISPIN"], incar["MAGMOM"]) == (2, [2.5, 2.5])


def test_what_is_given_stands_above_a_set(tmp_path):
    given = {"input_set": "MP24StaticSet", "encut": 400.0, "incar": {"LMIXTAU": None}}
    incar, kpoints, _ = written("Si", tmp_path / "run", **given, kpts=[5, 5, 5], xc="pbe")
    assert incar["ENCUT"] == 400
    assert kpoints.kpts == [(5, 5, 5)]
    assert "KSPACING" not in incar
    assert "LMIXTAU" not in incar
    assert "METAGGA" not in incar
    assert incar["GGA"] == "Pe"  # pymatgen's capitals
    parameters = static_job.plan("Si", **given).check().parameters
    again = static_job.plan("Si", **parameters)  # as `quacc results reproduce` does
    assert again.key == static_job.plan("Si", **given).key
    assert again.parameters == parameters


@pytest.mark.parametrize("keywords", [{}, {"input_set": "MPRelaxSet"}, {"dipole": True}])
def test_a_record_gives_the_same_key(keywords):
    slab = fcc111("Al", (1, 1, 2), vacuum=7)
    slab.pbc = [True, True, not keywords.get("dipole")]
    one = static_job.plan(slab, **keywords)
    assert static_job.plan(slab, **one.parameters).key == one.key


def test_presets():
    assert preset("vasp", "metal") == {"ismear": 1, "sigma": 0.2, "kspacing": 0.2}
    found = preset("vasp", "insulator", "precise")
    assert found["ismear"] == 0
    assert static_job.plan("Si", **found).check().calc_parameters["ediff"] == 1e-8


def test_the_potcars(potcars):
    head = read_potcar(potcars / "potpaw_PBE" / "Fe_pv" / "POTCAR")
    assert (head.element, head.electrons, head.enmax, head.functional) == ("Fe", 14, 400, "PE")
    one = static_job.plan("Fe", setups={"Fe": "Fe_pv"})
    assert [str(file) for file in CODE.files(one.calc_parameters)] == [
        str(potcars / "potpaw_PBE" / "Fe_pv" / "POTCAR")
    ]
    before = one.key
    file = potcars / "potpaw_PBE" / "Fe_pv" / "POTCAR"
    file.write_text(file.read_text() + "\n")
    assert static_job.plan("Fe", setups={"Fe": "Fe_pv"}).key != before
    with pytest.raises(ParameterError, match=r"no POTCAR of Fe_sv in .*potpaw_PBE'.*Fe, Fe_pv"):
        static_job("Fe", setups={"Fe": "Fe_sv"})
    with pytest.raises(ParameterError, match="no folder potpaw_PBE.54 in .*potpaw_PBE.64"):
        static_job("Fe", pp_version="54")
    with pytest.raises(ParameterError, match="no folder potpaw in"):
        static_job("Fe", xc="lda")
    write_potcars(potcars, "64", "LDA")
    lda = static_job.plan("Fe", xc="lda").check().calc_parameters
    assert CODE.files(lda)[0].parts[-3] == "potpaw_LDA.64"
    with pytest.raises(ParameterError, match="says that it is of"):
        shutil.copy(potcars / "potpaw_PBE/O/POTCAR", potcars / "potpaw_PBE/Si/POTCAR")
        static_job("Si")
    warned = static_job.plan("Fe", encut=300.0).check().warnings
    assert any("ENMAX = 400" in text for text in warned)
    (potcars / "potpaw_PBE/Al/POTCAR").rename(potcars / "potpaw_PBE/Al/POTCAR.Z")
    with pytest.raises(ParameterError, match="but POTCAR.Z: unpack it"):
        static_job("Al")
    shutil.rmtree(potcars / "potpaw_PBE")
    write_potcars(potcars, "54")
    with pytest.raises(ParameterError, match="potpaw_PBE.54, potpaw_PBE.64"):
        static_job("Fe")


def test_what_is_missing_is_said_before_anything_runs():
    for job, more in [
        (static_job, ()),
        (relax_job, ()),
        (md_job, ()),
        (freq_job, ()),
        (neb_job, (bulk("Si"),)),
    ]:
        with change_settings(commands={"vasp": "no_such_vasp"}):
            with pytest.raises(MissingProgramError, match="'no_such_vasp' is not found"):
                job("Si", *more)
    with change_settings(commands={"vasp_gamma": "no_such_gamma"}):
        with pytest.raises(MissingProgramError, match="commands.vasp_gamma"):
            static_job("Si")
    with change_settings(pseudopotentials={"vasp": "/no/such/folder"}):
        with pytest.raises(MissingProgramError, match="no folder '/no/such/folder'"):
            static_job("Si")
    assert not get_settings().scratch.exists() or not list(get_settings().scratch.iterdir())
    assert wrong_command("vasp_gamma") is None


def test_without_the_setting_of_potcars(monkeypatch):
    monkeypatch.setattr(type(CODE), "folder", lambda self: None)
    with pytest.raises(MissingProgramError, match="VASP_PP_PATH"):
        static_job("Si")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("true", "it wrote no output; check that the setting commands.vasp"),
        ("false", "it wrote no output"),
        ("cat /no/such/input #", "No such file or directory"),
        ("sh -c 'kill -9 $$' #", "failed"),
        ("echo 'ERROR: no such thing' ;", "no such thing"),
    ],
)
def test_a_program_that_ends_early(command, message):
    """Programs that are not VASP, so that nothing may be taken for a result of theirs."""
    with change_settings(commands={"vasp": command}):
        with pytest.raises(CalculationError, match=message) as raised:
            static_job("Si")
    assert raised.value.directory is not None


def test_output_of_an_earlier_run_is_not_read(tmp_path):
    genuine(tmp_path / "earlier")
    with pytest.raises(CalculationError, match="vasprun.xml was not written"):
        static_job(DIAMOND, copy_files=tmp_path / "earlier", setups={"C": "C"})


def test_the_launcher_and_the_program_for_gamma(tmp_path):
    """``echo`` writes which program would have run, on which cores."""
    words = {"vasp": "echo the standard one", "vasp_gamma": "echo the one for gamma"}
    with change_settings(commands=words, launcher="env"):
        for keywords, seen in [
            ({"kpts": [1, 1, 1]}, "gamma"),
            ({"kpts": [2, 1, 1]}, "standard"),
            ({"kspacing": 9.0}, "gamma"),
            ({"kspacing": 0.5}, "standard"),
        ]:
            with pytest.raises(CalculationError, match=f"the .*{seen}"):
                static_job("Si", **keywords)
    with change_settings(commands={"vasp": words["vasp"]}):
        with pytest.raises(CalculationError, match="the standard one"):
            static_job("Si", kpts=[1, 1, 1])


DIAMOND = Atoms(
    "C2",
    scaled_positions=[[0, 0, 0], [0.25, 0.25, 0.25]],
    cell=1.785 * (1 - np.eye(3)),
    pbc=True,
)
"""The structure of ASE's vasprun_pstress.xml, of VASP 6.3.0."""


def genuine(folder, name="vasprun_pstress.xml", outcar=None):
    """Put genuine output of VASP into a folder."""
    folder.mkdir(exist_ok=True)
    shutil.copy(DATA / name, folder / "vasprun.xml")
    if outcar:
        shutil.copy(DATA / outcar, folder / "OUTCAR")
    return folder


def calculator_in(folder, atoms, **keywords):
    parameters = static_job.plan(atoms, **keywords).calc_parameters
    calculator = CODE.build(parameters, Place(folder, CODE.chosen({})))
    calculator.initialize(atoms)
    return calculator


def test_genuine_output_is_read_as_a_run_reads_it(tmp_path):
    folder = genuine(tmp_path / "run", outcar="convergence_OUTCAR_y_y")
    calculator = calculator_in(folder, DIAMOND)
    calculator.read_results()
    text = (folder / "vasprun.xml").read_text()
    # The last <energy> of <calculation> has PV in it (1 kbar); that of the last step has not.
    step = text.rpartition("</scstep>")[0].rpartition("<energy>")[2]
    free = float(re.search(r"e_fr_energy\">\s*(\S+)", step)[1])
    zero = float(re.search(r"e_0_energy\">\s*(\S+)", step)[1])
    assert free == -20.24695937
    assert calculator.results["energy"] == pytest.approx(free, abs=1e-7)
    assert calculator.results["free_energy"] == calculator.results["energy"]
    assert calculator.results["energy_zero"] == pytest.approx(zero, abs=1e-7)
    assert calculator.results["forces"] == pytest.approx(np.zeros((2, 3)), abs=1e-8)
    stress = float(re.search(r'"stress" >\s*<v>\s*(\S+)', text)[1])
    assert stress == -165.9956258  # kbar, of VASP's sign
    assert calculator.results["stress"][:3] == pytest.approx([16.59956258 * GPa] * 3)
    assert "magmoms" not in calculator.results


def test_the_order_of_the_atoms_is_ours():
    """The genuine file with another element and force on the first of its two atoms."""
    folder = Path("run")
    folder.mkdir()
    text = (DATA / "vasprun_pstress.xml").read_text()
    assert text.count("<rc><c>C </c><c>   1</c></rc>") == 2
    forces = "<v>       0.00000000       0.00000000      -0.00000000 </v>"
    assert forces in text
    mixed = text.replace("<rc><c>C </c><c>   1</c></rc>", "<rc><c>N </c><c>   1</c></rc>", 1)
    mixed = mixed.replace(forces, "<v> 0.1 0.2 0.3 </v>", 1)
    (folder / "vasprun.xml").write_text(mixed)
    vasp = DIAMOND.copy()
    vasp.symbols[0] = "N"
    more = read_results(folder, vasp, 1)
    assert more["forces"][0] == pytest.approx([0.1, 0.2, 0.3])
    # A third atom between two of an element: VASP's order is another one than ours.
    atoms = nickel_oxide()
    calculator = calculator_in(folder, atoms)
    assert [atoms.symbols[i] for i in calculator.sort] == sorted(
        atoms.symbols, key=[*dict.fromkeys(atoms.symbols)].index
    )
    assert np.arange(8)[calculator.sort][calculator.resort].tolist() == list(range(8))


def test_another_structure_is_not_taken_for_ours(tmp_path):
    folder = genuine(tmp_path / "run")
    moved = DIAMOND.copy()
    moved.positions[1] += 0.001
    larger = DIAMOND.copy()
    larger.set_cell(larger.cell * 1.001, scale_atoms=True)
    other = DIAMOND.copy()
    other.symbols[1] = "Si"
    for atoms in (moved, larger, other, DIAMOND * (1, 1, 2)):
        with pytest.raises(CalculationError, match="another structure"):
            read_results(folder, atoms, 1)
    shifted = DIAMOND.copy()
    shifted.positions += shifted.cell[0]  # the same crystal
    assert read_results(folder, shifted, 1)["energy"] < -20
    with pytest.raises(CalculationError, match="ISPIN = 1"):
        read_results(folder, DIAMOND, 2)


@pytest.mark.parametrize(
    ("outcar", "converged"),
    [
        ("convergence_OUTCAR_y_y", True),
        ("convergence_OUTCAR_n_y", True),
        ("convergence_OUTCAR_y_n", False),
        ("OUTCAR_example_1", True),
    ],
)
def test_an_scf_that_did_not_converge_is_an_error(outcar, converged, tmp_path):
    """As VASP says itself in genuine files, and not as its last energies look."""
    folder = genuine(tmp_path / "run", outcar=outcar)
    if converged:
        assert vaspfaults.unconverged(folder) is None
        assert read_results(folder, DIAMOND, 1)["energy"] < -20
    else:
        with pytest.raises(CalculationError, match="did not converge .EDIFF was not reached"):
            read_results(folder, DIAMOND, 1)
        assert "did not converge" in CODE.diagnose(folder)


def test_vasp_5_says_nothing_of_it(tmp_path):
    """It leaves out the line; then steps and NELM tell, here with the genuine file's 9 steps."""
    folder = genuine(tmp_path / "run")
    text = (folder / "vasprun.xml").read_text()
    nelm = '<i type="int" name="NELM">    60</i>'
    assert nelm in text
    steps = text.count("<scstep>")
    assert vaspfaults.unconverged(folder) is None
    (folder / "vasprun.xml").write_text(text.replace(nelm, nelm.replace("60", f" {steps}")))
    with pytest.raises(CalculationError, match=f"not reached in {steps} steps"):
        read_results(folder, DIAMOND, 1)


@pytest.mark.parametrize("part", [0.0, 0.3, 0.7, 0.97])
@pytest.mark.parametrize("name", ["vasprun_pstress.xml", "vasprun_dfpt.xml"])
def test_a_file_that_is_cut_off_is_an_error(name, part, tmp_path):
    folder = genuine(tmp_path / "run", name)
    text = (folder / "vasprun.xml").read_text()
    (folder / "vasprun.xml").write_text(text[: int(part * len(text))])
    with pytest.raises(CalculationError, match="did not come to its end"):
        read_results(folder, DIAMOND, 1)


def test_bands_that_are_too_few_are_an_error(tmp_path):
    """The genuine file without its four empty bands of each k-point."""
    folder = genuine(tmp_path / "run")
    assert vaspfaults.too_few_bands(folder) is None
    text = (folder / "vasprun.xml").read_text()
    fewer = re.sub(r"\n *<r>\s*\S+\s+0\.0000 </r>", "", text)
    (folder / "vasprun.xml").write_text(fewer)
    with pytest.raises(CalculationError, match="highest of the 4 bands"):
        read_results(folder, DIAMOND, 1)


def test_magnetic_moments():
    """Of ASE's OUTCAR of VASP 5.3.3, and a table as LORBIT = 11 writes it."""
    text = (DATA / "OUTCAR_example_1").read_text()
    (*_, last) = [line for line in text.splitlines() if "number of electron  " in line]
    assert read_moments(text, 2) == {"magmom": float(last.split()[-1])} == {"magmom": 17.0482806}
    table = """
 magnetization (x)

# of ion       s       p       d       tot
------------------------------------------
    1       -0.010   0.000   2.480   2.470
    2        0.005  -0.001  -1.600  -1.596
--------------------------------------------------
tot         -0.005  -0.001   0.880   0.874
"""
    found = read_moments(text + table.replace("2.470", "9.000") + table, 2)
    assert found["magmoms"].tolist() == [2.470, -1.596]
    assert "magmoms" not in read_moments(text + table, 3)


def test_a_genuine_outcar_has_no_fault():
    """That of VASP 5.3.3, which came to its end."""
    text = (DATA / "OUTCAR_example_1").read_text()
    folder = Path("run")
    folder.mkdir()
    shutil.copy(DATA / "OUTCAR_example_1", folder / "OUTCAR")
    assert vaspfaults.number_of_bands(folder) == 128
    assert "NBANDS=    128" in text
    assert vaspfaults.diagnose(folder) is None


MESSAGES = {
    "VERY BAD NEWS! internal error in subroutine IBZKPT: not all point group operations": "symmetr",
    "rotation matrix was not found (increase SYMPREC)": "symmetr",
    "internal error in subroutine PRICEL (probably precision problem": "symmetr",
    "POSMAP internal error: symmetry equivalent atom not found": "symmetr",
    " Error EDDDAV: Call to ZHEGV failed. Returncode = 17": "diagonalisation",
    "LAPACK: Routine ZPOTRF failed!": "diagonalisation",
    "ERROR in subspace rotation PSSYEVX: not enough eigenvalues found": "diagonalisation",
    "WARNING in EDDRMM: call to ZHEGV failed, returncode = 6": "diagonalisation",
    "ERROR: while reading WAVECAR, plane wave coefficients changed": "WAVECAR does not fit",
    "BRMIX: very serious problems": "charge was lost",
    "included TOO FEW BANDS!! YOUR RESULTS ARE WRONG": "larger NBANDS",
    "Tetrahedron method fails (number of k-points < 4)": "more k-points",
    "Fatal error detecting k-mesh": "mesh of k-points",
    "REAL_OPTLAY: internal error (1)": "lreal=False",
    "ERROR: SBESSELITER : nicht konvergent": "too near",
    "ERROR: the triple product of the basis vectors is negative": "left-handed",
    "Error reading item 'AMIX' from file INCAR": "a line of the INCAR",
    "slurmstepd: error: Detected 1 oom-kill event(s)": "memory",
    "forrtl: severe (174): SIGSEGV, segmentation fault occurred": "segmentation fault",
    "slurmstepd: error: *** JOB 1 CANCELLED DUE TO TIME LIMIT ***": "killed",
}


@pytest.mark.parametrize("line", MESSAGES)
@pytest.mark.parametrize("boxed", [False, True])
def test_known_messages_are_explained(line, boxed, tmp_path):
    words = line.split()
    halves = [" ".join(words[: len(words) // 2]), " ".join(words[len(words) // 2 :])]
    box = "".join(f"|     {half:<60}  |\n" for half in halves)
    (tmp_path / "vasp.out").write_text(f" running on 4 cores\n{box if boxed else line}\n")
    assert MESSAGES[line] in CODE.diagnose(tmp_path)


def test_an_unknown_message_is_shown(tmp_path):
    (tmp_path / "vasp.out").write_text(" running on 4 cores\n")
    assert "its last lines are: running on 4 cores" in CODE.diagnose(tmp_path)
    (tmp_path / "vasp.err").write_text("--------\nMPI_ABORT was invoked\nout of luck\n")
    assert CODE.diagnose(tmp_path) == "out of luck"
    assert CODE.diagnose(tmp_path / "nowhere") is None


def handled(folder, parameters):
    """Return the change of the first handler that sees its fault, and in words what it is."""
    handler = next(one for one in CODE.handlers if one.seen(folder))
    return handler.change(parameters, folder)


def test_what_is_tried_again(tmp_path):
    parameters = static_job.plan("Si").calc_parameters
    folder = genuine(tmp_path / "run", outcar="convergence_OUTCAR_y_n")
    (folder / "INCAR").write_text("NSW = 0\n")
    changed, words = handled(folder, parameters)
    assert (changed["algo"], changed["nelm"], words) == ("All", 200, "algo='All' and nelm=200")
    changed, _ = handled(folder, {**parameters, "ismear": -5, "algo": "Fast"})
    assert changed["algo"] == "Normal"  # no method for tetrahedra is that of all bands
    others = parameters.keys() - {"algo", "nelm", "ismear"}
    assert {name: changed[name] for name in others} == {name: parameters[name] for name in others}


def said(folder, text):
    folder.mkdir(exist_ok=True)
    (folder / "vasp.out").write_text(text)
    (folder / "INCAR").write_text("NSW = 0\n")
    (folder / "WAVECAR").write_text("of the step before")
    return folder


def test_what_is_tried_for_each_message(tmp_path):
    parameters = static_job.plan("Si").calc_parameters
    folder = said(tmp_path / "run", "POSMAP internal error: symmetry equivalent atom not found")
    changed, words = handled(folder, parameters)
    assert changed["incar"]["SYMPREC"] == 1e-8
    assert words == "SYMPREC=1e-8"
    assert not (folder / "WAVECAR").exists()
    changed, _ = handled(folder, changed)
    assert changed["incar"]["ISYM"] == 0
    said(folder, "Error EDDDAV: Call to ZHEGV failed. Returncode = 17")
    assert handled(folder, parameters)[0]["algo"] == "All"
    assert handled(folder, {**parameters, "algo": "VeryFast"})[0]["algo"] == "Normal"
    said(folder, "ERROR: while reading WAVECAR, plane wave coefficients changed")
    assert handled(folder, parameters)[0] == parameters
    assert not (folder / "WAVECAR").exists()
    said(folder, "BRMIX: very serious problems")
    assert handled(folder, parameters)[0]["incar"]["IMIX"] == 1
    said(folder, "TOO FEW BANDS")
    (folder / "OUTCAR").write_text("   number of bands    NBANDS=    128\n")
    assert handled(folder, parameters)[0]["incar"]["NBANDS"] == 164
    (folder / "INCAR").write_text("NBANDS = 128\n")  # the user's own
    assert not [one for one in CODE.handlers if one.seen(folder)]
    said(folder, "Tetrahedron method fails (number of k-points < 4)")  # would be other numbers
    assert not [one for one in CODE.handlers if one.seen(folder)]


def test_the_second_try_is_written_and_told():
    """``echo`` says what VASP would; it fails each time, so that no number can come of it."""
    command = "echo POSMAP internal error; false"
    with change_settings(commands={"vasp": f"{command} #"}):
        plan = static_job.plan("Si")
        with pytest.raises(CalculationError, match="consistent symmetry") as raised:
            plan.compute()
    assert [text.partition("; ")[2] for text in plan.warnings] == [
        "tried again with SYMPREC=1e-8.",
        "tried again with ISYM=0.",
    ]
    kept = Path(raised.value.directory)
    (incar,) = kept.glob("INCAR*")
    text = gzip.decompress(incar.read_bytes()).decode()
    assert "SYMPREC = 1e-08\n" in text
    assert "ISYM = 0\n" in text


def test_it_starts_from_the_wave_functions_of_the_step_before(tmp_path):
    folder = tmp_path / "run"
    assert written("Si", folder)[0]["ISTART"] == 0
    assert "ICHARG" not in written("Si", folder)[0]
    (folder / "WAVECAR").write_bytes(b"")  # of a run that ended early
    assert written("Si", folder)[0]["ISTART"] == 0
    (folder / "CHGCAR").write_bytes(b"0" * 100)  # as copy_files puts it there
    incar, *_ = written("Si", folder)
    assert (incar["ISTART"], incar["ICHARG"]) == (0, 1)
    (folder / "WAVECAR").write_bytes(b"\0" * 100)
    (folder / "KPOINTS").write_text("of an earlier run, which VASP would prefer to KSPACING")
    assert written("Si", folder)[0]["ISTART"] == 1
    assert not (folder / "KPOINTS").exists()


def test_options_decide_no_number(tmp_path):
    incar, *_ = written("Si", tmp_path / "run", kpar=2, ncore=4)
    assert (incar["KPAR"], incar["NCORE"]) == (2, 4)
    assert static_job.plan("Si", kpar=2, ncore=4).key == static_job.plan("Si").key


def test_the_version_is_read_without_starting_the_program(tmp_path):
    """Here of a genuine OUTCAR's bytes, in which it stands as in the program's."""
    program = tmp_path / "bytes"
    shutil.copy(DATA / "OUTCAR_example_1", program)
    program.chmod(0o755)
    with change_settings(commands={"vasp": str(program)}):
        assert CODE.version() == "5.3.3"
    assert CODE.version() == "unknown"  # then the program's content is in the key
    assert "sha256:" in static_job.plan("Si").fingerprint


def test_the_vdw_kernel_is_copied_where_it_is(tmp_path, potcars):
    (potcars / "vdw_kernel.bindat").write_bytes(b"kernel")
    incar, *_ = written("Si", tmp_path / "run", xc="optb88-vdw")
    assert incar["LUSE_VDW"] is True
    assert (tmp_path / "run" / "vdw_kernel.bindat").read_bytes() == b"kernel"
    written("Si", tmp_path / "other")
    assert not (tmp_path / "other" / "vdw_kernel.bindat").exists()


def test_dry_run_prints_the_input_but_no_potcar():
    words = ["run", "static", "Si", "-c", "vasp", "--preset", "metal", "--dry-run"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    for line in ("ISMEAR = 1", "SIGMA = 0.2", "NSW = 0", "KSPACING = 0.2"):
        assert line in done.output
    assert "preset metal" in " ".join(done.output.split())
    assert "potpaw_PBE/Si/POTCAR" in "".join(done.output.split())
    assert "TITEL" not in done.output


def test_show_tells_what_is_tried():
    output = CliRunner().invoke(app, ["calculators", "show", "vasp"]).output
    assert "The SCF of VASP did not converge: tried again 2 times." in output
    assert "input_set" in output
