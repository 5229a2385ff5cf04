"""All that can be wrong with a campaign, told before anything is computed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ase import Atoms

from quacc.atoms import as_atoms
from quacc.campaigns.references import Reference, Unknown, references, structures_for_unknown
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
    is before that step.

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
            located.add((*step.key, "foreach"), str(error))
            continue
        _check_items(step, items, scope)
    located.raise_mistakes()
    counts = {name: None if items is None else len(items) for name, items in scope.items.items()}
    return Checked(campaign, counts)


def _check_items(step: Step, items: list[Item] | None, scope: Scope) -> None:
    seen: set[Any] = set()
    wrong: list[tuple[Item, Exception]] = []
    from_step = isinstance(step.foreach, Reference)
    for item in items if items is not None else [Item("", Unknown())]:
        item.value = Unknown()
        try:
            arguments = scope.arguments(step, item)
            item.value = Unknown(_structure(step, arguments))
            kind = _elements(arguments.get(step.structure or ""))
            if from_step and kind is not None and kind in seen:
                continue
            seen.add(kind)
            arguments = structures_for_unknown(arguments)
        except LookupError:
            continue
        except (QuaccError, SkippedError) as error:
            wrong.append((item, error))
            continue
        try:
            if step.is_leaderboard:
                step.function(**arguments)
            else:
                check_workflow(step.function, **arguments)
        # A value of another type than a workflow expects may raise anything.
        except (QuaccError, TypeError, ValueError, AttributeError, LookupError) as error:
            wrong.append((item, error))
    located = scope.campaign.located
    texts: dict[str, list[str]] = {}
    for item, problem in wrong:
        known = isinstance(problem, QuaccError | SkippedError)
        what = str(problem) if known else f"{type(problem).__name__}: {problem}"
        texts.setdefault(what, []).append(item.name)
    for what, names in texts.items():
        about = ", ".join(names[:5]) + f" and {len(names) - 5} more" * (len(names) > 5)
        first = ["foreach"] if step.each else [step.structure or "with"]
        located.add(place(located, step, what, first), f"{about}{': ' * bool(about)}{what}")


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
