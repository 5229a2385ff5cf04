"""Minimum-energy paths with ASE's nudged elastic band."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import numpy as np
from ase import Atoms

from quacc.atoms import as_atoms
from quacc.atoms.convert import StructureLike
from quacc.atoms.same import check_match
from quacc.calculators.code import Code
from quacc.errors import (
    require_bool,
    require_choice,
    require_count,
    require_positive,
)
from quacc.runners.calculation import RELAXED, Calculation
from quacc.runners.state import check, restore, snapshot
from quacc.schemas import NEBResult

OPTIMIZERS = ("FIRE", "BFGS")

_BEFORE_CLIMBING = 0.3
"""The image climbs once no force on the band is larger than this (eV/Å)."""


def neb(
    code: Code,
    /,
    initial: StructureLike,
    final: StructureLike,
    *,
    images: int = 5,
    climb: bool = True,
    idpp: bool = True,
    spring: float = 0.1,
    fmax: float = 0.05,
    steps: int = 500,
    optimizer: str = "FIRE",
    exchange: bool = False,
    parallel: int = 1,
    **calc_kwargs: Any,
) -> Calculation[NEBResult]:
    """Find the minimum-energy path between two minima.

    Improved tangents (Henkelman and Jónsson, J. Chem. Phys. 113, 9978 (2000)), an image that climbs
    to the saddle point (Henkelman et al., J. Chem. Phys. 113, 9901 (2000)), and a first band from
    the image-dependent pair potential (Smidstrup et al., J. Chem. Phys. 140, 214106 (2014)).

    Parameters
    ----------
    initial, final
        Both ends, relaxed, their atoms in the same order.
    images
        Number of images between the two ends.
    climb
        Let the highest image climb to the saddle point.
    idpp
        Start from the image-dependent pair potential instead of straight lines.
    spring
        Constant of the springs between images (eV/Å²).
    fmax
        Converged when no atom of any image feels a larger force across the band (eV/Å).
    steps
        Maximum number of steps.
    optimizer
        FIRE or BFGS.
    exchange
        The atoms do exchange their places; without it, structures whose atoms seem to be in
        different orders are refused.
    parallel
        Number of images that are computed at a time, for a code that is an external program.
    """
    require_count(images=images, steps=steps, parallel=parallel)
    require_bool(climb=climb, idpp=idpp, exchange=exchange)
    require_positive(spring=spring, fmax=fmax)
    require_choice("optimizer", optimizer, OPTIMIZERS)
    end = as_atoms(final)
    return Calculation(
        initial,
        code,
        calc_kwargs,
        _compute,
        recipe="neb_job",
        parameters={
            "final": end,
            "images": int(images),
            "climb": climb,
            "idpp": idpp,
            "spring": float(spring),
            "fmax": float(fmax),
            "steps": int(steps),
            "optimizer": optimizer,
        },
        options={"parallel": parallel, "exchange": exchange},
        requires=lambda one: check_match(one.input_atoms, end, exchange=exchange),
    )


def _compute(calculation: Calculation[NEBResult]) -> NEBResult:
    from quacc.runners.band import Band

    parameters = calculation.parameters
    end, images, climb = (parameters[name] for name in ("final", "images", "climb"))
    fmax, steps, optimizer = (parameters[name] for name in ("fmax", "steps", "optimizer"))
    parallel = 1 if calculation.code.program is None else calculation.options["parallel"]
    energies: list[list[float]] = []
    forces: list[float] = []
    begun = 0  # how many steps there were before this stage
    with calculation.run() as atoms:
        band = [atoms, *(calculation.another(atoms, f"image{i + 1}") for i in range(images + 1))]
        band[-1].set_positions(end.positions, apply_constraint=False)
        neb = Band(band, calculation, parameters["spring"], parallel)
        neb.interpolate(
            method="idpp" if parameters["idpp"] else "linear", mic=True, apply_constraint=False
        )
        checkpoint = calculation.checkpoint

        def fits(saved: dict[str, Any]) -> None:
            check(_optimizer(optimizer, neb), saved["optimizer"])
            if saved["positions"].shape != neb.get_positions().shape:
                raise ValueError("another band")
            np.array(saved["energies"], dtype=float).reshape(-1, len(band))
            for number in (saved["begun"], saved["climb"], *saved["forces"]):
                float(number)

        if saved := checkpoint.resume(fits):
            energies, forces = saved["energies"], saved["forces"]
            neb.climb, begun = saved["climb"], saved["begun"]
            neb.set_positions(saved["positions"])
        for image in (band[0], band[-1]):
            calculation.evaluate(image)
        at_ends = max(float(_largest(image.get_forces())) for image in (band[0], band[-1]))
        dynamics = _optimizer(optimizer, neb)
        if saved:
            restore(dynamics, saved["optimizer"])

        def state() -> dict[str, Any]:
            return {
                "optimizer": snapshot(dynamics),
                "positions": neb.get_positions(),
                "climb": neb.climb,
                "begun": begun,
                "energies": energies,
                "forces": forces,
            }

        converged = False
        while True:
            target = max(fmax, _BEFORE_CLIMBING) if climb and not neb.climb else fmax
            left = steps - max(len(forces) - 1, 0)
            for converged in dynamics.irun(fmax=target, steps=left):
                # Otherwise it is where the stage before, or an earlier attempt, has ended.
                if len(forces) == begun + dynamics.nsteps:
                    energies.append([float(one.get_potential_energy()) for one in band])
                    forces.append(float(_largest(neb.get_forces())))
                if not converged and len(forces) <= steps:
                    checkpoint.step(len(forces) - 1, state)
            if not converged or not climb or neb.climb:
                break
            neb.climb, begun = True, len(forces) - 1
            dynamics = _optimizer(optimizer, neb)
        top = int(np.argmax(energies[-1]))
        atoms.set_positions(band[top].positions, apply_constraint=False)
        calculation.evaluate(atoms)
    result = cast(NEBResult, calculation.result(atoms))
    last = np.array(energies[-1])
    result["converged"] = bool(converged)
    result["steps"] = len(forces) - 1
    result["fmax"] = fmax
    result["history"] = {"barrier": np.ptp(np.array(energies), axis=1), "fmax": np.array(forces)}
    result["images"] = [
        calculation.input_atoms.copy(),
        *(_plain(one) for one in band[1:-1]),
        end,
    ]
    result["energies"] = last
    result["path"] = path_length(result["images"])
    result["barrier"] = float(last.max() - last[0])
    result["reverse_barrier"] = float(last.max() - last[-1])
    result["reaction_energy"] = float(last[-1] - last[0])
    if not converged:
        result["warnings"].append(
            f"{calculation.title} did not converge in {steps} steps: the "
            f"largest force on the band is {forces[-1]:.3g} eV/Å, above fmax = {fmax} eV/Å."
        )
    if at_ends > max(fmax, RELAXED):
        result["warnings"].append(
            f"The ends are not relaxed: there are forces of {at_ends:.2g} eV/Å on their atoms, so "
            "that the barrier is not that between two minima. Relax them first."
        )
    if top in (0, len(band) - 1):
        result["warnings"].append("There is no barrier between the two ends on this path.")
    return result


def path_length(images: Sequence[Atoms]) -> Any:
    """Return how far along the path each image is (Å), by the distance of all atoms together."""
    from ase.geometry import find_mic

    steps = [0.0]
    for one, other in pairwise(images):
        moved, _ = find_mic(other.positions - one.positions, one.cell, one.pbc)
        steps.append(float(np.linalg.norm(moved)))
    return np.cumsum(steps)


def _largest(forces: Any) -> Any:
    return np.linalg.norm(forces.reshape(-1, 3), axis=1).max()


def _optimizer(name: str, neb: Any) -> Any:
    from ase import optimize

    return getattr(optimize, name)(neb, logfile=None)


def _plain(atoms: Atoms) -> Atoms:
    copy = atoms.copy()
    copy.calc = None
    return copy
