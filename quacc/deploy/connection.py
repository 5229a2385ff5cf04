"""The Prefect server that deployments are on, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_URL

from quacc.errors import QuaccError, SettingsError
from quacc.prefect.lifecycle import running
from quacc.prefect.lifecycle.server import prefect_api


class DeploymentError(QuaccError):
    """The Prefect server refused something, or did something else."""


@contextmanager
def server() -> Iterator[SyncPrefectClient]:
    """Return a client of the configured Prefect server, or of that of ``quacc server start``.

    Raises
    ------
    SettingsError
        There is none, or it does not answer.
    DeploymentError
        It refuses a request in the block.
    """
    if not PREFECT_API_URL.value() and running.find() is None:
        raise SettingsError(
            "No Prefect server is configured, and none runs here. Start one with `quacc server "
            "start`, or name one with `prefect config set PREFECT_API_URL=…`."
        )
    with prefect_api(), get_client(sync_client=True) as client:
        try:
            yield client
        except httpx.HTTPStatusError as error:
            raise DeploymentError(
                f"The Prefect server refused it ({error.response.status_code}): "
                f"{_detail(error.response)}"
            ) from error


def _detail(response: httpx.Response) -> str:
    with suppress(ValueError):
        answer = response.json()
        if isinstance(answer, Mapping):
            return str(answer.get("detail") or answer.get("exception_message") or answer)
    return response.text
