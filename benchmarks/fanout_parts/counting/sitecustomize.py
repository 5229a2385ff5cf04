"""Every Python with this folder in PYTHONPATH notes each structure whose forces EMT computes.

One line, a hash of the structure, in a file of the process in the folder ``FANOUT_COUNTS``. It
knows nothing of quacc.
"""

from __future__ import annotations

import os
from typing import Any

from ase import Atoms
from ase.calculators.emt import EMT
from fanout_parts.items import fingerprint

_calculate = EMT.calculate


def _noting(self: Any, atoms: Atoms | None = None, *args: Any, **kwargs: Any) -> None:
    with open(f"{os.environ['FANOUT_COUNTS']}/{os.getpid()}", "a") as stream:
        stream.write(fingerprint(self.atoms if atoms is None else atoms) + "\n")
    _calculate(self, atoms, *args, **kwargs)


EMT.calculate = _noting
