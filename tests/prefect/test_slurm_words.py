"""Slurm's commands and words, and the scripts that it gets."""

import asyncio

import pytest

from quacc.errors import ParameterError
from quacc.prefect import slurm as words
from quacc.prefect.batch import job_script
from quacc.prefect.pool import JobState

GIVEN = {"cores": 2, "memory": "1GB", "queue": "regular", "account": "mine", "walltime": "01:00:00"}


def directives(**changes):
    lines = job_script(GIVEN | changes).splitlines()
    return [line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH")]


@pytest.mark.parametrize(
    ("skip", "gone"),
    [
        ("-n", "-n 1"),
        ("--ntasks", "-n 1"),
        ("-t", "-t 01:00:00"),
        ("--mem", "--mem=954M"),
        ("-A", "-A mine"),
        ("--cpus-per-task", "--cpus-per-task=2"),
        ("-c", "--cpus-per-task=2"),
    ],
)
def test_whole_options_are_skipped(skip, gone):
    """dask-jobqueue skips every line that holds the text: -n also --ntasks-per-node and -N."""
    kept = directives()
    assert gone in kept
    extra = ["--no-kill", "-N 1"]
    assert directives(job_directives_skip=[skip], job_extra_directives=extra) == [
        *(line for line in kept if line not in (gone, "--no-requeue")),
        *extra,
        "--no-requeue",
    ]


def test_skipping_what_is_not_there():
    with pytest.raises(ParameterError, match=r"'--gpus' is no option that dask-jobqueue sets"):
        directives(job_directives_skip=["--gpus"])


def test_a_job_is_not_requeued_unless_asked():
    assert "--no-requeue" in directives()
    assert "--no-requeue" not in directives(job_extra_directives=["--requeue"])


def test_one_log_for_each_job_and_one_calculation_for_each_process(tmp_path):
    script = job_script(GIVEN | {"log_directory": str(tmp_path)})
    assert f'#SBATCH -o "{tmp_path}/%j.log"' in script
    assert "#SBATCH -e" not in script
    assert "--nthreads 1 " in script
    assert "--nworkers 2" in script
    assert "|| echo $(( $(date +%s) + 3600 )))" in script
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 1800),
        ("30:15", 1815),
        ("02:00:00", 7200),
        ("1-00", 86400),
        ("1-12:30", 131400),
        ("2-01:00:05", 176405),
    ],
)
def test_walltimes_as_slurm_writes_them(text, seconds):
    assert words.walltime_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "1:2:3:4", "-5", "1-"])
def test_walltimes_that_are_none(text):
    with pytest.raises(ParameterError, match="walltime must be"):
        words.walltime_seconds(text)


@pytest.mark.parametrize(
    ("refusal", "field"),
    [
        ("invalid partition specified: nowhere", "queue"),
        (
            "Batch job submission failed: Invalid account or account/partition combination",
            "account",
        ),
        ("Batch job submission failed: Requested time limit is invalid", "walltime"),
        ("Memory specification can not be satisfied", "memory, or job_mem"),
        ("Invalid feature specification", "job_extra_directives (-C)"),
        ("Batch job submission failed: Invalid qos specification", "job_extra_directives (-q)"),
        ("something new", None),
    ],
)
def test_a_refusal_names_the_field(refusal, field):
    assert words.field_to_change(refusal) == field


def test_refusals_that_pass():
    policy = (
        "Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's "
        "size and/or time limits)"
    )
    assert words.can_pass("Batch job submission failed: Unable to contact slurm controller")
    assert words.can_pass(f"QOSMaxSubmitJobPerUserLimit; {policy}")
    assert not words.can_pass(f"QOSMaxWallDurationPerJobLimit; {policy}")
    assert not words.can_pass("invalid partition specified: nowhere")


def test_states_in_words():
    assert words.in_words(JobState("RUNNING", "None")) == "RUNNING"
    assert words.in_words(JobState("PENDING", "Priority")) == (
        "PENDING (Priority: other jobs go first)"
    )
    assert words.in_words(JobState("PENDING", "Whatever")) == "PENDING (Whatever)"


@pytest.mark.slurm
def test_the_queue_is_asked(slurm):
    job = slurm.call("sbatch", "--parsable", "-o", "/dev/null", "--wrap", "sleep 300")
    known = asyncio.run(words.states([job, "999999"]))
    assert set(known) == {job}
    assert known[job].state in ("PENDING", "CONFIGURING", "RUNNING")
    assert asyncio.run(words.states(["999999"])) == {}
    assert asyncio.run(words.states([])) == {}
    asyncio.run(words.cancel([job, "999999"]))
    assert asyncio.run(words.states([job]))[job].state in ("CANCELLED", "COMPLETING")


@pytest.mark.slurm
def test_a_slurm_that_does_not_answer(slurm, monkeypatch, tmp_path):
    broken = tmp_path / "slurm.conf"
    broken.write_text(slurm.config.read_text().replace("SlurmctldPort=", "SlurmctldPort=1"))
    broken.write_text(broken.read_text() + "MessageTimeout=2\n")
    monkeypatch.setenv("SLURM_CONF", str(broken))
    with pytest.raises(OSError, match=r"slurm|Slurm"):
        asyncio.run(words.states(["1"]))
