"""One energy."""

from __future__ import annotations

from typing import Any

from quacc.atoms.convert import StructureLike
from quacc.calculators.code import Code
from quacc.runners.calculation import Calculation
from quacc.runners.workdir import CopyFiles
from quacc.schemas import StaticResult


def static(
    code: Code,
    /,
    atoms: StructureLike,
    *,
    copy_files: CopyFiles | None = None,
    **calc_kwargs: Any,
) -> Calculation[StaticResult]:
    """Compute the energy, forces and, for a crystal, the stress.

    Parameters
    ----------
    atoms
        Atoms, the result of a job, the path of a file, or a name such as Cu or H2O.
    """
    return Calculation(
        atoms,
        code,
        calc_kwargs,
        _compute,
        recipe="static_job",
        parameters={},
        copy_files=copy_files,
    )


def _compute(calculation: Calculation[StaticResult]) -> StaticResult:
    with calculation.run(steps=False) as atoms:
        calculation.evaluate(atoms)
    return calculation.result(atoms)
