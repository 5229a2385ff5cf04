"""Campaigns written as classes, without Prefect and with its orchestrator."""

from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.context import get_settings_context
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_LOCAL_STORAGE_PATH,
    PREFECT_LOGGING_LEVEL,
    temporary_settings,
)

from quacc.campaigns.classes import Component, Pipeline, Runner, load, parts
from quacc.deploy.orchestrator import PrefectOrchestrator
from quacc.errors import InputError
from quacc.recipes.emt.core import relax_job

CLASSES = """
from pathlib import Path

from quacc.campaigns.classes import Component, Pipeline, Runner
from quacc.prefect.notify import notify
from quacc.recipes.emt.core import relax_job
from prefect.settings import PREFECT_LOGGING_LEVEL
from prefect.context import FlowRunContext, TaskRunContext


def note(what):
    context = TaskRunContext.get() or FlowRunContext.get()
    where = type(context).__name__ if context else "none"
    with Path("calls").open("a") as stream:
        stream.write(f"{what} {where} {PREFECT_LOGGING_LEVEL.value()}\\n")


class Relaxer(Component):
    def relax(self, name):
        note(f"relax {name}")
        return relax_job(name, **self.config)

    def fail(self):
        note("fail")
        raise ZeroDivisionError("as asked")

    def _hidden(self):
        return 1


class Bulk(Pipeline):
    def relaxed(self, names):
        note("relaxed")
        return [self.relaxer.relax(name) for name in names]


class Metals(Runner):
    def energies(self, names):
        note("energies")
        return [one["results"]["energy"] for one in self.bulk.relaxed(names)]

    def broken(self):
        self.bulk.relaxer.fail()

    async def later(self):
        note("later")
        return 1


class Gentle(Metals):
    def energies(self, names):
        note("gentle")
        return super().energies(names)
"""

CAMPAIGN = """
runner:
  class: metals.py:Metals
  pipeline:
    bulk:
      class: metals.py:Bulk
      component:
        relaxer:
          class: metals.py:Relaxer
          config: {relax_cell: true}
decorators:
  orchestrator: PrefectOrchestrator
orchestrator:
  config:
    prefect_settings: {PREFECT_LOGGING_LEVEL: ERROR}
"""


@pytest.fixture
def campaign():
    Path("metals.py").write_text(CLASSES)
    file = Path("campaign.yaml")
    file.write_text(CAMPAIGN)
    return file


def calls():
    lines = Path("calls").read_text().splitlines()
    Path("calls").unlink()
    return lines


def direct(*names):
    return [relax_job(name, relax_cell=True)["results"]["energy"] for name in names]


def test_without_prefect_it_is_python_alone(campaign):
    runner = load(campaign, decorated=False)
    assert [(name, type(one).__name__) for name, one in parts(runner)] == [
        ("", "Metals"),
        ("bulk", "Bulk"),
        ("bulk.relaxer", "Relaxer"),
    ]
    assert runner.energies(["Cu", "Al"]) == direct("Cu", "Al")
    assert [line.split()[-2] for line in calls()] == ["none"] * 4


def test_methods_are_flows_and_tasks(campaign, prefect_server):
    runner = load(campaign)
    before = PREFECT_LOGGING_LEVEL.value(), get_settings_context().profile.name
    assert before[0] != "ERROR"
    assert runner.energies(["Cu", "Al"]) == direct("Cu", "Al")
    assert calls() == [
        "energies EngineContext ERROR",
        "relaxed EngineContext ERROR",
        "relax Cu TaskRunContext ERROR",
        "relax Al TaskRunContext ERROR",
    ]
    assert (PREFECT_LOGGING_LEVEL.value(), get_settings_context().profile.name) == before
    with get_client(sync_client=True) as client:
        [flow] = [one for one in client.read_flows() if one.name == "Metals.energies"]
        [run] = [one for one in client.read_flow_runs() if one.flow_id == flow.id]
        assert run.state.is_completed()
        assert run.parameters == {"names": ["Cu", "Al"]}  # and no self
        inner = [one for one in client.read_flow_runs() if one.parent_task_run_id]
        assert {client.read_flow(one.flow_id).name for one in inner} == {"Bulk.relaxed"}
    # Known: no task is executed again; the configuration is part of what is asked.
    assert load(campaign).energies(["Cu", "Al"]) == direct("Cu", "Al")
    assert [line.split()[0] for line in calls()] == ["energies", "relaxed"]
    campaign.write_text(CAMPAIGN.replace("{relax_cell: true}", "{relax_cell: false}"))
    assert load(campaign).energies(["Cu"]) == [relax_job("Cu")["results"]["energy"]]
    assert [line.split()[0] for line in calls()] == ["energies", "relaxed", "relax"]
    Path("metals.py").write_text(CLASSES.replace("**self.config", "relax_cell=True"))
    assert load(campaign).energies(["Cu"]) == direct("Cu")
    assert [line.split()[0] for line in calls()] == ["energies", "relaxed", "relax"]


