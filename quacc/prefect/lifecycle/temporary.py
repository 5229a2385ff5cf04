"""The server that Prefect starts where a flow runs without an API, with a password, too."""

from __future__ import annotations

import secrets
import socket
import subprocess
from typing import Any

from prefect.server.api import server as server_module
from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings
from pydantic import SecretStr

from quacc.errors import SettingsError
from quacc.prefect.internals import temporary_server
from quacc.prefect.lifecycle.server import TUNING, listener, start_process


class _Temporary(SubprocessASGIServer):
    def __init__(self, port: int | None = None) -> None:
        super().__init__(port)
        if not hasattr(self, "password"):  # there is one for all
            self.password = f"quacc:{secrets.token_urlsafe(32)}"
            self._socket = socket.socket()
            self._socket.close()

    def find_available_port(self) -> int:
        self._socket = listener()
        return int(self._socket.getsockname()[1])

    def _run_uvicorn_command(self) -> subprocess.Popen[Any]:
        held = self._socket if self._socket.fileno() >= 0 else listener(self.port or 0)
        return start_process(held)

    def start(self, timeout: int | None = None) -> None:
        """Start the server, and let whatever Prefect does under the present settings log in."""
        settings = get_current_settings()
        password = SecretStr(self.password)
        if settings.api.auth_string != password:
            settings.api.auth_string = settings.server.api.auth_string = password
        if not self.running:  # Prefect asks for it at every event
            with temporary_settings(TUNING):
                super().start(timeout)


server_module.SubprocessASGIServer = _Temporary  # type: ignore[misc]


def require_password() -> None:
    """Refuse a temporary server that Prefect started before quacc was imported.

    Raises
    ------
    SettingsError
        It is open to everybody on this machine.
    """
    server = temporary_server()
    if not PREFECT_API_URL.value() and server and not isinstance(server, _Temporary):
        raise SettingsError(
            f"Prefect has started a temporary server at {server.address} that shows everybody on "
            "this machine what flows are given. Import quacc.prefect before the first flow runs, "
            "or set PREFECT_API_URL."
        )
