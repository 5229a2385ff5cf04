"""The jobs, each written once; ``quacc/recipes/<code>/core.py`` makes them a calculator's."""

from __future__ import annotations

import inspect
import linecache
import textwrap
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from quacc.atoms.convert import StructureLike
from quacc.calculators.base import Code
from quacc.runners.relax import run_relax
from quacc.runners.static import run_static
from quacc.runners.workdir import CopyFiles
from quacc.schemas import MDResult, NEBResult, OptResult, StaticResult, VibResult

_P = ParamSpec("_P")
_R = TypeVar("_R")


def job_of(
    code: Code, module: str, function: Callable[Concatenate[Code, _P], _R]
) -> Callable[_P, _R]:
    """Return one of these jobs as a calculator's, which belongs to a module.

    Its documentation ends with what is the same for all jobs, and the calculator's keywords.
    """

    name = function.__name__
    # Prefect's caches tell tasks apart by their source, so each job has one of its own.
    file = f"<{module}.{name}>"
    source = f"def {name}(*args, **kwargs):\n    return of_{code.name}(code, *args, **kwargs)\n"
    linecache.cache[file] = len(source), None, source.splitlines(keepends=True), file
    names: dict[str, Any] = {f"of_{code.name}": function, "code": code, "__name__": module}
    exec(compile(source, file, "exec"), names)
    job: Any = names[name]

    signature = inspect.signature(function)
    hidden = {"code"} if code.command else {"code", "copy_files"}
    parameters = [one for one in signature.parameters.values() if one.name not in hidden]
    signature = job.__signature__ = signature.replace(parameters=parameters)
    job.__annotations__ = {k: v for k, v in function.__annotations__.items() if k not in hidden}
    defaults = ", ".join(f"{name}={value!r}" for name, value in code.defaults.items())
    job.__doc__ = "\n".join(
        [
            inspect.cleandoc(function.__doc__ or ""),
            *([_COPY_FILES] if "copy_files" in signature.parameters else []),
            "**calc_kwargs",
            textwrap.indent(inspect.cleandoc(code.__doc__ or ""), _IN),
            textwrap.fill(f"Defaults: {defaults}.", 92, initial_indent=_IN, subsequent_indent=_IN),
            _RAISES,
        ]
    )
    made: Callable[_P, _R] = job
    return made


_IN = "    "
_COPY_FILES = """copy_files
    What a code that writes files starts from: an earlier result or its folder, or
    ``{folder: [file names]}``."""
_RAISES = """
Raises
------
InputError, MissingProgramError
    Before anything is computed.
CalculationError
    The code failed, or returned numbers that are not finite; says why, from the code's own
    output, and where its files are.
PreemptedError
    It was stopped, as by the end of its batch job; the same call goes on from there."""


def static_job(
    code: Code,
    /,
    atoms: StructureLike,
    *,
    copy_files: CopyFiles | None = None,
    **calc_kwargs: Any,
) -> StaticResult:
    """Compute the energy, forces and, for a crystal, the stress.

    Parameters
    ----------
    atoms
        Atoms, the result of a job, the path of a file, or a name such as Cu or H2O.
    """
    return run_static(
        atoms, code, calc_kwargs, recipe=f"{code.name}.static_job", copy_files=copy_files
    )


def relax_job(
    code: Code,
    /,
    atoms: StructureLike,
    *,
    relax_cell: bool = False,
    fmax: float = 0.01,
    steps: int = 1000,
    optimizer: str = "ScaledBFGS",
    trajectory: bool = False,
    require_convergence: bool = False,
    copy_files: CopyFiles | None = None,
    **calc_kwargs: Any,
) -> OptResult:
    """Relax the positions and, if asked, the cell.

    Parameters
    ----------
    atoms
        Atoms, the result of a job, the path of a file, or a name such as Cu or H2O.
    relax_cell, fmax, steps, optimizer, trajectory, require_convergence
        See :func:`quacc.runners.relax.run_relax`; ``fmax`` in eV/Å.
    """
    return run_relax(
        atoms,
        code,
        calc_kwargs,
        recipe=f"{code.name}.relax_job",
        relax_cell=relax_cell,
        fmax=fmax,
        steps=steps,
        optimizer=optimizer,
        trajectory=trajectory,
        require_convergence=require_convergence,
        copy_files=copy_files,
    )


def md_job(
    code: Code,
    /,
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
        Atoms, the result of a job, the path of a file, or a name such as Cu or H2O.
    dynamics, steps, …, trajectory
        See :func:`quacc.runners.md.run_md`; times in fs, ``temperature`` in K, ``pressure`` in
        bar, ``friction`` in 1/fs.
    """
    from quacc.runners.md import run_md

    return run_md(
        atoms,
        code,
        calc_kwargs,
        recipe=f"{code.name}.md_job",
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
    code: Code,
    /,
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
    """
    from quacc.runners.vibrations import run_vibrations

    return run_vibrations(
        atoms,
        code,
        calc_kwargs,
        recipe=f"{code.name}.freq_job",
        displacement=displacement,
        thermo=thermo,
        temperature=temperature,
        pressure=pressure,
        symmetry_number=symmetry_number,
        spin=spin,
        copy_files=copy_files,
    )


def neb_job(
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
) -> NEBResult:
    """Find the minimum-energy path between two minima.

    Parameters
    ----------
    initial, final
        Both ends, relaxed, their atoms in the same order.
    images, climb, idpp, spring, fmax, steps, optimizer, exchange, parallel
        See :func:`quacc.runners.neb.run_neb`; ``spring`` in eV/Å², ``fmax`` in eV/Å.
    """
    from quacc.runners.neb import run_neb

    return run_neb(
        initial,
        final,
        code,
        calc_kwargs,
        recipe=f"{code.name}.neb_job",
        images=images,
        climb=climb,
        idpp=idpp,
        spring=spring,
        fmax=fmax,
        steps=steps,
        optimizer=optimizer,
        exchange=exchange,
        parallel=parallel,
    )
