"""The input of VASP: tags, functionals, POTCARs, k-points, and pymatgen's input sets."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from quacc.errors import ParameterError

SETS = (
    *("MP24RelaxSet", "MP24StaticSet", "MatPESStaticSet", "MPRelaxSet", "MPStaticSet"),
    *("MPMetalRelaxSet", "MPScanRelaxSet", "MPScanStaticSet", "MVLSlabSet"),
)
"""Classes of pymatgen.io.vasp.sets that are one SCF once nothing moves."""

FUNCTIONALS = (
    *("lda", "pbe", "pbesol", "rpbe", "revpbe", "am05", "tpss", "revtpss", "scan", "rscan"),
    *("r2scan", "optpbe-vdw", "optb88-vdw", "optb86b-vdw", "vdw-df", "vdw-df2", "rev-vdw-df2"),
    *("rvv10", "scan+rvv10", "r2scan+rvv10", "hf", "pbe0", "hse03", "hse06", "hsesol", "b3lyp"),
)
"""Names of functionals, as in ASE, whose tags are those of VASP's documentation."""

OF_A_FUNCTIONAL = frozenset(
    [
        *(
            "GGA",
            "METAGGA",
            "XC",
            "LHFCALC",
            "HFSCREEN",
            "AEXX",
            "AGGAX",
            "AGGAC",
            "ALDAX",
            "ALDAC",
        ),
        *("AMGGAX", "AMGGAC", "LUSE_VDW", "IVDW_NL", "BPARAM", "CPARAM", "ZAB_VDW", "PARAM1"),
        "PARAM2",
    ]
)
"""Tags that say a functional."""

KEYWORDS = {
    "encut": "ENCUT",
    "ediff": "EDIFF",
    "ismear": "ISMEAR",
    "sigma": "SIGMA",
    "ispin": "ISPIN",
    "lreal": "LREAL",
    "prec": "PREC",
    "algo": "ALGO",
    "nelm": "NELM",
    "kspacing": "KSPACING",
    "gamma": "KGAMMA",
}
"""Keywords, and the tag of each."""

U_TAGS = {"L": "LDAUL", "U": "LDAUU", "J": "LDAUJ"}

MOVES = frozenset(
    [
        *("NSW", "IBRION", "ISIF", "POTIM", "EDIFFG", "NFREE", "SMASS", "TEBEG", "TEEND", "MDALGO"),
        *("NBLOCK", "KBLOCK", "LANGEVIN_GAMMA", "LANGEVIN_GAMMA_L", "PMASS", "ANDERSEN_PROB"),
        *("IMAGES", "SPRING", "LCLIMB", "ICHAIN", "IOPT", "PSTRESS", "LATTICE_CONSTRAINTS"),
        *("LEPSILON", "LCALCEPS", "LRPA", "LOPTICS", "ML_LMLFF", "ML_MODE", "LCALCPOL"),
    ]
)
"""Tags with which VASP would move atoms, change the cell, add to the energy, or compute another
thing than one SCF."""

DECIDED = frozenset(
    ["ISTART", "ICHARG", "NELECT", "MAGMOM", "LNONCOLLINEAR", "LSORBIT", "SAXIS", "IALGO", "LDAU"]
) | {*U_TAGS.values()}
"""Tags that come from the structure, the folder or a keyword."""

SPREAD = {"NCORE": "ncore", "KPAR": "kpar", "NPAR": "ncore"}
"""Tags of how the work is spread, and the options that set them."""

OUTPUT = frozenset(["LWAVE", "LCHARG", "SYSTEM", "NWRITE", "LAECHG", "LELF", "LVTOT", "LVHAR"])
"""Tags of what is written, which of a set are left out: they decide no number."""


def functional_tags(xc: str | None) -> dict[str, Any]:
    """Return the tags of a functional."""
    from ase.calculators.vasp.create_input import GenerateVaspInput

    every: Any = GenerateVaspInput.xc_defaults
    known = every[xc] if xc else {}
    return {name.upper(): value for name, value in known.items() if name != "pp"}


