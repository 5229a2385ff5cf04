"""Data that others have published: the collections of ASE, and the files of other benchmarks."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units

from quacc.bench.example import Example, made
from quacc.errors import InputError

Loaded = tuple[bytes, list[Example]]
"""What the hash is of, and the structures."""


def collection(name: str) -> tuple[bytes, Any]:
    """Return a collection of ASE and the content of its file."""
    import ase.collections

    content = Path(ase.collections.__file__).with_name(f"{name}.json").read_bytes()
    return content, getattr(ase.collections, name)


def dcdft() -> Loaded:
    content, every = collection("dcdft")
    examples = []
    for name in every.names:
        atoms, found = every[name], every.data[name]
        reference = {
            "volume": found["wien2k_volume"],
            "bulk_modulus": found["wien2k_B"],
            "bulk_modulus_derivative": found["wien2k_Bp"],
        }
        examples.append(Example(name, atoms, reference))
    return content, examples


def g2() -> Loaded:
    """The molecules of G2/97 with their atoms, and energies of atomization (eV)."""
    from ase.data.g2 import molecule_names

    _, every = collection("g2")
    examples = []
    for name in molecule_names:
        atoms = every[name]
        others = {symbol: every[symbol] for symbol in dict.fromkeys(atoms.symbols)}
        examples.append(Example(name, atoms, {"energy": _atomization(name, atoms)}, others))
    return made(examples)


def _atomization(name: str, atoms: Atoms) -> float:
    """Return the energy of atomization without vibrations (eV).

    From the measured enthalpies of formation, of atoms at 0 K and of the molecule at 298 K, and the
    energy of its vibrations at the zero point and what it takes up to 298 K, which are B3LYP's.
    (ASE has a function for this, which knows 55 of the 148.)
    """
    import ase.data.g2

    data: dict[str, Any] = ase.data.g2.data
    molecule = data[name]
    energy = molecule["ZPE"] + molecule["thermal correction"] - molecule["enthalpy"]
    for symbol in atoms.symbols:
        energy += data[symbol]["enthalpy"] - data[symbol]["thermal correction"]
    return float(energy * units.kcal / units.mol)


def g2_geometries() -> Loaded:
    content, every = collection("g2")
    molecules = [name for name in every.names if len(every[name]) > 1]
    return content, [Example(name, every[name]) for name in molecules]


def s22() -> Loaded:
    """Two molecules each, and CCSD(T)'s energy of their interaction (eV)."""
    content, every = collection("s22")
    return content, [
        Example(
            name,
            every[name],
            {"energy": every.data[name]["cc_energy"]},
            {f"molecule {number}": one for number, one in enumerate(molecules(every[name]), 1)},
        )
        for name in every.names
    ]


def molecules(atoms: Atoms) -> list[Atoms]:
    """Return the molecules that atoms make.

    Atoms are bonded up to 1.2 times the sum of their covalent radii; hydrogen bonds are longer.
    """
    from ase.neighborlist import natural_cutoffs, neighbor_list
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    first, second = neighbor_list("ij", atoms, natural_cutoffs(atoms, 1.2))
    bonds = coo_array((np.ones(len(first)), (first, second)), shape=(len(atoms), len(atoms)))
    count, which = connected_components(bonds)
    return [atoms[which == number] for number in range(count)]


def lattice() -> Loaded:
    """Elements that are fcc, bcc, hcp or diamond at ambient conditions, and their lattices (Å)."""
    from ase.build import bulk
    from ase.data import chemical_symbols, reference_states

    examples = []
    states: list[Any] = reference_states
    for symbol, state in zip(chemical_symbols, states, strict=False):
        if not state or state["symmetry"] not in (*_CUBIC, "hcp") or "basis" in state:
            continue
        reference = {"a": state["a"]}
        if state["symmetry"] == "hcp":
            reference["c"] = state["a"] * state["c/a"]
        atoms = bulk(symbol, cubic=state["symmetry"] in _CUBIC)
        examples.append(Example(symbol, atoms, reference))
    return made(examples)


_CUBIC = ("fcc", "bcc", "diamond")


def points(content: bytes) -> list[Example]:
    """Read what ``benchmarks/points.py`` writes."""

    def example(row: Mapping[str, Any]) -> Example:
        atoms, other = (Atoms(**row[one], pbc=True) for one in ("structure", "relative_to"))
        quantity, value = str(row["quantity"]), float(row["value"])
        return Example(str(row["name"]), atoms, {quantity: value}, {quantity: other})

    return _rows("those of benchmarks/points.py", lambda: json.loads(content)["points"], example)


