"""The job script, its environment, and what a worker leaves on disk."""

import os
import subprocess
import sys
from uuid import uuid4

import pytest

from quacc.cluster.processes import signature
from quacc.deploy import batch_job
from quacc.deploy.records import Records
from quacc.deploy.slurm_fields import SlurmConfiguration
from quacc.deploy.wishes import wishes
from quacc.errors import ParameterError, SettingsError


@pytest.fixture
def record(tmp_path):
    return Records(tmp_path / "jobs").claim(uuid4(), "w")


def directives(**fields):
    return wishes(SlurmConfiguration(**fields)).directives


def test_what_nobody_says():
    asked = wishes(SlurmConfiguration())
    assert asked.directives == ["--time=00:30:00", "--nodes=1", "--ntasks-per-node=1"]
    assert asked.python is None


def test_fields_win_over_the_site():
    site = directives(site="perlmutter-cpu", account="m1234")
    assert "--account=m1234" in site
    assert "--constraint=cpu" in site
    changed = directives(
        site="perlmutter-cpu", account="m1234", constraint="gpu", walltime="01:00:00", gpus=4
    )
    assert "--constraint=gpu" in changed
    assert "--constraint=cpu" not in changed
    assert "--gpus-per-node=4" in changed
    asked = wishes(SlurmConfiguration(site="perlmutter-cpu", account="m1234", prologue=["mine"]))
    assert asked.prologue == ['export QUACC_SCRATCH_DIR="$PSCRATCH"', "mine"]
    assert "--time=01:00:00" in changed


def test_memory_in_slurms_units():
    assert "--mem=15259M" in directives(memory="16GB")
    assert "--mem=16384M" in directives(memory="16 GiB")


def test_sites_that_make_no_sense():
    with pytest.raises(SettingsError, match="There is no site 'nowhere'"):
        directives(site="nowhere")
    with pytest.raises(ParameterError, match="field site names local, whose queueing system is"):
        directives(site="local")
    with pytest.raises(SettingsError, match="needs account"):
        directives(site="perlmutter-cpu")


def test_the_script_and_its_secrets(record, tmp_path):
    """Run as bash runs it: quotes hold, and the credentials are gone before anything else."""
    odd = 'it\'s "$HOME" `id`\\'
    asked = wishes(
        SlurmConfiguration(
            prologue=[f"ls {record.folder} > {tmp_path}/seen", "export MORE=1"],
            python=str(tmp_path / "python"),
        )
    )
    record.attempt, record.notice = 1, 60.0
    record.log = str(tmp_path / "logs" / "job.log")
    name = batch_job.job_name("relax Cu / \u00e9\n", record)
    given = {"PREFECT_API_AUTH_STRING": odd, "UNSET": None}
    script = batch_job.write(asked, record, name, given)
    text = script.read_text()
    assert odd not in text
    assert "AUTH" not in text
    assert f"#SBATCH --job-name=relax-Cu.{record.suffix}\n" in text
    assert "#SBATCH --export=NIL\n" in text
    assert "#SBATCH --signal=B:TERM@60\n" in text
    assert record.credentials.stat().st_mode & 0o777 == 0o600
    assert record.folder.stat().st_mode & 0o777 == 0o700
    (tmp_path / "python").write_text('#!/bin/bash\necho "$PREFECT_API_AUTH_STRING|$MORE|$*"\n')
    (tmp_path / "python").chmod(0o700)
    told = subprocess.run(
        ["bash", str(script)], env={}, capture_output=True, text=True, check=True
    ).stdout
    assert told == f"{odd}|1|-m quacc.deploy.in_job\n"
    assert "environment" not in (tmp_path / "seen").read_text()
    assert not record.credentials.exists()


def test_the_environment_of_a_job(monkeypatch):
    own = {
        "HOME": "/h",
        "PATH": "/b",
        "SECRET": "s",
        "QUACC_CALCULATOR": "emt",
        "SLURM_JOB_ID": "3",
    }
    made = batch_job.environment({"PREFECT_API_URL": "u", "HOME": "/given"}, own, "perlmutter-cpu")
    assert made[batch_job.SITE] == "perlmutter-cpu"
    assert made["HOME"] == "/given"
    assert made["QUACC_CALCULATOR"] == "emt"
    assert "SECRET" not in made
    assert "SLURM_JOB_ID" not in made


@pytest.mark.parametrize(
    ("walltime", "notice"), [("00:02:00", 30), ("01:00:00", 60), ("2-00:00:00", 60)]
)
def test_notice(walltime, notice):
    assert batch_job.notice_before(walltime) == notice


def test_what_is_left_is_found_by_the_next(tmp_path):
    records = Records(tmp_path / "jobs")
    run = uuid4()
    mine = records.claim(run, "w")
    mine.attempt, mine.job, mine.notice = 2, "17", 45.0
    mine.save()
    [found] = Records(tmp_path / "jobs").abandoned()  # nobody else's
    assert found == mine
    assert records.claim(run, "w").suffix == mine.suffix
    (mine.workdir / "precious").touch()
    mine.remove()
    assert (mine.workdir / "precious").exists()
    assert records.abandoned() == []
    assert records.claim(run, "w").suffix != mine.suffix  # run again, its jobs are not the old ones


def test_whose_jobs_are_whose(tmp_path):
    folder = tmp_path / "jobs"
    records = Records(folder)
    records.beat()
    record, other_run = records.claim(uuid4(), "w"), uuid4()
    code = f"""
from pathlib import Path
from uuid import UUID
from quacc.deploy.records import Records
records = Records(Path({str(folder)!r}))
records.beat()
print(len(records.abandoned()), flush=True)
print(records.claim(UUID({str(record.run)!r}), "other"), flush=True)
print(records.claim(UUID({str(other_run)!r}), "other").workers, flush=True)
input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ,
    ) as other:
        assert other.stdout.readline() == "0\n"  # this process lives
        assert other.stdout.readline() == "None\n"
        assert other.stdout.readline() == "['other']\n"
        assert records.abandoned() == [record]
        assert records.claim(other_run, "w") is None
        other.kill()
        other.wait()
    found = {one.run: one for one in records.abandoned()}
    assert set(found) == {record.run, other_run}
    assert records.claim(other_run, "w").workers == ["other", "w"]
    found[other_run].remove()
    # On another machine, a sign of life decides.
    record.owner = signature().replace("_", "-elsewhere_", 1)
    record.save()
    sign = folder / f"{record.owner}.alive"
    sign.touch()
    assert records.abandoned() == []
    late = sign.stat().st_mtime - 200
    os.utime(sign, (late, late))
    assert [one.run for one in records.abandoned()] == [record.run]
