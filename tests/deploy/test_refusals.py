"""What `quacc server` refuses before anything starts."""

import json
import os
import socket

import pytest

from quacc.deploy import databases, server
from quacc.deploy.log import last_lines
from quacc.errors import SettingsError
from quacc.prefect.lifecycle.running import Running, find, folder, read, state_file


@pytest.fixture
def place(tmp_path):
    from prefect.settings import PREFECT_HOME, temporary_settings

    with temporary_settings({PREFECT_HOME: tmp_path / "prefect"}):
        folder().mkdir(parents=True, mode=0o700)
        yield folder()


@pytest.mark.parametrize(
    "given",
    ["mysql://me@host/db", "records", "/no/such/folder/a.db", "postgresql://me:a/b@host/db"],
)
def test_what_is_no_database_is_refused(given):
    with pytest.raises(SettingsError, match="cannot be the server's database"):
        databases.check(given)


def test_a_password_on_the_command_line_is_refused():
    with pytest.raises(SettingsError, match="Everybody on this machine") as caught:
        databases.refuse_password("postgresql://me:geheim@host/db")
    assert "geheim" not in str(caught.value)
    databases.refuse_password("postgresql://me@host/db")
    databases.refuse_password("/some/file.db")


def test_a_database_that_does_not_answer_is_named_without_its_password(place):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(SettingsError, match="does not answer") as caught:
        server.start(database=f"postgresql://me:geheim@127.0.0.1:{port}/db")
    assert "geheim" not in str(caught.value)
    assert not state_file(place).exists()


def test_prefects_own_setting_names_the_database(place):
    from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL, temporary_settings

    assert databases.of_prefect() is None
    for url, expected in {
        "sqlite+aiosqlite:////data/a.db": "/data/a.db",
        "postgresql+asyncpg://me:x@host/db": "postgresql://me:x@host/db",
    }.items():
        with temporary_settings({PREFECT_API_DATABASE_CONNECTION_URL: url}):
            found = databases.of_prefect()
            assert found is not None
            assert found == expected or databases.check(found) == expected
    memory = "sqlite+aiosqlite:///file::memory:?cache=shared&uri=true&check_same_thread=false"
    with temporary_settings({PREFECT_API_DATABASE_CONNECTION_URL: memory}):
        with pytest.raises(SettingsError, match="where no server can keep its records"):
            databases.of_prefect()


def test_a_port_that_is_taken_is_refused_when_it_was_asked_for(place):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"cannot listen at port {port} of 127.0.0.1"):
            server.start(port=port)
    with pytest.raises(SettingsError, match="another address of this machine"):
        server.start(host="192.0.2.1")


def elsewhere(**changes):
    """Return the word of a server on another machine."""
    return Running(
        **{
            "process": f"login9-0123abcd_{os.getuid()}_0123abcd_4026531836_77_12",
            "pid": 77,
            "machine": "login9",
            "host": "127.0.0.1",
            "port": 4200,
            "started": 1.0,
            "database": "/db",
            "prefect": "3",
            "quacc": "0",
            **changes,
        }
    )


def test_a_server_on_another_machine_is_neither_used_nor_doubled(place):
    state_file(place).write_text(elsewhere().text())
    state_file(place).chmod(0o600)
    assert find() is None
    for refused in (server.start, server.stop):
        with pytest.raises(SettingsError, match="runs on login9, since 1970"):
            refused()
    assert read(place) == elsewhere()


def test_word_that_others_could_have_written_is_not_believed(place):
    state_file(place).write_text(elsewhere().text())
    for mode in (0o666, 0o644):
        state_file(place).chmod(mode)
        with pytest.raises(SettingsError, match="cannot be trusted"):
            find()
    state_file(place).chmod(0o600)
    state_file(place).write_text(json.dumps({"pid": 1}))
    with pytest.raises(SettingsError, match="cannot be trusted or read"):
        find()


def test_a_logs_end_has_no_passwords(tmp_path):
    log = tmp_path / "log"
    log.write_text("line\n" * 50 + "at postgresql+asyncpg://me:ge:heim@host/db it failed\n")
    assert last_lines(log).splitlines()[-1] == "at postgresql+asyncpg://me:***@host/db it failed"
    assert len(last_lines(log).splitlines()) == 15
