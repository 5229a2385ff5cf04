"""ABINIT, against its own output, a hand-written input, finite differences, and what goes wrong."""

import gzip
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.constraints import FixAtoms

from quacc.calculators.codes.abinit import CODE, _bands, header
from quacc.errors import CalculationError, MissingProgramError, ParameterError, StructureError
from quacc.recipes import workflows
from quacc.recipes.abinit.core import freq_job, neb_job, relax_job, static_job
from quacc.recipes.tools.workflow import with_calculator
from quacc.settings import change_settings

pytestmark = pytest.mark.abinit

FAST = {"ecut": 8.0, "kpts": [2, 2, 2]}
HYDROGEN = {"ecut": 6.0, "kpts": [1, 1, 1]}
SHARED = Path("/usr/share/abinit/psp")


def unzipped(result, name):
    with gzip.open(Path(result["directory"], f"{name}.gz"), "rt") as stream:
        return stream.read()


def rattled():
    atoms = bulk("Si")
    atoms.rattle(0.05, seed=1)
    return atoms


def pair(**more):
    return Atoms("H2", [[2, 2, 1.6], [2, 2, 2.4]], cell=[4, 4, 4], pbc=True, **more)


BY_HAND = """
pp_dirpath "/usr/share/abinit/psp/Pseudodojo_{folder}"
pseudos "{file}"
ecut 8 ecutsm 0.5 {more}
acell 3*10.26
rprim 0 .5 .5  .5 0 .5  .5 .5 0
natom 2 ntypat 1 znucl 14 typat 2*1
xred .013 .021 .007 .273 .271 .252
ngkpt 2 2 2 nshiftk 1 shiftk 0 0 0
occopt 3 tsmear 0.01 nband 9 toldfe 1e-11 nstep 80
chksymbreak 0 chksymtnons 0
"""
"""Silicon as ABINIT's manual describes it; etotal is its free energy."""


@pytest.mark.parametrize(
    ("folder", "file", "more"),
    [
        ("nc_sr_04_pbe_standard_psp8", "Si.psp8", ""),
        ("paw_pw_standard", "Si.xml", "pawecutdg 16"),
    ],
    ids=["norm-conserving", "PAW"],
)
def test_numbers_are_those_of_an_input_written_by_hand(folder, file, more, tmp_path):
    (tmp_path / "a.in").write_text(BY_HAND.format(folder=folder, file=file, more=more))
    subprocess.run(["abinit", "a.in"], cwd=tmp_path, check=True, capture_output=True)
    printed = (tmp_path / "a.abo").read_text()
    after = printed.partition("echo values of variables after computation")[2]

    def values(name, count):
        words = re.search(rf"\n[- ]*{name}((?:\s+-?\d\S*){{{count}}})", after).group(1).split()
        return np.array(words, float)

    atoms = bulk("Si", a=10.26 * units.Bohr)
    atoms.set_scaled_positions([[0.013, 0.021, 0.007], [0.273, 0.271, 0.252]])
    with change_settings(pseudopotentials={"abinit": str(SHARED / f"Pseudodojo_{folder}")}):
        data = {"occopt": 3, "tsmear": 0.01, "nband": 9, "toldfe": 1e-11, "nstep": 80}
        found = static_job(atoms, **FAST, pseudopotentials={"Si": file}, input_data=data)["results"]
    assert found["energy"] == pytest.approx(values("etotal", 1)[0] * units.Hartree, abs=1e-7)
    forces = values("fcart", 6).reshape(2, 3) * units.Hartree / units.Bohr
    np.testing.assert_allclose(found["forces"], forces, atol=2e-5)
    stress = values("strten", 6) * units.Hartree / units.Bohr**3
    np.testing.assert_allclose(found["stress"], stress, atol=1e-6)
    assert np.abs(forces).max() > 0.1


