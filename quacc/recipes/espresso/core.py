"""Jobs with Quantum ESPRESSO: plane waves and pseudopotentials."""

from __future__ import annotations

from typing import Any

from quacc.atoms.convert import StructureLike
from quacc.calculators.espresso import CODE
from quacc.recipes.jobs import make_neb_job
from quacc.runners.relax import run_relax
from quacc.runners.static import run_static
from quacc.runners.workdir import CopyFiles
from quacc.schemas import MDResult, OptResult, StaticResult, VibResult


def static_job(
    atoms: StructureLike, *, copy_files: CopyFiles | None = None, **calc_kwargs: Any
) -> StaticResult:
    """Compute the energy, forces and, for a crystal, the stress.

    Parameters
    ----------
    atoms
        Atoms, the result of a job, the path of a file, or a name such as Si.
    copy_files
        An earlier result or its folder, or ``{folder: [file names]}``: files to start from.
    **calc_kwargs
        ``ecutwfc`` (50 Ry), ``ecutrho`` (8 ecutwfc), ``kspacing`` (0.04 1/Å) or ``kpts``,
        ``pseudopotentials``, ``input_data``.

    Raises
    ------
    InputError, MissingProgramError
        Before anything is computed.
    CalculationError
        pw.x failed; says why, from its own output, and where its files are.
    """
    return run_static(atoms, CODE, calc_kwargs, recipe="espresso.static_job", copy_files=copy_files)


def relax_job(
    atoms: StructureLike,
    *,
    relax_cell: bool = False,
    fmax: float = 0.01,
    steps: int = 1000,
    optimizer: str = "BFGS",
    trajectory: bool = False,
    require_convergence: bool = False,
    copy_files: CopyFiles | None = None,
    **calc_kwargs: Any,
) -> OptResult:
    """Relax the positions and, if asked, the cell.

    Parameters
    ----------
    atoms
        Atoms, the result of a job, the path of a file, or a name such as Si.
    relax_cell, fmax, steps, optimizer, trajectory, require_convergence
        See :func:`quacc.runners.relax.run_relax`; ``fmax`` in eV/Å.
    copy_files
        An earlier result or its folder, or ``{folder: [file names]}``: files to start from.
    **calc_kwargs
        ``ecutwfc`` (50 Ry), ``ecutrho`` (8 ecutwfc), ``kspacing`` (0.04 1/Å) or ``kpts``,
        ``pseudopotentials``, ``input_data``.

    Raises
    ------
    InputError, MissingProgramError
        Before anything is computed.
    CalculationError
        pw.x failed; says why, from its own output, and where its files are.
    """
    return run_relax(
        atoms,
        CODE,
        calc_kwargs,
        recipe="espresso.relax_job",
        relax_cell=relax_cell,
        fmax=fmax,
        steps=steps,
        optimizer=optimizer,
        trajectory=trajectory,
        require_convergence=require_convergence,
        copy_files=copy_files,
    )


def md_job(
    atoms: StructureLike,
    *,
    dynamics: str = "NVE",
    steps: int = 1000,
    timestep: float = 1.0,
    temperature: float = 300.0,
    pressure: float = 0.0,
    friction: float = 0.01,
    thermostat_time: float = 100.0,
    barostat_time: float = 1000.0,
    seed: int = 0,
    sample_every: int = 1,
    trajectory: bool = False,
    copy_files: CopyFiles | None = None,
    **calc_kwargs: Any,
) -> MDResult:
    """Run molecular dynamics.

    Parameters
    ----------
    atoms
        Atoms, the result of a job, the path of a file, or a name such as Si.
    dynamics, steps, …, trajectory
        See :func:`quacc.runners.md.run_md`; times in fs, ``temperature`` in K, ``pressure`` in
        bar, ``friction`` in 1/fs.
    copy_files
        An earlier result or its folder, or ``{folder: [file names]}``: files to start from.
    **calc_kwargs
        ``ecutwfc`` (50 Ry), ``ecutrho`` (8 ecutwfc), ``kspacing`` (0.04 1/Å) or ``kpts``,
        ``pseudopotentials``, ``input_data``.

    Raises
    ------
    InputError, MissingProgramError
        Before anything is computed.
    CalculationError
        pw.x failed; says why, from its own output, and where its files are.
    """
    from quacc.runners.md import run_md

    return run_md(
        atoms,
        CODE,
        calc_kwargs,
        recipe="espresso.md_job",
        dynamics=dynamics,
        steps=steps,
        timestep=timestep,
        temperature=temperature,
        pressure=pressure,
        friction=friction,
        thermostat_time=thermostat_time,
        barostat_time=barostat_time,
        seed=seed,
        sample_every=sample_every,
        trajectory=trajectory,
        copy_files=copy_files,
    )


def freq_job(
    atoms: StructureLike,
    *,
    displacement: float = 0.01,
    thermo: str = "ideal_gas",
    temperature: float = 298.15,
    pressure: float = 1.0,
    symmetry_number: int | None = None,
    spin: float | None = None,
    copy_files: CopyFiles | None = None,
    **calc_kwargs: Any,
) -> VibResult:
    """Compute vibrations and thermochemistry.

    Parameters
    ----------
    atoms
        Atoms, the result of a job, the path of a file, or a name such as H2O. Relax it first.
    displacement, thermo, …, spin
        See :func:`quacc.runners.vibrations.run_vibrations`; ``displacement`` in Å,
        ``temperature`` in K, ``pressure`` in bar.
    copy_files
        An earlier result or its folder, or ``{folder: [file names]}``: files to start from.
    **calc_kwargs
        ``ecutwfc`` (50 Ry), ``ecutrho`` (8 ecutwfc), ``kspacing`` (0.04 1/Å) or ``kpts``,
        ``pseudopotentials``, ``input_data``.

    Raises
    ------
    InputError, MissingProgramError
        Before anything is computed.
    CalculationError
        pw.x failed; says why, from its own output, and where its files are.
    """
    from quacc.runners.vibrations import run_vibrations

    return run_vibrations(
        atoms,
        CODE,
        calc_kwargs,
        recipe="espresso.freq_job",
        displacement=displacement,
        thermo=thermo,
        temperature=temperature,
        pressure=pressure,
        symmetry_number=symmetry_number,
        spin=spin,
        copy_files=copy_files,
    )


neb_job = make_neb_job(CODE, __name__)
