"""What quacc's task runner costs and saves on Slurm, next to plain prefect-dask.

    python benchmarks/slurm.py                  measure, print, write slurm.json
    python benchmarks/slurm.py --update-docs    put slurm.json into docs/benchmarks.md

Both submit to the same real Slurm, the one of slurm/devcluster, and report to the same Prefect
server. They take turns, each time in a new process with a new runner, and every figure is the
ratio of two such neighbours.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.metadata import version
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any, cast

from report import frame, measured_on, save, update_docs

HERE = Path(__file__).resolve().parent
RESULT = HERE / "slurm.json"
START, END = "<!-- table: benchmarks/slurm.py -->", "<!-- end of Slurm's table -->"

JOB = {
    "n_workers": 1,
    "cores": 1,
    "memory": "1GB",
    "walltime": "00:30:00",
    "python": sys.executable,
    "interface": "lo",
}
"""Of both runners: one Slurm job with one worker."""

STEPS, PAUSE = 250, 0.15
"""Of the dynamics, and how long each force call sleeps (s), as if the code were slow."""
DYNAMICS: dict[str, Any] = {"timestep": 1.0, "temperature": 300.0, "friction": 0.01}
"""fs, K and 1/fs."""
SEED = 3

CHECK = 30.0
"""Slurm looks so often for jobs whose time is up (s)."""
BOUND = 300.0
"""A run that takes longer has no result (s)."""

MEASURES = {
    "first_result": ("from calling a flow to its first result", "s"),
    "redone": ("force calls repeated after a walltime, of those before it", "%"),
    "restart": ("from the walltime to the next force call", "s"),
    "until_result": ("from the walltime to the result", "s"),
}
"""Key of each figure in the result: how the table calls it, and its unit."""


# --- in the measured processes, which run one flow each, and on their workers ------------------


def _runner(side: str, *, adapt: bool) -> Any:
    if side == "ours":
        from quacc.prefect import make_runner

        return make_runner(JOB)
    import dask_jobqueue  # noqa: F401  (else the flow's time would have its import)
    from prefect_dask import DaskTaskRunner

    return DaskTaskRunner(
        cluster_class="dask_jobqueue.SLURMCluster",
        cluster_kwargs=JOB,
        # Else it waits for ever after the walltime.
        adapt_kwargs={"minimum_jobs": 1, "maximum_jobs": 1} if adapt else None,
    )


def first_worker(side: str) -> dict[str, float]:
    """Return how long a flow takes to its first result."""
    from prefect import flow, task

    from quacc.recipes.emt.core import relax_job

    @flow(task_runner=_runner(side, adapt=False))
    def campaign() -> float:
        task(relax_job).submit("Cu").result()
        return time.monotonic()

    start = time.monotonic()
    return {"first_result": campaign() - start}


def walltime_worker(side: str) -> dict[str, float]:
    """Return the final energy of a dynamics, and when it arrived."""
    from prefect import flow, task

    @flow(task_runner=_runner(side, adapt=True))
    def campaign() -> dict[str, float]:
        job: Any = task(retries=0 if side == "ours" else 3)(dynamics)
        energy = job.submit(side, os.getcwd()).result()
        return {"energy": energy, "arrived": time.time()}

    return campaign()


def dynamics(side: str, folder: str) -> float:
    """Run the same dynamics with quacc or with ASE alone; note every force call in a file."""
    from ase.calculators.emt import EMT

    emt: Any = EMT

    def calculate(self: Any, *args: Any, **kwargs: Any) -> None:
        with open(f"{folder}/calls", "a") as stream:
            stream.write(f"{time.time()} {os.environ['SLURM_JOB_ID']}\n")
        time.sleep(PAUSE)
        calculate_emt(self, *args, **kwargs)

    Path(folder, "ready").touch()
    while not Path(folder, "go").exists():
        time.sleep(0.05)
    calculate_emt, emt.calculate = emt.calculate, calculate
    try:
        return _quacc_dynamics() if side == "ours" else ase_dynamics()
    finally:
        emt.calculate = calculate_emt


def _crystal() -> Any:
    from ase.build import bulk
    from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
    from numpy.random import default_rng

    atoms = bulk("Cu", cubic=True) * (3, 3, 3)
    temperature = DYNAMICS["temperature"]
    MaxwellBoltzmannDistribution(atoms, temperature_K=temperature, rng=default_rng(SEED))
    return atoms


def _quacc_dynamics() -> float:
    from quacc.recipes.emt.core import md_job

    result = md_job(_crystal(), dynamics="Langevin", steps=STEPS, seed=SEED, **DYNAMICS)
    energy: float = result["results"]["energy"]
    return energy


def ase_dynamics() -> float:
    from ase import units
    from ase.calculators.emt import EMT
    from ase.md.langevin import Langevin
    from numpy.random import default_rng

    atoms = _crystal()
    atoms.calc = EMT()
    integrator = Langevin(
        atoms,
        DYNAMICS["timestep"] * units.fs,
        temperature_K=DYNAMICS["temperature"],
        friction=DYNAMICS["friction"] / units.fs,
        fixcm=False,
        rng=default_rng(SEED),
    )
    integrator.run(STEPS)
    return float(atoms.get_potential_energy())


WORKERS: dict[str, Callable[[str], dict[str, float]]] = {
    "first": first_worker,
    "walltime": walltime_worker,
}


# --- in the process that measures --------------------------------------------------------------


class Laboratory:
    """A Slurm cluster, a Prefect server, and a folder for every run.

    Parameters
    ----------
    slurm
        A started ``DevCluster``.
    root
        An empty folder.
    server
        Prefect's settings that lead to the server, as environment variables.
    """

    def __init__(self, slurm: Any, root: Path, server: dict[str, str]) -> None:
        self.slurm, self.root, self.server = slurm, root, server
        self.energy = ase_dynamics()
        slurm.call("scontrol", "setdebug", "debug2")  # so that it logs its looks at the clock

    def first_result(self, side: str) -> dict[str, float] | None:
        """Return the seconds from calling a flow to its first result."""
        with self._started("first", side) as (_, outcome):
            return outcome()

    def walltime(self, side: str) -> dict[str, float] | None:
        """Return what a walltime in the middle of a dynamics costs; None if it never ended."""
        with self._started("walltime", side) as (folder, outcome):
            wait_until((folder / "ready").exists)
            wait_until(self._half_before_check)
            (folder / "go").touch()
            wait_until((folder / "calls").exists)
            [job] = self.slurm.call("squeue", "-h", "-o", "%A").split()
            self.slurm.call("scontrol", "update", f"jobid={job}", "EndTime=now+2")
            result = outcome()
            calls = [line.split() for line in (folder / "calls").read_text().splitlines()]
        if result is None:
            return None
        if abs(result["energy"] - self.energy) > 1e-6:
            raise SystemExit(f"{side}: energy {result['energy']}, so not the same dynamics.")
        before = [float(when) for when, where in calls if where == job]
        after = [float(when) for when, where in calls if where != job]
        if not after:
            raise SystemExit(f"{side}: the walltime came too late.")
        return {
            "redone": 100 * (len(calls) - STEPS - 1) / len(before),
            "restart": after[0] - before[-1],
            "until_result": result["arrived"] - before[-1],
        }

    def _half_before_check(self) -> bool:
        """Tell whether half of the dynamics fits in until Slurm looks at the jobs' times."""
        log = (self.slurm.folder / "log" / "slurmctld.log").read_text()
        stamps = re.findall(r"\[(\S+)\] debug2: Testing job time limits", log)
        if not stamps:
            return False
        check = datetime.fromisoformat(stamps[-1]).timestamp() + CHECK
        return 0 <= time.time() - (check - STEPS * PAUSE / 2) < 1

    @contextmanager
    def _started(self, kind: str, side: str) -> Iterator[tuple[Path, Callable[[], Any]]]:
        """Start a process; give its folder, and what waits for its outcome."""
        folder = Path(tempfile.mkdtemp(prefix=f"{kind}-{side}-", dir=self.root))
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "HOME": str(folder),
            "SLURM_CONF": str(self.slurm.config),
            **self.server,
        }
        began = time.monotonic()
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, str(Path(__file__).resolve()), "--worker", kind, side],
                cwd=folder,
                env=environment,
                stdout=log,
                stderr=log,
            )

        def outcome() -> Any:
            try:
                code = process.wait(BOUND - (time.monotonic() - began))
            except subprocess.TimeoutExpired:
                return None
            if code:
                raise SystemExit(f"{side} failed:\n{(folder / 'log').read_text()[-3000:]}")
            return json.loads((folder / "outcome.json").read_text())

        try:
            yield folder, outcome
        finally:
            process.kill()
            process.wait()
            if jobs := self.slurm.call("squeue", "-h", "-o", "%A").split():
                self.slurm.call("scancel", *jobs)
            wait_until(lambda: not self.slurm.call("squeue", "-h", "-o", "%A"))


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + BOUND
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"Something did not happen within {BOUND:g} s.")
        time.sleep(0.1)


