"""When calculations have to stop."""

import time

import pytest

from quacc.runners.deadline import carry_on, job_end, stop_soon, stopping
from quacc.settings import change_settings

SLURM, OURS = "SLURM_JOB_END_TIME", "_QUACC_JOB_END"


@pytest.fixture(autouse=True)
def no_end(monkeypatch):
    monkeypatch.delenv(SLURM, raising=False)
    monkeypatch.delenv(OURS, raising=False)
    yield
    carry_on()


def test_nobody_knows():
    assert job_end() is None
    assert stopping() is None


def test_the_earlier_of_both_ends(monkeypatch):
    now = int(time.time())
    monkeypatch.setenv(SLURM, str(now + 100))
    assert job_end() == now + 100
    monkeypatch.setenv(OURS, str(now + 50.5))
    assert job_end() == now + 50.5
    monkeypatch.setenv(SLURM, str(now + 10))
    assert job_end() == now + 10


@pytest.mark.parametrize("text", ["", "Unknown", "nan", "inf", "0"])
def test_what_is_no_time(monkeypatch, text):
    monkeypatch.setenv(SLURM, text)
    assert job_end() is None


def test_an_end_of_long_ago_belongs_to_another_job(monkeypatch):
    monkeypatch.setenv(SLURM, str(int(time.time() - 3600)))
    assert job_end() is None
    monkeypatch.setenv(SLURM, str(int(time.time() - 5)))
    assert "its batch job ends at 20" in stopping()


def test_the_margin_is_a_setting(monkeypatch):
    monkeypatch.setenv(OURS, str(time.time() + 100))
    assert stopping() is None
    with change_settings(walltime_margin=120):
        assert "its batch job ends at 20" in stopping()
    assert "its batch job ends at 20" in stopping(margin=101)
    assert stopping(margin=50) is None


def test_on_request():
    stop_soon("the node is needed")
    assert stopping() == "the node is needed"
    carry_on()
    assert stopping() is None