@dataclass(frozen=True)
class InputSet:
    """What a set of pymatgen says of a structure, in the keywords of :class:`VaspCode`."""

    keywords: dict[str, Any]
    incar: dict[str, Any]
    """All other tags."""
    setups: dict[str, str]
    """{element: POTCAR}."""
    pp_version: str | None


def input_set(name: str, atoms: Atoms, xc: str | None) -> InputSet:
    """Return an input set for a structure, without what moves atoms or writes files.

    Parameters
    ----------
    name
        One of :data:`SETS`.
    atoms
        Where they have no magnetic moments, the set's of each element count.
    xc
        A functional that takes the place of the set's.
    """
    from pymatgen.core.structure import Structure
    from pymatgen.io.vasp import sets

    crystal = Structure(
        atoms.cell.array,
        [str(symbol) for symbol in atoms.symbols],
        atoms.get_scaled_positions(wrap=False),
    ).get_sorted_structure()  # each element in one piece, which lists of tags go by
    more: dict[str, Any] = {"user_incar_settings": {"NCORE": None, "KPAR": None, "NPAR": None}}
    if name == "MatPESStaticSet" and xc == "r2scan":  # has an ALGO of its own
        more["xc_functional"] = "R2SCAN"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of relaxations and POTCARs, which are quacc's to judge
        made = getattr(sets, name)(structure=crystal, **more)
        tags = {str(key).upper(): value for key, value in made.incar.items()}
        kpoints, elements, potcars = made.kpoints, made.poscar.site_symbols, made.potcar_symbols
        version = str(made.potcar_functional)
    keywords: dict[str, Any] = {}
    for keyword, tag in KEYWORDS.items():
        if tag in tags:
            keywords[keyword] = tags.pop(tag)
    if kpoints is not None:
        keywords["kpts"] = [int(number) for number in kpoints.kpts[0]]
        keywords["gamma"] = str(kpoints.style).lower().startswith("gamma")
        keywords.pop("kspacing", None)
    moments = tags.pop("MAGMOM", None)
    if moments is not None:
        pairs = zip(crystal, moments, strict=True)
        keywords["magmom"] = {site.specie.symbol: float(moment) for site, moment in pairs}
    if tags.pop("LDAU", False):
        lists = {letter: tags.pop(tag) for letter, tag in U_TAGS.items()}
        keywords["ldau_luj"] = {
            element: {letter: values[i] for letter, values in lists.items()}
            for i, element in enumerate(elements)
            if lists["L"][i] >= 0 and (lists["U"][i] or lists["J"][i])
        }
    for tag in (*MOVES, *DECIDED, *SPREAD, *OUTPUT):
        tags.pop(tag, None)
    if xc is not None:
        for tag in OF_A_FUNCTIONAL:
            tags.pop(tag, None)
    return InputSet(
        keywords,
        {tag: value for tag, value in sorted(tags.items()) if value is not None},
        dict(zip(elements, potcars, strict=True)),
        version.partition("_")[2] or None,
    )


def default_setups(name: str, elements: list[str]) -> dict[str, str]:
    """Return the POTCAR of each element by one of ASE's lists."""
    from ase.calculators.vasp.setups import get_default_setups

    endings = get_default_setups()[name]
    return {element: f"{element}{endings.get(element) or ''}" for element in elements}


def potcar_folder(root: Path, xc: str | None, version: str | None) -> Path:
    """Return the folder of a functional's POTCARs, in the layout of VASP_PP_PATH.

    Raises
    ------
    ParameterError
        There is none, or several to choose from.
    """
    lda = xc == "lda"
    family = "potpaw_LDA" if lda else "potpaw_PBE"
    plain = root / ("potpaw" if lda else "potpaw_PBE")
    if version:
        folder = root / f"{family}.{version}"
        if folder.is_dir():
            return folder
        raise ParameterError(
            f"There is no folder {folder.name} in {str(root)!r}. It has "
            f"{', '.join(_folders(root)) or 'no folder of POTCARs'}: choose with pp_version."
        )
    if plain.is_dir():
        return plain
    versions = [name for name in _folders(root) if name.startswith(f"{family}.")]
    if len(versions) == 1:
        return root / versions[0]
    raise ParameterError(
        f"There is no folder {plain.name} in {str(root)!r}, but "
        f"{', '.join(versions) or 'none of another version'}. "
        + (
            f"Choose one: pp_version={versions[0].partition('.')[2]!r}."
            if versions
            else "The setting pseudopotentials.vasp names the folder that holds it."
        )
    )


