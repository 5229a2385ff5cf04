"""Arguments as they are at the call, whatever the caller does with them afterwards."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePath
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from prefect import Flow, Task
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture
from prefect.utilities.annotations import BaseAnnotation

from quacc.fast_atoms import copy_atoms

_CONSTANT = frozenset({str, int, float, bool, complex, bytes, type(None), np.float64, np.int64})
_SHARED: tuple[type, ...] = (
    *(PrefectFuture, State, Task, Flow, BaseCalculator, PurePath, np.generic, type, ModuleType),
    *(FunctionType, BuiltinFunctionType, MethodType),
)
"""What does not change, or stands for something that is made elsewhere."""


def frozen(value: Any) -> Any:
    """Return a copy of an argument that shares nothing with it that could change.

    Structures, arrays, lists, dictionaries and objects are copied; an attached calculator is
    shared. What cannot be copied stays as it is.
    """
    kind = type(value)
    if kind in _CONSTANT:
        return value
    if isinstance(value, Atoms):
        return _atoms(value)
    if isinstance(value, np.ndarray) and value.dtype.kind != "O":
        return value.copy()
    if kind is dict:
        return {key: frozen(item) for key, item in value.items()}
    if kind is list or kind is tuple:
        return kind([frozen(item) for item in value])
    if isinstance(value, BaseAnnotation):  # such as unmapped(atoms)
        return value.rewrap(frozen(value.unwrap()))
    if isinstance(value, _SHARED) or hasattr(value, "submit") or hasattr(value, "result"):
        return value
    try:
        return copy.deepcopy(value)
    # Whatever an object's own code raises: locks, connections and generators have no copy.
    except Exception:
        return value


def frozen_arguments(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return the arguments of a call, each :func:`frozen`."""
    return tuple([frozen(one) for one in args]), {name: frozen(one) for name, one in kwargs.items()}


def frozen_items(items: Iterable[Any]) -> Iterable[Any]:
    """Return the items of a list frozen now, those of an iterator when it yields them.

    Other containers, such as ASE's trajectories, make new items whenever they are asked.
    """
    if isinstance(items, list | tuple):
        return [frozen(item) for item in items]
    if isinstance(items, Iterator):
        return map(frozen, items)
    return items


def _atoms(atoms: Atoms) -> Atoms:
    own = copy_atoms(atoms)
    if own.info:
        own.info = {name: frozen(item) for name, item in own.info.items()}
    own.calc = atoms.calc
    return own
