"""A calculation that was stopped goes on as if nothing had happened."""

import gzip
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms

from quacc.calculators.code import Code
from quacc.calculators.codes.emt import EMTCode
from quacc.calculators.keyword import Keyword
from quacc.calculators.program import Program as ExternalProgram
from quacc.errors import CalculationError, PreemptedError
from quacc.recipes.emt.core import md_job, relax_job, static_job
from quacc.runners import checkpoint
from quacc.runners.checkpoint import progress_of
from quacc.runners.deadline import carry_on, stop_soon
from quacc.runners.md import md
from quacc.runners.relax import OPTIMIZERS, relax
from quacc.runners.vibrations import freq
from quacc.settings import change_settings, get_settings
from quacc.store import codec


@pytest.fixture(autouse=True)
def go_on():
    yield
    carry_on()


class WatchedEMT(EMT):
    """Counts its calculations, and asks to stop at some of them."""

    stop_at = ()
    calls = 0
    pause = 0.0

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        type(self).calls += 1
        time.sleep(self.pause)
        if type(self).calls in self.stop_at:
            stop_soon("the test wants it")


class WatchedCode(EMTCode):
    def __init__(self, **plan):
        self.calculator = type("Planned", (WatchedEMT,), plan)

    def build(self, parameters, place):
        return self.calculator(**parameters)


def attempts(job, code):
    """Call a job until it ends; return its result, and how far each attempt came."""
    stops = []
    while True:
        try:
            return job(code), stops
        except PreemptedError as stop:
            assert (progress_of(stop.key) or 0) == stop.progress
            stops.append(stop.progress)
            carry_on()


def rattled(size=(2, 1, 1)):
    atoms = bulk("Cu", cubic=True) * size
    atoms.rattle(0.1, seed=7)
    atoms.info["origin"] = object()  # need not be kept
    return atoms


def checkpoints():
    folder = get_settings().results_dir / "checkpoints"
    return sorted(file.name for file in folder.iterdir()) if folder.exists() else []


def assert_close(one, other):
    """Compare results up to round-off."""
    assert one["key"] == other["key"]
    assert one["steps"] == other["steps"]
    assert one.get("converged") == other.get("converged")
    for name in one["history"]:
        np.testing.assert_allclose(one["history"][name], other["history"][name], rtol=0, atol=1e-9)
    for name in ("energy", "forces", "stress"):
        np.testing.assert_allclose(one["results"][name], other["results"][name], rtol=0, atol=1e-9)
    pairs = [(one["atoms"], other["atoms"])]
    if "trajectory" in one:
        assert len(one["trajectory"]) == len(other["trajectory"])
        pairs += zip(one["trajectory"], other["trajectory"], strict=True)
    for atoms, same in pairs:
        assert atoms.arrays.keys() == same.arrays.keys()
        for name in atoms.arrays:
            np.testing.assert_allclose(atoms.arrays[name], same.arrays[name], rtol=0, atol=1e-9)
        np.testing.assert_allclose(atoms.cell, same.cell, rtol=0, atol=1e-9)
        assert atoms.info.keys() == same.info.keys()
        assert atoms.info.get("energy") == pytest.approx(same.info.get("energy"), abs=1e-9)


@pytest.mark.parametrize("relax_cell", [False, True])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_relaxation(optimizer, relax_cell):
    def relaxed(code):
        return relax(
            code,
            rattled(),
            relax_cell=relax_cell,
            fmax=1e-5,
            steps=60,
            optimizer=optimizer,
            trajectory=True,
        ).compute()

    whole, stops = attempts(relaxed, WatchedCode())
    assert stops == []
    assert whole["provenance"]["attempts"] == 1
    resumed, stops = attempts(relaxed, WatchedCode(stop_at=(5, 8)))
    assert len(stops) == 2
    assert 0 < stops[0] < stops[1] < whole["steps"]
    assert_close(resumed, whole)
    assert resumed["provenance"]["attempts"] == 3
    assert checkpoints() == []


