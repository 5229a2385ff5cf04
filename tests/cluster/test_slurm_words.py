"""Slurm's commands and words, and the scripts that it gets."""

import asyncio
import math
from datetime import timedelta

import pytest

from quacc.cluster import slurm as words
from quacc.cluster.batch import LSFBatchCluster, PBSBatchCluster
from quacc.cluster.keywords import as_walltime, batch_keywords, job_script, job_seconds
from quacc.cluster.pool import JobState
from quacc.cluster.slurm_cluster import SlurmCluster
from quacc.errors import ParameterError
from quacc.prefect import make_runner

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


@pytest.mark.parametrize(
    ("given", "written", "seconds"),
    [
        # sbatch(1): minutes, minutes:seconds, hours:minutes:seconds, days-hours,
        # days-hours:minutes and days-hours:minutes:seconds.
        ("30", "30", 1800),
        (30, "30", 1800),
        ("30:00", "30:00", 1800),
        ("1:00:00", "1:00:00", 3600),
        ("2-12", "2-12", 216000),
        ("2-12:30", "2-12:30", 217800),
        ("1-00:00:00", "1-00:00:00", 86400),
        ("1h", "01:00:00", 3600),
        ("90 min", "01:30:00", 5400),
        ("1.5 days", "36:00:00", 129600),
        (timedelta(days=2, seconds=0.5), "48:00:01", 172801),
        ("UNLIMITED", "UNLIMITED", math.inf),
        ("infinite", "infinite", math.inf),
    ],
)
def test_walltimes_in_cluster_kwargs(given, written, seconds):
    kwargs = batch_keywords(SlurmCluster, GIVEN | {"walltime": given})
    assert kwargs["walltime"] == written
    assert job_seconds(SlurmCluster.job_cls, written) == seconds
    assert f"#SBATCH -t {written}" in job_script(GIVEN | {"walltime": given}).splitlines()


@pytest.mark.parametrize(
    ("cluster", "given", "written", "seconds"),
    [
        (PBSBatchCluster, "90 min", "01:30:00", 5400),
        (PBSBatchCluster, "5400", "5400", 5400),
        (LSFBatchCluster, "61 s", "00:02", 120),
        (LSFBatchCluster, "90", "90", 5400),
        (LSFBatchCluster, "2:30", "2:30", 9000),
    ],
)
def test_walltimes_of_other_queues(cluster, given, written, seconds):
    assert as_walltime(cluster.job_cls, given) == written
    assert job_seconds(cluster.job_cls, written) == seconds


@pytest.mark.parametrize(
    "given",
    [
        *("", "soon", "0", 0, "00:00:00", "-5", "1:2:3:4", "2-", "1-2-3", "5 lightyears", "-1h"),
        *(True, 1.5, math.nan, timedelta(0), timedelta(-1), "inf", [30], "nan s"),
    ],
)
def test_walltimes_that_no_queue_takes_are_refused(given):
    with pytest.raises(ParameterError, match="walltime in cluster_kwargs must be"):
        make_runner(GIVEN | {"walltime": given})
