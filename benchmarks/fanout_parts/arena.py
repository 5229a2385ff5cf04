"""Starts contestants, each in a process and a folder of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fanout_parts.peers import Environment, install
from fanout_parts.server import Server

BOUND = 600.0
"""A contestant that takes longer has failed (s)."""
HERE = Path(__file__).resolve().parent
ENGINES = {"public_prefect": "prefect", "public_parsl": "parsl"}


class Arena:
    """Where contestants run.

    Parameters
    ----------
    workdir
        Keeps their environments.
    scratch
        An empty folder, for their files.
    """

    def __init__(self, workdir: Path, scratch: Path) -> None:
        self.workdir, self.scratch = workdir, scratch
        self.environments: dict[str, Environment] = {}

    def environment(self, name: str) -> Environment:
        if name not in self.environments:
            self.environments[name] = install(name, self.workdir)
        return self.environments[name]

    def run(
        self, name: str, server: Server | None = None, results: Path | None = None, **options: Any
    ) -> dict[str, Any]:
        """Return a contestant's outcome, or ``{"failed": why}``.

        Parameters
        ----------
        results
            The folder of quacc's results; an empty one if none is given.
        **options
            Of :class:`fanout_parts.contestants.Run`.
        """
        if failure := self.environment(name).failure:
            return {"failed": f"pip: {failure}"}
        with self.started(name, server, results, **options) as (process, folder):
            try:
                code = process.wait(BOUND)
            except subprocess.TimeoutExpired:
                return {"failed": f"no result within {BOUND:g} s"}
            if code:
                lines = (folder / "log").read_text().strip().splitlines() or ["no message"]
                print(
                    f"{name} failed; the end of its log:", *lines[-30:], sep="\n", file=sys.stderr
                )
                return {"failed": lines[-1][:200]}
            outcome: dict[str, Any] = json.loads((folder / "outcome.json").read_text())
            return outcome

    def must(self, name: str, *args: Any, **options: Any) -> dict[str, Any]:
        """Return a contestant's outcome.

        Raises
        ------
        SystemExit
            It has none.
        """
        outcome = self.run(name, *args, **options)
        if "failed" in outcome:
            raise SystemExit(f"{name} {options}: {outcome['failed']}")
        return outcome

    @contextmanager
    def started(
        self,
        name: str,
        server: Server | None,
        results: Path | None,
        extra: dict[str, str] | None = None,
        **options: Any,
    ) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
        """Start a contestant; give the process and its folder; leave nothing running."""
        folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.scratch))
        python = self.environment(name).python
        environment = {
            "PATH": f"{Path(python).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "HOME": str(folder),
            "TMPDIR": str(folder),
            "PYTHONPATH": str(HERE.parent),
            "QUACC_RESULTS_DIR": str(results or folder / "results"),
            **({"QUACC_WORKFLOW_ENGINE": ENGINES[name]} if name in ENGINES else {}),
            **(server.environment if server else {}),
            "PREFECT_HOME": str(folder / "prefect"),
            **(extra or {}),
        }
        module = ["-m", "fanout_parts.contestants", name, json.dumps(options)]
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(
                [python, *module],
                cwd=folder,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield process, folder
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
