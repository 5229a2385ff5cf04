"""Bands and densities of states with Quantum ESPRESSO."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from typer.testing import CliRunner

from quacc.calculators.code import Spectrum
from quacc.calculators.pwscf import companion
from quacc.cli.main import app
from quacc.errors import CalculationError, InputError, MissingProgramError
from quacc.recipes import report
from quacc.recipes.espresso.core import bands_job, dos_job, static_job
from quacc.runners.electrons import band_gap
from quacc.settings import change_settings

pytestmark = pytest.mark.espresso

FIXED = {"occupations": "fixed"}
SILICON = {
    "pseudopotentials": {"Si": "Si.pz-vbc.UPF"},
    "ecutwfc": 18.0,
    "kpts": [4, 4, 4],
    "input_data": FIXED,
}
ALUMINIUM = {"pseudopotentials": {"Al": "Al.pz-vbc.UPF"}, "ecutwfc": 12.0, "kpts": [12, 12, 12]}


def silicon():
    return bulk("Si", a=5.43)


@pytest.fixture(scope="module")
def of_silicon(tmp_path_factory):
    """Return bands and densities of states."""
    with change_settings(results_dir=str(tmp_path_factory.mktemp("silicon"))):
        yield bands_job(silicon(), **SILICON), dos_job(silicon(), **SILICON)


@pytest.fixture(scope="module")
def of_aluminium(tmp_path_factory):
    with change_settings(results_dir=str(tmp_path_factory.mktemp("aluminium"))):
        crystal = bulk("Al")
        yield (
            bands_job(crystal, path="GX", **ALUMINIUM),
            dos_job(crystal, projected=False, mesh_kspacing=0.035, **ALUMINIUM),
        )


PLAIN = """&control
 calculation = '{what}', outdir = 'out', pseudo_dir = '/usr/share/espresso/pseudo'
/
&system
 ibrav = 2, A = 5.43, nat = 2, ntyp = 1, ecutwfc = 18, ecutrho = 144, nbnd = 8
 occupations = 'fixed'
/
&electrons
 conv_thr = 1e-8
/
ATOMIC_SPECIES
 Si 28.085 Si.pz-vbc.UPF
ATOMIC_POSITIONS crystal
 Si 0 0 0
 Si 0.25 0.25 0.25
K_POINTS {points}
"""
"""Silicon as pw.x's manual describes it, in another cell of the same lattice."""


def test_energies_are_those_that_pw_prints_by_itself(of_silicon, tmp_path):
    points = {"scf": "automatic\n4 4 4 0 0 0", "bands": "tpiba\n3\n0 0 0 1\n1 0 0 1\n.5 .5 .5 1"}
    for what, listed in points.items():
        (tmp_path / what).write_text(PLAIN.format(what=what, points=listed))
        command = ["pw.x", "-in", what]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    printed = re.findall(r"k =.*?bands \(ev\):\s+(.*?)\n\n", done.stdout, re.S)
    expected = [[float(number) for number in block.split()] for block in printed]
    bands, _ = of_silicon
    levels = zip(bands["kpoints"].round(6).tolist(), bands["eigenvalues"][0], strict=True)
    known = {tuple(point): level for point, level in levels}
    found = [known[point] for point in ((0, 0, 0), (0.5, 0, 0.5), (0.5, 0.5, 0.5))]
    np.testing.assert_allclose(found, expected, atol=2e-3)  # the SCFs are two
    np.testing.assert_allclose(found[0][1:4], found[0][1], atol=1e-5)  # threefold, by symmetry


def test_silicon_s_gap_is_that_of_the_local_density_approximation(of_silicon):
    """0.52 eV: Ku and Eguiluz, Phys. Rev. Lett. 89, 126401 (2002)."""
    for result in of_silicon:
        gap = result["band_gap"]
        assert gap["gap"] == pytest.approx(0.52, abs=0.08)
        assert gap["valence_kpoint"] == [0, 0, 0]
        middle = gap["valence_maximum"] + gap["gap"] / 2
        assert result["fermi_energy"] == pytest.approx(middle)
    assert len(of_silicon[0]["kpoints"]) > 50


def test_the_energy_is_that_of_a_static_calculation(of_silicon):
    bands, dos = of_silicon
    energy = static_job(silicon(), **SILICON)["results"]["energy"]
    for one in (bands, dos):
        assert one["results"]["energy"] == pytest.approx(energy, abs=1e-6)


def test_states_are_counted(of_silicon, of_aluminium):
    """Up to the Fermi energy there are as many as electrons."""
    for result, electrons in ((of_silicon[1], 8), (of_aluminium[1], 3)):
        filled = result["energies"] < result["fermi_energy"]
        count = np.trapezoid(result["dos"][0][filled], result["energies"][filled])
        assert count == pytest.approx(electrons, rel=0.02)
        assert result["weights"].sum() == pytest.approx(1)


