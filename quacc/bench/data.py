"""The data of tasks: structures, and what they are compared with."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from quacc.bench import published
from quacc.bench.config import DataEntry
from quacc.bench.example import Example
from quacc.bench.example import made as _made
from quacc.bench.kinds.single_point import FORCES, STRESS
from quacc.bench.record import DataInfo
from quacc.errors import InputError, suggest


@dataclass(frozen=True)
class DataSet:
    info: DataInfo
    examples: list[Example]
    source: str
    """Where it comes from, as models' ``trained_on`` names it."""


def load(entry: DataEntry, beside: Path) -> DataSet:
    """Return the data of a task.

    Parameters
    ----------
    entry
        As ``tasks.yml`` has it.
    beside
        The file that has it, which paths are relative to.

    Raises
    ------
    InputError
        There is no such collection; the file is not there, is another one than the hash says, or
        has no licence.
    """
    if entry.file is None:
        if entry.name not in COLLECTIONS:
            raise InputError(
                f"There is no collection {entry.name!r}.{suggest(entry.name, COLLECTIONS)} There "
                f"are {', '.join(COLLECTIONS)}; or name a file."
            )
        content, examples = COLLECTIONS[entry.name]()
        licence = entry.licence or _LICENCES[entry.name]
    else:
        if entry.name not in FORMATS:
            raise InputError(
                f"There is no format {entry.name!r}.{suggest(entry.name, FORMATS)} There are "
                f"{', '.join(FORMATS)}."
            )
        content, licence = _read(entry, beside)
        examples = FORMATS[entry.name](content)
    if entry.only:
        known = {one.name for one in examples}
        for name in entry.only:
            if name not in known:
                raise InputError(f"{entry.name} has no {name!r}.{suggest(name, known)}")
        examples = [one for one in examples if one.name in entry.only]
    info: DataInfo = {
        "name": entry.name,
        "title": _TITLES.get(entry.name, entry.file or entry.name),
        "licence": licence,
        "sha256": hashlib.sha256(content).hexdigest(),
        "citation": entry.citation or _CITATIONS.get(entry.name, ""),
        "level": entry.level,
    }
    return DataSet(info, examples, entry.source)


def _read(entry: DataEntry, beside: Path) -> tuple[bytes, str]:
    file = beside.parent / Path(entry.file or "").expanduser()
    if not entry.licence:
        raise InputError(
            f"{file}: name its licence, as `licence: CC-BY-4.0`; numbers that are compared with it "
            "will be published."
        )
    if not entry.sha256:
        raise InputError(f"{file}: name its hash, as `sha256: …`, which `sha256sum` prints.")
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"The data {file} cannot be read: {error.strerror}.") from None
    found = hashlib.sha256(content).hexdigest()
    if found != entry.sha256.lower():
        raise InputError(
            f"{file} is not the file that the task was written for: its SHA-256 is {found}, and "
            f"not {entry.sha256}."
        )
    return content, entry.licence


def _diatomics() -> tuple[bytes, list[Example]]:
    """Those of matbench-discovery: up to uranium, but for what the Materials Project lacks."""
    from ase.data import chemical_symbols

    symbols = [one for one in chemical_symbols[1:93] if one not in ("Po", "At", "Rn", "Fr", "Ra")]
    return _made([Example(one, Atoms([one] * 2)) for one in symbols])


def _crystals() -> tuple[bytes, list[Example]]:
    """Small crystals of every kind of bond, shaken, so that no force is zero by symmetry."""
    from ase.build import bulk

    made = {
        "Al": bulk("Al", cubic=True),
        "Ar": bulk("Ar", "fcc", 5.31, cubic=True),
        "Cu": bulk("Cu", cubic=True),
        "Cu3Au": _cu3au(),
        "Fe": bulk("Fe", cubic=True),
        "MgO": bulk("MgO", "rocksalt", 4.21),
        "NaCl": bulk("NaCl", "rocksalt", 5.64),
        "Ni": bulk("Ni", cubic=True),
        "Si": bulk("Si"),
        "TiO2": _rutile(),
        "W": bulk("W", cubic=True),
    }
    for number, atoms in enumerate(made.values()):
        atoms.rattle(0.05, seed=number)
    return _made([Example(name, atoms) for name, atoms in made.items()])


def _cu3au() -> Atoms:
    from ase.build import bulk

    atoms = bulk("Cu", a=3.75, cubic=True)
    atoms.symbols[0] = "Au"
    return atoms


