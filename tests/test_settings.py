"""Settings: their sources, the mistakes in them, and how far a change reaches."""

import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Barrier, Event, Thread

import pytest
from distributed import Client, LocalCluster
from pydantic import ValidationError

from quacc.errors import SettingsError
from quacc.settings import (
    Settings,
    call_with,
    change_settings,
    get_settings,
    inspect,
    overrides,
)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    for variable in [*os.environ]:
        if variable.startswith("QUACC_") or variable == "SCRATCH":
            monkeypatch.delenv(variable)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def file(home):
    return home / ".quacc.yaml"


# Sources


def test_defaults(home, monkeypatch):
    settings = get_settings()
    assert settings.results_dir == home / "quacc_results"
    assert settings.database == str(home / "quacc_results" / "results.db")
    assert settings.scratch == Path(tempfile.gettempdir())
    assert settings.compress
    assert settings.commands == {}
    assert (settings.checkpoint_interval, settings.walltime_margin) == (60, 30)
    monkeypatch.setenv("SCRATCH", "/scratch/me")
    assert get_settings().scratch == Path("/scratch/me")


def test_stronger_sources_win(file, monkeypatch):
    file.write_text("results_dir: /file\nscratch_dir: /file\nstore: /file/r.db\n")
    monkeypatch.setenv("QUACC_RESULTS_DIR", "/environment")
    monkeypatch.setenv("QUACC_SCRATCH_DIR", "/environment")
    monkeypatch.setenv("QUACC_COMPRESS", "no")
    with change_settings(results_dir="/changed"):
        settings = get_settings()
    assert settings.results_dir == Path("/changed")
    assert settings.scratch_dir == settings.scratch == Path("/environment")
    assert settings.store == settings.database == "/file/r.db"
    assert settings.compress is False


def test_commands_of_all_sources_are_joined(file, monkeypatch):
    file.write_text("commands:\n  mopac: in file\n  VASP: in file\n  orca: in file\n")
    monkeypatch.setenv("QUACC_COMMANDS__MOPAC", "true")
    with change_settings(commands={"Orca": "mpirun orca"}):
        commands = get_settings().commands
    assert commands == {"mopac": "true", "vasp": "in file", "orca": "mpirun orca"}


def test_commands_as_json(file, monkeypatch):
    file.write_text("commands:\n  mopac: in file\ncommands.vasp: in file\n")
    monkeypatch.setenv("QUACC_COMMANDS", '{"Mopac": "srun mopac", "orca": "srun orca"}')
    monkeypatch.setenv("QUACC_COMMANDS__ORCA", "mpirun orca")
    commands = {"mopac": "srun mopac", "vasp": "in file", "orca": "mpirun orca"}
    assert get_settings().commands == commands
    _, found, mistakes = inspect()
    assert mistakes == []
    assert {name: place for name, (_, place) in found.items()} == {
        "commands.mopac": "environment variable QUACC_COMMANDS",
        "commands.vasp": str(file),
        "commands.orca": "environment variable QUACC_COMMANDS__ORCA",
    }
    monkeypatch.setenv("QUACC_COMMANDS", '{"mopac": 5}')
    with pytest.raises(SettingsError, match=r"commands\.mopac = 5 \(.* QUACC_COMMANDS\) is wrong"):
        get_settings()


def test_case_does_not_matter(file, monkeypatch):
    file.write_text("Results_Dir: /file\nCommands:\n  MOPAC: in file\n")
    monkeypatch.setenv("quacc_compress", "no")
    assert get_settings().results_dir == Path("/file")
    assert get_settings().commands == {"mopac": "in file"}
    assert not get_settings().compress
    assert inspect()[0] == get_settings()


def test_given_settings_stand_alone(home, file):
    file.write_text("results_dir: /file\nstor: x\n")
    assert Settings(compress=False).results_dir == home / "quacc_results"