def test_forces_and_stress_are_derivatives_of_the_energy():
    atoms, hot = rattled(), {"ecut": 8.0, "kpts": [2, 1, 1], "input_data": {"tsmear": 0.02}}
    found = static_job(atoms, **hot)["results"]

    def energy(shift=0.0, strain=0.0):
        moved = atoms.copy()
        moved.positions[:, 0] += [shift, -shift]  # abinit takes the mean from the forces
        bent = np.eye(3) + strain * np.array([[1, 0, 0], [0, 0, 1], [0, 1, 0]])
        moved.set_cell(moved.cell.array @ bent, scale_atoms=True)
        return static_job(moved, **hot)["results"]["energy"]

    force = -(energy(shift=0.001) - energy(shift=-0.001)) / 0.002
    assert found["forces"][0, 0] - found["forces"][1, 0] == pytest.approx(force, abs=3e-4)
    slope = (energy(strain=1e-3) - energy(strain=-1e-3)) / 2e-3 / atoms.get_volume()
    assert found["stress"][0] + 2 * found["stress"][3] == pytest.approx(slope, abs=2e-4)


def test_an_equation_of_state_is_that_of_an_all_electron_code():
    """20.453 Å³ and 88.5 GPa: WIEN2k with PBE, Lejaeghere et al., Science 351, aad3000 (2016)."""
    shifts = [[0.5, 0.5, 0.5], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]]
    data = {"occopt": 1, "nshiftk": 4, "shiftk": shifts}
    options = {"ecut": 12.0, "kpts": [3, 3, 3], "input_data": data}
    eos_flow = with_calculator(workflows.eos_flow, "abinit")
    result = eos_flow("Si", relax_job=None, static_kwargs=options, points=5, step=0.02)
    assert result["volume"] / 2 == pytest.approx(20.453, rel=0.005)
    assert result["bulk_modulus"] == pytest.approx(88.5, rel=0.03)


def test_positions_and_cell_are_relaxed():
    atoms = bulk("Si", a=5.45)
    atoms.rattle(0.01, seed=2)
    result = relax_job(atoms, relax_cell=True, fmax=0.03, **FAST)
    assert result["converged"]
    assert result["steps"] > 1
    assert re.search(r"(?m)^irdden 1$", unzipped(result, "abinit.in"))  # from the density before
    files = {file.name for file in Path(result["directory"]).iterdir()}
    assert not any("DEN" in name or "WFK" in name or ".nc" in name for name in files)
    again = static_job(result, **FAST)["results"]
    assert np.abs(again["forces"]).max() < 0.03
    # As ASE's filter of cells has it, for each atom; there is no Pulay stress.
    assert np.abs(again["stress"]).max() * result["atoms"].get_volume() / 2 < 0.03
    assert again["energy"] == pytest.approx(result["results"]["energy"], abs=1e-5)


def test_a_path_between_two_structures():
    ends = [pair(), pair()]
    ends[1].positions[:, 2] += [-0.1, 0.1]
    result = neb_job(*ends, images=1, steps=1, climb=False, **HYDROGEN)
    single = static_job(ends[1], **HYDROGEN)["results"]["energy"]
    assert len(result["energies"]) == 3
    assert result["energies"][-1] == pytest.approx(single, abs=1e-5)


def test_spin_is_read_as_abinit_prints_it():
    atom = Atoms("H", [[2, 2, 2]], cell=[4, 4, 4], pbc=True, magmoms=[1.0])
    result = static_job(atom, **HYDROGEN)
    printed = unzipped(result, "abinit.abo")
    sphere = float(re.search(r"Total magnetization \(from .*spheres\):\s*(\S+)", printed).group(1))
    assert result["results"]["magmoms"] == pytest.approx([sphere])
    assert 0.5 < sphere < 1
    assert result["results"]["magmom"] == pytest.approx(1.0, abs=1e-6)
    atom.set_initial_magnetic_moments(None)
    without = static_job(atom, **HYDROGEN)
    assert "magmoms" not in without["results"]
    assert without["results"]["energy"] > result["results"]["energy"] + 0.1


