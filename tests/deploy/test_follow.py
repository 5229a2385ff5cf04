"""What the follower decides, told as stories, and held against rules for all that can be seen."""

from itertools import product
from uuid import UUID

import pytest

from quacc.cluster.pool import ENDED, WAITING
from quacc.deploy.follow import (
    AGAIN,
    FINAL,
    GRACE,
    LINGER,
    RENEW,
    SLOW,
    TIME_IS_UP,
    YOUNG,
    Cancel,
    Finish,
    Follower,
    Forget,
    Job,
    Renew,
    Report,
    Resubmit,
    Run,
    Terminate,
)

LEASE = UUID(int=1)
PENDING, RUNNING = Run("PENDING"), Run("RUNNING")
CANCELLING, CANCELLED = Run("CANCELLING"), Run("CANCELLED")
WAITS, RUNS = Job("PENDING", "Priority"), Job("RUNNING", "None")


def follower(**kwargs):
    return Follower("7", 0.0, **{"attempts": 3, "notice": 60.0, **kwargs})


def test_a_run_without_troubles():
    one = follower()
    told = one.look(1, Job("PENDING", "None"), PENDING)
    assert told == [Report("Queued", "Slurm job 7 waits: PENDING.")]
    start = Job("PENDING", "Resources", "2026-11-30T12:00:00")
    message = (
        "Slurm job 7 waits: PENDING (Resources: the nodes are busy). Slurm expects to start it at "
        "2026-11-30 12:00:00."
    )
    assert one.look(2, start, PENDING) == [Report("Queued (Resources)", message)]
    assert one.look(3, start, PENDING) == []  # once
    assert one.look(4, RUNS, PENDING) == []
    assert one.look(5, RUNS, RUNNING) == []
    assert one.look(6, RUNS, Run("COMPLETED")) == []
    assert one.look(7, Job("COMPLETING"), Run("COMPLETED")) == []
    assert one.look(8, Job("COMPLETED"), Run("COMPLETED")) == [Forget()]


@pytest.mark.parametrize("end", sorted(FINAL))
def test_a_flow_that_has_told_its_end_is_not_told_another(end):
    for state in ENDED:
        assert follower().look(1, Job(state), Run(end)) == [Forget()]


def test_a_queued_job_is_cancelled_at_once():
    one = follower()
    one.look(1, WAITS, PENDING)
    assert one.look(2, WAITS, CANCELLING) == [Cancel()]
    assert one.look(3, WAITS, CANCELLING) == []
    assert one.look(2 + AGAIN, WAITS, CANCELLING) == [Cancel()]  # it was not heard
    told = one.look(20, Job("CANCELLED"), CANCELLING)
    assert told == [
        Finish("CANCELLED", "The flow run was cancelled, and with it Slurm job 7."),
    ]


def test_cancelled_before_slurm_was_ever_asked():
    assert follower().look(0, None, CANCELLING) == [Cancel()]


def test_a_running_job_may_end_by_itself():
    one = follower()
    one.look(1, RUNS, RUNNING)
    assert one.look(2, RUNS, CANCELLING) == [Terminate()]
    assert one.look(3, RUNS, CANCELLING) == []
    assert one.look(2 + GRACE, RUNS, CANCELLING) == [Cancel()]
    assert one.look(3 + GRACE, RUNS, CANCELLING) == []
    for state in ("COMPLETED", "FAILED", "CANCELLED", "GONE", "TIMEOUT"):
        [end] = follower().look(30, Job(state), CANCELLING)
        assert isinstance(end, Finish)
        assert end.type == "CANCELLED"


def test_a_job_whose_run_was_called_off_is_taken_away():
    """By force, by a deleted run, or by the time limit of Prefect's own cancellation."""
    for run in (CANCELLED, Run("DELETED")):
        assert follower().look(1, WAITS, run) == [Cancel()]
        one = follower()
        assert one.look(1, RUNS, run) == [Terminate()]
        assert one.look(1 + GRACE, RUNS, run) == [Cancel()]
        assert one.look(2 + GRACE, Job("CANCELLED"), run) == [Forget()]


def test_a_job_that_does_not_end_after_its_flow_is_taken_away():
    one = follower()
    assert one.look(10, RUNS, Run("FAILED")) == []
    assert one.look(9 + LINGER, RUNS, Run("FAILED")) == []
    assert one.look(10 + LINGER, RUNS, Run("FAILED")) == [Cancel()]


def test_the_lease_is_renewed_while_the_job_waits():
    one = follower()
    queued = Run("PENDING", LEASE)
    renewals = [
        now
        for now in range(0, 1000, 5)
        for action in one.look(now, WAITS, queued)
        if action == Renew(LEASE)
    ]
    assert renewals == list(range(0, 1000, int(RENEW)))
    assert one.look(1000, RUNS, Run("RUNNING", LEASE)) == []  # Prefect's engine does it
    # Also while Slurm does not answer.
    assert one.look(1100, None, queued) == [Renew(LEASE)]


