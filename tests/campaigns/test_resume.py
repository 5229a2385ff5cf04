"""A campaign of hundreds of calculations that is killed, interrupted, or tracked by Prefect."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from ase.build import bulk
from ase.io import write

from quacc.campaigns.check import load
from quacc.campaigns.run import run
from quacc.store import Store
from tests.processes import below

QUACC = shutil.which("quacc", path=str(Path(sys.executable).parent))
METALS = ["Cu", "Ag", "Al", "Au", "Ni", "Pd", "Pt"]

BIG = """\
calculator: emt

steps:
  relax:
    run: relax
    foreach: metals.xyz
    with: {fmax: 0.02}
  crystals:
    run: relax
    foreach: [Cu, Al]
    needs: relax
    with: {relax_cell: true}
  surfaces:
    run: bulk_to_slabs
    foreach: ${crystals}
    with: {min_thickness: 4, min_vacuum: 6}
  best:
    run: leaderboard
    needs: surfaces
    with: {models: [emt, lj], tasks: [eos_bulk], elements: [Cu]}
"""

# For every Python that is started: each force call leaves a character in a file.
COUNTING = """\
import os
from ase.calculators.emt import EMT

calculate = EMT.calculate
def counted(self, *args, **kwargs):
    with open(os.environ["CALLS"], "a") as calls:
        calls.write("x")
    calculate(self, *args, **kwargs)
EMT.calculate = counted
"""


def metals(count):
    made = []
    for number in range(count):
        atoms = bulk(METALS[number % 7], cubic=True)
        atoms.set_cell(atoms.cell * (1 + 0.0005 * number / 7), scale_atoms=True)
        atoms.rattle(0.05, seed=number)
        made.append(atoms)
    write("metals.xyz", made, format="extxyz")


def rows(recipe=None):
    return {row.key: row.created for row in Store().select(recipe=recipe)}


def gone(processes):
    deadline = time.monotonic() + 60
    while any(one.is_running() and one.status() != "zombie" for one in processes):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def counts_in(printed):
    """Return the last table's numbers, by step: items, done, known before, failed, skipped."""
    found = {}
    for line in printed.splitlines():
        words = line.split()
        if len(words) >= 7 and all(word.isdecimal() for word in words[-5:]):
            found[words[0]] = [int(word) for word in words[-5:]]
    return found


def test_killed_at_a_third_and_started_again_computes_nothing_twice(tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(COUNTING)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    metals(200)
    Path("campaign.yml").write_text(BIG)
    command = [QUACC, "campaign", "run", "campaign.yml"]
    first = subprocess.Popen(command, stdout=subprocess.PIPE)
    while len(rows()) < 67:
        assert first.poll() is None
        time.sleep(0.05)
    workers = below(first.pid)
    first.kill()
    first.wait(30)
    gone(workers)
    kept = rows()
    assert 67 <= len(kept) < 200
    second = subprocess.run(command, capture_output=True, text=True, check=False)
    assert second.returncode == 0, second.stderr
    counts = counts_in(second.stdout)
    # Those that were computed in the moment of the end may be in the journal, and so known, too.
    assert counts["relax"][:2] == [200, 200]
    assert len(kept) <= counts["relax"][2] < 200
    assert counts["surfaces"] == [2, 2, 0, 0, 0]
    assert counts["best"] == [1, 1, 0, 0, 0]
    now = rows()
    assert {key: now[key] for key in kept} == kept
    assert len(rows("emt.relax_job")) >= 202
    # Force calls, in both runs together, are those of the results, but for what was under way.
    jobs = [Store().get(key) for key in now]
    wanted = sum(one.get("force_calls", 1) for one in jobs if "calculator" in one)
    called = (tmp_path / "calls").stat().st_size
    print(f"kept {len(kept)}, known {counts['relax'][2]}, called {called} of {wanted}")
    assert wanted <= called <= wanted * 1.1


def test_ctrl_c_tells_how_to_go_on():
    metals(200)
    Path("my campaign.yml").write_text(BIG)
    command = [QUACC, "campaign", "run", "my campaign.yml"]
    first = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while len(rows()) < 20:
        assert first.poll() is None
        time.sleep(0.05)
    first.send_signal(signal.SIGINT)
    told = first.communicate(timeout=60)[1]
    assert first.returncode == 130
    assert "of 205 items have ended, and are kept. To go on, run it again:" in told
    again = shlex.split(told.splitlines()[-1])
    assert again == ["quacc", *command[1:]]
    assert "Traceback" not in told


def test_with_prefect_the_numbers_are_the_same(prefect_server, monkeypatch):
    from quacc.campaigns.tracked import run_tracked

    text = BIG.replace("[Cu, Al]", "[Cu]")
    metals(10)
    Path("campaign.yml").write_text(text)
    checked = load(Path("campaign.yml"))
    tracked = run_tracked(checked)
    monkeypatch.setenv("QUACC_RESULTS_DIR", os.environ["QUACC_RESULTS_DIR"] + "-local")
    local = run(checked)
    assert tracked.rows() == local.rows()
    assert [row["items"] for row in tracked.rows()] == [10, 1, 1, 1]
    assert not tracked.failed
    for step in checked.campaign.steps:
        for one, other in zip(tracked.items(step), local.items(step), strict=True):
            assert one.key == other.key
            assert one.summary == other.summary
    again = run(checked)
    assert [row["known before"] for row in again.rows()] == [10, 1, 1, 1]