def matcalc_elastic(content: bytes) -> list[Example]:
    """Read matcalc's ``mp-binary-pbe-elasticity-2025.1.json.gz`` and its like."""
    names = {"bulk_modulus": "bulk_modulus_vrh", "shear_modulus": "shear_modulus_vrh"}
    return _matcalc(content, "mp_id", names)


def matcalc_phonon(content: bytes) -> list[Example]:
    """Read matcalc's ``alexandria-binary-pbe-phonon-2025.1.json.gz`` and its like."""
    return _matcalc(content, "mp_id", {"heat_capacity": "heat_capacity"})


def matcalc_equilibrium(content: bytes) -> list[Example]:
    """Read matcalc's ``wbm-random-pbe52-equilibrium-2025.1.json.gz`` and its like.

    The crystals of elements that formation energies are relative to, which the file lacks, are
    those of the Δ test.
    """
    _, crystals = collection("dcdft")
    names = {"formation_energy": "formation_energy_per_atom"}
    return [
        Example(
            one.name,
            one.atoms,
            one.reference,
            {each: crystals[each] for each in sorted({*one.atoms.symbols}) if crystals.has(each)},
        )
        for one in _matcalc(content, "material_id", names)
    ]


def _matcalc(content: bytes, name: str, values: Mapping[str, str]) -> list[Example]:
    def example(row: Mapping[str, Any]) -> Example:
        from pymatgen.core.structure import Structure

        crystal = Structure.from_dict(row["structure"])
        atoms = Atoms(
            [one.specie.symbol for one in crystal],
            crystal.cart_coords,
            cell=crystal.lattice.matrix,
            pbc=True,
        )
        return Example(
            str(row[name]), atoms, {ours: float(row[theirs]) for ours, theirs in values.items()}
        )

    def rows() -> list[Any]:
        packed = content.startswith(b"\x1f\x8b")
        found = json.loads(gzip.decompress(content) if packed else content)
        if not isinstance(found, list):
            raise TypeError(f"a list is expected, not {type(found).__name__}")
        return found

    return _rows("one of matcalc's", rows, example)


def vacancies_fcc(content: bytes) -> list[Example]:
    """Read mlip-arena's ``Table-A1-fcc.csv``: of vacancies, the formation energy and the barrier.

    Of an element that is in it with magnetic moments, too (``Ni_mag``), that row is taken.
    """
    from ase.build import bulk

    return _vacancies(
        content,
        lambda symbol, volume: bulk(symbol, "fcc", a=(4 * volume) ** (1 / 3)),
        {"formation_energy": "e_vacform", "barrier": "e_vacmig"},
    )


def vacancies_hcp(content: bytes) -> list[Example]:
    """Read mlip-arena's ``Table-A2-hcp.csv``: of vacancies, the formation energy.

    Barriers are not taken: it has those of two hops, and does not say which is which.
    """
    from ase.build import bulk

    def crystal(symbol: str, volume: float) -> Atoms:
        a = (np.sqrt(2) * volume) ** (1 / 3)
        return bulk(symbol, "hcp", a=a, c=a * np.sqrt(8 / 3))

    return _vacancies(content, crystal, {"formation_energy": "e_vacform"})


def _vacancies(
    content: bytes, crystal: Callable[[str, float], Atoms], values: Mapping[str, str]
) -> list[Example]:
    from quacc.atoms.magnetic import default_moments

    def example(row: Mapping[str, str]) -> Example:
        symbol, _, magnetic = row["symbol"].partition("_")
        atoms = crystal(symbol, float(row["volume_per_atom"]))
        if magnetic:
            atoms.set_initial_magnetic_moments([default_moments([symbol])[symbol]] * len(atoms))
        reference = {ours: float(row[theirs]) for ours, theirs in values.items() if row[theirs]}
        return Example(symbol, atoms, reference)

    def rows() -> list[dict[str, str]]:
        found = list(csv.DictReader(io.StringIO(content.decode("utf-8"))))
        names = {one["symbol"] for one in found}
        return [one for one in found if f"{one['symbol']}_mag" not in names]

    every = _rows("a table of vacancies", rows, example)
    return [one for one in every if one.reference]


def _rows(
    what: str, rows: Callable[[], list[Any]], example: Callable[[Any], Example]
) -> list[Example]:
    """Return an example of each row.

    Raises
    ------
    InputError
        The data have another format.
    """
    found: list[Example] = []
    try:
        for row in rows():
            found.append(example(row))
        return found
    except (ValueError, KeyError, TypeError, AttributeError, OSError, EOFError) as error:
        raise InputError(
            f"The data are not {what}, as of row {len(found) + 1}: {type(error).__name__}: {error}."
        ) from None