def test_slurm_is_asked_less_about_older_jobs():
    one = follower()
    one.look(0, WAITS, PENDING)
    assert one.due(YOUNG - 1)
    one.look(YOUNG, WAITS, PENDING)
    assert not one.due(YOUNG + SLOW - 1)
    assert one.due(YOUNG + SLOW)
    one.look(YOUNG + 1, None, CANCELLING)
    assert one.due(YOUNG + 2)  # it is about to end
    one.look(YOUNG + 2, Job("CANCELLED"), None)
    assert not one.due(YOUNG + 3)  # nothing new will come


def test_who_is_away_costs_nothing():
    one = follower()
    one.look(1, RUNS, RUNNING)
    assert one.look(500, None, RUNNING) == []  # Slurm
    assert one.look(600, RUNS, None) == []  # Prefect
    assert one.look(700, None, None) == []
    # The end is kept until it can be told.
    assert one.look(800, Job("FAILED", exit_code=3), None) == []
    assert one.look(900, None, None) == []
    [end] = one.look(1000, None, RUNNING)
    assert end == Finish("CRASHED", "Slurm job 7 failed with exit status 3.")
    assert one.look(1010, None, RUNNING) == [end]  # until it was heard
    assert one.look(1020, None, Run("COMPLETED")) == [Forget()]


STOPPED = Job("TIMEOUT", ran=600, limit=600, progress=True)


def test_a_walltime_is_resubmitted_while_there_is_progress():
    [again] = follower(attempt=1).look(1, STOPPED, RUNNING)
    assert again == Resubmit(
        "Slurm job 7 has used up its walltime of 0:10:00. It goes on in a new job from what is "
        "finished (2 of 3)."
    )
    [last] = follower(attempt=3).look(1, STOPPED, RUNNING)
    assert last.type == "CRASHED"
    assert "3 in all" in last.message
    [none] = follower().look(1, Job("TIMEOUT", limit=600), RUNNING)
    assert none.type == "CRASHED"
    assert "nothing that a new job could go on from" in none.message


@pytest.mark.parametrize(
    ("job", "resubmitted"),
    [
        (Job("PREEMPTED", progress=True), True),
        # It heeded the notice, and its flow has said nothing.
        (Job("COMPLETED", ran=481, limit=600, progress=True), True),
        (Job("FAILED", exit_code=143, ran=560, limit=600, progress=True), True),
        (Job("FAILED", exit_code=TIME_IS_UP, ran=300, limit=600, progress=True), True),
        (Job("COMPLETED", ran=479, limit=600, progress=True), False),
        (Job("COMPLETED", ran=541, progress=True), False),
        (Job("NODE_FAIL", ran=541, limit=600, progress=True), False),
        (Job("OUT_OF_MEMORY", ran=541, limit=600, progress=True), False),
    ],
)
def test_what_else_counts_as_a_walltime(job, resubmitted):
    [action] = follower().look(1, job, RUNNING)
    assert isinstance(action, Resubmit) == resubmitted


def test_a_scancel_by_a_person():
    [end] = follower().look(1, Job("CANCELLED", by="ada"), RUNNING)
    assert end == Finish("CANCELLED", "Slurm job 7 was cancelled with scancel by ada.")


def test_a_retry_in_its_job_is_left_alone():
    """Between two tries of a flow, its state is scheduled while its job goes on."""
    one = follower()
    assert one.look(1, RUNS, Run("SCHEDULED")) == []
    assert one.look(2, RUNS, RUNNING) == []


TYPES = (*FINAL, "PENDING", "RUNNING", "CANCELLING", "SCHEDULED", "PAUSED", "DELETED")
STATES = (*ENDED, *WAITING, "RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "STOPPED", None)


def test_rules_that_hold_for_all_that_can_be_seen():
    """Any two looks one after the other: the second is judged."""
    jobs = [None if state is None else Job(state, "Priority", progress=True) for state in STATES]
    runs = [*(Run(kind, LEASE) for kind in TYPES), None]
    seen = 0
    for before, (job, run) in product(product(jobs, runs), product(jobs, runs)):
        one = follower()
        one.look(1, *before)
        actions = one.look(50, job, run)
        seen += 1
        kinds = {type(action) for action in actions}
        over = one.job is not None and one.job.ended
        if run is None:
            assert not actions
            continue
        assert over == bool(kinds & {Finish, Forget, Resubmit})  # at its end, and only then
        if over:
            assert len(actions) == 1
        if Finish in kinds or Resubmit in kinds:  # no state after the last one
            assert run.type not in FINAL
        if Resubmit in kinds:
            assert run.type in ("PENDING", "RUNNING")
        if kinds & {Cancel, Terminate}:
            assert run.type in ("CANCELLING", "CANCELLED", "DELETED")
        if kinds & {Report, Renew}:
            assert run.type == "PENDING"
        # Whatever was cancelled and lives is on its way out.
        if run.type in ("CANCELLING", "CANCELLED", "DELETED") and not over:
            assert one._told is not None or one._cancelled is not None
    assert seen == len(jobs) ** 2 * len(runs) ** 2
