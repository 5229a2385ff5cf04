"""Reaction barriers: a minimum-energy path between two structures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quacc.atoms import as_atoms
from quacc.atoms.convert import StructureLike
from quacc.atoms.same import check_match
from quacc.recipes.tools.verbs import Job, check, check_state, gather_each, submit
from quacc.recipes.tools.workflow import Calculator, finish, keywords, workflow
from quacc.schemas import FlowResult

UNITS = {
    "barrier": "eV",
    "reverse_barrier": "eV",
    "reaction_energy": "eV",
    "path": "Å",
    "energies": "eV",
    "largest_force": "eV/Å",
}
REFERENCES = ("Henkelman2000a", "Henkelman2000b", "Smidstrup2014")


class NEBFlowResult(FlowResult):
    """A path over a barrier; ``atoms`` is its highest image."""

    barrier: float
    """From the initial structure (eV)."""
    reverse_barrier: float
    """From the final one (eV)."""
    reaction_energy: float
    """Final less initial (eV)."""
    energies: NDArray[Any]
    """Energies of the images, both ends included (eV)."""
    path: NDArray[Any]
    """How far along the path each is (Å): the distance of all atoms together."""
    largest_force: float
    """Left across the band (eV/Å)."""
    images: list[Any]


@workflow
def neb_flow(
    initial: StructureLike,
    final: StructureLike,
    relax_job: Job | None = "relax_job",
    neb_job: Job = "neb_job",
    *,
    calculator: Calculator | None = None,
    relax_kwargs: Mapping[str, Any] | None = None,
    neb_kwargs: Mapping[str, Any] | None = None,
) -> NEBFlowResult:
    """Relax both ends, then find the path and the barrier between them with a nudged elastic band.

    The highest image climbs to the saddle point (Henkelman et al., J. Chem. Phys. 113, 9901 and
    9978 (2000)); the first band comes from the image-dependent pair potential (Smidstrup et al.,
    J. Chem. Phys. 140, 214106 (2014)).

    Parameters
    ----------
    initial, final
        Their atoms must be in the same order; :func:`quacc.atoms.same.matched` sorts them.
    relax_job
        Relaxes both; None takes them as they are.
    neb_job
        Relaxes the band.
    relax_kwargs, neb_kwargs
        Keywords of the jobs, such as ``{"images": 7, "fmax": 0.03}``.
    calculator
        Name of the calculator whose jobs they are, such as emt, or a mapping of its name and its
        parameters; by default, the setting ``calculator``.

    Raises
    ------
    InputError
        Before anything is computed, or when both ends relax to the same structure.
    JobsFailedError
        A job failed.
    """
    relax_kwargs = keywords("relax_kwargs", relax_kwargs, ["relax_cell"])
    neb_kwargs = keywords("neb_kwargs", neb_kwargs, ["final"])
    ends = [as_atoms(initial), as_atoms(final)]
    exchange = bool(neb_kwargs.get("exchange", False))
    check_match(*ends, exchange=exchange)
    band = check(neb_job, ends[0], final=ends[1], **neb_kwargs)
    jobs: list[Any] = []
    structures: list[Any] = list(ends)
    if relax_job is not None:
        check_state(band, *(check(relax_job, end, **relax_kwargs) for end in ends))
        futures = [submit(relax_job, end, **relax_kwargs) for end in ends]
        jobs = gather_each(futures, ["initial", "final"], "neb_flow")
        structures = [job["atoms"] for job in jobs]
        check_match(*structures, exchange=exchange)
    future = submit(neb_job, structures[0], final=structures[1], **neb_kwargs)
    formula = ends[0].get_chemical_formula()
    (band,) = gather_each([future], [formula], "neb_flow", jobs)
    names = ("barrier", "reverse_barrier", "reaction_energy", "energies", "path", "images")
    properties = {
        **{name: band[name] for name in names},
        "largest_force": float(band["history"]["fmax"][-1]),
    }
    parameters = {"relax_kwargs": relax_kwargs, "neb_kwargs": neb_kwargs}
    result: NEBFlowResult = finish(
        "neb_flow", band["atoms"], [*jobs, band], parameters, properties, UNITS
    )
    return result


def summarise(result: NEBFlowResult) -> str:
    return (
        f"barrier {result['barrier']:.3f} eV, back {result['reverse_barrier']:.3f} eV, from "
        f"{len(result['energies'])} images"
    )


def tabulate(result: NEBFlowResult) -> list[dict[str, Any]]:
    energies = np.array(result["energies"])
    return [
        {
            "image": number,
            "path (Å)": float(far),
            "energy above the initial (eV)": float(energy - energies[0]),
        }
        for number, (far, energy) in enumerate(zip(result["path"], energies, strict=True))
    ]


def draw(result: NEBFlowResult, figure: Any) -> None:
    draw_path(result, figure)


def draw_path(result: Mapping[str, Any], figure: Any) -> None:
    """Draw the energies of images along their path."""
    from scipy.interpolate import PchipInterpolator

    axes = figure.add_subplot()
    path, energies = np.array(result["path"]), np.array(result["energies"])
    energies = energies - energies[0]
    fine = np.linspace(path[0], path[-1], 200)
    axes.plot(fine, PchipInterpolator(path, energies)(fine), color="C0")
    axes.plot(path, energies, "o", color="C1")
    axes.set(
        xlabel="path (Å)",
        ylabel="energy (eV)",
        title=f"{result['formula']}: barrier {result['barrier']:.3f} eV",
    )
