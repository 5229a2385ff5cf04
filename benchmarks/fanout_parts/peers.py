"""The other workflow programs, each installed from PyPI into an environment of its own."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

PUBLIC = "1.8.2"
# Prefect 3.8.8 dies at the first flow with a newer FastAPI. The same Prefect as ours, which the
# server has, too.
PREFECT = [f"prefect=={version('prefect')}", f"fastapi=={version('fastapi')}"]
PACKAGES = {
    "public_prefect": [f"quacc[prefect]=={PUBLIC}", *PREFECT],
    "public_parsl": [f"quacc[parsl]=={PUBLIC}"],
    "executorlib": ["executorlib"],
    "jobflow": ["jobflow"],
}
SHOWN = ("quacc", "prefect", "prefect-dask", "parsl", "executorlib", "jobflow", "ase", "numpy")


class Environment:
    """Python of a contestant's environment, or the reason why there is none.

    Parameters
    ----------
    python
        Its interpreter.
    failure
        What pip said at last.
    """

    def __init__(self, python: str, failure: str = "") -> None:
        self.python, self.failure = python, failure

    def versions(self) -> dict[str, str]:
        code = (
            "from importlib.metadata import version, distributions\n"
            "there = {one.metadata['Name'].lower() for one in distributions()}\n"
            f"print(*(name + '=' + version(name) for name in {SHOWN} if name in there))"
        )
        done = subprocess.run([self.python, "-c", code], capture_output=True, text=True, check=True)
        return dict(one.split("=") for one in done.stdout.split())


def install(name: str, folder: Path) -> Environment:
    """Make a contestant's environment if it is not there, with the ASE and NumPy of ours."""
    if name not in PACKAGES:
        return Environment(sys.executable)
    root = folder / name
    python = str(root / "bin" / "python")
    if not Path(python).exists():
        print(f"Installing {' '.join(PACKAGES[name])} from PyPI …", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(root)], check=True)
    same = [f"{package}=={version(package)}" for package in ("ase", "numpy", "scipy")]
    done = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", *PACKAGES[name], *same],
        capture_output=True,
        text=True,
    )
    return Environment(python, done.stderr.strip()[-300:] if done.returncode else "")
