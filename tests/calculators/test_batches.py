"""Calculations side by side, whose structures one model computes at once: with EMT."""

import threading
import time
from functools import partial

import numpy as np
import pytest
from ase.build import bulk, molecule

from quacc.calculators.batches import AT_ONCE, Batches
from quacc.calculators.codes.emt import EMTCode
from quacc.cluster.transport import pack_arguments, pack_calls, run_calls, unpack
from quacc.errors import CalculationError, NotFiniteError, ParameterError, PreemptedError
from quacc.recipes.emt import core
from quacc.runners import deadline
from quacc.runners.job import at_once, job
from quacc.runners.md import md
from quacc.runners.relax import relax
from quacc.runners.static import static
from quacc.settings import change_settings, get_settings
from tests.at_once import together, values

batches = []
"""How many structures each call of the model had."""
before_each = []
"""Called before each of them."""


class AtOnceCode(EMTCode):
    name = "emt"  # so that keys and results are EMT's
    reuse = True
    options = {"at_once": AT_ONCE}
    most = 100

    def evaluate(self, calculator, structures, properties):
        batches.append(len(structures))
        for one in before_each:
            one()
        if len(structures) > self.most:
            raise MemoryError("too large")
        found = []
        for atoms in structures:
            if atoms.info.get("broken") or 13 in atoms.numbers:
                raise RuntimeError("aluminium is broken here")
            calculator.reset()
            calculator.calculate(atoms, properties)
            found.append(dict(calculator.results))
            if 47 in atoms.numbers:
                found[-1]["energy"] = np.nan
        return found


CODE = AtOnceCode()
static_job, relax_job = job(CODE, static), job(CODE, relax)
md_job = job(CODE, md)


@pytest.fixture(autouse=True)
def _none_computed():
    batches.clear()
    before_each.clear()
    yield
    deadline.carry_on()


def crystals(count=6):
    found = []
    for number in range(count):
        atoms = bulk(("Cu", "Au", "Ni")[number % 3], cubic=True) * (1 + number % 2, 1, 1)
        atoms.rattle(0.02 + 0.012 * number, seed=number)
        found.append(atoms)
    return found


def same(mine, plain):
    """Compare two results; a kept list of neighbours has another order, and last digits."""
    np.testing.assert_allclose(mine["atoms"].positions, plain["atoms"].positions, atol=1e-10)
    for name in ("energy", "forces", "stress"):
        np.testing.assert_allclose(mine["results"][name], plain["results"][name], atol=1e-9)


def test_each_relaxation_takes_its_own_steps():
    items = crystals(9)
    found = values(together(relax_job, items, 4))
    expected = [core.relax_job(item) for item in items]
    steps = [one["steps"] for one in expected]
    assert len(set(steps)) > 3
    assert [one["steps"] for one in found] == steps
    for mine, plain in zip(found, expected, strict=True):
        assert mine["key"] == plain["key"]
        assert mine["converged"]
        assert mine["force_calls"] == plain["force_calls"]
        same(mine, plain)
    assert sum(batches) == sum(one["force_calls"] for one in expected)
    assert batches[0] == 4
    assert max(batches) == 4
    assert len(batches) < sum(batches) / 2


def test_whatever_the_job():
    items = crystals(3)
    kwargs = {"steps": 5, "temperature": 300, "seed": 1}
    found = values(together(md_job, items, 3, **kwargs))
    for mine, item in zip(found, items, strict=True):
        same(mine, core.md_job(item, **kwargs))
    assert set(batches) == {3}


def test_an_error_is_that_of_its_structure():
    items = crystals(5)
    items[1], items[3] = bulk("Al"), bulk("Ag")
    items.append("Cuu")
    outcomes = together(static_job, items, 3)
    assert sorted(outcomes) == list(range(6))
    for number in (0, 2, 4):
        energy = core.static_job(items[number])["results"]["energy"]
        assert unpack(outcomes[number].packed)["results"]["energy"] == energy
    with pytest.raises(CalculationError, match="static_job of Al.*aluminium is broken"):
        unpack(outcomes[1].packed)
    with pytest.raises(NotFiniteError, match="static_job of Ag.*energy of nan"):
        unpack(outcomes[3].packed)
    with pytest.raises(Exception, match="Cuu"):
        unpack(outcomes[5].packed)


def test_what_only_fails_together_is_told(monkeypatch):
    monkeypatch.setattr(AtOnceCode, "most", 2)
    found = values(together(relax_job, crystals(4), 4))
    expected = [core.relax_job(item) for item in crystals(4)]
    assert [one["steps"] for one in found] == [one["steps"] for one in expected]
    for one in found:
        (warning,) = [text for text in one["warnings"] if "at once" in text]
        assert "could not compute 4 structures at once (MemoryError: too large)" in warning
        assert "lower at_once" in warning