@pytest.mark.parametrize(
    ("relax_cell", "pressure"),
    [("constant_volume", 0), ("hydrostatic", 5), ("in_plane", -2), ([1, 0, 0, 0, 0, 1], 0)],
)
def test_relaxation_of_a_part_of_the_cell(relax_cell, pressure):
    def relaxed(code):
        options = {"relax_cell": relax_cell, "pressure": pressure, "fmax": 0.002, "steps": 60}
        return relax(code, rattled(), **options).compute()

    whole, _ = attempts(relaxed, WatchedCode())
    resumed, stops = attempts(relaxed, WatchedCode(stop_at=(5, 8)))
    assert len(stops) == 2
    assert_close(resumed, whole)


@pytest.mark.parametrize("relax_cell", [False, True])
def test_relaxation_with_a_preconditioner(relax_cell):
    def relaxed(code):
        return relax(
            code,
            rattled((3, 3, 3)),
            relax_cell=relax_cell,
            fmax=0.01,
            steps=30,
            optimizer="PreconLBFGS",
        ).compute()

    whole, _ = attempts(relaxed, WatchedCode())
    resumed, stops = attempts(relaxed, WatchedCode(stop_at=(6, 9)))
    assert len(stops) == 2
    assert_close(resumed, whole)


def test_steps_are_counted_over_all_attempts():
    def relaxed(code):
        return relax(
            code,
            rattled(),
            relax_cell=False,
            fmax=1e-9,
            steps=6,
            optimizer="FIRE",
        ).compute()

    result, stops = attempts(relaxed, WatchedCode(stop_at=(3, 6)))
    assert stops == [2, 4]  # every attempt begins with the forces where the last one stopped
    assert result["steps"] == 6
    assert "did not converge in 6 steps" in result["warnings"][0]


@pytest.mark.parametrize("dynamics", ["NVE", "Langevin", "Bussi", "NPT"])
def test_dynamics(dynamics):
    def simulate(code):
        return md(
            code,
            bulk("Cu", cubic=True) * 2,
            dynamics=dynamics,
            steps=40,
            timestep=4.0,
            temperature=600.0,
            pressure=5000.0,
            friction=0.02,
            thermostat_time=40.0,
            barostat_time=200.0,
            seed=3,
            sample_every=3,
            trajectory=True,
        ).compute()

    whole, _ = attempts(simulate, WatchedCode())
    resumed, stops = attempts(simulate, WatchedCode(stop_at=(12, 30)))
    assert len(stops) == 2
    assert_close(resumed, whole)
    assert len(whole["trajectory"]) == len(whole["history"]["time"]) == 14
    assert np.ptp(whole["history"]["temperature"]) > 10
    if dynamics == "NPT":
        assert np.ptp(whole["history"]["volume"]) > 1


def test_constraints_and_fixed_atoms():
    def simulate(code):
        atoms = bulk("Cu", cubic=True) * 2
        atoms.set_constraint(FixAtoms([0, 5]))
        return md(
            code,
            atoms,
            dynamics="Langevin",
            steps=20,
            timestep=4.0,
            temperature=600.0,
            pressure=0.0,
            friction=0.02,
            thermostat_time=40.0,
            barostat_time=200.0,
            seed=3,
            sample_every=1,
        ).compute()

    whole, _ = attempts(simulate, WatchedCode())
    resumed, stops = attempts(simulate, WatchedCode(stop_at=(7,)))
    assert len(stops) == 1
    assert_close(resumed, whole)


