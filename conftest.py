"""A home of their own for all tests, one Prefect server, and the documentation's examples."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser

from tests.lanes import COMPUTING, Lanes, waits
from tests.shared_server import SharedServer, ask

_HOME = Path(tempfile.mkdtemp(prefix="quacc-tests-"))

# Before anything imports Prefect, which reads its home at import.
os.environ["HOME"] = str(_HOME)
os.environ["PREFECT_HOME"] = str(_HOME / "prefect")
_IS_WORKER = "PYTEST_XDIST_WORKER" in os.environ
if not _IS_WORKER:  # shared with the workers of pytest-xdist, and with the homes of single tests
    os.environ["XDG_CACHE_HOME"] = str(_HOME / "cache")
_SHARED = Path(os.environ["XDG_CACHE_HOME"]).parent
os.environ["DO_NOT_TRACK"] = "1"
# Several tests at a time: more threads would only be in each other's way.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
for _name in [name for name in os.environ if name.startswith(("QUACC_", "PREFECT_API_"))]:
    del os.environ[_name]

REQUIRED = bool(os.environ.get("REQUIRE_ALL_TESTS"))
"""Set where every program that a test needs must be installed, as in continuous integration."""

PROGRAMS = {
    "espresso": "pw.x",
    "mopac": "mopac",
    "slurm": "slurmctld",
    "postgres": "/usr/lib/postgresql/15/bin/initdb",
}
"""Marker of tests that need a program, and the program."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Lanes:
    config.option.loadscopereorder = False  # the lanes have an order of their own
    return Lanes(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if waits(item.nodeid) or item.nodeid.startswith(COMPUTING):
            item.add_marker("slow")
        for marker, program in PROGRAMS.items():
            if marker in item.keywords and not REQUIRED and shutil.which(program) is None:
                item.add_marker(pytest.mark.skip(reason=f"{program} is not installed"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Where every program must be installed, a test that skips for one has failed."""
    report = yield
    if REQUIRED and report.skipped and any(marker in item.keywords for marker in PROGRAMS):
        report.outcome = "failed"
        report.longrepr = f"may not skip where REQUIRE_ALL_TESTS is set: {report.longrepr}"
    return report


def pytest_configure(config: pytest.Config) -> None:
    if not _IS_WORKER and getattr(config.option, "numprocesses", None):
        server = SharedServer(_SHARED)
        config.add_cleanup(server.stop)


def pytest_unconfigure() -> None:
    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture(autouse=True)
def _clean_folder(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Run every test in an empty folder, with results of its own; a page's examples share one."""
    if isinstance(request.node, pytest.Function):
        root = tmp_path_factory.mktemp("test")
    else:
        root = _HOME / request.path.stem
    folder = root / "cwd"
    folder.mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("QUACC_RESULTS_DIR", str(root / "results"))
    monkeypatch.setenv("QUACC_SCRATCH_DIR", str(root / "scratch"))


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """One Prefect server, with authentication, for all tests that ask for it."""
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    from quacc.prefect.lifecycle.server import drain, prefect_api

    if not _IS_WORKER:
        with prefect_api() as started:
            assert started
            yield
        return
    shared = ask(_SHARED)
    settings = {one: shared[one.name] for one in (PREFECT_API_URL, PREFECT_API_AUTH_STRING)}
    with temporary_settings(settings):
        yield
        drain()


def _run_bash(example: Example) -> None:
    from prefect.settings import get_current_settings

    server = get_current_settings().to_environment_variables(exclude_unset=True)
    subprocess.run(
        ["bash", "-euo", "pipefail", "-c", example.parsed], env=os.environ | server, check=True
    )


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), CodeBlockParser("bash", _run_bash)],
    patterns=["README.md", "docs/*.md"],
    fixtures=["prefect_server", "_clean_folder"],
).pytest()
