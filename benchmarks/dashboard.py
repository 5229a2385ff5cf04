"""A person in front of the dashboard, with a Slurm pool behind it, in real Chromium.

    python benchmarks/dashboard.py                  fill in forms, press Run and Cancel, look
    python benchmarks/dashboard.py --update-docs    put the pictures into docs/images, too

The server is that of `quacc server start`, the Slurm that of slurm/devcluster, the worker Prefect's
own command, all in a temporary folder. The exit code is 0 if all was as docs/slurm-pool.md says.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any, cast

import httpx
from chromium import Chromium

HERE = Path(__file__).resolve().parent
IMAGES = HERE.parent / "docs" / "images"
BIN = Path(sys.executable).parent

GONE = 30.0
"""Seconds after which Slurm may have nothing left of a run that was cancelled."""

ENDLESS = ["steps=100000000", "sample_every=1000000"]
"""Parameters of dynamics that somebody has to cancel."""


class Place:
    """A Slurm and a server, and the commands of a person there.

    Parameters
    ----------
    root
        For all files.
    slurm
        The cluster.
    """

    def __init__(self, root: Path, slurm: Any) -> None:
        self.root, self.slurm = root, slurm
        self.env = {
            **{name: value for name, value in os.environ.items() if "PREFECT" not in name},
            "HOME": str(root),
            "PREFECT_HOME": str(root / "prefect"),
            "QUACC_RESULTS_DIR": str(root / "results"),
            "SLURM_CONF": str(slurm.config),
        }
        told = self.run("quacc", "server", "start")
        self.url = re.findall(r"http://127\.0\.0\.1:\d+", told)[0]
        self.password = (root / "prefect" / "quacc-server" / "credentials").read_text().strip()
        self.env["PREFECT_API_URL"] = f"{self.url}/api"
        self.env["PREFECT_API_AUTH_STRING"] = self.password

    def run(self, *words: str) -> str:
        """Run a command, and return what it prints."""
        program, *rest = words
        done = subprocess.run(
            [BIN / program, *rest], env=self.env, cwd=self.root, text=True, capture_output=True
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout

    def build(self, workflow: str, *values: str) -> str:
        """Make a deployment; return the address of its page."""
        given = [word for value in values for word in ("--set", value)]
        words = ["build", workflow, "--pool", "hpc", "--site", "devcluster", "-c", "emt"]
        told = self.run("quacc", "deployment", *words, *given)
        return re.findall(r"Its form: (\S+)", told)[0]

    def flow_run(self, run: str) -> dict[str, Any]:
        """Return what the server has of a flow run."""
        auth = cast(tuple[str, str], tuple(self.password.split(":")))
        return cast(
            dict[str, Any],
            httpx.get(f"{self.url}/api/flow_runs/{run}", auth=auth, timeout=60).json(),
        )

    @contextmanager
    def client(self) -> Iterator[Any]:
        """Yield a client of the server."""
        from prefect.client.orchestration import get_client
        from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

        api = {PREFECT_API_URL: f"{self.url}/api", PREFECT_API_AUTH_STRING: self.password}
        with temporary_settings(api), get_client(sync_client=True) as client:
            yield client

    def job(self, run: str) -> str:
        """Return the state of a flow run's job in Slurm's queue; empty if it has none."""
        listed = self.slurm.call("squeue", "-h", "-o", "%j %T").splitlines()
        return "".join(line.split()[1] for line in listed if run in line)


def cluster(root: Path) -> Any:
    """Return a Slurm of one node with one core, which is started and stopped by ``with``."""
    loader = SourceFileLoader("devcluster", str(HERE.parent / "slurm" / "devcluster"))
    devcluster = module_from_spec(cast(ModuleSpec, spec_from_loader("devcluster", loader)))
    loader.exec_module(devcluster)
    return devcluster.DevCluster(root / "slurm", nodes=1, cpus=1)


@contextmanager
def places() -> Iterator[Place]:
    """Yield a place where the worker runs, and end all of it."""
    with tempfile.TemporaryDirectory(prefix="quacc-dashboard-") as folder:
        root = Path(folder).resolve()
        with cluster(root) as slurm:
            place = Place(root, slurm)
            place.run("prefect", "work-pool", "create", "hpc", "--type", "slurm")
            with open(root / "worker.log", "wb") as log:
                words = ["worker", "start", "--pool", "hpc"]
                worker = subprocess.Popen(
                    [BIN / "prefect", *words], env=place.env, cwd=root, stdout=log, stderr=log
                )
            try:
                yield place
            finally:
                worker.terminate()
                worker.wait(60)
                place.run("quacc", "server", "stop")


def until(look: Callable[[], Any], what: str, seconds: float = 120) -> Any:
    """Return what is seen as soon as it is true."""
    end = time.monotonic() + seconds
    while not (seen := look()):
        if time.monotonic() > end:
            raise SystemExit(f"Not seen after {seconds:g} s: {what}")
        time.sleep(0.1)
    return seen


def start(browser: Chromium, form: str, atoms: str) -> str:
    """Fill in a form, submit it, and go to the page of its flow run; return its id."""
    browser.go(form)
    browser.click("Run", "button")
    browser.click("Custom run", "a, button")
    browser.click("", "textarea")
    browser.write(atoms)
    browser.click("Submit", "button")
    browser.click("View run", "a, button")
    return str(browser.wait("location.pathname.match(/flow-run.([0-9a-f-]{36})/)?.[1]"))


def cancel(browser: Chromium, place: Place, run: str, when: str) -> None:
    """Press the button, and see that the job goes, and what its state is."""
    browser.click("Cancel", "button")
    browser.wait("document.body.innerText.includes('Confirm')")
    until(lambda: place.job(run), "the job in squeue")
    there = time.monotonic()
    browser.click("Confirm", "button")
    begun = time.monotonic()
    if begun - there > 1:
        raise SystemExit(f"Too slow: the button was pressed after {begun - there:.1f} s.")
    until(lambda: not place.job(run), f"no job of the run that was cancelled {when}", GONE)
    gone = time.monotonic() - begun
    browser.see("Cancelled")
    state = place.flow_run(run)["state"]
    if state["type"] != "CANCELLED":
        raise SystemExit(f"The run that was cancelled {when} is {state}")
    print(f"Cancelled {when}: squeue has no job after {gone:.1f} s. {state['message']}", flush=True)


def look(browser: Chromium, place: Place, images: Path) -> None:
    """Do all of it."""
    slabs, dynamics = place.build("bulk_to_slabs"), place.build("md", *ENDLESS)
    browser.go(place.url)
    browser.click("", "input")
    browser.write(place.password)
    browser.click("Login", "button")
    browser.see("Dashboard")

    run = start(browser, slabs, "Cu")
    until(lambda: place.job(run), "the job in squeue")
    print("bulk_to_slabs: its job is in squeue.", flush=True)
    until(lambda: place.flow_run(run)["state"]["name"] == "Completed", "its end", 300)
    browser.go(f"{place.url}/runs/flow-run/{run}")
    browser.see("8 Task runs")  # of the crystal and its three slabs, relaxed and computed
    job = place.flow_run(run)["infrastructure_pid"]
    browser.see(f"Slurm job {job}, which prints to")
    time.sleep(3)  # the graph of the task runs is drawn
    browser.picture(images / "slurm-run.png", 820)
    browser.click("Artifacts")
    browser.click("emt-bulk-to-slabs-flow")
    browser.see("surface energy (J/m²)")
    time.sleep(1)
    browser.picture(images / "slurm-table.png", 480)
    print(f"bulk_to_slabs: Completed, as Slurm job {job}, with its table.", flush=True)

    running = start(browser, dynamics, "Cu")
    until(lambda: place.flow_run(running)["state"]["name"] == "Running", "the dynamics")
    waiting = start(browser, dynamics, "Al")
    browser.see("Queued (Resources)")
    browser.see("PENDING (Resources: the nodes are busy)")  # in the log
    browser.picture(images / "slurm-queued.png", 500)
    cancel(browser, place, waiting, "while it waits")
    browser.go(f"{place.url}/runs/flow-run/{running}")
    browser.see("Running")
    cancel(browser, place, running, "while it runs")
    early = start(browser, dynamics, "Ag")
    cancel(browser, place, early, "within a second of its submission")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--update-docs", action="store_true", help="replace the pictures")
    arguments = parser.parse_args()
    for program in ("chromium", "slurmctld"):
        if shutil.which(program) is None:
            raise SystemExit(f"{program} is not installed.")
    with places() as place:
        images = IMAGES if arguments.update_docs else place.root
        with Chromium(place.root / "chromium") as browser:
            look(browser, place, images)


if __name__ == "__main__":
    main()
