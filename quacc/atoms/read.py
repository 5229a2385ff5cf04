"""Many structures at once: from a folder, a database, a trajectory or a list of names."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ase import Atoms

from quacc.atoms.convert import as_atoms, keep_lost, reading
from quacc.errors import StructureError


def read_structures(source: Any) -> list[tuple[str, Atoms]]:
    """Return the name and the structure of each.

    Parameters
    ----------
    source
        - a folder: every file in it, by name.
        - a CSV file: the column ``structure``, or else the first, holds names such as Cu, or paths
          relative to the file. The first line names the columns.
        - a database of ASE's, a trajectory, or any other file that ASE reads: every structure.
        - a list of whatever :func:`quacc.atoms.as_atoms` takes.

    Raises
    ------
    StructureError
        One of them cannot be read; the message says which.
    """
    if isinstance(source, str | os.PathLike):
        found = list(_from_path(Path(source).expanduser()))
    elif isinstance(source, Sequence):
        found = [(_name(one, number), as_atoms(one)) for number, one in enumerate(source)]
    else:
        raise StructureError(
            f"{source!r} is no folder, file or list of structures; pass one of these."
        )
    if not found:
        raise StructureError(f"There are no structures in {source!s}.")
    return found


def _name(structure: Any, number: int) -> str:
    return structure if isinstance(structure, str) else f"structure {number + 1}"


def _from_path(path: Path) -> Iterator[tuple[str, Atoms]]:
    if path.is_dir():
        for file in sorted(path.iterdir()):
            if file.is_file() and not file.name.startswith("."):
                yield from _images(file)
    elif not path.is_file():
        raise StructureError(f"There is no file or folder {str(path)!r} (looked in {Path.cwd()}).")
    elif path.suffix.lower() == ".csv":
        yield from _listed(path)
    else:
        yield from _images(path)


def _listed(path: Path) -> Iterator[tuple[str, Atoms]]:
    with path.open(newline="", encoding="utf-8-sig") as stream:
        rows = list(csv.DictReader(stream))
    for line, row in enumerate(rows, start=2):
        text = (row.get("structure") or next(iter(row.values())) or "").strip()
        beside = path.parent / text
        try:
            yield text, as_atoms(str(beside) if text and beside.is_file() else text)
        except StructureError as error:
            raise StructureError(f"{path}, line {line}: {error}") from error


def _images(path: Path) -> Iterator[tuple[str, Atoms]]:
    from ase.io import read

    try:
        images: Any = read(path, index=":", **reading(path))
    # Every reader fails in its own way on a file that isn't what it claims to be.
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".rstrip(": ")
        raise StructureError(
            f"ASE cannot read structures from {str(path)!r} ({reason}). Take the file away, or "
            "check that its name ends as its format wants it."
        ) from error
    keep_lost(path, images)
    for number, atoms in enumerate(images):
        name = path.name if len(images) == 1 else f"{path.name}, {number + 1}"
        try:
            yield name, as_atoms(atoms)
        except StructureError as error:
            raise StructureError(f"{name}: {error}") from error
