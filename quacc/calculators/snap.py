"""SNAP: a linear potential in the bispectrum of each atom's neighbours, fitted by ridge regression.

Thompson et al., J. Comput. Phys. 285, 316 (2015). The descriptors are those that LAMMPS itself
computes, so that the potential which LAMMPS runs is the one that was fitted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.units import GPa
from numpy.typing import NDArray

from quacc.calculators.codes.lammps import computed
from quacc.calculators.keyword import Check, Keyword, or_none, positive
from quacc.calculators.potential import in_vacuum
from quacc.errors import ParameterError, require_number

_RFAC0 = 0.99363
"""Of the angle that a distance becomes; as in all published potentials."""

ALPHAS = tuple(float(10.0**power) for power in range(-14, -1, 2))
"""Strengths of the ridge that are tried."""


def _is_even(name: str, value: Any) -> None:
    if isinstance(value, bool) or value not in range(0, 17, 2):
        raise ParameterError(f"{name} must be an even number from 0 to 16, not {value!r}.")


def _are_by_element(name: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise ParameterError(f"{name} must be numbers by element, such as {{'Cu': 1.0}}.")
    for symbol, number in value.items():
        require_number(**{f"{name} of {symbol}": number})


_by_element = Check("numbers by element", _are_by_element)

KEYWORDS = {
    "cutoff": Keyword(5.0, "distance beyond which atoms are no neighbours (Å)", positive),
    "twojmax": Keyword(
        6,
        "order of the bispectrum: 4, 6, 8 have 14, 30, 55 coefficients for each element",
        Check("an even number", _is_even),
    ),
    "weights": Keyword(
        None,
        "what tells elements apart as neighbours, such as {'In': 1.0, 'P': 0.9}; needed for two "
        "and more",
        _by_element,
    ),
    "energy_error": Keyword(1e-3, "expected error of an energy (eV per atom)", positive),
    "forces_error": Keyword(
        0.05, "of a component of a force (eV/Å); None: forces are not fitted", or_none(positive)
    ),
    "stress_error": Keyword(
        0.2, "of a component of the stress (GPa); None: stresses are not fitted", or_none(positive)
    ),
    "alpha": Keyword(
        None,
        "strength of the ridge, for descriptors of the norm 1; None: the one of 1e-14 to 0.01 "
        "whose validation error is least",
        Check(
            "a number, 0 or more", lambda name, value: require_number(minimum=0.0, **{name: value})
        ),
    ),
    "reference_energies": Keyword(
        None,
        "energy of an atom without neighbours (eV), by element; None: fitted",
        _by_element,
    ),
}
"""What decides the fit."""


@dataclass(frozen=True)
class Design:
    """What the coefficients of one structure's energy, forces and stress are multiplied with.

    First come the numbers of atoms of each element, then the descriptors of each element.
    """

    energy: NDArray[Any]
    """(coefficients,)"""
    forces: NDArray[Any]
    """(3 atoms, coefficients), 1/Å."""
    stress: NDArray[Any] | None
    """(6, coefficients) in ASE's Voigt order, 1/Å³; of crystals."""


@dataclass(frozen=True)
class Targets:
    """What was computed for one structure (eV, Å)."""

    energy: float
    forces: NDArray[Any]
    """(atoms, 3)"""
    stress: NDArray[Any] | None
    """(6,)"""


@dataclass(frozen=True)
class Fit:
    """A potential."""

    coefficients: NDArray[Any]
    """(coefficients,), eV: reference energies first."""
    alpha: float
    warnings: tuple[str, ...]


def designs(
    structures: Sequence[Atoms], symbols: Sequence[str], parameters: Mapping[str, Any]
) -> list[Design]:
    """Return the designs of structures; the symbols say the order of the elements."""
    return list(_designs(structures, symbols, parameters))


