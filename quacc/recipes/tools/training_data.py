"""Stored results as training data: what a potential cannot learn from is refused by name."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import NDArray

from quacc.atoms.check import check_structure
from quacc.calculators import code_names, get_code
from quacc.errors import InputError, ParameterError, StructureError, suggest
from quacc.extras import charge_of
from quacc.key import digest
from quacc.recipes.tools.workflow import reference_of
from quacc.schemas import Result
from quacc.store import Store
from quacc.store.seal import is_computed

STRAIN, SHIFT = 0.01, 0.05
"""Structures of the same atoms whose cells differ by less than this strain, and whose atoms by less
than this distance (Å, root mean square), are near-duplicates."""

_SAME = 1e-3
"""Energies of one structure that differ by more (eV per atom) are of different calculations."""

_SMEARED = 1e-4
"""Free energies that differ from energies by more (eV per atom) are other targets."""

_MOMENT = 0.1
"""Magnetic moments below this (µB) are none."""

_FILTERS = ("formula", "recipe", "calculator", "since", "until", "limit")


@dataclass(frozen=True)
class Frame:
    """One structure and what was computed for it."""

    atoms: Atoms
    """Elements, positions, cell and periodicity alone."""
    energy: float
    """eV."""
    forces: NDArray[Any]
    """(atoms, 3), all of them, constrained atoms' too (eV/Å)."""
    stress: NDArray[Any] | None
    """(6,), eV/Å³; None where it was not computed or the structure is no crystal."""
    key: str
    """Of the result."""
    structure: str
    """Key of the structure."""
    labels: frozenset[str]
    """Frames that share one belong to a family."""

    @property
    def hash(self) -> str:
        """The SHA-256 of the structure and its numbers."""
        stress = b"" if self.stress is None else np.asarray(self.stress, "<f8").tobytes()
        numbers = np.asarray([self.energy, *self.forces.ravel()], "<f8").tobytes()
        return hashlib.sha256(self.structure.encode() + numbers + stress).hexdigest()


@dataclass(frozen=True)
class TrainingData:
    """All frames, in an order that does not depend on that of the results."""

    frames: list[Frame]
    calculators: list[dict[str, Any]]
    settings: dict[str, Any]
    """What decides the energies, by name: calculator, functional and the like."""
    target: str
    """``energy``, or ``free_energy`` where occupations are smeared."""
    warnings: list[str] = field(default_factory=list)

    @property
    def symbols(self) -> list[str]:
        return sorted({symbol for frame in self.frames for symbol in frame.atoms.symbols})

    @property
    def hash(self) -> str:
        """The SHA-256 of all structures and numbers."""
        return digest([self.target, *(frame.hash for frame in self.frames)])


def collect(data: Any) -> TrainingData:
    """Return the frames of results.

    Parameters
    ----------
    data
        Results or their keys, a workflow's result, or a query such as ``{"formula": "Cu",
        "calculator": "emt"}``.

    Raises
    ------
    InputError
        What one potential cannot learn.
    """
    results, chosen = _results(data)
    warnings: list[str] = []
    usable = []
    for result in results:
        if reason := _unusable(result):
            if not chosen:
                raise StructureError(f"{_named(result)} cannot be trained on: {reason}.")
            warnings.append(f"{_named(result)} was left out: {reason}.")
        else:
            usable.append(result)
    if not usable:
        raise InputError(" ".join(["No result can be trained on.", *warnings]))
    warnings += _require_same_settings(usable)
    warnings += _require_one_magnetism(usable)
    target, notes = _target(usable)
    frames, more = _frames(usable, target)
    kinds = sorted({sum(frame.atoms.pbc.tolist()) for frame in frames})
    if len(kinds) > 1:
        warnings.append(
            f"The data are periodic in {' and '.join(map(str, kinds))} directions: what is far "
            "beyond the cutoff, such as the field of a dipole, is in the energies of some alone."
        )
    first = usable[0]["calculator"]
    for one in usable:
        if one["calculator"]["version"] != first["version"]:
            warnings.append(
                f"The data are of {first['version']} and {one['calculator']['version']}: see that "
                "both give the same energies."
            )
            break
    calculators = {one["calculator"]["fingerprint"]: one["calculator"] for one in usable}
    settings = {name: value for name, value in reference_of(usable[0]).items() if value is not None}
    return TrainingData(
        frames,
        [dict(calculators[name]) for name in sorted(calculators)],
        settings,
        target,
        [*dict.fromkeys([*warnings, *notes, *more])],
    )


