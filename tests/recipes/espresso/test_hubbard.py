"""DFT+U with Quantum ESPRESSO, against pw.x by hand."""

import re
import subprocess
from pathlib import Path

import pytest
from ase import Atoms, units

from quacc.calculators.codes.espresso import CODE
from quacc.calculators.pwscf import Hubbard
from quacc.errors import CalculationError, ParameterError
from quacc.recipes.espresso.core import dos_job, static_job
from tests.recipes.espresso.test_core import unzipped

pytestmark = pytest.mark.espresso

GIVEN = {
    "pseudopotentials": {"H": "H.pz-vbc.UPF"},
    "ecutwfc": 20.0,
    "kpts": [1, 1, 1],
    "hubbard_u": {"H-1s": 3.0},
}


def pair(distance=1.4):
    """Return two hydrogen atoms whose moments are opposite, so that pw.x has two species."""
    atoms = Atoms("H2", [[0, 0, 0], [0, 0, distance]], cell=[4, 4, 5], pbc=True)
    atoms.set_initial_magnetic_moments([1, -1])
    return atoms


PLAIN = f"""&control
 outdir = 'out', pseudo_dir = '{CODE.folder()}'
/
&system
 ibrav = 8, A = 4, B = 4, C = 5, nat = 2, ntyp = 2, ecutwfc = 20, ecutrho = 160
 occupations = 'smearing', smearing = 'mv', degauss = 0.01
 nspin = 2, starting_magnetization(1) = 1, starting_magnetization(2) = -1
 lda_plus_u = .true., U_projection_type = '{{projectors}}', Hubbard_U(1) = 3, Hubbard_U(2) = 3
/
&electrons
 conv_thr = 1d-8
/
ATOMIC_SPECIES
Ha 1 H.pz-vbc.UPF
Hb 1 H.pz-vbc.UPF
K_POINTS automatic
1 1 1 0 0 0
ATOMIC_POSITIONS angstrom
Ha 0 0 0
Hb 0 0 1.4
"""


@pytest.mark.parametrize("projectors", ["ortho-atomic", "atomic"])
def test_the_energy_is_that_of_pw_by_hand(projectors, tmp_path):
    version = re.match(r"(\d+)\.(\d+)", CODE.program.version())
    if tuple(map(int, version.groups())) >= (7, 1):
        pytest.skip("the input by hand is of older versions")
    (tmp_path / "scf.in").write_text(PLAIN.format(projectors=projectors))
    command = ["pw.x", "-in", "scf.in"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    energy = float(re.findall(r"!\s+total energy\s+=\s+(\S+) Ry", said)[-1]) * units.Rydberg
    result = static_job(pair(), hubbard_projectors=projectors, **GIVEN)
    assert result["results"]["energy"] == pytest.approx(energy, abs=1e-5)
    without = static_job(pair(), **{**GIVEN, "hubbard_u": None})
    assert abs(without["results"]["energy"] - energy) > 0.01


def test_forces_are_derivatives_of_the_energy():
    above, below = (static_job(pair(1.4 + d), **GIVEN)["results"]["energy"] for d in (0.01, -0.01))
    force = static_job(pair(), **GIVEN)["results"]["forces"][1, 2]
    assert force == pytest.approx(-(above - below) / 0.02, abs=0.02)


def test_a_density_of_states_has_it_too():
    result = dos_job(
        pair(), mesh_kspacing=1.0, projected=False, hubbard_projectors="atomic", **GIVEN
    )
    output = unzipped(Path(result["directory"]) / "espresso.pwo.gz")
    printed = re.findall(r"bands \(ev\):\s+(\S+)", output)
    assert result["eigenvalues"][0, 0, 0] == pytest.approx(float(printed[0]), abs=2e-3)
    without = dos_job(pair(), mesh_kspacing=1.0, projected=False, **{**GIVEN, "hubbard_u": None})
    assert abs(result["eigenvalues"][0, 0, 0] - without["eigenvalues"][0, 0, 0]) > 0.2


def test_only_shells_of_the_structure_s_elements_are_in_the_key():
    plain = static_job.plan(pair(), **{**GIVEN, "hubbard_u": None})
    other = static_job.plan(pair(), **{**GIVEN, "hubbard_u": {"Fe-3d": 4.0}})
    keys = {
        static_job.plan(pair(), **{**GIVEN, "hubbard_u": u}).key
        for u in ({"H-1s": 3}, {"H-1s": 3.0, "Fe-3d": 4.0})
    }
    assert other.key == plain.key
    assert len(keys) == 1
    assert plain.key not in keys


def test_the_card_of_newer_versions():
    """As in the manual of pw.x 7; not run here."""
    parameters = {"input_data": {"system": {"nspin": 2}}}
    Hubbard({"H-1s": 3.0}, "ortho-atomic", as_card=True).into(parameters, pair())
    assert parameters["additional_cards"] == ["HUBBARD (ortho-atomic)", "U H-1s 3.0", "U H1-1s 3.0"]


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"hubbard_u": {"H1s": 3}}, ParameterError, "shells such as 'Fe-3d'"),
        ({"hubbard_u": {"Hh-1s": 3}}, ParameterError, "shells such as 'Fe-3d'"),
        ({"hubbard_u": 3}, ParameterError, r"must be \{manifold"),
        ({"hubbard_u": {"H-1s": "3"}}, ParameterError, "H-1s must be"),
        ({"hubbard_u": {"H-1s": 3, "H-2p": 1}}, ParameterError, "one shell of an element"),
        (
            {"hubbard_u": None, "input_data": {"system": {"Hubbard_U(1)": 3}}},
            ParameterError,
            "numbers of species depend",
        ),
        ({"hubbard_u": {"H-2p": 3}}, CalculationError, "puts the Hubbard U on H-s, and not on H-p"),
    ],
)
def test_what_cannot_be_honoured_is_refused(given, error, words):
    with pytest.raises(error, match=words):
        static_job(pair(), **{**GIVEN, **given})