def test_nothing_is_taken_from_where_others_may_write(campaign, prefect_server, tmp_path):
    folder = tmp_path / "shared"
    folder.mkdir()
    with temporary_settings({PREFECT_LOCAL_STORAGE_PATH: folder}):
        load(campaign).energies(["Cu"])
        load(campaign).energies(["Cu"])
        assert [line.split()[0] for line in calls()].count("relax") == 1
        folder.chmod(0o777)
        load(campaign).energies(["Cu"])
        assert [line.split()[0] for line in calls()].count("relax") == 1


def test_a_method_that_fails_is_called_once(campaign, prefect_server):
    with pytest.raises(ZeroDivisionError, match="as asked"):
        load(campaign).broken()
    assert [line.split()[0] for line in calls()] == ["fail"]


def test_what_a_method_inherits_runs_inside_it(campaign, prefect_server):
    campaign.write_text(CAMPAIGN.replace("metals.py:Metals", "metals.py:Gentle"))
    assert load(campaign).energies(["Cu"]) == direct("Cu")
    assert [line.split()[0] for line in calls()][:3] == ["gentle", "energies", "relaxed"]


async def later(runner):
    return await runner.later()


def test_asynchronous_methods(campaign, prefect_server):
    import asyncio

    assert asyncio.run(later(load(campaign))) == 1
    assert calls() == ["later EngineContext ERROR"]


def test_a_server_of_its_own_where_there_is_none(campaign):
    with temporary_settings({PREFECT_API_URL: None}):
        assert load(campaign).energies(["Cu"]) == direct("Cu")
        assert PREFECT_API_URL.value() is None
    assert calls()[0] == "energies EngineContext ERROR"


def test_what_is_not_named_stays_as_it_is(campaign):
    text = CAMPAIGN + "    integration_types: [pipeline]\n    prefect_flow_integration: []\n"
    campaign.write_text(text)
    assert load(campaign).energies(["Cu"]) == direct("Cu")
    assert [line.split()[-2] for line in calls()] == ["none"] * 3


class Plain(Runner):
    pass


def test_a_class_is_called_with_the_file(campaign):
    runner = Plain(campaign, decorated=False)
    assert isinstance(runner.bulk, Pipeline)
    assert isinstance(runner.bulk.relaxer, Component)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("runner:", "runer:", r"yaml:2: runer: unknown key 'runer'. Did you mean 'runner'\?"),
        ("metals.py:Metals", "metals.py:Metal", r"yaml:3: .*no 'Metal' in metals.py.*'Metals'\?"),
        ("metals.py:Metals", "metal.py:Metals", r"yaml:3: .*metal.py.* cannot be read"),
        ("metals.py:Metals", "metals.py:Bulk", r"yaml:3: .*metals.py:Bulk is no Runner: let it"),
        ("metals.py:Metals", "Metals", r"yaml:3: .*take FILE.py:Class, or module.Class"),
        ("metals.py:Metals", "no.such.Metals", r"yaml:3: .*no.such.Metals cannot be imported"),
        ("component:", "components:", r"yaml:7: .*unknown key 'components'. .*'component'\?"),
        ("bulk:", "energies:", r"yaml:5: .*'energies' cannot be the name of an attribute"),
        ("{relax_cell: true}", "3", r"yaml:10: .*3 must be keys with values"),
        ("PREFECT_LOGGING_LEVEL", "PREFECT_LOGING_LEVEL", r"yaml:15: .*Did you mean 'PREFECT_LOG"),
        ("PREFECT_LOGGING_LEVEL", "PREFECT_API_KEY", r"yaml:15: .*PREFECT_API_KEY is a secret"),
        ("orchestrator: PrefectO", "orchestrator: prefectO", r"yaml:12: .*'prefectOrchestrator'"),
    ],
)
def test_what_is_wrong_in_the_file(campaign, old, new, told):
    campaign.write_text(CAMPAIGN.replace(old, new, 1))
    with pytest.raises(InputError, match=told) as caught:
        load(campaign)
    assert "Traceback" not in str(caught.value)
    assert not Path("calls").exists()


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"cache_task": True}, r"'cache_task'. Did you mean 'cache_tasks'\?"),
        ({"cache_tasks": "yes"}, "cache_tasks must be a boolean, not 'yes'"),
        ({"prefect_profile": "nowhere"}, "no profile 'nowhere': there are .*profile create"),
        ({"flow_kwargs": {"retires": 2}}, r"'retires'. Did you mean 'retries'\?"),
        ({"task-kwargs": {"tag": ["a"]}}, r"'tag'. Did you mean 'tags'\?"),
        ({"task-kwargs": {}, "task_kwargs": {}}, "are the same"),
        ({"integration_types": ["runners"]}, "Did you mean 'runner'"),
        ({"prefect_task_integration": ["runner"]}, "runner cannot be flows and tasks"),
        ({"decorator_method": "decorate"}, "there is no method 'decorate'"),
    ],
)
def test_what_is_wrong_in_the_configuration(config, told):
    with pytest.raises(InputError, match=told):
        PrefectOrchestrator(config)
