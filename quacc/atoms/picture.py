"""A picture of a structure: one projected view, as SVG."""

from __future__ import annotations

from html import escape
from itertools import product

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.data.colors import jmol_colors
from ase.neighborlist import natural_cutoffs, neighbor_list
from numpy.typing import NDArray

MOST = 1000
"""Atoms that are drawn; with more of them, nobody sees anything."""
_FEW = 12
_SHORT = 5.0
"""Å: a crystal of few atoms is repeated along shorter cell vectors, so that one sees it."""
_LABELLED = 40
"""With more atoms, their symbols would hide each other."""
_BONDED = 100
"""With more atoms, their bonds only blur the picture."""
_LETTER = 6.0  # pixels: the least radius of an atom that has room for its symbol
_SIDE = 240.0  # pixels of the longer side, without the margin
_MARGIN = 12.0


def picture(atoms: Atoms) -> str | None:
    """Return a view of a structure as SVG; None if it has no atoms, or more than 1000.

    The third axis of a cell points up; a molecule is seen with its flattest side. Crystals of few
    atoms are repeated along short cell vectors.
    """
    if not 0 < len(atoms) <= MOST:
        return None
    repeats = _repeats(atoms)
    shown = atoms.repeat(repeats)
    edges = _edges(shown.cell.array) if shown.pbc.any() else np.zeros((0, 2, 3))
    points = np.vstack([shown.positions, edges.reshape(-1, 3)])
    rotation = _rotation(shown)
    # To the right, up, and towards the viewer.
    seen = shown.positions @ rotation
    lines = edges @ rotation
    radii = 0.6 * np.array([covalent_radii[number] for number in shown.numbers])
    flat = points @ rotation
    reach = np.concatenate([radii, np.zeros(len(points) - len(radii))])[:, None]
    low, high = (flat[:, :2] - reach).min(axis=0), (flat[:, :2] + reach).max(axis=0)
    scale = min(_SIDE / max(high - low), 60.0)
    width, height = (high - low) * scale + 2 * _MARGIN

    def place(point: NDArray) -> tuple[float, float]:
        x, y = (point[:2] - low) * scale + _MARGIN
        return round(float(x), 1), round(float(height - y), 1)

    near, far = seen[:, 2].max(), seen[:, 2].min()
    parts: list[tuple[float, str]] = []
    for start, end in lines:
        for part in range(8):  # so that atoms hide what is behind them
            one, other = (start + (end - start) * (part + more) / 8 for more in (0, 1))
            # Behind the atom at its end, whose front half is nearer.
            depth = (one[2] + other[2]) / 2 - radii.max()
            parts.append((depth, _line(place(one), place(other), "cell")))
    for i, j in _bonds(shown):
        parts.append((min(seen[i, 2], seen[j, 2]), _line(place(seen[i]), place(seen[j]), "bond")))
    symbols = shown.get_chemical_symbols()
    labelled = len(shown) <= _LABELLED and len(set(symbols)) > 1
    for point, radius, number, symbol in zip(seen, radii, shown.numbers, symbols, strict=True):
        x, y = place(point)
        colour = _colour(number, (near - point[2]) / (near - far + 1e-9))
        text = f'<circle cx="{x}" cy="{y}" r="{radius * scale:.1f}" fill="{colour}"/>'
        if labelled and radius * scale > _LETTER:
            text += f'<text x="{x}" y="{y}">{symbol}</text>'
        parts.append((float(point[2]), text))
    parts.sort(key=lambda part: part[0])
    many = " × ".join(map(str, repeats))
    title = atoms.get_chemical_formula() + (f", {many} cells" if max(repeats) > 1 else "")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}"><title>{escape(title)}</title><style>'
        "circle{stroke:#222;stroke-width:.8}.bond{stroke:#777;stroke-width:3}"
        ".cell{stroke:#555;stroke-width:1}"
        "text{font:9px sans-serif;text-anchor:middle;dominant-baseline:central}</style>"
        f"{''.join(text for _, text in parts)}</svg>"
    )


def _repeats(atoms: Atoms) -> list[int]:
    """Return how often a crystal of few atoms is drawn along its short cell vectors."""
    short = atoms.pbc & (atoms.cell.lengths() < _SHORT)
    if len(atoms) > _FEW or not short.any():
        return [1, 1, 1]
    return [(2 if short.all() else 3) if one else 1 for one in short]


def _line(start: tuple[float, float], end: tuple[float, float], kind: str) -> str:
    return f'<path class="{kind}" d="M{start[0]} {start[1]}L{end[0]} {end[1]}"/>'


def _edges(cell: NDArray) -> NDArray:
    """Return both ends of the 12 edges of a cell: (12, 2, 3)."""
    corners = np.array(list(product((0, 1), repeat=3)))
    pairs = [(a, b) for a in corners for b in corners if (b - a).sum() == 1 and (b >= a).all()]
    return np.array(pairs) @ cell


def _rotation(atoms: Atoms) -> NDArray:
    """Return a (3, 3) matrix from positions to what is to the right, up, and near."""
    if atoms.pbc.any():
        turn, tilt = np.radians([22.0, 14.0])
        right = np.array([np.cos(turn), np.sin(turn), 0.0])
        towards = np.array([np.sin(turn), -np.cos(turn), 0.0])
        up = np.array([0.0, 0.0, 1.0])
        above = np.cos(tilt) * up - np.sin(tilt) * towards
        return np.array([right, above, np.cos(tilt) * towards + np.sin(tilt) * up]).T
    _, _, axes = np.linalg.svd(atoms.positions - atoms.positions.mean(axis=0))
    axes[2] *= np.sign(np.linalg.det(axes))  # no mirror image
    # Turned a little, since atoms of symmetric molecules hide each other.
    return axes.T @ _turn(1, 13.0) @ _turn(0, 13.0)


def _turn(axis: int, degrees: float) -> NDArray:
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    one, other = [i for i in range(3) if i != axis]
    turn = np.eye(3)
    turn[one, one] = turn[other, other] = cosine
    turn[one, other], turn[other, one] = sine, -sine
    return turn


def _bonds(atoms: Atoms) -> list[tuple[int, int]]:
    if len(atoms) > _BONDED:
        return []
    alone = Atoms(atoms.numbers, atoms.positions)
    cutoffs = natural_cutoffs(alone, mult=1.1)
    pairs = zip(*neighbor_list("ij", alone, cutoffs), strict=True)
    return [(int(i), int(j)) for i, j in pairs if i < j]


def _colour(number: int, depth: float) -> str:
    """Return the colour of an element; what is far (1) fades."""
    colour = jmol_colors[number] * (1 - 0.35 * depth) + 0.35 * depth
    return "#" + "".join(f"{round(255 * min(max(one, 0.0), 1.0)):02x}" for one in colour)
