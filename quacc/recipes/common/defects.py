"""Point defects: what vacancies, antisites, substitutions and interstitials cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from ase import Atom, Atoms
from ase.data import atomic_numbers
from ase.geometry import find_mic, get_distances, minkowski_reduce

from quacc.atoms import as_atoms
from quacc.atoms.convert import StructureLike
from quacc.errors import (
    MissingProgramError,
    ParameterError,
    StructureError,
    require_choice,
    require_number,
    suggest,
)
from quacc.recipes.common.hull import entries_of, with_elements
from quacc.recipes.common.phonons import repeated
from quacc.recipes.common.verbs import Job, check, gather, submit
from quacc.recipes.common.workflow import RELAX, check_start, finish, keywords, start
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

_NOBLE = ("He", "Ne", "Ar", "Kr", "Xe", "Rn")

_STABLE = 1e-4
"""eV per atom above other phases that may be rounding, and noise of a code."""

_SAME = 0.1
"""Places nearer than this (Å) are one."""


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
    """Of the crystal (eV per atom)."""
    natoms: int
    """Of the supercell without a defect."""


class Defect(NamedTuple):
    """A point defect in a supercell."""

    name: str
    kind: str
    added: str | None
    removed: str | None
    position: list[float]
    """Parts of the crystal's cell."""
    multiplicity: int
    nearest: float
    """Å."""
    atoms: Atoms
    """An atom that was put between the others is the last."""


