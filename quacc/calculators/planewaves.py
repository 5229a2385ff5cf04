"""What codes of plane waves and pseudopotentials have in common."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ase import Atoms

from quacc.calculators.code import Code
from quacc.calculators.keyword import Check, Keyword, or_none, positive, three_counts
from quacc.errors import ParameterError, StructureError


def _files_of_elements(name: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise ParameterError(f"{name} must be {{element: file name}}, not {value!r}.")


def keywords_of(code: str, program: str) -> dict[str, Keyword]:
    """Return the keywords that all these codes take.

    Parameters
    ----------
    code
        Its name in the setting of its pseudopotentials.
    program
        Its name in its manual.
    """

    def dictionary(name: str, value: Any) -> None:
        if not isinstance(value, Mapping):
            raise ParameterError(
                f"{name} must be a dictionary of {program}'s own keywords, not {value!r}."
            )

    return {
        "kspacing": Keyword(
            0.04, "distance of k-points (1/Å, without 2π, as in ASE)", or_none(positive)
        ),
        "kpts": Keyword(None, "instead of a distance", three_counts),
        "pseudopotentials": Keyword(
            None,
            "{element: file name}; None: the only one of each element in the folder of the setting "
            f"pseudopotentials.{code}",
            Check("", _files_of_elements),
        ),
        "input_data": Keyword(
            {}, f"anything else of {program}, as in its manual", Check("", dictionary)
        ),
    }


class PlaneWaves(Code):
    """A code whose pseudopotentials are files, and that repeats the cell in three directions."""

    debian_folder: ClassVar[str]
    """Where Debian puts the pseudopotentials; taken where no setting names a folder."""
    debian_package: ClassVar[str]
    """What they come in."""
    isolate_molecule: ClassVar[str] = ""
    """What to pass to compute a molecule without its images; empty where nothing does."""
    isolate_any: ClassVar[str] = ""
    """The same for molecules and layers."""
    site_moments = True
    converging = frozenset({"kspacing", "kpts"})
    either = (converging,)

    @property
    def binary(self) -> str:
        """The program's name."""
        assert self.program is not None
        return self.program.command

    def missing(self) -> str | None:
        reason = super().missing()
        if reason is None and not self.folder().is_dir():
            reason = (
                f"There is no folder {str(self.folder())!r} of pseudopotentials. Set the setting "
                f"pseudopotentials.{self.name}, or install {self.debian_package}."
            )
        return reason

    def folder(self) -> Path:
        """Return the folder of pseudopotentials, from the settings."""
        from quacc.settings import get_settings

        return Path(get_settings().pseudopotentials.get(self.name) or self.debian_folder)

    def files(self, parameters: Mapping[str, Any]) -> list[Path]:
        return [self.folder() / name for name in parameters["pseudopotentials"].values()]

    @abstractmethod
    def candidates(self, folder: Path, symbol: str) -> list[str]:
        """Return the names of the pseudopotentials of an element in a folder."""

    @abstractmethod
    def functional(self, file: Path) -> str | None:
        """Return the functional of a pseudopotential; None where its file does not tell."""

    def isolated(self, parameters: Mapping[str, Any]) -> bool:
        """Return whether the code is told to correct for the periodic images."""
        return False

    def polarised(self, parameters: Mapping[str, Any]) -> bool:
        """Return whether the parameters ask for spin, whatever the structure says."""
        return False

    def choose(self, atoms: Atoms, given: Mapping[str, str] | None) -> dict[str, str]:
        """Return the file name of each element's pseudopotential.

        Raises
        ------
        ParameterError
            There is none, or several to choose from.
        """
        folder, found = self.folder(), {}
        for symbol in sorted({*atoms.symbols}):
            found[symbol] = (given or {}).get(symbol) or self._only_one(folder, symbol)
            if not (folder / found[symbol]).is_file():
                raise ParameterError(
                    f"There is no pseudopotential {found[symbol]!r} in {str(folder)!r}. It "
                    f"has {', '.join(self.candidates(folder, symbol)) or 'none'} for {symbol}. "
                    f"The setting pseudopotentials.{self.name} names the folder."
                )
        return found

    def _only_one(self, folder: Path, symbol: str) -> str:
        names = self.candidates(folder, symbol)
        if len(names) == 1:
            return names[0]
        raise ParameterError(
            f"There are {len(names) or 'no'} pseudopotentials for {symbol} in {str(folder)!r}"
            f"{': ' + ', '.join(names) if names else ''}. "
            + (
                f"Choose one: pseudopotentials={{{symbol!r}: {names[0]!r}}}. A workflow takes it "
                "for each of its jobs, in relax_kwargs, static_kwargs and the like."
                if names
                else f"The setting pseudopotentials.{self.name} names the folder."
            )
        )

    def merged(self, below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
        lower = {str(name).lower() for name in above}
        kept = {name: value for name, value in below.items() if str(name).lower() not in lower}
        return {**kept, **above}

    def check_cell(self, atoms: Atoms, parameters: Mapping[str, Any]) -> list[str]:
        """Refuse a structure without a cell; return a warning about a molecule in a box."""
        if atoms.cell.rank < 3:
            raise StructureError(
                "Plane waves need a cell, but the structure has none along some directions. Put "
                "vacuum around it: atoms.center(vacuum=6)."
            )
        if atoms.pbc.all() or self.isolated(parameters):
            return []
        return [
            f"{self.binary} repeats the molecule in its box: see that the energy does not change "
            f"with the vacuum{self.isolate_molecule and f', or {self.isolate_molecule}'}."
        ]

    def check_functionals(self, parameters: Mapping[str, Any]) -> None:
        """Refuse pseudopotentials of different functionals."""
        folder = self.folder()
        functionals = {
            symbol: self.functional(folder / name)
            for symbol, name in parameters["pseudopotentials"].items()
        }
        if len({one for one in functionals.values() if one}) > 1:
            raise ParameterError(
                f"The pseudopotentials are of different functionals ({functionals}), so that their "
                "energies mean nothing together. Choose others with pseudopotentials={…}."
            )

    def check_state(self, atoms: Atoms, parameters: Mapping[str, Any]) -> None:
        super().check_state(atoms, parameters)
        if atoms.pbc.all() or self.isolated(parameters):
            return
        charge = self.charge(atoms, parameters)
        if charge or atoms.pbc.any():
            advice = f"{self.isolate_any}, or set" if self.isolate_any else "Set"
            raise StructureError(
                f"{self.binary} repeats the cell in three directions, but the structure has "
                f"pbc={atoms.pbc.tolist()}{' and a charge' if charge else ''}: its energy would "
                f"depend on the vacuum in the cell. {advice} "
                "atoms.pbc = True with a vacuum so wide that it does not."
            )

    def assumptions(self, atoms: Atoms, given: Mapping[str, Any]) -> list[str]:
        electrons = self.electron_count(atoms, given)
        if (
            self.polarised(given)
            or atoms.pbc.any()
            or electrons % 2 == 0
            or self.unpaired(atoms, given) is not None
        ):
            return []
        return [
            f"{atoms.get_chemical_formula()} has an odd number of electrons, {electrons}, and is "
            "computed without spin: its energy is too high. Give it magnetic moments with "
            "atoms.set_initial_magnetic_moments()."
        ]


def middle_of_vacuum(atoms: Atoms) -> float:
    """Return the middle of a slab's vacuum along the third cell vector, as a part of it.

    Raises
    ------
    StructureError
        It is no slab in the xy plane, or has too little vacuum.
    """
    cell, heights = atoms.cell.array, np.sort(atoms.get_scaled_positions()[:, 2])
    gaps = np.diff(heights, append=heights[0] + 1)
    width = gaps.max() * atoms.cell.lengths()[2]
    upright = np.abs(cell[2, :2]).max() < 1e-6 and np.abs(cell[:2, 2]).max() < 1e-6
    if not upright or width < _VACUUM:
        raise StructureError(
            "dipole=True is for a slab in the xy plane, with its third cell vector along z and at "
            f"least {_VACUUM:g} Å of vacuum, of which this structure has {width:.1f} Å."
        )
    return float(heights[gaps.argmax()] + gaps.max() / 2)


_VACUUM = 6.0


def messages_in(errors: str) -> list[str]:
    """Return the first lines of a program's error stream without those of MPI's launcher."""
    lines = map(str.strip, errors.splitlines())
    return [line for line in lines if line and not re.search(_NOISE, line)][:4]


def last_lines(output: str) -> str:
    """Return the end of an output without any error."""
    return " / ".join([line.strip() for line in output.splitlines() if line.strip()][-_LAST:])


_LAST = 3
_NOISE = (
    "MPI_ABORT|MPI_COMM|[Ee]rrorcode|^[-=*]+$|mpirun|prterun|You may or may not|^NOTE:|exactly when"
    "|ORTE_ERROR_LOG"
)
"""What launchers add to an error of the program."""
