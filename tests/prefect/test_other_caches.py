"""What Prefect keeps of its own decides nothing: quacc's key alone does."""

import sys

import cloudpickle
import pytest
from prefect import flow, task
from prefect.cache_policies import DEFAULT, INPUTS, NO_CACHE, TASK_SOURCE
from prefect.settings import PREFECT_RESULTS_PERSIST_BY_DEFAULT, temporary_settings
from prefect.task_runners import ThreadPoolTaskRunner

from quacc.errors import ParameterError
from quacc.prefect import as_task, fan_out, make_runner
from quacc.recipes.emt.core import relax_job, static_job
from quacc.recipes.emt.prefect.slabs import bulk_to_slabs_flow
from quacc.store import Store

pytestmark = pytest.mark.usefixtures("prefect_server")

SLABS = {"max_index": 1, "min_thickness": 4.0, "relax_kwargs": {"fmax": 1.0}}


@pytest.fixture(autouse=True)
def _persisted():
    """A setting that many people have."""
    with temporary_settings({PREFECT_RESULTS_PERSIST_BY_DEFAULT: True}):
        yield


@pytest.fixture(autouse=True, scope="module")
def _by_value():
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def run(body, runner, **options):
    @flow(task_runner=runner, **options)
    def campaign():
        return body()

    return campaign()


def made(result):
    return result["name"], result["provenance"]["started"]


RUNNERS = {"threads": lambda: ThreadPoolTaskRunner(max_workers=1), "workers": make_runner}


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("own", [None, make_runner])
def test_a_retried_flow_gets_each_subflow_s_own_result(runner, own):
    """Prefect tells subflows apart by their order, which differs where some are done already."""
    slabs = (
        bulk_to_slabs_flow if own is None else bulk_to_slabs_flow.with_options(task_runner=own())
    )
    surfaces, attempts = {}, []

    def body():
        attempts.append(1)
        for metal in ["Cu", "Al"]:
            if metal in surfaces:
                continue
            surfaces[metal] = slabs(metal, **SLABS)
            if len(attempts) == 1:
                raise OSError("a passing trouble")
        return {metal: result["formula"] for metal, result in surfaces.items()}

    assert run(body, RUNNERS[runner](), retries=1) == {"Cu": "Cu", "Al": "Al"}
    assert len(attempts) == 2


@pytest.mark.parametrize("wrap", [task, as_task])
@pytest.mark.parametrize(
    "policy",
    [INPUTS, DEFAULT, INPUTS + TASK_SOURCE, None],
    ids=["INPUTS", "DEFAULT", "SUM", "none"],
)
def test_tasks_are_served_by_key_under_any_policy(wrap, policy):
    options = {} if policy is None else {"cache_policy": policy, "persist_result": True}
    static, relax = wrap(static_job, **options), wrap(relax_job, **options)

    def body():
        first = [one.submit("Cu").result() for one in (static, relax)]
        again = [one.submit("Cu").result() for one in (static, relax)]
        Store().remove([one["key"] for one in first])  # as if a version had been raised
        anew = [one.submit("Cu").result() for one in (static, relax)]
        return [[made(one) for one in some] for some in (first, again, anew)]

    runner = make_runner() if wrap is task else ThreadPoolTaskRunner(max_workers=1)
    first, again, anew = run(body, runner)
    assert [name for name, _ in first] == ["emt.static_job", "emt.relax_job"]
    assert again == first
    assert not set(anew) & set(first)
    assert [name for name, _ in anew] == ["emt.static_job", "emt.relax_job"]


def test_a_retried_flow_gets_the_results_of_its_tasks_by_key():
    attempts = []

    def body():
        attempts.append(1)
        metals = ["Cu", "Al"] if len(attempts) == 1 else ["Al", "Cu"]
        found = {metal: as_task(static_job).submit(metal).result() for metal in metals}
        found |= dict(zip(["Ag", "Au"], fan_out(static_job, ["Ag", "Au"]).results(), strict=True))
        if len(attempts) == 1:
            raise OSError("a passing trouble")
        return {metal: result["formula"] for metal, result in found.items()}

    found = run(body, ThreadPoolTaskRunner(max_workers=1), retries=1)
    assert found == {metal: metal for metal in ("Cu", "Al", "Ag", "Au")}


def test_whoever_wants_no_cache_gets_none():
    def body():
        static = as_task(static_job, cache_policy=NO_CACHE)
        return [made(static.submit("Cu").result()) for _ in range(2)]

    first, second = run(body, ThreadPoolTaskRunner(max_workers=1))
    assert first != second


def test_a_function_that_makes_keys_is_refused():
    with pytest.raises(ParameterError, match="found by the key of its calculation"):
        as_task(static_job, cache_key_fn=lambda *_: "mine")
    with pytest.raises(ParameterError, match="found by the key of its calculation"):
        as_task(static_job).with_options(cache_key_fn=lambda *_: "mine")
