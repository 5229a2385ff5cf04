"""Surfaces with effective medium theory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quacc.atoms.convert import StructureLike
from quacc.recipes.common.slabs import bulk_to_slabs
from quacc.recipes.common.verbs import Job
from quacc.recipes.emt.core import relax_job, static_job
from quacc.schemas import SlabsResult


def bulk_to_slabs_flow(
    atoms: StructureLike,
    slab_relax_electron: Job = relax_job,
    slab_static_electron: Job | None = static_job,
    *,
    max_index: int = 1,
    min_thickness: float = 10.0,
    min_vacuum: float = 20.0,
    min_lateral: float = 0.0,
    symmetric_only: bool = False,
    relax_kwargs: Mapping[str, Any] | None = None,
    static_kwargs: Mapping[str, Any] | None = None,
) -> SlabsResult:
    """Relax a crystal, carve its slabs, relax each, and report surface energies.

    Parameters
    ----------
    atoms
        The crystal; its cell is relaxed first. The result of a job is taken as it is.
    slab_relax_electron
        The job that relaxes the crystal and every slab.
    slab_static_electron
        The job that computes the energy of every relaxed structure, or None.
    max_index, …, static_kwargs
        See :func:`quacc.recipes.common.slabs.bulk_to_slabs`; lengths in Å.

    Returns
    -------
    SlabsResult
        ``surfaces`` holds one row a surface, with ``surface_energy`` in J/m².

    Raises
    ------
    InputError
        Before anything is computed.
    CalculationError
        The crystal itself failed.
    JobsFailedError
        Some slabs failed; carries the results of the others.
    """
    return bulk_to_slabs(
        atoms,
        slab_relax_electron,
        slab_static_electron,
        recipe="emt.bulk_to_slabs_flow",
        max_index=max_index,
        min_thickness=min_thickness,
        min_vacuum=min_vacuum,
        min_lateral=min_lateral,
        symmetric_only=symmetric_only,
        relax_kwargs=relax_kwargs,
        static_kwargs=static_kwargs,
    )