def test_vibrations_compute_no_displacement_twice():
    def vibrate(code):
        return freq(
            code,
            relaxed,
            displacement=0.01,
            thermo="harmonic",
            temperature=300.0,
            pressure=1.0,
            symmetry_number=None,
            spin=None,
        ).compute()

    relaxed = relax_job(bulk("Cu", cubic=True))["atoms"]
    code = WatchedCode()
    whole, _ = attempts(vibrate, code)
    assert code.calculator.calls == 2 * 3 * 4 + 1
    code = WatchedCode(stop_at=(5, 6, 24))
    resumed, stops = attempts(vibrate, code)
    assert stops == [5, 6, 24]
    assert code.calculator.calls == 2 * 3 * 4 + 1
    np.testing.assert_allclose(resumed["hessian"], whole["hessian"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(resumed["frequencies"], whole["frequencies"], rtol=0, atol=1e-9)


def test_costs_add_up():
    code = WatchedCode(stop_at=(3, 6), pause=0.05)
    started = time.time()
    result, _ = attempts(lambda code: _relax(code), code)
    costs = result["provenance"]
    assert costs["attempts"] == 3
    assert code.calculator.calls * 0.05 < costs["wall_seconds"] < time.time() - started
    assert 0 < costs["cpu_seconds"] < costs["wall_seconds"]


def _relax(code, **changes):
    options = {"relax_cell": False, "fmax": 0.002, "steps": 60, "optimizer": "FIRE"} | changes
    return relax(code, rattled(), **options).compute()


# When checkpoints are written


def test_a_short_calculation_writes_none():
    relax_job(rattled())
    assert not get_settings().results_dir.exists()


def test_the_clock(monkeypatch):
    monkeypatch.setattr(checkpoint, "_SHORT", 0.0)
    written = []
    write = checkpoint.Checkpoint._write
    monkeypatch.setattr(
        checkpoint.Checkpoint,
        "_write",
        lambda self, progress, state: (written.append(progress), write(self, progress, state)),
    )
    with change_settings(checkpoint_interval=0.2):
        result = _relax(WatchedCode(pause=0.05))
    assert 1 <= len(written) < result["steps"] * 0.6
    assert written == sorted(written)
    assert checkpoints() == []


def test_a_checkpoint_that_takes_long_is_written_less_often(monkeypatch):
    monkeypatch.setattr(checkpoint, "_SHORT", 0.0)
    written = []

    def slow(state):
        written.append(state)
        time.sleep(0.5)
        return to_binary(state)

    to_binary = codec.to_binary
    monkeypatch.setattr(codec, "to_binary", slow)
    with change_settings(checkpoint_interval=0.001):
        _relax(WatchedCode(pause=0.02))
    assert len(written) == 1


def test_the_walltime(monkeypatch):
    whole = _relax(WatchedCode())
    with monkeypatch.context() as environment:
        environment.setenv("_QUACC_JOB_END", str(time.time() + 20))
        for progress in (1, 2, 3):  # an attempt that has begun makes a step
            with pytest.raises(PreemptedError, match="its batch job ends at 20") as caught:
                _relax(WatchedCode())
            assert caught.value.progress == progress_of(whole["key"]) == progress


@pytest.fixture
def alarm():
    yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)


def test_a_signal(alarm, monkeypatch):
    """In the middle, by the count of calls: times differ much between two runs under load."""
    signal.signal(signal.SIGALRM, lambda *_: stop_soon("the node is needed"))
    options = {"steps": 60, "timestep": 4.0, "dynamics": "Langevin", "seed": 5}
    whole = md_job(bulk("Cu", cubic=True) * 2, **options)
    calls, inner = [], EMT.calculate

    def calculate(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == 20:
            os.kill(os.getpid(), signal.SIGALRM)
        return inner(self, *args, **kwargs)

    monkeypatch.setattr(EMT, "calculate", calculate)
    with pytest.raises(PreemptedError, match="emt.md_job of Cu32 was stopped after") as caught:
        md_job(bulk("Cu", cubic=True) * 2, **options)
    assert "the node is needed. The same call goes on from there" in str(caught.value)
    assert 0 < caught.value.progress < 60
    copy = pickle.loads(pickle.dumps(caught.value))
    assert str(copy) == str(caught.value)
    assert (copy.key, copy.progress) == (whole["key"], caught.value.progress)
    assert copy.reason == "the node is needed"
    with pytest.raises(PreemptedError) as caught:  # does not even start
        md_job(bulk("Cu", cubic=True) * 2, **options)
    assert caught.value.progress == copy.progress
    carry_on()
    assert_close(md_job(bulk("Cu", cubic=True) * 2, **options), whole)
    assert checkpoints() == []


def test_nothing_starts_in_a_process_that_is_to_stop():
    stop_soon("the node is needed")
    for job in (static_job, relax_job):
        with pytest.raises(PreemptedError, match="before its first step: the node is nee") as error:
            job("Cu")
        assert error.value.progress == 0
    assert not get_settings().results_dir.exists()


PROGRAM = """
import time
from ase.build import bulk
from ase.calculators.emt import EMT
from quacc.recipes.emt.core import md_job

def slow(*args, calculate=EMT.calculate, **kwargs):
    time.sleep({pause})
    calculate(*args, **kwargs)

EMT.calculate = slow
result = md_job(bulk("Cu", cubic=True) * 2, steps=100, dynamics="Langevin", timestep=4.0, seed=1)
print(result["atoms"].positions.tobytes().hex())
print(result["provenance"]["attempts"])
"""


def test_killed():
    crystal = bulk("Cu", cubic=True) * 2
    key = md_job.plan(crystal, steps=100, dynamics="Langevin", timestep=4.0, seed=1).key
    command = [sys.executable, "-c"]
    with change_settings(checkpoint_interval=0.1):
        doomed = subprocess.Popen([*command, PROGRAM.format(pause=0.08)])
    try:
        waited = count()
        while (progress_of(key) or 0) < 50:
            assert doomed.poll() is None
            assert next(waited) < 3000
            time.sleep(0.01)
    finally:
        doomed.kill()
        doomed.wait()
    assert 50 <= progress_of(key) < 100
    program = [*command, PROGRAM.format(pause=0)]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    positions, attempts = done.stdout.split()
    assert attempts == "2"
    assert checkpoints() == []
    whole = md_job(bulk("Cu", cubic=True) * 2, steps=100, dynamics="Langevin", timestep=4.0, seed=1)
    resumed = np.frombuffer(bytes.fromhex(positions)).reshape(-1, 3)
    np.testing.assert_allclose(resumed, whole["atoms"].positions, rtol=0, atol=1e-9)


def test_duplicates_are_harmless(monkeypatch):
    monkeypatch.setattr(checkpoint, "_SHORT", 0.0)
    results, errors = [], []

    def run():
        try:
            results.append(_relax(WatchedCode(pause=0.005)))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    with change_settings(checkpoint_interval=0.0001):
        monkeypatch.setattr(checkpoint, "_SHARE", 0)  # at every step
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert errors == []
    whole = _relax(WatchedCode())
    assert len(results) == 4
    for result in results:
        assert_close(result, whole)
    assert checkpoints() == []


# What can be wrong with one


def stopped(**changes):
    """Leave a checkpoint behind; return its file."""
    with pytest.raises(PreemptedError) as caught:
        _relax(WatchedCode(stop_at=(4,)), **changes)
    carry_on()
    return get_settings().results_dir / "checkpoints" / caught.value.key


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda content: content[:-10], "is damaged"),
        (lambda content: content[:20], "is damaged"),
        (lambda content: b"", "is damaged"),
        (lambda content: content[:400] + b"XX" + content[402:], "is damaged"),
        (
            lambda content: content.replace(b'"format": [3', b'"format": [0', 1),
            "was written with another version of quacc or ASE",
        ),
    ],
)
def test_what_cannot_be_read_is_set_aside(change, told):
    file = stopped()
    file.write_bytes(change(file.read_bytes()))
    code = WatchedCode()
    result = _relax(code)
    [warning] = result["warnings"]
    assert f"started anew, because its checkpoint {told}" in warning
    assert f"{file}-unreadable" in warning
    assert code.calculator.calls == result["steps"] + 1
    assert result["provenance"]["attempts"] == 1
    assert checkpoints() == [f"{file.name}-unreadable"]


