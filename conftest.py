"""A home of their own for all tests, one Prefect server, and the documentation's examples."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser

from tests.lanes import COMPUTING, LONG, LONG_MARKERS, Lanes, waits
from tests.potentials import POTENTIALS

_HOME = Path(tempfile.mkdtemp(prefix="quacc-tests-"))

# Before anything imports Prefect, which reads its home at import.
os.environ["HOME"] = str(_HOME)
os.environ["PREFECT_HOME"] = str(_HOME / "prefect")
if "PYTEST_XDIST_WORKER" not in os.environ:  # whose workers share it, as do tests' own homes
    os.environ["XDG_CACHE_HOME"] = str(_HOME / "cache")
os.environ["DO_NOT_TRACK"] = "1"
# What no test looks at, and costs a server half of its time.
os.environ["PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED"] = "false"
os.environ["PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED"] = "false"
# Several tests at a time: more threads would only be in each other's way.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
for _name in [name for name in os.environ if name.startswith(("QUACC_", "PREFECT_API_"))]:
    del os.environ[_name]

REQUIRED = bool(os.environ.get("REQUIRE_ALL_TESTS"))
"""Set where every program that a test needs must be installed, as in continuous integration."""

PROGRAMS = {
    "ml": POTENTIALS,
    "abinit": "abinit",
    "cp2k": "cp2k.psmp",
    "espresso": "pw.x",
    "mopac": "mopac",
    "nwchem": "nwchem",
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
        markers = {marker.name for marker in item.iter_markers()}
        if waits(item.nodeid) or item.nodeid.startswith(COMPUTING):
            item.add_marker("slow")
        if item.nodeid.startswith(LONG) or markers & LONG_MARKERS:
            item.add_marker("long")
        for marker, program in PROGRAMS.items():
            if marker in markers and not REQUIRED and shutil.which(program) is None:
                item.add_marker(pytest.mark.skip(reason=f"{program} is not installed"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Where every program must be installed, a test that skips for one has failed."""
    report = yield
    if REQUIRED and report.skipped and any(marker in item.keywords for marker in PROGRAMS):
        report.outcome = "failed"
        report.longrepr = f"may not skip where REQUIRE_ALL_TESTS is set: {report.longrepr}"
    return report


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
        monkeypatch.setenv("HOME", str(root))  # it may change the settings
    folder = root / "cwd"
    folder.mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("QUACC_RESULTS_DIR", str(root / "results"))
    monkeypatch.setenv("QUACC_SCRATCH_DIR", str(root / "scratch"))


@pytest.fixture(autouse=True)
def _potentials(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the potentials of tests that are marked so live in their Python."""
    if "ml" in request.node.keywords:
        for name in ("CHGNET", "SEVENN"):
            monkeypatch.setenv(f"QUACC_ENVIRONMENTS__{name}", POTENTIALS)


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """One Prefect server, with authentication, for all tests that ask for it."""
    from quacc.prefect.lifecycle.server import prefect_api

    with ExitStack() as stack:
        with open(f"{os.environ['XDG_CACHE_HOME']}.lock", "w") as turns:
            fcntl.flock(turns, fcntl.LOCK_EX)  # the first makes a database, the others copy it
            assert stack.enter_context(prefect_api())
        yield


def _run_bash(example: Example) -> None:
    from prefect.settings import get_current_settings

    server = get_current_settings().to_environment_variables(exclude_unset=True)
    subprocess.run(
        ["bash", "-euo", "pipefail", "-c", example.parsed], env=os.environ | server, check=True
    )


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), CodeBlockParser("bash", _run_bash)],
    patterns=["README.md", "docs/*.md"],
    excludes=["lesson.md"],  # one sitting: tests/deploy/test_lesson.py
    fixtures=["prefect_server", "_clean_folder"],
).pytest()
