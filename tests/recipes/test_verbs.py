"""Submit and gather, without Prefect."""

from functools import partial

import pytest

from quacc.errors import JobsFailedError, ParameterError
from quacc.recipes.emt.core import relax_job
from quacc.recipes.tools.verbs import check, gather, gather_each, submit


def double(number, plus=0):
    return 2 * number + plus


def fails(number):
    raise ValueError(f"not {number}")


class Submitting:
    """Anything with a submit, as Prefect's tasks are."""

    def submit(self, item, **kwargs):
        return submit(double, item, **kwargs)


@pytest.mark.parametrize("job", [double, Submitting()])
def test_chains(job):
    first = submit(job, 1, plus=1)
    second = submit(job, first)
    assert gather([[first, second]], ["one"], "flow") == [[3, 6]]


def test_all_failures_are_raised_together_with_all_results():
    chains = []
    for number in range(4):
        first = submit(double if number % 2 else fails, number)
        chains.append([first, submit(double, first)])
    with pytest.raises(JobsFailedError, match="flow: 2 of 4 structures failed") as caught:
        gather(chains, ["a", "b", "c", "d"], "flow")
    assert [error.__notes__ for error in caught.value.exceptions] == [
        ["structure: a"],
        ["structure: c"],
    ]
    assert caught.value.results == [2, 4, 6, 12]


def test_of_many_failures_some_are_named():
    futures = [submit(fails, number) for number in range(12)]
    with pytest.raises(JobsFailedError, match=r"12 of 12 .* not 9; and 2 more\)") as caught:
        gather_each(futures, list(map(str, range(12))), "flow", [7])
    assert len(caught.value.exceptions) == 12
    assert caught.value.results == [7]


def test_checking_calls_nothing_but_quacc_s_own_jobs():
    called = []
    check(called.append, "Cu")
    made = {}
    exec("def job(atoms): raise SystemExit", made)
    made["job"].__module__ = None
    check(made["job"], "Cu")
    assert called == []
    check(relax_job, "Cu", fmax=0.1)
    check(partial(relax_job, fmax=0.1), "Cu")
    with pytest.raises(ParameterError, match="fmax"):
        check(partial(relax_job, fmax=-1), "Cu")
    with pytest.raises(ParameterError, match="None is no job"):
        check(None, "Cu")


def test_a_job_after_a_failed_one_is_not_called():
    called = []
    future = submit(called.append, submit(fails, 1))
    assert called == []
    with pytest.raises(ValueError, match="not 1"):
        future.result()
