"""Calculators that live in a Python of their own."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator
from prefect import flow
from typer.testing import CliRunner

import quacc
from quacc.calculators import frames, isolated
from quacc.calculators.code import NO_ELECTRONS, Code
from quacc.calculators.serve import _answer, _OnlyQuacc
from quacc.cli.main import app
from quacc.errors import CalculationError, MissingProgramError, SettingsError
from quacc.prefect import fan_out, make_runner
from quacc.recipes.emt.core import relax_job, static_job
from quacc.recipes.espresso.core import static_job as espresso_job
from quacc.recipes.tblite.core import static_job as tblite_job
from quacc.settings import change_settings, environment_of, settings_file
from tests.processes import below, end_when_asked, look_at, stop

PACKAGES = {"ase", "numpy", "scipy", "tblite", "cffi", "_cffi_backend"}


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """Return a Python with ASE and tblite, and without quacc."""
    folder = tmp_path_factory.mktemp("another")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (there,) = folder.glob("lib/python*/site-packages")
    for one in Path(np.__file__).parents[1].iterdir():
        if one.name.split("-")[0].split(".")[0] in PACKAGES:
            (there / one.name).symlink_to(one)
    (there / "sitecustomize.py").write_text("print('a library that prints')\n")
    return str(folder / "bin" / "python")


@pytest.fixture
def elsewhere(python):
    """EMT and tblite live there."""
    with change_settings(environments={"emt": python, "tblite": python}):
        yield python


def copper():
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.05, seed=1)
    return atoms


def process(name, python):
    return isolated.process_of(python, name)._process


def test_the_numbers_and_keys_are_the_same(python):
    here = [static_job(copper()), relax_job(copper())]
    with change_settings(environments={"emt": python}):
        there = [static_job(copper()), relax_job(copper())]
    for one, other in zip(here, there, strict=True):
        assert one["key"] == other["key"]
        assert one["calculator"] == other["calculator"]
        assert other["provenance"]["environment"] == python
        assert "environment" not in one["provenance"]
        assert one["results"].keys() == other["results"].keys()
        for name, value in one["results"].items():
            np.testing.assert_allclose(other["results"][name], value, rtol=1e-10, atol=1e-12)


@pytest.mark.tblite
def test_a_package_that_is_only_there(elsewhere, monkeypatch):
    here = tblite_job("H2O")
    monkeypatch.setattr("importlib.util.find_spec", None)  # nobody looks for it here
    monkeypatch.setitem(sys.modules, "tblite", None)
    there = tblite_job("H2O")
    assert there["calculator"] == here["calculator"]
    np.testing.assert_array_equal(there["results"]["charges"], here["results"]["charges"])


class Looking(Calculator):
    implemented_properties = ["energy"]
    seen: list[Atoms] = []

    def calculate(self, atoms=None, properties=(), system_changes=()):
        self.seen.append(atoms.copy())
        self.results = {"energy": 1.0, "magmoms": np.arange(2), "name": "text"}


class LookingCode(Code):
    name, title, electrons, handles = "looking", "looking", False, NO_ELECTRONS
    install = citation = ""

    def build(self, parameters, place):
        return Looking()


def test_all_of_the_structure_arrives():
    atoms = Atoms("FeO", [[0, 0, 0], [0, 0, 1.6]], cell=[4, 5, 6], pbc=[True, False, True])
    atoms.set_initial_magnetic_moments([2, -1])
    atoms.set_initial_charges([0.5, -0.5])
    atoms.set_masses([57, 18])
    stream = io.BytesIO(frames.packed({"do": "calculate"}, isolated.described(atoms)))
    question, arrays = frames.read(stream)
    question |= {"options": {}, "properties": ["energy"]}
    message, results = _answer(LookingCode(), {}, question, arrays)
    assert message == {"results": {"energy": 1.0}, "reach": None}
    np.testing.assert_array_equal(results["magmoms"], [0, 1])
    (seen,) = Looking.seen
    assert seen == atoms
    for name in ("initial_magmoms", "initial_charges", "masses"):
        np.testing.assert_array_equal(seen.arrays[name], atoms.arrays[name])


def test_nothing_but_messages_is_read():
    with pytest.raises(ValueError, match="no message"):
        frames.read(io.BytesIO(b"Traceback (most recent call last)"))
    with pytest.raises(EOFError):
        frames.read(io.BytesIO(b""))
    with pytest.raises(ValueError, match="object"):
        text = b'{"arrays": {"object": ["|O", [1]]}}'
        frames.read(io.BytesIO(len(text).to_bytes(8, "little") + text + bytes(8)))


def test_of_this_python_s_packages_it_sees_quacc_alone():
    folder = str(Path(quacc.__file__).parent)
    assert _OnlyQuacc(folder).find_spec("quacc").origin == f"{folder}/__init__.py"
    assert _OnlyQuacc(folder).find_spec("prefect") is None


def test_a_crash_is_told_and_the_next_calculation_is_fine(elsewhere):
    energy = static_job(copper())["results"]["energy"]
    stop(process("emt", elsewhere))
    with change_settings(environments_timeout=0.2), pytest.raises(CalculationError) as caught:
        static_job(copper())
    assert "emt.static_job of Cu4" in str(caught.value)
    assert "no answer within 0.2 s" in str(caught.value)
    crashing = process("emt", elsewhere)
    calculation = static_job.plan(copper()).check()
    stop(crashing)
    pipe = isolated.process_of(elsewhere, "emt")._to
    with ThreadPoolExecutor(1) as pool:
        crash = pool.submit(end_when_asked, crashing, pipe, signal.SIGSEGV)
        with pytest.raises(CalculationError, match=r"(?s)Cu4.*SIGSEGV.*a library that prints"):
            calculation.compute()
        crash.result()
    assert static_job(copper())["results"]["energy"] == energy


def test_an_interrupted_question_leaves_no_answer_for_the_next(elsewhere):
    gold, copper_energy = bulk("Au"), static_job(copper())["results"]["energy"]
    expected = static_job(gold)["results"]["energy"]
    stop(process("emt", elsewhere))

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    pid = process("emt", elsewhere).pid
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(KeyboardInterrupt):
            static_job(gold)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not psutil.pid_exists(pid)
    assert static_job(copper())["results"]["energy"] == copper_energy
    assert static_job(gold)["results"]["energy"] == expected


def test_the_end_of_one_calculation_is_not_that_of_others(elsewhere):
    """Those of other threads, which wait for the same process."""
    first = static_job(copper())["results"]["energy"]
    calculations = [static_job.plan(copper()).check() for _ in range(3)]
    stop(process("emt", elsewhere))
    started = threading.Event()

    def compute(number):
        if number:
            started.wait()
            return calculations[number].compute()["results"]["energy"]
        calculations[0].code.timeout = 1.0
        started.set()
        with pytest.raises(CalculationError, match="no answer within 1 s"):
            calculations[0].compute()
        return None

    code, before = calculations[0].code, calculations[0].code.timeout
    try:
        with ThreadPoolExecutor(3) as pool:
            future = pool.submit(compute, 0)
            started.wait()
            time.sleep(0.2)
            code.timeout = before
            others = [pool.submit(compute, number) for number in (1, 2)]
            assert future.result() is None
            assert [one.result() for one in others] == [first, first]
    finally:
        code.timeout = before


def test_settings_that_make_no_sense(tmp_path, python):
    with (
        change_settings(environments={"espresso": python}),
        pytest.raises(SettingsError, match="commands.espresso"),
    ):
        espresso_job("Si")
    with (
        change_settings(environments={"emt": tmp_path / "python"}),
        pytest.raises(MissingProgramError, match="There is no Python"),
    ):
        static_job("Cu")
    with (
        change_settings(environments={"emt": Path(python).parents[1]}),
        pytest.raises(MissingProgramError, match="There is no Python"),
    ):
        static_job("Cu")
    text = tmp_path / "text"
    text.write_text("no program")
    text.chmod(0o755)
    with (
        change_settings(environments={"emt": text}),
        pytest.raises(MissingProgramError, match="could not be started"),
    ):
        static_job("Cu")
    empty = tmp_path / "empty"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", empty], check=True)
    with (
        change_settings(environments={"emt": empty / "bin" / "python"}),
        pytest.raises(MissingProgramError, match="No module named"),
    ):
        static_job("Cu")


def test_the_setting_is_found_wherever_it_is_set(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert environment_of("emt") is None
    settings_file().write_text("environments:\n  emt: /from/file\nenvironments_timeout: 5\n")
    assert environment_of("emt") == ("/from/file", 5.0)
    assert environment_of("lj") is None
    monkeypatch.setenv("QUACC_ENVIRONMENTS__EMT", "/from/variable")
    assert environment_of("emt") == ("/from/variable", 5.0)
    with change_settings(environments={"emt": "/from/here"}, environments_timeout=7):
        assert environment_of("emt") == ("/from/here", 7.0)
    monkeypatch.delenv("QUACC_ENVIRONMENTS__EMT")
    monkeypatch.setenv("quacc_environments__lj", "/from/small/letters")
    assert environment_of("lj") == ("/from/small/letters", 5.0)
    monkeypatch.delenv("quacc_environments__lj")
    settings_file().write_text("compress: false\n")
    assert environment_of("emt") is None


def test_it_ends_with_its_process(python):
    code = (
        "import os, signal\n"
        "from quacc.calculators.isolated import process_of\n"
        f"process = process_of({python!r}, 'emt')\n"
        "print(process.about['version'], process._process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    *_, pid = done.stdout.split()
    deadline = time.monotonic() + 30
    while psutil.pid_exists(int(pid)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.usefixtures("prefect_server")
def test_on_workers(elsewhere):
    """Each worker has one, which serves all that it computes."""

    @flow(task_runner=make_runner())
    def campaign():
        structures = [bulk("Cu", a=3.5 + 0.01 * number) for number in range(40)]
        results = fan_out(static_job, structures).results()
        lines = look_at(below(), lambda one: (one.ppid(), " ".join(one.cmdline())))
        return results, [parent for parent, line in lines.values() if "serve.py" in line]

    results, parents = campaign()
    assert len(results) == 40
    assert len(set(parents) - {os.getpid()}) >= 1
    of_workers = [parent for parent in parents if parent != os.getpid()]
    assert len(of_workers) == len(set(of_workers))


def test_the_command(tmp_path, monkeypatch, python):
    monkeypatch.setenv("HOME", str(tmp_path))
    run = CliRunner().invoke
    assert "All calculators live in this Python" in run(app, ["environments", "ls"]).output
    added = run(app, ["environments", "add", "emt", python])
    assert "emt there is ase" in added.output
    assert "Set environments.emt" in added.output
    assert run(app, ["environments", "check"]).exit_code == 0
    with pytest.raises(MissingProgramError, match="lj"):
        run(app, ["environments", "add", "lj", "/no/such/python"], catch_exceptions=False)
    settings_file().write_text(f"environments: {{emt: {python}, lj: /no/such/python}}\n")
    listed = run(app, ["environments", "ls"])
    assert listed.exit_code == 0
    assert "There is no Python" in " ".join(listed.output.split())
    assert run(app, ["environments", "check"]).exit_code == 1
