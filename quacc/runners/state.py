"""What ASE's optimizers, integrators and structures know, as plain data, and back again."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from ase.filters import Filter
from ase.utils.abc import Optimizable

_NOT_STATE = {"observers", "logfile", "comm", "trajectory"}
# Large, and the same after every construction: first guesses of the Hessian, unit matrices.
_NOT_STATE |= {"H0", "I"}

_OBJECT, _GENERATOR = "object", "random generator"
_HOMES = ("ase.", "scipy.sparse.")
"""Where the classes of helper objects come from; no other class is ever made from a file."""


def snapshot(dynamics: Any) -> dict[str, Any]:
    """Return the attributes of an optimizer or integrator that decide its next steps.

    Helper objects (the Hessian of BFGS, thermostats, preconditioners) become dictionaries;
    the structure, its calculator and functions are left out.
    """
    fields = {}
    for name, value in vars(dynamics).items():
        if name not in _NOT_STATE and (packed := _pack(value)) is not _NOTHING:
            fields[name] = packed
    return fields


def restore(dynamics: Any, fields: dict[str, Any]) -> None:
    """Give a new optimizer or integrator of the same kind what :func:`snapshot` returned."""
    for name, value in fields.items():
        vars(dynamics)[name] = _unpack(value, vars(dynamics).get(name))
    if getattr(dynamics, "use_pyamg", False) and getattr(dynamics, "P", None) is not None:
        dynamics.create_solver()  # the multigrid solver of this matrix is no plain data


_NOTHING = object()


def _pack(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str | np.ndarray | np.generic):
        return value
    if isinstance(value, list | tuple):
        items = [_pack(item) for item in value]
        if any(item is _NOTHING for item in items):
            return _NOTHING
        return tuple(items) if isinstance(value, tuple) else items
    if isinstance(value, np.random.Generator):
        return {_GENERATOR: value.bit_generator.state}
    if isinstance(value, Atoms | Filter | Optimizable | BaseCalculator) or callable(value):
        return _NOTHING
    home = type(value).__module__
    if home.startswith(_HOMES) and hasattr(value, "__dict__"):
        return {_OBJECT: [home, type(value).__qualname__], "fields": snapshot(value)}
    return _NOTHING


def _unpack(value: Any, here: Any) -> Any:
    """Return a packed value; objects that are here already are changed in place."""
    if isinstance(value, list | tuple):
        items = [_unpack(item, None) for item in value]
        return tuple(items) if isinstance(value, tuple) else items
    if not isinstance(value, dict):
        return value
    if _GENERATOR in value:  # which may be shared, so it stays the same object
        here.bit_generator.state = value[_GENERATOR]
        return here
    home, name = value[_OBJECT]
    if here is None and home.startswith(_HOMES):
        kind = getattr(importlib.import_module(home), name)
        here = kind.__new__(kind)
    restore(here, value["fields"])
    return here


def pack_atoms(atoms: Atoms) -> dict[str, Any]:
    """Return what moves in a structure."""
    momenta = {"momenta": atoms.arrays["momenta"]} if atoms.has("momenta") else {}
    return {"positions": atoms.positions, "cell": atoms.cell.array, **momenta}


def move_atoms(atoms: Atoms, moved: dict[str, Any]) -> None:
    """Move a structure to where :func:`pack_atoms` found it."""
    atoms.set_cell(moved["cell"], apply_constraint=False)
    atoms.set_positions(moved["positions"], apply_constraint=False)
    if "momenta" in moved:
        atoms.set_momenta(moved["momenta"], apply_constraint=False)


_CHANGING = ("positions", "momenta", "forces")


def pack_frames(frames: Sequence[Atoms]) -> dict[str, Any]:
    """Return what differs between the frames of a trajectory: (frames, atoms, 3) arrays."""
    if not frames:
        return {}
    names = [name for name in _CHANGING if frames[0].has(name)]
    packed = {name: np.array([frame.arrays[name] for frame in frames]) for name in names}
    return packed | {"cell": np.array([frame.cell.array for frame in frames])}


def unpack_frames(packed: dict[str, Any], atoms: Atoms) -> list[Atoms]:
    """Return the frames, as copies of a structure."""
    frames = []
    for index in range(len(packed.get("cell", ()))):
        frame = atoms.copy()
        frame.set_cell(packed["cell"][index], apply_constraint=False)
        for name in set(packed) - {"cell"}:
            frame.set_array(name, packed[name][index])
        frames.append(frame)
    return frames