def _rutile() -> Atoms:
    from ase.spacegroup import crystal

    sites = [(0, 0, 0), (0.305, 0.305, 0)]
    atoms: Any = crystal(
        ["Ti", "O"], sites, spacegroup=136, cellpar=[4.594, 4.594, 2.959, 90, 90, 90]
    )
    return Atoms(atoms.symbols, atoms.positions, cell=atoms.cell, pbc=True)


def _structures(content: bytes) -> list[Example]:
    """Read structures as :func:`written` describes them."""
    try:
        return [_structure(row) for row in json.loads(content)]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            "The data are no JSON list of structures with name, numbers, positions, cell and pbc: "
            f"{type(error).__name__}: {error}."
        ) from None


def _structure(row: Mapping[str, Any]) -> Example:
    atoms = Atoms(
        row["numbers"],
        np.array(row["positions"], dtype=float),
        cell=row.get("cell"),
        pbc=row.get("pbc", "cell" in row),
        magmoms=row.get("magmoms"),
        charges=row.get("charges"),
    )
    if "forces" in row:
        atoms.set_array(FORCES, np.array(row["forces"], dtype=float), shape=(3,))
    if "stress" in row:
        atoms.info[STRESS] = [float(one) for one in row["stress"]]
    reference = {name: float(value) for name, value in row.get("reference", {}).items()}
    return Example(str(row["name"]), atoms, reference)


def written(name: str, atoms: Atoms, reference: Mapping[str, Any]) -> dict[str, Any]:
    """Return a structure as files of the format ``structures`` have it.

    ``name``, ``numbers``, ``positions`` (Å), ``cell``, ``pbc``; ``magmoms`` and ``charges`` where
    it has them; of the reference, ``forces`` (eV/Å) and ``stress`` (eV/Å³, Voigt), and other
    numbers by name under ``reference``.
    """
    row: dict[str, Any] = {
        "name": name,
        "numbers": atoms.numbers.tolist(),
        "positions": atoms.positions.tolist(),
        "cell": atoms.cell.tolist(),
        "pbc": atoms.pbc.tolist(),
    }
    for key, array in (("magmoms", "initial_magmoms"), ("charges", "initial_charges")):
        if array in atoms.arrays:
            row[key] = atoms.arrays[array].tolist()
    for key in ("forces", "stress"):
        if reference.get(key) is not None:
            row[key] = np.asarray(reference[key]).tolist()
    if "energy" in reference:
        row["reference"] = {"energy": float(reference["energy"]) / len(atoms)}
    return row


Loader = Callable[[], tuple[bytes, list[Example]]]

COLLECTIONS: dict[str, Loader] = {
    "crystals": _crystals,
    "dcdft": published.dcdft,
    "diatomics": _diatomics,
    "g2": published.g2,
    "g2_geometries": published.g2_geometries,
    "lattice": published.lattice,
    "s22": published.s22,
}
"""Data that are made, or that ASE has: what their hash is of, and the structures."""

FORMATS: dict[str, Callable[[bytes], list[Example]]] = {
    "matcalc-elastic": published.matcalc_elastic,
    "matcalc-equilibrium": published.matcalc_equilibrium,
    "matcalc-phonon": published.matcalc_phonon,
    "points": published.points,
    "structures": _structures,
    "vacancies-fcc": published.vacancies_fcc,
    "vacancies-hcp": published.vacancies_hcp,
}
"""What files can have."""