def test_paths_are_expanded(home, file, monkeypatch):
    monkeypatch.setenv("PROJECT", "/project")
    file.write_text("results_dir: ~/results\nscratch_dir: ${PROJECT}/scratch\n")
    with change_settings(store="$PROJECT/r.db"):
        settings = get_settings()
    assert settings.results_dir == home / "results"
    assert settings.scratch_dir == Path("/project/scratch")
    assert settings.store == "/project/r.db"


def test_no_value_means_not_set(home, file, monkeypatch):
    file.write_text("results_dir:\ncommands:\nstore: /file/r.db\n")
    monkeypatch.setenv("QUACC_STORE", "")
    assert get_settings().results_dir == home / "quacc_results"
    assert get_settings().store == "/file/r.db"
    with change_settings(store=None):
        assert get_settings().store is None
    file.write_text("# nothing yet\n")
    assert get_settings().store is None


def test_changes_of_file_and_environment_are_seen(file, monkeypatch):
    for folder in "/a", "/b":  # same size, within one tick of a coarse clock
        file.write_text(f"results_dir: {folder}\n")
        assert get_settings().results_dir == Path(folder)
    monkeypatch.setenv("PROJECT", "/p1")
    monkeypatch.setenv("QUACC_RESULTS_DIR", "$PROJECT/x")
    assert get_settings().results_dir == Path("/p1/x")
    monkeypatch.setenv("PROJECT", "/p2")
    assert get_settings().results_dir == Path("/p2/x")
    monkeypatch.delenv("QUACC_RESULTS_DIR")
    file.unlink()
    assert get_settings().results_dir.name == "quacc_results"


def test_a_call_is_cheap(file):
    file.write_text("results_dir: /x\ncommands:\n  mopac: srun mopac\n  orca: srun orca\n")
    get_settings()
    start = time.process_time()
    for _ in range(20):  # each one reads the file, so that a change of it is seen
        get_settings()
    assert time.process_time() - start < 0.2


def test_settings_cannot_be_changed_in_place():
    settings = get_settings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.compress = False
    settings.commands["mopac"] = "slipped in"
    assert get_settings().commands == {}


def test_settings_survive_pickle(monkeypatch):
    monkeypatch.setenv("QUACC_RESULTS_DIR", "/somewhere")
    data = pickle.dumps(get_settings())
    monkeypatch.delenv("QUACC_RESULTS_DIR")
    assert pickle.loads(data).results_dir == Path("/somewhere")


# Mistakes


@pytest.mark.parametrize(
    ("line", "wrong", "right"),
    [
        ("result_dir: /x", "result_dir", "results_dir"),
        ("comands: {mopac: x}", "comands", "commands"),
        ("scratchdir:", "scratchdir", "scratch_dir"),
    ],
)
def test_typo_in_the_file(file, line, wrong, right):
    file.write_text(f"compress: true\n{line}\n")
    with pytest.raises(SettingsError) as error:
        get_settings()
    for part in (f"'{wrong}'", str(file), f"Did you mean '{right}'?"):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("QUACC_RESULT_DIR", "QUACC_RESULTS_DIR"),
        ("QUACC_COMMANDS_MOPAC", "QUACC_COMMANDS__MOPAC"),
        ("QUACC_COMAND__MOPAC", "QUACC_COMMANDS__MOPAC"),
        ("QUACC_STORE__X", "QUACC_STORE"),
    ],
)
def test_typo_in_the_environment(monkeypatch, wrong, right):
    monkeypatch.setenv(wrong, "/x")
    with pytest.raises(SettingsError, match=f"environment variable {wrong}.*mean '{right}'"):
        get_settings()


def test_mistakes_in_change_settings_stop_the_block():
    unknown = r"'result_dir' \(change_settings\).*'results_dir'"
    with pytest.raises(SettingsError, match=unknown), change_settings(result_dir="/x"):
        pytest.fail("the block ran")
    wrong = {"results_dir": "/x", "compress": "maybe"}
    with pytest.raises(SettingsError, match="compress = 'maybe'"), change_settings(**wrong):
        pytest.fail("the block ran")
    assert overrides() == {}


