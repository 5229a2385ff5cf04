"""Magnetic order: which collinear arrangement of a crystal's moments costs least."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms

from quacc.atoms import as_atoms
from quacc.atoms.convert import StructureLike
from quacc.atoms.magnetic import (
    KINDS,
    SMALL,
    Ordering,
    default_moments,
    is_kept,
    kind_of,
    orderings,
)
from quacc.calculators import code_names, get_code
from quacc.errors import (
    ParameterError,
    StructureError,
    require_bool,
    require_choice,
    require_count,
    require_positive,
)
from quacc.extras import check_collinear, check_free, check_neutral, of_elements
from quacc.recipes.tools.verbs import (
    Job,
    bare,
    check_chain,
    check_meshes,
    gather,
    submit_chain,
)
from quacc.recipes.tools.workflow import Calculator, finish, keywords, workflow
from quacc.runners.calculation import formula_of
from quacc.runners.job import plan_of
from quacc.schemas import FlowResult

UNITS = {"orderings": "energy and relative eV per atom, moments μB", "moments": "μB"}
REFERENCES = ("Hart2008", "Horton2019", "Ong2013")


_SPREAD = 1e-3
"""eV per atom by which energies of one state may differ."""


class MagneticOrderResult(FlowResult):
    """Magnetic orderings of a crystal; ``atoms`` is the one of the lowest energy.

    Its initial magnetic moments are those that it was started with; where it became another
    ordering, those that came out.
    """

    orderings: list[dict[str, Any]]
    """By energy, one each: ``name`` (such as AFM2), ``kind``, ``energy`` and ``relative`` to the
    lowest (eV per atom), ``degeneracy`` (orderings that the crystal's symmetry makes equivalent),
    ``natoms``, ``formula_units``, ``start`` and ``moments`` (of each atom, before and after, μB;
    None where the calculator gives none), ``became`` (the kind of what came out), ``kept`` (whether
    it is the ordering that it started from; None if not known), ``converged``, ``key``, ``atoms``.
    """
    moments: dict[str, float]
    """Where each magnetic element started from (μB)."""


@workflow
def magnetic_order_flow(
    atoms: StructureLike,
    static_job: Job = "static_job",
    relax_job: Job | None = None,
    *,
    calculator: Calculator | None = None,
    moments: Mapping[str, float] | None = None,
    cells: int = 2,
    kinds: Sequence[str] = KINDS,
    limit: int = 12,
    relax_cell: bool = True,
    relax_kwargs: Mapping[str, Any] | None = None,
    static_kwargs: Mapping[str, Any] | None = None,
) -> MagneticOrderResult:
    """Compare the collinear magnetic orderings of a crystal.

    All that symmetry tells apart in supercells of every shape up to a size (enumerated as by Hart
    and Forcade, Phys. Rev. B 77, 224115 (2008); compare Horton et al., npj Comput. Mater. 5, 64
    (2019)), in which the moments of equivalent sites all point the same way, or half of them up and
    half down. The moments are where the SCF starts from, which may end in another ordering: those
    that came out are read, and a warning tells. Spirals and canted moments are not tried.

    Parameters
    ----------
    atoms
        The crystal. The sizes of its own moments are where the elements start from, their signs do
        not count.
    static_job
        Computes the energy of each ordering.
    relax_job
        Relaxes each ordering first, such as "relax_job"; None takes the geometry as it is.
    moments
        Where elements start from (μB), such as ``{"Ni": 2}``; others are not magnetic. By default,
        the moments of the structure, or those that pymatgen starts from.
    cells
        Maximum number of primitive cells in the supercells.
    kinds
        Which orderings: ferromagnetic; antiferromagnetic, with half of each set of equivalent sites
        up; ferrimagnetic, the others; nonmagnetic.
    limit
        Maximum number of orderings; more are refused.
    relax_cell
        Whether ``relax_job`` relaxes the cells, too.
    relax_kwargs, static_kwargs
        Keywords of the jobs, such as ``{"fmax": 0.01}``.
    calculator
        Name of the calculator whose jobs they are, such as espresso, or a mapping of its name and
        its parameters; by default, the setting ``calculator``.

    Raises
    ------
    InputError
        Before anything is computed; among them, a calculator that does not start from moments.
    JobsFailedError
        Some orderings failed; carries the results of the others.
    """
    require_count(cells=cells, limit=limit)
    require_bool(relax_cell=relax_cell)
    if isinstance(kinds, str):
        kinds = [kinds]
    for kind in kinds:
        require_choice("kinds", kind, KINDS)
    relax_kwargs = keywords("relax_kwargs", relax_kwargs, ["relax_cell"])
    static_kwargs = keywords("static_kwargs", static_kwargs)
    for job in (static_job, relax_job):
        _require_moments(job)
    given = as_atoms(atoms)
    if not given.pbc.all():
        raise StructureError(
            "This takes a crystal, periodic in three directions, but "
            f"{formula_of(given)} has pbc={given.pbc.tolist()}."
        )
    check_neutral(given, "a magnetic ordering")
    check_free(given, "a supercell of another shape")
    start, warnings = _start(given, moments)
    crystal = given.copy()
    crystal.set_constraint()
    for name in ("initial_charges", "momenta"):
        crystal.arrays.pop(name, None)
    found = orderings(crystal, start, cells, kinds)
    if not found:
        raise ParameterError(f"There is no ordering of the kinds {', '.join(kinds) or 'none'}.")
    if len(found) > limit:
        names = ", ".join(one.name for one in found)
        raise ParameterError(
            f"There are {len(found)} orderings, more than limit={limit}: {names}. Pass "
            f"limit={len(found)}, fewer cells or kinds, or fewer magnetic elements in moments."
        )
    relax = None if relax_job is None else (relax_job, {**relax_kwargs, "relax_cell": relax_cell})
    steps = (relax, (static_job, static_kwargs))
    planned = [check_chain(one.atoms, *steps) for one in found]
    check_meshes([calculation for chain in planned for calculation in chain])
    chains = [submit_chain(one.atoms, *steps) for one in found]
    results = gather(chains, [one.name for one in found], "magnetic_order_flow")

    rows = [_row(one, chain) for one, chain in zip(found, results, strict=True)]
    rows.sort(key=lambda row: row["energy"])
    for row in rows:
        row["relative"] = row["energy"] - rows[0]["energy"]
    warnings += _told(rows)
    best = rows[0]["atoms"]
    if rows[0]["kept"] is False:
        best = best.copy()
        ended = np.array(rows[0]["moments"])
        magnetic = abs(ended) > SMALL
        best.set_initial_magnetic_moments(ended * magnetic if magnetic.any() else None)
    properties = {"orderings": rows, "moments": start}
    parameters = {
        "cells": cells,
        "kinds": sorted({*kinds}),
        "moments": start,
        **({} if relax_job is None else {"relax_cell": relax_cell}),
        "relax_kwargs": relax_kwargs,
        "static_kwargs": static_kwargs,
    }
    jobs = [result for chain in results for result in chain]
    result: MagneticOrderResult = finish(
        "magnetic_order_flow", best, jobs, parameters, properties, UNITS, warnings
    )
    return result


def _require_moments(job: Any) -> None:
    """Refuse a calculator for which all orderings would be one."""
    plan = None if job is None else plan_of(bare(job))
    if plan is None or plan.code.site_moments:
        return
    code = plan.code
    others = ", ".join(name for name in code_names() if get_code(name).site_moments)
    says = f"knows magnetic moments as {code.handles.get('moments', '')!r}"
    raise ParameterError(
        f"{code.title} {says}, so that all magnetic orderings would be one to it. Take a "
        f"calculator that starts from the moment of each atom: {others}."
    )


def _start(given: Atoms, moments: Any) -> tuple[dict[str, float], list[str]]:
    """Return the moments that elements start from, and warnings."""
    elements = sorted({*given.symbols})
    if moments is not None:
        if not isinstance(moments, Mapping):
            raise ParameterError(f"moments must be such as {{'Ni': 2}}, not {moments!r}.")
        for element, value in moments.items():
            if element not in elements:
                raise ParameterError(
                    f"moments name {element!r}, which is not in the crystal. In it are: "
                    f"{', '.join(elements)}."
                )
            require_positive(**{f"moments of {element}": value})
        found = {element: float(value) for element, value in moments.items()}
        if not found:
            raise ParameterError("moments name no element, so that there is no ordering.")
        return dict(sorted(found.items())), []
    own = given.get_initial_magnetic_moments()
    if own.any():
        check_collinear(given)
        sizes = given.copy()
        sizes.set_initial_magnetic_moments(abs(own))
        known = of_elements(sizes)["initial_magmoms"]
        return {element: value for element, value in sorted(known.items()) if value}, []
    found = default_moments(elements)
    if not found:
        raise ParameterError(
            f"Of {', '.join(elements)} pymatgen has no moments to start from. Pass them (μB), such "
            f"as moments={{{elements[0]!r}: 1.0}}."
        )
    words = ", ".join(f"{element} {value:g}" for element, value in found.items())
    return found, [f"Moments start from pymatgen's defaults (μB): {words}; others are none."]


def _row(one: Ordering, chain: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    last = chain[-1]
    natoms = len(one.atoms)
    start = one.atoms.get_initial_magnetic_moments()
    magnetic = start != 0
    ended = last["results"].get("magmoms")
    if ended is None and one.kind == "nonmagnetic":  # computed without spin
        ended = np.zeros(natoms)
    became, kept = None, None
    if ended is not None:
        ended = np.asarray(ended, dtype=float)
        if one.kind == "nonmagnetic":
            became = kind_of(ended)
            kept = became == "nonmagnetic"
        else:
            kept = is_kept(start[magnetic], ended[magnetic])
            became = one.kind if kept else kind_of(ended[magnetic])
    counts = [(one.atoms.symbols == symbol).sum() for symbol in {*one.atoms.symbols}]
    return {
        "name": one.name,
        "kind": one.kind,
        "energy": float(last["results"]["energy"]) / natoms,
        "degeneracy": one.degeneracy,
        "natoms": natoms,
        "formula_units": int(np.gcd.reduce(counts)),
        "start": start.tolist(),
        "moments": None if ended is None else ended.tolist(),
        "became": became,
        "kept": kept,
        "converged": all(result.get("converged") is not False for result in chain),
        "key": last["key"],
        "atoms": last["atoms"],
    }


def _told(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    warnings = [
        f"{row['name']} did not stay {row['kind']}: what came out is {row['became']}, and its "
        "energy is that of this."
        if row["became"] != row["kind"]
        else f"{row['name']} became another {row['kind']} ordering, and its energy is that of this."
        for row in rows
        if row["kept"] is False
    ]
    if unknown := [row["name"] for row in rows if row["kept"] is None]:
        warnings.append(
            f"The calculator gives no moments of atoms for {', '.join(unknown)}, so that nothing "
            "says whether they stayed what they were."
        )
    alike = [row["energy"] for row in rows if row["became"] == "nonmagnetic"]
    if alike and (spread := max(alike) - min(alike)) > _SPREAD:
        warnings.append(
            f"One state, without moments, has energies that differ by {1e3 * spread:.1f} meV per "
            "atom between cells of different shapes. Smaller differences mean nothing: converge "
            "the k-points (kspacing)."
        )
    if not any(row["kept"] for row in rows if row["kind"] != "nonmagnetic"):
        warnings.append(
            "No magnetic ordering is known to have stayed: try other moments, or a Hubbard U."
        )
    return warnings


def _mean(row: Mapping[str, Any]) -> float | None:
    """Return the mean size of the moments of the sites that are magnetic, or that became so."""
    if row["moments"] is None:
        return None
    sizes, start = abs(np.array(row["moments"])), np.array(row["start"])
    chosen = start != 0 if start.any() else sizes > SMALL
    return float(sizes[chosen].mean()) if chosen.any() else 0.0


def summarise(result: MagneticOrderResult) -> str:
    rows = result["orderings"]
    best = rows[0]
    text = f"{len(rows)} magnetic orderings; lowest is {best['name']}"
    if best["kept"] is False:
        text += f", which became {best['became']}"
    elif best["kept"] and best["start"] and any(best["start"]):
        text += f" with {_mean(best):.2f} μB a site"
    if len(rows) > 1:
        text += f", by {1e3 * rows[1]['relative']:.1f} meV per atom below {rows[1]['name']}"
    return text


def tabulate(result: MagneticOrderResult) -> list[dict[str, Any]]:
    return [
        {
            "ordering": row["name"],
            "kind": row["kind"],
            "atoms": row["natoms"],
            "degeneracy": row["degeneracy"],
            "energy (eV/atom)": row["energy"],
            "above lowest (meV/atom)": 1e3 * row["relative"],
            "(meV/formula unit)": 1e3 * row["relative"] * row["natoms"] / row["formula_units"],
            "moment (μB)": _mean(row),
            "became": row["became"] if row["kept"] is not None else None,
            "kept": {True: "yes", False: "no", None: None}[row["kept"]],
            "converged": row["converged"],
        }
        for row in result["orderings"]
    ]


def draw(result: MagneticOrderResult, figure: Any) -> None:
    """Draw the energies; hollow are orderings that became another one."""
    axes = figure.add_subplot()
    rows = result["orderings"]
    labels = [
        row["name"] if row["kept"] is not False else f"{row['name']} (became {row['became']})"
        for row in rows
    ]
    bars = axes.barh(range(len(rows)), [1e3 * row["relative"] for row in rows], edgecolor="C0")
    for bar, row in zip(bars, rows, strict=True):
        bar.set_fill(row["kept"] is not False)
    axes.set_yticks(range(len(rows)), labels)
    axes.invert_yaxis()
    axes.set(xlabel="above the lowest (meV/atom)", title=result["formula"])
