"""Train a potential and benchmark it, whenever somebody asks; copy this file and edit it.

    quacc server start
    export PREFECT_API_URL=http://127.0.0.1:4200/api
    export PREFECT_API_AUTH_STRING=$(cat ~/.prefect/quacc-server/credentials)
    python recipes/train_and_benchmark.py              serves the flow; stays open
    prefect deployment run 'train-and-benchmark/benchmark-runner'

The last line in another terminal, with the same variables. Trains a SNAP for LAMMPS on rattled and
strained cells of copper that EMT has computed; then the benchmarks below tell its errors on cells
that it has not seen, and its size and speed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from prefect import flow, get_run_logger, task
from prefect.settings import PREFECT_API_URL

from quacc.bench.benchmark import Benchmark, benchmark
from quacc.bench.reporters import report
from quacc.bench.rows import flat
from quacc.bench.session import Run, run
from quacc.recipes.emt.core import static_job as reference_job
from quacc.recipes.lammps.core import static_job
from quacc.recipes.train import train_job

Results = list[dict[str, Any]]


@benchmark(name="energy error (meV/atom)", tags=("metric",))
def energy_error(model: dict, test: list) -> float:
    """Return the mean absolute error of energies."""
    differences = [
        (found["results"]["energy"] - known["results"]["energy"]) / len(known["atoms"])
        for found, known in zip(predictions(model, test), test, strict=True)
    ]
    return 1000 * float(np.mean(np.abs(differences)))


@benchmark(name="force error (meV/Å)", tags=("metric",))
def force_error(model: dict, test: list) -> float:
    """Return the mean absolute error of the forces' components."""
    differences = [
        found["results"]["forces"] - known["results"]["forces"]
        for found, known in zip(predictions(model, test), test, strict=True)
    ]
    return 1000 * float(np.mean(np.abs(differences)))


@benchmark(name="size (bytes)", tags=("model-meta",))
def size(model: dict) -> int:
    """Return the size of the potential's files."""
    return sum(Path(file).stat().st_size for file in model["potential"])


@benchmark(name="inference time (ms/atom)", tags=("model-meta",))
def inference_time(model: dict, test: list, repeats: int = 5) -> float:
    """Return the wall time of one calculation, job and all."""
    predictions(model, test)  # what takes time at first, such as loading LAMMPS
    start = time.perf_counter()
    for _ in range(repeats):
        predictions(model, test)
    atoms = sum(len(one["atoms"]) for one in test)
    return 1000 * (time.perf_counter() - start) / repeats / atoms


BENCHMARKS: list[Benchmark] = [energy_error, force_error, size, inference_time]


def predictions(model: dict[str, Any], test: Results) -> Results:
    """Compute the structures with the potential."""
    own = {name: value for name, value in model.items() if name != "name"}
    job: Callable[..., Any] = static_job
    return [job(one["atoms"], **own) for one in test]


def structures(count: int, seed: int) -> list[Atoms]:
    """Return rattled and strained cells of copper, of four atoms each."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        atoms = bulk("Cu", cubic=True, a=3.6 * (1 + rng.uniform(-0.04, 0.04)))
        atoms.set_cell(atoms.cell @ (np.eye(3) + rng.normal(0, 0.01, (3, 3))), scale_atoms=True)
        atoms.rattle(0.08, seed=seed + number)
        found.append(atoms)
    return found


@task
def prepare_data(count: int, seed: int) -> Results:
    return [dict(reference_job(atoms)) for atoms in structures(count, seed)]


@task
def train(data: Results) -> dict[str, Any]:
    return dict(train_job(data, test=0.2, twojmax=4, cutoff=4.5, alpha=1e-8))


@task
def run_metrics(model: dict[str, Any], test: Results) -> list[Run]:
    return run(BENCHMARKS, parameters={"model": model, "test": test}, tags=["metric"])


@task
def run_metadata(model: dict[str, Any], test: Results) -> list[Run]:
    return run(BENCHMARKS, parameters={"model": model, "test": test}, tags=["model-meta"])


@flow(name="train-and-benchmark")
def train_and_benchmark(cells: int = 24, seed: int = 0) -> list[dict[str, Any]]:
    """Train on cells of copper, and benchmark what comes out; return one row a benchmark."""
    data = prepare_data(cells, seed)
    potential = train(data)
    test = [one for one in data if one["key"] in potential["split"]["test"]]
    model = potential["calculator"]
    records = [*run_metrics(model, test), *run_metadata(model, test)]

    report(records, "prefect:train-and-benchmark")
    logger = get_run_logger()
    for row in flat(records):
        logger.info("%s: %s", row["benchmark"], row["error"] or f"{row['value']:.6g}")
    if failed := [one["name"] for one in records if one["error"]]:
        raise RuntimeError(f"Benchmarks failed: {', '.join(failed)}.")
    return flat(records)


def main() -> None:
    if not PREFECT_API_URL.value():
        sys.exit(
            "No Prefect API is configured: run `quacc server start`, and set PREFECT_API_URL and "
            "PREFECT_API_AUTH_STRING, as the top of this file says."
        )
    train_and_benchmark.serve(name="benchmark-runner")


if __name__ == "__main__":
    main()
