"""Generalised stacking faults: the energy of a crystal whose halves slide on a plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.constraints import FixedLine
from numpy.typing import NDArray

from quacc.atoms import as_atoms
from quacc.atoms.convert import StructureLike
from quacc.atoms.slabs import moments_of_elements
from quacc.errors import (
    ParameterError,
    require_bool,
    require_count,
    require_positive,
)
from quacc.recipes.common.verbs import Job, check, gather_each, submit
from quacc.recipes.common.workflow import RELAX, check_start, finish, keywords, start
from quacc.schemas import FlowResult

UNITS = {
    "energies": "J/m²",
    "unstable": "J/m²",
    "intrinsic": "J/m²",
    "area": "Å²",
}
REFERENCES = ("Vitek1968", "Ong2013")

_J_PER_M2 = units.m**2 / units.J


class StackingFaultResult(FlowResult):
    """A line through the generalised stacking-fault energy surface."""

    slips: NDArray[Any]
    """Parts of the slip vector, from 0 to 1."""
    energies: NDArray[Any]
    """J/m²."""
    unstable: float
    """The first maximum (J/m²)."""
    unstable_slip: float
    """Where it is."""
    intrinsic: float | None
    """The first minimum after it (J/m²); None if there is none before the slip is complete."""
    intrinsic_slip: float | None
    area: float
    """Of the plane in the cell (Å²)."""


def stacking_fault_flow(
    atoms: StructureLike,
    relax_job: Job = RELAX,
    *,
    miller: Sequence[int] = (1, 1, 1),
    slip: Sequence[float] = (0.5, 0.5, -1.0),
    points: int = 13,
    min_thickness: float = 20.0,
    relax_positions: bool = True,
    relax_kwargs: Mapping[str, Any] | None = None,
) -> StackingFaultResult:
    """Slide one half of a crystal over the other: the generalised stacking-fault curve.

    The cell is tilted: there is one fault in it and no surface. Atoms relax along the normal
    of the plane only (Vítek, Phil. Mag. 18, 773 (1968)). The defaults are those of fcc crystals:
    the plane (111) and the direction [11-2], with the intrinsic fault at a third.

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
        The whole slip, in the vectors of the conventional cell; it must lie in the plane.
    points
        From 0 to the whole slip.
    min_thickness
        Between a fault and its periodic image (Å).
    relax_positions
        Let atoms move along the normal.
    relax_kwargs
        Keywords of the job, such as ``{"fmax": 0.005}``.

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
    require_positive(min_thickness=min_thickness)
    require_bool(relax_positions=relax_positions)
    relax_kwargs = keywords("relax_kwargs", relax_kwargs, ["relax_cell"])
    given = check_start(atoms, relax_job, relax_kwargs)
    _block(given, miller, slip, min_thickness)  # which refuses what makes no sense
    reference, jobs = start(atoms, relax_job, relax_kwargs)
    block, vector = _block(reference, miller, slip, min_thickness)
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
    inner = range(1, points - 1)
    tops = [i for i in inner if energies[i - 1] < energies[i] >= energies[i + 1]]
    top = tops[0] if tops else int(np.argmax(energies))
    wells = [i for i in inner if i > top and energies[i - 1] > energies[i] <= energies[i + 1]]
    well = wells[0] if wells else None
    properties = {
        "slips": slips,
        "energies": energies,
        "unstable": float(energies[top]),
        "unstable_slip": float(slips[top]),
        "intrinsic": None if well is None else float(energies[well]),
        "intrinsic_slip": None if well is None else float(slips[well]),
        "area": area,
    }
    parameters = {
        "miller": [int(index) for index in miller],
        "slip": [float(part) for part in slip],
        "points": points,
        "min_thickness": float(min_thickness),
        "relax_positions": relax_positions,
        "relax_kwargs": relax_kwargs,
    }
    result: StackingFaultResult = finish(
        "stacking_fault_flow", reference, [*jobs, *results], parameters, properties, UNITS
    )
    return result


def _block(
    atoms: Atoms, miller: Sequence[int], slip: Sequence[float], min_thickness: float
) -> tuple[Atoms, NDArray[Any]]:
    """Return the crystal with its first two cell vectors in the plane, and the slip (Å)."""
    from pymatgen.core.surface import SlabGenerator
    from pymatgen.io.ase import AseAtomsAdaptor
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

    for name, three in (("miller", miller), ("slip", slip)):
        if isinstance(three, str) or len(three) != 3 or not np.any(three):
            raise ParameterError(f"{name} must be three numbers, not all zero: {three!r}.")
    moments = moments_of_elements(atoms)
    plain = Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=True)
    crystal = SpacegroupAnalyzer(AseAtomsAdaptor.get_structure(plain), symprec=1e-3)
    conventional = crystal.get_conventional_standard_structure()
    hkl = tuple(int(index) for index in miller)
    cell = SlabGenerator(conventional, hkl, 1, 1, primitive=False).oriented_unit_cell
    block = as_atoms(AseAtomsAdaptor.get_atoms(cell, msonable=False))
    if moments:
        block.set_initial_magnetic_moments([moments[symbol] for symbol in block.symbols])
    vector = np.array(slip, dtype=float) @ conventional.lattice.matrix
    normal = np.cross(block.cell[0], block.cell[1])
    normal /= np.linalg.norm(normal)
    if abs(vector @ normal) > 1e-3 * np.linalg.norm(vector):
        raise ParameterError(f"The slip {tuple(slip)} does not lie in the plane {hkl}.")
    layers = int(np.ceil(min_thickness / abs(block.cell[2] @ normal) - 1e-6))
    block = block * (1, 1, max(1, layers))
    block.wrap(eps=1e-3)  # else rounding could put atoms of one plane on both sides of the fault
    return block, vector


def summarise(result: StackingFaultResult) -> str:
    text = f"unstable fault {result['unstable'] * 1e3:.0f} mJ/m² at {result['unstable_slip']:.2f}"
    if result["intrinsic"] is None:
        return f"{text}, no stable fault before the slip is complete"
    at = result["intrinsic_slip"]
    return f"{text}, stable fault {result['intrinsic'] * 1e3:.0f} mJ/m² at {at:.2f} of the slip"


def tabulate(result: StackingFaultResult) -> list[dict[str, Any]]:
    return [
        {"slip": float(part), "energy (mJ/m²)": float(energy * 1e3)}
        for part, energy in zip(result["slips"], result["energies"], strict=True)
    ]


def draw(result: StackingFaultResult, figure: Any) -> None:
    axes = figure.add_subplot()
    axes.plot(result["slips"], 1e3 * np.array(result["energies"]), "o-")
    plane = " ".join(map(str, result["parameters"]["miller"]))
    direction = " ".join(f"{part:g}" for part in result["parameters"]["slip"])
    axes.set(
        xlabel=f"part of the slip [{direction}]",
        ylabel="energy (mJ/m²)",
        title=f"{result['formula']}: stacking faults on ({plane})",
    )