_TITLES = {
    "crystals": "eleven small crystals, atoms shaken by 0.05 Å",
    "dcdft": "71 elemental crystals of the Δ test, WIEN2k",
    "diatomics": "two atoms of each element from H to U but Po, At, Rn, Fr and Ra",
    "g2": "molecules of G2/97, measured energies of atomization",
    "g2_geometries": "molecules of G2/97, MP2's geometries",
    "lattice": "lattices of elements, as measured",
    "matcalc-elastic": "elastic moduli of the Materials Project, of matcalc",
    "matcalc-equilibrium": "crystals of WBM, of matcalc",
    "matcalc-phonon": "heat capacities of Alexandria, of matcalc",
    "points": "energies of surfaces, faults, vacancies, barriers and phases by pw.x",
    "s22": "22 pairs of molecules, CCSD(T) at the limit of the basis",
    "vacancies-fcc": "vacancies of fcc elements, of mlip-arena",
    "vacancies-hcp": "vacancies of hcp elements, of mlip-arena",
}
_LICENCES = {
    "crystals": "none needed: made by quacc",
    "dcdft": "LGPL-2.1-or-later (ASE)",
    "diatomics": "none needed: made by quacc",
    "g2": "LGPL-2.1-or-later (ASE)",
    "g2_geometries": "LGPL-2.1-or-later (ASE)",
    "lattice": "LGPL-2.1-or-later (ASE)",
    "s22": "LGPL-2.1-or-later (ASE)",
}
_ANGSTEN = r"""@article{Angsten2014,
  author = {Angsten, Thomas and Mayeshiba, Tam and Wu, Henry and Morgan, Dane},
  title = {Elemental Vacancy Diffusion Database from High-Throughput First-Principles Calculations
    for fcc and hcp Structures},
  journal = {New Journal of Physics}, volume = {16}, pages = {015018}, year = {2014},
  doi = {10.1088/1367-2630/16/1/015018}
}"""
_CITATIONS = {
    "dcdft": """@article{Lejaeghere2014,
  author = {Lejaeghere, K. and Van Speybroeck, V. and Van Oost, G. and Cottenier, S.},
  title = {Error Estimates for Solid-State Density-Functional Theory Predictions: An Overview by
    Means of the Ground-State Elemental Crystals},
  journal = {Critical Reviews in Solid State and Materials Sciences}, volume = {39},
  pages = {1--24}, year = {2014}, doi = {10.1080/10408436.2013.772503}
}""",
    "g2": r"""@article{Curtiss1997,
  author = {Curtiss, Larry A. and Raghavachari, Krishnan and Redfern, Paul C. and Pople, John A.},
  title = {Assessment of {Gaussian}-2 and Density Functional Theories for the Computation of
    Enthalpies of Formation},
  journal = {The Journal of Chemical Physics}, volume = {106}, pages = {1063--1079}, year = {1997},
  doi = {10.1063/1.473182}
}
@article{Staroverov2003,
  author = {Staroverov, Viktor N. and Scuseria, Gustavo E. and Tao, Jianmin and Perdew, John P.},
  title = {Comparative Assessment of a New Nonempirical Density Functional: Molecules and
    Hydrogen-Bonded Complexes},
  journal = {The Journal of Chemical Physics}, volume = {119}, pages = {12129--12137},
  year = {2003}, doi = {10.1063/1.1626543}
}""",
    "g2_geometries": r"""@article{Curtiss1997,
  author = {Curtiss, Larry A. and Raghavachari, Krishnan and Redfern, Paul C. and Pople, John A.},
  title = {Assessment of {Gaussian}-2 and Density Functional Theories for the Computation of
    Enthalpies of Formation},
  journal = {The Journal of Chemical Physics}, volume = {106}, pages = {1063--1079}, year = {1997},
  doi = {10.1063/1.473182}
}""",
    "lattice": r"""@book{Ashcroft1976,
  author = {Ashcroft, Neil W. and Mermin, N. David},
  title = {Solid State Physics}, publisher = {Holt, Rinehart and Winston}, year = {1976}
}""",
    "s22": r"""@article{Jurecka2006,
  author = {Jure{\v{c}}ka, Petr and {\v{S}}poner, Ji{\v{r}}{\'i} and {\v{C}}ern{\'y}, Ji{\v{r}}{\'i}
    and Hobza, Pavel},
  title = {Benchmark Database of Accurate ({MP2} and {CCSD(T)} Complete Basis Set Limit) Interaction
    Energies of Small Model Complexes, {DNA} Base Pairs, and Amino Acid Pairs},
  journal = {Physical Chemistry Chemical Physics}, volume = {8}, pages = {1985--1993},
  year = {2006}, doi = {10.1039/B600027D}
}
@article{Takatani2010,
  author = {Takatani, Tait and Hohenstein, Edward G. and Malagoli, Massimo and Marshall, Michael S.
    and Sherrill, C. David},
  title = {Basis Set Consistent Revision of the {S22} Test Set of Noncovalent Interaction Energies},
  journal = {The Journal of Chemical Physics}, volume = {132}, pages = {144104}, year = {2010},
  doi = {10.1063/1.3378024}
}""",
    "vacancies-fcc": _ANGSTEN,
    "vacancies-hcp": _ANGSTEN,
}


def elements_of(example: Example) -> list[str]:
    """Return the elements that an example needs."""
    every = [example.atoms, *example.others.values()]
    return sorted(set(itertools.chain.from_iterable(one.symbols for one in every)))
