"""Transition states with ASE's dimer method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from ase import Atoms, units
from ase.mep import DimerControl, MinModeAtoms, MinModeTranslate
from numpy.typing import NDArray

from quacc.atoms.convert import StructureLike
from quacc.atoms.vacuum import in_one_piece, is_isolated
from quacc.calculators.code import Code
from quacc.errors import ParameterError, require_count, require_number, require_positive
from quacc.runners.calculation import Calculation
from quacc.runners.relax import Calls
from quacc.runners.vibrations import differences, moving, squared_energies
from quacc.runners.workdir import CopyFiles
from quacc.schemas import TSResult

SMALLEST, LARGEST = 1e-4, 0.1
"""Displacements that make sense (Å)."""


def ts(
    code: Code,
    /,
    atoms: StructureLike,
    *,
    mode: Sequence[Sequence[float]] | NDArray[Any] | None = None,
    displacement: float = 0.01,
    fmax: float = 0.01,
    steps: int = 500,
    copy_files: CopyFiles | None = None,
    **calc_kwargs: Any,
) -> Calculation[TSResult]:
    """Find the transition state near a guess, and check it by its vibrations.

    ASE's dimer method: Henkelman and Jónsson, J. Chem. Phys. 111, 7010 (1999); Heyden, Bell and
    Keil, J. Chem. Phys. 123, 224101 (2005). At its end, the Hessian of all atoms that are not fixed
    takes six calculations for each. Any other number of imaginary modes than one is a warning.

    Parameters
    ----------
    atoms
        The guess: atoms, the result of a job (such as the highest image of a band), or the path of
        a file.
    mode
        How the atoms move over the barrier, (atoms, 3), of any length; None takes the lowest mode
        of the Hessian of the guess, for six more calculations for each atom that is not fixed.
    displacement
        Half the length of the dimer, and how far each atom is displaced for the Hessians (Å).
    fmax
        Converged when no atom feels a larger force (eV/Å), and the curvature is negative.
    steps
        Maximum number of steps of the dimer.
    """
    require_positive(displacement=displacement, fmax=fmax)
    if not SMALLEST <= displacement <= LARGEST:
        raise ParameterError(
            f"displacement must be between {SMALLEST} and {LARGEST} Å, not {displacement!r}: "
            "smaller ones drown in rounding errors, larger ones leave the harmonic region."
        )
    require_count(steps=steps)
    return Calculation(
        atoms,
        code,
        calc_kwargs,
        _compute,
        recipe="ts_job",
        parameters={
            "mode": None if mode is None else _array(mode),
            "displacement": float(displacement),
            "fmax": float(fmax),
            "steps": int(steps),
        },
        requires=_check_mode,
        copy_files=copy_files,
    )


def _array(mode: Any) -> NDArray[Any]:
    try:
        values = np.array(mode, dtype=float)
    except (TypeError, ValueError):
        raise ParameterError(f"mode must be numbers, (atoms, 3), not {mode!r:.80}.") from None
    require_number(mode=float(np.abs(values).sum()))  # refuses what is not finite
    return values


def _check_mode(calculation: Calculation[TSResult]) -> None:
    atoms, mode = calculation.input_atoms, calculation.parameters["mode"]
    indices = moving(atoms)
    if mode is None:
        return
    mode = np.array(mode)
    if mode.shape != (len(atoms), 3):
        raise ParameterError(
            f"mode has the shape {mode.shape}, but there are {len(atoms)} atoms: give "
            f"({len(atoms)}, 3)."
        )
    if np.linalg.norm(mode[indices]) < 1e-6:
        raise ParameterError(
            "mode moves none of the atoms that are not fixed. Give the direction over the barrier."
        )


class _Control(DimerControl):
    """One whose parameters are its own: ASE writes them into the class, for all dimers."""

    def __init__(self, **parameters: Any) -> None:
        self.parameters = dict(DimerControl.parameters)
        super().__init__(logfile=None, **parameters)


class _CheckedCalls(Calls):
    """Counts calculations, and refuses numbers that are not finite."""

    def __init__(self, calculation: Calculation[Any], atoms: Atoms) -> None:
        super().__init__(atoms.calc)
        self._check = lambda: calculation.check_finite(atoms)

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        super().__call__(*args, **kwargs)
        self._check()


def _compute(calculation: Calculation[TSResult]) -> TSResult:
    parameters = calculation.parameters
    displacement, fmax, steps = (parameters[name] for name in ("displacement", "fmax", "steps"))
    given = None if parameters["mode"] is None else np.array(parameters["mode"])
    indices = moving(calculation.input_atoms)
    energies: list[float] = []
    forces: list[float] = []
    curvatures: list[float] = []
    at_guess: list[NDArray[Any]] = []
    at_end: list[NDArray[Any]] = []
    walk: dict[str, Any] | None = None
    converged = False
    with calculation.run() as atoms:
        calls = _CheckedCalls(calculation, atoms)
        checkpoint = calculation.checkpoint

        def fits(saved: dict[str, Any]) -> None:
            for one in (saved["at_guess"], saved["at_end"]):
                np.array(one, dtype=float).reshape(-1, 3 * len(indices))
            for number in (saved["calls"], *(one for name in _SERIES for one in saved[name])):
                float(number)
            if saved["walk"] is not None:
                for name in ("positions", "mode", "forces"):
                    if np.shape(saved["walk"][name]) != (len(atoms), 3):
                        raise ValueError(f"{name} of another shape")
                for name in ("curvature", "energy", "steps", "converged"):
                    float(saved["walk"][name])

        if saved := checkpoint.resume(fits):
            at_guess, at_end, walk = saved["at_guess"], saved["at_end"], saved["walk"]
            energies, forces, curvatures = (saved[name] for name in _SERIES)
            calls.count = saved["calls"]

        def save() -> None:
            def state() -> dict[str, Any]:
                return {
                    "at_guess": at_guess,
                    "at_end": at_end,
                    "walk": walk,
                    "calls": calls.count,
                    **dict(zip(_SERIES, (energies, forces, curvatures), strict=True)),
                }

            checkpoint.step(len(at_guess) + len(energies) + len(at_end), state)

        if walk is None:
            if given is None:
                hessian = differences(calculation, atoms, indices, displacement, at_guess, save)
                start = lowest_mode(atoms, hessian, indices)
            else:
                start = np.zeros((len(atoms), 3))
                start[indices] = given[indices]
                start /= np.linalg.norm(start)
        else:
            start = walk["mode"]
            atoms.set_positions(walk["positions"], apply_constraint=False)
        dimer, dynamics = _dimer(atoms, start, displacement)
        if walk is not None:
            _put_back(dimer, dynamics, walk)
            converged = bool(walk["converged"])
        if not converged and dynamics.nsteps < steps:
            for converged in dynamics.irun(fmax=fmax, steps=steps - dynamics.nsteps):
                if len(energies) == dynamics.nsteps:  # else it is where an earlier attempt stopped
                    energies.append(float(dimer.get_potential_energy()))
                    largest = np.linalg.norm(dimer.get_forces(real=True), axis=1).max()
                    forces.append(float(largest))
                    curvatures.append(float(dimer.get_curvature()))
                walk = _walk(dimer, dynamics, bool(converged))
                if not converged and dynamics.nsteps < steps:
                    save()
        hessian = differences(calculation, atoms, indices, displacement, at_end, save)
        calculation.evaluate(atoms)
    result = cast(TSResult, calculation.result(atoms))
    squares, _ = squared_energies(atoms, hessian, indices)
    imaginary = int((squares < 0).sum())
    result["converged"] = bool(converged)
    result["steps"] = len(energies) - 1
    result["force_calls"] = calls.count
    result["fmax"] = fmax
    result["frequencies"] = np.sign(squares) * np.sqrt(np.abs(squares)) / units.invcm
    result["imaginary_modes"] = imaginary
    result["mode"] = _vibration(atoms, hessian, indices, given)
    result["hessian"] = hessian
    result["history"] = dict(
        zip(
            ("energy", "fmax", "curvature"),
            map(np.array, (energies, forces, curvatures)),
            strict=True,
        )
    )
    if not converged:
        result["warnings"].append(
            f"{calculation.title} did not converge in {steps} steps: the largest force is "
            f"{forces[-1]:.3g} eV/Å (fmax = {fmax} eV/Å), the curvature "
            f"{curvatures[-1]:.3g} eV/Å². This is no transition state. Go on from the last "
            "structure and its mode, or from a better guess."
        )
    if imaginary != 1:
        found = ", ".join(f"{-one:.0f}i" for one in result["frequencies"][:imaginary])
        result["warnings"].append(
            f"{calculation.title}: a transition state has one imaginary mode, but this structure "
            f"has {imaginary}{f' ({found} 1/cm)' if found else ''}. "
            + (
                "It is a saddle point of higher order, or small ones are noise of the forces: "
                "displace it along the second mode and search again, or lower fmax."
                if imaginary
                else "Search again from a better guess."
            )
        )
    return result


_SERIES = ("energies", "forces", "curvatures")


def _dimer(atoms: Atoms, mode: NDArray[Any], displacement: float) -> tuple[Any, Any]:
    control = _Control(dimer_separation=displacement)
    # The seed is of random displacements, which there are none of.
    dimer = MinModeAtoms(atoms, control, eigenmodes=[mode], random_seed=0)
    return dimer, MinModeTranslate(dimer, logfile=None)


_CONJUGATE = ("direction_old", "cg_direction")


def _walk(dimer: Any, dynamics: Any, converged: bool) -> dict[str, Any]:
    """Return what decides the next steps of a dimer that has been rotated."""
    return {
        "positions": dimer.atoms.positions.copy(),
        "mode": np.array(dimer.eigenmodes[0]),
        "curvature": float(dimer.curvatures[0]),
        "forces": np.array(dimer.forces0),
        "energy": float(dimer.energy0),
        "steps": dynamics.nsteps,
        "converged": converged,
        **{name: np.array(vars(dynamics)[name]) for name in _CONJUGATE if name in vars(dynamics)},
    }


def _put_back(dimer: Any, dynamics: Any, walk: dict[str, Any]) -> None:
    dimer.curvatures = [walk["curvature"]]
    dimer.forces0, dimer.energy0 = np.array(walk["forces"]), walk["energy"]
    dimer.minmode_init = dimer.rotation_required = False
    dimer.check_atoms = dimer.atoms.copy()
    dynamics.nsteps = walk["steps"]
    for name in _CONJUGATE:
        if name in walk:
            setattr(dynamics, name, np.array(walk[name]))
            dynamics.cg_init = False


def lowest_mode(atoms: Atoms, hessian: NDArray[Any], indices: NDArray[Any]) -> NDArray[Any]:
    """Return the eigenvector of the lowest eigenvalue of a Hessian, (atoms, 3), of length 1.

    Where all atoms are free to move, none along a translation, nor a rotation of a molecule.
    """
    matrix = hessian.copy()
    if len(indices) == len(atoms):
        basis = [np.tile(axis, len(atoms)) for axis in np.eye(3)]
        if is_isolated(atoms):
            whole = in_one_piece(atoms, (0, 1, 2))
            around = whole.positions - whole.positions.mean(axis=0)
            basis += [np.cross(axis, around).ravel() for axis in np.eye(3)]
        vectors, sizes, _ = np.linalg.svd(np.array(basis).T, full_matrices=False)
        free = vectors[:, sizes > 1e-6 * sizes.max()]
        inside = np.eye(len(matrix)) - free @ free.T
        matrix = inside @ matrix @ inside + 1e6 * free @ free.T
    found = np.zeros((len(atoms), 3))
    found[indices] = np.linalg.eigh(matrix)[1][:, 0].reshape(-1, 3)
    return _pointing(found, None)


def _vibration(
    atoms: Atoms, hessian: NDArray[Any], indices: NDArray[Any], given: NDArray[Any] | None
) -> NDArray[Any]:
    from ase.vibrations import VibrationsData

    data = VibrationsData.from_2d(atoms, hessian, indices=indices.tolist())
    energies, modes = data.get_energies_and_modes(all_atoms=True)
    return _pointing(np.array(modes[int(np.argmin((energies**2).real))]), given)


def _pointing(mode: NDArray[Any], given: NDArray[Any] | None) -> NDArray[Any]:
    """Return the mode with length 1, and the sign that does not depend on the library."""
    mode = mode / np.linalg.norm(mode)
    if given is not None and abs(float(np.vdot(mode, given))) > 1e-9:
        return mode * np.sign(np.vdot(mode, given))
    flat = mode.ravel()
    return mode * np.sign(flat[np.flatnonzero(np.abs(flat) > np.abs(flat).max() - 1e-6)[0]])
