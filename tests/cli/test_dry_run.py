"""``quacc run … --dry-run``."""

import gzip
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from quacc.cli.main import app
from quacc.recipes.espresso.core import static_job


def invoked(*words):
    done = CliRunner().invoke(app, ["run", *words, "--dry-run"])
    return done, re.sub(r" +", " ", done.output)


def test_jobs_and_sources():
    done, text = invoked("eos", "Cu", "--relax-job", "null", "--calculator.asap_cutoff", "true")
    assert done.exit_code == 0
    assert "emt.static_job Cu to compute 7" in text
    assert "asap_cutoff True given for the calculator" in text
    assert "Nothing has been computed" in text
    assert not Path("~/quacc_results").expanduser().exists()


def test_what_is_known_and_what_follows():
    assert CliRunner().invoke(app, ["run", "relax", "Cu"]).exit_code == 0
    _, text = invoked("relax", "Cu", "--fmax", "0.01")
    assert "emt.relax_job Cu known 1" in text
    assert "fmax 0.01 given for the job" in text
    _, text = invoked("bulk_to_slabs", "Cu")
    assert "emt.static_job the result of the one before" in text
    assert "relax_cell True the workflow" in text


@pytest.mark.espresso
def test_a_preset_for_a_job_or_as_a_keyword():
    given = ["-c", "espresso", "--pseudopotentials", "{Si: Si.pz-vbc.UPF}"]
    given += ["--input-data.mixing_beta", "0.3"]
    for preset in ("--preset", "--calculator.preset"):
        done, text = invoked("static", "Si", *given, preset, "insulator")
        assert done.exit_code == 0, done.exception
        assert "input_data.occupations fixed preset insulator" in text
        assert "input_data.mixing_beta 0.3 given for the job" in text


def test_mistakes_are_told_as_without_it():
    done, _ = invoked("eos", "Cu", "--points", "2")
    assert "points must be" in str(done.exception)


def test_the_site():
    _, text = invoked("static", "Cu", "--site", "devcluster")
    assert re.search(r"On devcluster: up to \d+ batch jobs", text)


@pytest.mark.espresso
def test_the_input_is_the_one_that_is_run():
    given = {"ecutwfc": 12.0, "kpts": [2, 2, 2], "pseudopotentials": {"Si": "Si.pz-vbc.UPF"}}
    words = [
        *("--ecutwfc", "12.0", "--kpts", "[2, 2, 2]", "-c", "espresso"),
        *("--pseudopotentials", "{Si: Si.pz-vbc.UPF}", "--preset", "insulator"),
    ]
    done, text = invoked("static", "Si", *words)
    assert "input_data.occupations fixed preset insulator" in text
    assert "ecutwfc 12.0 given for the job" in text
    assert "kspacing 0.04 default" in text
    assert "/usr/share/espresso/pseudo/Si.pz-vbc.UPF" in text
    result = static_job("Si", **given, input_data={"occupations": "fixed"})
    files = Path(result["directory"])
    (real,) = files.glob("espresso.pwi*")
    content = gzip.decompress(real.read_bytes()) if real.suffix == ".gz" else real.read_bytes()
    assert content.decode().rstrip() in done.output


@pytest.mark.mopac
def test_the_input_of_mopac():
    _, text = invoked("static", "H2O", "-c", "mopac", "--method", "PM6")
    assert "PM6 1SCF GRADIENTS" in text
    assert "method PM6 given for the job" in text