def defects_flow(
    atoms: StructureLike,
    relax_job: Job = RELAX,
    *,
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
    given = check_start(atoms, relax_job, relax_kwargs, cell=True)
    repeats = repeated(given, supercell, min_length)
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
    phases = _phases(given, rivals, elements)
    made = make_defects(given, repeats, changes)
    for one in made:
        check(relax_job, _rattled(one.atoms, rattle), **relax_kwargs)
    for phase in phases:
        check(relax_job, phase, **_options(phase, relax_kwargs))
    reference, jobs = start(atoms, relax_job, relax_kwargs, cell=True)

    made = make_defects(reference, repeats, changes)
    whole = _whole(reference, repeats)
    futures = [submit(relax_job, phase, **_options(phase, relax_kwargs)) for phase in phases]
    futures.append(submit(relax_job, whole, **relax_kwargs))
    futures += [submit(relax_job, _rattled(one.atoms, rattle), **relax_kwargs) for one in made]
    names = [*map(formula_of, phases), "the perfect crystal", *(one.name for one in made)]
    results = [one for (one,) in gather([[one] for one in futures], names, "defects_flow")]
    references, (perfect, *defects) = results[: len(phases)], results[len(phases) :]
    conditions, above, warnings = _conditions(perfect, references)
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


def _phases(host: Atoms, phases: Sequence[Atoms], elements: Sequence[str]) -> list[Atoms]:
    """Return all phases but the crystal itself that the chemical potentials depend on."""
    for one in phases:
        formula = one.get_chemical_formula()
        if one.pbc.any() and not one.pbc.all():
            raise StructureError(
                f"The competing phase {formula} is neither a crystal nor a molecule: it has "
                f"pbc={one.pbc.tolist()}."
            )
        if len(one) == 1 and not one.pbc.any() and formula not in _NOBLE:
            raise StructureError(
                f"The competing phase {formula} is a free atom, which is no phase of the element. "
                f"Pass its molecule, such as {formula}2, or its crystal."
            )
        if foreign := sorted({*one.symbols}.difference(elements)):
            raise StructureError(
                f"The competing phase {formula} has {', '.join(foreign)}, which no defect has: it "
                "limits none of the chemical potentials. Leave it out, or add the element to "
                "substitutions or insertions."
            )
    return with_elements([host, *phases], elements, "A chemical potential", "competing phases")[1:]


def _options(phase: Atoms, relax_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    return {**relax_kwargs, "relax_cell": True} if phase.pbc.all() else dict(relax_kwargs)


def _whole(atoms: Atoms, repeats: Sequence[int]) -> Atoms:
    whole = atoms * tuple(repeats)
    whole.set_constraint()
    return whole


def _rattled(atoms: Atoms, deviation: float) -> Atoms:
    moved: Atoms = atoms.copy()
    if deviation:
        moved.rattle(deviation, seed=42)
    return moved


def make_defects(
    atoms: Atoms, repeats: Sequence[int], changes: Iterable[tuple[str | None, str | None]]
) -> list[Defect]:
    """Return all distinct defects of a crystal, in supercells that are alike.

    Parameters
    ----------
    atoms
        The crystal.
    repeats
        Three whole numbers.
    changes
        (added, removed): elements, of which one may be None.

    Raises
    ------
    StructureError
        The supercell is too small.
    MissingProgramError
    """
    from pymatgen.core.structure import Structure

    try:
        from pymatgen.analysis.defects.generators import VoronoiInterstitialGenerator
    except ImportError as error:
        raise MissingProgramError(
            f"Sites of point defects come from pymatgen-analysis-defects, which cannot be imported "
            f"({error}). Install it with `pip install quacc[defects]`."
        ) from error

    changes = list(changes)
    whole = _whole(atoms, repeats)
    image = float(np.linalg.norm(minkowski_reduce(whole.cell)[0], axis=1).min())
    # The generator loses atoms that rounding has put below the cell.
    places = np.round(atoms.get_scaled_positions(), 8) % 1
    crystal = Structure(atoms.cell.array, atoms.get_chemical_symbols(), places)
    kinds: dict[tuple[str, float], list[int]] = {}
    moments = np.linalg.norm(atoms.get_initial_magnetic_moments().reshape(len(atoms), -1), axis=1)
    for symbol, moment, index in zip(atoms.symbols, moments, range(len(atoms)), strict=True):
        kinds.setdefault((symbol, round(float(moment), 2)), []).append(index)
    lattice: list[tuple[Any, int, int | None]] = []
    for alike in kinds.values():
        for which, many in _distinct(crystal, places[alike]):
            lattice.append((places[alike[which]], many, alike[which]))
    holes: list[tuple[Any, int, int | None]] = []
    if any(removed is None for _, removed in changes):
        # Charges are not asked for, so none need be guessed, which takes long.
        sets = VoronoiInterstitialGenerator().generate(crystal.copy(), ["H"], oxi_state=0)
        vertices = [site.frac_coords for group in sets for site in group.equivalent_sites]
        holes = [(vertices[which], many, None) for which, many in _distinct(crystal, vertices)]

    found = []
    for added, removed in changes:
        group: list[tuple[float, int, list[float], Atoms]] = []
        for place, many, number in holes if removed is None else lattice:
            if number is not None and atoms.symbols[number] != removed:
                continue
            position = [round(float(part), 8) % 1 for part in place]
            one: Atoms = whole.copy()
            if number is None:
                one.append(Atom(added, np.array(position) @ atoms.cell))
                centre = one.positions[-1]
            else:
                centre = whole.positions[number]
                if added is None:
                    del one[number]
                else:
                    one.symbols[number] = added
                    if one.has("initial_magmoms"):  # which was the other element's
                        one.arrays["initial_magmoms"][number] = 0
            others = np.delete(whole.positions, [] if number is None else number, axis=0)
            near = image
            if len(others):
                near = float(get_distances(centre, others, cell=whole.cell, pbc=True)[1].min())
            if image < 1.999 * near:
                raise StructureError(
                    f"The supercell {'×'.join(map(str, repeats))} of {formula_of(atoms)} is too "
                    f"small: the nearest atom to a defect is {near:.2f} Å away, and its own "
                    f"periodic image {image:.2f} Å. Take a larger supercell or min_length."
                )
            group.append((near, many, position, one))
        # The largest hole first; else in an order that does not depend on rounding.
        group.sort(key=lambda row: (-round(row[0], 3), row[1], np.round(row[2], 3).tolist()))
        kind = _kind(added, removed, {*atoms.symbols})
        root = f"{added or 'v'}_{removed or 'i'}"
        for count, (near, many, position, one) in enumerate(group, start=1):
            name = f"{root}{count}" if len(group) > 1 else root
            found.append(Defect(name, kind, added, removed, position, many, near, one))
    return found


def _distinct(crystal: Any, places: Any) -> list[tuple[int, int]]:
    """Return the first of each set of places that symmetry makes equivalent, and their number.

    The generator's own sets are of structures that are alike within a few per cent: it takes the
    holes of a tetragonal crystal for those of a cubic one. The symmetry is the primitive cell's: a
    repeated cell lacks the rotations that turn it into another.
    """
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

    cell = crystal.get_primitive_structure(tolerance=0.01)
    operations = SpacegroupAnalyzer(cell, symprec=0.01).get_symmetry_operations()
    places = cell.lattice.get_fractional_coords(crystal.lattice.get_cartesian_coords(places))
    found = []
    left = np.arange(len(places))
    while len(left):
        images = [operation.operate(places[left[0]]) for operation in operations]
        far = cell.lattice.get_all_distances(images, places[left]).min(axis=0)
        found.append((int(left[0]), int((far < _SAME).sum())))
        left = left[far >= _SAME]
    return found


def _kind(added: str | None, removed: str | None, native: set[str]) -> str:
    if added is None:
        return "vacancy"
    if removed is None:
        return "interstitial"
    return "antisite" if added in native else "substitution"


def _conditions(
    perfect: Mapping[str, Any], references: Sequence[Mapping[str, Any]]
) -> tuple[list[dict[str, Any]], float, list[str]]:
    """Return the chemical potentials at all limits, the crystal's energy above hull, warnings."""
    from pymatgen.analysis.phase_diagram import PhaseDiagram

    results = [perfect, *references]
    entries = entries_of(results)
    diagram: Any = PhaseDiagram(entries)  # whose annotations leave open what is known here
    formulas = {
        entry.name: formula_of(result["atoms"])
        for entry, result in zip(entries, results, strict=True)
    }
    host = entries[0]
    decomposed, above = diagram.get_decomp_and_e_above_hull(host)
    warnings = []
    if above > _STABLE:
        names = sorted(formulas[entry.name] for entry in decomposed)
        if names == [formulas[host.name]]:
            products = "another structure of its composition"
        else:
            products = ", ".join(names)
        warnings.append(
            f"{formulas[host.name]} is not stable: it is {1e3 * above:.1f} meV per atom above "
            f"{products}, which the chemical potentials come from."
        )
    pure = {element: entry.energy_per_atom for element, entry in diagram.el_refs.items()}
    conditions: list[dict[str, Any]] = []
    for phases, potentials in diagram.get_all_chempots(host.composition).items():
        conditions.append(
            {
                "phases": sorted(
                    (formulas[name] for name in phases.split("-")),
                    key=lambda formula: (formula != formulas[host.name], formula),
                ),
                "chemical_potentials": {str(one): float(mu) for one, mu in potentials.items()},
                "relative": {str(one): float(mu - pure[one]) for one, mu in potentials.items()},
            }
        )
    native = sorted({*perfect["atoms"].symbols})
    conditions.sort(
        key=lambda one: ([-round(one["relative"][symbol], 6) for symbol in native], one["phases"])
    )
    return conditions, float(above), warnings


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
