"""Vacancies: what they cost, and the barrier of the hop of a neighbour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from quacc.atoms.convert import StructureLike
from quacc.atoms.modify import bare_supercell, repeats_for
from quacc.errors import StructureError, require_count
from quacc.extras import check_free, check_neutral
from quacc.recipes.tools.verbs import Job, check, check_state, gather_each, submit
from quacc.recipes.tools.workflow import Calculator, check_start, finish, keywords, start, workflow
from quacc.schemas import FlowResult

UNITS = {
    "barrier": "eV",
    "formation_energy": "eV",
    "energies": "eV",
    "path": "Å",
    "hop": "Å",
}
REFERENCES = ("Henkelman2000a", "Henkelman2000b", "Smidstrup2014")


class VacancyResult(FlowResult):
    """The hop of an atom into the vacancy beside it; ``atoms`` is the saddle point."""

    barrier: float
    """Energy of the saddle point above the start (eV)."""
    formation_energy: float | None
    """Formation energy of the vacancy (eV), in a crystal of one element; None for others, where it
    depends on chemical potentials."""
    element: str
    """The element of the atom that hops."""
    hop: float
    """Distance between the two sites (Å)."""
    energies: NDArray[Any]
    """Energies of the images (eV)."""
    path: NDArray[Any]
    """How far along the path each is (Å)."""


@workflow
def vacancy_flow(
    atoms: StructureLike,
    relax_job: Job = "relax_job",
    neb_job: Job = "neb_job",
    *,
    calculator: Calculator | None = None,
    atom: int = 0,
    supercell: Sequence[int] | None = None,
    min_length: float = 8.0,
    relax_kwargs: Mapping[str, Any] | None = None,
    neb_kwargs: Mapping[str, Any] | None = None,
) -> VacancyResult:
    """Compute the formation energy of a vacancy and the barrier of its migration.

    The nearest atom of the same element hops; the path is a nudged elastic band's (Henkelman et
    al., J. Chem. Phys. 113, 9901 (2000)). Both at constant volume.

    Parameters
    ----------
    atoms
        The crystal. Of a structure, cell and positions are relaxed first; the result of a job is
        taken as it is.
    relax_job
        Relaxes the crystal, and both ends.
    neb_job
        Relaxes the band.
    atom
        Which atom of the cell is missing.
    supercell, min_length
        How often to repeat the cell along its vectors, or until it is at least so wide (Å).
    relax_kwargs, neb_kwargs
        Keywords of the jobs, such as ``{"fmax": 0.01}`` and ``{"images": 5}``.
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
        A job failed.
    """
    require_count(minimum=0, atom=atom)
    relax_kwargs = keywords("relax_kwargs", relax_kwargs, ["relax_cell"])
    neb_kwargs = keywords("neb_kwargs", neb_kwargs, ["final"])
    given = check_start(atoms, relax_job, relax_kwargs)
    check_neutral(given, "a supercell with a defect")
    if not isinstance(atoms, Mapping):  # which is relaxed first
        check_free(given, "the crystal's relaxation")
    if atom >= len(given):
        raise StructureError(f"The cell has {len(given)} atoms, so none number {atom}.")
    repeats = repeats_for(given, supercell, min_length)
    initial, final, _ = _ends(given, repeats, atom)
    check_state(
        check(relax_job, initial, **relax_kwargs),
        check(neb_job, initial, final=final, **neb_kwargs),
    )
    reference, jobs = start(atoms, relax_job, relax_kwargs)

    initial, final, hop = _ends(reference, repeats, atom)
    whole = bare_supercell(reference, repeats)
    futures = [submit(relax_job, one, **relax_kwargs) for one in (whole, initial, final)]
    names = ["the crystal", "the vacancy", "the vacancy after the hop"]
    perfect, before, after = gather_each(futures, names, "vacancy_flow", jobs)
    jobs += [perfect, before, after]
    future = submit(neb_job, before, final=after["atoms"], **neb_kwargs)
    (band,) = gather_each([future], ["the hop"], "vacancy_flow", jobs)
    formation = None
    if len({*reference.symbols}) == 1:
        count = len(whole)
        bulk = perfect["results"]["energy"] * (count - 1) / count
        formation = float(before["results"]["energy"] - bulk)
    properties = {
        "barrier": band["barrier"],
        "formation_energy": formation,
        "element": reference.get_chemical_symbols()[atom],
        "hop": hop,
        "energies": band["energies"],
        "path": band["path"],
    }
    parameters = {
        "atom": atom,
        "supercell": repeats,
        "relax_kwargs": relax_kwargs,
        "neb_kwargs": neb_kwargs,
    }
    jobs.append(band)
    result: VacancyResult = finish(
        "vacancy_flow", band["atoms"], jobs, parameters, properties, UNITS
    )
    return result


def _ends(atoms: Atoms, repeats: Sequence[int], atom: int) -> tuple[Atoms, Atoms, float]:
    """Return the supercell with a vacancy, before and after the hop, and its length (Å)."""
    whole = bare_supercell(atoms, repeats)
    same = [i for i in range(len(whole)) if i != atom and whole.numbers[i] == whole.numbers[atom]]
    if not same:
        raise StructureError(
            f"There is no other {whole.get_chemical_symbols()[atom]} in the supercell that could "
            "hop into the vacancy. Take a larger one."
        )
    distances = whole.get_distances(atom, same, mic=True)
    # Of equal neighbours the first; distances are equal but for rounding.
    near = same[int(np.flatnonzero(distances < distances.min() + 1e-4)[0])]
    final = whole.copy()
    final.positions[near] -= whole.get_distance(atom, near, mic=True, vector=True)
    keep = [i for i in range(len(whole)) if i != atom]
    return whole[keep], final[keep], float(distances.min())


def summarise(result: VacancyResult) -> str:
    text = (
        f"{result['element']} hops {result['hop']:.2f} Å over a barrier of "
        f"{result['barrier']:.3f} eV"
    )
    if result["formation_energy"] is not None:
        text += f"; the vacancy costs {result['formation_energy']:.3f} eV"
    return text


def tabulate(result: VacancyResult) -> list[dict[str, Any]]:
    energies = np.array(result["energies"])
    return [
        {"image": number, "path (Å)": float(far), "energy (eV)": float(energy - energies[0])}
        for number, (far, energy) in enumerate(zip(result["path"], energies, strict=True))
    ]


def draw(result: VacancyResult, figure: Any) -> None:
    from quacc.recipes.workflows.neb import draw_path

    draw_path(result, figure)
