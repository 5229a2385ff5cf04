"""Summary, table and figure of bands and densities of states."""

from __future__ import annotations

from typing import Any

import numpy as np

REFERENCES = {
    "bands_job": ("Setyawan2010",),
    "dos_job": ("Kawamura2014",),
    "abinit.dos_job": ("Blochl1994",),
}

_WINDOW = (-8.0, 8.0)
"""Of energies around the Fermi energy that figures show (eV)."""


def summarise(result: Any) -> str:
    gap = result["band_gap"]
    if not gap["gap"]:
        return f"a metal, E_F = {result['fermi_energy']:.3f} eV"
    return f"gap {gap['gap']:.3f} eV, direct gap {gap['direct_gap']:.3f} eV"


def tabulate(result: Any) -> list[dict[str, Any]]:
    gap = result["band_gap"]
    return [
        {
            "gap (eV)": gap["gap"],
            "direct gap (eV)": gap["direct_gap"],
            "valence maximum (eV)": gap["valence_maximum"],
            "at k": _words(gap["valence_kpoint"]),
            "conduction minimum (eV)": gap["conduction_minimum"],
            "and at k": _words(gap["conduction_kpoint"]),
            "Fermi energy (eV)": result["fermi_energy"],
        }
    ]


def draw(result: Any, figure: Any) -> None:
    axes = figure.add_subplot()
    if "distances" in result:
        _draw_bands(result, axes)
    else:
        _draw_densities(result, axes)
    axes.set_title(f"{result['formula']}: {summarise(result)}")


def _draw_bands(result: Any, axes: Any) -> None:
    distances = result["distances"]
    breaks = np.flatnonzero(np.diff(distances) < 1e-9) + 1
    for spin, levels in enumerate(result["eigenvalues"] - result["fermi_energy"]):
        for part in np.split(np.arange(len(distances)), breaks):
            axes.plot(distances[part], levels[part], color=f"C{spin}", linewidth=1)
    ticks: dict[float, str] = {}
    for point in result["special_points"]:
        label, place = point["label"].replace("G", "Γ"), round(point["distance"], 9)
        ticks[place] = f"{ticks[place]}|{label}" if place in ticks else label
    axes.set_xticks(list(ticks), list(ticks.values()))
    for place in ticks:
        axes.axvline(place, color="grey", linewidth=0.5)
    axes.axhline(0, color="black", linewidth=0.5)
    axes.set(xlim=(0, distances[-1]), ylim=_WINDOW, ylabel="energy - E$_F$ (eV)")


def _draw_densities(result: Any, axes: Any) -> None:
    energies = result["energies"] - result["fermi_energy"]
    shown = (energies > _WINDOW[0]) & (energies < _WINDOW[1])
    for spin, density in enumerate(result["dos"]):
        sign = -1 if spin else 1
        axes.fill_between(
            energies[shown], sign * density[shown], color="grey", alpha=0.4, linewidth=0
        )
        for number, (name, part) in enumerate(sorted(_by_orbital(result, spin).items())):
            axes.plot(
                energies[shown],
                sign * part[shown],
                color=f"C{number}",
                linewidth=1,
                label=None if spin else name,
            )
    axes.axvline(0, color="black", linewidth=0.5)
    axes.set(xlabel="energy - E$_F$ (eV)", ylabel="density of states (1/eV)")
    if "pdos" in result:
        axes.legend()


def _by_orbital(result: Any, spin: int) -> dict[str, Any]:
    """Return sums over atoms, by element and orbital."""
    found: dict[str, Any] = {}
    for row in result.get("pdos", []):
        name = f"{result['atoms'].symbols[row['atom']]} {row['orbital']}"
        found[name] = found.get(name, 0.0) + row["dos"][spin]
    return found


def _words(kpoint: Any) -> str | None:
    return None if kpoint is None else " ".join(f"{part:.3f}" for part in kpoint)
