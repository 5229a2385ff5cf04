"""Two flows of one campaign at once: nothing is computed twice."""

import os
import signal
import subprocess
import sys
import time

import pytest

from quacc.cache.claims import Claims
from quacc.settings import get_settings
from quacc.store import Store

_CAMPAIGN = """
import sys
from ase.build import bulk
from ase.calculators.emt import EMT
from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner
from quacc.prefect import fan_out
from quacc.recipes.emt.core import static_job
from tests.emt import eos_flow

energies = []
inner = EMT.calculate


def counted(self, *args, **kwargs):
    energies.append(1)
    return inner(self, *args, **kwargs)


EMT.calculate = counted

crystals = []
for index in range(int(sys.argv[2])):
    atoms = bulk(["Cu", "Ag"][index % 2], cubic=True) * (3, 3, 3)
    atoms.set_cell(atoms.cell * (1 + 0.0001 * index), scale_atoms=True)
    crystals.append(atoms)


@flow(task_runner=ThreadPoolTaskRunner(max_workers=1))
def campaign():
    job, kwargs = {
        "jobs": (static_job, {}),
        "workflows": (eos_flow, {"points": 5, "relax_job": None}),
    }[sys.argv[1]]
    work = fan_out(job, crystals, batch=2, **kwargs)
    for count, _ in enumerate(work, 1):
        print("ended", count, flush=True)
    print("energies", len(energies), flush=True)
    print("computed", work.counts.computed, "cached", work.counts.cached, flush=True)


campaign()
"""


@pytest.fixture
def start(tmp_path, server_for_all):
    """Return a function that starts a campaign in a process of its own."""
    started = []
    script = tmp_path / "campaign.py"
    script.write_text(_CAMPAIGN)
    settings = {"QUACC_RESULTS_DIR": str(get_settings().results_dir)}

    def begin(*args):
        command = [sys.executable, str(script), *map(str, args)]
        process = subprocess.Popen(
            command,
            env=os.environ | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def ended(process):
    out, _ = process.communicate(timeout=100)
    assert process.returncode == 0, out
    return out


def computed(process):
    out = ended(process)
    words = out.rpartition("\ncomputed ")[2].split()
    return int(words[0]), int(words[2])


def test_two_at_once_compute_each_once(start):
    flows = [start("jobs", 60) for _ in range(2)]
    (one, served), (other, served_too) = map(computed, flows)
    assert one + other == 60
    assert one + served == other + served_too == 60
    assert len(list(Store().select())) == 60


def test_two_at_once_compute_the_jobs_of_workflows_once(start):
    flows = [start("workflows", 12) for _ in range(2)]
    outputs = [ended(one) for one in flows]
    # Each workflow has five structures.
    assert sum(int(out.rpartition("\nenergies ")[2].split()[0]) for out in outputs) == 12 * 5
    assert len(list(Store().select(recipe="emt.static_job"))) == 12 * 5


def test_the_second_finishes_what_a_killed_one_has_begun(start):
    first = start("jobs", 60)
    assert any(line.startswith("ended") for line in first.stdout)
    second = start("jobs", 60)
    time.sleep(0.5)
    first.send_signal(signal.SIGKILL)
    one, served = computed(second)
    assert one + served == 60
    assert one > 0
    assert not list(Store().select())[60:]


def test_a_folder_of_claims_that_others_may_write_is_not_used(tmp_path):
    folder = tmp_path / "some.db.running"
    folder.mkdir()
    folder.chmod(0o777)
    assert Claims(tmp_path / "some.db").take(["a" * 64]) == set()
    assert list(folder.iterdir()) == []


def test_claims_of_the_living_of_failures_and_of_the_dead(tmp_path):
    mine, others = (Claims(tmp_path / "some.db") for _ in range(2))
    assert mine.take(["a" * 64, "b" * 64]) == set()
    assert others.take(["b" * 64, "c" * 64]) == {"b" * 64}
    assert mine.take(["c" * 64, "a" * 64]) == {"c" * 64}
    mine.leave("b" * 64)
    assert others.take(["b" * 64, "a" * 64]) == {"a" * 64}
    os.close(mine._descriptor)  # as the kernel does for a dead process
    assert others.take(["a" * 64]) == set()
    others.close()
    assert list(tmp_path.iterdir()) == []


def test_a_flow_that_is_stopped_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr("quacc.cache.claims._SILENT", 0.2)
    stopped, other = (Claims(tmp_path / "some.db") for _ in range(2))
    stopped.take(["a" * 64])
    assert other.take(["a" * 64]) == {"a" * 64}
    time.sleep(0.3)
    assert other.take(["a" * 64]) == set()


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path):
    (tmp_path / "some.db.running").write_text("")
    assert Claims(tmp_path / "some.db").take(["a" * 64]) == set()
