"""Adsorption energies on all distinct sites of every slab."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.geometry import find_mic

from quacc.atoms import as_atoms
from quacc.atoms.adsorption import (
    adsorption_sites,
    as_molecule,
    hold_bottom,
    is_slab,
    with_adsorbate,
)
from quacc.atoms.convert import StructureLike
from quacc.atoms.slabs import make_slabs, turned_over
from quacc.atoms.vacuum import VACUUM, gap, in_one_piece, touches_own_image
from quacc.errors import ParameterError, StructureError, require_number, require_positive
from quacc.recipes.tools.verbs import Job, check, gather_each, submit
from quacc.recipes.tools.workflow import Calculator, check_start, finish, keywords, start, workflow
from quacc.recipes.tools.wulff import hkl
from quacc.schemas import FlowResult

UNITS = {"sites": "adsorption_energy eV, height and shift Å", "reference_energy": "eV"}
REFERENCES = ("Montoya2017", "Sun2013", "Ong2013")

_SHIFTED = 1.0
"""An adsorbate that moves farther along the surface (Å) has left its site."""
_GONE = 4.0
"""One that is higher above the surface (Å) is not adsorbed."""


class AdsorptionResult(FlowResult):
    """Adsorption on a crystal's surfaces; ``atoms`` is the most stable configuration."""

    sites: list[dict[str, Any]]
    """One each, the most stable first: ``miller`` and ``termination`` (None for a slab that was
    given), ``side`` (``upper`` or ``lower``; None where both are equivalent, and for a slab that
    was given), ``site``, ``adsorption_energy`` (eV, negative where it binds), ``height`` of the
    lowest atom above the surface and ``shift`` along it (Å), ``moved``, ``adsorbed``,
    ``converged``, ``key``."""
    reference_energy: float
    """Energy of the adsorbate in the gas (eV)."""