def test_projections_add_up(of_silicon):
    _, dos = of_silicon
    assert [(row["atom"], row["orbital"]) for row in dos["pdos"]] == [
        *((0, "s"), (0, "p"), (1, "s"), (1, "p")),
    ]
    filled = dos["energies"] < dos["fermi_energy"]
    total = sum(row["dos"][0][filled] for row in dos["pdos"])
    np.testing.assert_allclose(total, dos["dos"][0][filled], atol=0.05 * dos["dos"].max())
    first, second = (dos["pdos"][number]["dos"] for number in (1, 3))
    np.testing.assert_allclose(first, second, atol=1e-3)  # the atoms are equivalent


def test_states_without_a_spin_axis_are_projected_whole():
    """projwfc.x splits those of noncollinear calculations into two columns."""
    given = {**SILICON, "kpts": [2, 2, 2], "ecutwfc": 12.0}
    found = []
    for more in ({}, {"noncolin": True}):
        result = dos_job(silicon(), mesh_kspacing=0.2, **{**given, "input_data": {**FIXED, **more}})
        filled = result["energies"] < result["fermi_energy"]
        total = sum(row["dos"] for row in result["pdos"])[0]
        found.append(np.trapezoid(total[filled], result["energies"][filled]))
        assert result["band_gap"]["gap"] == pytest.approx(0.50, abs=0.02)
    assert found == pytest.approx([8, 8], abs=0.15)


def test_bands_of_a_large_cell_of_a_metal_suffice():
    crystal = bulk("Al", a=4.05) * (2, 2, 2)
    given = {**ALUMINIUM, "kpts": [1, 1, 1], "ecutwfc": 8.0}
    few, many = (
        dos_job(crystal, mesh_kspacing=0.12, empty=empty, projected=False, **given)
        for empty in (1, 12)
    )
    assert few["fermi_energy"] == pytest.approx(many["fermi_energy"], abs=1e-3)
    assert few["eigenvalues"].shape[2] < many["eigenvalues"].shape[2]
    assert few["eigenvalues"][0, :, -1].min() > few["fermi_energy"]


def test_eigenvalues_that_have_not_converged_are_told():
    hasty = {"diagonalization": "cg", "diago_cg_maxiter": 4, "conv_thr": 1e-12}
    fast = {**SILICON, "ecutwfc": 16.0, "kpts": [2, 2, 2]}
    found = bands_job("Si", path="GX", **{**fast, "input_data": hasty})
    [told] = found["warnings"]
    assert re.match(r"\d+ eigenvalues have not converged", told)


def test_a_metal_has_no_gap(of_aluminium):
    bands, dos = of_aluminium
    for one in (bands, dos):
        assert one["band_gap"]["gap"] == 0
        assert one["band_gap"]["valence_maximum"] is None
    assert bands["fermi_energy"] == pytest.approx(dos["fermi_energy"], abs=0.2)
    gamma = bands["eigenvalues"][0, 0, 0]
    # Of free electrons, three an atom, the width of the band is 11.7 eV; it is about 11.1.
    assert bands["fermi_energy"] - gamma == pytest.approx(11.2, abs=0.4)
    assert "a metal" in report.summary(bands)
    assert "pdos" not in dos


def test_spins():
    atoms = Atoms("H", cell=[4.0, 4.0, 4.0], pbc=True, magmoms=[1.0])
    keywords = {"pseudopotentials": {"H": "H.pz-vbc.UPF"}, "ecutwfc": 15.0, "kpts": [1, 1, 1]}
    given = {"nspin": 2, "occupations": "fixed", "tot_magnetization": 1}
    result = dos_job(atoms, mesh_kspacing=0.2, empty=1, input_data=given, **keywords)
    up, down = result["eigenvalues"]
    assert (up[:, 0] < down[:, 0] - 1).all()  # exchange
    assert result["dos"].shape[0] == 2
    assert result["pdos"][0]["dos"].shape == result["dos"].shape
    assert result["band_gap"]["gap"] > 0
    filled = result["energies"] < result["fermi_energy"]
    counts = np.trapezoid(result["dos"][:, filled], result["energies"][filled])
    assert counts == pytest.approx([1, 0], abs=0.05)


def test_table_figure_and_citations(of_silicon, tmp_path):
    for result, citation in zip(of_silicon, ("Setyawan", "Kawamura"), strict=True):
        assert report.summary(result).startswith("Si: gap 0.")
        (row,) = report.table(result)
        assert row["at k"] == "0.000 0.000 0.000"
        (axes,) = report.plot(result, tmp_path / "figure.png").axes
        assert "eV" in axes.get_ylabel()
        assert citation in report.citations(result)
        assert "Giannozzi" in report.citations(result)


