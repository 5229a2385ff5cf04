"""NWChem: Hartree-Fock and density functional theory of molecules, the external program nwchem."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.nwchem import NWChem
from ase.io.nwchem import write_nwchem_in

from quacc.calculators.code import Place
from quacc.calculators.dispersion import refuse_functional, twice
from quacc.calculators.keyword import Check, Keyword, count, flag, one_of, positive, whole
from quacc.calculators.molecules import Molecules
from quacc.calculators.program import Program
from quacc.errors import CalculationError, ParameterError, suggest

_WORDS = re.compile(r"[\w.+\-*(),!\[\] ]+")


def _words(name: str, value: Any) -> None:
    if not isinstance(value, str) or not value.strip() or not _WORDS.fullmatch(value):
        raise ParameterError(f"{name} must be a word of NWChem's input, not {value!r}.")


def _word_or_words(name: str, value: Any) -> None:
    if not isinstance(value, Mapping) or not value:
        _words(name, value)
        return
    for symbol, word in value.items():
        _words(name, symbol)
        _words(name, word)


def _of_elements(name: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise ParameterError(f"{name} must be {{element: name}}, not {value!r}.")
    _word_or_words(name, value or "none")


def _input(name: str, value: Any) -> None:
    """Refuse what is not NWChem's input, and what would contradict the keywords."""
    if not isinstance(value, Mapping):
        raise ParameterError(f"{name} must be a dictionary of NWChem's blocks, not {value!r}.")
    for block, content in value.items():
        if block not in _DECIDED:
            raise ParameterError(
                f"{name} cannot have {block!r}, only {', '.join(_DECIDED)}. Structure, charge, "
                "spin, basis set and task are keywords, and relaxations, vibrations and dynamics "
                "are jobs of their own."
            )
        if not isinstance(content, Mapping):
            raise ParameterError(f"{block} of {name} must be {{keyword: value}}, not {content!r}.")
        for keyword, given in _flat(content):
            _words(f"{block} of {name}", keyword)
            if given is not None and not isinstance(given, bool | int | float):
                _words(f"{keyword} in {block} of {name}", given)
            first = keyword.lower().split()[0]
            if first in _DECIDED[block] or (first == "convergence" and first != keyword.lower()):
                raise ParameterError(
                    f"{name} cannot set {first} in {block}: it is what quacc's keywords say, or "
                    "would make the energy another one."
                )


def _flat(content: Mapping[str, Any]) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for keyword, value in content.items():
        found += [(keyword, None), *_flat(value)] if isinstance(value, Mapping) else []
        found += [] if isinstance(value, Mapping) else [(keyword, value)]
    return found


_SPINS = (
    *("singlet", "doublet", "triplet", "quartet", "quintet", "sextet", "septet", "octet"),
    *("nopen", "rhf", "rohf", "uhf"),
)
_DECIDED: Mapping[str, frozenset[str]] = {
    "scf": frozenset([*_SPINS, "vectors", "noscf", "maxiter", "thresh"]),
    "dft": frozenset(
        [
            *(
                "mult",
                "odft",
                "rodft",
                "cdft",
                "xc",
                "vectors",
                "noscf",
                "smear",
                "fon",
                "iterations",
            ),
            *("energy", "density", "gradient", "grid"),
        ]
    ),
    "relativistic": frozenset(),
    "print": frozenset(),
}
"""Blocks that the input may have beside quacc's keywords, and what they may not set."""

_EXCHANGE = frozenset(
    [
        *(
            "slater",
            "becke88",
            "becke86b",
            "xpbe96",
            "revpbe",
            "rpbe",
            "xperdew91",
            "gill96",
            "optx",
        ),
        *("xtpss03", "xscan", "pw86", "mpw91", "xft97", "xpbesol"),
    ]
)
"""NWChem's functionals of exchange alone."""

_CORED = {
    "dhf-": 36,
    "lanl": 10,
    "modified lanl": 10,
    "modified_lanl": 10,
    "hay": 10,
    "crenb": 2,
    "sbkjc": 2,
    "psbkjc": 2,
    "stuttgart": 2,
    "sdb": 2,
}
"""How basis sets begin that are made for effective core potentials of elements beyond a number."""


