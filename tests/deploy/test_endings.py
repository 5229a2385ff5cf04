"""What Slurm says, in words for people."""

import pytest

from quacc.deploy import endings


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ("sbatch: error: invalid partition specified: gpu2\nsbatch: error: Batch job submission "
         "failed: Invalid partition name specified", "partition"),
        ("sbatch: error: Batch job submission failed: Invalid account or account/partition "
         "combination specified", "account"),
        ("sbatch: error: Memory specification can not be satisfied", "memory"),
        ("sbatch: error: Batch job submission failed: Requested time limit is invalid (missing or "
         "exceeds some limit)", "walltime"),
        ("sbatch: error: Batch job submission failed: Invalid generic resource (gres) "
         "specification", "gpus"),
        ("sbatch: error: Batch job submission failed: Invalid feature specification", "constraint"),
        ("sbatch: error: Batch job submission failed: Invalid qos specification", "--qos"),
        ("sbatch: unrecognized option '--no-such-option'", "directives"),
    ],
)  # fmt: skip
def test_a_refusal_names_the_field_to_change(said, field):
    message = endings.refused(said)
    assert field in message.split("Change")[1]
    assert "sbatch" not in message
    assert ".." not in message


def test_a_refusal_without_words():
    assert "Slurm refused the job: it gave no reason. Change the fields" in endings.refused("")


@pytest.mark.parametrize(
    ("state", "code", "signal", "words"),
    [
        ("OUT_OF_MEMORY", 0, 125, "used more memory than it asked for. Ask for more: the field"),
        ("NODE_FAIL", 0, 0, "lost a node, which failed. Run it again"),
        ("BOOT_FAIL", 0, 0, "a node did not boot"),
        ("GONE", 0, 0, "is no longer known to Slurm"),
        ("FAILED", 0, 9, "was ended by SIGKILL"),
        ("FAILED", 0, 250, "was ended by signal 250"),
        ("FAILED", 127, 0, "did not find its Python"),
        ("FAILED", 2, 0, "failed with exit status 2"),
        ("COMPLETED", 0, 0, "has ended (COMPLETED), and its flow has not said how"),
    ],
)
def test_how_a_job_ended(state, code, signal, words):
    message = endings.ended("7", state, code, signal, "None")
    assert message.startswith("Slurm job 7 ")
    assert words in message


@pytest.mark.parametrize(
    ("state", "log", "true"),
    [
        ("FAILED", "slurmstepd-n1: error: Exceeded job memory limit", "OUT_OF_MEMORY"),
        ("FAILED", "StepId=7.batch exceeded memory limit (9 > 5), being killed", "OUT_OF_MEMORY"),
        ("FAILED", "error: Detected 1 oom_kill event in StepId=7.batch", "OUT_OF_MEMORY"),
        ("FAILED", "ValueError", "FAILED"),
        ("TIMEOUT", "Exceeded job memory limit", "TIMEOUT"),
    ],
)
def test_memory_that_only_the_log_tells_of(state, log, true):
    assert endings.true_state(state, log) == true


def test_why_a_job_waits():
    assert endings.waiting_name("None") == endings.waiting_name("") == "Queued"
    reason = "ReqNodeNotAvail, UnavailableNodes:n1"
    assert endings.waiting_name(reason) == "Queued (ReqNodeNotAvail)"
    message = endings.waiting("7", "PENDING", reason, "2026-11-30T12:00:00")
    assert "the nodes are down or reserved" in message
    assert message.endswith("Slurm expects to start it at 2026-11-30 12:00:00.")


def test_only_the_end_of_a_long_log_is_repeated():
    message = endings.with_log("It failed.", "x" * 10_000 + "end", "/logs/7.log")
    assert len(message) < 2100
    assert message.endswith("end")
