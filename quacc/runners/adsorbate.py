"""A molecule on a fixed slab that is hindered in moving along it, and in turning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.data import covalent_radii
from ase.geometry import find_mic
from numpy.typing import NDArray

from quacc.atoms.adsorption import is_slab
from quacc.atoms.vacuum import VACUUM
from quacc.errors import ParameterError, StructureError

_ARM = 0.1
"""Atoms nearer to the axis (Å) do not turn."""
_RIGID = 0.5
"""The part of the lowest modes that should be motions of the whole molecule."""


def check(atoms: Atoms, indices: NDArray[Any], parameters: Mapping[str, Any]) -> None:
    """Refuse what is no adsorbate on a fixed slab, and barriers that it does not have.

    Raises
    ------
    StructureError, ParameterError
    """
    if not is_slab(atoms) or len(indices) == len(atoms):
        raise StructureError(
            "thermo='hindered' is for an adsorbate on a slab, with at least "
            f"{VACUUM:g} Å of vacuum along its third cell vector, and all of whose own atoms are "
            "fixed with FixAtoms. Use thermo='harmonic' where some of them move."
        )
    turns, given = _turns(atoms[indices], atoms), "rotation_barrier" in parameters
    if turns and not given:
        raise ParameterError(
            f"{atoms[indices].get_chemical_formula()} can turn about the normal of the surface: "
            "pass rotation_barrier and rotational_minima."
        )
    if given and not turns:
        raise ParameterError(
            f"{atoms[indices].get_chemical_formula()} lies on the normal of the surface, so that "
            "nothing turns: leave out rotation_barrier and rotational_minima."
        )


def rigid_modes(parameters: Mapping[str, Any]) -> int:
    """Return how many of the lowest modes are hindered motions instead."""
    return 3 if "rotation_barrier" in parameters else 2


def rigid_part(atoms: Atoms, hessian: NDArray[Any], indices: NDArray[Any], number: int) -> float:
    """Return which part of the lowest modes moves or turns the molecule as a whole (0 to 1)."""
    masses = np.sqrt(atoms.get_masses()[indices])
    weights = np.repeat(masses, 3)
    squares, modes = np.linalg.eigh(hessian / np.outer(weights, weights))
    lowest = modes[:, np.argsort(np.abs(squares))[:number]]
    arms = _arms(atoms[indices])
    first, second = _axes(atoms)
    rigid = [np.tile(first, (len(indices), 1)), np.tile(second, (len(indices), 1))]
    if number == 3:
        rigid.append(np.outer(arms @ first, second) - np.outer(arms @ second, first))
    basis, _ = np.linalg.qr(np.array([(one * masses[:, None]).ravel() for one in rigid]).T)
    return float(np.square(basis.T @ lowest).sum() / number)


def warning(part: float, number: int) -> list[str]:
    """Return a warning where the lowest modes are not those that are hindered."""
    if part >= _RIGID:
        return []
    return [
        f"Only {part:.0%} of the {number} lowest modes, for which hindered motions are taken, are "
        "motions of the adsorbate as a whole: see that no atom of the slab moves, or use "
        "thermo='harmonic'."
    ]


def contributions(
    atoms: Atoms, indices: NDArray[Any], parameters: Mapping[str, Any]
) -> tuple[float, float, float]:
    """Return zero-point energy, thermal energy (eV) and entropy (eV/K) of the hindered motions.

    As ASE's HinderedThermo has them, the entropy of the standard concentration included.
    """
    kelvin, molecule = parameters["temperature"], atoms[indices]
    barrier, area = parameters["translation_barrier"], parameters["site_area"] * 1e-20
    mass = float(molecule.get_masses().sum()) * units._amu
    quantum = units._hplanck * np.sqrt(barrier * units._e / (2 * mass * area))
    energy, entropy = hindered(quantum / units._e, barrier, kelvin)
    zero, thermal, total = quantum / units._e, 2 * energy, 2 * entropy
    if "rotation_barrier" in parameters:
        barrier, minima = parameters["rotation_barrier"], parameters["rotational_minima"]
        arms = _arms(molecule) @ np.array(_axes(atoms)).T
        inertia = float(molecule.get_masses() @ np.square(arms).sum(axis=1))
        inertia *= units._amu * 1e-20
        quantum = units._hbar * minima * np.sqrt(barrier * units._e / (2 * inertia))
        energy, entropy = hindered(quantum / units._e, barrier, kelvin)
        zero += quantum / units._e / 2
        thermal += energy
        total += entropy - units.kB * np.log(parameters["symmetry_number"] or 1)
    crowd = np.exp(1 / 3) * (1e5 / (units._k * kelvin)) ** (2 / 3) * area
    total += units.kB * (1 - np.log(crowd))
    return float(zero), float(thermal), float(total)


def hindered(quantum: float, barrier: float, kelvin: float) -> tuple[float, float]:
    """Return energy above the zero point (eV) and entropy (eV/K) of one hindered motion.

    Hill, An Introduction to Statistical Thermodynamics (1960), in the form of Sprowl et al.

    Parameters
    ----------
    quantum
        Of the vibration at the bottom of the potential (eV).
    barrier
        Between two of its minima (eV).
    """
    from scipy.special import ive

    heat = units.kB * kelvin
    half, ratio = barrier / (2 * heat), quantum / heat
    bessel = ive(1, half) / ive(0, half)  # scaled, so that they do not overflow
    wave = ratio / np.expm1(ratio)
    shift = -0.5 - ratio / (2 + 16 * barrier / quantum)
    energy = shift + half * (1 - bessel) + wave
    entropy = (
        -0.5
        + 0.5 * np.log(2 * np.pi * half)
        - half * bessel
        + np.log(ive(0, half))
        + half
        + wave
        - np.log(-np.expm1(-ratio))
    )
    return float(heat * energy), float(units.kB * entropy)


def _turns(molecule: Atoms, atoms: Atoms) -> bool:
    arms = _arms(molecule) @ np.array(_axes(atoms)).T
    return bool(np.linalg.norm(arms, axis=1).max() > _ARM)


def _arms(molecule: Atoms) -> NDArray[Any]:
    """Return positions relative to the centre of mass (Å), across the boundaries of the cell."""
    places = molecule.positions.copy()
    left, done = set(range(1, len(molecule))), [0]
    radii = covalent_radii[molecule.numbers]
    while left:  # atom by atom, those first that are bonded most closely
        near = []
        for one in left:
            vectors, lengths = find_mic(places[one] - places[done], molecule.cell, molecule.pbc)
            bonds = lengths / (radii[one] + radii[done])
            best = int(bonds.argmin())
            near.append((bonds[best], one, places[done[best]] + vectors[best]))
        _, one, place = min(near, key=lambda found: found[0])
        places[one] = place
        left.remove(one)
        done.append(one)
    masses = molecule.get_masses()
    arms: NDArray[Any] = places - masses @ places / masses.sum()
    return arms


def _axes(atoms: Atoms) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return two directions along the surface, at right angles."""
    first = atoms.cell.array[0] / np.linalg.norm(atoms.cell.array[0])
    second = atoms.cell.array[1] - (atoms.cell.array[1] @ first) * first
    return first, second / np.linalg.norm(second)