@workflow
def adsorption_flow(
    atoms: StructureLike,
    adsorbate: StructureLike,
    relax_job: Job = "relax_job",
    *,
    calculator: Calculator | None = None,
    reference: StructureLike | None = None,
    distance: float = 2.0,
    anchor: int = 0,
    hold: float = 0.5,
    max_index: int = 1,
    min_thickness: float = 8.0,
    min_vacuum: float = 15.0,
    min_lateral: float = 7.0,
    relax_kwargs: Mapping[str, Any] | None = None,
) -> AdsorptionResult:
    """Put an adsorbate on all distinct sites of every slab; adsorption energies and geometries.

    ``E_ads = E(slab with adsorbate) - E(slab) - E(gas)``, all of them relaxed; sites are pymatgen's
    (Montoya and Persson, npj Comput. Mater. 3, 14 (2017)). Of a crystal's slabs whose two sides
    differ, the sites of both, the lower one turned up; of a slab that is given, those of its upper
    side.

    Parameters
    ----------
    atoms
        A crystal, whose cell is relaxed and whose slabs are carved, or a slab with vacuum and its
        surface in the xy plane. A slab that the boundary of the cell cuts is put together, in the
        middle of the cell.
    adsorbate
        An atom or a molecule, also in a box of vacuum. The names of many elements are those of
        their crystals: an atom of gold is ``Atoms("Au")``.
    relax_job
        Relaxes everything.
    reference
        The gas that the energy refers to, such as O2 for O; the adsorbate itself, if none is given.
        The energy of O is then half that of O2.
    distance
        Of the binding atom above the site, to begin with (Å).
    anchor
        Which atom of the adsorbate binds.
    hold
        Part of the slab's thickness that is held, from below. A slab that is given with
        constraints keeps those instead.
    max_index, min_thickness, min_vacuum, min_lateral
        Of the slabs, lengths in Å; see :func:`quacc.atoms.slabs.make_slabs`.
    relax_kwargs
        Keywords of the job, such as ``{"fmax": 0.03}``.
    calculator
        Name of the calculator whose jobs they are, such as emt, or a mapping of its name and its
        parameters; by default, the setting ``calculator``.

    Raises
    ------
    InputError
        Before anything is computed.
    CalculationError
        The crystal itself failed.
    JobsFailedError
        Some configurations failed; carries the results of the others.
    """
    require_positive(distance=distance)
    require_number(minimum=0, hold=hold)
    if hold > 1:
        raise ParameterError(f"hold is a part of the thickness, between 0 and 1, not {hold}.")
    relax_kwargs = keywords("relax_kwargs", relax_kwargs, ["relax_cell"])
    added = as_molecule(adsorbate, "adsorbate")
    gas = added if reference is None else as_molecule(reference, "reference")
    parts = _parts(added, gas)
    carve: dict[str, Any] = {
        "max_index": max_index,
        "min_thickness": min_thickness,
        "min_vacuum": min_vacuum,
        "min_lateral": min_lateral,
    }
    given = as_atoms(atoms)
    slabs = _slabs(given, carve)
    if not slabs:
        raise ParameterError(f"adsorption_flow: there is no slab with max_index={max_index}.")
    for _, slab in slabs:
        held = hold_bottom(slab, hold)
        for site in adsorption_sites(slab):
            whole = with_adsorbate(held, added, site, distance=distance, anchor=anchor)
            check(relax_job, whole, **relax_kwargs)
    check(relax_job, gas, **relax_kwargs)
    jobs: list[Any] = []
    if not is_slab(given):
        check_start(atoms, relax_job, relax_kwargs)
        crystal, jobs = start(atoms, relax_job, relax_kwargs)
        slabs = _slabs(crystal, carve)

    futures = [submit(relax_job, gas, **relax_kwargs)]
    futures += [submit(relax_job, hold_bottom(slab, hold), **relax_kwargs) for _, slab in slabs]
    names = ["the gas", *(f"clean slab {_name(label)}" for label, _ in slabs)]
    free, *clean = gather_each(futures, names, "adsorption_flow", jobs)
    jobs += [free, *clean]
    energy = free["results"]["energy"] * parts

    placed = []
    for (label, _), slab in zip(slabs, clean, strict=True):
        for site in adsorption_sites(slab["atoms"]):
            whole = with_adsorbate(slab["atoms"], added, site, distance=distance, anchor=anchor)
            placed.append((label, slab, site, submit(relax_job, whole, **relax_kwargs)))
    names = [f"{site.kind} of {_name(label)}" for label, _, site, _ in placed]
    results = gather_each([future for *_, future in placed], names, "adsorption_flow", jobs)
    rows = []
    for (label, slab, site, _), one in zip(placed, results, strict=True):
        height, shift = _geometry(one["atoms"], slab["atoms"], site.position)
        rows.append(
            {
                **label,
                "site": site.kind,
                "adsorption_energy": float(
                    one["results"]["energy"] - slab["results"]["energy"] - energy
                ),
                "height": height,
                "shift": shift,
                "moved": shift > _SHIFTED,
                "adsorbed": height < _GONE,
                "converged": one["converged"],
                "key": one["key"],
            }
        )
    rows.sort(key=lambda row: row["adsorption_energy"])
    best = next(one for one in results if one["key"] == rows[0]["key"])
    jobs += results
    warnings = []
    if any(row["moved"] for row in rows):
        warnings.append(
            f"{sum(row['moved'] for row in rows)} adsorbates left their sites while they relaxed: "
            "their energies are those of the sites that they ended on."
        )
    if not all(row["adsorbed"] for row in rows):
        warnings.append("Some adsorbates left the surface.")
    warnings += _near_images(results, len(added))
    parameters = {
        **carve,
        "adsorbate": added,
        "reference": gas,
        "distance": float(distance),
        "anchor": anchor,
        "hold": float(hold),
        "relax_kwargs": relax_kwargs,
    }
    properties = {"sites": rows, "reference_energy": float(energy)}
    result: AdsorptionResult = finish(
        "adsorption_flow", best["atoms"], jobs, parameters, properties, UNITS, warnings
    )
    return result


def _parts(adsorbate: Atoms, gas: Atoms) -> float:
    """Return how many molecules of the gas an adsorbate is."""
    ours, theirs = adsorbate.symbols.formula.count(), gas.symbols.formula.count()
    ratios = {ours.get(symbol, 0) / number for symbol, number in theirs.items()}
    if ours.keys() != theirs.keys() or len(ratios) > 1:
        raise StructureError(
            f"The reference {gas.get_chemical_formula()} has not the composition of the adsorbate "
            f"{adsorbate.get_chemical_formula()}, so that energies cannot be compared."
        )
    return ratios.pop()


def _slabs(atoms: Atoms, carve: Mapping[str, Any]) -> list[tuple[dict[str, Any], Atoms]]:
    if is_slab(atoms):
        return [({"miller": None, "termination": None, "side": None}, in_one_piece(atoms))]
    slabs: list[tuple[dict[str, Any], Atoms]] = []
    for slab in make_slabs(atoms, **carve):
        label = {"miller": list(slab.miller), "termination": slab.termination}
        if slab.symmetric:
            slabs.append(({**label, "side": None}, slab.atoms))
        else:
            # No lower side is the upper one of another termination: make_slabs takes slabs that
            # differ by a rotation for one.
            slabs.append(({**label, "side": "upper"}, slab.atoms))
            slabs.append(({**label, "side": "lower"}, turned_over(slab.atoms)))
    return slabs