def test_warnings_are_kept_over_attempts():
    file = stopped()
    file.write_bytes(b"")
    assert stopped() == file
    assert "started anew" in _relax(WatchedCode())["warnings"][0]


def test_a_failed_calculation_keeps_it():
    file = stopped()

    class Broken(WatchedEMT):
        def calculate(self, *args, **kwargs):
            raise RuntimeError("no convergence")

    code = WatchedCode()
    code.calculator = Broken
    with pytest.raises(CalculationError, match="no convergence"):
        _relax(code)
    assert progress_of(file.name) == 3
    assert _relax(WatchedCode())["provenance"]["attempts"] == 2


def test_a_disk_that_cannot_be_written(monkeypatch):
    monkeypatch.setattr(checkpoint, "_SHORT", 0.0)
    whole = _relax(WatchedCode())
    get_settings().results_dir.mkdir()
    (get_settings().results_dir / "checkpoints").write_text("no folder")
    with change_settings(checkpoint_interval=0.0001):
        result = _relax(WatchedCode())
    assert len(result["warnings"]) == 2
    assert "its checkpoint could not be written: File exists" in result["warnings"][1]
    assert_close(result, whole)
    with pytest.raises(PreemptedError, match="the test wants it; its checkpoint could not be wr"):
        _relax(WatchedCode(stop_at=(4,)))


