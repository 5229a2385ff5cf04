"""A new database for Prefect's server is a copy of one that its migrations have made."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from quacc.prefect.lifecycle.new_database import fill, template

MAKE = """
import os, sys
from pathlib import Path
from quacc.prefect.lifecycle.new_database import fill, make
os.umask(0o077)
make(fill(Path(sys.argv[1])), Path(sys.argv[1], "prefect.db"))
"""


def content(database):
    """Return the tables of a database, and how many rows each has."""
    with closing(sqlite3.connect(database)) as connection:
        tables = connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
        names = [name for kind, name, _ in tables if kind == "table"]
        rows = {
            name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]
            for name in names
        }
        version = connection.execute("SELECT * FROM alembic_version").fetchall()
        return sorted(tables, key=str), rows, version


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def known(cache):
    """Return a template that is a database, though not one of Prefect's."""
    source = template()
    source.parent.mkdir(parents=True)
    with closing(sqlite3.connect(source)) as connection:
        connection.execute("CREATE TABLE some (thing)")
    source.chmod(0o600)
    return source


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "prefect"
    folder.mkdir()
    return folder


def test_the_first_server_makes_it_and_later_ones_copy_it(cache, home, tmp_path):
    env = {**os.environ, "PREFECT_HOME": str(home)}
    subprocess.run([sys.executable, "-c", MAKE, str(home)], env=env, check=True)
    made = content(home / "prefect.db")
    assert made[2]
    assert {name for name, count in made[1].items() if count} == {"alembic_version"}
    assert content(template()) == made
    later = tmp_path / "later"
    later.mkdir()
    assert fill(later) is None
    assert content(later / "prefect.db") == made
    assert [file.name for file in later.iterdir()] == ["prefect.db"]
    for file in (home / "prefect.db", template(), later / "prefect.db"):
        assert file.stat().st_mode & 0o777 == 0o600
    assert list(template().parent.iterdir()) == [template()]


@pytest.mark.parametrize("name", ["prefect.db", "prefect.db-wal"])
def test_a_database_that_is_there_stays(known, home, name):
    (home / name).write_text("mine")
    assert fill(home) is None
    assert {file.name: file.read_text() for file in home.iterdir()} == {name: "mine"}


def others(source):
    if os.getuid() != 0:
        pytest.skip("only root can give a file to another user")
    os.chown(source, 65534, -1)


def linked(source):
    real = source.rename(source.with_name("real.db"))
    source.symlink_to(real)


@pytest.mark.parametrize(
    "spoil",
    [
        others,
        linked,
        lambda source: source.chmod(0o666),
        lambda source: source.write_bytes(source.read_bytes()[:5000]),
        lambda source: source.write_text("no database"),
        lambda source: source.unlink(),
    ],
    ids=["others", "linked", "writable", "cut", "text", "gone"],
)
def test_a_template_that_cannot_be_trusted_is_made_anew(known, home, spoil):
    spoil(known)
    assert fill(home) == known
    assert list(home.iterdir()) == []


def test_without_a_home_there_is_none(home, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "")
    assert template() is None
    assert fill(home) is None
    assert list(home.iterdir()) == []
