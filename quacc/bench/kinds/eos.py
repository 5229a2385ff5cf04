"""Equations of state against a reference: Δ, and the errors of V₀, B₀ and B'."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from ase import Atoms, units
from ase.utils.deltacodesdft import delta

from quacc.atoms.modify import in_cell
from quacc.bench.kinds import Metric, Observation, curve, observed
from quacc.errors import CalculationError, require_count, require_positive
from quacc.recipes.tools.verbs import Job, check, gather_each, submit
from quacc.recipes.tools.workflow import Calculator, workflow
from quacc.recipes.workflows.eos import fit

VERSION = 1
QUANTITIES = {
    "volume": {"title": "volume V₀", "unit": "Å³/atom"},
    "bulk_modulus": {"title": "bulk modulus B₀", "unit": "GPa"},
    "bulk_modulus_derivative": {"title": "its derivative B′", "unit": ""},
    "residual": {"title": "residual of the fit", "unit": "meV/atom"},
}
METRICS = {
    "delta": Metric("Δ", "meV/atom", "crystals"),
    "volume_error": Metric("error of V₀", "%", "crystals"),
    "bulk_modulus_error": Metric("error of B₀", "%", "crystals"),
}


@workflow
def measure(
    atoms: Atoms,
    static_job: Job = "static_job",
    *,
    calculator: Calculator | None = None,
    points: int = 7,
    window: float = 0.06,
    rounds: int = 10,
) -> Observation:
    """Fit E(V) around the model's own equilibrium, the cell scaled in all directions alike.

    As the Δ test does (Lejaeghere et al., Crit. Rev. Solid State Mater. Sci. 39, 1 (2014)): shape
    and positions are those of the reference, 7 volumes within ±6 % of V₀, Birch-Murnaghan. Where
    the model's V₀ is another than the one that the window was laid around, it is laid again.

    Parameters
    ----------
    points
        Volumes.
    window
        Part of the volume on either side.
    rounds
        How often the window is laid at most, each time around what was lowest before.
    """
    require_count(minimum=5, points=points)
    require_count(rounds=rounds)
    require_positive(window=window)
    check(static_job, atoms)
    centre, results = 1.0, []
    for _ in range(rounds):
        scales = centre * np.linspace(1 - window, 1 + window, points)
        cells = [in_cell(atoms, atoms.cell * scale ** (1 / 3)) for scale in scales]
        names = [f"volume × {scale:.3f}" for scale in scales]
        results = gather_each([submit(static_job, one) for one in cells], names, "eos")
        volumes = np.array([one.get_volume() for one in cells]) / len(atoms)
        energies = np.array([one["results"]["energy"] for one in results]) / len(atoms)
        found = fit(volumes, energies, "birchmurnaghan")
        before = centre
        if "failed" in found or not 0.3 < found["volume"] / atoms.get_volume() * len(atoms) < 3:
            # Toward lower energies, as far as the window reaches.
            centre = float(scales[int(np.argmin(energies))])
        else:
            centre = float(found["volume"] * len(atoms) / atoms.get_volume())
        if "failed" not in found and abs(centre / before - 1) < 0.01:
            break
    if "failed" in found:
        raise CalculationError(
            f"The energies have no minimum between {volumes.min():.2f} and {volumes.max():.2f} "
            f"Å³/atom: {found['failed']}.",
            atoms=atoms,
        )
    warnings = []
    if not volumes.min() < found["volume"] < volumes.max():
        warnings.append(
            f"V₀ = {found['volume']:.2f} Å³/atom lies outside the volumes of the fit, "
            f"{volumes.min():.2f} to {volumes.max():.2f}."
        )
    values = {name: found[name] for name in _FITTED}
    values["residual"] = found["residual"] * 1e3
    energy = curve(volumes, energies - energies.min(), "volume (Å³/atom)", "energy (eV/atom)")
    return observed(values, results, {"energy": energy}, warnings)


_FITTED = ("volume", "bulk_modulus", "bulk_modulus_derivative")


def errors(values: Mapping[str, float], reference: Mapping[str, float]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name in ("volume", "bulk_modulus"):
        if name in values and name in reference:
            found[f"{name}_error"] = 100 * abs(values[name] / reference[name] - 1)
    if all(name in values and name in reference for name in _FITTED):
        found["delta"] = 1e3 * delta(*_of(values), *_of(reference))
    return found


def _of(fitted: Mapping[str, float]) -> tuple[float, float, float]:
    """Return V₀, B₀ and B', in ASE's units."""
    volume, modulus, derivative = (fitted[name] for name in _FITTED)
    return volume, modulus * units.GPa, derivative
