"""Phonons: force constants, bands, density of states, heat capacity, imaginary modes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.constraints import FixAtoms
from numpy.typing import NDArray

from quacc.atoms import as_atoms
from quacc.atoms.convert import StructureLike
from quacc.atoms.modify import repeats_for
from quacc.errors import StructureError, require_positive
from quacc.extras import check_collinear, check_neutral
from quacc.recipes.tools.verbs import Job, check, check_state, gather_each, submit
from quacc.recipes.tools.workflow import Calculator, check_start, finish, keywords, start, workflow
from quacc.runners.calculation import RELAXED
from quacc.runners.lattice_dynamics import atoms_of, harmonic, phonopy_of, temperatures
from quacc.schemas import FlowResult, Phonons

UNITS = {
    "force_constants": "eV/Å²",
    "sum_rule": "eV/Å²",
    "lowest_frequency": "THz",
    "highest_frequency": "THz",
    "bands": "distances 1/Å, frequencies THz",
    "dos": "frequencies THz, density 1/THz per primitive cell",
    "thermal": "temperatures K, energies eV, entropy and heat_capacity eV/K, per primitive cell",
}
REFERENCES = ("Togo2023a", "Togo2023b", "Hinuma2017")


class PhononResult(FlowResult, Phonons):
    """Phonons of a crystal, from displacements."""

    displacements: int
    """Number of displaced supercells that were computed."""


@workflow
def phonon_flow(
    atoms: StructureLike,
    relax_job: Job | None = "relax_job",
    static_job: Job = "static_job",
    *,
    calculator: Calculator | None = None,
    supercell: Sequence[int] | None = None,
    min_length: float = 12.0,
    displacement: float = 0.01,
    mesh: float = 60.0,
    t_max: float = 1000.0,
    t_step: float = 10.0,
    relax_kwargs: Mapping[str, Any] | None = None,
    static_kwargs: Mapping[str, Any] | None = None,
) -> PhononResult:
    """Compute phonons from forces of displaced atoms.

    Finite displacements with phonopy (Togo et al., J. Phys.: Condens. Matter 35, 353001 (2023);
    Togo, J. Phys. Soc. Jpn. 92, 012001 (2023)), bands along seekpath's path (Hinuma et al.,
    Comput. Mater. Sci. 128, 140 (2017)). The splitting of longitudinal and transverse optical
    modes of polar crystals is not included.

    Parameters
    ----------
    atoms
        The crystal. Of a structure, cell and positions are relaxed first; the result of a job is
        taken as it is. Atoms fixed by ASE's ``FixAtoms`` are a substrate: they feel and give
        forces, but have no phonons.
    relax_job
        Relaxes the crystal; None takes it as it is.
    static_job
        Computes the forces of every displaced supercell.
    supercell
        How often the cell is repeated along its three vectors.
    min_length
        Without ``supercell``: repeat until the cell is at least so wide along each (Å).
    displacement
        Of an atom (Å).
    mesh
        Density of the q-points: length (Å) of phonopy's mesh.
    t_max, t_step
        Temperatures of the thermal properties (K).
    relax_kwargs, static_kwargs
        Keywords of the jobs, such as ``{"fmax": 0.005}``.
    calculator
        Name of the calculator whose jobs they are, such as emt, or a mapping of its name and its
        parameters; by default, the setting ``calculator``.

    Raises
    ------
    InputError
        Before anything is computed.
    CalculationError
        The crystal itself failed.
    JobsFailedError
        Some displacements failed; carries the results of the others.
    """
    relax_kwargs = keywords("relax_kwargs", relax_kwargs, ["relax_cell"])
    static_kwargs = keywords("static_kwargs", static_kwargs)
    require_positive(mesh=mesh, t_max=t_max, t_step=t_step, displacement=displacement)
    given = as_atoms(atoms)
    fixed = any(isinstance(one, FixAtoms) for one in given.constraints)
    check_crystal(given)
    repeats = repeats_for(given, supercell, min_length)
    check_start(atoms, relax_job, relax_kwargs, cell=not fixed, crystal=False)
    first = Lattice(given, repeats, displacement).displaced[0]
    calculation = check(static_job, first, **static_kwargs)
    if relax_job is not None and not isinstance(atoms, Mapping):
        check_state(check(relax_job, given, **relax_kwargs), calculation)
    reference, jobs = start(atoms, relax_job, relax_kwargs, cell=not fixed)

    lattice = Lattice(reference, repeats, displacement)
    futures = [submit(static_job, one, **static_kwargs) for one in lattice.displaced]
    formula = reference.get_chemical_formula()
    names = [f"{formula}, displacement {number + 1}" for number in range(len(futures))]
    results = gather_each(futures, names, "phonon_flow", jobs)
    found = lattice.solve(results, mesh, temperatures(t_max, t_step))
    warnings = [found.pop("warning")] if "warning" in found else []
    if jobs and (left := _largest_force(jobs[-1])) > RELAXED:
        warnings.append(
            f"The crystal is not relaxed: there are forces of {left:.2g} eV/Å on its atoms, which "
            "make the harmonic approximation doubtful. Relax it first, with a smaller fmax."
        )
    parameters = {
        "supercell": repeats,
        "displacement": float(displacement),
        "mesh": float(mesh),
        "t_max": float(t_max),
        "t_step": float(t_step),
        "relax_kwargs": relax_kwargs,
        "static_kwargs": static_kwargs,
    }
    jobs += results
    properties = {"supercell": repeats, "displacements": len(futures), **found}
    result: PhononResult = finish(
        "phonon_flow", reference, jobs, parameters, properties, UNITS, warnings
    )
    return result


def _largest_force(result: Mapping[str, Any]) -> float:
    """Return the largest force (eV/Å) on an atom that is not fixed."""
    forces = result["results"].get("forces")
    if forces is None:
        return 0.0
    free = np.array(forces)[_mobile(result["atoms"])]
    return float(np.linalg.norm(free, axis=1).max(initial=0.0))


def _mobile(atoms: Atoms) -> NDArray[Any]:
    """Return which atoms are not fixed."""
    mobile = np.ones(len(atoms), dtype=bool)
    for one in atoms.constraints:
        if isinstance(one, FixAtoms):
            mobile[one.index] = False
    return mobile


def check_crystal(atoms: Atoms) -> None:
    """Raise a StructureError for what has no phonons that :class:`Lattice` could compute."""
    if not atoms.pbc.any():
        raise StructureError(
            "Phonons are of crystals; for a molecule, use freq_job, which computes vibrations."
        )
    if any(not isinstance(one, FixAtoms) for one in atoms.constraints):
        raise StructureError("No constraints but FixAtoms are possible here: remove the others.")
    check_neutral(atoms, "a phonon calculation")
    check_collinear(atoms)
    if atoms.cell.handedness < 0 and not atoms.pbc.all():
        raise StructureError("The cell is left-handed: turn one of its periodic vectors around.")


class Lattice:
    """A crystal's displaced supercells, and the phonons that their forces give.

    Parameters
    ----------
    atoms
        The crystal; those of its atoms that are fixed do not move.
    repeats
        Three whole numbers.
    displacement
        Å.
    """

    def __init__(self, atoms: Atoms, repeats: Sequence[int], displacement: float) -> None:
        mobile = _mobile(atoms)
        if atoms.cell.handedness < 0:  # phonopy wants no such cell; this is the same lattice
            atoms = atoms.copy()
            atoms.set_cell(-atoms.cell)
        if not mobile.any():
            raise StructureError("All atoms are fixed, so that there are no phonons.")
        if len(atoms) * np.prod(repeats) == 1:
            raise StructureError(
                "In a supercell of one atom, nothing moves against anything. Take a larger one."
            )
        moving = atoms[mobile]
        moving.set_constraint()
        self.rest = atoms[~mobile]
        self.rest.set_constraint()
        magmoms = moving.get_initial_magnetic_moments()
        # The symmetry of the moving atoms alone may be higher than that of all.
        self.phonopy = phonopy_of(moving, repeats, symmetric=bool(mobile.all()))
        self.phonopy.generate_displacements(distance=float(displacement))
        self.pbc = atoms.pbc.copy()
        rest = self.rest * tuple(repeats)
        self.displaced = []
        for one in self.phonopy.supercells_with_displacements or []:
            supercell = atoms_of(one)
            supercell.pbc = self.pbc
            if len(magmoms) and magmoms.any():
                supercell.set_initial_magnetic_moments(one.magnetic_moments)
            self.displaced.append(supercell + rest)

    def solve(
        self, results: Sequence[Mapping[str, Any]], mesh: float, temperatures: NDArray[Any]
    ) -> dict[str, Any]:
        """Return what the forces of all displaced supercells give; see :class:`PhononResult`."""
        phonopy = self.phonopy
        number = len(phonopy.supercell)
        phonopy.forces = np.array([one["results"]["forces"][:number] for one in results])
        phonopy.produce_force_constants(calculate_full_force_constants=False, show_drift=False)
        # A substrate holds the atoms, so that no sum rule applies.
        found = harmonic(phonopy, mesh, temperatures, free=not len(self.rest))
        if not found["stable"]:
            found["warning"] = (
                f"There are imaginary modes, down to {found['lowest_frequency']:.2f} THz: the "
                "structure is no minimum of the energy, or the supercell is too small. They are "
                "left out of the thermal properties."
            )
        return found


def summarise(result: PhononResult) -> str:
    number = result["displacements"]
    return (
        f"{stability(result)}, from "
        f"{number} displacement{'s' * (number > 1)} in a supercell of "
        f"{'×'.join(map(str, result['supercell']))}"
    )


def stability(result: Mapping[str, Any]) -> str:
    """Return in words whether there are imaginary modes, and how high frequencies are."""
    if result["stable"]:
        text = "no imaginary modes"
    else:
        text = f"IMAGINARY MODES down to {result['lowest_frequency']:.2f} THz"
    return f"{text}; frequencies up to {result['highest_frequency']:.2f} THz"


def tabulate(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    thermal = {name: np.array(values) for name, values in result["thermal"].items()}
    last = thermal["temperatures"][-1]
    wanted = sorted({0, *(t for t in (100, 200, 300, 500, 1000) if t <= last), last})
    rows = []
    for temperature in wanted:
        i = int(np.argmin(np.abs(thermal["temperatures"] - temperature)))
        rows.append(
            {
                "temperature (K)": float(thermal["temperatures"][i]),
                "free energy (eV)": float(thermal["free_energy"][i]),
                "entropy (kB)": float(thermal["entropy"][i] / units.kB),
                "heat capacity (kB)": float(thermal["heat_capacity"][i] / units.kB),
            }
        )
    return rows


def draw(result: Mapping[str, Any], figure: Any) -> None:
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[3, 1])
    ticks: dict[float, str] = {}
    end = 0.0
    for part in result["bands"]:
        distances = np.array(part["distances"])
        left.plot(distances, np.array(part["frequencies"]), color="C0", linewidth=1)
        first, second = part["labels"]
        begin = float(distances[0])
        if begin in ticks and ticks[begin] != first:
            ticks[begin] = f"{ticks[begin]}|{first}"
        else:
            ticks[begin] = first
        end = float(distances[-1])
        ticks[end] = second
    left.set_xticks(list(ticks), list(ticks.values()))
    for place in ticks:
        left.axvline(place, color="grey", linewidth=0.5)
    left.axhline(0, color="black", linewidth=0.5)
    left.set(xlim=(0, end), ylabel="frequency (THz)", title=f"Phonons of {result['formula']}")
    right.fill_betweenx(result["dos"]["frequencies"], result["dos"]["density"], alpha=0.5)
    right.set(xlabel="DOS (1/THz)")
    right.set_xlim(left=0)
