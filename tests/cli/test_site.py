"""``quacc site`` as a user calls it."""

import os
import subprocess
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def call(*words, **environment):
    return subprocess.run(
        ["quacc", "site", *words],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def sites(home):
    folder = home / ".config" / "quacc" / "sites"
    folder.mkdir(parents=True)
    return folder


def test_ls(home):
    folder = sites(home)
    (folder / "mine.yaml").write_text("base: lumi-c\ndescription: LUMI [for us]\n")
    (folder / "broken.yaml").write_text("memory: 1GB\ncore: 2\n")
    told = call("ls")
    assert told.returncode == 0
    rows = {line.split()[0]: line for line in told.stdout.splitlines() if line.split()}
    assert "128" in rows["perlmutter-cpu"]
    assert "512GB" in rows["perlmutter-cpu"]
    assert "LUMI [for us]" in rows["mine"]
    assert "wrong, see below" in rows["broken"]
    assert f"{folder / 'broken.yaml'}, line 2: 'core' is not a field" in told.stdout
    assert "Did you mean 'cores'?" in told.stdout
    assert {"local", "devcluster", "frontier", "archer2", "template"} <= set(rows)


def test_show():
    told = call("show", "perlmutter-cpu", "--set", "account=m1234").stdout
    assert "m1234" in told
    assert "Project that is charged" in told
    assert "srun -N {nodes} -n {ranks}" in told
    assert "https://docs.nersc.gov/jobs/policy/" in told
    assert "NOT CONFIRMED" in told


def test_the_template_is_a_file_to_start_from(home):
    text = call("show", "template", "--yaml").stdout
    assert text.startswith("# A profile for a machine of your own.")
    (sites(home) / "mycluster.yaml").write_text(text.replace("# queue: normal", "queue: normal"))
    assert "#SBATCH -p normal" in call("script", "mycluster").stdout


def test_script_submits_and_makes_nothing(home, tmp_path):
    log = tmp_path / "called"
    for name in ("sbatch", "squeue", "sinfo"):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\ntouch {log}\n")
        program.chmod(0o755)
    told = call(
        *["script", "perlmutter-cpu", "--set", "account=m1", "--set", "walltime=02:00:00"],
        *["--set", "prologue=[module load x, export A=1]"],
        PATH=f"{tmp_path}:{os.environ['PATH']}",
    )
    lines = told.stdout.splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    assert {"#SBATCH -A m1", "#SBATCH -t 02:00:00", "module load x", "export A=1"} <= set(lines)
    assert "-P -m quacc.cluster.dask_worker" in lines[-1]
    assert not log.exists()
    assert not Path(os.environ["QUACC_RESULTS_DIR"]).exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["script", "perlmutter-cpu"], "needs account"),
        (["script", "local"], "no jobs"),
        (["script", "perlmuter-cpu"], "Did you mean 'perlmutter-cpu'?"),
        (["show", "devcluster", "--set", "partition=x"], "It is called queue here."),
        (["show", "devcluster", "--set", "cores"], "--set takes KEY=VALUE"),
        (["show", "devcluster", "--set", "prologue=[a"], "not valid YAML"),
        (["show", "none.yaml"], "Cannot read the site's file"),
    ],
)
def test_mistakes_are_one_message(words, told):
    answer = call(*words)
    assert answer.returncode == 1
    assert told in answer.stderr
    assert "Traceback" not in answer.stderr


def test_doctor_says_what_is_wrong_as_its_exit_code(tmp_path):
    good = call("doctor", "local")
    assert good.returncode == 0
    assert "All is well." in good.stdout
    bad = call("doctor", "perlmutter-cpu")
    assert bad.returncode == 1
    assert "✗ The site perlmutter-cpu needs account" in bad.stdout
    assert "begins with 'base: perlmutter-cpu'" in bad.stdout
