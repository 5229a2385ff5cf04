"""Summary, table and figure of phonons by density functional perturbation theory."""

from __future__ import annotations

from typing import Any

import numpy as np

from quacc.recipes.workflows import phonon

REFERENCES = {"dfpt_job": ("Baroni2001", "Gonze1997", "Togo2023a", "Togo2023b", "Hinuma2017")}

tabulate = phonon.tabulate
draw = phonon.draw


def summarise(result: Any) -> str:
    mesh = "×".join(map(str, result["supercell"]))
    parts = [phonon.stability(result), f"from q-points {mesh}"]
    if result["dielectric_tensor"] is not None:
        mean = np.trace(np.array(result["dielectric_tensor"])) / 3
        parts.append(f"dielectric constant of the electrons {mean:.2f}")
    return ", ".join(parts)