def test_moments_that_cancel():
    apart = Atoms("H2", [[2, 2, 1], [2, 2, 4]], cell=[4, 4, 6], pbc=True, magmoms=[1, -1])
    found = static_job(apart, **{**HYDROGEN, "ecut": 8.0})["results"]
    assert found["magmom"] == pytest.approx(0, abs=1e-3)
    assert found["magmoms"][0] == pytest.approx(-found["magmoms"][1], abs=1e-3)
    assert found["magmoms"][0] > 0.3


def test_a_given_magnetisation():
    atoms = Atoms("H3", [[2, 2, 1], [2, 2, 2], [2, 2, 3]], cell=[4, 4, 4], pbc=True)
    atoms.set_initial_magnetic_moments([1, 0, 0])
    with pytest.raises(ParameterError, match="spinmagntarget"):
        static_job(atoms, **HYDROGEN, input_data={"occopt": 1})
    data = {"spinmagntarget": 1, "nband": 6, "tolvrs": 1e-6}
    found = static_job(atoms, **HYDROGEN, input_data=data)["results"]
    assert found["magmom"] == pytest.approx(1, abs=1e-5)
    without = atoms.copy()
    without.set_initial_magnetic_moments(None)
    with pytest.raises(ParameterError, match="needs a start"):
        static_job(without, **HYDROGEN, input_data=data)
    with pytest.raises(ParameterError, match="nspinor=2"):
        static_job(atoms, **HYDROGEN, input_data={"nspinor": 2})


def test_the_charge_is_that_of_the_structure():
    cation = pair()
    cation.set_initial_charges([0.5, 0.5])
    result = static_job(cation, **HYDROGEN)
    assert result["parameters"]["charge"] == 1
    assert re.search(r"nelect:\s+1\.0+E\+00, charge:\s+1\.0", unzipped(result, "abinit.abo"))
    with pytest.raises(ParameterError, match="contradicts"):
        static_job(cation, **HYDROGEN, charge=-1)
    cation.pbc = False
    with pytest.raises(StructureError, match="and a charge"):
        static_job(cation, **HYDROGEN)


def test_molecules_and_layers():
    alone = pair()
    alone.pbc = False
    plan = static_job.plan(alone, **HYDROGEN).check()
    assert any("abinit repeats the molecule" in text for text in plan.warnings)
    alone.pbc = [True, True, False]
    with pytest.raises(StructureError, match="pbc="):
        static_job(alone, **HYDROGEN)
    with pytest.raises(StructureError, match=r"center\(vacuum=6\)"):
        static_job(molecule("H2"), **HYDROGEN)
    left = bulk("Si")
    left.set_cell(left.cell[[1, 0, 2]])
    with pytest.raises(StructureError, match="left-handed"):
        static_job(left, **FAST)


def test_an_scf_that_does_not_converge_is_named():
    """Of which abinit only says so, and ends as if all were well."""
    with pytest.raises(CalculationError, match=r"did not converge in 8 steps.*nstep") as told:
        static_job(pair(), **HYDROGEN, input_data={"nstep": 2, "tolvrs": 1e-30})
    with gzip.open(Path(told.value.directory, "abinit.abo.gz"), "rt") as stream:
        assert "Calculation completed" in stream.read()


def test_an_scf_that_does_not_converge_at_first_is_tried_again():
    mended, plain = static_job("Si", **FAST, input_data={"nstep": 4}), static_job("Si", **FAST)
    assert mended["results"]["energy"] == pytest.approx(plain["results"]["energy"], abs=1e-7)
    assert mended["parameters"]["input_data"] == {"nstep": 4}
    [told] = mended["warnings"]
    assert "The SCF of abinit did not converge; tried again with nstep=8 and diemix=0.35" in told


@pytest.mark.parametrize("criterion", [{"toldff": 1e-4}, {"tolrff": 0.02}, {"tolwfr": 1e-8}])
def test_every_criterion_of_convergence_is_understood(criterion):
    atoms = pair()
    found = static_job(atoms, **HYDROGEN, input_data={**criterion, "occopt": 1})["results"]
    assert found["energy"] < -30