def test_on_the_command_line(tmp_path):
    keywords = ["--ecutwfc", "12", "--kpts", "[2, 2, 2]", "--path", "GX"]
    keywords += ["--pseudopotentials", "{Si: Si.pz-vbc.UPF}", "--preset", "insulator"]
    words = ["run", "bands", "Si", "--calculator", "espresso", *keywords]
    done = CliRunner().invoke(app, words)
    assert "direct gap" in done.output, done.output
    drawn = CliRunner().invoke(app, ["results", "plot", "latest", str(tmp_path / "bands.png")])
    assert drawn.exit_code == 0
    assert (tmp_path / "bands.png").stat().st_size > 3000


def spectrum(levels, fermi=0.5, occupied=None):
    levels = np.array(levels, float)
    points = np.linspace(0, 0.5, levels.shape[1])[:, None] * [1, 0, 0]
    return Spectrum(
        levels, points, np.full(len(points), 1 / len(points)), np.full(len(levels), fermi), occupied
    )


def test_gaps():
    indirect = band_gap(spectrum([[[0.0, 3.0], [-1.0, 1.0]]]))
    assert (indirect["gap"], indirect["direct_gap"]) == (1.0, 2.0)
    assert indirect["conduction_kpoint"] == [0.5, 0, 0]
    assert band_gap(spectrum([[[0.0, 3.0], [1.0, 2.0]]]))["gap"] == 0  # crosses the Fermi energy
    assert band_gap(spectrum([[[0.0, 3.0], [1.0, 2.0]]], occupied=[1]))["gap"] == 1
    overlap = [[[0.0, 3.0], [-2.0, -1.0]]]
    assert band_gap(spectrum(overlap, occupied=[1]))["gap"] == 0
    both = band_gap(spectrum([[[0.0, 3.0]], [[0.2, 1.0]]]))
    assert both["gap"] == pytest.approx(0.8)
    half = band_gap(spectrum([[[0.0, 3.0]], [[1.0, 4.0]]]))  # one spin has no electrons
    assert half["gap"] == 1.0


@pytest.mark.parametrize(
    ("job", "atoms", "keywords", "words"),
    [
        (bands_job, Atoms("Si", cell=[9, 9, 9]), {}, "Bands are those of a crystal"),
        (bands_job, bulk("Si"), {"path": "GXQ"}, "special points G, K, L"),
        (bands_job, bulk("Si"), {"path": 3}, "special points such as"),
        (bands_job, bulk("Si"), {"path": ""}, "two or more of its special points"),
        (bands_job, bulk("Si"), {"path": "G"}, "two or more of its special points"),
        (bands_job, bulk("Si"), {"path": "GX,"}, "a comma for a break"),
        (bands_job, bulk("Si"), {"density": 0}, "density"),
        (dos_job, bulk("Si"), {"mesh_kspacing": -1}, "mesh_kspacing"),
        (dos_job, bulk("Si"), {"empty": 0}, "empty"),
        (dos_job, bulk("Si"), {"projected": "no"}, "projected"),
    ],
)
def test_bad_input(job, atoms, keywords, words):
    with pytest.raises(InputError, match=words):
        job(atoms, **{**SILICON, **keywords})


def test_programs_beside_pw():
    assert companion("srun -n 4 /opt/pw.x-7/bin/pw.x -nk 2", "dos.x") == (
        "srun -n 4 /opt/pw.x-7/bin/dos.x -nk 2"
    )
    with pytest.raises(MissingProgramError, match="beside pw.x"):
        companion("/opt/qe/run.sh", "dos.x")


def test_a_program_that_is_not_there(tmp_path):
    link = tmp_path / "pw.x"
    link.symlink_to("/usr/bin/pw.x")
    with (
        change_settings(commands={"espresso": str(link)}),
        pytest.raises(MissingProgramError, match="projwfc.x is not beside pw.x"),
    ):
        dos_job.plan(silicon(), **SILICON).check()  # before anything is computed


def test_potentials_without_atomic_wave_functions_say_so(tmp_path):
    text = Path("/usr/share/espresso/pseudo/Si.pz-vbc.UPF").read_text("utf-8")
    assert "<PP_PSWFC>" in text
    text = re.sub(r"(<PP_PSWFC>).*?(</PP_PSWFC>)", r"\1\n\2", text, flags=re.DOTALL)
    text = re.sub(r"(?m)^\s*2(\s+\d+\s+Number of Wavefunctions)", r"  0\1", text)
    (tmp_path / "Si.UPF").write_text(text)
    given = {**SILICON, "pseudopotentials": {"Si": "Si.UPF"}, "kpts": [1, 1, 1]}
    with (
        change_settings(pseudopotentials={"espresso": str(tmp_path)}),
        pytest.raises(CalculationError, match="projwfc.x ended"),
    ):
        dos_job(silicon(), mesh_kspacing=0.2, **given)