@contextmanager
def laboratory() -> Iterator[Laboratory]:
    """Start Slurm and a Prefect server in a temporary folder."""
    script = str(HERE.parent / "slurm" / "devcluster")
    loader = SourceFileLoader("devcluster", script)
    devcluster = module_from_spec(cast(ModuleSpec, spec_from_loader("devcluster", loader)))
    loader.exec_module(devcluster)
    with tempfile.TemporaryDirectory(prefix="quacc-benchmark-") as folder:
        root = Path(folder).resolve()
        os.environ["PREFECT_HOME"] = str(root / "prefect")  # Prefect reads it at import
        for name in [name for name in os.environ if name.startswith("PREFECT_API_")]:
            del os.environ[name]
        from prefect.settings import get_current_settings

        from quacc.prefect.lifecycle.server import prefect_api

        with devcluster.DevCluster(root / "slurm") as slurm, prefect_api():
            server = get_current_settings().to_environment_variables(exclude_unset=True)
            yield Laboratory(slurm, root, server)


def measure(rounds: int, walltimes: int) -> dict[str, Any]:
    pairs: dict[str, list[dict[str, Any]]] = {"first_result": [], "walltime": []}
    with laboratory() as lab:
        for side in ("ours", "plain"):  # compiles Python files
            lab.first_result(side)
        for name, count in (("first_result", rounds), ("walltime", walltimes)):
            for number in range(count):
                print(f"\r{name}: {number + 1} of {count}", end="", file=sys.stderr)
                order = ("ours", "plain") if number % 2 else ("plain", "ours")
                pairs[name].append({side: getattr(lab, name)(side) for side in order})
            print(file=sys.stderr)
    return {
        name: summary(pairs["first_result" if name == "first_result" else "walltime"], name)
        for name in MEASURES
    }


