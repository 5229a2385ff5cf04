"""The lesson about flows that run by themselves: its commands as printed, and its messages."""

import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from quacc.errors import SettingsError
from quacc.prefect.notify import notify, send
from quacc.settings import change_settings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "lesson.md").read_text()


def blocks(language):
    """Return the page's blocks, each under the heading that it stands below."""
    found = {}
    for section in PAGE.split("\n## ")[1:]:
        heading, _, text = section.partition("\n")
        found[heading] = "\n".join(re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL))
    return found


@pytest.fixture
def receiver():
    """A receiver of webhooks: its address, and what came."""
    came = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            came.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"json://127.0.0.1:{server.server_port}/quacc", came
        server.shutdown()


def address_file(text):
    file = Path("addresses").absolute()
    file.touch(mode=0o600)
    file.write_text(text)
    return file


@pytest.fixture
def home(tmp_path):
    """A folder with the cookbook's files, and a shell's environment with a home of its own."""
    for name in ("relax_new.py", "train_and_benchmark.py"):
        shutil.copy(ROOT / "recipes" / name, tmp_path)
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PREFECT_", "QUACC_"))
    }
    yield tmp_path, kept | {"HOME": str(tmp_path / "home"), "DO_NOT_TRACK": "1"}
    for process in psutil.process_iter(["environ"]):  # what a failure has left
        if (process.info["environ"] or {}).get("HOME") == str(tmp_path / "home"):
            process.kill()


def shell(home, text, **environment):
    folder, env = home
    Path(env["HOME"]).mkdir(exist_ok=True)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=folder,
        env=env | environment,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


@pytest.mark.lammps
@pytest.mark.timeout(600)
def test_as_printed(home, receiver):
    address, came = receiver
    parts = blocks("bash")
    told = shell(home, "\n".join(parts.values()), QUACC_NOTIFY=str(address_file(address)))
    first, second = re.findall(r"finished successfully in '(.*)'", told)[:2]
    assert (first, second) == ("Completed", "NothingNew")
    assert told.count("finished successfully in 'Completed'") == 2  # and the training
    assert "Flow run finished in state 'Failed'" in told
    assert "rrule" in told
    assert "interval" not in told.partition("Deployment Schedules")[2]
    [message] = came
    assert message["title"].startswith("relax-new: what is new in ")
    assert "broken.cif" in message["message"]
    assert told.endswith("The Prefect server has stopped.\n")


def test_its_python_is_right(monkeypatch):
    Path("my_flows.py").write_text(blocks("python")["Tried again"])
    code = "\n".join(blocks("python").values())
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ)


def test_messages_go_to_all_addresses(receiver):
    address, came = receiver
    with change_settings(notify=address_file(f"# mine\n\n{address}\n{address}?level=b")):
        assert send("title", "text") == 2
    assert [(one["title"], one["message"]) for one in came] == [("title", "text")] * 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "has no address"),
        ("json://127.0.0.1\nsecret words", "line 2 is no address"),
        ("json://u:secret@127.0.0.1:9/x", r"could not be sent to json://u:\*\*\*\*@127.0.0.1:9/x"),
    ],
)
def test_addresses_that_do_not_work_are_named_without_passwords(text, reason):
    with change_settings(notify=address_file(text)), pytest.raises(SettingsError) as refused:
        send("title", "text")
    assert re.search(reason, str(refused.value))
    assert "secret" not in str(refused.value)


def test_addresses_are_nobody_elses():
    file = address_file("json://127.0.0.1")
    file.chmod(0o644)
    with change_settings(notify=file), pytest.raises(SettingsError, match="read by other users"):
        send("title", "text")
    with pytest.raises(SettingsError, match="quacc settings set notify FILE"):
        send("title", "text")
    notify(None, None, None)  # where nothing is set, it is silent
