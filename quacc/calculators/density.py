"""A density of pw.x that is kept, and from which another SCF starts."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.geometry.cell import cell_to_cellpar

from quacc.errors import ParameterError, StructureError

_SAVE = Path("out") / "pwscf.save"
_ABOUT = "density.json"
_FILES = (
    *("charge-density.dat", "charge-density.hdf5", "ekin-density.dat", "ekin-density.hdf5"),
    *("paw.txt", "occup.txt"),
)
"""What pw.x starts from, in its own folder; beside the results, with ``density.`` before."""
_STRAIN, _ANGLE, _SHIFT = 0.1, 10.0, 1.0
"""How far lengths of the cell (a part), its angles (°) and atoms (Å) may be from the density's."""


def described(atoms: Atoms, parameters: Mapping[str, Any], files: Mapping[str, str]) -> Any:
    """Return what a density is of, as JSON has it.

    Parameters
    ----------
    parameters
        ``ecutrho``, ``polarised`` and ``charge``.
    files
        The pseudopotential of each element, by name and content.
    """
    return {
        "numbers": atoms.numbers.tolist(),
        "cell": atoms.cell.array.tolist(),
        "scaled": atoms.get_scaled_positions(wrap=False).tolist(),
        "pseudopotentials": dict(files),
        **parameters,
    }


def keep(folder: Path, about: Any) -> bool:
    """Put the density of the last SCF beside the results; return whether there is one."""
    if not any((folder / _SAVE).glob("charge-density.*")):
        return False
    for name in _FILES:
        if (file := folder / _SAVE / name).is_file():
            shutil.copyfile(file, folder / f"density.{name}")
    (folder / _ABOUT).write_text(json.dumps(about))
    return True


def has(folder: Path) -> bool:
    """Return whether a density was kept in a folder."""
    return _kept(folder, _ABOUT).is_file()


def put(source: Path, folder: Path) -> None:
    """Put a kept density where pw.x starts from it."""
    (folder / _SAVE).mkdir(parents=True, exist_ok=True)
    for name in _FILES:
        if (file := _kept(source, f"density.{name}")).is_file():
            with _open(file) as kept, (folder / _SAVE / name).open("wb") as to:
                shutil.copyfileobj(kept, to)


def take_away(folder: Path) -> None:
    """Delete a kept density that was copied into a working folder."""
    for name in (_ABOUT, *(f"density.{name}" for name in _FILES)):
        (folder / name).unlink(missing_ok=True)


def require_near(source: Path, wanted: Mapping[str, Any]) -> None:
    """Refuse a density of something else.

    Raises
    ------
    ParameterError, StructureError
        There is none in the folder, or it is of other atoms, another cell, cut-off, spin, charge
        or other pseudopotentials.
    """
    if not has(source):
        raise ParameterError(
            f"There is no density in {str(source)!r}: it is the folder of a result "
            "(result['directory']) that was computed with keep_density=True. One that was stored "
            "without it has none: call the job itself again, with keep_density=True."
        )
    with _open(_kept(source, _ABOUT)) as stream:
        found = json.load(stream)
    words = {
        "pseudopotentials": "other pseudopotentials",
        "ecutrho": "another cutoff of the density (Ry)",
        "polarised": "another treatment of spin (polarised)",
        "charge": "another charge",
    }
    where = f"The density in {str(source)!r} is of"
    if found["numbers"] != wanted["numbers"]:
        ours, theirs = (Atoms(one["numbers"]).get_chemical_formula() for one in (wanted, found))
        raise StructureError(
            f"{where} {theirs}, and this structure is {ours}"
            f"{', in another order' if ours == theirs else ''}. Start from one of the same atoms."
        )
    for name, text in words.items():
        if found[name] != wanted[name]:
            raise ParameterError(
                f"{where} {text}: {found[name]}, and not {wanted[name]}. Leave it out, or "
                "compute one with these keywords."
            )
    old, new = (cell_to_cellpar(np.array(one["cell"])) for one in (found, wanted))
    strain, turn = np.abs(new[:3] / old[:3] - 1).max(), np.abs(new[3:] - old[3:]).max()
    if strain > _STRAIN or turn > _ANGLE:
        raise StructureError(
            f"{where} another cell, whose lengths (Å) and angles are {old.round(3).tolist()}, and "
            f"not {new.round(3).tolist()}. Start from one that differs by less than "
            f"{_STRAIN:.0%} and {_ANGLE:g}°."
        )
    moved = np.array(wanted["scaled"]) - found["scaled"]
    shifts = np.linalg.norm((moved - moved.round()) @ np.array(wanted["cell"]), axis=1)
    if shifts.max() > _SHIFT:
        raise StructureError(
            f"{where} another structure, in which atom {int(shifts.argmax())} is "
            f"{shifts.max():.2g} Å away. Start from one in which no atom is more than {_SHIFT:g} Å "
            "away."
        )


def _kept(folder: Path, name: str) -> Path:
    compressed = folder / f"{name}.gz"
    return compressed if compressed.is_file() else folder / name


def _open(file: Path) -> Any:
    return gzip.open(file) if file.suffix == ".gz" else file.open("rb")