def test_what_was_stopped_goes_on():
    items = crystals(6)
    expected = [core.relax_job(item) for item in items]
    done = []

    def stop(outcome):
        done.append(outcome.number)
        deadline.stop_soon("its batch job is being ended")

    with pytest.raises(PreemptedError, match="being ended") as caught:
        together(relax_job, items, 3, report=stop)
    assert len(done) < 6
    first_left = min({*range(6)} - {*done})
    assert caught.value.progress > 0
    assert caught.value.key == expected[first_left]["key"]
    deadline.carry_on()
    left = sorted({*range(6)} - {*done})
    outcomes = together(relax_job, [items[number] for number in left], 3)
    attempts = [one["provenance"]["attempts"] for one in values(outcomes)]
    assert attempts[0] == 2
    for number, mine in zip(left, values(outcomes), strict=True):
        assert mine["steps"] == expected[number]["steps"]
        same(mine, expected[number])


def test_an_interrupt_ends_all():
    before = threading.active_count()

    def interrupt():
        if len(batches) == 3:
            raise KeyboardInterrupt

    before_each.append(interrupt)
    with pytest.raises(KeyboardInterrupt):
        together(relax_job, crystals(), 3)
    assert len(batches) == 3
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and thread.name.startswith("Thread-"):
            thread.join(10)
    assert threading.active_count() == before
    assert not deadline.stopping()
    before_each.clear()
    assert len(together(relax_job, crystals(), 3)) == 6


def test_settings_reach_them(tmp_path):
    def where(item):
        return get_settings().results_dir, threading.current_thread().name

    calls = [(number, pack_arguments((number,), {})) for number in range(4)]
    outcomes = []
    packed = pack_calls({"results_dir": str(tmp_path)}, where, calls, 2)
    with change_settings(results_dir=tmp_path / "other"):
        run_calls(packed, 1e9, outcomes.append)
    found = [unpack(one.packed) for one in outcomes]
    assert {folder for folder, _ in found} == {tmp_path}
    assert threading.current_thread().name not in {name for _, name in found}


def test_no_call_begins_after_the_budget():
    items = crystals(6)
    calls = [(number, pack_arguments((item,), {})) for number, item in enumerate(items)]
    outcomes = []
    run_calls(pack_calls({}, static_job, calls, 2), -1.0, outcomes.append)
    assert outcomes == []


def test_each_has_its_share_of_the_time():
    together(relax_job, crystals(8), 4)  # what is loaded at the first call
    start, cpu_start = time.perf_counter(), time.process_time()
    outcomes = together(relax_job, crystals(8), 4)
    took, cpu = time.perf_counter() - start, time.process_time() - cpu_start
    assert sum(one.seconds for one in outcomes.values()) < 2 * took  # each waits for three others
    shares = sum(one["provenance"]["cpu_seconds"] for one in values(outcomes))
    assert 0.3 * cpu < shares < 1.1 * cpu


def test_models_of_different_parameters_do_not_mix():
    items = crystals(4)
    jobs = [static_job, partial(static_job, asap_cutoff=True)]

    def either(item):
        return jobs[item[0]](item[1])

    numbered = [(number % 2, item) for number, item in enumerate(items)]
    found = values(together(either, numbered, 4))
    for (kind, item), mine in zip(numbered, found, strict=True):
        plain = core.static_job(item, asap_cutoff=bool(kind))
        assert mine["results"]["energy"] == plain["results"]["energy"]
        assert mine["key"] == plain["key"]
    assert batches == [2, 2]


def test_a_single_calculation_asks_nobody():
    result = static_job(bulk("Cu"), at_once=8)
    assert result["provenance"]["options"] == {"at_once": 8}
    assert result["key"] == core.static_job("Cu")["key"]
    assert batches == []


def test_how_many():
    assert at_once(static_job, {}) == 1
    assert at_once(static_job, {"at_once": 8}) == 8
    assert at_once(partial(static_job, at_once=8), {}) == 8
    assert at_once(partial(static_job, at_once=8), {"at_once": 2}) == 2
    assert at_once(core.static_job, {}) == 1
    assert at_once(molecule, {"at_once": 3}) == 1
    for wrong in (0, -1, 1.5, True, "8"):
        with pytest.raises(ParameterError, match="at_once must be a whole number"):
            static_job("Cu", at_once=wrong)


def test_what_ends_the_process_is_raised_where_all_began():
    class Signal(BaseException):
        pass

    def fails():
        raise Signal

    with pytest.raises(Signal):
        Batches().run([fails, lambda: 1], 2, lambda value, seconds: None)