def summary(pairs: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """Return the medians of both sides, all values, and the median ratio of neighbours."""
    values: dict[str, list[float | None]] = {
        side: [pair[side] and round(pair[side][name], 2) for pair in pairs]
        for side in ("ours", "plain")
    }
    both = [(pair["ours"][name], pair["plain"][name]) for pair in pairs if all(pair.values())]
    ratios = [ours / plain for ours, plain in both]
    return {
        "ratio": round(statistics.median(ratios), 3) if ratios else None,
        "range": [round(min(ratios), 3), round(max(ratios), 3)] if ratios else [None, None],
        **{side: {"median": _median(some), "values": some} for side, some in values.items()},
    }


def _median(values: list[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return round(statistics.median(there), 2) if there else None


def table(report: dict[str, Any]) -> str:
    """Return the report as a table in Markdown."""
    lines = [
        "| on Slurm | quacc | plain prefect-dask | quacc / plain |",
        "|---|---|---|---|",
    ]
    for name, (title, unit) in MEASURES.items():
        one = report["results"][name]
        cells = []
        for side in ("ours", "plain"):
            middle, lost = one[side]["median"], one[side]["values"].count(None)
            cell = "no result" if middle is None else f"{middle:.3g} {unit}"
            cells.append(f"{cell}, and {lost} without a result" if lost and middle else cell)
        low, high = one["range"]
        ratio = one["ratio"] and f"**{one['ratio']:.2f}** ({low:.2f} to {high:.2f})"
        lines.append(f"| {title} | {cells[0]} | {cells[1]} | {ratio or ''} |")
    versions = report["versions"]
    shown = {"Slurm": versions["slurm"], "Prefect": versions["prefect"]}
    shown |= {name: versions[name] for name in ("prefect-dask", "dask-jobqueue")}
    lines += ["", measured_on(report, shown)]
    return "\n".join(lines)


def _versions() -> dict[str, str]:
    names = ["quacc", "ase", "prefect", "prefect-dask", "dask", "distributed", "dask-jobqueue"]
    told = subprocess.run(["slurmctld", "-V"], capture_output=True, text=True, check=True).stdout
    return {name: version(name) for name in names} | {"slurm": told.split()[-1]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7, help="of the first result (7)")
    parser.add_argument("--walltimes", type=int, default=3, help="on each side (3)")
    parser.add_argument("--update-docs", action="store_true", help="measure nothing")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        kind, side = options.worker
        Path("outcome.json").write_text(json.dumps(WORKERS[kind](side)))
        return
    if options.update_docs:
        update_docs(table(json.loads(RESULT.read_text())), START, END)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that Slurm's daemons end, too
    report = frame(
        "python benchmarks/slurm.py", _versions(), measure(options.rounds, options.walltimes)
    )
    save(report, RESULT)
    print(table(report))


if __name__ == "__main__":
    main()
