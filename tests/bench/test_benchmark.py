"""Benchmarks of one's own: what they are run with, and what their records say."""

import subprocess
import sys
import types

import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

import quacc
from quacc.bench.benchmark import benchmark, parametrize, product
from quacc.bench.session import collect, run
from quacc.errors import InputError, ParameterError

METRICS = """
from quacc.bench.benchmark import benchmark, parametrize, product


@product(metal=["Cu", "Ag"], strain=[0.0, 0.01], tags=("metric", "bulk"))
def energy(calculator, metal: str, strain: float):
    from ase.build import bulk
    atoms = bulk(metal)
    atoms.set_cell(atoms.cell * (1 + strain), scale_atoms=True)
    atoms.calc = calculator
    return atoms.get_potential_energy()


@benchmark(tags=("metric",))
def broken(calculator):
    raise RuntimeError(f"no {type(calculator).__name__}")


@benchmark(name="how often it was made", tags=("meta",))
def loads(counter, calculator):
    return len(counter)
"""
CONF = """
made = []


def counter():
    return made


def calculator(counter):
    from ase.calculators.emt import EMT
    counter.append(1)
    return EMT()
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "metrics.py").write_text(METRICS)
    (tmp_path / "conf.py").write_text(CONF)
    return tmp_path


def test_a_folder_of_benchmarks(folder):
    found = run(folder)
    assert [one["name"] for one in found] == [
        "energy_metal=Cu_strain=0.0",
        "energy_metal=Cu_strain=0.01",
        "energy_metal=Ag_strain=0.0",
        "energy_metal=Ag_strain=0.01",
        "broken",
        "how often it was made",
    ]
    atoms = bulk("Ag")
    atoms.set_cell(atoms.cell * 1.01, scale_atoms=True)
    atoms.calc = EMT()
    assert found[3]["value"] == pytest.approx(atoms.get_potential_energy(), abs=1e-12)
    assert found[3]["parameters"]["metal"] == "Ag"
    assert found[3]["tags"] == ["metric", "bulk"]
    assert found[3]["seconds"] > 0
    broken, loads = found[4:]
    assert (broken["value"], broken["error"]) == (None, "RuntimeError: no EMT")
    assert 'raise RuntimeError(f"no' in broken["traceback"]
    assert loads["value"] == 1  # for all six
    context = found[0]["context"]
    assert context["quacc"] == quacc.__version__
    assert context["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"cpu", "gpu", "git", "load", "folder_git"} <= context.keys()


def test_tags(folder):
    assert [one.benchmark.name for one in collect(folder, tags=("metric", "bulk"))] == ["energy"]
    [only] = run(folder, tags=["meta"])
    assert only["value"] == 1
    assert run(folder, tags=iter(["meta"]))[0]["value"] == 1
    with pytest.raises(ParameterError, match="several texts"):
        run(folder, tags="meta")
    with pytest.raises(InputError, match="Did you mean 'metric'"):
        collect(folder, tags=["metrics"])


def test_the_nearest_fixture_is_taken(folder):
    (folder / "inner" / "conf.py").write_text(
        "from ase.calculators.lj import LennardJones\n\n\ndef calculator():\n    return 'mine'\n"
    )
    found = run(collect(folder, tags=("metric",))[1:])
    assert found[0]["error"] == "RuntimeError: no str"
    # Of a single file, folders above the current one are left alone.
    with pytest.raises(ParameterError, match="'loads|'how often it was made' needs 'counter'"):
        run(folder / "inner" / "metrics.py")


def test_files_below_the_current_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert run("inner/metrics.py", tags=["meta"])[0]["value"] == 1


def test_parameters_may_be_given(folder):
    found = run(folder, parameters={"calculator": EMT()}, tags=["metric"])
    assert found[0]["value"] is not None
    [loads] = run(folder, parameters={"calculator": EMT(), "counter": [1, 2, 3]}, tags=["meta"])
    assert loads["value"] == 3  # none was made


def test_a_grid_runs_twice():
    @product(a=iter([1, 2]), b=(one for one in (10, 20)))
    def add(a: int, b: int) -> int:
        return a + b

    for _ in range(2):
        assert [one["value"] for one in run([add])] == [11, 21, 12, 22]
    assert add(1, 2) == 3


def test_setup_and_teardown():
    events = []

    def setup(a):
        events.append(f"setup {a}")

    @parametrize([{"a": 1}, {"a": 2}], setup=setup, teardown=lambda **all: events.append(all))
    def half(a, b=1):
        if a == 2:
            raise ValueError("two")
        return a / 2

    first, second = run([half])
    assert events == ["setup 1", {"a": 1, "b": 1}, "setup 2", {"a": 2, "b": 1}]
    assert first["value"] == 0.5
    assert second["error"] == "ValueError: two"

    @benchmark(teardown=lambda a: None)
    def other(b=1):
        return b

    with pytest.raises(ParameterError, match="takes 'a', which is no parameter"):
        run([other])


def test_a_fixture_that_fails_is_tried_once(tmp_path):
    (tmp_path / "conf.py").write_text(
        "from pathlib import Path\n\n\ndef model():\n"
        "    with open(Path(__file__).parent / 'log', 'a') as f:\n        f.write('x')\n"
        "    raise OSError('no weights')\n"
    )
    (tmp_path / "some.py").write_text(
        "from quacc.bench.benchmark import product\n\n\n@product(a=[1, 2])\n"
        "def size(model, a):\n    return 1\n"
    )
    assert [one["error"] for one in run(tmp_path)] == ["OSError: no weights"] * 2
    assert (tmp_path / "log").read_text() == "x"


def test_nothing_runs_where_something_is_wrong(folder):
    ran = []

    @benchmark
    def works():
        ran.append(1)

    @benchmark
    def needs(model: str):
        ran.append(1)

    with pytest.raises(ParameterError, match="'needs' needs 'model', which has no value"):
        run([works, needs])
    with pytest.raises(ParameterError, match="Did you mean 'model'"):
        run([works, needs], parameters={"modell": "x"})
    with pytest.raises(ParameterError, match="model of 'needs' must be str"):
        run([works, needs], parameters={"model": 1})
    (folder / "conf.py").write_text("def counter(calculator): ...\ndef calculator(counter): ...\n")
    with pytest.raises(ParameterError, match="calculator → counter → calculator"):
        run(folder)
    (folder / "conf.py").write_text("def counters(): ...\ndef calculator(): yield 1\n")
    with pytest.raises(InputError, match="calculator .* no yield"):
        run(folder)
    (folder / "conf.py").write_text("def counters(): ...\ndef calculator(): ...\n")
    with pytest.raises(ParameterError, match="Did you mean 'counters'"):
        run(folder)
    assert ran == []


def test_declarations_are_checked():
    def energy(metal: str, size: int | None = None, strain: float = 0.0):
        return 0

    with pytest.raises(ParameterError, match="no parameter 'meatl'. Did you mean 'metal'"):
        parametrize([{"meatl": "Cu"}])(energy)
    with pytest.raises(ParameterError, match=r"size of 'energy' must be int \| None"):
        product(metal=["Cu"], size=["1"])(energy)
    product(metal=["Cu"], size=[1, None], strain=[1])(energy)
    with pytest.raises(ParameterError, match="no set of parameters"):
        product(metal=[])(energy)
    with pytest.raises(ParameterError, match="several texts"):
        benchmark(tags="metric")
    with pytest.raises(InputError, match="a benchmark already"):
        benchmark(benchmark(energy))


def test_what_no_report_can_hold_is_an_error():
    @parametrize([{"value": float("nan")}, {"value": bulk("Cu")}, {"value": bulk("Cu")}])
    def give(value):
        return value

    found = run([give])
    assert [one["name"] for one in found] == ["give_value=nan", "give_value=Cu", "give_value=Cu#2"]
    assert "returned nan, which is no finite number" in found[0]["error"]
    assert "returned Atoms" in found[1]["error"]

    @benchmark
    def leaves():
        sys.exit(3)

    assert run([leaves])[0]["error"] == "SystemExit: 3"


def test_modules_and_places(tmp_path):
    module = types.ModuleType("mine")
    module.one = benchmark(lambda: 1)
    assert run(module)[0]["value"] == 1
    with pytest.raises(InputError, match="no file or folder"):
        collect(tmp_path / "nothing.py")
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(InputError, match="There is no benchmark in"):
        collect(tmp_path)
    (tmp_path / "empty.py").write_text("import nonsense_of_mine")
    with pytest.raises(InputError, match="ModuleNotFoundError"):
        collect(tmp_path)


def test_commit_and_changes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one = benchmark(lambda: 1)
    assert run([one])[0]["context"]["folder_git"] is None

    def git(*words):
        done = subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b", *words],
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    git("init", "-q")
    (tmp_path / "file").write_text("a")
    git("add", "file")
    git("commit", "-qm", "a")
    commit = git("rev-parse", "--short=12", "HEAD")
    assert run([one])[0]["context"]["folder_git"] == commit
    (tmp_path / "file").write_text("b")
    context = run([one], more_context=[lambda: {"queue": "debug"}])[0]["context"]
    assert (context["folder_git"], context["queue"]) == (f"{commit}+", "debug")