def test_too_few_bands_are_refused():
    """Of which abinit only warns in its log; and its energy is wrong."""
    with pytest.raises(CalculationError, match="highest of the 2 bands of abinit"):
        static_job("Al", **FAST, input_data={"nband": 2})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"ionmov": 2}, "cannot set ionmov"),
        ({"OptCell": 2}, "cannot set optcell"),
        ({"ndtset": 2}, "cannot set ndtset"),
        ({"ecut1": 2}, "cannot set ecut1"),
        ({"rfphon": 1}, "cannot set rfphon"),
        ({"nsppol": 2}, "cannot set nsppol"),
        ({"getden_filepath": "x"}, "cannot set getden_filepath"),
        ({"cellcharge": 1}, "cannot set cellcharge"),
        ({"iscf": -2}, "iscf must be 2 or more"),
        ({"kptopt": 0}, "kptopt must be"),
        ({"nband": "8 ionmov 2"}, "must be a number"),
        ({"nband": "8\nionmov 2"}, "must be a number"),
        ({"nband\nionmov": 2}, "is no variable"),
        ({"ecut:": 2}, "is no variable"),
        ({"tsmear": float("nan")}, "must be a number"),
        ({"toldfe": 1e-6, "tolvrs": 1e-8}, "one criterion"),
    ],
)
def test_variables_of_abinit_that_are_not_the_users(data, message):
    with pytest.raises(ParameterError, match=message):
        static_job("Si", **FAST, input_data=data)


def test_units_and_lists_reach_abinit():
    data = {"TSMEAR": "0.2 eV", "nshiftk": 2, "shiftk": [[0.5, 0.5, 0.5], np.zeros(3)]}
    result = static_job("Si", **FAST, input_data=data)
    printed = unzipped(result, "abinit.abo")
    width = float(re.search(r"tsmear\s+(\S+) Hartree", printed).group(1))
    assert width == pytest.approx(0.2 / units.Hartree, rel=1e-6)
    assert re.search(r"nkpt\s*=?\s+[4-9]", printed)


def test_an_unknown_variable_is_told_in_abinits_words():
    with pytest.raises(CalculationError, match=r"NONSENSE.*not one of the registered"):
        static_job("Si", **FAST, input_data={"nonsense": 3})


def test_missing_programs_and_folders_are_named():
    with change_settings(commands={"abinit": "/no/abinit"}):
        with pytest.raises(MissingProgramError, match=r"commands\.abinit"):
            static_job("Si", **FAST)
    with change_settings(pseudopotentials={"abinit": "/no/psp"}):
        with pytest.raises(
            (ParameterError, MissingProgramError), match=r"pseudopotentials\.abinit"
        ):
            static_job("Si", **FAST)
        assert "abinit-data" in CODE.missing()


def test_missing_and_wrong_pseudopotentials_are_named(tmp_path):
    with pytest.raises(ParameterError, match=r"no pseudopotential 'Si.no'.*Si.psp8 for Si"):
        static_job("Si", pseudopotentials={"Si": "Si.no"})
    with pytest.raises(ParameterError, match="no pseudopotentials for Ag"):
        static_job("Ag")
    with pytest.raises(ParameterError, match="'O.psp8' is no pseudopotential of Si.* number 8"):
        static_job("Si", pseudopotentials={"Si": "O.psp8"})
    (tmp_path / "Si.psp8").write_text("nothing")
    with change_settings(pseudopotentials={"abinit": str(tmp_path)}):
        with pytest.raises(ParameterError, match="'Si.psp8' is no .* that quacc reads"):
            static_job("Si", **FAST)
    with change_settings(pseudopotentials={"abinit": str(SHARED)}):
        with pytest.raises(ParameterError, match=r"for Si .*14si.4.hgh.*Choose one"):
            static_job("Si", **FAST)
        oxide = bulk("MgO", "rocksalt", a=4.2)
        files = {"Mg": "Pseudodojo_nc_sr_04_pw_standard_psp8/Mg.psp8", "O": "O-GGA.psp8"}
        with pytest.raises(ParameterError, match="different functionals"):
            static_job(oxide, pseudopotentials=files)
    with pytest.raises(ParameterError, match="pawecutdg is of PAW"):
        static_job("Si", pawecutdg=50.0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("14si.4.hgh", (14, 4, "LDA (Teter)", False)),
        ("14-Si.nlcc.fhi", (14, 4, "LDA (PW)", False)),
        ("Pseudodojo_nc_sr_04_pbe_standard_psp8/H.psp8", (1, 1, "PBE", False)),
        ("Pseudodojo_paw_pbe_standard/Fe.xml", (26, 16, "PBE", True)),
        ("Pseudodojo_paw_pw_standard/Si.xml", (14, 4, "LDA (PW)", True)),
        ("08o-gga.paw", (8, 6, "PBE", True)),
    ],
)
def test_headers_of_pseudopotentials(name, expected):
    found = header(SHARED / name)
    assert (found.number, found.valence, found.functional, found.paw) == expected


