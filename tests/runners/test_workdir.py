"""The working folder: races, faults, and what is kept."""

import threading
from pathlib import Path

import pytest

from quacc.errors import SettingsError
from quacc.runners.workdir import Workdir
from quacc.settings import change_settings, get_settings


def test_equal_calculations_may_end_at_the_same_time():
    errors = []

    def run():
        for _ in range(40):
            try:
                workdir = Workdir("Cu-x-same", [])
                (workdir.path / "out").write_text("x")
                assert workdir.keep() == (str(get_settings().results_dir / "Cu-x-same"), [])
            except Exception as error:
                errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert [entry.name for entry in get_settings().results_dir.iterdir()] == ["Cu-x-same"]
    assert list(get_settings().scratch.iterdir()) == []


@pytest.mark.parametrize("setting", ["scratch_dir", "results_dir"])
def test_a_folder_that_cannot_be_written_is_an_error_before_the_work(setting):
    with change_settings(**{setting: "/proc/none"}):
        with pytest.raises(SettingsError, match=f"The setting {setting} names it"):
            Workdir("Cu-x-key", [])


def test_a_folder_in_which_everybody_may_rename_is_refused(tmp_path):
    base = tmp_path / "shared"
    base.mkdir()
    base.chmod(0o777)
    with change_settings(scratch_dir=base):
        with pytest.raises(SettingsError, match=r"everybody may rename what is in .*chmod o-w"):
            Workdir("Cu-x-key", [])
        base.chmod(0o1777)  # as /tmp is
        Workdir("Cu-x-key", []).discard()


def test_files_that_cannot_be_moved_stay_and_are_told(tmp_path):
    results = tmp_path / "results"
    with change_settings(results_dir=results):
        workdir = Workdir("Cu-x-key", [])
        failed = Workdir("Cu-x-key", [])
    (workdir.path / "out").write_text("x")
    results.rmdir()
    results.write_text("no folder any more")
    directory, warnings = workdir.keep()
    assert directory == str(workdir.path)
    assert "could not be moved" in warnings[0]
    assert any(file.name.startswith("out") for file in Path(directory).iterdir())
    assert failed.keep_failed(ValueError("why")) == str(failed.path)
    assert "ValueError: why" in (failed.path / "error.txt").read_text()


def test_nested_folders_are_kept():
    workdir = Workdir("Cu-x-key", [])
    (workdir.path / "save").mkdir()
    (workdir.path / "save" / "density").write_text("x")
    directory, _ = workdir.keep()
    assert (Path(directory) / "save" / "density.gz").is_file()
