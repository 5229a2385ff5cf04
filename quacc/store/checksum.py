"""Whether a result's numbers are still those that were computed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from ase import Atoms


def checksum(results: Mapping[str, Any], atoms: Atoms) -> str:
    """Return a short hash of energies, forces, … and of the structure that they belong to."""
    digest = hashlib.sha256()
    numbers = {"numbers": atoms.numbers, "positions": atoms.positions, "cell": atoms.cell.array}
    for name, value in sorted({**results, **numbers}.items()):
        digest.update(name.encode())
        try:
            digest.update(np.asarray(value, dtype=float).tobytes())
        except (TypeError, ValueError):  # no numbers
            digest.update(repr(value).encode())
    return digest.hexdigest()[:16]