def weights_of(symbols: Sequence[str], parameters: Mapping[str, Any]) -> list[float]:
    """Return the weight of each element.

    Raises
    ------
    ParameterError
        They are not given, or do not tell elements apart.
    """
    given = parameters["weights"]
    if given is None and len(symbols) == 1:
        return [1.0]
    if given is None or {*given} != {*symbols} or len({*given.values()}) < len(symbols):
        raise ParameterError(
            f"weights must have a number of its own for each of {', '.join(symbols)}, such as "
            f"{ {one: round(1 - 0.1 * n, 1) for n, one in enumerate(symbols)} }, not {given!r}: "
            "otherwise SNAP takes neighbours of different elements for the same."
        )
    return [float(given[one]) for one in symbols]


def _designs(
    structures: Sequence[Atoms], symbols: Sequence[str], parameters: Mapping[str, Any]
) -> Iterator[Design]:
    cutoff, count = parameters["cutoff"], len(symbols)
    words = [
        cutoff,
        _RFAC0,
        parameters["twojmax"],
        *[0.5] * count,
        *weights_of(symbols, parameters),
    ]
    commands = [
        f"pair_style zero {cutoff!r}",
        "pair_coeff * *",
        f"compute bispectrum all snap {' '.join(map(repr, words))} bzeroflag 1 switchflag 1",
    ]
    boxed = [in_vacuum(one, 2 * cutoff) for one in structures]
    for atoms, box, (array, prism) in zip(
        structures, boxed, computed(boxed, symbols, commands, "bispectrum"), strict=True
    ):
        found, natoms = array[:, :-1], len(atoms)  # the last column is the pair style's
        columns = found.shape[1]
        forces = found[1 : 1 + 3 * natoms].reshape(natoms, 3, columns)
        turned = [prism.vector_to_ase(forces[..., one]) for one in range(columns)]
        forces = np.stack(turned, axis=2)
        counts = np.array([np.count_nonzero(atoms.symbols == one) for one in symbols], float)
        stress = None
        if atoms.pbc.all():
            virial = found[1 + 3 * natoms :][_VOIGT].reshape(3, 3, columns)
            turned = [prism.tensor2_to_ase(virial[..., one]) for one in range(columns)]
            voigt = np.array(turned).reshape(columns, 9)[:, [0, 4, 8, 5, 2, 1]]
            stress = -voigt.T / box.get_volume()
            stress = np.hstack([np.zeros((6, count)), stress])
        yield Design(
            np.concatenate([counts, found[0]]),
            np.hstack([np.zeros((3 * natoms, count)), forces.reshape(3 * natoms, columns)]),
            stress,
        )


_VOIGT = [0, 5, 4, 5, 1, 3, 4, 3, 2]
"""Where the components of a symmetric matrix are among xx, yy, zz, yz, xz, xy."""


def predicted(design: Design, coefficients: NDArray[Any]) -> Targets:
    """Return what a potential gives for a structure."""
    stress = None if design.stress is None else design.stress @ coefficients
    forces = (design.forces @ coefficients).reshape(-1, 3)
    return Targets(float(design.energy @ coefficients), forces, stress)


