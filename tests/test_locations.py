"""Where the results database may be: the same answer from the settings and from the store."""

from pathlib import Path

import pytest

from quacc.errors import SettingsError, StoreError
from quacc.locations import check_location, redact
from quacc.settings import change_settings, get_settings
from quacc.store import Store

GOOD = [
    "/tmp/foo.db",
    "postgresql://me:geheim@host:5432/db",
    "postgres://me@host/db",
    "postgresql:///db?host=/var/run&password=geheim",
]

BAD = [
    ("/tmp/foo", "must end in '.db'"),
    ("~no_such_user/x.db", "no_such_user|absolute"),
    ("/tmp/\udcff.db", "no text"),
    ("mysql://me:geheim@host/db", "postgresql://user@host/database"),
    ("postgresql://u:ge[heim@h/db", "not a valid address.*%5B"),
    ("postgresql://u:geheim@h℀/db", "not a valid address"),
    ("postgresql://u:geheim@h:5432x/db", "not a valid address"),
    ("postgresql://u:geheim@x/geheim@h/db", "not a valid address"),
]


@pytest.mark.parametrize("location", GOOD)
def test_good_locations(location):
    assert str(check_location(location)) == location
    with change_settings(store=location):
        assert get_settings().store == location
        assert str(Store()) == str(Store(location)) == redact(location)


@pytest.mark.parametrize(("location", "why"), BAD)
def test_bad_locations(location, why, monkeypatch):
    with pytest.raises(StoreError, match=f"cannot be the results database: .*{why}") as direct:
        Store(location)
    with pytest.raises(SettingsError, match=f"store = .*{why}") as changed:
        with change_settings(store=location):
            pytest.fail("the block ran")
    monkeypatch.setenv("QUACC_STORE", location)
    with pytest.raises(SettingsError, match=f"QUACC_STORE.*{why}") as from_environment:
        get_settings()
    for error in (direct, changed, from_environment):
        assert "geheim" not in str(error.value)
        assert "ge[heim" not in str(error.value)


def test_a_file_name_that_begins_with_the_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert check_location("~/x.db") == tmp_path / "x.db"
    assert check_location("x.db") == Path.cwd() / "x.db"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:geheim@host:5432/db", "postgresql://me:***@host:5432/db"),
        ("postgresql://me:ge@he/im@host/db", "postgresql://me:***@host/db"),
        ("postgresql://:geheim@host/db", "postgresql://:***@host/db"),
        ("postgresql//me:geheim@host/db", "postgresql//me:***@host/db"),
        ("postgresql://host/db?password=geheim&x=1", "postgresql://host/db?password=***&x=1"),
        ("postgresql://me@host:5432/db", "postgresql://me@host:5432/db"),
        ("postgres://u:se[cret@h/db", "postgres://u:***@h/db"),
        ("/home/me/results.db", "/home/me/results.db"),
        (Path("/home/a:b@c/results.db"), "/home/a:b@c/results.db"),
    ],
)
def test_redact(url, shown):
    assert redact(url) == shown