def _named(result: Mapping[str, Any]) -> str:
    return f"The result {str(result.get('key'))[:10]} ({result.get('name')} of {result['formula']})"


def _results(data: Any) -> tuple[list[Any], bool]:
    """Return whole results of jobs, and whether a query has chosen them."""
    if isinstance(data, Mapping) and "jobs" in data and "key" in data:
        data = list(data["jobs"])
    elif isinstance(data, Mapping) and Result.__required_keys__ <= data.keys():
        data = [data]
    if isinstance(data, Mapping):
        for name in data:
            if name not in _FILTERS:
                raise ParameterError(
                    f"Results are not chosen by {name!r}.{suggest(str(name), _FILTERS)} A query "
                    f"may have {', '.join(_FILTERS)}."
                )
        store = Store()
        keys = [row.key for row in store.select(**data)]
        found = [one for one in store.find(keys).values() if Result.__required_keys__ <= one.keys()]
        if not found:
            raise InputError(
                f"No results of jobs in {store} match {dict(data)}. `quacc results ls` shows what "
                "is there."
            )
        return found, True
    if isinstance(data, str) or not isinstance(data, Iterable):
        raise ParameterError(
            "Data are results or their keys in a list, or a query such as {'formula': 'Cu', "
            f"'calculator': 'emt'}}, not {data!r}."
        )
    given = list(data)
    if any(isinstance(one, str) for one in given):
        store = Store()
        given = [store.get(one) if isinstance(one, str) else one for one in given]
    for one in given:
        if not isinstance(one, Mapping) or not Result.__required_keys__ <= one.keys():
            raise ParameterError(
                "Data must be whole results of jobs, as the job returned them or the store gives "
                f"them, not {str(one)[:80]!r}."
            )
    return given, False


def _unusable(result: Mapping[str, Any]) -> str | None:
    """Return why no potential can be fitted to a result; None if one can."""
    numbers, atoms = result["results"], result["atoms"]
    check_structure(atoms)
    if not is_computed(result):
        return "its numbers are not those that were computed"
    if numbers.get("energy") is None:
        return "it has no energy"
    if numbers.get("forces") is None:
        return "it has no forces"
    name = result["calculator"]["name"]
    code = get_code(name) if name in code_names() else None
    if code is not None and code.energy_is_enthalpy:
        return f"{code.title}'s energy is an enthalpy at 298.15 K, and no potential energy"
    charge = charge_of(result["input_atoms"])
    if code is not None and code.electrons:
        charge = code.charge(result["input_atoms"], {**code.defaults, **result["parameters"]})
    if charge:
        return f"it has the charge {charge:+d}, of which the potential knows nothing"
    return None


