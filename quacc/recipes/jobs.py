"""Jobs that are the same for every calculator, made from it: one line in its ``core``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from quacc.atoms.convert import StructureLike
from quacc.calculators.base import Code
from quacc.schemas import NEBResult, VibResult


def make_neb_job(code: Code, module: str) -> Callable[..., NEBResult]:
    """Return a calculator's ``neb_job``, which belongs to a module."""

    def neb_job(
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
        **calc_kwargs
            The calculator's.

        Raises
        ------
        InputError, MissingProgramError
            Before anything is computed.
        CalculationError
            The code failed.
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

    neb_job.__module__, neb_job.__qualname__ = module, "neb_job"
    return neb_job


def make_freq_job(code: Code, module: str) -> Callable[..., VibResult]:
    """Return the ``freq_job`` of a calculator that runs in memory, which belongs to a module."""

    def freq_job(
        atoms: StructureLike,
        *,
        displacement: float = 0.01,
        thermo: str = "ideal_gas",
        temperature: float = 298.15,
        pressure: float = 1.0,
        symmetry_number: int | None = None,
        spin: float | None = None,
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
        **calc_kwargs
            The calculator's.

        Raises
        ------
        InputError, MissingProgramError
            Before anything is computed.
        CalculationError
            The code failed, or returned numbers that are not finite.
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
        )

    freq_job.__module__, freq_job.__qualname__ = module, "freq_job"
    return freq_job
