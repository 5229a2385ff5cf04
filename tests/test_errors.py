"""Exceptions travel between processes, and say whether trying again may help."""

import errno
import pickle

import numpy as np
import pytest
from ase.build import bulk

from quacc.errors import (
    CalculationError,
    JobsFailedError,
    LostWorkerError,
    NotConvergedError,
    ParameterError,
    PreemptedError,
    QuaccError,
    StructureError,
    can_pass,
    require_bool,
    require_choice,
    require_count,
    require_number,
    require_positive,
    suggest,
)

# Without the names, pytest would write out their digits.
HUGE = [pytest.param(10**400, id="large"), pytest.param(10**9999, id="huge")]


def test_calculation_errors_keep_what_they_carry():
    error = NotConvergedError("far", atoms=bulk("Cu"), directory="/x", result={"steps": 3})
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.directory, copy.result) == ("far", "/x", {"steps": 3})
    assert copy.atoms == bulk("Cu")
    assert isinstance(copy, CalculationError)


def test_groups_keep_what_they_carry():
    failure = StructureError("flat")
    failure.add_note("structure: Cu8")
    group = JobsFailedError("1 of 2", [failure], [{"key": "a"}])
    copy = pickle.loads(pickle.dumps(group))
    assert isinstance(copy, QuaccError)
    assert copy.results == [{"key": "a"}]
    assert copy.exceptions[0].__notes__ == ["structure: Cu8"]
    matched, rest = group.split(StructureError)
    assert rest is None
    assert matched.results == group.results


def test_except_star():
    caught = []
    try:
        raise JobsFailedError("two", [StructureError("a"), CalculationError("b")])
    except* StructureError as group:
        caught += group.exceptions
    except* CalculationError as group:
        caught += group.exceptions
    assert [str(error) for error in caught] == ["a", "b"]


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (ConnectionError(), True),
        (TimeoutError(), True),
        (OSError(errno.ESTALE, "stale"), True),
        (OSError(errno.ENOSPC, "full"), False),
        (FileNotFoundError(errno.ENOENT, "gone"), False),
        (CalculationError("no"), False),
        (PreemptedError("stopped"), False),
        (LostWorkerError("killed"), True),
        (ValueError("no"), False),
        (KeyboardInterrupt(), False),
    ],
)
def test_what_can_pass(error, passes):
    assert can_pass(error) is passes


def test_a_killed_worker_can_pass():
    from distributed.scheduler import KilledWorker

    assert can_pass(KilledWorker("task", None, 3))


def test_suggestions():
    assert suggest("fmx", ["fmax", "steps"]) == " Did you mean 'fmax'?"
    assert suggest("qqq", ["fmax", "steps"]) == ""


@pytest.mark.parametrize(
    "value",
    [
        0,
        -1,
        float("nan"),
        float("inf"),
        "1",
        None,
        True,
        1j,
        [1],
        pytest.param(10**400, id="large"),
        pytest.param(10**9999, id="huge"),
    ],
)
def test_positive(value):
    with pytest.raises(ParameterError, match="x must be a finite number above zero"):
        require_positive(x=value)


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), "1", None, False])
def test_number(value):
    with pytest.raises(ParameterError, match="x must be a finite number, not"):
        require_number(x=value)


@pytest.mark.parametrize(
    "value",
    [0, 1.0, "1", None, True, *HUGE],
)
def test_count(value):
    with pytest.raises(ParameterError, match="x must be a whole number of at least 1"):
        require_count(x=value)


def test_numbers_of_numpy_are_numbers():
    require_positive(x=np.float32(1))
    require_count(x=np.int64(1))
    require_number(x=np.float64(-1))


def test_choice_and_bool():
    require_choice("x", "a", "ab")
    with pytest.raises(ParameterError, match="x 'c' is unknown. Known: a, b"):
        require_choice("x", "c", "ab")
    with pytest.raises(ParameterError, match="x .* is unknown"):
        require_choice("x", np.array(["a", "b"]), "ab")
    with pytest.raises(ParameterError, match="x must be True or False"):
        require_bool(x=1)
