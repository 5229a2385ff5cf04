"""VASP: plane waves and PAW potentials, an external program under a licence of its own."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from quacc.calculators import vaspfaults
from quacc.calculators.code import UNKNOWN, Code, Place
from quacc.calculators.dispersion import refuse_functional, twice
from quacc.calculators.keyword import (
    Check,
    Keyword,
    count,
    flag,
    one_of,
    positive,
    three_counts,
    whole,
)
from quacc.calculators.planewaves import middle_of_vacuum
from quacc.calculators.program import Program
from quacc.calculators.vaspsets import (
    DECIDED,
    FUNCTIONALS,
    KEYWORDS,
    MOVES,
    OF_A_FUNCTIONAL,
    SETS,
    SPREAD,
    clean_tags,
    default_setups,
    functional_tags,
    input_set,
    known_tags,
    mesh,
    potcar_folder,
    read_potcar,
)
from quacc.errors import (
    ParameterError,
    StructureError,
    suggest,
)
from quacc.extras import unpaired_of


def _tags(name: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise ParameterError(f"{name} must be a dictionary of INCAR tags, not {value!r}.")
    clean_tags(value)


def _setups(name: str, value: Any) -> None:
    if isinstance(value, Mapping):
        wrong = [
            f"{element}: {potcar!r}"
            for element, potcar in value.items()
            if not re.fullmatch(rf"{re.escape(str(element))}([_.][\w.]+)?", str(potcar))
        ]
    else:
        wrong = [] if value in _LISTS else [repr(value)]
    if wrong:
        raise ParameterError(
            f"{name} must be one of {', '.join(_LISTS)}, or {{element: POTCAR}} such as "
            f"{{'Fe': 'Fe_pv'}}, not {', '.join(wrong)}."
        )


def _per_element(name: str, value: Any) -> None:
    good = isinstance(value, Mapping) and all(
        isinstance(one, int | float) and not isinstance(one, bool) for one in value.values()
    )
    if not good:
        raise ParameterError(f"{name} must be {{element: number}}, not {value!r}.")


def _hubbard(name: str, value: Any) -> None:
    good = isinstance(value, Mapping) and all(
        isinstance(one, Mapping) and {*one} == {"L", "U", "J"} and one["L"] in (0, 1, 2, 3)
        for one in value.values()
    )
    if not good:
        raise ParameterError(
            f"{name} must be {{element: {{'L': 2, 'U': 4.0, 'J': 0.0}}}}, not {value!r}."
        )


def _projection(name: str, value: Any) -> None:
    words = ("auto", "a", "on", "o")
    if not isinstance(value, bool) and str(value).lower() not in words:
        raise ParameterError(f"{name} must be True, False, 'Auto' or 'On', not {value!r}.")


def _version(name: str, value: Any) -> None:
    if not isinstance(value, str) or not re.fullmatch(r"[\w.-]+", value):
        raise ParameterError(f"{name} must be a text such as '64', not {value!r}.")


_ALGORITHMS = ("Normal", "VeryFast", "Fast", "Conjugate", "All", "Damped")


def _algorithm(name: str, value: Any) -> None:
    known = {*map(str.lower, _ALGORITHMS), "n", "v", "f", "c", "a", "d"}
    if str(value).lower() not in known:
        raise ParameterError(
            f"{name} must be one of {', '.join(_ALGORITHMS)}, which end in a self-consistent "
            f"energy, not {value!r}."
        )


_LISTS = ("recommended", "minimal", "materialsproject", "gw")
_DEFAULTS = {
    "encut": 520.0,
    "ediff": 1e-6,
    "ismear": 0,
    "sigma": 0.05,
    "lreal": False,
    "prec": "Accurate",
    "algo": "Normal",
    "nelm": 100,
    "gamma": True,
}
_KSPACING = 0.25
_TAGS = {"LASPH": True}
"""Without an input set."""


class VaspCode(Code):
    name = "vasp"
    title = "VASP"
    keywords = {
        "input_set": Keyword(
            None, "a set of pymatgen, which gives all that is not given here", one_of(*SETS)
        ),
        "xc": Keyword(None, "the functional; None: the set's, or pbe", one_of(*FUNCTIONALS)),
        "encut": Keyword(None, "cutoff (eV); None: the set's, or 520", positive),
        "kspacing": Keyword(
            None,
            "distance of k-points (1/Å, with 2π: KSPACING); None: the set's, or 0.25",
            positive,
        ),
        "kpts": Keyword(None, "instead of a distance", three_counts),
        "gamma": Keyword(None, "whether Γ is in the mesh; None: the set's, or True", flag),
        "ediff": Keyword(None, "convergence of the SCF (eV); None: the set's, or 1e-6", positive),
        "ismear": Keyword(None, "ISMEAR; None: the set's, or 0, which is Gaussian", whole),
        "sigma": Keyword(None, "width of the smearing (eV); None: the set's, or 0.05", positive),
        "ispin": Keyword(
            None,
            "1 or 2; None: 2 with magnetic moments",
            Check("", lambda name, value: _one_of_numbers(name, value, (1, 2))),
        ),
        "magmom": Keyword(
            None,
            "{element: moment (µB)} where the structure has no moments at all; None: the set's",
            Check("", _per_element),
        ),
        "ldau_luj": Keyword(
            None,
            "{element: {'L': …, 'U': …, 'J': …}} of DFT+U (eV); None: the set's, {}: none",
            Check("", _hubbard),
        ),
        "charge": Keyword(None, "None: the sum of the initial charges", whole),
        "prec": Keyword(
            None,
            "PREC; None: the set's, or Accurate",
            one_of("Accurate", "Normal", "Single", "SingleN", "Low", "Medium", "High"),
        ),
        "lreal": Keyword(
            None, "projection in real space; None: the set's, or False", Check("", _projection)
        ),
        "algo": Keyword(None, "ALGO; None: the set's, or Normal", Check("", _algorithm)),
        "nelm": Keyword(None, "most steps of the SCF; None: the set's, or 100", count),
        "setups": Keyword(
            None,
            "POTCARs, as {element: name} or a list of ASE's (recommended, minimal, "
            "materialsproject, gw); None: the set's, or recommended",
            Check("", _setups),
        ),
        "pp_version": Keyword(
            None,
            "of the POTCARs, such as 64 for potpaw_PBE.64; None: the set's, or that without one",
            Check("", _version),
        ),
        "incar": Keyword(
            {}, "any other tag of the INCAR; None takes away a set's", Check("", _tags)
        ),
        "dipole": Keyword(
            False,
            "correct for the dipole of a slab, whose vacuum is along the third cell vector",
            flag,
        ),
    }
    options = {
        "kpar": Keyword(None, "groups of cores that share the k-points (KPAR)", count),
        "ncore": Keyword(None, "cores that share a band (NCORE)", count),
    }
    program = Program(
        "vasp",
        "vasp_std",
        r"vasp\.(\S+)",
        parallel=True,
        also=("vasp_gamma",),
        restart=("WAVECAR",),
        # The POTCAR is under VASP's licence, and what it held is in the key.
        scratch=("WAVECAR", "CHG", "POTCAR", "vdw_kernel.bindat"),
    )
    handlers = vaspfaults.HANDLERS
    converging = frozenset({"kspacing", "kpts"})
    either = (converging,)
    tested = "not run: input and parsing are tested against genuine files"
    site_moments = True
    handles = {
        "pbc": "honoured: all three; a neutral molecule is repeated in its box, with a warning; "
        "one or two are refused, but for slabs with `dipole=True`",
        "charges": "honoured: their sum makes `NELECT`, refused unless it is a whole number",
        "moments": "honoured as the start of the SCF (`MAGMOM`); refused with `ispin=1`; so are "
        "vectors",
    }
    install = "it comes with a licence of VASP Software GmbH (https://www.vasp.at)"
    citation = """@article{Kresse1996,
  author = {Kresse, G. and Furthm{\\"u}ller, J.},
  title = {Efficient iterative schemes for ab initio total-energy calculations using a plane-wave
    basis set},
  journal = {Physical Review B}, volume = {54}, pages = {11169--11186}, year = {1996},
  doi = {10.1103/PhysRevB.54.11169}
}
@article{Kresse1999,
  author = {Kresse, G. and Joubert, D.},
  title = {From ultrasoft pseudopotentials to the projector augmented-wave method},
  journal = {Physical Review B}, volume = {59}, pages = {1758--1775}, year = {1999},
  doi = {10.1103/PhysRevB.59.1758}
}"""

    def version(self) -> str:
        """Return the version that is written in the program, which is not started for it.

        Under MPI, it would not start on a login node; and it has no argument to ask with.
        """
        files = self.program.files()
        if not files:
            self.require_here()
        found = (_version_in(*file) for file in files)
        return next((version for version in found if version), UNKNOWN)

    def missing(self) -> str | None:
        reason = super().missing()
        if reason is None and (gamma := _gamma()):
            program = gamma.split()[0]
            if shutil.which(program) is None:
                reason = (
                    f"The program {program!r} of the setting commands.vasp_gamma is not found. It "
                    "is for one k-point, Γ; without the setting, commands.vasp computes that, too."
                )
        if reason is not None:
            return reason
        root = self.folder()
        if root is None:
            return (
                "The setting pseudopotentials.vasp names no folder of POTCARs, such as that of "
                "VASP_PP_PATH, which holds potpaw_PBE or potpaw_PBE.64: `quacc settings set "
                "pseudopotentials.vasp FOLDER`."
            )
        if not root.is_dir():
            return f"There is no folder {str(root)!r}, named by the setting pseudopotentials.vasp."
        return None

    def folder(self) -> Path | None:
        """Return the folder of POTCARs, from the settings."""
        from quacc.settings import get_settings

        found = get_settings().pseudopotentials.get(self.name)
        return Path(found) if found else None

    def resolve(self, atoms: Atoms, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Fill in what the input set, the structure and the folder of POTCARs say.

        Raises
        ------
        ParameterError
            A POTCAR is missing, or keywords contradict each other.
        """
        if atoms.cell.rank < 3:
            raise StructureError(
                "Plane waves need a cell, but the structure has none along some directions. Put "
                "vacuum around it: atoms.center(vacuum=6)."
            )
        if np.linalg.det(atoms.cell.array) < 0:
            raise StructureError(
                "The cell vectors are left-handed, which VASP refuses. Exchange two of them."
            )
        incar = clean_tags(parameters["incar"])
        _refuse(incar, parameters["xc"])
        found = dict(parameters)
        elements = list(dict.fromkeys(str(symbol) for symbol in atoms.symbols))
        if name := found["input_set"]:
            made = input_set(name, atoms, found["xc"])
            if {"kpts", "kspacing"} & {key for key, value in found.items() if value is not None}:
                made.keywords.pop("kpts", None)
                made.keywords.pop("kspacing", None)
            below: dict[str, Any] = {**_DEFAULTS, **made.keywords}
            other = any(incar.get(tag) is not None for tag in ("GGA", "METAGGA"))
            left_out = OF_A_FUNCTIONAL if other else frozenset()
            incar = {tag: v for tag, v in made.incar.items() if tag not in left_out} | incar
            setups, version = made.setups, made.pp_version
        else:
            below, setups, version = _DEFAULTS, {}, None
            incar = {**_TAGS, **incar}
            if found["xc"] is None and not OF_A_FUNCTIONAL & incar.keys():
                found["xc"] = "pbe"
        if found["xc"] == "lda" and name and found["pp_version"] is None:
            version = None
        for keyword, value in below.items():
            if found[keyword] is None:
                found[keyword] = value
        if found["kpts"] is None and found["kspacing"] is None:
            found["kspacing"] = _KSPACING
        if not atoms.pbc.all():  # nothing is to be sampled across a vacuum
            points = found["kpts"] or mesh(atoms, found["kspacing"])
            found["kpts"] = [
                int(n) if periodic else 1 for n, periodic in zip(points, atoms.pbc, strict=True)
            ]
            found["kspacing"] = None
        given = found["setups"] if isinstance(found["setups"], Mapping) else {}
        if isinstance(found["setups"], str) or not setups:
            named = found["setups"] if isinstance(found["setups"], str) else "recommended"
            setups = default_setups(named, elements)
        found["setups"] = {one: str(given.get(one, setups[one])) for one in elements}
        found["pp_version"] = found["pp_version"] or version
        found["magmom"] = {
            one: float(value) for one, value in (found["magmom"] or {}).items() if one in elements
        }
        found["ldau_luj"] = {
            one: dict(value) for one, value in (found["ldau_luj"] or {}).items() if one in elements
        }
        if unpaired_of(atoms) is not None or found["ispin"] == 1:
            if parameters["ispin"] == 1 and any((parameters["magmom"] or {}).values()):
                raise ParameterError("ispin=1 contradicts magmom: leave one of both out.")
            found["magmom"] = {}
        if found["ispin"] is None:
            magnetic = unpaired_of(atoms) is not None or any(found["magmom"].values())
            found["ispin"] = 2 if magnetic else 1
        if found["ldau_luj"] and "LMAXMIX" not in incar:
            incar["LMAXMIX"] = 2 * max(one["L"] for one in found["ldau_luj"].values())
        if found.pop("dipole", False):
            incar |= _dipole(atoms, incar)
        found["incar"] = incar
        self.files(found)
        return found

    def files(self, parameters: Mapping[str, Any]) -> list[Path]:
        root = self.folder()
        if root is None or not root.is_dir():
            self.require_here()
        assert root is not None
        folder = potcar_folder(root, parameters["xc"], parameters["pp_version"])
        found = []
        for element, name in parameters["setups"].items():
            file = folder / name / "POTCAR"
            if not file.is_file():
                packed = (file.with_name("POTCAR.Z"), file.with_name("POTCAR.gz"))
                there = [one.name for one in packed if one.is_file()]
                others = sorted(
                    one.parent.name
                    for one in folder.glob(f"{element}*/POTCAR")
                    if re.fullmatch(rf"{element}([_.].*)?", one.parent.name)
                )
                raise ParameterError(
                    f"There is no POTCAR of {name} in {str(folder)!r}"
                    + (f", but {there[0]}: unpack it. " if there else ". ")
                    + f"It has {', '.join(others) or 'none'} for {element}: choose with "
                    f"setups={{{element!r}: …}} or pp_version. The setting pseudopotentials.vasp "
                    "names the folder of them all."
                )
            found.append(file)
        return found

    def uncorrected_functional(self, parameters: Mapping[str, Any]) -> str | None:
        incar, xc = parameters["incar"], parameters["xc"]
        said = {tag: value for tag, value in incar.items() if value not in (None, False, 0, "0")}
        for tag in ("IVDW", "LVDW", "LUSE_VDW", "IVDW_NL"):
            if tag in said:
                raise twice(self.title, f"{tag}={said[tag]} of incar")
        if xc is not None:
            refuse_functional(self.title, xc)
            return None if OF_A_FUNCTIONAL & said.keys() else str(xc)
        tags = sorted(OF_A_FUNCTIONAL & said.keys())
        name = str(said[tags[0]]).strip().upper() if len(tags) == 1 else ""
        return _OF_TAGS.get((tags[0], name)) if len(tags) == 1 else None

    def merged(self, below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
        upper = {str(name).upper() for name in above}
        return {n: value for n, value in below.items() if str(n).upper() not in upper} | {**above}

    def check(self, atoms: Atoms, parameters: Mapping[str, Any]) -> list[str]:
        warnings = super().check(atoms, parameters)
        incar = parameters["incar"]
        heads = {
            element: read_potcar(file)
            for element, file in zip(parameters["setups"], self.files(parameters), strict=True)
        }
        for element, head in heads.items():
            if head.element != element:
                raise ParameterError(
                    f"The POTCAR {parameters['setups'][element]} for {element} says that it is of "
                    f"{head.element} ({head.title})."
                )
        functionals = {element: head.functional for element, head in heads.items()}
        if len({one for one in functionals.values() if one}) > 1:
            raise ParameterError(
                f"The POTCARs are of different functionals ({functionals}), so that their energies "
                "mean nothing together. Choose others with setups={…} or pp_version."
            )
        needed = max(head.enmax for head in heads.values())
        if parameters["encut"] < needed:
            warnings.append(
                f"encut={parameters['encut']:g} eV is below what the POTCARs need, ENMAX = "
                f"{needed:g} eV."
            )
        for tag in incar:
            if tag not in known_tags():
                close = suggest(tag, sorted(known_tags()))
                words = f"quacc knows no tag {tag}, and VASP ignores those that it does not know."
                if close:
                    raise ParameterError(f"incar: {words}{close}")
                warnings.append(words)
        if parameters["ismear"] < -3:
            points = parameters["kpts"] or mesh(atoms, parameters["kspacing"])
            if np.prod(points) < 4:
                raise ParameterError(
                    f"The tetrahedron method (ismear={parameters['ismear']}) needs 4 k-points or "
                    f"more, but the mesh is {points}. Pass ismear=0, or more k-points."
                )
            if _all_metals(atoms):
                warnings.append(
                    "With the tetrahedron method (ismear=-5) forces and stress of a metal are off "
                    "by 5 to 10 %: pass ismear=1 and sigma=0.2 where these count."
                )
        if not atoms.pbc.any():
            warnings.append(
                "VASP repeats the molecule in its box: see that the energy does not change with "
                "the vacuum."
            )
        if (
            parameters["ispin"] == 2
            and not incar.get("NUPDOWN")
            and not _has_moments(atoms, parameters)
        ):
            warnings.append(
                "ispin=2 without magnetic moments: VASP starts from 1 µB on each atom, parallel."
            )
        return warnings

    def check_state(self, atoms: Atoms, parameters: Mapping[str, Any]) -> None:
        super().check_state(atoms, parameters)
        if parameters["ispin"] == 1 and unpaired_of(atoms) is not None:
            raise ParameterError(
                "ispin=1 contradicts the initial magnetic moments of the structure. Remove them "
                "with atoms.set_initial_magnetic_moments(), or leave ispin out."
            )
        charge = self.charge(atoms, parameters)
        incar = clean_tags(parameters["incar"])
        corrected = bool(incar.get("LDIPOL")) and incar.get("IDIPOL") == 3
        if atoms.pbc.all() or (atoms.pbc.tolist() == [True, True, False] and corrected):
            if charge and corrected:
                raise StructureError(
                    "The dipole correction is for neutral slabs, but this one has the charge "
                    f"{charge:+d}."
                )
            return
        if charge or atoms.pbc.any():
            raise StructureError(
                f"VASP repeats the cell in three directions, but the structure has "
                f"pbc={atoms.pbc.tolist()}{' and a charge' if charge else ''}: its energy would "
                "depend on the vacuum in the cell. Pass dipole=True for a neutral slab with its "
                "vacuum along the third cell vector, or set atoms.pbc = True with a vacuum so wide "
                "that it does not."
            )

    def assumptions(self, atoms: Atoms, given: Mapping[str, Any]) -> list[str]:
        electrons = self.electron_count(atoms, given)
        quiet = given.get("ispin") == 2 or given.get("magmom") or given.get("input_set")
        if atoms.pbc.any() or electrons % 2 == 0 or unpaired_of(atoms) is not None or quiet:
            return []
        return [
            f"{atoms.get_chemical_formula()} has an odd number of electrons, {electrons}, and is "
            "computed without spin: its energy is too high. Give it magnetic moments with "
            "atoms.set_initial_magnetic_moments()."
        ]

    def build(self, parameters: Mapping[str, Any], place: Place) -> Calculator:
        from quacc.calculators.vasprun import VaspRun  # ASE's, which imports Matplotlib
        from quacc.settings import get_settings

        gamma = _gamma()
        files = dict(zip(parameters["setups"], self.files(parameters), strict=True))
        return VaspRun(
            parameters,
            files,
            charge=lambda atoms: self.charge(atoms, parameters),
            options=place.options,
            gamma=gamma and f"{get_settings().launcher} {gamma}".strip(),
            directory=str(place.folder),
            command=self.program.run_command(),
        )

    def diagnose(self, directory: Path) -> str | None:
        return vaspfaults.diagnose(directory)


def _gamma() -> str | None:
    """Return the setting commands.vasp_gamma."""
    from quacc.settings import get_settings

    return get_settings().commands.get("vasp_gamma")


def _one_of_numbers(name: str, value: Any, choices: tuple[int, ...]) -> None:
    if isinstance(value, bool) or value not in choices:
        raise ParameterError(f"{name} must be {' or '.join(map(str, choices))}, not {value!r}.")


def _refuse(incar: Mapping[str, Any], xc: str | None) -> None:
    """Raise a ParameterError for tags that are not the user's to set here."""
    if xc is not None:
        said = {"GGA": None, "METAGGA": None, **functional_tags(xc)}
        for tag in said.keys() & {name for name, value in incar.items() if value is not None}:
            if incar[tag] != said[tag]:
                raise ParameterError(
                    f"xc={xc!r} contradicts {tag} of incar: leave one of both out."
                )
    of_keywords = {tag: keyword for keyword, tag in KEYWORDS.items()}
    for tag, value in incar.items():
        if value is None:
            continue
        if tag in MOVES:
            raise ParameterError(
                f"incar cannot set {tag}: quacc moves the atoms and the cell, one SCF of VASP at a "
                "time. Relaxations and dynamics are jobs of their own."
            )
        if tag in of_keywords:
            raise ParameterError(f"incar cannot set {tag}: pass {of_keywords[tag]}=… instead.")
        if tag in SPREAD:
            raise ParameterError(f"incar cannot set {tag}: pass {SPREAD[tag]}=… instead.")
        if tag in DECIDED:
            instead = _INSTEAD.get(tag, "quacc knows where it starts from")
            raise ParameterError(f"incar cannot set {tag}: {instead}.")


_OF_TAGS = {
    ("GGA", "PE"): "pbe",
    ("GGA", "PS"): "pbesol",
    ("GGA", "RP"): "rpbe",
    ("METAGGA", "SCAN"): "scan",
    ("METAGGA", "R2SCAN"): "r2scan",
}
"""Functionals that one tag says."""

_INSTEAD = {
    "MAGMOM": "it comes from atoms.set_initial_magnetic_moments(), or magmom={element: moment}",
    "NELECT": "it comes from the initial charges of the structure, or charge=…",
    "LNONCOLLINEAR": "quacc's calculators know collinear moments only",
    "LSORBIT": "quacc's calculators know collinear moments only",
    "SAXIS": "quacc's calculators know collinear moments only",
    "IALGO": "pass algo=… instead",
    **dict.fromkeys(("LDAU", "LDAUL", "LDAUU", "LDAUJ"), "pass ldau_luj={element: …} instead"),
}


def _dipole(atoms: Atoms, incar: Mapping[str, Any]) -> dict[str, Any]:
    """Return tags of a dipole layer in the middle of the vacuum, half a cell from DIPOL.

    Neugebauer and Scheffler, Phys. Rev. B 46, 16067 (1992).
    """
    if given := incar.keys() & {"LDIPOL", "IDIPOL", "DIPOL", "EFIELD"}:
        raise ParameterError(
            f"dipole=True sets {', '.join(sorted(given))} of incar: leave one of both out."
        )
    middle = middle_of_vacuum(atoms)
    return {
        "LDIPOL": True,
        "IDIPOL": 3,
        "DIPOL": [0.5, 0.5, round(float((middle + 0.5) % 1), 6)],
    }


def _all_metals(atoms: Atoms) -> bool:
    from pymatgen.core.periodic_table import Element

    return all(Element(str(symbol)).is_metal for symbol in {*atoms.symbols})


def _has_moments(atoms: Atoms, parameters: Mapping[str, Any]) -> bool:
    return unpaired_of(atoms) is not None or any(parameters["magmom"].values())


@cache
def _version_in(path: str, changed: int, size: int) -> str | None:
    content = Path(path).read_bytes()
    found = re.search(rb"vasp\.(\d+\.\d+\.\d+[\w.-]*)", content)
    return found.group(1).decode() if found else None


CODE = VaspCode()
