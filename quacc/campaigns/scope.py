"""What steps have led to so far, and what that gives to the next ones."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.collections import g2
from ase.data import atomic_numbers

from quacc.atoms.read import read_structures
from quacc.campaigns.references import ITEM, Reference, Unknown, filled, inside
from quacc.campaigns.steps import Campaign, Step
from quacc.errors import InputError, StructureError


class SkippedError(Exception):
    """A step, or its item, cannot run because of what it needs."""


@dataclass
class Item:
    """What a step runs on, and what came out of it.

    Attributes
    ----------
    name
        Such as Cu.xyz; empty for a step that runs once.
    given
        The item itself.
    state
        ``waiting``, ``done``, ``failed`` or ``skipped``.
    value
        The result, where another step refers to it.
    """

    name: str
    given: Any = None
    state: str = "waiting"
    reason: str = ""
    value: Any = None
    key: str | None = None
    summary: str = ""
    known: bool = False
    records: list[Any] = field(default_factory=list)
    """Of a leaderboard."""


class Scope:
    """The items of all steps."""

    def __init__(self, campaign: Campaign) -> None:
        self.campaign = campaign
        self.items: dict[str, list[Item] | None] = {}
        """By step; None where only the run tells them."""

    def add(self, step: Step) -> list[Item] | None:
        """Find the items of a step, whose needs have their items.

        Raises
        ------
        InputError
            Files or names are not there, or what it refers to is no list.
        SkippedError
            What it refers to has failed.
        """
        self.items[step.name] = None
        if not step.each:
            found: list[Item] | None = [Item("")]
        elif isinstance(step.foreach, Reference):
            found = self._of_step(step.foreach)
        else:
            found = self._listed(step.foreach)
        self.items[step.name] = found
        return found

    def arguments(self, step: Step, item: Item) -> dict[str, Any]:
        """Return the parameters for an item.

        Raises
        ------
        SkippedError
            What it needs has failed.
        InputError
            A reference leads nowhere.
        """
        if item.state in ("failed", "skipped"):
            raise SkippedError(item.reason)

        def look_up(reference: Reference) -> Any:
            return inside(item.given, reference) if reference.name == ITEM else self._get(reference)

        arguments = dict(filled(step.parameters, look_up))
        if step.each and step.structure and step.structure not in arguments:
            arguments[step.structure] = item.given
        for name in arguments.keys() & {*step.structures, "models_file", "tasks_file"}:
            arguments[name] = _beside(arguments[name], self.campaign.file.parent)
        return arguments

    def _get(self, reference: Reference) -> Any:
        """Return what a reference to a step stands for: with foreach, a list."""
        step, items = self.campaign.step(reference.name), self.items[reference.name]
        if items is None:
            return Unknown()
        bad = [one for one in items if one.state in ("failed", "skipped")]
        if bad:
            raise SkippedError(f"{len(bad)} of {len(items)} of {step.name} did not end well")
        values = [one.value for one in items]
        if step.each and reference.path and not reference.path[0].isdecimal():
            return [inside(one, reference) for one in values]
        return inside(values if step.each else values[0], reference)

    def _of_step(self, reference: Reference) -> list[Item] | None:
        """Return the items that are another step's results, or the parts of its result."""
        step, items = self.campaign.step(reference.name), self.items[reference.name]
        if items is None:
            return None
        if step.each:
            found = []
            for one in items:
                item = Item(one.name)
                if one.state in ("failed", "skipped"):
                    item.state, item.reason = "skipped", f"{step.name} of it did not end well"
                else:
                    item.given = inside(one.value, reference)
                found.append(item)
            return found
        value = self._get(reference)
        if isinstance(value, Unknown):
            return None
        if isinstance(value, str | Mapping | Atoms) or not hasattr(value, "__iter__"):
            raise InputError(
                f"foreach needs a list, and {reference} is {type(value).__name__}. Name a part of "
                "it that is a list, or leave foreach out and write the reference into with."
            )
        return [Item(str(number), given) for number, given in enumerate(value)]

    def _listed(self, given: Any) -> list[Item]:
        entries = given if isinstance(given, list) else [given]
        found: list[Item] = []
        for entry in entries:
            if isinstance(entry, Reference):
                found.append(Item(str(entry), self._get(entry)))
            elif isinstance(entry, str):
                alone = not isinstance(given, list)
                found += _from_text(entry, self.campaign.file.parent, alone)
            else:
                found.append(Item(str(entry), entry))
        if not found:
            raise InputError("There are no items.")
        names: dict[str, int] = {}
        for one in found:  # two of the same name, such as in two databases
            names[one.name] = count = names.get(one.name, 0) + 1
            one.name += f" ({count})" * (count > 1)
        return found


def _from_text(text: str, folder: Path, alone: bool) -> list[Item]:
    """Return the structures of a file, a folder or a pattern; else the text, such as Cu."""
    if not text.strip():
        raise StructureError("An empty text names no structures.")
    if not alone and _is_name(text):
        return [Item(text, text)]
    path = folder / os.path.expanduser(text)
    if os.path.exists(path):  # false, too, for names that no file can have
        return _structures(path, text)
    if glob.has_magic(text):
        found = sorted(glob.glob(os.path.expanduser(text), root_dir=folder, recursive=True))
        if not found:
            raise StructureError(f"No file fits {text!r} (looked in {folder.absolute()}).")
        return [item for one in found for item in _structures(folder / one, one)]
    if alone or path.suffix or "/" in text:
        raise StructureError(
            f"There is no file or folder {text!r} (looked in {folder.absolute()}). Paths are "
            "relative to the campaign's file; names, such as Cu, belong in a list."
        )
    return [Item(text, text)]


def _structures(path: Path, text: str) -> list[Item]:
    found = read_structures(path)
    if path.is_dir() or path.suffix.lower() == ".csv":
        return [Item(name, atoms) for name, atoms in found]
    if len(found) == 1:
        return [Item(text, found[0][1])]
    return [Item(f"{text}, {number + 1}", one) for number, (_, one) in enumerate(found)]


def _beside(value: Any, folder: Path) -> Any:
    """Return structures with the paths of files relative to a folder."""
    if isinstance(value, list):
        return [_beside(one, folder) for one in value]
    if isinstance(value, str) and value.strip() and not _is_name(value):
        return str(folder / value) if os.path.exists(folder / value) else value
    return value


def _is_name(text: str) -> bool:
    return text in atomic_numbers or text in g2.names
