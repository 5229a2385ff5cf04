"""What a result says in a few lines: names and texts, its numbers with their units."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import numpy as np

_UNITS = {
    "barrier": "eV",
    "reverse_barrier": "eV",
    "reaction_energy": "eV",
    "fermi_energy": "eV",
    "lowest_frequency": "THz",
    "highest_frequency": "THz",
    "acoustic_residual": "THz",
    "sum_rule": "eV/Å²",
    "born_sum_rule": "e",
    "force_calls": "",
    "imaginary_modes": "",
    "zero_point_energy": "eV",
    "temperature": "K",
    "pressure": "bar",
    "entropy": "eV/K",
    "enthalpy": "eV",
    "gibbs_energy": "eV",
    "internal_energy": "eV",
    "helmholtz_energy": "eV",
}
"""Numbers of jobs (``schemas.py``); the results of workflows name their own units."""


def facts(result: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is known of any result: a heading, and a text."""
    yield "key", result["key"]
    count = len(result["atoms"])
    atoms = f"{count} atom{'' if count == 1 else 's'}"
    yield "structure", f"{result['atoms'].get_chemical_formula()}, {atoms}"
    if calculator := result.get("calculator"):
        version = calculator.get("version")  # a trained one's is among those of its record
        yield "calculator", f"{calculator['name']} {version}" if version else str(calculator)
    elif names := [one["fingerprint"] for one in result.get("calculators", [])]:
        yield "calculators", ", ".join(names)
    values = result.get("results", {})
    if "energy" in values:
        energy = values["energy"]
        yield "energy", f"{energy:.6f} eV ({energy / len(result['atoms']):.6f} eV per atom)"
    if values.get("forces") is not None:
        # As the relaxation sees them: what a constraint holds does not count.
        forces = np.array(values["forces"], dtype=float)
        for constraint in result["atoms"].constraints:
            with suppress(RuntimeError):  # one that would compute
                constraint.adjust_forces(result["atoms"], forces)
        yield "max force", f"{np.linalg.norm(forces, axis=1).max(initial=0):.4f} eV/Å"
    if "converged" in result:
        text = "yes" if result["converged"] else "no"
        threshold = f", force threshold {result['fmax']} eV/Å" if "fmax" in result else ""
        steps = f", {result['steps']} steps" if "steps" in result else ""
        yield "converged", f"{text}{steps}{threshold}"
    if "jobs" in result:
        yield "made from", f"{len(result['jobs'])} results"
    if "flow_run" in result:
        yield "flow run", result["flow_run"]
    provenance = result.get("provenance", {})
    if "started" in provenance:
        tries = provenance.get("attempts", 1)
        attempts = f" in {tries} attempts" if tries > 1 else ""
        seconds = provenance.get("wall_seconds", 0)
        yield "started", f"{provenance['started']}, took {seconds:.1f} s{attempts}"
    if "host" in provenance:
        job = f", job {provenance['job_id']}" if provenance.get("job_id") else ""
        yield "host", f"{provenance['host']}{job}"
    packages = ("quacc", "ase", "python")
    if versions := ", ".join(f"{n} {provenance[n]}" for n in packages if n in provenance):
        yield "versions", versions
    if "directory" in result:
        yield "directory", result["directory"] or "none (computed in memory)"


def numbers(result: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the properties that are one number, or yes or no: key, and number with its unit."""
    units = {**_UNITS, **result.get("units", {})}
    own: dict[str, Any] = {**result.get("thermo", {}), **result}
    for name, value in own.items():
        if name in _SAID:
            continue
        unit = units.get(name, "")
        if isinstance(value, bool | np.bool_):
            yield name, "yes" if value else "no"
        elif isinstance(value, int | float | np.integer | np.floating):
            text = "0" if abs(float(value)) < _NOTHING else f"{value:.6g}"
            yield name, f"{text} {unit}".rstrip()


_NOTHING = 1e-10
_SAID = frozenset({"converged", "steps", "fmax"})
"""What :func:`facts` says."""
