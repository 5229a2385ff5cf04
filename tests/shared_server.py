"""One Prefect server for all workers of pytest-xdist, started when the first of them asks."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

_PROGRAM = """
import json, os, sys
from pathlib import Path
from prefect.settings import get_current_settings
from quacc.prefect.lifecycle.server import prefect_api

os.umask(0o077)
told = Path(sys.argv[1])
with prefect_api():
    settings = get_current_settings().to_environment_variables(exclude_unset=True)
    shared = {name: value for name, value in settings.items() if name.startswith("PREFECT_API_")}
    told.with_suffix(".new").write_text(json.dumps(shared))
    told.with_suffix(".new").rename(told)
    sys.stdin.read()  # returns when the run of tests is over, in whatever way
"""


class SharedServer:
    """The server, for the process that starts the workers; ``stop`` ends it if it has started."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._over = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._start_when_asked, daemon=True)
        self._thread.start()

    def _start_when_asked(self) -> None:
        while not (self._folder / "asked").exists():
            if self._over.wait(0.2):
                return
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(self._folder / "told")],
            stdin=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C is for the tests, which report to it
            text=True,
        )

    def stop(self) -> None:
        self._over.set()
        self._thread.join()
        if self._process:
            self._process.communicate(timeout=60)


def ask(folder: Path) -> dict[str, str]:
    """Return the settings, as environment variables, with which Prefect finds the server."""
    (folder / "asked").touch()
    deadline = time.monotonic() + 180
    while not (folder / "told").exists():
        if time.monotonic() > deadline:
            raise TimeoutError("The Prefect server of the tests does not start.")
        time.sleep(0.1)
    return dict(json.loads((folder / "told").read_text()))
