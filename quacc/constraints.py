"""ASE's constraints as plain data and back, with their whole state.

ASE's ``todict()`` is not enough: it leaves out the lengths that ``FixBondLengths`` keeps, what
a constraint has learned from the positions at its first use, and that a subclass is another
class. Here only classes are accepted whose state is known to be complete.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from quacc.errors import InputError

STATE = "quacc_state"
"""Stands beside ASE's ``name`` and ``kwargs``, for what ASE's constructor doesn't reproduce."""


class _Kind(NamedTuple):
    """What the objects of a class have."""

    fields: str
    """Attributes that ``todict()`` tells, or that follow from them."""
    exact: str = ""
    """Attributes that the constructor doesn't reproduce; kept as they are."""
    by_constructor: bool = True


_PARAMETRIC = _Kind("indices Jacobian const_shift eps use_cell params Jacobian_inv")
_KINDS = {
    "ExternalForce": _Kind("indices external_force"),
    "FixAtoms": _Kind("index"),
    "FixBondLengths": _Kind("pairs tolerance bondlengths constraint_forces"),
    "FixCartesian": _Kind("index mask"),
    "FixCartesianParametricRelations": _PARAMETRIC,
    "FixCom": _Kind(""),
    "FixInternals": _Kind(
        "bonds angles dihedrals bondcombos mic epsilon n constraints initialized"
    ),
    "FixLinearTriatomic": _Kind(
        "triples constraint_forces", "bondlengths bondlengths_nm mass_n mass_m mass_o C1 C2 C3 C4"
    ),
    "FixParametricRelations": _PARAMETRIC,
    "FixScaled": _Kind("index mask"),
    "FixScaledParametricRelations": _PARAMETRIC,
    "FixSubsetCom": _Kind("index"),
    "FixSymmetry": _Kind(
        "atoms symprec verbose do_adjust_positions do_adjust_cell",
        "rotations translations symm_map",
        by_constructor=False,
    ),
    "FixedLine": _Kind("index dir", "dir"),
    "FixedMode": _Kind("mode", "mode"),
    "FixedPlane": _Kind("index dir", "dir"),
    "Hookean": _Kind("_type indices index origin plane threshold spring"),
    "MirrorForce": _Kind("indices min_dist max_dist fmax"),
    "MirrorTorque": _Kind("indices min_angle max_angle fmax"),
}
_INDICES = {"FixAtoms": "indices", "FixCartesian": "a", "FixScaled": "a"}
_INDICES |= dict.fromkeys(["FixSubsetCom", "FixedLine", "FixedPlane"], "indices")
"""Where the order of the atoms doesn't count, and -1 is the last."""

_LEARN = ("FixBondLengths", "FixInternals", "FixLinearTriatomic", "FixSymmetry")
"""Whose ``todict()`` leaves out what they have learned from positions."""


def describe(constraint: Any) -> dict[str, Any]:
    """Return a constraint as plain data, which :func:`revive` understands, and ASE too.

    Raises
    ------
    InputError
        Its class is not one of those known here, or it has got another attribute.
    """
    import ase.constraints

    name = type(constraint).__name__
    kind = _KINDS.get(name)
    if kind is None or getattr(ase.constraints, name) is not type(constraint):
        raise InputError(
            f"The constraint {_shown(constraint)} of the class {type(constraint).__module__}."
            f"{name} cannot be kept: quacc knows only ASE's own classes ({', '.join(_KINDS)}), "
            "not what others, or subclasses, fix. Use one of these."
        )
    if unknown := vars(constraint).keys() - set(f"{kind.fields} {kind.exact}".split()):
        raise InputError(
            f"The constraint {_shown(constraint)} has got an attribute that quacc doesn't know: "
            f"{', '.join(sorted(unknown))}. It cannot be kept; make it without."
        )
    kwargs = dict(constraint.todict()["kwargs"])
    if name == "FixBondLengths":
        kwargs["bondlengths"] = _lengths(constraint.bondlengths)
    elif name == "FixInternals" and constraint.initialized:
        _resolve(constraint, kwargs)
    described = {"name": name, "kwargs": {key: _native(value) for key, value in kwargs.items()}}
    state = {one: vars(constraint)[one] for one in kind.exact.split() if one in vars(constraint)}
    if state and state.get("bondlengths", 0) is not None:
        described[STATE] = state
    return described


def form(constraint: Any, natoms: int) -> dict[str, Any]:
    """Return what decides the numbers, for the key: the same for the same atoms in any order."""
    described = describe(constraint)
    name, kwargs = described["name"], described["kwargs"]
    if (where := _INDICES.get(name)) is not None:
        kwargs[where] = sorted(i + natoms if -natoms <= i < 0 else i for i in kwargs[where])
    if name in ("FixedLine", "FixedPlane", "FixedMode"):  # it is in ``kwargs``, too
        del described[STATE]
    if name in _LEARN and (name != "FixInternals" or _open(kwargs)):
        # Results of before, of which this wasn't known, have other keys.
        described["learned"] = STATE in described
    return described


def revive(described: Mapping[str, Any]) -> Any:
    """Return the constraint that was described.

    Raises
    ------
    ValueError
        There is no such class; or another exception, where the data make no sense.
    """
    import ase.constraints

    name, kwargs, state = described["name"], described["kwargs"], described.get(STATE, {})
    if name not in _KINDS:
        raise ValueError(f"{name!r:.80} is no constraint that quacc knows")
    kind, made = _KINDS[name], getattr(ase.constraints, name)
    if unknown := state.keys() - set(kind.exact.split()):
        raise ValueError(f"{name} has no {min(unknown)!r:.80}")
    if kind.by_constructor or not state:
        constraint = ase.constraints.dict2constraint({"name": name, "kwargs": dict(kwargs)})
    else:
        constraint = made.__new__(made)
        vars(constraint).update(_symmetry(**kwargs))
    vars(constraint).update(state)
    return constraint


def _symmetry(
    atoms: Any, symprec: float, adjust_positions: bool, adjust_cell: bool, verbose: bool
) -> dict[str, Any]:
    return {
        "atoms": atoms,
        "symprec": symprec,
        "verbose": verbose,
        "do_adjust_positions": adjust_positions,
        "do_adjust_cell": adjust_cell,
    }


def _lengths(lengths: Any) -> list[float] | None:
    return None if lengths is None else np.asarray(lengths, dtype=float).tolist()


def _resolve(constraint: Any, kwargs: dict[str, Any]) -> None:
    """Put the values in that an internal coordinate had at the first use of the constraint."""
    targets = iter([one.targetvalue for one in constraint.constraints])
    for name in ("bonds", "angles_deg", "dihedrals_deg", "bondcombos"):
        kwargs[name] = [[next(targets), *datum[1:]] for datum in kwargs[name]]


def _open(kwargs: Mapping[str, Any]) -> bool:
    """Return whether a value is that of the positions at the first use."""
    names = ("bonds", "angles_deg", "dihedrals_deg", "bondcombos")
    return any(datum[0] is None for name in names for datum in kwargs[name])


def _native(value: Any) -> Any:
    """Return lists of plain numbers, which ASE's constructors tell from others."""
    if isinstance(value, dict):
        return {name: _native(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_native(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    return value


def _shown(constraint: Any) -> str:
    text = repr(constraint)
    return text if len(text) <= 80 else f"{text[:77]}..."
