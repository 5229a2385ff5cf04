"""What a person types into a form, as the workflows want to have it."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.collections import g2
from ase.data import atomic_numbers

from quacc.atoms import as_atoms
from quacc.errors import StructureError
from quacc.recipes.tools.documented import nested, pairs

NONE = "none"
"""What a menu has for None, which a form cannot tell from a field that was left out."""


def structure(text: str) -> Atoms | str:
    """Return a name or a path as it is, and the structure of a CIF or POSCAR file's text.

    Raises
    ------
    StructureError
        A text of several lines is no such file, or its structure makes no sense.
    """
    text = text.strip("\n")
    if "\n" not in text:
        return text.strip()
    return as_atoms(_read(text))


def _read(text: str) -> Atoms:
    from ase.io import read

    is_cif = any(line.lstrip().startswith(("data_", "_cell_")) for line in text.splitlines())
    kind = "cif" if is_cif else "vasp"
    if "_atom_site_moment" in text:
        raise StructureError(
            "The CIF text has magnetic moments, which ASE does not read. Take them out, or run "
            "the workflow from Python with atoms.set_initial_magnetic_moments()."
        )
    try:
        atoms = read(StringIO(f"{text}\n"), format=kind)
    # Every reader fails in its own way on a text that isn't what it claims to be.
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".rstrip(": ")
        raise StructureError(
            f"The {len(text.splitlines())} lines given as a structure are no "
            f"{'CIF' if is_cif else 'POSCAR'} file that ASE can read ({reason}). Paste the whole "
            "file, or give its path, or a name such as Cu."
        ) from error
    if not isinstance(atoms, Atoms) or not len(atoms):
        raise StructureError("The text given as a structure holds no atoms.")
    return atoms


def located(text: str) -> str:
    """Return the absolute path of a file that is here; anything else, names too, as it is."""
    path = Path(text).expanduser() if "\n" not in text and len(text) < _LONGEST else None
    if path is None or text in atomic_numbers or text in g2.names or not path.exists():
        return text
    return str(path.absolute())


_LONGEST = 4096
"""Characters of a path."""


def structures(texts: Sequence[str]) -> list[Atoms | str]:
    """Return what :func:`structure` does of each."""
    return [structure(text) for text in texts]


def source(texts: Sequence[str]) -> str | list[Atoms | str]:
    """Return a folder or a file of many structures, or a list of structures."""
    if len(texts) == 1 and Path(located(texts[0])).is_absolute():
        return located(texts[0])
    return structures(texts)


def named_structures(lines: Sequence[str]) -> dict[str, Atoms | str]:
    """Return structures by name, of texts such as O2=/home/me/o2.xyz."""
    given = pairs(lines, "Each of the structures")
    return {name: structure(text) for name, text in given}


def keywords(lines: Sequence[str]) -> dict[str, Any]:
    """Return keywords and their values, of texts such as ecutwfc=40, whose values are YAML."""
    return nested(pairs(lines, "Each of the keywords"))


def job(text: str) -> str | None:
    """Return the name of a job, or None."""
    return None if text == NONE else text
