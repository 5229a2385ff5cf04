"""What travels to a worker and back."""

import sys
import threading
import types

import pytest
from ase.build import bulk

from quacc.errors import MissingProgramError, StructureError
from quacc.recipes.emt.core import static_job
from quacc.runners.remote import pack, run_packed, unpack
from quacc.settings import change_settings, get_settings, overrides


def there_and_back(function, *args, **kwargs):
    return unpack(run_packed(pack({}, function, args, kwargs)))


def test_results():
    assert (
        there_and_back(static_job, bulk("Cu"))["results"]["energy"]
        == (static_job("Cu")["results"]["energy"])
    )


def test_exceptions_come_with_the_worker_s_traceback():
    with pytest.raises(StructureError, match="Cuu") as caught:
        there_and_back(static_job, "Cuu")
    assert "in as_atoms" in str(caught.value.__cause__)


def test_coroutines():
    async def add(one, other):
        return one + other

    assert there_and_back(add, 1, other=2) == 3


def test_settings_travel(tmp_path):
    with change_settings(results_dir=tmp_path):
        call = pack(overrides(), lambda: get_settings().results_dir, (), {})
    assert unpack(run_packed(call)) == tmp_path


def test_what_cannot_be_imported(monkeypatch):
    module = types.ModuleType("only_here")
    exec("def job(): return 1", module.__dict__)
    monkeypatch.setitem(sys.modules, "only_here", module)
    call = pack({}, module.job, (), {})
    monkeypatch.delitem(sys.modules, "only_here")
    with pytest.raises(MissingProgramError, match="No module named 'only_here'"):
        unpack(run_packed(call))


def test_sys_exit_is_an_error_of_the_job():
    with pytest.raises(RuntimeError, match=r"called sys.exit\(3\)"):
        there_and_back(sys.exit, 3)


class TwoArgumentsError(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def test_an_exception_that_pickle_cannot_make_again_keeps_its_message():
    def fails():
        raise TwoArgumentsError("this", "that")

    # Itself where distributed is loaded, which teaches pickle more about exceptions.
    with pytest.raises((RuntimeError, TwoArgumentsError), match="this and that") as caught:
        there_and_back(fails)
    assert "in fails" in str(caught.value.__cause__)


def test_what_cannot_be_sent_back():
    with pytest.raises(RuntimeError, match="result cannot be sent back from the worker"):
        there_and_back(threading.Lock)

    def odd():
        error = ValueError("odd")
        error.lock = threading.Lock()
        raise error

    with pytest.raises(RuntimeError, match="exception ValueError"):
        there_and_back(odd)
