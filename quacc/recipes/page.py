"""One page of HTML about results: it works offline, runs nothing, and asks nobody for anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from html import escape
from importlib.resources import files
from typing import Any

from ase import Atoms

import quacc
from quacc.atoms.picture import picture
from quacc.errors import InputError
from quacc.recipes import report
from quacc.recipes.display import figure, image, pairs, table, warning
from quacc.recipes.facts import facts, numbers

_MOST_JOBS = 200
"""Rows of the table of what a result was made from."""
_MOST_PICTURES = 12


def page(results: Sequence[Mapping[str, Any]], parts: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the page.

    Parameters
    ----------
    results
        Of jobs and workflows.
    parts
        The results that these were made from, by their keys, as far as they are known.
    """
    style = files("quacc.recipes").joinpath("page.css").read_text(encoding="utf-8")
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; "
        "form-action 'none'"
    )
    names = ", ".join(dict.fromkeys(f"{one['formula']} {one['name']}" for one in results))
    lines = [
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(names)[:200]}</title><style>{style}</style></head><body><main>",
        *_contents(results),
        *(part for one in results for part in _section(one, parts)),
        f'<footer class="soft">Written by quacc {quacc.__version__}, '
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC.</footer></main></body></html>",
    ]
    return "\n".join(lines) + "\n"


def _contents(results: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if len(results) > 1:
        links = (
            f'<li><a href="#{_anchor(one)}">{escape(report.title(one))}</a></li>' for one in results
        )
        yield f"<nav><ul>{''.join(links)}</ul></nav>"


def _anchor(result: Mapping[str, Any]) -> str:
    return f"r{sha256(result['key'].encode()).hexdigest()[:16]}"


def _section(result: Mapping[str, Any], parts: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield f'<section id="{_anchor(result)}"><h1>{escape(report.title(result))}</h1>'
    yield f'<p class="soft">{escape(result["name"])}, key <code>{escape(result["key"])}</code></p>'
    yield from (warning(text) for text in result.get("warnings", []))
    yield '<div class="figures">'
    yield from _pictures(result)
    if drawn := figure(result):
        yield f"<figure>{drawn}</figure>"
    yield "</div>"
    if properties := list(numbers(result)):
        yield f"<h2>Numbers</h2>{pairs(properties)}"
    if rows := _rows(result):
        yield f'<h2>Table</h2><div class="scroll">{table(rows)}</div>'
    if result.get("parameters"):
        lines = [(name, repr(value)) for name, value in result["parameters"].items()]
        yield f'<h2>Parameters</h2><div class="scroll">{pairs(lines)}</div>'
    yield "<h2>Provenance</h2>"
    yield f'<div class="scroll">{pairs([one for one in facts(result) if one[0] != "key"])}</div>'
    yield from _made_from(result, parts)
    yield f"<h2>Citations</h2><pre>{escape(report.citations(result))}</pre></section>"


def _rows(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    try:
        return report.table(result)
    except InputError:  # of a job that has none, or of a workflow of the user's own
        return []


def _pictures(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield the structures that a result holds, each with a caption."""
    found = [("final structure" if "input_atoms" in result else "structure", result["atoms"])]
    if "input_atoms" in result:
        found.insert(0, ("given structure", result["input_atoms"]))
    for name, value in result.items():
        if isinstance(value, list | tuple) and name != "trajectory":
            many = [
                one["atoms"] if isinstance(one, Mapping) and "atoms" in one else one
                for one in value
            ]
            found += [(f"{name} {i}", one) for i, one in enumerate(many) if isinstance(one, Atoms)]
    for name, atoms in found[:_MOST_PICTURES]:
        if drawn := picture(atoms):
            words = f"{name}: {atoms.get_chemical_formula()}, {_cell(atoms)}"
            caption = f"<figcaption>{escape(words)}</figcaption>"
            yield f"<figure>{image(drawn, words)}{caption}</figure>"
    if len(found) > _MOST_PICTURES:
        yield f'<p class="soft">… and {len(found) - _MOST_PICTURES} more structures.</p>'


def _cell(atoms: Atoms) -> str:
    if not atoms.pbc.any():
        return f"{len(atoms)} atoms"
    *lengths, alpha, beta, gamma = atoms.cell.cellpar()
    return (
        f"{' × '.join(f'{one:.3f}' for one in lengths)} Å, {alpha:.1f}°, {beta:.1f}°, {gamma:.1f}°"
    )


def _made_from(result: Mapping[str, Any], parts: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    keys = result.get("jobs", [])
    known = [parts[key] for key in keys if key in parts]
    if not known:
        return
    rows = [
        {
            "key": one["key"][:10],
            "job": one["name"],
            "formula": one["formula"],
            "energy (eV)": one.get("results", {}).get("energy"),
            "converged": one.get("converged"),
            "calculator": one.get("calculator", {}).get("fingerprint"),
            "host": one.get("provenance", {}).get("host"),
            "started": one.get("provenance", {}).get("started"),
            "directory": one.get("directory"),
        }
        for one in known[:_MOST_JOBS]
    ]
    yield f'<h2>Made from</h2><div class="scroll">{table(rows)}</div>'
    if left := len(keys) - len(rows):
        yield f'<p class="soft">… and {left} more.</p>'
