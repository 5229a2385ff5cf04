"""What a crystal's force constants give: bands, density of states, thermal properties."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray

IMAGINARY = -0.05
"""THz: what lies between this and zero is numerical noise of the acoustic modes."""

_SPACING = 0.005
"""Between two points of a band (1/Å)."""


def temperatures(t_max: float, t_step: float) -> NDArray[Any]:
    """Return the temperatures from zero to ``t_max`` (K)."""
    return np.arange(0, t_max + t_step / 2, t_step)


def phonopy_of(atoms: Atoms, repeats: Sequence[int], *, symmetric: bool = True) -> Any:
    """Return phonopy's object for a crystal, without forces.

    Parameters
    ----------
    repeats
        How often the cell is repeated in the supercell: three whole numbers.
    symmetric
        Whether to use the symmetry of the crystal, and its primitive cell. Where atoms of an
        element have several masses, neither is, since phonopy knows elements but no isotopes.
    """
    from phonopy import Phonopy
    from phonopy.structure.cells import guess_primitive_matrix

    cell = cell_of(atoms)
    symmetric = symmetric and _one_mass_each(atoms)
    return Phonopy(
        cell,
        supercell_matrix=np.diag(repeats),
        primitive_matrix=guess_primitive_matrix(cell) if symmetric else np.eye(3),
        is_symmetry=symmetric,
    )


def cell_of(atoms: Atoms) -> Any:
    """Return phonopy's atoms."""
    from phonopy.structure.atoms import PhonopyAtoms

    magmoms = atoms.get_initial_magnetic_moments()
    return PhonopyAtoms(
        numbers=atoms.numbers,
        cell=atoms.cell.array,
        scaled_positions=atoms.get_scaled_positions(),
        masses=atoms.get_masses(),
        magnetic_moments=magmoms if magmoms.any() else None,
    )


def atoms_of(cell: Any) -> Atoms:
    """Return ASE's atoms."""
    return Atoms(
        cell.numbers,
        cell=cell.cell,
        scaled_positions=cell.scaled_positions,
        masses=cell.masses,
        pbc=True,
    )


def harmonic(
    phonopy: Any, mesh: float, temperatures: NDArray[Any], *, free: bool = True
) -> dict[str, Any]:
    """Return what phonopy's force constants give, as :class:`quacc.schemas.Phonons` has it.

    Parameters
    ----------
    phonopy
        With force constants, on which the acoustic sum rule is imposed.
    mesh
        Density of the q-points: length (Å) of phonopy's mesh.
    temperatures
        Of the thermal properties (K).
    free
        Whether the crystal moves freely, so that the sum rule applies.
    """
    raw = np.array(phonopy.force_constants)
    if free:
        phonopy.symmetrize_force_constants(show_drift=False)
    grid = phonopy.run_mesh(mesh, is_gamma_center=True)
    dos = phonopy.run_total_dos()
    # The three acoustic modes at Γ are zero but for rounding errors, whose sign would decide.
    thermal = phonopy.run_thermal_properties(temperatures=temperatures, exclude_gamma_acoustic=free)
    bands = _bands(phonopy)
    weights = np.array(grid.weights)
    frequencies = np.array(grid.frequencies)
    imaginary = int(weights @ (frequencies < IMAGINARY).sum(axis=1))
    along = np.concatenate([part["frequencies"].ravel() for part in bands])
    lowest = float(min(frequencies.min(), along.min()))
    per_mole = units.kJ / units.mol
    return {
        "primitive": atoms_of(phonopy.primitive),
        "force_constants": np.array(phonopy.force_constants),
        "sum_rule": float(np.abs(raw.sum(axis=1)).max()) if free else 0.0,
        "imaginary_modes": imaginary,
        "stable": lowest > IMAGINARY,
        "lowest_frequency": lowest,
        "highest_frequency": float(max(frequencies.max(), along.max())),
        "bands": bands,
        "dos": {
            "frequencies": np.array(dos.frequency_points),
            "density": np.array(dos.dos),
        },
        "thermal": {
            "temperatures": np.array(thermal.temperatures),
            "free_energy": np.array(thermal.free_energy) * per_mole,
            "entropy": np.array(thermal.entropy) * per_mole / 1e3,
            "heat_capacity": np.array(thermal.heat_capacity) * per_mole / 1e3,
        },
    }


def _one_mass_each(atoms: Atoms) -> bool:
    """Return whether all atoms of an element have the same mass."""
    pairs = set(zip(atoms.numbers.tolist(), atoms.get_masses().round(6).tolist(), strict=True))
    return len(pairs) == len({*atoms.numbers.tolist()})


def _bands(phonopy: Any) -> list[dict[str, Any]]:
    """Return the bands along seekpath's path for this very cell, whichever its orientation."""
    import seekpath

    path = seekpath.get_path_orig_cell(phonopy.primitive.totuple()[:3])
    reciprocal = np.linalg.inv(phonopy.primitive.cell).T  # rows, 1/Å
    lines, distances, travelled = [], [], 0.0
    for ends in path["path"]:
        first, last = (np.array(path["point_coords"][end]) for end in ends)
        length = float(np.linalg.norm((last - first) @ reciprocal))
        points = max(2, round(length / _SPACING) + 1)
        lines.append(np.linspace(first, last, points))
        distances.append(travelled + np.linspace(0, length, points))
        travelled += length
    found = phonopy.run_band_structure(lines)
    return [
        {"distances": far, "frequencies": np.array(bands), "labels": [_letter(end) for end in ends]}
        for ends, far, bands in zip(path["path"], distances, found.frequencies, strict=True)
    ]


def _letter(label: str) -> str:
    greek = {"GAMMA": "Γ", "SIGMA": "Σ", "LAMBDA": "Λ", "DELTA": "Δ"}
    name, _, index = label.partition("_")
    return f"{greek.get(name, name)}{index.translate(str.maketrans('0123456789', '₀₁₂₃₄₅₆₇₈₉'))}"
