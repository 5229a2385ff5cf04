"""The cookbook's training and its benchmarks, served and ordered as its first lines say."""

import asyncio
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import get_current_settings

from quacc.recipes.train import train_job

RECIPE = Path(__file__).parents[2] / "recipes" / "train_and_benchmark.py"


def load():
    spec = importlib.util.spec_from_file_location("train_and_benchmark", RECIPE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def ask(path, **filters):
    async with get_client() as client:
        return (await client.request("POST", path, json=filters)).json()


@pytest.mark.lammps
def test_as_printed(prefect_server):
    settings = get_current_settings().to_environment_variables(exclude_unset=True)
    env = os.environ | settings | {"PREFECT_RUNNER_POLL_FREQUENCY": "1"}
    log = Path("serve.log").absolute()
    with log.open("w") as stream:
        served = subprocess.Popen(
            [sys.executable, str(RECIPE)], env=env, stdout=stream, stderr=stream
        )
    try:
        end = time.monotonic() + 200
        while "benchmark-runner" not in log.read_text():
            assert served.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.2)
        [command] = re.findall(r"prefect deployment run '.*'", RECIPE.read_text())
        # What the recipe's first lines say is what serving prints.
        assert command in " ".join(log.read_text().split())
        done = subprocess.run(
            f"{command} --watch --watch-interval 1 --watch-timeout 250",
            shell=True,
            env=env,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{done.stdout}{done.stderr}{log.read_text()}"
    finally:
        served.terminate()
        served.wait(60)

    runs = asyncio.run(ask("/flow_runs/filter", flows={"name": {"any_": ["train-and-benchmark"]}}))
    [flow_run] = [one for one in runs if one["deployment_id"]]
    assert flow_run["state_type"] == "COMPLETED"
    only = {"id": {"any_": [flow_run["id"]]}}
    tasks = asyncio.run(ask("/task_runs/filter", flow_runs=only))
    names = sorted(one["name"].rpartition("-")[0] for one in tasks)
    assert names == ["prepare_data", "run_metadata", "run_metrics", "train"]

    [artifact] = asyncio.run(
        ask("/artifacts/filter", artifacts={"flow_run_id": {"any_": [flow_run["id"]]}})
    )
    assert artifact["key"] == "train-and-benchmark"
    rows = {row["benchmark"]: row["value"] for row in json.loads(artifact["data"])}

    # The errors that the fit says, which are linear algebra; the benchmarks' are of LAMMPS.
    recipe = load()
    data = [recipe.reference_job(one) for one in recipe.structures(24, 0)]
    potential = train_job(data, test=0.2, twojmax=4, cutoff=4.5, alpha=1e-8)
    errors = potential["errors"]["test"]
    assert rows["energy error (meV/atom)"] == pytest.approx(errors["energy"]["mae"], rel=1e-4)
    assert rows["force error (meV/Å)"] == pytest.approx(errors["forces"]["mae"], rel=1e-4)
    text = "".join(potential["details"]["files"].values())
    assert rows["size (bytes)"] == len(text.encode())
    assert 0 < rows["inference time (ms/atom)"] < 10_000

    logs = asyncio.run(
        ask("/logs/filter", logs={"flow_run_id": {"any_": [flow_run["id"]]}}, limit=200)
    )
    messages = " ".join(one["message"] for one in logs)
    for name in rows:
        assert f"{name}: " in messages


@pytest.mark.lammps
def test_without_a_server():
    done = subprocess.run([sys.executable, str(RECIPE)], capture_output=True, text=True)
    assert done.returncode == 1
    assert "quacc server start" in done.stderr
