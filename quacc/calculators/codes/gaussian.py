"""Gaussian: molecules with Gaussian basis functions; a program under a licence of its own."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.calculators.gaussian import Gaussian
from ase.io.gaussian import read_gaussian_out, write_gaussian_in
from ase.units import Hartree

from quacc.calculators.code import Place
from quacc.calculators.dispersion import refuse_functional, twice
from quacc.calculators.files import read
from quacc.calculators.keyword import Check, Keyword, count, flag, whole
from quacc.calculators.molecules import (
    CORES,
    MULTIPLICITY,
    Computed,
    Molecules,
    check_computed,
    ended,
    heavy_electrons,
    refuse_mp2,
    word,
)
from quacc.calculators.program import Program
from quacc.calculators.recovery import Handler
from quacc.errors import CalculationError, ParameterError

_BEYOND = re.compile(
    r"(u|ro|r)?(ccs?d|cids?|cis|ci$|qcis|bd($|\(|t)|mp[345]|cas|gvb|td(a|$|\()|eom|sac|zindo|ept|"
    r"ovgf|d?rpa|am1|pm[367]|pddg|cndo|m?indo|mndo|dftb|uff|dreiding|amber|oniom|external|cbs|"
    r"g[1-4]|w1)"
)
"""Methods without analytic forces, whose energy ASE does not read, or which are no method of
electrons for any element."""


def _method(name: str, value: Any) -> None:
    word("Gaussian").refuse(name, value)
    if _BEYOND.match(value.lower()) or "/" in value:
        raise ParameterError(
            f"{name} cannot be {value!r}: quacc takes Hartree-Fock, density functionals, MP2 and "
            "double hybrids from Gaussian, whose energies and analytic forces ASE reads. The basis "
            "set is the keyword basis."
        )


def _basis(name: str, value: Any) -> None:
    word("Gaussian").refuse(name, value)
    if "/" in value or value.lower() in ("gen", "genecp", "chkbasis"):
        raise ParameterError(f"{name} must be a basis set that Gaussian has, not {value!r}.")


_ROUTE = frozenset(
    [
        *("scf", "int", "integral", "empiricaldispersion", "scrf", "guess", "densityfit"),
        *("denfit", "pop", "population"),
    ]
)
"""Keywords of the route section that change no task, and need no section of their own."""
_CONTRADICTING = frozenset(
    [
        *("checkpoint", "tcheck", "only", "cards", "alter", "permute", "restart", "save"),
        *("externaliteration", "corrected", "selfconsistent", "checkonly"),
    ]
)
"""Values that start from another file, need a section of their own, or give another energy."""


def _route(name: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise ParameterError(f"{name} must be {{keyword: value or values}}, not {value!r}.")
    for keyword, given in value.items():
        if not isinstance(keyword, str) or keyword.lower() not in _ROUTE:
            raise ParameterError(
                f"{name} cannot have {keyword!r}, only {', '.join(sorted(_ROUTE))}: quacc asks for "
                "one energy with its forces, and method, basis, charge, spin, memory and cores are "
                "keywords of their own."
            )
        for one in _listed(given):
            if not isinstance(one, str) or not re.fullmatch(r"[\w.\-=]+", one):
                raise ParameterError(f"{keyword} of {name} must be words, not {given!r}.")
            first = one.lower().partition("=")[0]
            if first in _CONTRADICTING or first.startswith("read"):
                raise ParameterError(
                    f"{keyword} of {name} cannot be {one}: it starts from another file, needs a "
                    "section of its own, or makes the energy one that ASE does not read."
                )


def _listed(value: Any) -> list[Any]:
    plain = isinstance(value, str) or not isinstance(value, Sequence)
    return [value] if plain else list(value)


def _harder(parameters: Mapping[str, Any], folder: Path) -> tuple[dict[str, Any], str]:
    route = dict(parameters["route"])
    name = next((one for one in route if one.lower() == "scf"), "SCF")
    route[name] = [*_listed(route.get(name, [])), "XQC"]
    return {**parameters, "route": route}, "SCF=XQC, another algorithm if the first fails"


def _can_try_harder(folder: Path) -> bool:
    text = read(folder / "gaussian.com").lower()
    return _UNCONVERGED in read(folder / "gaussian.log") and not re.search(r"[xy]?qc\b", text)


_UNCONVERGED = "Convergence criterion not met"


class GaussianCode(Molecules):
    name = "gaussian"
    title = "Gaussian (Hartree-Fock, density functional theory and MP2 of molecules)"
    keywords = {
        "method": Keyword(
            "PBE1PBE",
            "the functional in Gaussian's words, such as B3LYP, wB97XD or B2PLYP; HF; MP2; also "
            "PBE, PBE0, HSE06, TPSS and LDA, as in ASE",
            Check("", _method),
        ),
        "basis": Keyword(
            "Def2SVP", "a basis set of Gaussian's library, such as 6-31G(d)", Check("", _basis)
        ),
        "charge": Keyword(None, "None: the sum of the initial charges", whole),
        "multiplicity": MULTIPLICITY,
        "cartesian": Keyword(
            None,
            "six Cartesian d functions rather than five spherical ones; None: as Gaussian takes "
            "them for the basis set, Cartesian for 6-31G(d)",
            flag,
        ),
        "route": Keyword(
            {},
            "anything else of the route section that changes no task: {'EmpiricalDispersion': "
            "'GD3BJ', 'SCF': ['XQC', 'MaxCycle=300'], 'Int': 'UltraFine'}",
            Check("", _route),
        ),
    }
    options = {
        "memory": Keyword(None, "MB in all (%mem); None: Gaussian's own, 800 MB", count),
        "cores": CORES,
    }
    program = Program(
        "gaussian", "g16", r"Gaussian \d+:\s+(\S+)", scratch=("Gau-*", "*.rwf", "fort.7")
    )
    handlers = (Handler("The SCF did not converge", _can_try_harder, _harder, most=1),)
    tested = "not run: input and parsing are tested against genuine files"
    install = "it comes with a licence of Gaussian, Inc. (https://gaussian.com)"
    citation = """@misc{Gaussian16,
  author = {Frisch, M. J. and Trucks, G. W. and Schlegel, H. B. and Scuseria, G. E. and others},
  title = {Gaussian 16}, year = {2016}, note = {Gaussian, Inc., Wallingford CT}
}
@article{Pople1992,
  author = {Pople, John A. and Gill, Peter M. W. and Johnson, Benny G.},
  title = {{Kohn--Sham} density-functional theory within a finite basis set},
  journal = {Chemical Physics Letters}, volume = {199}, pages = {557--560}, year = {1992},
  doi = {10.1016/0009-2614(92)85009-Y}
}"""

    def build(self, parameters: Mapping[str, Any], place: Place) -> Calculator:
        run = self.program.run_command()
        return _Gaussian(
            label=f"{place.folder}/gaussian",
            command=f"{run} < PREFIX.com > PREFIX.log 2> PREFIX.err",
            given=dict(parameters),
            options=dict(place.options),
        )

    def files(self, parameters: Mapping[str, Any]) -> list[Path]:
        """Return Gaussian's own files of defaults: they may change any number."""
        folders = os.environ.get("GAUSS_EXEDIR", "").split(os.pathsep)
        return [file for one in folders if one and (file := Path(one) / "Default.Route").is_file()][
            :1
        ]

    def merged(self, below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
        lower = {str(name).lower() for name in above}
        return {n: value for n, value in below.items() if str(n).lower() not in lower} | {**above}

    def check(self, atoms: Atoms, parameters: Mapping[str, Any]) -> list[str]:
        warnings = super().check(atoms, parameters)
        if route := os.environ.get("GAUSS_RDEF"):
            raise ParameterError(
                f"The environment variable GAUSS_RDEF={route!r} adds to every route section, which "
                "no key would know. Remove it, and pass method, basis and route=…"
            )
        if not re.search("dkh|dougl|rel", str(parameters["route"]).lower()):
            warnings += heavy_electrons(atoms, parameters["basis"])
        return warnings

    def uncorrected_functional(self, parameters: Mapping[str, Any]) -> str | None:
        if any(name.lower() == "empiricaldispersion" for name in parameters["route"]):
            raise twice(self.title, "EmpiricalDispersion in route")
        method = re.sub(r"^(u|ro|r)(?=hf$|b3lyp$|mp2$)", "", parameters["method"].lower())
        if re.search(r"(b97x?|plyp|apf)d3?$", method):
            raise twice(self.title, f"the functional {parameters['method']}")
        refuse_functional(self.title, method)
        refuse_mp2(self.title, method)
        return _ALSO.get(method, method)

    def diagnose(self, directory: Path) -> str | None:
        output = read(directory / "gaussian.log")
        if _unconverged(output) or "Convergence failure -- run terminated" in output:
            return (
                "the SCF did not converge. Look at the structure, its charge and multiplicity; "
                "then try route={'SCF': ['XQC', 'MaxCycle=300']}"
            )
        errors = directory / "gaussian.err"
        return ended(self.name, directory / "gaussian.log", errors, _TELLING)


_ALSO = {"pbe1pbe": "pbe0", "pbepbe": "pbe", "hseh1pbe": "hse06", "tpsstpss": "tpss"}
"""Functionals that have another name everywhere else."""
_TELLING = re.compile(
    r"The combination of multiplicity .*impossible.*|.*[Aa]tomic number out of range for .*|"
    r".*could not allocate memory.*|Out-of-memory error in routine.*|.*syntax error was detected.*|"
    r"QPErr --- .*|Erroneous (?:write|read)\..*|.*No space left on device.*|Unrecognized .*|"
    r"End of file in .*|EOF while reading .*|Small interatomic distances encountered.*|"
    r"(?:PGFIO|forrtl|ntrex1).*|Error termination (?:via|request|in).*"
)
"""How Gaussian's own lines about the end of a run begin."""


def _unconverged(output: str) -> bool:
    """Return whether the last SCF of an output stopped before it converged; Gaussian 16 goes on."""
    head = output.rpartition("SCF Done:")[0]
    return _UNCONVERGED in (head or output).rpartition("SCF Done:")[2]


class _Gaussian(Gaussian):
    """As ASE's, with what it would do in silence done or refused; see :func:`gaussian_in`."""

    def __init__(
        self,
        *,
        label: str,
        command: str,
        given: Mapping[str, Any],
        options: Mapping[str, Any],
    ) -> None:
        super().__init__(label=label, command=command)
        self._given, self._options = given, options

    def write_input(self, atoms: Atoms, properties: Any = None, system_changes: Any = None) -> None:
        folder = Path(self.directory)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "gaussian.com").write_text(gaussian_in(atoms, self._given, self._options))

    def read_results(self) -> None:
        folder = Path(self.directory)
        if _cut_off(output := read(folder / "gaussian.log")):
            raise CalculationError(f"Gaussian did not come to its end: {CODE.diagnose(folder)}.")
        assert self.atoms is not None
        self.results = read_results(output, self.atoms, self._given)


