"""``quacc results reproduce``: a stored result once more, from its record alone."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from quacc.cli.upkeep import StoreOption
from quacc.errors import InputError

SAME = 1e-3
"""Energies that differ by more than this (eV per atom) are not the same."""


def reproduce(
    key: Annotated[str, typer.Argument(help="As in `show`; of a workflow, all its jobs run.")],
    store: StoreOption = None,
) -> None:
    """Compute a result again from what is stored with it, and say how far it agrees.

    Nothing is stored. Fails if an energy differs by more than 1 meV per atom.
    """
    from quacc.cli.tables import console, rows_table
    from quacc.store import Store

    database = Store(store)
    result = database.get(key)
    stored = [database.get(job) for job in result["jobs"]] if "jobs" in result else [result]
    rows: list[dict[str, Any]] = []
    versions: dict[str, None] = {}
    for one in stored:
        again = _again(one)
        rows.append(_compared(one, again))
        versions |= dict.fromkeys(_versions(one, again))
    out = console()
    out.print(rows_table(rows, out.width))
    for line in versions or {"The versions are the same.": None}:
        typer.echo(line)
    worst = max(rows, key=lambda row: abs(row["ΔE (meV/atom)"]))
    if abs(worst["ΔE (meV/atom)"]) > SAME * 1e3:
        typer.echo(f"{worst['key']} is not reproduced: its energy is another one.", err=True)
        raise typer.Exit(1)


def _again(result: Mapping[str, Any]) -> Any:
    """Compute a job's result from its record."""
    from quacc.calculators import code_names

    code, _, name = result["name"].rpartition(".")
    core = importlib.import_module(f"quacc.recipes.{code}.core") if code in code_names() else None
    job = getattr(core, name, None)
    if job is None:
        raise InputError(
            f"{result['name']} is no job of quacc's, so its record does not say how to run it."
        )
    # Whether atoms may exchange their places is no part of the record: it decides no number.
    options = {"exchange": True} if name == "neb_job" else {}
    return job(result["input_atoms"], **result["parameters"], **options)


def _compared(stored: Mapping[str, Any], again: Mapping[str, Any]) -> dict[str, Any]:
    import numpy as np

    before, after = stored["results"], again["results"]
    row = {
        "key": stored["key"][:10],
        "formula": stored["formula"],
        "job": stored["name"],
        "ΔE (meV/atom)": (after["energy"] - before["energy"]) / len(stored["atoms"]) * 1e3,
    }
    if before.get("forces") is not None:
        row["ΔF (meV/Å)"] = float(np.abs(after["forces"] - before["forces"]).max(initial=0)) * 1e3
    moved = np.abs(again["atoms"].positions - stored["atoms"].positions).max(initial=0)
    row["moved (Å)"] = float(moved)
    return row


def _versions(stored: Mapping[str, Any], again: Mapping[str, Any]) -> list[str]:
    """Return what is another version now."""
    pairs = [
        (name, stored["provenance"].get(name), again["provenance"].get(name))
        for name in ("quacc", "ase", "python")
    ]
    code = stored["calculator"]
    pairs.append((code["name"], code["fingerprint"], again["calculator"]["fingerprint"]))
    found = [f"{name} was {old}, and is {new} now." for name, old, new in pairs if old != new]
    if not found and stored["key"] != again["key"]:
        found.append(
            f"The key of {stored['key'][:10]} is another one now: its recipe has another version, "
            "or it started from files (copy_files), which are not in its record."
        )
    return found
