"""Bands and densities of states with ABINIT, against its own SCF and pw.x."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io.abinit import read_eig

from quacc.calculators.codes import abinit
from quacc.errors import CalculationError, InputError
from quacc.recipes import report
from quacc.recipes.abinit.core import bands_job, dos_job, static_job
from quacc.recipes.espresso import core as espresso
from quacc.settings import change_settings

pytestmark = pytest.mark.abinit

SHARED = "/usr/share/abinit/psp"
FIXED = {"occopt": 1, "ecutsm": 0}
SILICON = {"pseudopotentials": {"Si": "14-Si.nlcc.fhi"}, "ecut": 10.0, "kpts": [4, 4, 4]}
ALUMINIUM = {"pseudopotentials": {"Al": "13al.pspnc"}, "ecut": 6.0, "kpts": [8, 8, 8]}
HYDROGEN = {"ecut": 6.0, "kpts": [1, 1, 1]}
SCF_MESH = 0.08
"""The distance of k-points with which silicon has the mesh of SILICON."""


def silicon():
    return bulk("Si", a=5.43)


@pytest.fixture(scope="module")
def of_silicon(tmp_path_factory):
    """Return bands and densities of states."""
    settings = {"results_dir": str(tmp_path_factory.mktemp("silicon"))}
    with change_settings(pseudopotentials={"abinit": SHARED}, **settings):
        given = {**SILICON, "input_data": FIXED}
        return (
            bands_job(silicon(), path="LGX", density=6, **given),
            dos_job(silicon(), mesh_kspacing=SCF_MESH, **given),
        )


@pytest.fixture(scope="module")
def of_aluminium(tmp_path_factory):
    settings = {"results_dir": str(tmp_path_factory.mktemp("aluminium"))}
    with change_settings(pseudopotentials={"abinit": SHARED}, **settings):
        crystal = bulk("Al", a=4.0)
        return (
            bands_job(crystal, path="GX", density=6, **ALUMINIUM),
            dos_job(crystal, projected=False, mesh_kspacing=0.04, **ALUMINIUM),
        )


@pytest.mark.espresso
def test_silicon_s_bands_are_those_of_pw(of_silicon):
    """With the same pseudopotential, in the formats of both programs."""
    with change_settings(pseudopotentials={"espresso": SHARED}):
        other = espresso.bands_job(
            silicon(),
            path="LGX",
            density=6,
            pseudopotentials={"Si": "14-Si.nlcc.UPF"},
            ecutwfc=20.0,
            ecutrho=80.0,
            kpts=[4, 4, 4],
            input_data={"occupations": "fixed"},
        )
    bands, _ = of_silicon
    for name in ("gap", "direct_gap"):
        assert bands["band_gap"][name] == pytest.approx(other["band_gap"][name], abs=2e-3)
    for name in ("valence_kpoint", "conduction_kpoint"):
        assert bands["band_gap"][name] == other["band_gap"][name]
    np.testing.assert_allclose(bands["kpoints"], other["kpoints"], atol=1e-7)
    levels = [one["eigenvalues"][0] - one["band_gap"]["valence_maximum"] for one in (bands, other)]
    np.testing.assert_allclose(*levels, atol=5e-3)


@pytest.mark.espresso
def test_aluminium_s_bands_are_those_of_pw(of_aluminium):
    """With another pseudopotential of the same functional."""
    other = espresso.bands_job(
        bulk("Al", a=4.0),
        path="GX",
        density=6,
        pseudopotentials={"Al": "Al.pz-vbc.UPF"},
        ecutwfc=14.0,
        kpts=[8, 8, 8],
    )
    levels = [
        one["eigenvalues"][0] - one["eigenvalues"][0, 0, 0] for one in (of_aluminium[0], other)
    ]
    ours, theirs = levels
    below = theirs < 14.0  # some eV above the Fermi energy; states far above differ
    assert below.sum() > 9
    np.testing.assert_allclose(ours[below], theirs[below], atol=0.12)


def test_the_mesh_of_the_scf_has_the_energies_of_the_scf(of_silicon):
    _, dos = of_silicon
    with gzip.open(Path(dos["directory"], "abinito_EIG.gz"), "rt") as stream:
        scf = read_eig(stream)
    np.testing.assert_allclose(dos["kpoints"], scf["ibz_kpoints"], atol=1e-4)
    np.testing.assert_allclose(dos["weights"], scf["kpoint_weights"], atol=1e-5)
    ours, theirs = dos["eigenvalues"][:, :, :4], scf["eigenvalues"][:, :, :4]
    np.testing.assert_allclose(ours, theirs, atol=2e-4)  # of five decimals of Ha
    assert dos["weights"].sum() == pytest.approx(1, abs=1e-12)


def test_what_symmetry_says(of_silicon):
    bands, dos = of_silicon
    levels = dict(zip(map(tuple, bands["kpoints"].round(6)), bands["eigenvalues"][0], strict=True))
    gamma, end = levels[0, 0, 0], levels[0.5, 0, 0.5]
    np.testing.assert_allclose(gamma[1:4], gamma[1], atol=3e-5)  # threefold
    np.testing.assert_allclose(end[[0, 2]], end[[1, 3]], atol=3e-5)  # X: all twofold
    first, second = ([row for row in dos["pdos"] if row["atom"] == atom] for atom in (0, 1))
    assert [row["orbital"] for row in first] == ["s", "p", "d", "f"]
    filled = dos["energies"] < dos["fermi_energy"]
    for one, other in zip(first, second, strict=True):
        counts = [
            np.trapezoid(row["dos"][0][filled], dos["energies"][filled]) for row in (one, other)
        ]
        assert counts[0] == pytest.approx(counts[1], abs=1e-4)


def test_bands_and_densities_belong_to_the_same_crystal(of_silicon):
    bands, dos = of_silicon
    with change_settings(pseudopotentials={"abinit": SHARED}):
        energy = static_job(silicon(), **SILICON, input_data=FIXED)["results"]["energy"]
    for one in (bands, dos):
        assert one["results"]["energy"] == pytest.approx(energy, abs=1e-6)
        gap = one["band_gap"]
        assert 0.4 < gap["gap"] < 0.8
        assert gap["valence_kpoint"] == [0, 0, 0]
        assert one["fermi_energy"] == pytest.approx(gap["valence_maximum"] + gap["gap"] / 2)
        assert one["warnings"] == []
    tops = [one["band_gap"]["valence_maximum"] for one in (bands, dos)]
    assert tops[0] == pytest.approx(tops[1], abs=3e-5)
    names = {file.name for file in Path(bands["directory"]).iterdir()}
    assert not any("DEN" in name or ".nc" in name for name in names)


def test_states_are_counted(of_silicon, of_aluminium):
    """Up to the Fermi energy there are as many as electrons."""
    for result, electrons in ((of_silicon[1], 8), (of_aluminium[1], 3)):
        filled = result["energies"] < result["fermi_energy"]
        count = np.trapezoid(result["dos"][0][filled], result["energies"][filled])
        assert count == pytest.approx(electrons, rel=5e-3)
    dos = of_silicon[1]
    parts = sum(row["dos"][0] for row in dos["pdos"])
    assert (parts <= dos["dos"][0] + 1e-3).all()  # what is between the spheres is left out
    assert "pdos" not in of_aluminium[1]


def test_a_metal_has_no_gap(of_aluminium):
    bands, dos = of_aluminium
    for one in (bands, dos):
        assert one["band_gap"]["gap"] == 0
        assert one["band_gap"]["valence_maximum"] is None
    assert bands["fermi_energy"] == pytest.approx(dos["fermi_energy"], abs=0.2)
    # Of free electrons, three an atom, the width of the band is 12.0 eV at this volume.
    width = dos["fermi_energy"] - bands["eigenvalues"][0, 0, 0]
    assert width == pytest.approx(11.4, abs=0.4)


def test_spins():
    atoms = Atoms("H", [[2, 2, 2]], cell=[4.0, 4.0, 4.0], pbc=True, magmoms=[1.0])
    result = dos_job(atoms, mesh_kspacing=0.2, empty=1, **HYDROGEN)
    up, down = result["eigenvalues"]
    assert (up[:, 0] < down[:, 0] - 1).all()  # exchange
    assert result["pdos"][0]["dos"].shape == result["dos"].shape
    filled = result["energies"] < result["fermi_energy"]
    counts = np.trapezoid(result["dos"][:, filled], result["energies"][filled])
    assert counts == pytest.approx([1, 0], abs=0.01)
    assert result["band_gap"]["gap"] > 1


def test_a_given_magnetisation_has_two_fermi_energies():
    atoms = Atoms("H3", [[2, 2, 1], [2, 2, 2], [2, 2, 3]], cell=[4, 4, 4], pbc=True)
    atoms.set_initial_magnetic_moments([1, 0, 0])
    data = {"spinmagntarget": 1, "nband": 6, "tolvrs": 1e-6}
    smeared = bands_job(atoms, path="GX", density=3, empty=1, input_data=data, **HYDROGEN)
    fixed = bands_job(
        atoms, path="GX", density=3, empty=1, input_data={**data, "occopt": 1}, **HYDROGEN
    )
    up, down = smeared["eigenvalues"]
    assert smeared["band_gap"]["gap"] == pytest.approx(fixed["band_gap"]["gap"], abs=1e-3)
    top = max(up[:, 1].max(), down[:, 0].max())
    assert smeared["band_gap"]["valence_maximum"] == pytest.approx(top)


def test_states_that_have_not_converged_are_told(monkeypatch):
    monkeypatch.setattr(abinit, "_RESIDUAL", 1e-60)
    found = bands_job("Si", path="GX", density=2, ecut=6.0, kpts=[2, 2, 2])
    [told] = [text for text in found["warnings"] if "not converged" in text]
    assert "wrong by up to" in told


def test_an_abinit_that_fails_after_the_scf_is_told(tmp_path):
    script = tmp_path / "abinit.sh"
    script.write_text('#!/bin/sh\n[ "$1" = bands.in ] && echo no memory && exit 3\nabinit "$@"\n')
    script.chmod(0o755)
    with (
        change_settings(commands={"abinit": str(script)}),
        pytest.raises(CalculationError, match="exit status 3 after the SCF. It says: no memory"),
    ):
        bands_job("Si", path="GX", ecut=6.0, kpts=[2, 2, 2])


@pytest.mark.parametrize(
    ("job", "atoms", "keywords", "words"),
    [
        (bands_job, Atoms("Si", cell=[9, 9, 9]), {}, "Bands are those of a crystal"),
        (bands_job, bulk("Si"), {"path": "GXQ"}, "special points G, K, L"),
        (bands_job, bulk("Si"), {"input_data": {"occopt": 2}}, "occopt=2 lists occupations"),
        (dos_job, bulk("Si"), {"input_data": {"occopt": 0}}, "occopt=0 lists occupations"),
        (dos_job, bulk("Si"), {"dispersion": "d3bj:pbe"}, "leave dispersion out"),
    ],
)
def test_bad_input(job, atoms, keywords, words):
    with pytest.raises(InputError, match=words):
        job(atoms, **keywords)


def test_citations(of_silicon):
    for result, citation in zip(of_silicon, ("Setyawan", "Jepsen"), strict=True):
        found = report.citations(result)
        assert citation in found
        assert "Gonze" in found
        assert "Kawamura" not in found
        assert report.summary(result).startswith("Si: gap 0.")
