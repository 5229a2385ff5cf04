"""Which batch jobs are given up: decisions, without a cluster."""

import pytest

from quacc.cluster.attempts import Attempts, Cause, Verdict
from quacc.cluster.pool import ENDED, FAILED_STARTS, LOST_AFTER, JobState, Pool

RUNNING, PENDING = JobState("RUNNING"), JobState("PENDING", "Resources")


def pool(pending_timeout=None, worker_timeout=300.0):
    made = Pool(pending_timeout, worker_timeout)
    made.submitted("a", "1", 0.0)
    return made


def look(one, now, state, connected=()):
    return one.look(now, {} if state is None else {"1": state}, connected)


def test_a_job_that_runs_and_works_is_kept():
    one = pool()
    for now, state, connected in [(1, PENDING, []), (2, RUNNING, []), (3, RUNNING, ["a"])]:
        verdict = look(one, now, state, connected)
        assert verdict.replace == []
        assert not verdict.unstarted
        assert not verdict.waited


@pytest.mark.parametrize("state", sorted(ENDED))
def test_a_job_that_has_ended_is_replaced(state):
    one = pool()
    look(one, 1, RUNNING, ["a"])
    verdict = look(one, 2, JobState(state))
    assert verdict.replace == ["a"]
    assert one.jobs == {}
    assert verdict.unstarted is None


@pytest.mark.parametrize("state", ["NODE_FAIL", "COMPLETED"])
def test_a_job_whose_worker_still_works_is_kept_whatever_slurm_says(state):
    one = pool()
    assert look(one, 1, JobState(state), ["a"]).replace == []


def test_one_that_is_cancelled_while_it_waits_has_not_failed_to_start():
    one = pool()
    look(one, 1, PENDING)
    assert look(one, 2, JobState("CANCELLED")).replace == ["a"]
    assert one.failed_starts == 0


def test_jobs_that_end_without_a_worker_are_too_many_at_some_point():
    one = pool()
    for number in range(1, FAILED_STARTS + 1):
        one.submitted("a", "1", 0.0)
        verdict = look(one, number, JobState("FAILED"))
        assert verdict.replace == ["a"]
        assert bool(verdict.unstarted) == (number == FAILED_STARTS)


def test_a_worker_in_between_forgives_failed_starts():
    one = pool()
    look(one, 1, JobState("FAILED"))
    one.submitted("a", "1", 1.0)
    look(one, 2, RUNNING, ["a"])
    one.submitted("a", "1", 3.0)
    assert look(one, 4, JobState("FAILED")).unstarted is None


def test_one_that_was_submitted_since_the_queue_was_asked_is_kept():
    assert look(pool(), 1, None).replace == []


def test_a_bad_node_does_not_end_what_works_or_starts_elsewhere():
    for state, connected in [(RUNNING, ["b"]), (RUNNING, [])]:
        one = pool()
        one.submitted("b", "2", 0.0)
        for number in range(1, FAILED_STARTS + 3):
            one.submitted("a", "1", 0.0)
            verdict = one.look(number, {"1": JobState("FAILED"), "2": state}, connected)
            if not connected and number == 1:
                continue
            assert verdict.replace == ["a"]
            assert verdict.unstarted is None


def test_a_job_that_never_completes_is_replaced():
    one = pool()
    look(one, 1, RUNNING, ["a"])
    assert look(one, 2, JobState("COMPLETING")).replace == []
    assert look(one, 3 + LOST_AFTER, JobState("COMPLETING")).replace == ["a"]


def test_a_running_job_without_a_worker():
    one = pool(worker_timeout=10)
    assert look(one, 100, RUNNING).replace == []
    assert look(one, 109, RUNNING).replace == []
    assert look(one, 111, RUNNING).replace == ["a"]
    assert one.failed_starts == 1


def test_a_running_job_that_is_not_heard_of():
    one = pool()
    look(one, 1, RUNNING, ["a"])
    assert look(one, LOST_AFTER, RUNNING).replace == []
    assert look(one, LOST_AFTER + 2, RUNNING).replace == ["a"]
    assert one.failed_starts == 0


def test_a_requeued_job_is_replaced():
    one = pool()
    look(one, 1, RUNNING, ["a"])
    assert look(one, 2, PENDING).replace == ["a"]


def test_waiting_too_long():
    one = pool(pending_timeout=60)
    assert look(one, 59, PENDING).waited is None
    assert look(one, 61, PENDING).waited == PENDING
    assert look(pool(pending_timeout=None), 10**6, PENDING).waited is None
    two = pool(pending_timeout=60)
    two.submitted("b", "2", 0.0)
    states = {"1": PENDING, "2": RUNNING}
    assert two.look(61, states, ["b"]).waited is None  # work goes on


def lost(attempts, *losses):
    return [attempts.lost(cause, progress, whole=True) for cause, progress in losses]


def test_walltimes_with_progress_have_no_end():
    verdicts = lost(Attempts(), *((Cause.WALLTIME, step) for step in range(1, 100)))
    assert set(verdicts) == {Verdict.AGAIN}


@pytest.mark.parametrize("progress", [None, 7])
def test_whole_walltimes_without_progress(progress):
    attempts = Attempts()
    verdicts = lost(attempts, *[(Cause.WALLTIME, progress)] * 3)
    assert verdicts.index(Verdict.STUCK) == (1 if progress is None else 2)


def test_the_rest_of_a_walltime_is_no_fair_attempt():
    attempts = Attempts()
    for _ in range(5):
        assert attempts.lost(Cause.WALLTIME, None, whole=False) is Verdict.AGAIN


def test_losses_from_outside_come_to_an_end_too():
    verdicts = lost(Attempts(), *[(Cause.OUTSIDE, None)] * 20)
    assert Verdict.STUCK in verdicts
    assert verdicts.index(Verdict.STUCK) > 5


def test_who_was_alone_is_to_blame_and_who_was_not_gets_another_chance_alone():
    assert lost(Attempts(), (Cause.CRASH, None)) == [Verdict.CRASHED]
    assert lost(Attempts(), (Cause.SHARED, None), (Cause.SHARED, None)) == [
        Verdict.ALONE,
        Verdict.CRASHED,
    ]
    assert lost(Attempts(), (Cause.SHARED, None), (Cause.WALLTIME, 3)) == [Verdict.ALONE] * 2