def test_call_with_refuses_unknown_names():
    with pytest.raises(SettingsError, match="'results_dir'"):
        call_with({"result_dir": "/x"}, get_settings)


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("results_dir", "relative/folder", "absolute"),
        ("results_dir", "$NO_SUCH_VARIABLE/x", r"\$NO_SUCH_VARIABLE is not set"),
        ("scratch_dir", "~no_such_user/x", "absolute"),
        ("store", "results.db", "absolute"),
        ("store", "/tmp/results", r"end in '\.db'"),
        ("store", "mysql://host/db", "postgresql://"),
        ("compress", "maybe", "boolean"),
        ("commands", "srun", "own name"),
    ],
)
def test_wrong_values(file, monkeypatch, name, value, why):
    variable = f"QUACC_{name.upper()}"
    file.write_text(json.dumps({name: value}))
    with pytest.raises(SettingsError, match=rf"{name} = .*{file}.* is wrong: .*{why}"):
        get_settings()
    file.unlink()
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=rf"{name} = .*{variable}\) is wrong: .*{why}"):
        get_settings()
    monkeypatch.delenv(variable)
    message = rf"{name} = .*\(change_settings\) is wrong: .*{why}"
    with pytest.raises(SettingsError, match=message), change_settings(**{name: value}):
        pytest.fail("the block ran")


def test_undecodable_bytes(monkeypatch):
    monkeypatch.setenv("QUACC_SCRATCH_DIR", os.fsdecode(b"/tmp/\xff"))
    with pytest.raises(SettingsError, match=r"scratch_dir = '/tmp/\\udcff' .* no text"):
        get_settings()


def test_wrong_types_in_the_file(file):
    file.write_text("results_dir: 5\ncommands:\n  mopac: 5\n  orca: ' '\nstore: [a]\n")
    with pytest.raises(SettingsError) as error:
        get_settings()
    lines = str(error.value).splitlines()
    assert [line.split()[0] for line in lines] == [
        "results_dir",
        "commands.mopac",
        "commands.orca",
        "store",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"compress: true\nstore: 'open\n\n", "line 4: .* quoted scalar that begins in line 2"),
        (b"compress: true\n\tstore: x\n", "line 2: found a tab"),
        (b"- results_dir\n", "must hold lines such as"),
        (b"compress\n", "must hold lines such as"),
        (b"compress: true\nstore: \xff\xfe\n", r"line 2 holds bytes that are no text"),
        (b"compress: true\nstore: \x07\n", r"line 2 holds the character '\\x07'"),
        (b"compress: 2026-99-99\n", "month must be in 1..12"),
    ],
)
def test_file_that_is_no_settings_file(file, content, message):
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=rf"Cannot read {file}: .*{message}.*Correct it"):
        get_settings()


def test_file_that_cannot_be_read(file):
    file.mkdir()
    with pytest.raises(SettingsError, match="Is a directory"):
        get_settings()


def test_all_mistakes_are_listed_at_once(file, monkeypatch):
    file.write_text("stor: x\ncompress: maybe\n")
    monkeypatch.setenv("QUACC_SCRATCH", "/x")
    with pytest.raises(SettingsError) as error:
        get_settings()
    assert len(str(error.value).splitlines()) == 3


def test_no_message_tells_the_password(file, monkeypatch):
    file.write_text("store: postgresql://me:geheim@a/b\nstore: postgresql://me:geheim@a/c\n")
    with pytest.raises(SettingsError, match="line 2") as error:
        get_settings()
    assert "geheim" not in str(error.value)
    file.write_text("store: mysql://me:geheim@a/b\n")
    with pytest.raises(SettingsError, match="store = 'mysql://me:") as error:
        get_settings()
    assert "geheim" not in str(error.value)
    monkeypatch.setenv("QUACC_STORE", "postgresql://me:geheim@a/b")
    assert "geheim" not in repr(get_settings())
    assert "geheim" in get_settings().database


