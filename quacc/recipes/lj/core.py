"""Jobs with the Lennard-Jones potential: in memory, for noble gases and for tests."""

from __future__ import annotations

from typing import Any

from quacc.atoms.convert import StructureLike
from quacc.calculators.lj import CODE
from quacc.recipes.jobs import make_freq_job, make_neb_job
from quacc.runners.relax import run_relax
from quacc.runners.static import run_static
from quacc.schemas import MDResult, OptResult, StaticResult


def static_job(atoms: StructureLike, **calc_kwargs: Any) -> StaticResult:
    """Compute the energy, forces and, for a crystal, the stress.

    Parameters
    ----------
    atoms
        Atoms, the result of a job, the path of a file, or a name such as Ar.
    **calc_kwargs
        ``epsilon`` (1 eV), ``sigma`` (1 Å), ``rc`` (3 sigma), ``ro`` (0.66 rc), ``smooth`` (False).

    Raises
    ------
    InputError
        Before anything is computed.
    CalculationError
        The energy or forces are not finite.
    """
    return run_static(atoms, CODE, calc_kwargs, recipe="lj.static_job")


def relax_job(
    atoms: StructureLike,
    *,
    relax_cell: bool = False,
    fmax: float = 0.01,
    steps: int = 1000,
    optimizer: str = "BFGS",
    trajectory: bool = False,
    require_convergence: bool = False,
    **calc_kwargs: Any,
) -> OptResult:
    """Relax the positions and, if asked, the cell.

    Parameters
    ----------
    atoms
        Atoms, the result of a job, the path of a file, or a name such as Ar.
    relax_cell, fmax, steps, optimizer, trajectory, require_convergence
        See :func:`quacc.runners.relax.run_relax`; ``fmax`` in eV/Å.
    **calc_kwargs
        ``epsilon`` (1 eV), ``sigma`` (1 Å), ``rc`` (3 sigma), ``ro`` (0.66 rc), ``smooth`` (False).

    Raises
    ------
    InputError
        Before anything is computed.
    CalculationError
        The energy or forces are not finite.
    """
    return run_relax(
        atoms,
        CODE,
        calc_kwargs,
        recipe="lj.relax_job",
        relax_cell=relax_cell,
        fmax=fmax,
        steps=steps,
        optimizer=optimizer,
        trajectory=trajectory,
        require_convergence=require_convergence,
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
    **calc_kwargs: Any,
) -> MDResult:
    """Run molecular dynamics.

    Parameters
    ----------
    atoms
        Atoms, the result of a job, the path of a file, or a name such as Ar.
    dynamics, steps, …, trajectory
        See :func:`quacc.runners.md.run_md`; times in fs, ``temperature`` in K, ``pressure`` in
        bar, ``friction`` in 1/fs.
    **calc_kwargs
        ``epsilon`` (1 eV), ``sigma`` (1 Å), ``rc`` (3 sigma), ``ro`` (0.66 rc), ``smooth`` (False).

    Raises
    ------
    InputError
        Before anything is computed.
    CalculationError
        The energy or forces are not finite.
    """
    from quacc.runners.md import run_md

    return run_md(
        atoms,
        CODE,
        calc_kwargs,
        recipe="lj.md_job",
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
    )


freq_job = make_freq_job(CODE, __name__)
neb_job = make_neb_job(CODE, __name__)
