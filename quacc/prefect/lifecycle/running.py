"""The Prefect server that ``quacc server`` keeps for this user: flows find it, and log in.

It leaves word of itself in a file that is this user's alone. Where an API is configured, that one
is used; a server that has ended, or does not answer to its password, never is.
"""

from __future__ import annotations

import functools
import http.client
import json
import logging
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from quacc.cluster.loopback import no_proxy_for_loopback
from quacc.cluster.processes import is_alive
from quacc.errors import SettingsError
from quacc.ownfiles import read_own

logger = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"

_TIMEOUT = 20.0  # s; a server under load answers late


def home() -> Path:
    """Return Prefect's home."""
    from prefect.settings import PREFECT_HOME

    return PREFECT_HOME.value().absolute()


def folder() -> Path:
    """Return the folder of the server's own files."""
    return home() / "quacc-server"


def state_file(place: Path) -> Path:
    """Return the file in which a running server leaves word of itself."""
    return place / "running.json"


def credentials_file(place: Path) -> Path:
    """Return the file of ``user:password``."""
    return place / "credentials"


@dataclass(frozen=True)
class Running:
    """A server that runs, or has run."""

    process: str
    """Its :func:`quacc.cluster.processes.signature`."""
    pid: int
    machine: str
    host: str
    """The address that it listens at."""
    port: int
    started: float
    """When its process began: Unix time (s)."""
    database: str
    """Where its records are; without a password."""
    prefect: str
    """Version."""
    quacc: str
    """Version."""

    @property
    def address(self) -> str:
        """The address of the dashboard, from this machine."""
        host = LOOPBACK if self.host in ("0.0.0.0", "::") else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def api_url(self) -> str:
        return f"{self.address}/api"

    def is_alive(self) -> bool:
        """Return whether its process is there, on this machine."""
        return is_alive(self.process)

    def ask(self, method: str, path: str, question: Any = None, *, password: str) -> Any:
        """Return what the API answers.

        Raises
        ------
        ConnectionError
            It does not answer, or not with what was asked for; the message says what it did.
        """
        connection = http.client.HTTPConnection(
            self.address.removeprefix("http://").rpartition(":")[0].strip("[]"),
            self.port,
            timeout=_TIMEOUT,
        )
        try:
            connection.request(
                method,
                f"/api{path}",
                None if question is None else json.dumps(question),
                {
                    "Authorization": f"Basic {b64encode(password.encode()).decode()}",
                    "Content-Type": "application/json",
                },
            )
            answer = connection.getresponse()
            if answer.status >= 400:
                raise ConnectionError(f"{answer.status} {answer.reason}")
            return json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ConnectionError(str(error) or type(error).__name__) from None
        finally:
            connection.close()

    def why_silent(self, password: str) -> str | None:
        """Return why it does not answer to its password; None if it does."""
        try:
            self.ask("GET", "/admin/version", password=password)
        except ConnectionError as error:
            return str(error)
        return None

    @contextmanager
    def used(self) -> Iterator[None]:
        """Let Prefect report to this server inside the ``with`` block."""
        from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

        no_proxy_for_loopback()
        password = credentials(folder())
        with temporary_settings({PREFECT_API_URL: self.api_url, PREFECT_API_AUTH_STRING: password}):
            yield

    def text(self) -> str:
        """Return what the file holds."""
        return json.dumps(asdict(self), indent=1) + "\n"


def read(place: Path) -> Running | None:
    """Return the server that has left word of itself last and not taken it back, if any.

    Raises
    ------
    SettingsError
        Somebody else could have written that.
    """
    try:
        return Running(**json.loads(read_own(state_file(place), secret=True)))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise SettingsError(
            f"{state_file(place)}, in which `quacc server` says where it runs, cannot be trusted "
            f"or read ({error}). Remove that file, and start the server again."
        ) from None


def credentials(place: Path) -> str:
    """Return ``user:password`` of the server.

    Raises
    ------
    SettingsError
        There is none, or others can read it.
    """
    file = credentials_file(place)
    try:
        return read_own(file, secret=True).decode().strip()
    except OSError as error:
        raise SettingsError(
            f"The password of the Prefect server cannot be used: {error}. Stop the server, remove "
            f"{file}, and start it again; it gets a new password."
        ) from None


def find() -> Running | None:
    """Return this user's server, if it runs on this machine and answers to its password."""
    place = folder()
    server = read(place)
    if server is None or not server.is_alive():
        return None
    if problem := server.why_silent(credentials(place)):
        logger.warning(
            "The Prefect server at %s (`quacc server`) is not used: %s.", server.address, problem
        )
        return None
    return server


def install() -> None:
    """Let flows that are called where no API is configured report to this user's server."""
    from prefect import Flow
    from prefect.context import FlowRunContext
    from prefect.settings import PREFECT_API_URL

    call: Callable[..., Any] = Flow.__call__
    if hasattr(call, "finds_server"):
        return

    @functools.wraps(call)
    def find_and_call(self: Any, *args: Any, **kwargs: Any) -> Any:
        configured = FlowRunContext.get() or PREFECT_API_URL.value() or self.isgenerator
        server = None if configured else find()
        if server is None:
            return call(self, *args, **kwargs)
        if self.isasync:
            return _awaited(server, call, self, *args, **kwargs)
        with server.used():
            return call(self, *args, **kwargs)

    find_and_call.finds_server = True  # type: ignore[attr-defined]
    Flow.__call__ = find_and_call  # type: ignore[method-assign]


async def _awaited(server: Running, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    with server.used():
        return await call(*args, **kwargs)
