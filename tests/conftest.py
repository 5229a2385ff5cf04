"""A real Slurm of two nodes for the tests that ask for it."""

import importlib.util
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def devcluster():
    """Return the script slurm/devcluster as a module."""
    path = Path(__file__).parents[1] / "slurm" / "devcluster"
    loader = SourceFileLoader("devcluster", str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("devcluster", loader))
    loader.exec_module(module)
    return module


@pytest.fixture
def slurm(tmp_path_factory, monkeypatch, devcluster):
    # Not in tmp_path, whose name may be too long for Slurm's sockets.
    with devcluster.DevCluster(tmp_path_factory.mktemp("slurm")) as cluster:
        monkeypatch.setenv("SLURM_CONF", str(cluster.config))
        yield cluster


@pytest.fixture
def on_slurm(slurm):
    """Return the least that ``make_runner`` needs to submit jobs to it."""
    return {
        "n_workers": 1,
        "cores": 1,
        "memory": "1GB",
        "walltime": "00:10:00",
        "job_extra_directives": ["-N 1"],
        "python": sys.executable,
        "interface": "lo",
    }


@pytest.fixture
def server_for_all(prefect_server, monkeypatch):
    """Let other processes that run Prefect's engine find this server, and start none."""
    from prefect.settings import get_current_settings

    for name, value in get_current_settings().to_environment_variables(exclude_unset=True).items():
        if name.startswith("PREFECT_API_"):
            monkeypatch.setenv(name, value)
