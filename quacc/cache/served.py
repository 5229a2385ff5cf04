"""Which stored results are served, and with what each caller's structure carries."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Mapping, Set
from typing import Any

from ase import Atoms

from quacc.runners.calculation import Calculation
from quacc.schemas import Result
from quacc.store.seal import is_own, is_whole

logger = logging.getLogger(__name__)


def is_usable(stored: Mapping[str, Any], calculation: Calculation[Any], own: bool) -> bool:
    """Return whether a stored result is what the calculation would give, and this user's own."""
    if not (
        Result.__required_keys__ <= stored.keys()
        and isinstance(stored["atoms"], Atoms)
        and isinstance(stored["input_atoms"], Atoms)
        and stored["name"] == calculation.recipe
        # One that is required to converge has the same key.
        and stored.get("converged") is not False
        and (stored["directory"] is None or os.path.isdir(stored["directory"]))
    ):
        return False
    if is_whole(stored):
        return not own or is_own(stored)
    logger.warning(
        "The stored result %s is not what %s computed, and is not used. Remove it with "
        "`quacc results rm %s`.",
        *(calculation.key[:10], calculation.recipe, calculation.key[:10]),
    )
    return False


def as_asked(stored: Any, calculation: Calculation[Any]) -> Any:
    """Return a stored result with what this caller's structure carries, and no key counts.

    Whoever computed it first may have had other tags, other ``info``, other arrays.
    """
    before, given = stored["input_atoms"], calculation.input_atoms
    moved = {"numbers", "positions"} | ({"momenta"} if calculation.momenta else set())
    _carry(stored["atoms"], before, given, moved)
    relaxed = "converged" in stored  # then every frame has its own energy and forces
    for frame in stored.get("trajectory", []):
        if relaxed:
            _carry(frame, before, given, moved | {"forces"}, {"energy"})
        else:
            _carry(frame, before, given, moved)
    stored["input_atoms"] = given  # a copy, which the calculation made, but for this
    given.info = copy.deepcopy(given.info)
    known = set(stored["warnings"])
    stored["warnings"] += [text for text in calculation.about_name if text not in known]
    return stored


def _carry(
    atoms: Atoms, before: Atoms, given: Atoms, arrays: Set[str], info: Set[str] = frozenset()
) -> None:
    """Give atoms all that a structure carries, but for the arrays and info that were computed."""
    atoms.arrays = _carried(atoms.arrays, before.arrays, given.arrays, arrays)
    atoms.info = _carried(atoms.info, before.info, given.info, info)
    atoms.set_celldisp(given.get_celldisp())


def _carried(
    final: dict[str, Any], before: dict[str, Any], given: dict[str, Any], computed: Set[str]
) -> dict[str, Any]:
    made = {name: value for name, value in final.items() if name in computed or name not in before}
    carried = {name: value for name, value in given.items() if name not in computed}
    return made | copy.deepcopy(carried)
