"""The Python that has the potentials (make ml)."""

from pathlib import Path

POTENTIALS = str(Path(__file__).parents[1] / ".envs" / "ml" / "bin" / "python")
