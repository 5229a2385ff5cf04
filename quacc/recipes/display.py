"""What a notebook shows of a result: structure, figure, numbers, warnings, files.

Results are dictionaries, and stay so: :func:`quacc.show_results` tells IPython how to show those
that are results.
"""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from quacc.atoms.picture import picture
from quacc.errors import InputError
from quacc.recipes import report
from quacc.recipes.facts import facts, numbers

_BESIDE = frozenset({"host", "versions", "started"})
"""What the notebook leaves to `quacc results show`."""

_KEY = 16  # characters of a key, which tell it from all others


def one_line(result: Mapping[str, Any]) -> str:
    """Return a result in one line, as for a list of them."""
    energy = result.get("results", {}).get("energy")
    more = report.title(result).partition(": ")[2] if energy is None else f"{energy:.6f} eV"
    return f"<{result['name']} of {result['formula']}, key {result['key'][:10]}: {more}>"


def words(result: Mapping[str, Any]) -> str:
    """Return what a terminal shows of a result."""
    lines = [report.title(result)]
    lines += [f"  {name:<24}{text}" for name, text in [*_known(result), *numbers(result)]]
    lines += [f"Warning: {text}" for text in result.get("warnings", [])]
    return "\n".join([*lines, f"A dictionary: {', '.join(result)}"])


def markup(result: Mapping[str, Any]) -> str:
    """Return what a notebook shows of a result, as HTML that needs nothing else."""
    pictures = [structure(result), figure(result)]
    parts = [
        f"<div><strong>{escape(report.title(result))}</strong>",
        *(warning(text) for text in result.get("warnings", [])),
        '<div style="display:flex;flex-wrap:wrap;gap:16px;align-items:flex-start">',
        *(one for one in pictures if one),
        f"<div>{pairs([*_known(result), *numbers(result)])}</div></div>",
        f"<details><summary>A dictionary: {len(result)} keys</summary>"
        f"{escape(', '.join(result))}</details></div>",
    ]
    return "\n".join(parts)


def _known(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (name, text[:_KEY] if name == "key" else text)
        for name, text in facts(result)
        if name not in _BESIDE
    ]


def structure(result: Mapping[str, Any]) -> str:
    """Return the final structure as a picture; empty if it is too large for one."""
    atoms = result["atoms"]
    drawn = picture(atoms)
    return image(drawn, f"structure of {atoms.get_chemical_formula()}") if drawn else ""


def figure(result: Mapping[str, Any]) -> str:
    """Return the figure of a result as a picture; empty if there is none."""
    from matplotlib import rc_context

    if not report.has_figure(result):
        return ""
    buffer = io.StringIO()
    try:
        drawn = report.plot(result)
    except InputError:  # nothing to draw
        return ""
    with rc_context(report.STYLE):
        drawn.savefig(buffer, format="svg", metadata={"Date": None})
    return image(buffer.getvalue(), f"figure of {report.title(result)}")


def image(svg: str, words: str) -> str:
    """Return an SVG as an image, whose styles and names reach nothing else on the page."""
    data = b64encode(svg.encode()).decode()
    return (
        f'<img alt="{escape(words)}" style="background:#fff;max-width:100%" '
        f'src="data:image/svg+xml;base64,{data}">'
    )


def warning(text: str) -> str:
    """Return a warning as a paragraph."""
    return f'<p style="border-left:4px solid #b26a00;padding-left:8px">⚠ {escape(text)}</p>'


def pairs(rows: Sequence[tuple[str, str]]) -> str:
    """Return names and texts as a table."""
    return table([{"": name, " ": text} for name, text in rows], header=False)


def table(rows: Sequence[Mapping[str, Any]], *, header: bool = True) -> str:
    """Return rows, whose keys are the columns, as a table."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    lines = [f"<thead><tr>{head}</tr></thead>"] if header else []
    lines += [f"<tr>{''.join(_cells(row, names))}</tr>" for row in rows]
    return f"<table>{''.join(lines)}</table>"


def _cells(row: Mapping[str, Any], names: Sequence[str]) -> Iterator[str]:
    for name in names:
        value = row.get(name)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        side = "right" if number else "left"
        yield f'<td style="text-align:{side}">{escape(_cell(value))}</td>'


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.5g}" if isinstance(value, float) else str(value)
