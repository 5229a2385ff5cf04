"""Files that say what is run are not somebody else's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from quacc.errors import SettingsError
from quacc.ownfiles import read_own, write_own
from quacc.settings import get_settings
from quacc.sites.profile import load_site


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / ".config/quacc/sites"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("base: local\n")
    (tmp_path / ".quacc.yaml").write_text("compress: false\n")
    for file in (folder / "mine.yaml", tmp_path / ".quacc.yaml"):
        file.chmod(0o664)  # what many a umask gives
    return tmp_path


def test_ones_own_are_read(home: Path) -> None:
    assert get_settings().compress is False
    assert load_site("mine").name == "mine"


def test_those_that_everybody_may_write_are_refused(home: Path) -> None:
    (home / ".quacc.yaml").chmod(0o666)
    with pytest.raises(SettingsError, match="every user may write to it: run chmod o-w"):
        get_settings()
    (home / ".quacc.yaml").chmod(0o600)
    site = home / ".config/quacc/sites/mine.yaml"
    site.chmod(0o666)
    for name in ("mine", site):
        with pytest.raises(SettingsError, match="every user may write to it"):
            load_site(name)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_those_of_another_user_are_refused(home: Path) -> None:
    os.chown(home / ".quacc.yaml", 65534, 65534)
    with pytest.raises(SettingsError, match="belongs to another user"):
        get_settings()
    (home / ".quacc.yaml").unlink()
    site = home / ".config/quacc/sites/mine.yaml"
    os.chown(site, 65534, 65534)
    with pytest.raises(SettingsError, match="belongs to another user"):
        load_site("mine")
    shared = home / "shared.yaml"
    site.rename(shared)  # named on purpose: a group's
    assert load_site(shared).name == "shared"


def test_what_is_written_for_oneself_is_whole_and_read_by_nobody_else(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("old")
    file.chmod(0o644)
    with pytest.raises(PermissionError, match="may be read by other users"):
        read_own(file, secret=True)
    before = os.umask(0)
    try:
        write_own(file, b"new")
    finally:
        os.umask(before)
    assert read_own(file, secret=True) == b"new"
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]
    with pytest.raises(FileNotFoundError):
        write_own(tmp_path / "no" / "secret", b"new")
