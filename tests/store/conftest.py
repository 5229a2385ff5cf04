"""Databases for the tests of the store."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from postgres_server import QUOTED, missing, new_database, running_server


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """Yield ``host:port`` of a fresh PostgreSQL server that wants a password."""
    if reason := missing():
        pytest.skip(reason)
    with running_server() as address:
        yield address


@pytest.fixture
def url(server: str, request: pytest.FixtureRequest) -> str:
    """Address of a new, empty database."""
    name = f"test_{abs(hash(request.node.nodeid))}"
    return new_database(f"postgresql://quacc:{QUOTED}@{server}", name)
