"""Jobs that are the same for every calculator, made from it: one line in its ``core``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from quacc.atoms.convert import StructureLike
from quacc.calculators.base import Code
from quacc.schemas import NEBResult


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
