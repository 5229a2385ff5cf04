"""Results that are in the database already, and those that go there."""

from __future__ import annotations

import copy
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Any

from ase import Atoms

from quacc.cache.keeping import Keeping, only_own
from quacc.errors import MissingProgramError, StoreError
from quacc.runners.calculation import Calculation
from quacc.runners.job import planned
from quacc.schemas import Result
from quacc.store import Store
from quacc.store.seal import is_own, is_whole, remove_seal

logger = logging.getLogger(__name__)


class Known:
    """The results of quacc's own jobs, for one run of a flow; safe to use from all threads."""

    def __init__(self, store: Store | None = None) -> None:
        self._store = store
        self._keeping = Keeping(store)

    def find(self, calculations: Sequence[Calculation[Any]]) -> list[Any]:
        """Return the stored result of each calculation; None if it has to be computed.

        Only results that are converged and whole; each is the caller's own.
        """

        def tell(key: str, error: StoreError) -> None:
            logger.warning("A stored result cannot be read: %s", error)

        try:
            stored = (self._store or Store()).find(
                {one.key for one in calculations}, on_damage=tell
            )
        except StoreError as error:  # costs only time
            logger.warning("Stored results cannot be looked up: %s", error)
            return [None] * len(calculations)
        wanted, own = Counter(one.key for one in calculations), only_own()
        found: list[Any] = []
        for calculation in calculations:
            result = stored.get(calculation.key)
            if result is not None and _is_usable(result, calculation, own):
                if wanted[calculation.key] > 1:
                    result = copy.deepcopy(result)
                remove_seal(result)
                found.append(as_asked(result, calculation))
            else:
                found.append(None)
        return found

    def stored(self, keys: Iterable[str]) -> set[str]:
        """Return those of the keys that the database has; quick, and says no more."""
        try:
            return (self._store or Store()).known(keys)
        except StoreError:  # costs only time
            return set()

    def keep(self, result: Any, *, replace: bool = False) -> None:
        """Store a result of a job of quacc's soon; what cannot be stored is logged.

        ``replace`` writes over the result of the same key, should there be one.

        Raises
        ------
        StoreError
            Nothing could be stored for some minutes.
        """
        if isinstance(result, Mapping) and {"key", "provenance", "results"} <= result.keys():
            self._keeping.put(result, replace=replace)

    def close(self) -> None:
        """Write what is waiting."""
        self._keeping.close()


def calculation_of(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    check: bool = False,
) -> Calculation[Any] | None:
    """Return the calculation that a call would compute, if it is all that the function does.

    None for functions that are no quacc jobs, and for codes that are not installed on this
    machine, since they may be on the workers'.

    Parameters
    ----------
    check
        Whether it must pass its checks. Otherwise it only has a key, which is quicker.

    Raises
    ------
    InputError
        The job refuses its arguments.
    """
    calculation = planned(function, args, kwargs)
    if calculation is None:
        return None
    try:
        if check:
            calculation.check()
        _ = calculation.key
    except MissingProgramError:  # the worker decides, and says it better
        return None
    return calculation


def _is_usable(stored: Mapping[str, Any], calculation: Calculation[Any], own: bool) -> bool:
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