def _cut_off(output: str) -> bool:
    return "Normal termination of Gaussian" not in "".join(output.splitlines()[-5:])


def gaussian_in(
    atoms: Atoms, parameters: Mapping[str, Any], options: Mapping[str, Any] | None = None
) -> str:
    """Return the input.

    By ASE's writer, of the positions alone: ASE takes masses for isotopes, and cells for crystals.
    Without symmetry, so that forces and dipole are along the axes of the input, as nothing is
    turned.
    """
    bare = Atoms(atoms.numbers, atoms.positions)
    chosen = options or {}
    more: dict[str, Any] = {}
    if chosen.get("memory"):
        more["mem"] = f"{chosen['memory']}MB"
    if chosen.get("cores"):
        more["nprocshared"] = chosen["cores"]
    if parameters["cartesian"] is not None:
        more |= {"6D": "", "10F": ""} if parameters["cartesian"] else {"5D": "", "7F": ""}
    text = StringIO()
    write_gaussian_in(
        text,
        bare,
        properties=["energy", "forces"],
        xc=parameters["method"],
        basis=parameters["basis"],
        charge=parameters["charge"],
        mult=parameters["multiplicity"],
        nosymm="",
        **more,
        **{name: _listed(value) for name, value in parameters["route"].items()},
    )
    return text.getvalue()


