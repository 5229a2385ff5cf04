"""What ASE's optimizers, integrators and structures know, as plain data, and back again.

A file may have been made by somebody else, so what comes back is little: plain values for
attributes that a fresh object has, and objects of the classes listed here.
"""

from __future__ import annotations

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
"""Where the classes of helper objects come from."""
_MADE = {
    "BFGSMethod": {"hessian"},
    "LBFGSMethod": {"iteration", "memory", "rho", "s", "y"},
}
"""Classes whose objects appear after the first step, and their attributes."""
_LATER = {
    "Langevin": {"rnd_pos", "rnd_vel", "v"},
    "PreconLBFGS": {"alpha_k"},
}
"""Attributes that appear after the first step."""


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


def check(thing: Any, fields: Any) -> None:
    """Raise a ValueError unless these can be the attributes of an object; nothing is changed."""
    kind = type(thing).__name__
    for name, value in fields.items():
        here = vars(thing).get(name)
        if name not in vars(thing).keys() | _LATER.get(kind, set()) or name in _NOT_STATE:
            raise ValueError(f"{kind} has no {name!r:.80}")
        if _pack(here) is _NOTHING or not _fits(value, here):
            raise ValueError(f"{name!r:.80} of {kind} cannot be {value!r:.80}")


def _fits(value: Any, here: Any) -> bool:
    """Return whether a packed value can take the place of one that a fresh object has."""
    if isinstance(value, list | tuple):
        return not isinstance(here, str) and all(_fits(item, None) for item in value)
    if isinstance(value, str):  # which might be a path to write to
        return isinstance(here, str)
    if not isinstance(value, dict):
        return value is None or not (isinstance(here, str) or _is_helper(here))
    if _GENERATOR in value:
        if not isinstance(here, np.random.Generator):
            return False
        type(here.bit_generator)().state = value[_GENERATOR]  # raises if it is none
        return True
    home, name = value[_OBJECT]
    if here is not None:
        same = [type(here).__module__, type(here).__qualname__] == [home, name]
        if same and _is_helper(here):
            check(here, value["fields"])
        return same and _is_helper(here)
    if name == "csr_matrix":
        _made(name, value["fields"])
        return True
    fields = value["fields"]
    return fields.keys() <= _MADE[name] and all(_fits(item, None) for item in fields.values())


def _is_helper(value: Any) -> bool:
    return type(value).__module__.startswith(_HOMES) and hasattr(value, "__dict__")


def restore(dynamics: Any, fields: dict[str, Any]) -> None:
    """Give a new optimizer or integrator of the same kind what :func:`snapshot` returned.

    Raises
    ------
    ValueError
        These are not its attributes.
    """
    check(dynamics, fields)
    _restore(dynamics, fields)


def _restore(thing: Any, fields: dict[str, Any]) -> None:
    for name, value in fields.items():
        vars(thing)[name] = _unpack(value, vars(thing).get(name))
    if getattr(thing, "use_pyamg", False) and getattr(thing, "P", None) is not None:
        thing.create_solver()  # the multigrid solver of this matrix is no plain data


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
    if _is_helper(value):
        kind = type(value)
        return {_OBJECT: [kind.__module__, kind.__qualname__], "fields": snapshot(value)}
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
    if here is None:
        here = _made(value[_OBJECT][1], value["fields"])
    else:
        _restore(here, value["fields"])
    return here


def _made(name: str, fields: dict[str, Any]) -> Any:
    if name == "csr_matrix":
        from scipy.sparse import csr_matrix

        parts = (fields["data"], fields["indices"], fields["indptr"])
        matrix = csr_matrix(parts, shape=fields["_shape"])
        matrix.check_format(full_check=True)  # its C code trusts the indices
        return matrix
    from ase.optimize import bfgs, lbfgs

    kind = vars(bfgs if name == "BFGSMethod" else lbfgs)[name]
    made = kind.__new__(kind)
    vars(made).update({one: _unpack(value, None) for one, value in fields.items()})
    return made


def pack_atoms(atoms: Atoms) -> dict[str, Any]:
    """Return what moves in a structure, and what its constraints have learned."""
    packed = {"positions": atoms.positions, "cell": atoms.cell.array}
    if atoms.has("momenta"):
        packed["momenta"] = atoms.arrays["momenta"]
    if atoms.constraints:
        packed["constraints"] = Atoms(constraint=atoms.constraints)
    return packed


def check_atoms(atoms: Atoms, moved: dict[str, Any]) -> None:
    """Raise a ValueError unless a structure can move there; nothing is changed."""
    shapes = {"positions": (len(atoms), 3), "momenta": (len(atoms), 3), "cell": (3, 3)}
    for name in {"positions", "cell"} | moved.keys() & {"momenta"}:
        if np.asarray(moved[name], dtype=float).shape != shapes[name]:
            raise ValueError(f"{name} of another shape")
        if not np.isfinite(moved[name]).all():
            raise ValueError(f"{name} that are no numbers")
    kinds = [type(one) for one in atoms.constraints]
    if [type(one) for one in getattr(moved.get("constraints"), "constraints", ())] != kinds:
        raise ValueError("other constraints")


def move_atoms(atoms: Atoms, moved: dict[str, Any]) -> None:
    """Move a structure to where :func:`pack_atoms` found it."""
    atoms.set_cell(moved["cell"], apply_constraint=False)
    atoms.set_positions(moved["positions"], apply_constraint=False)
    if "momenta" in moved:
        atoms.set_momenta(moved["momenta"], apply_constraint=False)
    if "constraints" in moved:
        atoms.set_constraint(moved["constraints"].constraints)


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