class NWChemCode(Molecules):
    name = "nwchem"
    title = "NWChem (Hartree-Fock and density functional theory of molecules)"
    keywords = {
        "theory": Keyword("dft", "scf: Hartree-Fock", one_of("dft", "scf")),
        "xc": Keyword(
            None,
            "the functional, in NWChem's words, such as b3lyp or 'becke88 lyp'; also lda, pbe, "
            "revpbe, rpbe and pw91, as in ASE; None: pbe0",
            Check("", _words),
        ),
        "basis": Keyword(
            "def2-svp",
            "the basis set of NWChem's library, or {element: basis set}",
            Check("", _word_or_words),
        ),
        "ecp": Keyword(
            None,
            "{element: effective core potential of NWChem's library}; None: def2-ecp beyond "
            "krypton with basis sets that begin with def2",
            Check("", _of_elements),
        ),
        "charge": Keyword(None, "None: the sum of the initial charges", whole),
        "multiplicity": Keyword(
            None,
            "above 1, spins are unrestricted; None: from the initial magnetic moments; without "
            "any, 1, or 2 for an odd number of electrons",
            count,
        ),
        "cartesian": Keyword(
            False,
            "six Cartesian d functions, as 6-31G* is defined with, rather than five spherical ones",
            flag,
        ),
        "thresh": Keyword(
            1e-6, "of the SCF: how large the gradient with respect to orbitals may be", positive
        ),
        "maxiter": Keyword(100, "maximum number of SCF iterations", count),
        "grid": Keyword(
            "fine",
            "of the integration",
            one_of("xcoarse", "coarse", "medium", "fine", "xfine", "huge"),
        ),
        "input_data": Keyword(
            {},
            "anything else of the blocks scf, dft, relativistic and print, as in NWChem's manual: "
            "{'dft': {'disp': 'vdw 3'}}",
            Check("", _input),
        ),
    }
    options = {"memory": Keyword(None, "MB for each process; None: NWChem's own", count)}
    program = Program(
        "nwchem",
        "nwchem",
        r"nwchem branch\s+=\s*(\S+)",
        ask_with=("/dev/null",),
        parallel=True,
        scratch=(
            *("nwchem.db", "nwchem.movecs", "nwchem.cfock", "nwchem.p", "nwchem.zmat"),
            *("nwchem.gridpts.*", "nwchem.grid.*", "nwchem.aoints.*", "nwchem.oexch*"),
        ),
    )
    install = "`apt-get install nwchem` or `conda install -c conda-forge nwchem`"
    citation = """@article{Apra2020,
  author = {Apr{\\`a}, E. and Bylaska, E. J. and de Jong, W. A. and others},
  title = {{NWChem}: Past, present, and future},
  journal = {The Journal of Chemical Physics}, volume = {152}, pages = {184102}, year = {2020},
  doi = {10.1063/5.0004997}
}"""

    def build(self, parameters: Mapping[str, Any], place: Place) -> Calculator:
        data = {block: dict(content) for block, content in parameters["input_data"].items()}
        theory, thresh = parameters["theory"], parameters["thresh"]
        unpaired, maxiter = parameters["multiplicity"] - 1, parameters["maxiter"]
        ours: dict[str, Any] = {"nopen": unpaired, "thresh": thresh, "maxiter": maxiter}
        more: dict[str, Any] = {}
        if theory == "dft":
            how = data.get("dft", {}).pop("convergence", {})
            ours = {
                "mult": unpaired + 1,
                "iterations": maxiter,
                "grid": parameters["grid"],
                "convergence": {
                    "energy": thresh / 100,
                    "density": thresh / 10,
                    "gradient": thresh,
                    **how,
                },
            }
            more["xc"] = parameters["xc"]
        else:
            ours["rhf" if unpaired == 0 else "uhf"] = None
        if parameters["ecp"]:
            libraries = {f"{one} library": _quoted(name) for one, name in parameters["ecp"].items()}
            more["ecp"] = libraries
        if place.options.get("memory"):
            more["memory"] = f"total {place.options['memory']} mb"
        basis = parameters["basis"]
        # Output of an earlier run must not be taken for that of one which died without a word.
        command = (
            f"rm -f PREFIX.nwo; {self.program.run_command()} PREFIX.nwi > PREFIX.nwo 2> PREFIX.err"
        )
        return _NWChem(
            label=f"{place.folder}/nwchem",
            command=command,
            **{**data, theory: {**ours, **data.get(theory, {})}, **more},
            theory=theory,
            basis=_quoted(basis)
            if isinstance(basis, str)
            else {one: _quoted(name) for one, name in basis.items()},
            basispar="cartesian" if parameters["cartesian"] else "spherical",
            charge=parameters["charge"],
        )

    def files(self, parameters: Mapping[str, Any]) -> list[Path]:
        """Return the files of the basis sets and core potentials, where the library is known."""
        names = _libraries(parameters)
        files = (_library() / _file_name(name) for name in sorted({*names}))
        return [file for file in files if file.is_file()]

    def resolve(self, atoms: Atoms, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Name functional, core potentials, charge and multiplicity."""
        found = super().resolve(atoms, parameters)
        if found["theory"] == "scf":
            if found["xc"] is not None:
                raise ParameterError(
                    f"theory='scf' is Hartree-Fock and has no functional, but xc={found['xc']!r}. "
                    "Leave one of both out."
                )
        elif found["xc"] is None:
            found["xc"] = "pbe0"
        found["ecp"] = _core_potentials(atoms, found)
        return found

    def check(self, atoms: Atoms, parameters: Mapping[str, Any]) -> list[str]:
        warnings = super().check(atoms, parameters)
        words = {word for word in str(parameters["xc"] or "").lower().split() if word[0].isalpha()}
        if words and words <= _EXCHANGE and words != {"revpbe"} and words != {"rpbe"}:
            warnings.append(
                f"xc={parameters['xc']!r} is exchange without correlation to NWChem. Name both, "
                "such as 'becke88 lyp'."
            )
        if _library().is_dir():
            for name in _libraries(parameters):
                if not (_library() / _file_name(name)).is_file():
                    known = sorted(file.name for file in _library().iterdir())
                    raise ParameterError(
                        f"NWChem's library has no {name!r} in {str(_library())!r}."
                        f"{suggest(_file_name(name), known)} The environment variable "
                        "NWCHEM_BASIS_LIBRARY names another folder, with a slash at its end."
                    )
        heavy = {s for s, z in zip(atoms.symbols, atoms.numbers, strict=True) if z > 36}
        bare = sorted(heavy - {*parameters["ecp"]})
        if bare and "relativistic" not in parameters["input_data"]:
            warnings.append(
                f"All electrons of {', '.join(bare)} are computed, without relativity. Take a "
                "basis set with effective core potentials, such as def2-svp."
            )
        return warnings

    def uncorrected_functional(self, parameters: Mapping[str, Any]) -> str | None:
        if parameters["theory"] == "scf":
            return "hf"
        for name, value in _flat(parameters["input_data"].get("dft", {})):
            words = f"{name} {value}".lower().split()
            if words[0] in ("disp", "xdm") and words[1] not in ("off", "false"):
                raise twice(self.title, f"{name} in input_data")
        refuse_functional(self.title, parameters["xc"])
        return str(parameters["xc"])

    def diagnose(self, directory: Path) -> str | None:
        output = _read(directory / "nwchem.nwo")
        errors = _read(directory / "nwchem.err")
        if _UNCONVERGED in output:
            dft = "; or input_data={'dft': {'convergence': {'lshift': 0.3}}}"
            return (
                "the SCF did not converge. Look at the structure, its charge and multiplicity; "
                f"then try more maxiter{dft * ('DFT Module' in output)}"
            )
        # Between two lines of dashes, and with a number at the end.
        told = re.findall(r"(?m)^ -{72}\n ([^|\n]*\S)\s+-?\d+ *\n -{72}$", output)
        about = re.findall(
            r"(?m)^\s*(bas_tag_lib: failed to locate .*?|There is an error in .*?)\s*$", output
        )
        line = re.findall(r"(?m)^ current input line : *\n\s*\d+: *(.*\S)", output)
        if told or about:
            where = [f"at the line {line[-1]!r} of its input"] if line else []
            return "; ".join(dict.fromkeys([*about, *told, *where]))
        lines = [line.strip() for line in errors.splitlines() if line.strip()]
        lines = [line for line in lines if not re.search(_NOISE, line)]
        if lines:
            return "; ".join(lines[-3:])
        if output:
            return f"its output ends with: {output.strip().splitlines()[-1].strip()}"
        silent = (directory / "nwchem.err").is_file()
        return (
            "it wrote no output; check that the setting commands.nwchem starts it" * silent or None
        )


_UNCONVERGED = "Calculation failed to converge"
_NOISE = "ARMCI|ORTE_ERROR|MPI_ABORT|[Ee]rrorcode|^[-=*]+$|mpirun|prterun|NOTE:|exactly when"
"""What launchers add to an error of the program."""


def _core_potentials(atoms: Atoms, parameters: Mapping[str, Any]) -> dict[str, str]:
    """Return the effective core potential of each element that has one.

    Without it, NWChem takes a basis set that is made for one with all electrons, and says nothing.

    Raises
    ------
    ParameterError
        A basis set needs one that is not named.
    """
    given, basis = parameters["ecp"], parameters["basis"]
    found = {}
    for number, symbol in sorted({*zip(atoms.numbers, atoms.symbols, strict=True)}):
        name = basis if isinstance(basis, str) else basis.get(symbol, basis.get("*"))
        if name is None:
            raise ParameterError(f"basis names no basis set for {symbol}: {basis!r}.")
        lower = name.lower().strip()
        if given and symbol in given:
            found[symbol] = given[symbol]
        elif lower.startswith("def2") and number > 36:
            found[symbol] = "def2-ecp"
        elif lower.endswith("-pp") or any(
            lower.startswith(start) and number > beyond for start, beyond in _CORED.items()
        ):
            raise ParameterError(
                f"The basis set {name!r} is made for an effective core potential of {symbol}. "
                f"Name it, as in ecp={{{symbol!r}: 'lanl2dz_ecp'}}."
            )
    return found


def _libraries(parameters: Mapping[str, Any]) -> list[str]:
    """Return the names of the basis sets and core potentials."""
    basis, cores = parameters["basis"], parameters["ecp"] or {}
    return [*([basis] if isinstance(basis, str) else basis.values()), *cores.values()]


def _library() -> Path:
    """Return the folder of NWChem's basis sets; Debian's, unless something names another one."""
    if named := os.environ.get("NWCHEM_BASIS_LIBRARY"):
        return Path(named)
    found = re.search(r"(?m)^\s*nwchem_basis_library\s+(\S+)", _read(Path.home() / ".nwchemrc"))
    return Path(found.group(1) if found else "/usr/share/nwchem/libraries")


def _file_name(name: str) -> str:
    """Return the name of a basis set's file, as NWChem makes it."""
    return re.sub(r"[()]", "", re.sub(r"[ ,]", "_", name.lower().strip().replace("*", "s")))


def _quoted(name: str) -> str:
    return f'"{name}"' if " " in name else name


class _NWChem(NWChem):
    """With files in the working folder, whose path NWChem's input cannot take if it has spaces or
    is long."""

    def write_input(self, atoms: Atoms, properties: Any = None, system_changes: Any = None) -> None:
        """Write the input; spin is in the parameters already."""
        free = atoms.copy()
        free.set_initial_magnetic_moments(None)
        text = StringIO()
        write_nwchem_in(text, free, ["energy", "forces"], label="nwchem", **self.parameters)
        lines = text.getvalue().splitlines()
        kept = [one for one in lines if not one.startswith(("permanent_dir", "scratch_dir"))]
        folder = Path(self.directory)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / self.input_filename()).write_text("\n".join([*kept, ""]))

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Compute energy and forces in one run, and see that both are there."""
        super().calculate(atoms, properties, system_changes)
        output = _read(Path(self.directory) / "nwchem.nwo")
        missing = [name for name in ("energy", "forces") if name not in self.results]
        if missing or _UNCONVERGED in output:
            what = f"printed no {' and no '.join(missing)}" if missing else "did not converge"
            raise CalculationError(f"NWChem came to an end, but {what}.")
        self.results.pop("free_energy", None)
        if self.parameters["charge"]:  # that of an ion depends on the origin
            self.results.pop("dipole", None)


def _read(file: Path) -> str:
    return file.read_text("utf-8", "replace") if file.is_file() else ""


CODE = NWChemCode()
