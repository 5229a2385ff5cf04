"""The command as a user calls it."""

import os
import subprocess

import pytest

import quacc
from quacc.store import Store


def call(*words, **environment):
    return subprocess.run(
        ["quacc", *words],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def test_version_and_help():
    assert call("--version").stdout == f"quacc {quacc.__version__}\n"
    told = call("--help").stdout
    for command in ("run", "calculators", "results", "settings"):
        assert command in told


def test_calculators():
    told = call("calculators", QUACC_COMMANDS__MOPAC="/no/mopac", COLUMNS="300")
    assert told.returncode == 0
    lines = {line.split()[0]: line for line in told.stdout.splitlines() if line.strip()}
    assert " yes " in lines["emt"]
    assert "Ag Al Au" in lines["emt"]
    assert " all " in lines["lj"]
    assert lines["mopac"].split()[1] == "no"
    assert "mopac: The program '/no/mopac' is not found." in lines["mopac:"]
    assert "commands.mopac" in lines["mopac:"]


def test_run_on_a_server_of_its_own():
    told = call("run", "bulk_to_slabs", "Cu", "--set", "min_thickness=8", COLUMNS="200")
    assert told.returncode == 0, told.stderr
    assert "(111)" in told.stdout
    assert "surface energy (J/m²)" in told.stdout
    assert "8 jobs in" in told.stdout
    key = told.stdout.split("quacc results show ")[1].split()[0]
    stored = Store().get(key)
    assert stored["parameters"]["min_thickness"] == 8
    assert len(stored["surfaces"]) == 3
    # In Slurm jobs or not, all were computed by workers.
    assert len({job["provenance"]["pid"] for job in stored["slabs"]}) <= len(
        os.sched_getaffinity(0)
    )
    shown = call("results", "show", key, COLUMNS="200")
    assert f"{stored['surfaces'][0]['surface_energy']:.3f}" in shown.stdout
    assert len(call("results", "ls", COLUMNS="200").stdout.strip().splitlines()) == 11


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["run", "bulk_to_slab", "Cu"],
            "no workflow 'bulk_to_slab'. Did you mean 'bulk_to_slabs'?",
        ),
        (["run", "bulk_to_slabs", "Cuu"], "'Cuu' is neither a file nor a name"),
        (["run", "bulk_to_slabs", "Cu", "-c", "etm"], "Did you mean 'emt'?"),
        (["run", "bulk_to_slabs", "Cu", "--set", "max_indx=2"], "Did you mean 'max_index'?"),
        (["run", "bulk_to_slabs", "Cu", "--set", "max_index"], "--set takes KEY=VALUE"),
        (["run", "bulk_to_slabs", "Cu", "--set", "max_index=[1"], "not valid YAML"),
        (["run", "bulk_to_slabs", "Cu", "--set", "max_index=0"], "max_index must be a whole"),
        (["results", "show", "abcdef0123"], "No result"),
    ],
)
def test_mistakes_are_one_message_and_quick(words, told):
    answer = call(*words)
    assert answer.returncode == 1
    assert told in answer.stderr
    assert "Traceback" not in answer.stderr
    assert "Running" not in answer.stdout


def test_where_an_error_was_raised_is_told_if_asked():
    answer = call("--debug", "results", "show", "abcdef0123")
    assert answer.returncode == 1
    assert answer.stderr.startswith("Traceback")
    assert "No result" in answer.stderr.splitlines()[-1]


def test_a_failing_structure_ends_with_its_name():
    told = call("run", "bulk_to_slabs", "Fe")
    assert told.returncode == 1
    assert "no parameters for Fe" in told.stderr
    assert "Traceback" not in told.stderr


def test_a_slab_that_fails_is_named_and_the_others_are_kept(tmp_path):
    # Too few steps for every slab: a failure while computing, not a mistake in the input.
    told = call(
        *["run", "bulk_to_slabs", "Cu", "--set", "max_index=1"],
        *["--set", "relax_kwargs.require_convergence=true", "--set", "relax_kwargs.steps=3"],
        *["--set", "relax_kwargs.fmax=0.0005"],
    )
    assert told.returncode == 1
    assert "1 of 3 structures failed (Cu8 (1 1 0)" in told.stderr
    assert "did not converge in 3 steps" in told.stderr
    assert "All other results are kept" in told.stderr
    assert "Traceback" not in told.stderr
    assert sum(row.recipe == "emt.static_job" for row in Store().select()) == 3


def test_none_is_that_of_python():
    told = call("run", "phonon", "H2O", "--set", "relax_job=None")
    assert told.returncode == 1
    assert "freq_job" in told.stderr