@pytest.mark.parametrize("module", ["quacc", "quacc.recipes", "quacc.settings"])
def test_import_does_not_mind_mistakes(file, module):
    file.write_text("result_dir: 'open\n")
    code = f"import {module}"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "QUACC_X": "1"})


# Reach


def folder():
    return str(get_settings().results_dir)


def test_nested_changes_and_exceptions():
    before = dict(os.environ)
    with change_settings(results_dir="/outer", commands={"mopac": "outer"}):
        with change_settings(commands={"orca": "inner"}):
            assert get_settings().commands == {"mopac": "outer", "orca": "inner"}
            assert folder() == "/outer"
        with pytest.raises(ZeroDivisionError), change_settings(results_dir="/inner"):
            assert folder() == f"/inner{1 // 0}"
        assert folder() == "/outer"
        assert get_settings().commands == {"mopac": "outer"}
        assert overrides() == {"results_dir": "/outer", "commands": {"mopac": "outer"}}
    assert overrides() == {}
    assert dict(os.environ) == before


def test_overrides_are_plain():
    with change_settings(results_dir=Path("/x"), compress="no", store=None):
        assert overrides() == {"results_dir": "/x", "compress": False}
        assert type(overrides()["results_dir"]) is str


def test_the_database_is_changed_in_this_process_alone():
    """Its URL may hold a password, and workers never open it."""
    url = "postgresql://me:geheim@host/db"

    def store():
        return get_settings().store

    read = "from quacc.settings import get_settings; print(get_settings().store)"
    default = store()
    with ThreadPoolExecutor(1) as old:
        old.submit(store).result()
        with change_settings(store=url, compress=False), ThreadPoolExecutor(1) as new:
            assert store() == old.submit(store).result() == new.submit(store).result() == url
            assert call_with(overrides(), store) == url
            with change_settings(results_dir="/x"):
                assert new.submit(store).result() == url
                assert overrides() == {"compress": False, "results_dir": "/x"}
                assert "geheim" not in "".join([*os.environ.values(), str(overrides())])
            child = subprocess.run([sys.executable, "-c", read], check=True, capture_output=True)
            assert child.stdout.decode().strip() == str(default)
        with change_settings(store=url):
            assert "_QUACC_CHANGED_SETTINGS" not in os.environ
    assert store() == default


def test_threads_from_before_and_from_inside():
    with ThreadPoolExecutor(1) as old:
        default = old.submit(folder).result()
        with change_settings(results_dir="/x"), ThreadPoolExecutor(1) as new:
            assert old.submit(folder).result() == "/x"
            assert new.submit(folder).result() == "/x"
        assert old.submit(folder).result() == default


def test_threads_keep_their_own_changes():
    together = Barrier(2, timeout=20)

    def work(number):
        with change_settings(results_dir=f"/{number}"):
            together.wait()
            return folder()

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(work, range(2))) == ["/0", "/1"]
    assert overrides() == {}


def test_blocks_may_end_in_any_order():
    entered, leave = Event(), Event()

    def work():
        with change_settings(results_dir="/thread"):
            entered.set()
            leave.wait(20)

    thread = Thread(target=work)
    with ThreadPoolExecutor(1) as bystander:
        with change_settings(results_dir="/main", compress=False):
            thread.start()
            entered.wait(20)
            assert folder() == "/main"
        assert bystander.submit(overrides).result() == {"results_dir": "/thread"}
        leave.set()
        thread.join()
        assert bystander.submit(overrides).result() == {}


