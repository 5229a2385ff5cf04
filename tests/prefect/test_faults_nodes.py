"""Jobs that raise what nobody expects, and machines that are at fault.

docs/faults.md has a row for each of these tests.
"""

import asyncio
import sys

import cloudpickle
import pytest
from prefect import flow, task
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner

from quacc.errors import JobsFailedError
from quacc.prefect import as_task, fan_out, make_runner

pytestmark = pytest.mark.usefixtures("prefect_server")

cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Panic(BaseException):
    """What pyo3 raises when Rust panics is such a class."""


def panics_at_three(item):
    if item == 3:
        raise Panic("like a Rust panic")
    if item == 4:
        raise GeneratorExit
    if item == 5:
        raise asyncio.CancelledError
    if item == 6:
        raise SystemExit(6)
    return item


@pytest.mark.parametrize(
    "runner", [make_runner, ThreadPoolTaskRunner, lambda: ProcessPoolTaskRunner(max_workers=2)]
)
def test_items_that_raise_what_is_no_exception_fail_alone(runner):
    @flow(task_runner=runner())
    def campaign():
        return fan_out(panics_at_three, range(8), batch=4).results()

    with pytest.raises(JobsFailedError, match="Panic: like a Rust panic") as failed:
        campaign()
    assert [one.__notes__ for one in failed.value.exceptions] == [
        [f"structure: (item {number})"] for number in (3, 4, 5, 6)
    ]
    assert failed.value.results == [0, 1, 2, 7]


@pytest.mark.parametrize(
    ("as_ours", "runner"),
    [(task, make_runner), (as_task, make_runner), (as_task, ThreadPoolTaskRunner)],
)
def test_tasks_that_raise_what_is_no_exception_fail(runner, as_ours):
    @flow(task_runner=runner())
    def campaign():
        futures = [as_ours(panics_at_three).submit(item) for item in (2, 3, 4, 5)]
        states = []
        for future in futures:
            future.wait()
            states.append(future.state)
        return [state.result(raise_on_failure=False) for state in states]

    found = campaign()
    assert found[0] == 2
    assert [str(one) for one in found[1:]] == [
        "The job raised Panic: like a Rust panic",
        "The job raised GeneratorExit",
        "The job raised CancelledError",
    ]
