"""Jobs with MOPAC. Energies are heats of formation; see :mod:`quacc.calculators.mopac`."""

from __future__ import annotations

from typing import Any

from quacc.atoms.convert import StructureLike
from quacc.calculators.mopac import CODE
from quacc.recipes.jobs import make_neb_job
from quacc.runners.relax import run_relax
from quacc.runners.static import run_static
from quacc.runners.workdir import CopyFiles
from quacc.schemas import OptResult, StaticResult


def static_job(
    atoms: StructureLike, *, copy_files: CopyFiles | None = None, **calc_kwargs: Any
) -> StaticResult:
    """Compute the heat of formation and the forces.

    Parameters
    ----------
    atoms
        Atoms, the result of a job, the path of a file, or a name such as H2O.
    copy_files
        An earlier result or its folder, or ``{folder: [file names]}``: files to start from.
    **calc_kwargs
        ``method`` (PM7), ``task`` (1SCF GRADIENTS), ``charge`` (None: sum of the initial
        charges), ``relscf`` (0.0001).

    Raises
    ------
    InputError, MissingProgramError
        Before anything is computed.
    CalculationError
        MOPAC failed; says why, from its own output, and where its files are.
    """
    return run_static(atoms, CODE, calc_kwargs, recipe="mopac.static_job", copy_files=copy_files)


def relax_job(
    atoms: StructureLike,
    *,
    fmax: float = 0.01,
    steps: int = 1000,
    optimizer: str = "BFGS",
    trajectory: bool = False,
    require_convergence: bool = False,
    copy_files: CopyFiles | None = None,
    **calc_kwargs: Any,
) -> OptResult:
    """Relax the positions with ASE's optimizers.

    Parameters
    ----------
    atoms
        Atoms, the result of a job, the path of a file, or a name such as H2O.
    fmax, steps, optimizer, trajectory, require_convergence
        See :func:`quacc.runners.relax.run_relax`; ``fmax`` in eV/Å.
    copy_files
        An earlier result or its folder, or ``{folder: [file names]}``: files to start from.
    **calc_kwargs
        ``method`` (PM7), ``task`` (1SCF GRADIENTS), ``charge`` (None: sum of the initial
        charges), ``relscf`` (0.0001).

    Raises
    ------
    InputError, MissingProgramError
        Before anything is computed.
    CalculationError
        MOPAC failed; says why, from its own output, and where its files are.
    """
    return run_relax(
        atoms,
        CODE,
        calc_kwargs,
        recipe="mopac.relax_job",
        relax_cell=False,
        fmax=fmax,
        steps=steps,
        optimizer=optimizer,
        trajectory=trajectory,
        require_convergence=require_convergence,
        copy_files=copy_files,
    )


neb_job = make_neb_job(CODE, __name__)
