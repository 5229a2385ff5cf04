"""The Wulff shape, a crystal's equilibrium shape, from the energies of its surfaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms

from quacc.atoms.slabs import conventional_cell, distinct_millers
from quacc.schemas import Surface


def wulff(
    crystal: Atoms, surfaces: Sequence[Surface], max_index: int
) -> tuple[dict[str, Any] | None, list[str]]:
    """Return the shape, from the lowest energy of each family of planes, and warnings.

    Of surfaces by energy, the lowest first. None where an energy is not positive, or too few are
    known to enclose a volume.
    """
    lowest: dict[tuple[int, ...], float] = {}
    means = []
    for one in surfaces:
        energy, miller = one["surface_energy"], tuple(one["miller"])
        if energy is not None and miller not in lowest:
            lowest[miller] = energy
            if not one["symmetric"]:
                means.append(miller)
    if not lowest or min(lowest.values()) <= 0:
        return None, []
    shape = shape_of(crystal, lowest)
    if shape is None:
        return None, [
            "There is no Wulff shape: the only planes whose surface energies are known, "
            f"{_list(lowest)}, enclose no volume."
        ]
    warnings = []
    carved = {tuple(one["miller"]) for one in surfaces}
    lacking = [miller for miller in distinct_millers(crystal, max_index) if miller not in lowest]
    if unbalanced := [miller for miller in lacking if miller in carved]:
        warnings.append(
            f"The Wulff shape is without {_list(unbalanced)}, which might cut it: no slab of "
            "theirs has the composition of the crystal, so that their energies are not known."
        )
    if left_out := [miller for miller in lacking if miller not in carved]:
        warnings.append(
            f"The Wulff shape is without {_list(left_out)}, which might cut it: the two sides of "
            "all their slabs differ, and symmetric_only left them out."
        )
    if means:
        warnings.append(
            f"The two sides of the slabs of {_list(means)} differ: in the Wulff shape, each has "
            "the mean of both."
        )
    return {
        "surface_energy": float(shape.weighted_surface_energy),
        "anisotropy": float(shape.anisotropy),
        "shape_factor": float(shape.shape_factor),
        "facets": [
            {"miller": list(miller), "area_fraction": float(part), "surface_energy": lowest[miller]}
            for miller, part in shape.area_fraction_dict.items()
        ],
        "cell": np.array(shape.lattice.matrix),
    }, warnings


def shape_of(crystal: Atoms, energies: Mapping[tuple[int, ...], float]) -> Any:
    """Return pymatgen's WulffShape with the planes that the crystal's symmetry makes.

    None if they enclose no volume.
    """
    from pymatgen.analysis.wulff import WulffShape
    from pymatgen.core.lattice import Lattice
    from pymatgen.core.operations import SymmOp

    conventional, group = conventional_cell(crystal)
    planes = np.concatenate([np.array(miller) @ group for miller in energies])
    if np.linalg.matrix_rank(planes) < 3:
        return None

    class OfCrystal(Lattice):
        """A lattice with the symmetry of its crystal.

        WulffShape asks the lattice, which gives a trigonal crystal 12 planes for 6.
        """

        def get_recp_symmetry_operation(self, symprec: float = 0.01) -> list[SymmOp]:
            return [SymmOp.from_rotation_and_translation(rotation.T) for rotation in group]

    lattice = OfCrystal(conventional.lattice.matrix)
    return WulffShape(lattice, list(energies), list(energies.values()))


def draw_wulff(result: Mapping[str, Any], figure: Any) -> None:
    """Draw the shape, each facet in the colour of its surface energy."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from mpl_toolkits.mplot3d.art3d import Poly3DCollection

    facets = result["wulff"]["facets"]
    energies = {tuple(facet["miller"]): facet["surface_energy"] for facet in facets}
    shape = shape_of(result["atoms"], energies)
    shown = [facet["surface_energy"] for facet in facets if _seen(facet)]
    colours = ScalarMappable(Normalize(min(shown) - 1e-3, max(shown) + 1e-3), colormaps["viridis"])
    axes = figure.add_subplot(projection="3d", proj_type="ortho")
    points = np.array(shape.wulff_pt_list)
    for plane in shape.facets:
        distances = np.abs(points @ plane.normal - plane.e_surf)
        on = points[distances < 1e-6 * max(energies.values())]
        if len(on) < 3:
            continue
        centre = on.mean(axis=0)
        one = on[0] - centre
        other = np.cross(plane.normal, one)
        order = np.argsort(np.arctan2((on - centre) @ other, (on - centre) @ one))
        colour = colours.to_rgba(plane.e_surf)
        axes.add_collection3d(
            Poly3DCollection([on[order]], facecolors=[colour], edgecolors="black", linewidths=0.6)
        )
    size = np.abs(points).max()
    axes.set(xlim=(-size, size), ylim=(-size, size), zlim=(-size, size), box_aspect=(1, 1, 1))
    axes.set_axis_off()
    figure.colorbar(colours, ax=axes, shrink=0.6, label="surface energy (J/m²)")
    names = [
        f"{hkl(facet['miller'])} {100 * facet['area_fraction']:.0f} %"
        for facet in sorted(facets, key=lambda facet: -facet["area_fraction"])
        if _seen(facet)
    ]
    axes.set_title(f"Wulff shape of {result['formula']}\n{', '.join(names[:4])}")


def hkl(miller: Sequence[int]) -> str:
    """Write Miller indices as crystallographers do: ``1 1 -1`` is ``(11-1)``."""
    return f"({('' if all(abs(i) < 10 for i in miller) else ' ').join(map(str, miller))})"


def _list(millers: Any) -> str:
    return ", ".join(map(hkl, millers))


def _seen(facet: Mapping[str, Any]) -> bool:
    return bool(facet["area_fraction"] > 1e-6)