def test_equal_changes_end_one_by_one():
    with ThreadPoolExecutor(1) as bystander, change_settings(compress=False):
        with change_settings(compress=False):
            pass
        assert bystander.submit(overrides).result() == {"compress": False}


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_child_processes(method, monkeypatch):
    context = multiprocessing.get_context(method)
    changes = {"results_dir": "/x", "scratch_dir": None, "commands": {"mopac": "srun mopac"}}
    monkeypatch.setenv("QUACC_SCRATCH_DIR", "/environment")
    with change_settings(**changes), ProcessPoolExecutor(1, mp_context=context) as pool:
        settings = pool.submit(get_settings).result()
        assert settings.results_dir == Path("/x")
        assert settings.scratch_dir is None
        assert settings.commands == {"mopac": "srun mopac"}
        assert pool.submit(overrides).result() == changes
        # Other changes take the place of inherited ones; the environment stays.
        other = pool.submit(call_with, {"compress": False}, get_settings).result()
        assert not other.compress
        assert other.results_dir.name == "quacc_results"
        assert other.scratch_dir == Path("/environment")


def test_other_programs_inherit_changes():
    code = "from quacc.settings import get_settings; print(get_settings().results_dir)"
    with change_settings(results_dir="/x"):
        child = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE)
    assert child.stdout == b"/x\n"


def test_fork_while_threads_change_settings():
    stop = Event()

    def restless():
        while not stop.is_set():
            with change_settings(compress=False):
                pass

    def child():
        with change_settings(results_dir="/child"):
            os._exit(0 if folder() == "/child" else 1)

    threads = [Thread(target=restless) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        fork = multiprocessing.get_context("fork")
        for _ in range(20):
            process = fork.Process(target=child)
            process.start()
            process.join(20)
            code = process.exitcode
            process.kill()
            assert code == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_threads_read_while_others_change(request):
    request.addfinalizer(partial(sys.setswitchinterval, sys.getswitchinterval()))
    sys.setswitchinterval(1e-5)
    stop = Event()

    def restless():
        while not stop.is_set():
            with change_settings(compress=False):
                assert not get_settings().compress

    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(restless) for _ in range(4)]
        time.sleep(1)
        stop.set()
    for future in futures:
        future.result()


def test_call_with_is_exact_and_private():
    together = Barrier(3, timeout=20)

    def work():
        together.wait()
        seen = folder()
        together.wait()
        return seen

    changes = [{"results_dir": "/a"}, {"results_dir": "/b"}, {}]
    default = folder()
    with change_settings(results_dir="/process"), ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(call_with, change, work) for change in changes]
        assert [future.result() for future in futures] == ["/a", "/b", default]
        assert pool.submit(folder).result() == "/process"


def test_call_with_restores_after_an_exception():
    with pytest.raises(ZeroDivisionError):
        call_with({"compress": False}, divmod, 1, 0)
    assert get_settings().compress
    assert call_with({}, dict, changes=1, fn=2) == {"changes": 1, "fn": 2}


def test_change_settings_inside_call_with_reaches_new_threads():
    def work():
        with change_settings(compress=False), ThreadPoolExecutor(1) as pool:
            return pool.submit(overrides).result()

    inside = call_with({"results_dir": "/x"}, work)
    assert inside == {"results_dir": "/x", "compress": False}
    assert overrides() == {}


def test_dask_worker_from_before(tmp_path):
    def meet(name):  # two jobs in two threads of one worker, at the same time
        (tmp_path / name).touch()
        deadline = time.monotonic() + 30
        while len([*tmp_path.glob("job*")]) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return str(get_settings().results_dir), os.getpid()

    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=2,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
        ) as cluster,
        Client(cluster) as client,
    ):
        default = client.submit(call_with, {}, get_settings).result()
        assert default.results_dir == tmp_path / "quacc_results"
        futures = []
        for name in "job1", "job2":
            with change_settings(results_dir=f"/{name}"):
                futures.append(client.submit(call_with, overrides(), meet, name))
        (first, pid), (second, same) = client.gather(futures)
        assert (first, second) == ("/job1", "/job2")
        assert pid == same != os.getpid()
        again = client.submit(get_settings, pure=False).result()
        assert again.results_dir == tmp_path / "quacc_results"


def test_the_documentation_has_every_setting():
    page = (Path(__file__).parents[1] / "docs" / "settings.md").read_text()
    assert all(f"| `{name}` |" in page for name in Settings.model_fields)