@pytest.mark.parametrize(
    ("variable", "file"),
    [
        (None, None),
        (None, "results_dir: ~/elsewhere\n"),
        ("~/here", "results_dir: ~/elsewhere\n"),
        ("$HOME/$PLACE", None),
        ("", None),
    ],
)
def test_where_they_are_without_loading_the_settings(monkeypatch, tmp_path, variable, file):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PLACE", "there")
    monkeypatch.delenv("QUACC_RESULTS_DIR")
    if variable is not None:
        monkeypatch.setenv("QUACC_RESULTS_DIR", variable)
    if file:
        (tmp_path / ".quacc.yaml").write_text(file)
    expected = get_settings().results_dir
    assert expected.parent == tmp_path
    monkeypatch.delitem(sys.modules, "quacc.settings")
    assert checkpoint._results_dir() == expected


# Codes that write files


class Program(EMT):
    """EMT beside an external program that counts its runs in a file of its own."""

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        script = "echo run >> density; mkdir -p save/deep; cp density save/deep/copy; : > scratch"
        subprocess.run(["sh", "-c", script], cwd=self.parameters["folder"], check=True)


class ProgramCode(Code):
    name = "program"
    title = "a program that writes files"
    install = "it is there"
    keywords = {"folder": Keyword(None, "where it writes")}
    program = ExternalProgram("program", "sh", "", restart=("density", "sa*", "none"))

    def __init__(self, calculator=Program):
        self.calculator = calculator

    def version(self):
        return "1"

    def build(self, parameters, place):
        return self.calculator(folder=place.folder)


class StoppingProgram(Program):
    runs = 0

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        type(self).runs += 1
        if self.runs in (4, 7):
            stop_soon("the test wants it")


def test_restart_files_come_along():
    whole = _relax(ProgramCode())
    results, scratch = get_settings().results_dir, get_settings().scratch
    with pytest.raises(PreemptedError) as caught:
        _relax(ProgramCode(StoppingProgram))
    assert list(scratch.iterdir()) == []
    assert sorted(file.name for file in results.iterdir()) == [
        Path(whole["directory"]).name,
        "checkpoints",
    ]
    name, kept = sorted(checkpoints(), key=len)
    assert name == caught.value.key
    folder = results / "checkpoints" / kept
    assert sorted(file.name for file in folder.iterdir()) == ["density", "save"]
    carry_on()
    with pytest.raises(PreemptedError):
        _relax(ProgramCode(StoppingProgram))
    assert len(checkpoints()) == 2
    assert not folder.exists()  # that of the first checkpoint
    carry_on()
    resumed = _relax(ProgramCode())
    assert_close(resumed, whole)
    with gzip.open(Path(resumed["directory"]) / "density.gz", "rt") as runs:
        # One run more in each attempt after the first.
        assert len(runs.readlines()) == whole["steps"] + 1 + 2
    assert os.listdir(Path(resumed["directory"]) / "save" / "deep") == ["copy.gz"]
    assert checkpoints() == []


def test_lost_restart_files_are_told():
    with pytest.raises(PreemptedError):
        _relax(ProgramCode(type("Stopping", (StoppingProgram,), {"runs": 0})))
    carry_on()
    folder = get_settings().results_dir / "checkpoints" / max(checkpoints(), key=len)
    folder.rename(get_settings().results_dir / "moved")
    result = _relax(ProgramCode())
    assert "started without its restart files" in result["warnings"][0]
    assert result["converged"]


# The key of a job, before it runs


def test_a_plan_knows_the_key_and_computes_nothing(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(EMT, "calculate", None)
        plan = relax_job.plan(rattled())
        assert plan.check() is plan
    assert plan.key == relax_job(rattled())["key"] == plan.compute()["key"]
    assert progress_of("no such key") is None