def _folders(root: Path) -> list[str]:
    return sorted(one.name for one in root.glob("potpaw*") if one.is_dir())


@dataclass(frozen=True)
class Potcar:
    """What the head of a POTCAR says."""

    title: str
    element: str
    electrons: float
    """Valence electrons."""
    enmax: float
    """The cutoff that it needs (eV)."""
    functional: str
    """CA, PE or 91."""


def read_potcar(file: Path) -> Potcar:
    """Return what the head of a POTCAR says.

    Raises
    ------
    ParameterError
        It says no element or no number of electrons.
    """
    return _read_potcar(file, file.stat().st_mtime_ns)


@cache
def _read_potcar(file: Path, changed: int) -> Potcar:
    with file.open("rb") as stream:
        head = stream.read(20_000).decode("utf-8", "replace")

    def found(pattern: str) -> str:
        match = re.search(pattern, head)
        return match.group(1) if match else ""

    title, electrons = found(r"TITEL\s*=\s*(.*?)\s*\n"), found(r"ZVAL\s*=\s*([\d.]+)")
    element = found(r"VRHFIN\s*=\s*([A-Z][a-z]?)") or found(r"TITEL\s*=\s*\S+\s+([A-Z][a-z]?)")
    if not electrons or not element:
        raise ParameterError(
            f"{str(file)!r} is no POTCAR: it says {'no ZVAL' if element else 'no element'}. "
            "Unpack it from VASP's archive of POTCARs again."
        )
    enmax = found(r"ENMAX\s*=\s*([\d.]+)")
    return Potcar(title, element, float(electrons), float(enmax or 0), found(r"LEXCH\s*=\s*(\w+)"))


def mesh(atoms: Atoms, kspacing: float) -> list[int]:
    """Return the numbers of k-points that VASP takes for a KSPACING (1/Å, with 2π)."""
    lengths: NDArray[Any] = np.linalg.norm(atoms.cell.reciprocal().array, axis=1) * 2 * np.pi
    # The last digits of a length must not make one k-point more.
    return [max(1, int(np.ceil(length / kspacing - 1e-9))) for length in lengths]


@cache
def known_tags() -> frozenset[str]:
    """Return the tags that ASE and pymatgen know."""
    import json

    from ase.calculators.vasp import create_input as ase_tags
    from pymatgen.io.vasp import inputs

    lists = ("float", "exp", "string", "int", "bool", "list_int", "list_bool", "list_float")
    every = {tag.upper() for name in lists for tag in getattr(ase_tags, f"{name}_keys")}
    file = Path(inputs.__file__).with_name("incar_parameters.json")
    return frozenset(every | {*json.loads(file.read_text())})


def clean_tags(incar: Mapping[str, Any]) -> dict[str, Any]:
    """Return tags in capitals.

    Raises
    ------
    ParameterError
        A name or a value cannot be one, or two names are the same.
    """
    found: dict[str, Any] = {}
    for name, value in incar.items():
        tag = str(name).upper()
        if not isinstance(name, str) or not re.fullmatch(r"[A-Z][A-Z0-9_]*", tag) or tag in found:
            raise ParameterError(f"incar cannot have the tag {name!r} there, or has it twice.")
        values = value if isinstance(value, list | tuple) else [value]
        for one in values:
            plain = one is None or isinstance(one, bool | int | float | str)
            if not plain or (isinstance(one, str) and not re.fullmatch(r"[\w .:*/+,-]*", one)):
                raise ParameterError(
                    f"incar cannot set {tag} to {value!r}: a value is True or False, a number, a "
                    "word without any of = ; # ! and quotes, or a list of them."
                )
        found[tag] = value
    return found


def spelled(value: Any) -> str:
    """Return a value as the INCAR has it, with all its digits."""
    if isinstance(value, bool):
        return ".TRUE." if value else ".FALSE."
    if isinstance(value, list | tuple):
        return " ".join(spelled(one) for one in value)
    return repr(value) if isinstance(value, float) else str(value)
