"""All that can be wrong with a campaign, told before anything is computed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from quacc.atoms import as_atoms
from quacc.campaigns.references import (
    NotYetKnownError,
    Reference,
    Unknown,
    references,
    structures_for_unknown,
)
from quacc.campaigns.scope import Item, Scope, SkippedError
from quacc.campaigns.steps import Campaign, Step, place, read
from quacc.errors import QuaccError
from quacc.recipes.tools.workflow import check_workflow


@dataclass(frozen=True)
class Checked:
    """A campaign without mistakes."""

    campaign: Campaign
    counts: dict[str, int | None]
    """Items of each step, by its name; None where only the run tells them."""


def load(file: Path) -> Checked:
    """Read a campaign's file, and check all that can be checked without computing.

    Paths of structures in it are relative to the file.

    Names, parameters and their values, calculators, files, needs; and every structure that is
    given. Of structures that come from another step, one of each set of elements is checked, as it
    is before that step; it is refused if it is so, too, as symmetric as it nearly is, and with its
    atoms moved a little.

    Raises
    ------
    InputError
        Lists all mistakes, each with file, line, key and remedy.
    """
    campaign = read(file)
    scope = Scope(campaign)
    located = campaign.located
    for step in campaign.steps:
        try:
            items = scope.add(step)
        except (QuaccError, SkippedError) as error:
            located.add(
                located.quoted(key := (*step.key, "foreach"), str(error)) or key, str(error)
            )
            continue
        _check_items(step, items, scope)
    located.raise_mistakes()
    counts = {name: None if items is None else len(items) for name, items in scope.items.items()}
    return Checked(campaign, counts)


def _check_items(step: Step, items: list[Item] | None, scope: Scope) -> None:
    seen: set[Any] = set()
    wrong: dict[str, list[str]] = {}
    for item in items if items is not None else [Item("", Unknown())]:
        item.value = Unknown()
        try:
            arguments = scope.arguments(step, item)
        except (QuaccError, SkippedError) as error:
            wrong.setdefault(str(error), []).append(item.name)
            continue
        item.value = Unknown(_structure(step, arguments))
        kind = _elements(arguments.get(step.structure or ""))
        if not (isinstance(step.foreach, Reference) and kind is not None and kind in seen):
            seen.add(kind)
            if problem := _problem(step, arguments):
                wrong.setdefault(problem, []).append(item.name)
    located = scope.campaign.located
    for what, names in wrong.items():
        about = ", ".join(names[:5]) + f" and {len(names) - 5} more" * (len(names) > 5)
        located.add(place(located, step, what), f"{about}{': ' * bool(about)}{what}")


def _problem(step: Step, arguments: dict[str, Any]) -> str:
    """Return why a workflow refuses its arguments; empty if it does not, or cannot know yet."""
    found = ""
    # What comes out of a step may have the symmetry that what went in has lost, or the reverse.
    for stand_in in (lambda atoms: atoms, _symmetric, partial(_moved, np.random.default_rng(0))):
        try:
            ready = structures_for_unknown(arguments, stand_in)
            if step.is_leaderboard:
                step.function(**ready)
            else:
                check_workflow(step.function, **ready)
        except NotYetKnownError:
            return ""
        except QuaccError as error:
            found = found or str(error)
        # A value of another type than a workflow expects may raise anything.
        except (TypeError, ValueError, AttributeError, LookupError) as error:
            found = (
                found or f"Refused with {type(error).__name__}: {error}. See the values of with."
            )
        else:
            return ""
    return found


def _moved(random: np.random.Generator, atoms: Atoms) -> Atoms:
    """Return a structure without symmetry."""
    moved = atoms.copy()
    moved.positions += random.normal(scale=_LITTLE, size=moved.positions.shape)
    return moved


_LITTLE = 0.05
"""Distance (Å) that a relaxation may at least take an atom."""


def _symmetric(atoms: Atoms) -> Atoms:
    """Return a crystal as symmetric as it nearly is; any other structure as it is."""
    import spglib

    if not atoms.pbc.all():
        return atoms
    cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    try:
        found = spglib.standardize_cell(cell, symprec=_NEARLY)
    except spglib.SpglibError:
        return atoms
    if found is None:
        return atoms
    return Atoms(found[2], cell=found[0], scaled_positions=found[1], pbc=True)


_NEARLY = 0.3
"""Distance (Å) from a symmetric crystal that a relaxation may take a structure."""


def _structure(step: Step, arguments: dict[str, Any]) -> Atoms | None:
    """Return the structure that a step starts from, if it is one."""
    given = arguments.get(step.structure or "")
    if isinstance(given, Unknown):
        return given.atoms
    if isinstance(given, list | tuple) or given is None:
        return None
    try:
        return as_atoms(given)
    except QuaccError:  # which the workflow tells
        return None


def _elements(given: Any) -> Any:
    atoms = given.atoms if isinstance(given, Unknown) else given
    return frozenset(atoms.symbols) if isinstance(atoms, Atoms) else None


def refers_to(campaign: Campaign, name: str) -> bool:
    """Return whether a step's results are taken by another one."""
    return any(
        reference.name == name
        for step in campaign.steps
        for _, reference in references([step.parameters, step.foreach])
    )
