"""Terminals that are not UTF-8, home folders that are not there, and what is told about both."""

import os
import subprocess

import pytest

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def call(*words, **environment):
    return subprocess.run(
        ["quacc", *words],
        env=os.environ | environment,
        capture_output=True,
        timeout=200,
        check=False,
    )


@pytest.mark.parametrize(
    "words",
    [
        ["recipes"],
        ["recipes", "show", "eos"],
        ["calculators"],
        ["settings", "show"],
        ["site", "ls"],
        ["site", "doctor", "local"],
        ["results", "ls"],
        ["info"],
        ["run", "--help"],
    ],
    ids=" ".join,
)
def test_ascii(words):
    told = call(*words, **ASCII)
    assert told.returncode == 0, told.stderr
    told.stdout.decode("ascii")
    assert b"Traceback" not in told.stderr


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii:strict"},
        {"PYTHONIOENCODING": "latin-1:strict", "TERM": "dumb", "NO_COLOR": "1", "COLUMNS": "20"},
    ],
)
def test_a_narrow_encoding(environment):
    told = call("recipes", "show", "eos", **environment)
    assert told.returncode == 0, told.stderr
    told.stdout.decode(environment["PYTHONIOENCODING"].split(":")[0])
    wrong = call("recipes", "show", "Å–✓", **environment)
    assert wrong.returncode == 1
    assert b"There is no workflow" in wrong.stderr
    assert b"Traceback" not in wrong.stderr


def test_characters_are_spelled_with_others():
    told = call("recipes", "show", "Å–✓", **ASCII | {"PYTHONIOENCODING": "ascii"})
    assert b"There is no workflow" in told.stderr


def test_tables_are_ascii():
    told = call("settings", "show", **ASCII).stdout.decode("ascii")
    assert "results_dir" in told
    told = call("recipes", **ASCII).stdout.decode("ascii")
    assert "Gruneisen" in told or "equation of state" in told.lower()


@pytest.mark.parametrize("home", ["", "here/and/there"])
@pytest.mark.parametrize(
    "words", [["settings", "show"], ["results", "ls"], ["run", "eos", "Cu"], ["site", "ls"]]
)
def test_a_home_that_is_none(home, words, tmp_path):
    told = call(*words, HOME=home)
    assert told.returncode == 1
    assert told.stderr.startswith(f"quacc: The environment variable HOME is {home!r}".encode())
    assert list(tmp_path.iterdir()) == []


def test_info_tells_no_secrets(tmp_path):
    secret = "s3/cr@t"
    told = call(
        "info",
        http_proxy=f"http://me:{secret}@proxy.example:3128",
        HTTPS_PROXY=f"me:{secret}@proxy.example:3128",
        PREFECT_API_URL=f"http://me:{secret}@prefect.example/api",
        PREFECT_API_AUTH_STRING=f"me:{secret}",
        QUACC_STORE="postgresql://me:s3cret@db.example/quacc",
        QUACC_COMMANDS__MOPAC=f"env TOKEN={secret} mopac",
        SLURM_JWT=secret,
        SBATCH_QOS="debug",
        DASK_DISTRIBUTED__WORKER__LIFETIME__DURATION="1h",
        HOME=str(tmp_path),
    )
    assert told.returncode == 0, told.stderr
    text = told.stdout.decode()
    assert "s3" not in text
    lines = dict(line.split(":", 1) for line in text.splitlines())
    assert "proxy.example:3128" in lines["proxies"]
    assert "prefect.example" in lines["Prefect API"]
    assert "PREFECT_API_AUTH_STRING" in lines["set for Prefect"]
    assert "SBATCH_QOS=debug" in lines["SBATCH_*"]
    assert "SLURM_JWT" in lines["SLURM_*"]
    assert "distributed.worker.lifetime.duration" in lines["no effect on quacc"]
    assert "QUACC_COMMANDS__MOPAC" in lines["sent to jobs"]
    assert {"quacc", "Python", "store", "results_dir", "umask", "HOME", "text"} <= lines.keys()