def test_names_of_elements_are_not_mixed_up():
    folder = SHARED / "Pseudodojo_paw_pbe_standard"
    assert CODE.candidates(folder, "C") == ["C.xml"]
    assert CODE.candidates(folder, "Sn") == ["Sn-sp.xml", "Sn.xml"]
    assert "14si.pspnc" in CODE.candidates(SHARED, "Si")
    assert CODE.candidates(SHARED / "Pseudodojo_paw_pw_standard", "Si") == ["Si.xml"]


def test_a_killed_abinit_is_told(tmp_path):
    script = tmp_path / "abinit.sh"
    script.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && exec abinit --version\n'
        'abinit "$@" & pid=$!\nwhile ! [ -s abinit.abo ]; do sleep 0.02; done\n'
        "kill -9 $pid; wait $pid\n"
    )
    script.chmod(0o755)
    big = {**FAST, "ecut": 30.0}
    with change_settings(commands={"abinit": str(script)}):
        with pytest.raises(CalculationError, match=r"killed or memory runs out.*its last lines"):
            static_job("Si", **big)


def test_earlier_output_is_not_taken_for_that_of_a_silent_failure(tmp_path):
    earlier = static_job(pair(), **HYDROGEN)
    script = tmp_path / "abinit.sh"
    script.write_text('#!/bin/sh\n[ "$1" = --version ] && exec abinit --version\nexit 0\n')
    script.chmod(0o755)
    with change_settings(commands={"abinit": str(script)}):
        with pytest.raises(CalculationError, match=r"no output; check .*commands\.abinit"):
            static_job(pair(), **HYDROGEN, copy_files=earlier)


def test_the_pseudopotential_is_part_of_the_key(tmp_path):
    one = static_job.plan("Si", **FAST).key
    copy = tmp_path / "Si.psp8"
    copy.write_bytes((CODE.folder() / "Si.psp8").read_bytes())
    with change_settings(pseudopotentials={"abinit": str(tmp_path)}):
        assert static_job.plan("Si", **FAST).key == one  # the same file elsewhere
        copy.write_bytes(copy.read_bytes() + b"\n")
        assert static_job.plan("Si", **FAST).key != one


def test_bands_suffice_for_spin_and_charge():
    given = static_job.plan("Si", **FAST).calc_parameters | {"folder": CODE.folder()}
    assert _bands(bulk("Si"), given) == 8
    assert _bands(bulk("Si") * (3, 3, 3), given) == 130
    magnetic = bulk("Si")
    magnetic.set_initial_magnetic_moments([2, 2])
    assert _bands(magnetic, given | {"charge": 2}) == 9


def test_a_vibration():
    molecule_in_box = pair()
    molecule_in_box.positions[:, 2] = [1.62, 2.38]
    molecule_in_box.set_constraint(FixAtoms([0]))
    result = freq_job(molecule_in_box, thermo="harmonic", **HYDROGEN)
    assert 2000 < max(np.real(result["frequencies"])) < 5500
