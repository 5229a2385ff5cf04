"""Campaigns written as classes, without Prefect and with its orchestrator."""

import importlib.util
import os
import py_compile
import sys
from pathlib import Path

import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
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

    with temporary_settings({PREFECT_LOCAL_STORAGE_PATH: tmp_path / "own"}):
        load(campaign).energies(["Cu"])
        assert oct((tmp_path / "own").stat().st_mode)[-3:] == "700"
        for file in (tmp_path / "own").iterdir():
            os.chown(file, 12345, -1)  # somebody else has written it
        load(campaign).energies(["Cu"])
        assert [line.split()[0] for line in calls()].count("relax") == 2


KNOWN = """
from pathlib import Path

from ase.calculators.emt import EMT
from quacc.campaigns.classes import Component, Pipeline, Runner


class Worker(Component):
    power = 2

    def made(self, atoms):
        return {"atoms": atoms, "energies": [1.0, 1.0], "name": "made"}

    def energy(self, atoms):
        return atoms.get_potential_energy()

    def raised(self, number):
        return number**self.power

    def used(self, made, keys):
        Path("used").write_text(Path("used").read_text() + "x")
        return made["energies"][0]

    def mapped(self, number):
        return self.function(number)


class Steps(Pipeline):
    def call(self, name, *arguments):
        return getattr(self.worker, name)(*arguments)

    def chain(self, atoms):
        return self.worker.used(self.worker.made(atoms), {1: "made"})


class Start(Runner):
    pass
"""


@pytest.fixture
def steps(prefect_server):
    """Return the pipeline of a campaign whose tasks are cached, made anew at each call."""

    def make(cls="work.py:Worker"):
        Path("work.py").write_text(KNOWN)
        Path("work.yaml").write_text(
            "runner: {class: work.py:Start, pipeline: {steps: {class: work.py:Steps, component: "
            f"{{worker: '{cls}'}}}}}}}}\ndecorators: {{orchestrator: PrefectOrchestrator}}\n"
        )
        return load("work.yaml").steps

    Path("used").write_text("")
    return make


def test_a_task_knows_its_arguments_in_full(steps):
    first, second = bulk("Cu"), bulk("Cu")
    first.calc = EMT()
    second.calc = LennardJones(epsilon=0.4, sigma=2.3, rc=8.0)
    energies = [steps().call("energy", one) for one in (first, second)]
    assert energies == [first.get_potential_energy(), second.get_potential_energy()]
    assert energies[0] != energies[1]


def test_a_task_knows_its_object(steps):
    found = []
    for function in (lambda x: x + 1, lambda x: x + 2):
        pipeline = steps()
        pipeline.worker.function = function
        found.append(pipeline.call("mapped", 1))
    assert found == [2, 3]
    pipeline = steps()
    assert pipeline.call("raised", 3) == 9
    pipeline.worker.power = 3
    assert pipeline.call("raised", 3) == 27


def test_what_is_read_is_what_was_computed(steps):
    assert [steps().chain(bulk("Cu")) for _ in range(3)] == [1.0] * 3
    assert Path("used").read_text() == "x"
    assert steps().call("used", {"energies": [1.0]}, {"1": "made"}) == 1.0
    assert steps().call("used", {"energies": [1.0]}, {1: "made"}) == 1.0
    assert Path("used").read_text() == "xxx"


def test_of_a_file_that_changed_since_it_was_imported_nothing_is_known(steps, monkeypatch):
    file = Path("imported_work.py")
    file.write_text(KNOWN)
    monkeypatch.syspath_prepend(str(Path.cwd()))
    for _ in range(2):
        steps("imported_work.Worker").chain(bulk("Ag"))
    assert Path("used").read_text() == "xx"
    os.utime(file, (0, 0))  # as if it had been there before this process
    for _ in range(2):
        steps("imported_work.Worker").chain(bulk("Ag"))
    assert Path("used").read_text() == "xxx"


def test_what_lies_beside_a_file_is_not_executed(campaign):
    load(campaign, decorated=False)
    planted = Path("planted.py")
    planted.write_text("raise SystemExit('a stranger')")
    cached = Path(importlib.util.cache_from_source("metals.py"))
    py_compile.compile(
        "planted.py",
        cfile=str(cached),
        dfile="metals.py",
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
    for name in [one for one in sys.modules if one.startswith("quacc_campaign_")]:
        del sys.modules[name]
    assert load(campaign, decorated=False).energies(["Cu"]) == direct("Cu")


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
        ("PrefectOrchestrator", "[PrefectOrchestrator]", r"yaml:12: .* take FILE.py:Class"),
        ("PREFECT_LOGGING_LEVEL: ERROR", "PREFECT_API_REQUEST_TIMEOUT: a", r"yaml:15: .*refuses"),
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
        ({"flow_kwargs": {"timeout_seconds": "long"}}, "Prefect refuses flow_kwargs: .*'long'"),
        ({"prefect_settings": {"PREFECT_API_URL": "http://a:b@host/api"}}, "is a secret"),
        ({"prefect_settings": {"PREFECT_CLIENT_CUSTOM_HEADERS": {}}}, "is a secret"),
    ],
)
def test_what_is_wrong_in_the_configuration(config, told):
    with pytest.raises(InputError, match=told):
        PrefectOrchestrator(config)