def _geometry(whole: Atoms, slab: Atoms, position: Any) -> tuple[float, float]:
    """Return how high the adsorbate is, and how far from where it was put along the surface."""
    added = whole.positions[len(slab) :]
    top = whole.positions[: len(slab), 2].max()
    lowest = added[int(np.argmin(added[:, 2]))]
    moved, _ = find_mic((lowest - position) * [1, 1, 0], whole.cell, [True, True, False])
    return float(lowest[2] - top), float(np.linalg.norm(moved))


def _near_images(results: Sequence[Mapping[str, Any]], count: int) -> list[str]:
    """Return warnings of adsorbates, the last atoms, that reach their own or the slab's image."""
    vacuums, laterals = [], []
    for one in results:
        whole = in_one_piece(one["atoms"])
        if whole.pbc[2]:
            vacuums.append(gap(whole, 2))
        laterals.append(touches_own_image(whole[-count:], (0, 1)))
    warnings = []
    if vacuums and min(vacuums) < VACUUM:
        warnings.append(
            f"Only {min(vacuums):.1f} Å are left between an adsorbate and the slab's image above "
            f"it: they act on one another. Take at least {VACUUM:g} Å more than the adsorbate "
            "needs, with min_vacuum or in the slab that is given."
        )
    near = [distance for distance in laterals if distance is not None]
    if near:
        warnings.append(
            f"Adsorbates are {min(near):.1f} Å from their own images along the surface, within "
            "the sum of their van der Waals radii: energies are those of a dense layer. Take a "
            "larger min_lateral, or a wider slab, for a single adsorbate."
        )
    return warnings


def _name(label: Mapping[str, Any]) -> str:
    if label["miller"] is None:
        return "the slab"
    name = f"({' '.join(map(str, label['miller']))}) termination {label['termination']}"
    side = label.get("side")  # results of before have none
    return f"{name}, {side} side" if side else name


def _short_names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return names of sites such as "hollow 2, (111)", with no more than tells them apart."""
    surfaces = {(str(row["miller"]), row["termination"]) for row in rows}
    several = Counter(miller for miller, _ in surfaces)
    names = []
    for row in rows:
        surface = "the slab" if row["miller"] is None else hkl(row["miller"])
        if several[str(row["miller"])] > 1:
            surface += f" termination {row['termination']}"
        if row.get("side"):
            surface += f", {row['side']} side"
        names.append((row["site"], surface))
    alike, seen = Counter(names), Counter[tuple[str, str]]()
    found = []
    for site, surface in names:
        seen[site, surface] += 1
        number = f" {seen[site, surface]}" if alike[site, surface] > 1 else ""
        found.append(f"{site}{number}, {surface}")
    return found


def summarise(result: AdsorptionResult) -> str:
    best = result["sites"][0]
    return (
        f"{len(result['sites'])} sites; {best['site']} of {_name(best)} binds most, "
        f"{best['adsorption_energy']:.3f} eV"
    )


def tabulate(result: AdsorptionResult) -> list[dict[str, Any]]:
    return [
        {
            "surface": _name(row),
            "site": row["site"],
            "adsorption energy (eV)": row["adsorption_energy"],
            "height (Å)": row["height"],
            "shift (Å)": row["shift"],
            "left its site": "yes" if row["moved"] else "no",
            "converged": row["converged"],
        }
        for row in result["sites"]
    ]


def draw(result: AdsorptionResult, figure: Any) -> None:
    axes = figure.add_subplot()
    rows: Sequence[Mapping[str, Any]] = result["sites"]
    names = _short_names(rows)
    values = [row["adsorption_energy"] for row in rows]
    if len(rows) > 15:  # whose names would run into one another
        figure.set_size_inches(6.0, 0.22 * len(rows) + 1)
    bars = axes.barh(range(len(rows)), values)
    axes.bar_label(bars, fmt="%.2f", padding=2)
    axes.set_yticks(range(len(rows)), names)
    axes.invert_yaxis()
    axes.axvline(0, color="black", linewidth=0.5)
    axes.margins(x=0.25)
    adsorbate = result["parameters"]["adsorbate"].get_chemical_formula()
    axes.set(xlabel="adsorption energy (eV)", title=f"adsorption of {adsorbate}")
