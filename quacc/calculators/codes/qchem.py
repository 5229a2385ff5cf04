"""Q-Chem: molecules with Gaussian basis functions; a program under a licence of its own."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, SCFError
from ase.calculators.qchem import QChem
from ase.units import Debye, Hartree

from quacc.calculators.code import Place
from quacc.calculators.dispersion import refuse_functional, twice
from quacc.calculators.files import read
from quacc.calculators.keyword import Check, Keyword, count, whole
from quacc.calculators.molecules import (
    CORED,
    CORES,
    MULTIPLICITY,
    Computed,
    Molecules,
    check_computed,
    ended,
    heavy_electrons,
    word,
)
from quacc.calculators.program import Program
from quacc.calculators.recovery import Handler
from quacc.errors import CalculationError, ParameterError

_BEYOND = re.compile(
    r"(\w+-)*(u|ro|r)?(\w*mp[2-4]|oo|o2$|od(\(|$)|v?qcc|vod|ccs?d|cc[23]|qcis|cis|ci$|adc|eom|sf-|"
    r"td|casscf|ras|mrci|gvb|pp$|cp$|b2.*plyp|xyg|dsd|pwpb95|ptpss|pbe0-(dh|2)|wb97x-2|mpw2)|"
    r".*(\(t\)|\(d\)|\(2\)|\(3\)|-dh$|qidh)"
)
"""Methods with correlation after the SCF, whose energy and forces ASE does not read."""


def _method(name: str, value: Any) -> None:
    word("Q-Chem").refuse(name, value)
    if _BEYOND.match(value.lower()):
        raise ParameterError(
            f"{name} cannot be {value!r}: of what Q-Chem computes, ASE reads the energy of the SCF "
            "alone, so that quacc takes Hartree-Fock and density functionals from it."
        )


_KEYWORDS = {
    **dict.fromkeys(("method", "exchange", "correlation", "level_correlation"), "method"),
    **dict.fromkeys(("basis", "basis2", "basis_projection_type", "dual_basis_energy"), "basis"),
    **{one: one for one in ("ecp", "scf_convergence", "max_scf_cycles")},
    "scf_max_cycles": "max_scf_cycles",
    **dict.fromkeys(("mem_total", "mem_static"), "memory"),
}
"""Variables of $rem that are quacc's, and under which name."""
_DECIDED = re.compile(
    r"job_?type|sym_ignore|symmetry|sym_tol|no_reorient|input_bohr|scf_guess|scf_print|"
    r"scf_final_print|skip_\w+|solvent\w*|chem_sol|svp\w*|smx\w*|"
    r"geom_opt\w*|hess\w*|ideriv|fdiff\w*|cis_\w+|ee_\w+|cc_\w+|eom_\w+|adc_\w+|mp2_\w+|"
    r"sts_\w+|aimd\w*|time_step|qm_mm\w*|efp\w*|rpath\w*|fsm\w*|spin_flip|occupations|"
    r"frgm\w*|eda\w*|mom_start|mom_method|stability_analysis|internal_stability|"
    r"gen_scfman_final|cdft|jobtype\w*|read_vdw|esp_\w+|plots|molden_format|gui|save_\w+|"
    r"aux_basis\w*|n_frozen\w*|nbo|force_field|user_connect|isotopes|vibman\w*|anhar\w*"
)
"""Variables of $rem that are another task, need a section of their own, start from another file,
or change the energy or the forces after what ASE reads."""


