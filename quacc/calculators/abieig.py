"""What ABINIT writes about the states of a crystal: their energies, and how dense they are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import units
from numpy.typing import NDArray

from quacc.calculators.code import Spectrum
from quacc.calculators.files import read
from quacc.errors import CalculationError

_KPOINT = re.compile(r"kpt#\s*\d+, nband=\s*\d+, wtk=\s*(\S+), kpt=(.{24}) \(reduced coord\)")
_ORBITALS = "spdf"


@dataclass(frozen=True)
class States:
    """How the electrons of an SCF are distributed."""

    electrons: float
    moment: float
    """How many more have spin up than spin down."""
    spins: int
    single: bool
    """Whether each state holds one electron although spins are not told apart."""
    smeared: bool
    """Whether occupations are smeared; they are full or empty otherwise."""
    fixed_moment: bool
    """Whether the moment is given, so that each spin has a Fermi energy of its own."""

    @property
    def filled(self) -> int:
        """How many bands hold the electrons, of one spin if there are two."""
        if self.spins == 2:
            return int(np.ceil((self.electrons + abs(self.moment)) / 2 - 1e-6))
        return int(np.ceil(self.electrons / (1 if self.single else 2) - 1e-6))

    @property
    def occupied(self) -> list[int] | None:
        """How many bands of each spin are full at every k-point; None where that is not fixed."""
        if self.smeared:
            return None
        if self.spins == 1:
            return [self.filled]
        return [round((self.electrons + sign * self.moment) / 2) for sign in (1, -1)]

    def fermi_energies(self, energies: NDArray[Any], counts: NDArray[Any]) -> NDArray[Any]:
        """Return the Fermi energy of each spin, from its number of states up to each energy."""
        if not self.fixed_moment:
            found = _filled_up_to(self.electrons, energies, counts.sum(axis=0))
            return np.full(self.spins, found)
        wanted = [(self.electrons + sign * self.moment) / 2 for sign in (1, -1)]
        return np.array(
            [
                _filled_up_to(number, energies, count)
                for number, count in zip(wanted, counts, strict=True)
            ]
        )


def _filled_up_to(electrons: float, energies: NDArray[Any], counts: NDArray[Any]) -> float:
    """Return where states hold the electrons; of a gap, the middle."""
    ends = np.interp([electrons - _COUNT, electrons + _COUNT], counts, energies)
    return float(ends.mean())


_COUNT = 5e-4
"""States are counted to this part of an electron: of each spin, four decimals are written."""


def energies(
    file: Path, spins: int, unit: float = 1.0
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return energies (spins, k-points, bands) in eV, k-points and weights of an ``_EIG`` file.

    k-points are parts of the reciprocal vectors, of four decimals; weights have the sum 1.

    Parameters
    ----------
    unit
        That of the file, which has five decimals (eV).
    """
    _, *blocks = _KPOINT.split(read(file))
    if not blocks:
        raise CalculationError(f"abinit wrote no energies of states into {file.name}.")
    levels = [
        [float(word) for word in block.partition("Eigenvalues")[0].split()]
        for block in blocks[2::3]
    ]
    found = np.array(levels).reshape(spins, -1, len(levels[0])) * unit
    number = found.shape[1]
    weights = np.array(blocks[::3][:number], float)
    kpoints = np.array([text.split() for text in blocks[1::3][:number]], float)
    return found, kpoints, weights / weights.sum()


def fermi_energies(folder: Path, spins: int) -> NDArray[Any]:
    """Return the Fermi energies (spins,) of the SCF in a folder (eV)."""
    text = read(folder / "abinit.log")
    pattern = r"newocc: new Fermi energy for spin\s+(\d)\s+is\s+(\S+)"
    by_spin = {int(spin): float(level) for spin, level in re.findall(pattern, text)}
    if by_spin:  # of a given magnetisation; the last ones count
        return np.array([by_spin[spin + 1] for spin in range(spins)]) * units.Hartree
    first = read(folder / "abinito_EIG").partition("\n")[0]
    found = re.search(r"Fermi \(or HOMO\) energy \(hartree\)\s*=\s*(\S+)", first)
    if found is None:
        raise CalculationError("abinit wrote no Fermi energy into abinito_EIG.")
    return np.full(spins, float(found.group(1)) * units.Hartree)


def checked(spectrum: Spectrum, empty: int) -> Spectrum:
    """Return a spectrum whose bands hold all electrons.

    Raises
    ------
    CalculationError
        They do not, since bands reach below the Fermi energy that have not been asked for.
    """
    lowest = spectrum.energies[:, :, -1].min(axis=1)
    if spectrum.occupied is None and (lowest <= spectrum.fermi_energies).any():
        raise CalculationError(
            f"The highest of the {spectrum.energies.shape[2]} bands reaches down to "
            f"{lowest.min():.2f} eV, below the Fermi energy of "
            f"{spectrum.fermi_energies.max():.2f} eV, so that states are missing. Ask for more: "
            f"empty={2 * empty + 4}."
        )
    return spectrum


def density(file: Path, spins: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return energies (eV), and columns (spins, columns, energies) of a ``_DOS`` file (1/Ha)."""
    rows = [line.split() for line in read(file).splitlines() if line.strip() and line[0] != "#"]
    if not rows:
        raise CalculationError(f"abinit wrote no density of states into {file.name}.")
    table = np.array(rows, float).reshape(spins, -1, len(rows[0]))
    return table[0, :, 0] * units.Hartree, table[:, :, 1:].transpose(0, 2, 1)


def projected(folder: Path, name: str, atoms: int, spins: int) -> list[dict[str, Any]]:
    """Return densities of states (1/eV) in the sphere around each atom, by angular momentum."""
    found = []
    for atom in range(atoms):
        _, columns = density(folder / f"{name}_DOS_AT{atom + 1:04d}", spins)
        for momentum, orbital in enumerate(_ORBITALS):
            dos = columns[:, momentum] / units.Hartree
            row = {"atom": atom, "shell": None, "orbital": orbital, "j": None, "dos": dos}
            found.append(row)
    return found
