"""``as_atoms``: one way in for every structure."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.data import atomic_numbers, reference_states

from quacc.atoms.check import check_structure
from quacc.errors import StructureError, suggest
from quacc.extras import honour_info
from quacc.fast_atoms import copy_atoms

StructureLike = Atoms | Mapping[str, Any] | str | os.PathLike[str]
"""Atoms, the result of a job, the path of a file, or a name such as Cu or H2O."""

_SALTS = {"LiF", "NaCl", "LiH", "AlF3", "AlCl3"}
"""Names of molecules in the G2 set whose substance is a crystal."""

_SIMPLE = {"fcc", "bcc", "hcp", "diamond", "sc", "bct", "rhombohedral"}


def as_atoms(structure: StructureLike) -> Atoms:
    """Return a checked copy of a structure, without a calculator.

    A charge or multiplicity in ``atoms.info`` becomes initial charges or magnetic moments; see
    :func:`quacc.extras.honour_info`.

    Parameters
    ----------
    structure
        - Atoms: copied, constraints and arrays included.
        - the result of a job: its final structure.
        - the path of a file that ASE reads; of several images, the last.
        - the symbol of an element: its crystal at room temperature with the experimental
          lattice constant (``ase.build.bulk``).
        - the name of a molecule: its geometry from the G2 set (``ase.build.molecule``;
          Curtiss et al., J. Chem. Phys. 106, 1063 (1997)).

    Raises
    ------
    StructureError
        It is none of these, or :func:`quacc.atoms.check.check_structure` refuses it.
    """
    atoms = unchecked(structure)
    check_structure(atoms)
    return atoms


def unchecked(structure: StructureLike) -> Atoms:
    """Return the same as :func:`as_atoms`, whether or not the structure makes sense."""
    atoms = as_given(structure)
    honour_info(atoms)
    return atoms


def as_given(structure: StructureLike) -> Atoms:
    """Return the same as :func:`unchecked`, with what ``info`` says left where it is."""
    if isinstance(structure, Atoms):
        atoms = copy_atoms(structure)  # leaves the calculator behind
    elif isinstance(structure, Mapping):
        if not isinstance(structure.get("atoms"), Atoms):
            raise StructureError(
                "The dictionary given as a structure has no Atoms under 'atoms': its keys are "
                f"{', '.join(map(repr, structure)) or 'none'}. Pass the result of a quacc job."
            )
        atoms = copy_atoms(structure["atoms"])
    elif isinstance(structure, str | os.PathLike):
        atoms = _from_text(os.fspath(structure))
    else:
        raise StructureError(
            f"{structure!r} of type {type(structure).__name__} is not a structure. Pass an "
            "Atoms object, the result of a job, the path of a file, or a name such as 'Cu' "
            "or 'H2O'."
        )
    return atoms


def about_name(structure: StructureLike) -> list[str]:
    """Return a warning for the name of a molecule where most would think of a crystal."""
    if not isinstance(structure, str) or structure not in _SALTS:
        return []
    return [
        f"{structure!r} is the name of the molecule, one formula unit in vacuum, and not of the "
        "crystal. Pass a file of the crystal, or Atoms such as "
        "ase.build.bulk('NaCl', 'rocksalt', a=5.64)."
    ]


def as_pymatgen(atoms: Atoms) -> Any:
    """Return a crystal as pymatgen's Structure: its elements and where they are, nothing else."""
    from pymatgen.io.ase import AseAtomsAdaptor

    plain = Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=True)
    return AseAtomsAdaptor.get_structure(plain)


def _from_text(text: str) -> Atoms:
    from ase.collections import g2

    path = Path(os.path.expanduser(text))  # Path.expanduser raises for an unknown user
    looks_like_path = os.sep in text or bool(path.suffix) or text.startswith("~")
    if not looks_like_path:
        if text in atomic_numbers and (atoms := _element(text)):
            return atoms
        if text in g2.names:
            from ase.build import molecule

            return molecule(text)
    if os.path.isfile(path):  # false, too, for names that no file can have
        return _read(path)
    if looks_like_path:
        raise StructureError(f"There is no file {text!r} (looked in {Path.cwd()}).")
    hint = (
        f" Did you mean {text}2?"
        if f"{text}2" in g2.names
        else suggest(text, [*g2.names, *atomic_numbers])
    )
    raise StructureError(
        f"{text!r} is neither a file nor a name that quacc knows: an element with a simple "
        f"crystal structure, such as Cu, or a molecule of the G2 set, such as H2O.{hint}"
    )


def _element(symbol: str) -> Atoms | None:
    """Return the crystal of an element, or None where ASE cannot build it by name."""
    from ase.build import bulk

    state = reference_states[atomic_numbers[symbol]]
    if state is None or state["symmetry"] not in _SIMPLE:
        return None
    try:
        return bulk(symbol)
    except (RuntimeError, ValueError, KeyError):  # some low-symmetry crystals lack data in ASE
        return None


def _read(path: Path) -> Atoms:
    from ase.io import read

    try:
        atoms = read(path, **reading(path))
    # Every reader fails in its own way on a file that isn't what it claims to be.
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".rstrip(": ")
        raise StructureError(
            f"ASE cannot read a structure from {str(path)!r} ({reason}). Check the file and "
            "that its name ends as its format wants it."
        ) from error
    if not isinstance(atoms, Atoms):
        raise StructureError(f"The file {str(path)!r} holds no structure.")
    keep_lost(path, [atoms])
    atoms.calc = None
    return atoms


def reading(path: Path) -> dict[str, Any]:
    """Return options with which ASE's reader tells all that :func:`keep_lost` wants to know."""
    return {"attach_calculator": True} if path.suffix.lower() in (".com", ".gjf") else {}


def keep_lost(path: Path, images: Sequence[Atoms]) -> None:
    """Keep what a file says and ASE does not read as part of a structure, or refuse it.

    The charge and multiplicity in the input of another program are kept in ``info``; the moments of
    a magnetic CIF are refused.
    """
    if "cif" in path.suffix.lower() and "_atom_site_moment" in path.read_text("utf-8", "replace"):
        raise StructureError(
            f"{str(path)!r} has magnetic moments, which ASE does not read. Take them out of the "
            "file, and give them with atoms.set_initial_magnetic_moments()."
        )
    for atoms in images:
        given = getattr(atoms.calc, "parameters", None) or {}
        for name in ("charge", "mult", "multiplicity"):
            if given.get(name) is not None:
                atoms.info.setdefault("charge" if name == "charge" else "multiplicity", given[name])
