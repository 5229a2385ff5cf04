"""What a structure says beside its elements and where they are: occupancy, charge, spin, masses."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms

from quacc.errors import StructureError

_NEAR = 0.05
"""Charges, and unpaired electrons, this near to a whole number are one: partial charges of a file
add up to 0.9999."""

_ARRAYS = ("masses", "initial_charges", "initial_magmoms", "momenta")
_OCCUPANCIES = frozenset(
    ["occupancy", "occupancies", "occupation", "occupations", "occ", "site_occupancy"]
)
_CHARGES = frozenset(["charge", "total_charge", "net_charge"])
_MULTIPLICITIES = frozenset(["multiplicity", "spin_multiplicity"])
_UNPAIRED = frozenset(["uhf", "unpaired", "unpaired_electrons"])
_AMBIGUOUS = frozenset(["spin", "total_spin"])


def check_extras(atoms: Atoms) -> None:
    """Raise a :class:`StructureError` for what no calculation can honour.

    Masses that are not positive; masses, charges, moments and momenta that are not finite.
    """
    for name in _ARRAYS:
        array = atoms.arrays.get(name)
        if array is None:
            continue
        fine = np.isfinite(array)
        if name == "masses":
            fine &= array > 0
        if not fine.all():
            number = int(np.flatnonzero(~fine.reshape(len(atoms), -1).all(axis=1))[0])
            must = "finite and above zero" if name == "masses" else "finite"
            raise StructureError(
                f"The {name.replace('_', ' ')} of atom {number} ({atoms.symbols[number]}) must be "
                f"{must}, not {array[number].tolist()}."
            )


def _check_occupancy(name: str, given: Any) -> None:
    sites = given.values() if isinstance(given, dict) else [given]
    parts: list[Any] = []
    for site in sites:
        mixed = isinstance(site, dict)
        if mixed and len(site) > 1:
            parts = [" and ".join(f"{part} {element}" for element, part in site.items())]
            break
        parts += [*site.values()] if mixed else np.ravel(np.asarray(site)).tolist()
    bad = [part for part in parts if not (_is_number(part) and abs(part - 1) < 1e-3)]
    if bad:
        raise StructureError(
            f"A site of the structure is not fully occupied by one element ({name}: {bad[0]}). No "
            "calculator has partial atoms: build an ordered supercell, as order_flow (`quacc run "
            "order FILE.cif`) does, which compares several. If the structure is ordered, "
            f"delete {name!r} from atoms.info or atoms.arrays."
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def honour_info(atoms: Atoms) -> None:
    """Turn a charge or multiplicity in ``atoms.info`` into initial charges or magnetic moments.

    Evenly over all atoms: the sum counts. Charges and moments that are there must agree; sites that
    are not occupied by one atom each are refused.

    Raises
    ------
    StructureError
        They do not, or what ``info`` says has several meanings.
    """
    for name in atoms.arrays:
        if name.lower() in _OCCUPANCIES:
            _check_occupancy(name, atoms.arrays[name])
    for name in [one for one in atoms.info if isinstance(one, str)]:
        word = name.lower()
        if word in _OCCUPANCIES:
            _check_occupancy(name, atoms.info[name])
        elif word in _CHARGES:
            _spread(atoms, name, "initial_charges", _number(atoms, name))
        elif word in _MULTIPLICITIES:
            multiplicity = _number(atoms, name)
            if multiplicity < 1:
                raise _unreadable(atoms, name, "a multiplicity is at least 1")
            _spread(atoms, name, "initial_magmoms", multiplicity - 1)
        elif word in _UNPAIRED:
            _spread(atoms, name, "initial_magmoms", _number(atoms, name))
        elif word in _AMBIGUOUS:
            if _number(atoms, name) == 0:
                _spread(atoms, name, "initial_magmoms", 0)
            else:
                raise _unreadable(
                    atoms,
                    name,
                    "some programs mean S, others 2S or 2S + 1; say it in "
                    "info['multiplicity'] or as initial magnetic moments",
                )


def _number(atoms: Atoms, name: str) -> float:
    value = atoms.info[name]
    try:
        number = float(value)  # also of a text, as some formats leave it
    except (TypeError, ValueError):
        raise _unreadable(atoms, name, "it is no number") from None
    if isinstance(value, bool) or not abs(number - np.rint(number)) <= _NEAR:
        raise _unreadable(atoms, name, "it is no whole number")
    return number


def _unreadable(atoms: Atoms, name: str, why: str) -> StructureError:
    return StructureError(
        f"The structure says info[{name!r}] = {atoms.info[name]!r}, but {why}. Then delete "
        f"atoms.info[{name!r}]."
    )


def _spread(atoms: Atoms, name: str, array: str, total: float) -> None:
    known = atoms.arrays.get(array)
    if known is not None and (known.any() or total == 0):
        if known.ndim > 1 or abs(float(known.sum()) - total) > _NEAR:
            what = array.replace("_", " ").replace("magmoms", "magnetic moments")
            raise StructureError(
                f"The structure contradicts itself: info[{name!r}] = {atoms.info[name]!r}, but its "
                f"{what} add up to {known.sum(axis=0).tolist()}. Correct one of them."
            )
    elif total:
        atoms.set_array(array, np.full(len(atoms), total / len(atoms)), float)
    del atoms.info[name]


def charge_of(atoms: Atoms) -> int:
    """Return the total charge, the whole number that the initial charges add up to.

    Raises
    ------
    StructureError
        They add up to none.
    """
    charges = atoms.arrays.get("initial_charges")
    if charges is None:
        return 0
    total = float(charges.sum())
    if not abs(total - np.rint(total)) <= _NEAR:
        raise StructureError(
            f"The initial charges add up to {total:.4g}, which is no whole number of electrons. "
            "Correct them, or remove them with atoms.set_initial_charges()."
        )
    return round(total)


def unpaired_of(atoms: Atoms) -> int | None:
    """Return how many unpaired electrons the initial magnetic moments say; None without any.

    Raises
    ------
    StructureError
        They are vectors.
    """
    moments = atoms.arrays.get("initial_magmoms")
    if moments is None or not moments.any():
        return None
    check_collinear(atoms)
    return round(abs(float(moments.sum())))


def check_collinear(atoms: Atoms) -> None:
    """Raise a StructureError for magnetic moments that are vectors."""
    moments = atoms.arrays.get("initial_magmoms")
    if moments is not None and moments.ndim > 1 and moments.any():
        raise StructureError(
            "The initial magnetic moments are vectors, but quacc's calculators know collinear ones "
            "only: give each atom one number."
        )


def check_spin(electrons: int, unpaired: int, formula: str) -> None:
    """Raise a StructureError for a spin that a number of electrons cannot have."""
    if unpaired > electrons or (electrons - unpaired) % 2:
        first = electrons % 2
        possible = [f"{one / 2:g}" for one in range(first, min(electrons, first + 6) + 1, 2)]
        raise StructureError(
            f"{formula} has {electrons} electrons, so that its spin S is one of "
            f"{', '.join(possible)}{', …' if electrons > first + 6 else ''}, and cannot be "
            f"{unpaired / 2:g} (multiplicity {unpaired + 1}). Correct the initial magnetic "
            "moments, the charge, or the multiplicity."
        )


def check_alike(first: Atoms, second: Atoms) -> None:
    """Raise a StructureError where the two ends of a path differ in more than positions."""
    pairs = {
        "initial charges": (first.get_initial_charges(), second.get_initial_charges()),
        "initial magnetic moments": (
            first.get_initial_magnetic_moments(),
            second.get_initial_magnetic_moments(),
        ),
        "masses": (first.get_masses(), second.get_masses()),
    }
    for name, (ours, theirs) in pairs.items():
        if ours.shape != theirs.shape or not np.allclose(ours, theirs, atol=1e-6):
            raise StructureError(
                f"The {name} of the two structures differ, and a path has but one set of them. "
                "Give both the same."
            )
    if _held(first) != _held(second):
        raise StructureError(
            "The constraints of the two structures differ, and a path has but one set of them. "
            "Give both the same."
        )


def _held(atoms: Atoms) -> list[str]:
    # ASE's dictionaries leave out the classes and the lengths.
    return sorted(
        repr((type(one), one.todict(), np.asarray(getattr(one, "bondlengths", None)).tolist()))
        for one in atoms.constraints
    )


def check_neutral(atoms: Atoms, what: str) -> None:
    """Raise a StructureError for a charge where cells of another size are made of a structure."""
    if charge := charge_of(atoms):
        raise StructureError(
            f"The cell has the charge {charge:+d}, but {what} takes other cells, whose charge that "
            "does not say. Remove it with atoms.set_initial_charges()."
        )


def check_free(atoms: Atoms, what: str, *, symmetry: bool = True) -> None:
    """Raise a StructureError for constraints where atoms must be free to move.

    ``symmetry`` allows for ASE's ``FixSymmetry``, which holds no atom.
    """
    held = sorted({type(one).__name__ for one in atoms.constraints})
    if symmetry and "FixSymmetry" in held:
        held.remove("FixSymmetry")
    if held:
        raise StructureError(
            f"The structure has constraints ({', '.join(held)}), which would hold its atoms where "
            f"{what} needs them to move. Remove its constraints: atoms.set_constraint()."
        )


_CARRIED = ("initial_magmoms", "masses")


def of_elements(atoms: Atoms) -> dict[str, dict[str, float]]:
    """Return the magnetic moment and the mass of each element, where a structure names them.

    Raises
    ------
    StructureError
        They differ between atoms of one element, or are vectors: what is made from the conventional
        cell could not know which atom has which.
    """
    found: dict[str, dict[str, float]] = {}
    for name in _CARRIED:
        array = atoms.arrays.get(name)
        if array is None or not array.any():
            continue
        known = found.setdefault(name, {})
        for symbol, value in zip(atoms.symbols, array, strict=True):
            if value.ndim or known.setdefault(symbol, float(value)) != value:
                what = "masses" if name == "masses" else "initial magnetic moments"
                raise StructureError(
                    f"The {what} of {symbol} differ between atoms, and quacc cannot carry such an "
                    "order over to a cell of another shape. Give each element one."
                )
    return found


def give_elements(atoms: Atoms, values: dict[str, dict[str, float]]) -> None:
    """Give each atom what :func:`of_elements` found for its element."""
    for name, known in values.items():
        atoms.set_array(name, np.array([known[symbol] for symbol in atoms.symbols]), float)
