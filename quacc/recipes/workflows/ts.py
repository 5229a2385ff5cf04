"""Transition states: from a guess to the saddle point, and to the minima on its two sides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ase import Atoms
from ase.geometry import find_mic
from numpy.typing import NDArray

from quacc.atoms import as_atoms
from quacc.atoms.convert import StructureLike
from quacc.errors import require_positive
from quacc.recipes.tools.verbs import Job, check_chain, gather_each, submit
from quacc.recipes.tools.workflow import Calculator, finish, keywords, workflow
from quacc.recipes.workflows.neb import draw_path
from quacc.runners.neb import path_length
from quacc.schemas import FlowResult

UNITS = {
    "barrier": "eV",
    "reverse_barrier": "eV",
    "reaction_energy": "eV",
    "energies": "eV",
    "path": "Å",
    "frequencies": "1/cm",
}
REFERENCES = ("Henkelman1999", "Heyden2005")

_SAME = 0.1
"""Minima whose atoms are all nearer than this (Å) are the same."""


class TSFlowResult(FlowResult):
    """A transition state, ``atoms``, and the minima that it connects."""

    barrier: float
    """From the initial structure (eV), without vibrations; so the next two."""
    reverse_barrier: float
    """From the final one."""
    reaction_energy: float
    """Final less initial."""
    frequencies: NDArray[Any]
    """Wavenumbers at the transition state (1/cm), imaginary ones negative."""
    imaginary_modes: int
    """Number of those; 1 for a transition state."""
    mode: NDArray[Any]
    """(atoms, 3), of length 1: how the atoms move across it, from initial to final."""
    images: list[Any]
    """Initial structure, transition state, final structure."""
    energies: NDArray[Any]
    """Theirs (eV)."""
    path: NDArray[Any]
    """How far along a path of straight lines each is (Å)."""


@workflow
def ts_flow(
    atoms: StructureLike,
    ts_job: Job = "ts_job",
    relax_job: Job = "relax_job",
    *,
    calculator: Calculator | None = None,
    push: float = 0.2,
    ts_kwargs: Mapping[str, Any] | None = None,
    relax_kwargs: Mapping[str, Any] | None = None,
) -> TSFlowResult:
    """Find a transition state near a guess, and the barriers from the minima on its two sides.

    The dimer method (Henkelman and Jónsson, J. Chem. Phys. 111, 7010 (1999)); vibrations tell
    whether there is one imaginary mode; relaxations of the transition state, pushed along this mode
    to both sides, lead to the minima.

    Parameters
    ----------
    atoms
        The guess, such as the highest image of a band.
    ts_job
        Finds the transition state.
    relax_job
        Relaxes it on both sides.
    push
        How far the transition state is displaced along the mode before: the distance of all atoms
        together (Å).
    ts_kwargs, relax_kwargs
        Keywords of the jobs, such as ``{"mode": direction}``, an array (atoms, 3) that points from
        initial to final, and ``{"fmax": 0.02}``.
    calculator
        Name of the calculator whose jobs they are, such as emt, or a mapping of its name and its
        parameters; by default, the setting ``calculator``.

    Raises
    ------
    InputError
        Before anything is computed.
    JobsFailedError
        A job failed.
    """
    require_positive(push=push)
    ts_kwargs = keywords("ts_kwargs", ts_kwargs)
    relax_kwargs = keywords("relax_kwargs", relax_kwargs, ["relax_cell"])
    guess = as_atoms(atoms)
    check_chain(guess, (ts_job, ts_kwargs), (relax_job, relax_kwargs))
    formula = guess.get_chemical_formula()
    (saddle,) = gather_each([submit(ts_job, guess, **ts_kwargs)], [formula], "ts_flow")
    found, mode = saddle["atoms"], np.array(saddle["mode"])
    futures = []
    for way in (-push, push):
        pushed = found.copy()
        pushed.positions += way * mode
        futures.append(submit(relax_job, pushed, **relax_kwargs))
    initial, final = gather_each(futures, ["initial", "final"], "ts_flow", [saddle])
    energies = np.array([one["results"]["energy"] for one in (initial, saddle, final)])
    images = [initial["atoms"], found, final["atoms"]]
    properties = {
        "barrier": float(energies[1] - energies[0]),
        "reverse_barrier": float(energies[1] - energies[2]),
        "reaction_energy": float(energies[2] - energies[0]),
        "frequencies": np.array(saddle["frequencies"]),
        "imaginary_modes": int(saddle["imaginary_modes"]),
        "mode": mode,
        "images": images,
        "energies": energies,
        "path": path_length(images),
    }
    warnings = []
    if _moved(images[0], images[2]) < _SAME:
        warnings.append(
            "Both sides of the transition state relax to the same minimum: it connects none with "
            "another, or the push was too small to leave it."
        )
    if energies[1] <= max(energies[0], energies[2]):
        warnings.append(
            "The structure that was found is not above both minima: there is no barrier."
        )
    parameters = {"push": float(push), "ts_kwargs": ts_kwargs, "relax_kwargs": relax_kwargs}
    jobs = [initial, final, saddle]
    result: TSFlowResult = finish("ts_flow", found, jobs, parameters, properties, UNITS, warnings)
    return result


def _moved(one: Atoms, other: Atoms) -> float:
    """Return how far the atom that moves farthest is in another structure (Å)."""
    _, distances = find_mic(other.positions - one.positions, one.cell, one.pbc)
    return float(distances.max())


def summarise(result: TSFlowResult) -> str:
    imaginary = int(result["imaginary_modes"])
    lowest = float(result["frequencies"][0])
    what = f"mode {-lowest:.0f}i 1/cm" if imaginary == 1 else f"{imaginary} imaginary modes"
    return f"barrier {result['barrier']:.3f} eV, back {result['reverse_barrier']:.3f} eV, {what}"


def tabulate(result: TSFlowResult) -> list[dict[str, Any]]:
    energies = np.array(result["energies"])
    return [
        {
            "structure": name,
            "path (Å)": float(far),
            "energy above the initial (eV)": float(energy - energies[0]),
        }
        for name, far, energy in zip(
            ("initial", "transition state", "final"), result["path"], energies, strict=True
        )
    ]


def draw(result: TSFlowResult, figure: Any) -> None:
    draw_path(result, figure)