def _rem(name: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise ParameterError(f"{name} must be {{variable of $rem: value}}, not {value!r}.")
    for variable, given in value.items():
        if not isinstance(variable, str) or not re.fullmatch(r"[A-Za-z]\w*", variable):
            raise ParameterError(f"{name} cannot have {variable!r}, which is no variable of $rem.")
        lower = variable.lower()
        if lower in _KEYWORDS:
            raise ParameterError(
                f"{name} cannot set {variable}: pass {_KEYWORDS[lower]}=… instead."
            )
        if _DECIDED.fullmatch(lower):
            raise ParameterError(
                f"{name} cannot set {variable}: quacc asks for one energy with its forces, from "
                "scratch, in a vacuum (the forces that ASE reads are without a solvent's part), "
                "and other tasks are jobs of their own."
            )
        plain = isinstance(given, bool | int | str)
        if not plain or (isinstance(given, str) and not re.fullmatch(r"[\w.\-]+", given)):
            raise ParameterError(f"{variable} of {name} must be one word or number, not {given!r}.")


def _digits(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 5 <= value <= 14:
        raise ParameterError(f"{name} must be a whole number from 5 to 14, not {value!r}.")


def _geometric(parameters: Mapping[str, Any], folder: Path) -> tuple[dict[str, Any], str]:
    rem = {**parameters["rem"], "SCF_ALGORITHM": "GDM"}
    return {**parameters, "rem": rem, "max_scf_cycles": 500}, "SCF_ALGORITHM=GDM, up to 500 cycles"


def _can_be_geometric(folder: Path) -> bool:
    tried = "SCF_ALGORITHM" in read(folder / "qchem.inp").upper()
    return not tried and _UNCONVERGED in read(folder / "qchem.out")


_UNCONVERGED = "SCF failed to converge"


class QChemCode(Molecules):
    name = "qchem"
    title = "Q-Chem (Hartree-Fock and density functional theory of molecules)"
    keywords = {
        "method": Keyword(
            "PBE0",
            "the functional in Q-Chem's words, such as B3LYP, wB97X-V or B97M-V; HF",
            Check("", _method),
        ),
        "basis": Keyword("def2-SVP", "a basis set of Q-Chem's library", word("Q-Chem")),
        "ecp": Keyword(
            None,
            "an effective core potential of Q-Chem's library; None: def2-ECP beyond krypton with "
            "basis sets that begin with def2",
            word("Q-Chem"),
        ),
        "charge": Keyword(None, "None: the sum of the initial charges", whole),
        "multiplicity": MULTIPLICITY,
        "scf_convergence": Keyword(
            8, "10 to the power of minus this is the error of the SCF", Check("5 to 14", _digits)
        ),
        "max_scf_cycles": Keyword(100, "maximum number of SCF iterations", count),
        "rem": Keyword(
            {},
            "anything else of $rem that changes no task: {'XC_GRID': 3, 'DFT_D': 'D3_BJ', "
            "'UNRESTRICTED': True}",
            Check("", _rem),
        ),
    }
    options = {
        "memory": Keyword(None, "MB in all (MEM_TOTAL); None: Q-Chem's own", count),
        "cores": CORES,
    }
    program = Program(
        "qchem",
        "qchem",
        r"Q-Chem (\d\S*) for",
        ask_with=("version.in",),
        ask_of="$rem\n",
        scratch=("pathtable", "*.fchk", "core.*"),
    )
    handlers = (Handler("The SCF did not converge", _can_be_geometric, _geometric, most=1),)
    tested = "not run: input is tested, parsing against genuine files, forces against an excerpt"
    install = "it comes with a licence of Q-Chem, Inc. (https://www.q-chem.com)"
    citation = """@article{Epifanovsky2021,
  author = {Epifanovsky, Evgeny and Gilbert, Andrew T. B. and Feng, Xintian and Lee, Joonho and
    Mao, Yuezhi and others},
  title = {Software for the frontiers of quantum chemistry: An overview of developments in the
    {Q-Chem} 5 package},
  journal = {The Journal of Chemical Physics}, volume = {155}, pages = {084801}, year = {2021},
  doi = {10.1063/5.0055522}
}"""

    def build(self, parameters: Mapping[str, Any], place: Place) -> Calculator:
        cores = place.options.get("cores")
        start = f"{self.program.run_command()}{f' -nt {cores}' if cores else ''}"
        # Output of an earlier run must not be taken for that of one which died without a word.
        return _QChem(
            label=f"{place.folder}/qchem",
            command=f"rm -f PREFIX.out; {start} PREFIX.inp PREFIX.out > PREFIX.log 2> PREFIX.err",
            given=dict(parameters),
            memory=place.options.get("memory"),
        )

    def files(self, parameters: Mapping[str, Any]) -> list[Path]:
        """Return the site's and the user's files of defaults: they may change any number."""
        files = [Path.home() / ".qchemrc"]
        if root := os.environ.get("QC"):
            files.insert(0, Path(root) / "config" / "preferences")
        return [file for file in files if file.is_file()]

    def merged(self, below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
        lower = {str(name).lower() for name in above}
        return {n: value for n, value in below.items() if str(n).lower() not in lower} | {**above}

    def resolve(self, atoms: Atoms, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Name charge, multiplicity and core potential."""
        found = super().resolve(atoms, parameters)
        heavy = bool((atoms.numbers > 36).any())
        if found["ecp"] is None and heavy and found["basis"].lower().startswith("def2"):
            found["ecp"] = "def2-ECP"
        if found["ecp"] is None and (atoms.numbers > 2).any() and CORED.match(found["basis"]):
            raise ParameterError(
                f"The basis set {found['basis']!r} is made for effective core potentials. Name "
                "them, as in ecp='fit-LANL2DZ'."
            )
        return found

    def check(self, atoms: Atoms, parameters: Mapping[str, Any]) -> list[str]:
        warnings = super().check(atoms, parameters)
        return warnings + (
            heavy_electrons(atoms, parameters["basis"]) if parameters["ecp"] is None else []
        )

    def uncorrected_functional(self, parameters: Mapping[str, Any]) -> str | None:
        for name in parameters["rem"]:
            if re.match(r"dft_d|nl_corr|xdm|disp|mbdvdw|tsvdw", name.lower()):
                raise twice(self.title, f"{name} in rem")
        refuse_functional(self.title, parameters["method"])
        changed = any(re.match(r"omega|hf|lrc_|\w+_coef", one.lower()) for one in parameters["rem"])
        return None if changed else str(parameters["method"])

    def diagnose(self, directory: Path) -> str | None:
        output = read(directory / "qchem.out")
        if _UNCONVERGED in output:
            return (
                "the SCF did not converge. Look at the structure, its charge and multiplicity; "
                "then try more max_scf_cycles, or rem={'SCF_ALGORITHM': 'GDM'}"
            )
        if not output and (log := read(directory / "qchem.log").strip()):
            return " / ".join(log.splitlines()[-3:])
        return ended(self.name, directory / "qchem.out", directory / "qchem.err", _TELLING)


_TELLING = re.compile(
    r".*[Ff]atal error.*|.*Invalid charge/multiplicity combination.*|.*charge.*multiplicity.*|"
    r"Basis not supported for the above atom.*|.*input file has failed to pass inspection.*|"
    r"Please (?:use larger|increase) MEM_(?:STATIC|TOTAL).*|.*FlexNet Licensing error.*|"
    r"Unable to validate license.*|.*[Ll]icense .*|method not available.*|.*[Oo]ut of memory.*|"
    r".*No space left on device.*|Error in Q-?Chem.*|.*exceeded disk quota.*"
)
"""Lines in which Q-Chem tells why it ends."""


class _QChem(QChem):
    """As ASE's, with its input written and its output checked by us; see the functions below."""

    def __init__(
        self, *, label: str, command: str, given: Mapping[str, Any], memory: int | None
    ) -> None:
        super().__init__(label=label)
        self.command = command  # ASE's does not take one
        self._given, self._memory = given, memory

    def write_input(self, atoms: Atoms, properties: Any = None, system_changes: Any = None) -> None:
        folder = Path(self.directory)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "qchem.inp").write_text(qchem_in(atoms, self._given, self._memory))

    def read_results(self) -> None:
        folder = Path(self.directory)
        if _cut_off(output := read(folder / "qchem.out")):
            raise CalculationError(f"Q-Chem did not come to its end: {CODE.diagnose(folder)}.")
        try:
            super().read_results()  # forces
        except SCFError:
            self.results = {}
        except (ValueError, IndexError, StopIteration) as error:
            raise CalculationError(f"The output of Q-Chem cannot be read: {error}.") from error
        assert self.atoms is not None
        self.results = read_results(output, self.results, self.atoms, self._given)


def _cut_off(output: str) -> bool:
    return "Thank you very much for using Q-Chem" not in output[-1000:]


def qchem_in(atoms: Atoms, parameters: Mapping[str, Any], memory: int | None = None) -> str:
    """Return the input.

    ASE's writer takes the charge 0 whatever the atoms say, six digits of the positions, and texts
    alone as values.
    """
    rem = {
        "JOBTYPE": "FORCE",
        "METHOD": parameters["method"],
        "BASIS": parameters["basis"],
        "ECP": parameters["ecp"],
        "SCF_CONVERGENCE": parameters["scf_convergence"],
        "THRESH": min(14, parameters["scf_convergence"] + 3),  # as the manual has it
        "MAX_SCF_CYCLES": parameters["max_scf_cycles"],
        "MEM_TOTAL": memory,
        "SYM_IGNORE": True,  # forces are along the axes of the input
        **{name.upper(): value for name, value in parameters["rem"].items()},
    }
    lines = ["$comment", "   written by quacc", "$end", "", "$rem"]
    for name, value in rem.items():
        if value is not None:
            lines.append(
                f"   {name:<25} {str(value).upper() if isinstance(value, bool) else value}"
            )
    lines += ["$end", "", "$molecule", f"   {parameters['charge']} {parameters['multiplicity']}"]
    for symbol, position in zip(atoms.symbols, atoms.positions, strict=True):
        lines.append(f"   {symbol:<2} " + " ".join(f"{one:18.12f}" for one in position))
    return "\n".join([*lines, "$end", ""])


def read_results(
    output: str, read_by_ase: Mapping[str, Any], atoms: Atoms, parameters: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the results of a run: ASE's forces, and the total energy, which Q-Chem 6 names anew.

    Raises
    ------
    CalculationError
        Q-Chem did not come to its end, its SCF did not converge, something is missing, it computed
        another molecule than it was told, or an energy beyond the SCF, which is not read.
    """
    if _cut_off(output):
        raise CalculationError("Q-Chem did not come to its end: its output is cut off or empty.")
    if _UNCONVERGED in output or "Convergence criterion met" not in output:
        raise CalculationError("Q-Chem came to its end, but its SCF did not converge.")
    if beyond := re.search(r"(?m)^.*(?:MP2|CCSD|CCD|ADC|CIS)\S* +[Tt](?:otal|OTAL) .*$", output):
        raise CalculationError(
            f"Q-Chem printed an energy beyond that of the SCF, which is not read: "
            f"{beyond[0].strip()!r}."
        )
    if re.search("Gradient of CDS|total gradient after adding PCM", output):
        raise CalculationError(
            "Q-Chem computed in a solvent, whose part of the forces ASE does not read."
        )
    energies = re.findall(
        r"(?m)^ *Total energy(?: in the final basis set)? = +(-?\d+\.\d+) *$", output
    )
    shapes = np.shape(read_by_ase.get("forces", ()))
    lacking = [*(["energy"] if len(energies) != 1 else [])]
    lacking += ["forces"] if shapes != (len(atoms), 3) else []
    if lacking:
        raise CalculationError(
            f"Q-Chem printed no {' and no '.join(lacking)} of one molecule of {len(atoms)} atoms."
        )
    table = output.rpartition("Standard Nuclear Orientation (Angstroms)")[2]
    rows = re.findall(r"(?m)^ +\d+ +([A-Z][a-z]?)((?: +-?\d+\.\d+){3}) *$", table)
    spins = re.search(r"There are +(\d+) alpha and +(\d+) beta electrons", output)
    found = Computed(
        [symbol for symbol, _ in rows],
        np.array([row.split() for _, row in rows], dtype=float),
        _charge(output),
        int(spins[1]) - int(spins[2]) + 1 if spins else None,
    )
    check_computed("Q-Chem", atoms, parameters, found, _PRINTED)
    results = {"energy": float(energies[0]) * Hartree, "forces": read_by_ase["forces"]}
    number = r" +(-?\d+\.\d+)"
    dipole = re.search(rf"Dipole Moment \(Debye\)\s+X{number} +Y{number} +Z{number}", output)
    if dipole and not parameters["charge"]:  # that of an ion depends on the origin
        results["dipole"] = np.array(dipole.groups(), dtype=float) * Debye
    return results


def _charge(output: str) -> int | None:
    """Return the charge of the input that Q-Chem repeats in its output."""
    found = re.search(r"(?i)\$molecule\s+(-?\d+) +\d+\s", output)
    return int(found[1]) if found else None


_PRINTED = 1e-6
"""How far positions as Q-Chem prints them, with 10 digits, may be from those of the input (Å)."""

CODE = QChemCode()
