"""Generalised stacking faults: the energy of a crystal whose halves slide on a plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from ase import units
from ase.constraints import FixedLine
from numpy.typing import NDArray

from quacc.atoms.convert import StructureLike
from quacc.atoms.slip import between_cuts, is_flat, is_lattice_vector
from quacc.errors import (
    CalculationError,
    InputError,
    require_bool,
    require_count,
    require_positive,
)
from quacc.extras import check_free
from quacc.recipes.tools.verbs import Job, check, gather_each, submit
from quacc.recipes.tools.workflow import Calculator, check_start, finish, keywords, start, workflow
from quacc.schemas import FlowResult

UNITS = {
    "energies": "J/m²",
    "curve": "energies J/m²",
    "unstable": "J/m²",
    "intrinsic": "J/m²",
    "area": "Å²",
    "gap": "Å",
}
REFERENCES = ("Vitek1968", "Ong2013")

_J_PER_M2 = units.m**2 / units.J


class StackingFaultResult(FlowResult):
    """A line through the generalised stacking-fault energy surface."""

    slips: NDArray[Any]
    """Parts of the slip vector, from 0 to 1."""
    energies: NDArray[Any]
    """J/m²."""
    curve: dict[str, NDArray[Any]]
    """The interpolation of these, ``slips`` and ``energies`` (J/m²), which the next are of."""
    unstable: float
    """The first maximum (J/m²)."""
    unstable_slip: float
    """Where it is."""
    intrinsic: float | None
    """The first minimum after it (J/m²); None if there is none before the slip is complete."""
    intrinsic_slip: float | None
    area: float
    """Area of the plane in the cell (Å²)."""
    gap: float
    """Between the planes of atoms on both sides of the fault, in the crystal (Å)."""


@workflow
def stacking_fault_flow(
    atoms: StructureLike,
    relax_job: Job = "relax_job",
    *,
    calculator: Calculator | None = None,
    miller: Sequence[int] = (1, 1, 1),
    slip: Sequence[float] = (0.5, 0.5, -1.0),
    cut: int = 0,
    points: int = 13,
    min_thickness: float = 20.0,
    relax_positions: bool = True,
    relax_kwargs: Mapping[str, Any] | None = None,
) -> StackingFaultResult:
    """Slide one half of a crystal over the other: the generalised stacking-fault curve.

    The cell is tilted: there is one fault in it and no surface. Atoms relax along the normal
    of the plane only (Vítek, Phil. Mag. 18, 773 (1968)). The defaults are those of fcc crystals:
    the plane (111) and the direction [11-2], with the intrinsic fault at a third.

    The unstable and the intrinsic fault are extrema of cubic splines through the computed points,
    flat where the symmetry of the slid crystal leaves no force along the slip, and where the
    crystal is whole. So what symmetry makes an extremum, such as the intrinsic fault of fcc, is
    exactly the computed point if it is one of the points, as with the default.

    Parameters
    ----------
    atoms
        The crystal. Of a structure, cell and positions are relaxed first; the result of a job is
        taken as it is.
    relax_job
        Relaxes every slip.
    miller
        Of the plane, in the conventional cell.
    slip
        The whole slip of the half that the plane's normal points to, in the vectors of the
        conventional cell; it must lie in the plane.
    cut
        Which gap between planes of atoms the fault is in: 0 is the widest, 1 the next, and so on.
        Gaps of one width between planes of the same composition count as one. In diamond's (111),
        0 is the shuffle set and 1 the glide set, which alone has an intrinsic fault, but where
        atoms would pass through one another on the way of the whole default slip: take half of it.
    points
        From 0 to the whole slip. A warning tells when an extremum lies so far between them that it
        takes more.
    min_thickness
        Between a fault and its periodic image (Å).
    relax_positions
        Let atoms move along the normal.
    relax_kwargs
        Keywords of the job, such as ``{"fmax": 0.005}``.
    calculator
        Name of the calculator whose jobs they are, such as emt, or a mapping of its name and its
        parameters; by default, the setting ``calculator``.

    Raises
    ------
    InputError
        Before anything is computed; also for initial magnetic moments that differ between atoms
        of an element.
    CalculationError
        The crystal itself failed.
    JobsFailedError
        Some slips failed; carries the results of the others.
    """
    require_count(minimum=3, points=points)
    require_count(minimum=0, cut=cut)
    require_positive(min_thickness=min_thickness)
    require_bool(relax_positions=relax_positions)
    relax_kwargs = keywords("relax_kwargs", relax_kwargs, ["relax_cell"])
    given = check_start(atoms, relax_job, relax_kwargs)
    check_free(given, "a stacking fault")
    between_cuts(given, miller, slip, min_thickness, cut)  # which refuses what makes no sense
    reference, jobs = start(atoms, relax_job, relax_kwargs)
    try:
        block, vector, gap = between_cuts(reference, miller, slip, min_thickness, cut)
    except InputError as error:  # which would promise that nothing has been computed
        raise CalculationError(
            f"The crystal has changed in its relaxation: {error}", atoms=reference
        ) from error
    normal = np.cross(block.cell[0], block.cell[1])
    area = float(np.linalg.norm(normal))

    slips = np.linspace(0, 1, points)
    options = relax_kwargs if relax_positions else {**relax_kwargs, "steps": 1, "fmax": 1e3}
    structures = []
    for part in slips:
        slid = block.copy()
        slid.cell[2] += part * vector
        if relax_positions:
            slid.set_constraint(FixedLine(range(len(slid)), normal / area))
        check(relax_job, slid, **options)  # all of them, before any is computed
        structures.append(slid)
    futures = [submit(relax_job, slid, **options) for slid in structures]
    formula = reference.get_chemical_formula()
    names = [f"{formula} slid by {part:.3f}" for part in slips]
    results = gather_each(futures, names, "stacking_fault_flow", jobs)
    absolute = np.array([result["results"]["energy"] for result in results])
    energies = (absolute - absolute[0]) / area * _J_PER_M2
    along = vector / np.linalg.norm(vector)
    flat = [is_flat(slid, normal / area, along) for slid in structures]
    flat[0] = True  # the crystal itself
    flat[-1] |= is_lattice_vector(block, vector)
    curve = interpolate(slips, energies, flat)
    top, well = _extrema(curve["energies"])
    properties = {
        "slips": slips,
        "energies": energies,
        "curve": curve,
        "unstable": float(curve["energies"][top]),
        "unstable_slip": float(curve["slips"][top]),
        "intrinsic": None if well is None else float(curve["energies"][well]),
        "intrinsic_slip": None if well is None else float(curve["slips"][well]),
        "area": area,
        "gap": gap,
    }
    parameters = {
        "miller": [int(index) for index in miller],
        "slip": [float(part) for part in slip],
        "cut": cut,
        "points": points,
        "min_thickness": float(min_thickness),
        "relax_positions": relax_positions,
        "relax_kwargs": relax_kwargs,
    }
    warnings = []
    for name, index in (("unstable", top), ("intrinsic", well)):
        if index is not None:
            part, value = curve["slips"][index], curve["energies"][index]
            near = energies[np.argmin(abs(slips - part))]
            if abs(value - near) > max(0.2 * max(abs(value), abs(near)), 0.01 * energies.max()):
                warnings.append(
                    f"The {name} fault, at {part:.3f} of the slip, lies between points that are "
                    f"far apart: it is {value * 1e3:.0f} mJ/m² by interpolation, the nearest point "
                    f"{near * 1e3:.0f} mJ/m². Take more points, or a number that puts one there."
                )
    result: StackingFaultResult = finish(
        "stacking_fault_flow", reference, [*jobs, *results], parameters, properties, UNITS, warnings
    )
    return result


def interpolate(
    slips: NDArray[Any], energies: NDArray[Any], flat: Sequence[bool]
) -> dict[str, NDArray[Any]]:
    """Return ``slips`` and ``energies`` of cubic splines from one flat point to the next.

    Parameters
    ----------
    flat
        Whether the slope is zero at a point, of which the first one must be.
    """
    from scipy.interpolate import CubicSpline

    fine = [np.linspace(a, b, 100, endpoint=False) for a, b in pairwise(slips)]
    values = []
    ends = [i for i, level in enumerate(flat) if level]
    last = len(slips) - 1
    for first, end in pairwise(ends if ends[-1] == last else [*ends, last]):
        part = slice(first, end + 1)
        free = "not-a-knot"  # if the slip ends anywhere
        spline = CubicSpline(
            slips[part], energies[part], bc_type=((1, 0.0), (1, 0.0) if flat[end] else free)
        )
        values += [spline(some) for some in fine[first:end]]
    return {
        "slips": np.concatenate([*fine, slips[-1:]]),
        "energies": np.concatenate([*values, energies[-1:]]),
    }


def _extrema(energies: NDArray[Any]) -> tuple[int, int | None]:
    """Return the first maximum and the first minimum after it; at the ends are none."""
    inner = range(1, len(energies) - 1)
    tops = [i for i in inner if energies[i - 1] < energies[i] >= energies[i + 1]]
    top = tops[0] if tops else int(np.argmax(energies))
    wells = [i for i in inner if i > top and energies[i - 1] > energies[i] <= energies[i + 1]]
    return top, wells[0] if wells else None


def summarise(result: StackingFaultResult) -> str:
    text = f"unstable fault {result['unstable'] * 1e3:.0f} mJ/m² at {result['unstable_slip']:.2f}"
    apart = f"between planes {result['gap']:.2f} Å apart"
    if result["intrinsic"] is None:
        return f"{text}, no stable fault before the slip is complete, {apart}"
    at = result["intrinsic_slip"]
    stable = f"stable fault {result['intrinsic'] * 1e3:.0f} mJ/m² at {at:.2f} of the slip"
    return f"{text}, {stable}, {apart}"


def tabulate(result: StackingFaultResult) -> list[dict[str, Any]]:
    return [
        {"slip": float(part), "energy (mJ/m²)": float(energy * 1e3)}
        for part, energy in zip(result["slips"], result["energies"], strict=True)
    ]


def draw(result: StackingFaultResult, figure: Any) -> None:
    axes = figure.add_subplot()
    curve = result["curve"]
    (line,) = axes.plot(curve["slips"], 1e3 * np.array(curve["energies"]))
    axes.plot(result["slips"], 1e3 * np.array(result["energies"]), "o", color=line.get_color())
    plane = " ".join(map(str, result["parameters"]["miller"]))
    direction = " ".join(f"{part:g}" for part in result["parameters"]["slip"])
    axes.set(
        xlabel=f"part of the slip [{direction}]",
        ylabel="energy (mJ/m²)",
        title=f"{result['formula']}: stacking faults on ({plane})",
    )
