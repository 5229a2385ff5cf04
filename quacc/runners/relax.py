"""Relaxation with ASE's optimizers."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from ase import Atoms, units

from quacc.atoms.convert import StructureLike
from quacc.calculators.code import Code
from quacc.errors import (
    NotConvergedError,
    ParameterError,
    StructureError,
    require_bool,
    require_choice,
    require_count,
    require_number,
    require_positive,
)
from quacc.runners.calculation import Calculation
from quacc.runners.state import (
    check,
    check_atoms,
    move_atoms,
    pack_atoms,
    pack_frames,
    restore,
    snapshot,
    unpack_frames,
)
from quacc.runners.workdir import CopyFiles
from quacc.schemas import OptResult

OPTIMIZERS = {
    "ScaledBFGS": "quacc.runners.optimizers",
    "BFGS": "ase.optimize",
    "BFGSLineSearch": "ase.optimize",
    "FIRE": "ase.optimize",
    "LBFGS": "ase.optimize",
    "PreconLBFGS": "ase.optimize.precon",
}
"""Name of each optimizer, and the module that it comes from."""


def relax(
    code: Code,
    /,
    atoms: StructureLike,
    *,
    relax_cell: bool | str | Sequence[bool] = False,
    pressure: float = 0.0,
    fmax: float = 0.01,
    steps: int = 1000,
    optimizer: str = "ScaledBFGS",
    trajectory: bool = False,
    require_convergence: bool = False,
    copy_files: CopyFiles | None = None,
    **calc_kwargs: Any,
) -> Calculation[OptResult]:
    """Relax the positions and, if asked, the cell.

    Parameters
    ----------
    atoms
        Atoms, the result of a job, the path of a file, or a name such as Cu or H2O.
    relax_cell
        Relax the cell as well, with ASE's ``FrechetCellFilter``; the threshold then also
        applies to the filter's forces on the cell (eV/Å). True: all of it; "constant_volume": its
        shape; "hydrostatic": its volume, in all directions alike; "in_plane": its strain in the
        xy plane, for a layer with vacuum along z; six values that are true for the components of
        the strain that may change, in Voigt's order (xx, yy, zz, yz, xz, xy).
    pressure
        Hydrostatic pressure on the cell (GPa).
    fmax
        Converged when no atom feels a larger force (eV/Å). Forces on fixed atoms don't count.
    steps
        Maximum number of steps.
    optimizer
        ScaledBFGS (:class:`quacc.runners.optimizers.ScaledBFGS`), or BFGS, BFGSLineSearch, FIRE,
        LBFGS or PreconLBFGS of ASE.
    trajectory
        Return every step's structure, energy and forces.
    require_convergence
        Raise :class:`quacc.errors.NotConvergedError` instead of returning a result with
        ``converged: False``.
    """
    require_bool(trajectory=trajectory, require_convergence=require_convergence)
    require_positive(fmax=fmax)
    require_number(pressure=pressure)
    form = _form(relax_cell)
    if pressure and form in (False, "constant_volume"):
        raise ParameterError(
            f"pressure={pressure} GPa changes nothing where the volume is held: pass "
            "relax_cell=True, or leave pressure out."
        )
    require_count(steps=steps)
    require_choice("optimizer", optimizer, OPTIMIZERS)
    if form and "stress" not in code.properties:
        raise ParameterError(
            f"{code.title} computes no stress, so it can relax no cell: relax_cell must be False. "
            "A workflow takes the cell of a crystal that is the result of a job as it is."
        )
    return Calculation(
        atoms,
        code,
        calc_kwargs,
        _compute,
        recipe="relax_job",
        parameters={
            "relax_cell": form,
            "fmax": float(fmax),
            "steps": int(steps),
            "optimizer": optimizer,
            "trajectory": trajectory,
            # Not in the keys of what was computed before there was one.
            **({"pressure": float(pressure)} if pressure else {}),
        },
        options={"require_convergence": require_convergence},
        requires=_check_cell,
        copy_files=copy_files,
    )


def _check_cell(calculation: Calculation[OptResult]) -> None:
    pbc = calculation.input_atoms.pbc
    if calculation.parameters["relax_cell"] and not pbc.all():
        raise StructureError(
            "To relax the cell takes a structure that is periodic in three directions; this one "
            f"has pbc={pbc.tolist()}."
        )
    cell = calculation.input_atoms.cell.array
    if calculation.parameters["relax_cell"] == "in_plane" and abs(cell[:2, 2]).max() > 1e-3:
        raise StructureError(
            "relax_cell='in_plane' strains the xy plane, but the first two cell vectors do not lie "
            "in it. Rotate the structure, or say which strains may change."
        )


def _compute(calculation: Calculation[OptResult]) -> OptResult:
    parameters = calculation.parameters
    fmax, steps, trajectory = (parameters[name] for name in ("fmax", "steps", "trajectory"))
    energies: list[float] = []
    forces: list[float] = []
    frames: list[Atoms] = []
    with calculation.run() as atoms:
        # Before the cell changes, which it refers to.
        target = _target(atoms, parameters["relax_cell"], parameters.get("pressure", 0.0))
        dynamics = _optimizer(parameters["optimizer"], target, fmax)
        calls = Calls(atoms.calc)
        checkpoint = calculation.checkpoint

        def fits(saved: dict[str, Any]) -> None:
            check(dynamics, saved["optimizer"])
            check_atoms(atoms, saved["atoms"])
            for number in (saved["calls"], *saved["energies"], *saved["forces"]):
                float(number)
            unpack_frames(saved["frames"], atoms)

        if saved := checkpoint.resume(fits):
            restore(dynamics, saved["optimizer"])
            move_atoms(atoms, saved["atoms"])
            calls.count = saved["calls"]
            energies += saved["energies"]
            forces += saved["forces"]
            frames += unpack_frames(saved["frames"], atoms)
            for frame, energy in zip(frames, energies, strict=False):
                frame.info["energy"] = energy

        def state() -> dict[str, Any]:
            return {
                "optimizer": snapshot(dynamics),
                "atoms": pack_atoms(atoms),
                "calls": calls.count,
                "energies": energies,
                "forces": forces,
                "frames": pack_frames(frames),
            }

        calculation.evaluate(atoms)
        for converged in dynamics.irun(fmax=fmax, steps=steps - dynamics.nsteps):
            if len(energies) == dynamics.nsteps:  # else it is where an earlier attempt stopped
                calculation.check_finite(atoms)
                energies.append(float(atoms.get_potential_energy()))
                forces.append(float(np.linalg.norm(target.get_forces(), axis=1).max()))
                if trajectory:
                    frames.append(_frame(atoms))
            if not converged and dynamics.nsteps < steps:
                checkpoint.step(dynamics.nsteps, state)
        # A line search may end with the calculator at another structure.
        if atoms.calc.calculation_required(atoms, ["energy", "forces"]):
            calculation.evaluate(atoms)
    result = cast(OptResult, calculation.result(atoms))
    result["converged"] = bool(converged)
    result["steps"] = len(energies) - 1
    result["force_calls"] = calls.count
    result["fmax"] = fmax
    result["history"] = {"energy": np.array(energies), "fmax": np.array(forces)}
    if trajectory:
        result["trajectory"] = frames
    if not converged:
        text = (
            f"{calculation.title} did not converge in {steps} steps: the "
            f"largest force is {forces[-1]:.3g} eV/Å, above fmax = {fmax} eV/Å. Go on from "
            "the last structure with more steps, or with another optimizer."
        )
        result["warnings"].append(text)
        if calculation.options["require_convergence"]:
            raise NotConvergedError(
                text, atoms=result["atoms"], directory=result["directory"], result=dict(result)
            )
    return result


class Calls:
    """Counts what a calculator computes."""

    def __init__(self, calculator: Any) -> None:
        self.count = 0
        self._calculate = calculator.calculate
        calculator.calculate = self

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        self.count += 1
        self._calculate(*args, **kwargs)


def _optimizer(name: str, target: Any, fmax: float) -> Any:
    optimizer = getattr(importlib.import_module(OPTIMIZERS[name]), name)
    # ASE's own choice, which it makes with a warning for small structures.
    options = {"precon": "Exp" if len(target) >= 100 else None} if "Precon" in name else {}
    dynamics = optimizer(target, logfile=None, **options)
    dynamics.smax = fmax  # PreconLBFGS.run() sets it, but irun() does not
    return dynamics


CELLS = ("constant_volume", "hydrostatic", "in_plane")

_IN_PLANE = (1, 1, 0, 0, 0, 1)


def _form(relax_cell: Any) -> bool | str | list[int]:
    """Return how the cell is relaxed, spelled in one way."""
    if isinstance(relax_cell, bool | np.bool_):
        return bool(relax_cell)
    if isinstance(relax_cell, str) and relax_cell in CELLS:
        return relax_cell
    values = list(relax_cell) if isinstance(relax_cell, list | tuple | np.ndarray) else []
    if len(values) == 6 and all(one in (0, 1) for one in values) and any(values):
        return [int(one) for one in values]
    raise ParameterError(
        f"relax_cell must be True or False, {', '.join(map(repr, CELLS))}, or six values that are "
        f"true for the strains that may change (xx, yy, zz, yz, xz, xy), not {relax_cell!r}."
    )


def _target(atoms: Atoms, relax_cell: bool | str | list[int], pressure: float) -> Any:
    """Return what the optimizer moves: the atoms, or the atoms and their cell."""
    if relax_cell is False:
        return atoms
    from ase.filters import FrechetCellFilter

    mask = _IN_PLANE if relax_cell == "in_plane" else relax_cell
    return FrechetCellFilter(
        atoms,
        mask=None if isinstance(mask, bool | str) else mask,
        hydrostatic_strain=relax_cell == "hydrostatic",
        constant_volume=relax_cell == "constant_volume",
        scalar_pressure=pressure * units.GPa,
    )


def _frame(atoms: Atoms) -> Atoms:
    frame = atoms.copy()
    frame.info["energy"] = float(atoms.get_potential_energy())
    frame.arrays["forces"] = atoms.get_forces(apply_constraint=False)
    return frame
