"""How long the first energy takes in a process that has loaded nothing yet."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms

from quacc.bench.kinds import Metric, Observation, observed, without_reference
from quacc.bench.probe import ProbedAfresh, check_probe, probe_afresh, submit_probe
from quacc.errors import require_count
from quacc.recipes.tools.verbs import Job
from quacc.recipes.tools.workflow import Calculator

VERSION = 1
ALONE = True
QUANTITIES: dict[str, Any] = {
    "first": {"title": "from the start of the process to the first energy", "unit": "s"},
    "later": {"title": "a later energy", "unit": "s"},
    "start": {"title": "what only the first one takes", "unit": "s"},
    "memory": {"title": "largest memory", "unit": "MiB"},
}
METRICS = {
    name: Metric(QUANTITIES[name]["title"], QUANTITIES[name]["unit"], "structures", "median")
    for name in ("first", "later", "start")
}


def measure(
    atoms: Atoms,
    probe_job: Job = probe_afresh,
    *,
    calculator: Calculator,
    calls: int = 5,
) -> Observation:
    """Compute a structure in a process of its own, and again and again.

    The first time holds the start of Python, imports, loading, and the first calculation.

    Parameters
    ----------
    calls
        Later ones, whose median counts.
    """
    require_count(calls=calls)
    check_probe(atoms, calculator)
    found: ProbedAfresh = submit_probe(probe_job, [atoms] * (1 + calls), calculator).result()
    later = float(np.median(found["seconds"][1:]))
    values = {"first": found["start"], "later": later, "start": found["start"] - later}
    return observed({**values, "memory": found["memory"]}, [])


errors = without_reference(METRICS)