def read_results(output: str, atoms: Atoms, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the results of a run.

    Raises
    ------
    CalculationError
        Gaussian did not come to its end, its SCF did not converge, something is missing, or it
        computed another molecule than it was told.
    """
    if _cut_off(output):
        raise CalculationError("Gaussian did not come to its end: its output is cut off or empty.")
    if _unconverged(output):
        raise CalculationError(
            "Gaussian came to its end, but its SCF did not converge. Look at the structure, its "
            "charge and multiplicity; then try route={'SCF': ['XQC', 'MaxCycle=300']}."
        )
    try:
        *others, last = read_gaussian_out(StringIO(output), index=slice(None))
        results = dict(last.calc.results)
    except (ValueError, IndexError) as error:
        raise CalculationError(f"The output of Gaussian cannot be read: {error}.") from error
    if others or "Standard orientation:" in output:
        raise CalculationError(
            "Gaussian turned the molecule, or computed several, although its input says neither. "
            "Look at its output."
        )
    state = re.findall(r"(?m)^ Charge = *(-?\d+) Multiplicity = *(\d+)", output)
    charge, multiplicity = map(int, state[-1]) if state else (None, None)
    found = Computed(last.get_chemical_symbols(), last.positions, charge, multiplicity)
    check_computed("Gaussian", atoms, parameters, found, _PRINTED)
    if lacking := [name for name in ("energy", "forces") if results.get(name) is None]:
        raise CalculationError(f"Gaussian printed no {' and no '.join(lacking)}.")
    if np.shape(results["forces"]) != (len(atoms), 3):
        raise CalculationError("Gaussian printed forces of another number of atoms.")
    _check_energy(output, results["energy"] / Hartree, parameters["method"].lower())
    kept = ["energy", "forces", *(["dipole"] if not parameters["charge"] else [])]
    return {name: results[name] for name in kept if results.get(name) is not None}


_PRINTED = 1e-5
"""How far positions as Gaussian prints them, with 6 digits, may be from those of the input (Å)."""


def _check_energy(output: str, energy: float, method: str) -> None:
    """Refuse an energy (Hartree) that is not the one which Gaussian's own summary has."""
    summary = re.sub(r"\n ", "", output.rpartition("1\\1\\GINC-")[2].partition("\\\\@")[0])
    values = {name: float(one) for name, one in re.findall(r"\\(HF|MP2)=(-?[\d.]+)", summary)}
    second_order = re.search(r"(?m)^ E2(\([^)]+\))? = ", output)
    if second_order is None and re.search("mp2|plyp|dsd|pbe0dh|qidh", method):
        raise CalculationError(
            f"Gaussian printed the energy of an SCF, and not that of {method}. Look at its output."
        )
    # What the summary calls that of a double hybrid is not documented.
    name = "HF" if second_order is None else "" if second_order[1] else "MP2"
    if name in values and abs(values[name] - energy) > 2e-6:
        raise CalculationError(
            f"The energy read from Gaussian's output, {energy:.7f} Hartree, is not the "
            f"{values[name]:.7f} of its own summary ({name}). Look at its output."
        )


CODE = GaussianCode()