def _require_same_settings(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Refuse results of which the energies have different zeros; return warnings."""
    first, reference = results[0], reference_of(results[0])
    for one in results[1:]:
        if differ := _differing(reference, first, reference_of(one), one):
            raise ParameterError(
                f"The energies of {_named(first)} and {_named(one)} cannot be in one fit: they "
                f"differ in {differ}. Choose results of one calculator and the same keywords, by "
                "their keys or a narrower query."
            )
    spacings = {one["parameters"].get("kspacing") for one in results} - {None}
    if len(spacings) > 1:
        raise ParameterError(
            "The results have different k-points, kspacing: "
            f"{', '.join(map(str, sorted(spacings)))}. Choose those of one."
        )
    meshes = {str(one["parameters"].get("kpts")) for one in results}
    if len(meshes) > 1:
        return [
            f"The results have different k-points, kpts: {', '.join(sorted(meshes))}. See that "
            "they are equally dense in all cells, as with kspacing."
        ]
    return []


def _differing(first: Any, one: Mapping[str, Any], second: Any, other: Mapping[str, Any]) -> str:
    """Return what makes energies incomparable, but for what belongs to elements of one alone."""
    if digest(first) == digest(second):
        return ""
    elements = [{*one["atoms"].symbols}, {*other["atoms"].symbols}]
    common = elements[0] & elements[1]
    found = []
    for name in dict.fromkeys([*first, *second]):
        a, b = first.get(name), second.get(name)
        if name == "files" and elements[0] != elements[1]:
            each = all(len(x) == len(e) for x, e in zip((a, b), elements, strict=True))
            if each and len({*a} & {*b}) == len(common):
                continue
        elif isinstance(a, Mapping) and isinstance(b, Mapping):
            a, b = ({k: v for k, v in x.items() if _counts(k, common)} for x in (a, b))
        if digest(a) != digest(b):
            found.append(f"{name}: {a!r} and {b!r}")
    return "; ".join(found)


def _counts(name: Any, common: set[str]) -> bool:
    """Return whether an entry is of an element that both structures have, or of none."""
    symbol = re.match(r"[A-Z][a-z]?", str(name))
    return symbol is None or symbol[0] not in chemical_symbols or symbol[0] in common


def _require_one_magnetism(results: Sequence[Mapping[str, Any]]) -> list[str]:
    kinds: dict[str, Any] = {}
    for one in results:
        moments = np.ravel(one["results"].get("magmoms", np.zeros(1)))
        large = moments[abs(moments) > _MOMENT]
        kind = "magnetic with moments in one direction"
        if not len(large):
            kind = "not magnetic"
        elif len({*np.sign(large)}) > 1:
            kind = "magnetic with moments in both directions"
        kinds.setdefault(kind, one)
    if len(kinds) > 1:
        which = "; ".join(f"{_named(one)} is {kind}" for kind, one in kinds.items())
        raise StructureError(
            f"The data are of several magnetic states, which the potential cannot tell apart: "
            f"{which}. Choose results of one."
        )
    if [*kinds] != ["not magnetic"]:
        return [
            f"The data are {next(iter(kinds))}, of which the potential knows nothing: it holds for "
            "this magnetic state alone."
        ]
    return []


def _target(results: Sequence[Mapping[str, Any]]) -> tuple[str, list[str]]:
    """Return which energy the forces are derivatives of."""
    numbers = [(one["results"], len(one["atoms"])) for one in results]
    largest = max(
        abs(one["free_energy"] - one["energy"]) / natoms
        if one.get("free_energy") is not None
        else 0
        for one, natoms in numbers
    )
    if largest < _SMEARED:
        return "energy", []
    without = [one for one in results if one["results"].get("free_energy") is None]
    if without:
        raise ParameterError(
            f"Free energies differ from energies by up to {1e3 * largest:.1f} meV per atom, since "
            f"occupations are smeared, but {_named(without[0])} has none."
        )
    return "free_energy", [
        "Occupations are smeared: the target is the free energy, whose derivatives the forces are; "
        f"it differs from the energy by up to {1e3 * largest:.1f} meV per atom."
    ]


def _frames(results: Sequence[Mapping[str, Any]], target: str) -> tuple[list[Frame], list[str]]:
    found: list[Frame] = []
    warnings = []
    for result in results:
        labels = {f"result {result['key']}", _structure(result["input_atoms"])[1]}
        if (family := result["input_atoms"].info.get("family")) is not None:
            labels.add(f"family {family}")
        atoms, structure = _structure(result["atoms"])
        labels.add(structure)
        stress = result["results"].get("stress") if atoms.pbc.all() else None
        numbers = result["results"]
        key = result["key"]
        found.append(
            Frame(
                atoms,
                float(numbers[target]),
                np.array(numbers["forces"], float),
                None if stress is None else np.array(stress, float),
                key,
                structure,
                frozenset(labels),
            )
        )
        path = result.get("trajectory") or []
        if path and target == "free_energy":
            warnings.append("Steps of trajectories were left out: they keep no free energies.")
            continue
        if path and "forces" not in path[0].arrays:
            warnings.append("Steps of molecular dynamics were left out: they keep no forces.")
            continue
        for step in path:
            atoms, structure = _structure(step)
            forces = np.array(step.arrays["forces"], float)
            energy = float(step.info["energy"])
            found.append(Frame(atoms, energy, forces, None, key, structure, frozenset(labels)))
    for frame in found:
        if not (np.isfinite(frame.energy) and np.isfinite(frame.forces).all()):
            raise StructureError(f"The result {frame.key[:10]} has numbers that are not finite.")
    return _merged(found), warnings


def _structure(atoms: Atoms) -> tuple[Atoms, str]:
    bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    return bare, digest(bare)


def _merged(frames: Iterable[Frame]) -> list[Frame]:
    """Return one frame of each structure; all labels stay, so that families do."""
    groups: dict[str, list[Frame]] = defaultdict(list)
    for frame in frames:
        groups[frame.structure].append(frame)
    merged = []
    for group in groups.values():
        group.sort(key=lambda one: (one.stress is None, one.hash, one.key))
        first = group[0]
        for other in group[1:]:
            if abs(other.energy - first.energy) > _SAME * len(first.atoms):
                raise StructureError(
                    f"The results {first.key[:10]} and {other.key[:10]} are of one structure, "
                    f"{first.atoms.get_chemical_formula()}, but have the energies "
                    f"{first.energy:.6f} and {other.energy:.6f} eV: they are of different "
                    "settings or states, which the potential cannot tell apart."
                )
        labels = frozenset().union(*(one.labels for one in group))
        merged.append(replace(first, labels=labels))
    return sorted(merged, key=lambda one: one.hash)


def families(frames: Sequence[Frame]) -> list[int]:
    """Return the number of each frame's family.

    Frames of one result are of one family; so are those of results of which one started from the
    structure of the other, those whose ``atoms.info["family"]`` is the same, and near-duplicates.
    """
    parent = list(range(len(frames)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = index = parent[parent[index]]
        return index

    def join(one: int, other: int) -> None:
        first, second = sorted((root(one), root(other)))
        parent[second] = first

    owners: dict[str, int] = {}
    alike: dict[bytes, list[int]] = defaultdict(list)
    for index, frame in enumerate(frames):
        for label in frame.labels:
            join(owners.setdefault(label, index), index)
        alike[frame.atoms.numbers.tobytes() + frame.atoms.pbc.tobytes()].append(index)
    for group in alike.values():
        for one, other in combinations(group, 2):
            if root(one) != root(other) and _near(frames[one].atoms, frames[other].atoms):
                join(one, other)
    roots = [root(index) for index in range(len(frames))]
    numbers = {found: number for number, found in enumerate(dict.fromkeys(roots))}
    return [numbers[found] for found in roots]


def _near(one: Atoms, other: Atoms) -> bool:
    periodic = one.pbc
    cells = [atoms.cell.complete().array for atoms in (one, other)]
    if periodic.all():
        strain = np.linalg.solve(cells[0], cells[1]) - np.eye(3)
        if abs(strain).max() >= STRAIN:
            return False
        moved = other.cell.scaled_positions(other.positions)
        moved = moved - one.cell.scaled_positions(one.positions)
        moved -= np.rint(moved)
        moved = moved @ cells[0]
    else:
        moved = other.positions - one.positions
    moved = moved - moved.mean(axis=0)
    return float(np.sqrt(np.mean(np.sum(moved**2, axis=1)))) < SHIFT


def split(groups: Sequence[int], seed: int, validation: float, test: float) -> dict[str, list[int]]:
    """Return the numbers of the frames for training, validation and test, by whole families.

    Parameters
    ----------
    groups
        The family of each frame.
    validation, test
        Parts of the frames; one family at least.

    Raises
    ------
    StructureError
        There are too few families.
    """
    members: dict[int, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        members[group].append(index)
    if len(members) < 3:
        raise StructureError(
            f"The {len(groups)} structures are of {len(members)} "
            f"{'family' if len(members) == 1 else 'families'}: those of one trajectory or parent, "
            "and near-duplicates. Training, validation and test need one each at least, or the "
            "errors would be those of structures that were trained on. Add results of other "
            "structures, or pass split_by='structure'."
        )
    order = [int(one) for one in np.random.default_rng(seed).permutation(list(members))]
    found: dict[str, list[int]] = {}
    for name, part in (("test", test), ("validation", validation)):
        wanted = max(1, round(part * len(groups)))
        taken: list[int] = []
        for group in list(order):
            if len(taken) + len(members[group]) <= wanted:
                taken += members[group]
                order.remove(group)
        if not taken:  # all are larger
            smallest = min(order, key=lambda one: len(members[one]))
            taken += members[smallest]
            order.remove(smallest)
        found[name] = sorted(taken)
    found["train"] = sorted(index for group in order for index in members[group])
    return {name: found[name] for name in ("train", "validation", "test")}
