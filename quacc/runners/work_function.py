"""Work functions, from the electrostatic potential in the vacuum beside a slab."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from quacc.atoms.convert import StructureLike
from quacc.atoms.vacuum import VACUUM, gap, widest
from quacc.calculators.code import Code
from quacc.errors import StructureError
from quacc.runners.calculation import Calculation
from quacc.runners.workdir import CopyFiles
from quacc.schemas import WorkFunctionResult

_FLAT = 0.05
"""The vacuum level may change by so much over an Å (eV)."""


def work_function(
    code: Code,
    /,
    atoms: StructureLike,
    *,
    copy_files: CopyFiles | None = None,
    **calc_kwargs: Any,
) -> Calculation[WorkFunctionResult]:
    """Compute the energy of a slab, and the work functions of its two sides.

    The potential far from the slab, less the Fermi energy; of an insulator with fixed occupations,
    less the highest occupied level, which makes it an ionisation energy. Sides that differ make a
    dipole, for which the code has to correct.

    Parameters
    ----------
    atoms
        A slab, with vacuum along its third cell vector: atoms, the result of a job, or the path of
        a file. Relax it first.
    """
    return Calculation(
        atoms,
        code,
        calc_kwargs,
        _compute,
        recipe="work_function_job",
        corrected=False,
        parameters={},
        requires=_check_slab,
        copy_files=copy_files,
    )


def _check_slab(calculation: Calculation[WorkFunctionResult]) -> None:
    atoms = calculation.input_atoms
    if not atoms.pbc.all() or gap(atoms, 2) < VACUUM:
        raise StructureError(
            f"A work function is of a slab with at least {VACUUM:g} Å of vacuum along its third "
            "cell vector, periodic in all three directions."
        )
    calculation.code.require_programs("potential")


def _compute(calculation: Calculation[WorkFunctionResult]) -> WorkFunctionResult:
    with calculation.run(steps=False) as atoms:
        calculation.evaluate(atoms)
        heights, potential, fermi = calculation.code.potential(
            calculation.calc_parameters, calculation.place
        )
    result = cast(WorkFunctionResult, calculation.result(atoms))
    found = [_level(heights, potential, *side) for side in _sides(atoms)]
    levels = [level for level, _ in found]
    result["heights"], result["potential"] = heights, potential
    result["fermi_energy"] = fermi
    result["vacuum_levels"] = levels
    result["work_functions"] = [level - fermi for level in levels]
    steepest = max(slope for _, slope in found)
    if steepest > _FLAT:
        result["warnings"].append(
            f"The potential in the vacuum changes by {steepest:.2g} eV over an Å, so that there is "
            "no vacuum level. Give the slab more vacuum, or, where its sides differ, let the code "
            "correct for the dipole (dipole=True of Quantum ESPRESSO)."
        )
    return result


def _sides(atoms: Atoms) -> list[tuple[float, float]]:
    """Return, below and above the slab, the last atom's height and the middle of the vacuum (Å).

    The latter is beyond the former, in the direction of the vacuum.
    """
    found = widest(atoms.get_scaled_positions()[:, 2])
    width, bottom = (part * atoms.cell.lengths()[2] for part in found)
    middle = bottom - width / 2
    return [(bottom, middle), (bottom - width, middle)]


def _level(
    heights: NDArray[Any], potential: NDArray[Any], atom: float, middle: float
) -> tuple[float, float]:
    """Return the potential two thirds of the way from an atom to the middle, and its slope."""
    length = len(heights) * heights[1]
    place = atom + (middle - atom) * 2 / 3
    around = np.interp([place - 0.5, place, place + 0.5], heights, potential, period=length)
    return float(around[1]), float(abs(around[2] - around[0]))
