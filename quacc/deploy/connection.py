"""The Prefect server that deployments are on, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_URL

from quacc.errors import QuaccError, SettingsError
from quacc.prefect.lifecycle.server import prefect_api


class DeploymentError(QuaccError):
    """The Prefect server refused something, or did something else."""


@contextmanager
def server() -> Iterator[SyncPrefectClient]:
    """Return a client of the configured Prefect server.

    Raises
    ------
    SettingsError
        None is configured, or it does not answer.
    DeploymentError
        It refuses a request in the block.
    """
    if not PREFECT_API_URL.value():
        raise SettingsError(
            "No Prefect server is configured. Start one with `prefect server start`, and name it "
            "with `prefect config set PREFECT_API_URL=http://127.0.0.1:4200/api`."
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
