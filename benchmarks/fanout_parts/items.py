"""The structures that all contestants compute, and plain ASE's way to compute them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.optimize import BFGS

METALS = ("Al", "Cu", "Ag", "Au", "Ni", "Pd", "Pt")
SIZES = ((1, 1, 1), (2, 1, 1), (2, 2, 1), (2, 2, 2))
"""4, 8, 16 and 32 atoms."""

FMAX, STEPS = 0.01, 1000
"""Of all relaxations: eV/Å, and the most steps."""


def items(job: str, count: int) -> Iterator[Atoms]:
    """Yield rattled fcc metals and binary alloys; the first ones of a long list are a short one.

    Parameters
    ----------
    job
        ``relax``: 4, 8, 16 and 32 atoms by turns; ``static``: 16; ``tiny``: 4.
    """
    lengths = {metal: bulk(metal, cubic=True).cell.lengths()[0] for metal in METALS}
    for number in range(count):
        random = np.random.default_rng(number)
        one, other = METALS[number % 7], METALS[number // 7 % 7]
        repeat = {"relax": SIZES[number % 4], "static": SIZES[2], "tiny": SIZES[0]}[job]
        atoms = bulk(one, cubic=True, a=(lengths[one] + lengths[other]) / 2) * repeat
        atoms.symbols[random.permutation(len(atoms))[: len(atoms) // 2]] = other
        atoms.rattle(0.1, rng=random)
        yield atoms


def ase_relax(atoms: Atoms) -> dict[str, Any]:
    """Relax the positions as quacc's ``relax_job`` does with ``optimizer="BFGS"``."""
    atoms = atoms.copy()
    atoms.calc = EMT()
    BFGS(atoms, logfile=None).run(fmax=FMAX, steps=STEPS)
    return _result(atoms)


def ase_static(atoms: Atoms) -> dict[str, Any]:
    """Compute what quacc's ``static_job`` does."""
    atoms = atoms.copy()
    atoms.calc = EMT()
    return _result(atoms) | {"stress": atoms.get_stress()}


def ase_relax_in_json(atoms: dict[str, Any]) -> dict[str, Any]:
    """Relax, with nothing but lists and numbers going in and coming back."""
    result = ase_relax(Atoms.fromdict(atoms))
    final = {name: value.tolist() for name, value in result.pop("atoms").todict().items()}
    return {"energy": result["energy"], "forces": result["forces"].tolist(), "atoms": final}


def _result(atoms: Atoms) -> dict[str, Any]:
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    return {"energy": energy, "forces": forces, "atoms": atoms.copy()}


def energy(result: Any) -> float:
    """Return the energy (eV) of a result of plain ASE's or of quacc's."""
    return float(result["results"]["energy"] if "results" in result else result["energy"])


def fingerprint(atoms: Atoms) -> str:
    """Return what tells a structure from all others."""
    data = atoms.numbers.tobytes() + atoms.positions.tobytes() + atoms.cell.array.tobytes()
    return hashlib.sha256(data).hexdigest()[:16]
