"""What travels to a worker and back."""

import asyncio
import sys
import threading
import types
from concurrent.futures import ThreadPoolExecutor

import cloudpickle
import pytest
from ase.build import bulk

from quacc.cluster.transport import pack, pack_arguments, run_packed, unpack, unpack_arguments
from quacc.errors import MissingProgramError, StructureError
from quacc.recipes.emt.core import static_job
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
    assert "in unchecked" in str(caught.value.__cause__)


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


class Panic(BaseException):
    """What pyo3 raises when Rust panics is such a class."""


class Worse(asyncio.CancelledError):
    pass


class SaysNothingError(Exception):
    def __str__(self):
        raise Panic("no text")


class Unreadable:
    def __init__(self, load):
        self.load = load

    def __reduce__(self):
        return self.load, ()


def panics():
    raise Panic("in the middle of pickling")


class PanicsInPickling:
    def __reduce__(self):
        panics()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (lambda: Panic("like a Rust panic"), "The job raised Panic: like a Rust panic"),
        (lambda: GeneratorExit("closed"), "The job raised GeneratorExit: closed"),
        (Worse, "The job raised Worse"),
        (lambda: BaseExceptionGroup("two", [Panic("one")]), "BaseExceptionGroup: two"),
        (SaysNothingError, "SaysNothingError: .its text cannot be made: Panic"),
        (lambda: ValueError(PanicsInPickling()), "cannot be sent back from the worker: Panic"),
        (lambda: SystemExit(SaysNothingError()), r"called sys.exit"),
    ],
)
def test_whatever_a_job_raises_comes_back_as_an_error(error, words):
    def fails():
        raise error()

    with pytest.raises(RuntimeError, match=words) as caught:
        there_and_back(fails)
    assert "in fails" in str(caught.value.__cause__)


def test_a_keyboard_interrupt_is_the_persons_in_the_main_thread_and_the_jobs_elsewhere():
    def fails():
        raise KeyboardInterrupt("from a job")

    with pytest.raises(KeyboardInterrupt):
        there_and_back(fails)
    with ThreadPoolExecutor() as threads:
        outcome = threads.submit(there_and_back, fails)
        with pytest.raises(RuntimeError, match="The job raised KeyboardInterrupt: from a job"):
            outcome.result()


@pytest.mark.parametrize("load", [panics, threading.Thread.join])
def test_a_result_that_the_flow_cannot_read(load):
    with pytest.raises(RuntimeError, match="result cannot be read in the flow's process"):
        there_and_back(Unreadable, load)


def test_a_result_whose_pickling_panics_or_has_no_end():
    with pytest.raises(RuntimeError, match="cannot be sent back from the worker: Panic"):
        there_and_back(PanicsInPickling)

    def deep():
        made = []
        for _ in range(100_000):
            made = [made]
        return made

    with pytest.raises(RuntimeError, match="cannot be sent back from the worker: Pickling"):
        there_and_back(deep)


LONG = "x" * 30_000_000


class LongTextError(Exception):
    def __str__(self):
        return LONG


def test_texts_of_thirty_megabytes_are_cut():
    def fails(error, cause=None):
        error.add_note(LONG)
        error.output = LONG.encode()
        raise error from cause

    group = ExceptionGroup(LONG, [ValueError(LONG), OSError(28, LONG, LONG)])
    for error in (ValueError(LONG), KeyError([LONG]), LongTextError(), group):
        call = pack({}, fails, (error, ValueError(LONG)), {})
        packed = run_packed(call)
        assert len(packed) < 200_000
        with pytest.raises(Exception, match="characters …|xxx …|bytes in the exception") as caught:
            unpack(packed)
        assert len(str(caught.value)) < 30_000
        assert len(str(caught.value.__cause__)) < 30_000


def test_what_a_job_raised_keeps_its_class_and_number_when_its_text_is_cut():
    def fails():
        raise OSError(28, "No space left" + LONG)

    with pytest.raises(OSError, match="No space left") as caught:
        there_and_back(fails)
    assert caught.value.errno == 28


class Thing:
    def double(self):
        return 2


def test_what_the_worker_cannot_import_is_sent_by_value(monkeypatch):
    """As from a module that is registered with cloudpickle, or from a function's own scope."""

    class Local(Thing):
        pass

    module = sys.modules[__name__]
    by_reference = pack_arguments((Thing(),), {})
    cloudpickle.register_pickle_by_value(module)
    try:
        packed = [pack_arguments((made(),), {}) for made in (Thing, Local)]
        packed.append(pack_arguments((lambda: Thing(),), {}))
    finally:
        cloudpickle.unregister_pickle_by_value(module)
    monkeypatch.setitem(sys.modules, __name__, None)
    with pytest.raises(MissingProgramError):
        unpack_arguments(by_reference)
    (thing,), (local,), (made,) = (unpack_arguments(one)[0] for one in packed)
    assert thing.double() == local.double() == made().double() == 2
