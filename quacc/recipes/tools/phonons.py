"""Words, table and figure of phonons, from displacements or by perturbation theory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ase import units


def stability(result: Mapping[str, Any]) -> str:
    """Return in words whether there are imaginary modes, and how high frequencies are."""
    if result["stable"]:
        text = "no imaginary modes"
    else:
        text = f"IMAGINARY MODES down to {result['lowest_frequency']:.2f} THz"
    return f"{text}; frequencies up to {result['highest_frequency']:.2f} THz"


def tabulate(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    thermal = {name: np.array(values) for name, values in result["thermal"].items()}
    last = thermal["temperatures"][-1]
    wanted = sorted({0, *(t for t in (100, 200, 300, 500, 1000) if t <= last), last})
    rows = []
    for temperature in wanted:
        i = int(np.argmin(np.abs(thermal["temperatures"] - temperature)))
        rows.append(
            {
                "temperature (K)": float(thermal["temperatures"][i]),
                "free energy (eV)": float(thermal["free_energy"][i]),
                "entropy (kB)": float(thermal["entropy"][i] / units.kB),
                "heat capacity (kB)": float(thermal["heat_capacity"][i] / units.kB),
            }
        )
    return rows


def draw(result: Mapping[str, Any], figure: Any) -> None:
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[3, 1])
    ticks: dict[float, str] = {}
    end = 0.0
    for part in result["bands"]:
        distances = np.array(part["distances"])
        left.plot(distances, np.array(part["frequencies"]), color="C0", linewidth=1)
        first, second = part["labels"]
        begin = float(distances[0])
        if begin in ticks and ticks[begin] != first:
            ticks[begin] = f"{ticks[begin]}|{first}"
        else:
            ticks[begin] = first
        end = float(distances[-1])
        ticks[end] = second
    left.set_xticks(list(ticks), list(ticks.values()))
    for place in ticks:
        left.axvline(place, color="grey", linewidth=0.5)
    left.axhline(0, color="black", linewidth=0.5)
    left.set(xlim=(0, end), ylabel="frequency (THz)", title=f"Phonons of {result['formula']}")
    right.fill_betweenx(result["dos"]["frequencies"], result["dos"]["density"], alpha=0.5)
    right.set(xlabel="DOS (1/THz)")
    right.set_xlim(left=0)
