"""The Slurm pool beside Prefect's process pool and prefect-slurm-worker: what happens in ten cases.

    python benchmarks/pools.py                  try all, print, write pools.json
    python benchmarks/pools.py --update-docs    put pools.json into docs/benchmarks.md

All report to one server, run the same flows, and submit to the same Slurm, slurm/devcluster with
one core. Workers have their defaults.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
from dashboard import Place, cluster
from report import frame, measured_on, save, update_docs

RESULT = Path(__file__).resolve().parent / "pools.json"
START, END = "<!-- table: benchmarks/pools.py -->", "<!-- end of pools' table -->"

BOUND = 90.0
"""Seconds after which nothing more is expected."""

ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")

FLOWS = """
import os, time
from prefect import flow

@flow
def quick():
    return 1

@flow
def dies():
    print("last words", flush=True)
    os._exit(3)

@flow
def holds():
    time.sleep(600)
"""


@dataclass
class Kind:
    """A type of pool, and what its jobs need to be told."""

    title: str
    type: str
    package: str | None
    """What has to be installed, if not in this Python."""
    fields: dict[str, Any]
    in_slurm: bool = True


KINDS = {
    "slurm": Kind("quacc", "slurm", None, {"cores": 1, "memory": "500MB", "walltime": "00:10:00"}),
    "process": Kind("Prefect, process", "process", None, {}, in_slurm=False),
    "slurm-worker": Kind(
        "prefect-slurm-worker",
        "slurm-worker",
        "prefect-slurm-worker==0.11.1",
        {"memory": "500M", "time_limit": 10},
    ),
}


class Side:
    """A pool with its worker.

    Parameters
    ----------
    place
        The server and the Slurm.
    kind
        Which of them it is.
    """

    def __init__(self, place: Place, kind: Kind) -> None:
        self.place, self.kind = place, kind
        self.folder = place.root / kind.type
        self.folder.joinpath("start").mkdir(parents=True)
        self.folder.joinpath("poolflows.py").write_text(FLOWS)
        self.python = Path(sys.executable)
        if kind.package:
            self.python = self.folder / "python" / "bin" / "python"
            pins = [f"{one}=={version(one)}" for one in ("prefect", "fastapi", "sqlalchemy")]
            install = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python"]
            for words in (
                [sys.executable, "-m", "venv", self.folder / "python"],
                [*install, self.python, *pins, kind.package],
            ):
                subprocess.run(words, check=True)
        self.env = {**place.env, "PATH": f"{self.python.parent}:{os.environ['PATH']}"}
        words = ["work-pool", "create", kind.type, "--type", kind.type]
        subprocess.run(self.prefect(*words), env=self.env, check=True, stdout=subprocess.DEVNULL)
        self.log = self.folder / "worker.log"
        self.worker = self.start()

    def prefect(self, *words: str) -> list[str]:
        return [str(self.python), "-m", "prefect", *words]

    def start(self) -> psutil.Popen:
        """Start a worker."""
        with self.log.open("ab") as log:
            return psutil.Popen(
                self.prefect("worker", "start", "--pool", self.kind.type),
                env=self.env, cwd=self.folder / "start", stdout=log, stderr=log,
            )  # fmt: skip

    def stop(self) -> None:
        processes = [self.worker, *self.worker.children(recursive=True)]
        for process in processes:
            with suppress(psutil.Error):
                process.kill()
        self.worker.wait()

    def run(self, flow: str, **fields: Any) -> str:
        """Start a run of a flow; return its id."""
        variables = {**self.kind.fields, "env": {"PYTHONPATH": str(self.folder)}, **fields}
        with self.place.client() as client:
            deployment = client.create_deployment(
                flow_id=client.create_flow_from_name(flow),
                name=f"{self.kind.type}-{time.time_ns()}",
                entrypoint=f"poolflows.{flow}",
                work_pool_name=self.kind.type,
                job_variables=variables,
            )
            return str(client.create_flow_run_from_deployment(deployment).id)

    def state(self, run: str) -> dict[str, Any]:
        return dict(self.place.flow_run(run)["state"])

    def reach(self, run: str, *names: str) -> None:
        """Wait until a run has such a state."""
        if not waited(lambda: self.state(run)["name"] in names, BOUND):
            raise RuntimeError(f"the run is {self.state(run)}")

    def began(self, flow: str = "holds", **fields: Any) -> str:
        run = self.run(flow, **fields)
        self.reach(run, "Running")
        return run

    def end(self, run: str) -> str:
        """Return how a run ended, or that it did not."""
        waited(lambda: self.state(run)["type"] in ENDED, BOUND)
        state = self.state(run)
        if state["type"] not in ENDED:
            return f"still {state['name']} after {BOUND:.0f} s"
        first = (state["message"] or "").strip().splitlines()
        return f"{state['name']}: {first[0]}" if first else state["name"]

    def jobs(self) -> list[str]:
        return self.place.slurm.call("squeue", "-h", "-o", "%A").split()

    def newest(self) -> str:
        return max(self.jobs(), key=int)

    def alive(self) -> bool:
        """Return whether anything of the runs goes on."""
        return bool(self.jobs() if self.kind.in_slurm else self.worker.children())

    def cancelled(self, run: str, gone: Callable[[], bool]) -> str:
        """Do what the button does; return when the job was gone, and the state then."""
        with self.place.client() as client:
            from prefect.states import Cancelling

            client.set_flow_run_state(UUID(run), Cancelling())
        begun = time.monotonic()
        there = not waited(gone, BOUND)
        when = f"job there after {BOUND:.0f} s" if there else f"{time.monotonic() - begun:.0f} s"
        waited(lambda: self.state(run)["type"] in ENDED, 10)
        return f"{when}, {self.state(run)['name']}"

    def clear(self) -> None:
        """End what goes on, so that the next case begins with nothing."""
        if self.jobs():
            self.place.slurm.call("scancel", *self.jobs())
        for child in self.worker.children(recursive=True):
            with suppress(psutil.Error):
                child.kill()
        waited(lambda: not self.jobs(), BOUND)


def waited(look: Callable[[], Any], seconds: float) -> bool:
    """Wait until something is true; return whether it was."""
    end = time.monotonic() + seconds
    while not look():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True


def readable(file: Path, root: Path) -> bool:
    """Return whether others can read a file below a folder that they can look into."""
    folders = [one for one in file.parents if one.is_relative_to(root)]
    open_folders = all(one.stat().st_mode & 0o001 for one in folders)
    return file.is_file() and open_folders and bool(file.stat().st_mode & 0o004)


def normal(side: Side) -> str:
    return side.end(side.run("quick"))


def refused(side: Side) -> str:
    return side.end(side.run("quick", partition="nowhere"))


def dead(side: Side) -> str:
    return side.end(side.run("dies"))


def walltime(side: Side) -> str:
    run = side.began()
    side.place.slurm.call("scontrol", "update", f"jobid={side.newest()}", "EndTime=now+1")
    return side.end(run)


def scancel(side: Side) -> str:
    run = side.began()
    side.place.slurm.call("scancel", side.newest())
    return side.end(run)


def cancel_waiting(side: Side) -> str:
    side.began()
    [running] = side.jobs()
    run = side.run("holds")
    waited(lambda: len(side.jobs()) == 2, BOUND)
    time.sleep(10)
    return side.cancelled(run, lambda: side.jobs() == [running])


def cancel_running(side: Side) -> str:
    run = side.began()
    return side.cancelled(run, lambda: not side.alive())


def cancel_early(side: Side) -> str:
    run = side.run("holds")
    waited(side.alive, BOUND)
    return side.cancelled(run, lambda: not side.alive())


def worker_killed(side: Side) -> str:
    run = side.began()
    children = side.worker.children(recursive=True)
    side.worker.kill()
    side.worker.wait()
    if side.kind.in_slurm:
        side.place.slurm.call("scancel", side.newest())
    for child in children:
        with suppress(psutil.Error):
            child.kill()
    side.worker = side.start()
    return side.end(run)


def secrets(side: Side) -> str:
    side.began()
    password = side.place.password.partition(":")[2]
    found = set()
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if password in " ".join(process.cmdline()):
                found.add("command lines")
    if side.kind.in_slurm:
        job = side.newest()
        for words in (("show", "job", "-dd", job), ("write", "batch_script", job, "-")):
            if password in side.place.slurm.call("scontrol", *words):
                found.add("scontrol")
    for file in side.place.root.rglob("*"):
        with suppress(OSError):
            if readable(file, side.place.root) and password in file.read_text(errors="replace"):
                found.add(file.name)
    return ", ".join(sorted(found)) or "nowhere"


CASES: dict[str, tuple[str, Callable[[Side], str], bool]] = {
    "normal": ("a flow that returns", normal, False),
    "refused": ("a partition that does not exist", refused, True),
    "dead": ("the process dies", dead, False),
    "walltime": ("the walltime ends, nothing was finished", walltime, True),
    "scancel": ("`scancel` by a person", scancel, True),
    "cancel_waiting": ("Cancel, 10 s after the job began to wait", cancel_waiting, True),
    "cancel_running": ("Cancel, while it runs", cancel_running, False),
    "cancel_early": ("Cancel, as soon as there is a job", cancel_early, False),
    "worker_killed": ("the worker is killed, its job too; a new worker", worker_killed, False),
    "secrets": ("where others can read the server's password", secrets, False),
}
"""What happens, what does it, and whether it needs Slurm."""


def measure(kinds: list[str], cases: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with places() as place:
        for name in kinds:
            kind = KINDS[name]
            found[name] = {}
            try:
                side = Side(place, kind)
            except subprocess.CalledProcessError as error:
                found[name] = dict.fromkeys(cases, f"not installed: {error}")
                continue
            try:
                for case in cases:
                    _, call, in_slurm = CASES[case]
                    if in_slurm and not kind.in_slurm:
                        found[name][case] = "no job"
                        continue
                    try:
                        found[name][case] = call(side)
                    except RuntimeError as error:
                        found[name][case] = f"not seen: {error}"
                    print(f"{name}, {case}: {found[name][case]}", flush=True)
                    side.clear()
            finally:
                side.stop()
    return found


@contextmanager
def places() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="quacc-pools-") as folder:
        root = Path(folder).resolve()
        root.chmod(0o755)  # others can look into it
        with cluster(root) as slurm:
            place = Place(root, slurm)
            try:
                yield place
            finally:
                place.run("quacc", "server", "stop")


def table(report: dict[str, Any]) -> str:
    results = report["results"]
    titles = [KINDS[name].title for name in results]
    lines = [f"| | {' | '.join(titles)} |", "|---" * (len(titles) + 1) + "|"]
    for case, (title, _, _) in CASES.items():
        cells = [results[name].get(case, "") for name in results]
        lines.append(f"| {title} | {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    versions = {"Prefect": report["versions"]["prefect"], "prefect-slurm-worker": "0.11.1"}
    return "\n".join([*lines, "", measured_on(report, versions)])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--update-docs", action="store_true")
    parser.add_argument("--only", help="kinds, such as slurm,process; writes no file")
    parser.add_argument("--cases", help="such as normal,dead; writes no file")
    arguments = parser.parse_args()
    import json

    if arguments.update_docs:
        update_docs(table(json.loads(RESULT.read_text())), START, END)
        return
    kinds = arguments.only.split(",") if arguments.only else [*KINDS]
    cases = arguments.cases.split(",") if arguments.cases else [*CASES]
    found = measure(kinds, cases)
    report = frame("python benchmarks/pools.py", {"prefect": version("prefect")}, found)
    print(table(report))
    if not arguments.only and not arguments.cases:
        save(report, RESULT)


if __name__ == "__main__":
    main()