def equations(
    designs: Sequence[Design], targets: Sequence[Targets], parameters: Mapping[str, Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the left (rows, coefficients) and right sides (rows,), in units of expected errors."""
    left, right = [], []
    stress_error = parameters["stress_error"]
    for design, target in zip(designs, targets, strict=True):
        scale = 1 / (parameters["energy_error"] * (len(design.forces) / 3))
        left.append(design.energy[None] * scale)
        right.append(np.array([target.energy * scale]))
        if parameters["forces_error"] is not None:
            left.append(design.forces / parameters["forces_error"])
            right.append(target.forces.ravel() / parameters["forces_error"])
        if stress_error is not None and design.stress is not None and target.stress is not None:
            left.append(design.stress / (stress_error * GPa))
            right.append(target.stress / (stress_error * GPa))
    return np.concatenate(left), np.concatenate(right)


def fit(
    train: tuple[Sequence[Design], Sequence[Targets]],
    validation: tuple[Sequence[Design], Sequence[Targets]],
    symbols: Sequence[str],
    parameters: Mapping[str, Any],
) -> Fit:
    """Fit the coefficients by ridge regression.

    The ridge is on coefficients of descriptors that are scaled to the norm 1 over the training
    data, and not on the reference energies.
    """
    left, right = equations(*train, parameters)
    count, references = len(symbols), np.zeros(len(symbols))
    warnings = []
    if parameters["reference_energies"] is not None:
        references = np.array([parameters["reference_energies"][one] for one in symbols], float)
        right = right - left[:, :count] @ references
        free = np.arange(count, left.shape[1])
    else:
        free = np.arange(left.shape[1])
        compositions = np.array([design.energy[:count] for design in train[0]])
        if np.linalg.matrix_rank(compositions) < count:
            warnings.append(
                "The compositions of the training data do not tell the reference energies of "
                f"{', '.join(symbols)} apart: energies of other compositions have no meaning. Add "
                "structures of other compositions, or pass reference_energies."
            )
    unknown = len(free)
    if len(right) < 5 * unknown:
        warnings.append(
            f"{len(right)} training energies and components of forces and stresses are few for "
            f"{unknown} coefficients. Take more data, or a smaller twojmax."
        )
    norms = np.linalg.norm(left[:, free], axis=0)
    norms[norms == 0] = 1.0
    # With few rows the triangle is smaller than the matrix, and has the same solution.
    q, triangle = np.linalg.qr(left[:, free] / norms)
    projected = q.T @ right
    ridge = np.where(free < count, 0.0, 1.0)
    checked, wanted = equations(*validation, parameters)
    wanted = wanted - checked[:, :count] @ references
    best: tuple[float, float, NDArray[Any]] | None = None
    for alpha in ALPHAS if parameters["alpha"] is None else (parameters["alpha"],):
        system = np.vstack([triangle, np.diag(np.sqrt(alpha) * ridge)])
        sides = np.concatenate([projected, np.zeros(len(free))])
        found = np.linalg.lstsq(system, sides, rcond=None)[0] / norms
        error = float(np.mean((checked[:, free] @ found - wanted) ** 2))
        if best is None or error < best[0]:
            best = error, float(alpha), found
    assert best is not None
    coefficients = np.zeros(left.shape[1])
    coefficients[:count] = references
    coefficients[free] = best[2]
    return Fit(coefficients, best[1], tuple(warnings))


def files(
    fitted: Fit, symbols: Sequence[str], parameters: Mapping[str, Any], about: str
) -> dict[str, str]:
    """Return the contents of the files that LAMMPS reads, by suffix."""
    count = len(symbols)
    references, rest = fitted.coefficients[:count], fitted.coefficients[count:].reshape(count, -1)
    lines = [f"# UNITS: metal {about}", "", f"{count} {rest.shape[1] + 1}"]
    rows = zip(symbols, weights_of(symbols, parameters), references, rest, strict=True)
    for symbol, weight, reference, values in rows:
        lines.append(f"{symbol} 0.5 {weight!r}")
        lines += [repr(float(one)) for one in (reference, *values)]
    settings = {
        "rcutfac": float(parameters["cutoff"]),
        "twojmax": parameters["twojmax"],
        "rfac0": _RFAC0,
        "rmin0": 0.0,
        "switchflag": 1,
        "bzeroflag": 1,
        "quadraticflag": 0,
    }
    text = [f"# UNITS: metal {about}", *(f"{name} {value!r}" for name, value in settings.items())]
    return {".snapcoeff": "\n".join([*lines, ""]), ".snapparam": "\n".join([*text, ""])}


def check(symbols: Sequence[str], parameters: Mapping[str, Any]) -> None:
    """Refuse parameters that make no sense together, before anything is computed."""
    weights_of(symbols, parameters)
    given = parameters["reference_energies"]
    if given is not None and {*given} != {*symbols}:
        raise ParameterError(
            f"reference_energies must be given for {', '.join(symbols)}, and no other element, "
            f"not {given!r}."
        )
