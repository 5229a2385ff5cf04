"""One energy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quacc.atoms.convert import StructureLike
from quacc.calculators.base import Code
from quacc.runners.calculation import Calculation
from quacc.runners.workdir import CopyFiles
from quacc.schemas import StaticResult


def run_static(
    structure: StructureLike,
    code: Code,
    calc_kwargs: Mapping[str, Any],
    *,
    recipe: str,
    version: int = 1,
    copy_files: CopyFiles | None = None,
) -> StaticResult:
    """Compute the energy of a structure, and its forces and stress where the code has them.

    See :class:`quacc.runners.calculation.Calculation` for the parameters and errors.
    """
    calculation = Calculation(
        structure,
        code,
        recipe=recipe,
        version=version,
        parameters={},
        calc_kwargs=calc_kwargs,
        copy_files=copy_files,
    )
    with calculation.run(steps=False) as atoms:
        calculation.evaluate(atoms)
    return calculation.result(atoms)
