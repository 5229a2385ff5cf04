"""Whether items or machines are to blame: decisions, without a cluster."""

import errno

import pytest

from quacc.cluster.blame import FRUITLESS, ROW, Blame, Judgement
from quacc.errors import (
    CalculationError,
    MissingProgramError,
    NotConvergedError,
    is_machines,
)

AGAIN, RETIRE = Judgement(again=[1]), Judgement(again=[1], retire=True)


def full(blame, item, place="n1", elsewhere=True):
    """Let the disk of a place be full."""
    return blame.failed(item, place, machine=True, elsewhere=elsewhere)


def odd(blame, item, place="n1", elsewhere=True):
    return blame.failed(item, place, machine=False, elsewhere=elsewhere)


def test_a_full_disk_retires_its_node_and_blames_no_item():
    blame = Blame()
    assert full(blame, 1) == AGAIN
    assert full(blame, 2) == Judgement(again=[2], retire=True)
    assert blame.retired == {"n1"}
    # What was on its way there says nothing about the items, once others work.
    assert blame.succeeded(9, "n2") == Judgement()
    for _ in range(3):
        assert full(blame, 3) == Judgement(again=[3], retire=True)
    assert full(blame, 3, "n2") == Judgement(again=[3])
    assert full(blame, 3, "n2", elsewhere=False) == Judgement(blamed=[3])


def test_an_item_that_fills_two_disks_is_to_blame_and_not_the_nodes():
    blame = Blame()
    full(blame, 1)
    assert full(blame, 2) == Judgement(again=[2], retire=True)
    assert full(blame, 1, "n2") == Judgement(blamed=[1])
    assert blame.retired == {"n1"}
    assert full(blame, 2, "n2") == Judgement(blamed=[2])
    assert blame.retired == set()


def test_a_success_in_between_clears_a_node():
    blame = Blame()
    for item in range(10):
        assert full(blame, item) == Judgement(again=[item])
        blame.succeeded(100 + item, "n1")
    assert blame.retired == set()


def test_the_only_node_is_tried_twice():
    blame = Blame()
    for item in (1, 2, 3):
        assert full(blame, item, elsewhere=False) == Judgement(again=[item])
        assert full(blame, item, elsewhere=False) == Judgement(blamed=[item])
    assert blame.retired == set()


def test_a_fault_of_every_place_ends():
    blame = Blame()
    judged = [full(blame, item, f"n{number}") for number in range(50) for item in (number, 99)]
    assert len(blame.retired) <= FRUITLESS
    assert judged[-1].blamed
    assert sum(len(one.blamed) for one in judged) >= 25


def test_failures_that_nobody_knows_are_the_items_when_the_node_works():
    blame = Blame()
    assert odd(blame, 1) == odd(blame, 2) == Judgement()
    assert blame.succeeded(3, "n1") == Judgement(blamed=[1, 2])
    odd(blame, 4)
    assert blame.idle() == Judgement(blamed=[4])
    assert blame.idle() == Judgement()


def test_failures_in_a_row_retire_a_node_while_another_works():
    blame = Blame()
    for item in range(ROW + 3):  # nothing has worked anywhere
        assert odd(blame, item) == Judgement()
    blame.succeeded(100, "n2")
    last = odd(blame, 99)
    assert last == Judgement(again=[*range(ROW + 3), 99], retire=True)
    assert odd(blame, 0, "n2") == Judgement(blamed=[0])
    assert blame.succeeded(1, "n2") == Judgement()
    assert odd(blame, 50) == Judgement(again=[50], retire=True)


def test_failures_in_a_row_blame_no_node_where_there_is_no_other():
    blame = Blame()
    blame.succeeded(100, "n2")
    assert {str(odd(blame, item, elsewhere=False)) for item in range(20)} == {str(Judgement())}
    assert len(blame.idle().blamed) == 20


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EMFILE, "Too many open files"),
        OSError(errno.EROFS, "Read-only file system"),
        OSError("libcudart.so.12: cannot open shared object file: No such file or directory"),
        ImportError("/lib64/libm.so.6: version `GLIBC_2.38' not found"),
        MissingProgramError("pw.x is not installed"),
        RuntimeError("No CUDA GPUs are available"),
        CalculationError("pw.x ended with: No space left on device"),
    ],
)
def test_causes_that_machines_have(error):
    assert is_machines(error)
    wrapped = RuntimeError("it failed")
    wrapped.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert is_machines(wrapped)


@pytest.mark.parametrize(
    "error",
    [
        CalculationError("SCF did not converge"),
        NotConvergedError("100 steps; no space left on device"),
        ValueError("negative"),
        FileNotFoundError(errno.ENOENT, "No such file or directory"),
        ZeroDivisionError(),
    ],
)
def test_causes_that_they_do_not_have(error):
    assert not is_machines(error)
