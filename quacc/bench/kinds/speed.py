"""How long a calculation takes, and how much memory, against the number of atoms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms

from quacc.bench.kinds import Metric, Observation, curve, observed, without_reference
from quacc.bench.probe import ProbedAfresh, check_probe, probe_afresh, submit_probe
from quacc.errors import ParameterError, require_count
from quacc.recipes.tools.verbs import Job
from quacc.recipes.tools.workflow import Calculator

VERSION = 1
ALONE = True
QUANTITIES: dict[str, Any] = {
    "smallest": {"title": "time of the smallest cell", "unit": "s"},
    "largest": {"title": "time of the largest cell", "unit": "s"},
    "per_atom": {"title": "time of the largest cell for each atom", "unit": "ms/atom"},
    "power": {"title": "power of the number of atoms that the time grows with", "unit": ""},
    "together": {"title": "time of the smallest cell, of several in one call", "unit": "s"},
    "memory": {"title": "largest memory", "unit": "MiB"},
}
METRICS = {
    "largest": Metric("time of the largest cell", "s", "crystals"),
    "per_atom": Metric("time for each atom", "ms/atom", "crystals"),
    "together": Metric("time of the smallest cell, of several in one call", "s", "crystals"),
    "memory": Metric("largest memory", "MiB", "crystals", "max"),
}


def measure(
    atoms: Atoms,
    probe_job: Job = probe_afresh,
    *,
    calculator: Calculator,
    repeats: Sequence[int] = (1, 2, 3),
    calls: int = 3,
    at_once: int = 8,
) -> Observation:
    """Compute larger and larger cells in a process of its own, each several times.

    Times are of energy, forces and stress together, medians of the calls but for a first one;
    what starting and loading take is not in them.

    Parameters
    ----------
    repeats
        Cells along each direction, growing.
    calls
        Of each cell.
    at_once
        Smallest cells that are computed in one call, by calculators that have the option
        ``at_once``.
    """
    repeats = list(repeats)
    require_count(
        calls=calls, at_once=at_once, **{f"repeats[{i}]": one for i, one in enumerate(repeats)}
    )
    if len(repeats) < 2 or sorted({*repeats}) != repeats:
        raise ParameterError(f"repeats must be two numbers at least, and grow, not {repeats!r}.")
    check_probe(atoms, calculator)
    cells = [atoms.repeat(np.where(atoms.pbc, one, 1).tolist()) for one in repeats]
    structures = [cell for cell in cells for _ in range(1 + calls)]
    found: ProbedAfresh = submit_probe(probe_job, structures, calculator, at_once=at_once).result()
    seconds = np.median(found["seconds"].reshape(len(cells), -1)[:, 1:], axis=1)
    counts = np.array([len(cell) for cell in cells])
    values = {
        "smallest": seconds[0],
        "largest": seconds[-1],
        "per_atom": 1e3 * seconds[-1] / counts[-1],
        "power": np.polyfit(np.log(counts), np.log(seconds), 1)[0],
        "memory": found["memory"],
    }
    if found["together"] is not None:
        values["together"] = found["together"]
    curves = {
        "time": curve(counts, seconds, "atoms", "time (s)"),
        "per_atom": curve(counts, 1e3 * seconds / counts, "atoms", "time (ms/atom)"),
    }
    return observed(values, [], curves)


errors = without_reference(METRICS)
