"""A picture of a structure, from the side and from above."""

from __future__ import annotations

from typing import Any

from ase import Atoms

_VIEWS = {"along y": "-90x", "along z": ""}
"""Rotations of ASE's."""
_FEW = 8
"""A crystal of fewer atoms is repeated, so that one sees it."""


def drawn(atoms: Atoms) -> Any:
    """Return a figure of matplotlib with two views of a structure; a small crystal is repeated."""
    from ase.visualize.plot import plot_atoms
    from matplotlib.figure import Figure

    repeats = [2 if periodic else 1 for periodic in atoms.pbc] if len(atoms) < _FEW else [1, 1, 1]
    shown = atoms.repeat(repeats)
    figure = Figure(figsize=(6, 3), dpi=80)
    for axes, (name, rotation) in zip(figure.subplots(1, 2), _VIEWS.items(), strict=True):
        plot_atoms(shown, axes, rotation=rotation, show_unit_cell=2 if atoms.pbc.any() else 0)
        axes.set_title(name, fontsize=9)
        axes.set_axis_off()
    size = " × ".join(map(str, repeats))
    note = f", {size} cells" if max(repeats) > 1 else ""
    figure.suptitle(f"{atoms.get_chemical_formula()}{note}", fontsize=10)
    return figure
