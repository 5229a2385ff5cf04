"""Point defects: what vacancies, antisites, substitutions and interstitials cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from ase.geometry import find_mic

from quacc.atoms import as_atoms
from quacc.atoms.convert import StructureLike
from quacc.atoms.defects import make_defects
from quacc.atoms.modify import bare_supercell, repeats_for
from quacc.errors import (
    ParameterError,
    require_choice,
    require_number,
    suggest,
)
from quacc.extras import check_free, check_neutral
from quacc.recipes.tools.phases import competing_phases, limits, relax_options
from quacc.recipes.tools.verbs import Job, check, gather_each, submit
from quacc.recipes.tools.workflow import Calculator, check_start, finish, keywords, start, workflow
from quacc.runners.calculation import formula_of
from quacc.schemas import FlowResult

KINDS = ("vacancy", "antisite", "interstitial")
UNITS = {
    "defects": "formation_energies eV, position parts of the cell, nearest and shift Å",
    "conditions": "chemical_potentials and relative eV",
    "above_hull": "eV per atom",
}
REFERENCES = ("Zhang1991", "Freysoldt2014", "Shen2024", "Ong2008", "Ong2013")

_SHIFTED = 1.0
"""A defect whose atoms move farther (Å) has become another."""


class DefectsResult(FlowResult):
    """Point defects of a crystal, which ``atoms`` is."""

    defects: list[dict[str, Any]]
    """One each: ``name`` (such as v_Cu, Au_Cu, Cu_i1; numbers count distinct sites), ``kind``,
    ``added`` and ``removed`` (elements or None), ``position`` of the site (parts of the crystal's
    cell), ``multiplicity`` (equivalent sites in that cell), ``nearest`` (how far the next atom is
    from the site before anything relaxes, Å), ``formation_energies`` (eV, one for each of
    ``conditions``), ``shift`` (the farthest that an atom moved, Å), ``moved``, ``converged``,
    ``key``, ``atoms`` (the relaxed supercell)."""
    conditions: list[dict[str, Any]]
    """One each: ``phases`` in equilibrium, ``chemical_potentials`` by element (eV), and
    ``relative`` to those of the pure elements (eV)."""
    above_hull: float
    """Energy of the crystal above the hull (eV per atom)."""
    natoms: int
    """Number of atoms in the supercell without a defect."""


@workflow
def defects_flow(
    atoms: StructureLike,
    relax_job: Job = "relax_job",
    *,
    calculator: Calculator | None = None,
    kinds: Sequence[str] = KINDS,
    substitutions: Mapping[str, str | Sequence[str]] | None = None,
    insertions: Sequence[str] = (),
    competing: Sequence[StructureLike] = (),
    supercell: Sequence[int] | None = None,
    min_length: float = 8.0,
    rattle: float = 0.0,
    relax_kwargs: Mapping[str, Any] | None = None,
) -> DefectsResult:
    """Compute the formation energies of neutral point defects in a crystal.

    ``E_f = E(defect) - E(perfect) - sum n_i mu_i`` (Zhang and Northrup, Phys. Rev. Lett. 67, 2339
    (1991); Freysoldt et al., Rev. Mod. Phys. 86, 253 (2014)), with n_i atoms of element i added,
    in supercells of constant volume. Symmetry-distinct sites, and the Voronoi vertices that
    interstitials start from, are pymatgen-analysis-defects' (Shen and Varley, J. Open Source Softw.
    9, 5941 (2024)).

    The chemical potentials mu_i are those of as many phases in equilibrium as there are elements,
    the crystal among them: the corners of the region in which it is stable against the elements and
    the competing phases. A crystal that is not stable is in equilibrium with none: the potentials
    are then those of the phases that it decomposes into, and a warning names them and tells by how
    much.

    Interstitials start in the holes between atoms, Voronoi vertices, of which bcc has only the
    tetrahedral ones; dumbbells are not tried. Constraints of the crystal are not carried into the
    supercells. Charged defects take the electrostatic potential, which no calculator gives here
    yet.

    Parameters
    ----------
    atoms
        The crystal. Of a structure, cell and positions are relaxed first; the result of a job is
        taken as it is.
    relax_job
        Relaxes the crystal, the perfect supercell, all defects, and all phases with their cells.
    kinds
        Which of the crystal's own defects: vacancy, antisite, interstitial.
    substitutions
        Elements that replace one of the crystal's, such as ``{"Cu": ["Au", "Pd"]}``.
    insertions
        Elements that enter the crystal as interstitials, such as ``["H"]``.
    competing
        Phases of these elements that limit the chemical potentials; a gas is a molecule, such as
        O2. Elements that are missing are added in the crystals that their names stand for.
    supercell, min_length
        How often to repeat the cell along its vectors, or until it is at least so wide (Å).
    rattle
        Standard deviation of the displacements (Å) that all atoms of a defect's supercell start
        with, the same in every run. Without any, the symmetry of the site is kept, and what is
        put on a saddle point stays there; 0.1 Å lets it leave.
    relax_kwargs
        Keywords of the job, such as ``{"fmax": 0.01}``.
    calculator
        Name of the calculator whose jobs they are, such as emt, or a mapping of its name and its
        parameters; by default, the setting ``calculator``.

    Raises
    ------
    InputError
        Before anything is computed.
    MissingProgramError
        pymatgen-analysis-defects is not installed.
    CalculationError
        The crystal itself failed.
    JobsFailedError
        Some defects or phases failed; carries the results of the others.
    """
    relax_kwargs = keywords("relax_kwargs", relax_kwargs, ["relax_cell"])
    given = check_start(atoms, relax_job, relax_kwargs)
    check_neutral(given, "a supercell with a defect")
    if not isinstance(atoms, Mapping):  # which is relaxed first
        check_free(given, "the crystal's relaxation")
    repeats = repeats_for(given, supercell, min_length)
    require_number(minimum=0, rattle=rattle)
    native = sorted({*given.symbols})
    kinds = _several("kinds", kinds)
    for kind in kinds:
        require_choice("kinds", kind, KINDS)
    replacing = _substitutions(substitutions, native)
    inserted = _elements("insertions", insertions)
    changes = _changes(kinds, replacing, inserted, native)
    if not changes:
        raise ParameterError(
            "There is no defect to compute: kinds, substitutions and insertions are empty, or "
            f"kinds are but antisites, which {formula_of(given)} cannot have."
        )
    elements = sorted({*native, *(new for new, _ in changes if new)})
    rivals = [as_atoms(one) for one in _several("competing", competing)]
    phases = competing_phases(given, rivals, elements)
    made = make_defects(given, repeats, changes)
    for one in made:
        check(relax_job, _rattled(one.atoms, rattle), **relax_kwargs)
    for phase in phases:
        check(relax_job, phase, **relax_options(phase, relax_kwargs))
    reference, jobs = start(atoms, relax_job, relax_kwargs)

    made = make_defects(reference, repeats, changes)
    whole = bare_supercell(reference, repeats)
    futures = [submit(relax_job, phase, **relax_options(phase, relax_kwargs)) for phase in phases]
    futures.append(submit(relax_job, whole, **relax_kwargs))
    futures += [submit(relax_job, _rattled(one.atoms, rattle), **relax_kwargs) for one in made]
    names = [*map(formula_of, phases), "the perfect crystal", *(one.name for one in made)]
    results = gather_each(futures, names, "defects_flow", jobs)
    references, (perfect, *defects) = results[: len(phases)], results[len(phases) :]
    conditions, above, warnings = limits(perfect, references)
    rows = []
    for one, relaxed in zip(made, defects, strict=True):
        raised = relaxed["results"]["energy"] - perfect["results"]["energy"]
        moved, _ = find_mic(relaxed["atoms"].positions - one.atoms.positions, whole.cell)
        shift = float(np.linalg.norm(moved, axis=1).max())
        rows.append(
            {
                **one._asdict(),
                "formation_energies": [
                    float(
                        raised
                        - (condition["chemical_potentials"][one.added] if one.added else 0)
                        + (condition["chemical_potentials"][one.removed] if one.removed else 0)
                    )
                    for condition in conditions
                ],
                "shift": shift,
                "moved": shift > _SHIFTED,
                "converged": relaxed["converged"],
                "key": relaxed["key"],
                "atoms": relaxed["atoms"],
            }
        )
    if gone := [row["name"] for row in rows if row["moved"]]:
        warnings.append(
            f"Atoms moved more than {_SHIFTED:g} Å while {', '.join(gone)} relaxed: the energies "
            "are those of the defects that they became."
        )
    if gained := [row["name"] for row in rows if min(row["formation_energies"]) < 0]:
        warnings.append(
            f"The formation energy of {', '.join(gained)} is negative: the crystal is not stable "
            "against it, and probably not the structure of lowest energy."
        )
    parameters = {
        "kinds": kinds,
        "substitutions": replacing,
        "insertions": inserted,
        "competing": rivals,
        "supercell": repeats,
        "rattle": float(rattle),
        "relax_kwargs": relax_kwargs,
    }
    properties = {
        "defects": rows,
        "conditions": conditions,
        "above_hull": above,
        "natoms": len(whole),
    }
    jobs += results
    result: DefectsResult = finish(
        "defects_flow", reference, jobs, parameters, properties, UNITS, warnings
    )
    return result


def _several(name: str, given: Any) -> list[Any]:
    if isinstance(given, str):
        return [given]
    if isinstance(given, Mapping) or hasattr(given, "pbc") or not hasattr(given, "__iter__"):
        raise ParameterError(f"{name} must be a list, not {given!r}.")
    return list(given)


def _elements(name: str, given: Any) -> list[str]:
    found = _several(name, given)
    for symbol in found:
        if not isinstance(symbol, str) or not atomic_numbers.get(symbol):
            near = suggest(symbol, atomic_numbers) if isinstance(symbol, str) else ""
            raise ParameterError(f"{name} must hold symbols of elements, not {symbol!r}.{near}")
    return found


def _substitutions(given: Any, native: Sequence[str]) -> dict[str, list[str]]:
    given = {} if given is None else given
    if not isinstance(given, Mapping):
        raise ParameterError(
            "substitutions must tell what replaces which element, such as {'Cu': ['Au']}, not "
            f"{given!r}."
        )
    found = {}
    for old, new in given.items():
        if old not in native:
            raise ParameterError(
                f"substitutions replace {old!r}, which is not in the crystal. In it are: "
                f"{', '.join(native)}."
            )
        found[old] = _elements("substitutions", new)
        if old in found[old]:
            raise ParameterError(f"substitutions replace {old} by itself: leave that out.")
    return found


def _changes(
    kinds: Sequence[str],
    substitutions: Mapping[str, Sequence[str]],
    insertions: Sequence[str],
    native: Sequence[str],
) -> list[tuple[str | None, str | None]]:
    """Return which elements come and go, each change once: (added, removed)."""
    changes: list[tuple[str | None, str | None]] = []
    if "vacancy" in kinds:
        changes += [(None, old) for old in native]
    if "antisite" in kinds:
        changes += [(new, old) for old in native for new in native if new != old]
    changes += [(new, old) for old, several in substitutions.items() for new in several]
    if "interstitial" in kinds:
        changes += [(new, None) for new in native]
    changes += [(new, None) for new in insertions]
    return list(dict.fromkeys(changes))


def _rattled(atoms: Atoms, deviation: float) -> Atoms:
    moved: Atoms = atoms.copy()
    if deviation:
        moved.rattle(deviation, seed=42)
    return moved


def _label(condition: Mapping[str, Any]) -> str:
    return " + ".join(condition["phases"])


def summarise(result: DefectsResult) -> str:
    energy, name, condition = min(
        (energy, row["name"], _label(condition))
        for row in result["defects"]
        for energy, condition in zip(row["formation_energies"], result["conditions"], strict=True)
    )
    number = len(result["defects"])
    text = f"{number} point defect{'s' * (number > 1)}; {name} costs least, {energy:.3f} eV"
    return text if len(result["conditions"]) == 1 else f"{text} where {condition} coexist"


def tabulate(result: DefectsResult) -> list[dict[str, Any]]:
    return [
        {
            "defect": row["name"],
            "sites": row["multiplicity"],
            "nearest (Å)": row["nearest"],
            **{
                f"eV, {_label(condition)}": energy
                for condition, energy in zip(
                    result["conditions"], row["formation_energies"], strict=True
                )
            },
            "moved": "yes" if row["moved"] else "no",
            "converged": row["converged"],
        }
        for row in result["defects"]
    ]


_MARKERS = {"vacancy": "o", "antisite": "s", "substitution": "D", "interstitial": "^"}
_LINES = ("-", "--", ":", "-.")


def draw(result: DefectsResult, figure: Any) -> None:
    """Draw the formation energies under each condition; hollow are defects that moved away."""
    axes = figure.add_subplot()
    rows, conditions = result["defects"], result["conditions"]
    labels = [_label(condition) for condition in conditions]
    if len(conditions) == 1:
        bars = axes.barh(range(len(rows)), [row["formation_energies"][0] for row in rows])
        axes.bar_label(bars, fmt="%.2f", padding=2)
        axes.set_yticks(range(len(rows)), [_tex(row["name"]) for row in rows])
        axes.invert_yaxis()
        axes.axvline(0, color="black", linewidth=0.5)
        axes.margins(x=0.15)
        title = f"defects in {result['formula']}"
        if labels != [result["formula"]]:
            title += f" in equilibrium with {labels[0]}"
        axes.set(xlabel="formation energy (eV)", title=title)
        return
    for count, row in enumerate(rows):
        axes.plot(
            range(len(labels)),
            row["formation_energies"],
            # What has become another defect is a ring around it.
            marker=_MARKERS[row["kind"]],
            markersize=9 if row["moved"] else 5,
            fillstyle="none" if row["moved"] else "full",
            linestyle=_LINES[count // 10 % len(_LINES)],  # colours repeat after ten
            linewidth=1,
            label=_tex(row["name"]),
        )
    axes.set_xticks(range(len(labels)), [label.replace(" + ", "\n") for label in labels])
    axes.axhline(0, color="black", linewidth=0.5)
    axes.margins(x=0.1)
    axes.set(
        xlabel="phases in equilibrium",
        ylabel="formation energy (eV)",
        title=f"defects in {result['formula']}",
    )
    figure.legend(loc="outside right center")


def _tex(name: str) -> str:
    """Write v_Cu2 as $v_{Cu2}$, upright but for the v."""
    root, _, site = name.partition("_")
    root = root if root == "v" else rf"\mathrm{{{root}}}"
    return rf"${root}_{{\mathrm{{{site}}}}}$"
