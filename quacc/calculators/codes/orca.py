"""ORCA: molecules with Gaussian basis functions; a program under a licence of its own."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.calculators.genericfileio import GenericFileIOCalculator
from ase.calculators.orca import OrcaProfile, OrcaTemplate
from ase.io.orca import read_dipole, read_energy, read_orca_engrad, write_orca
from ase.units import Bohr, Hartree

from quacc.calculators.code import Place
from quacc.calculators.dispersion import refuse_functional, twice
from quacc.calculators.files import read
from quacc.calculators.keyword import Check, Keyword, count, one_of, whole
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
    r"(\w+-)*(u|ro|r)?(dlpno-(?!mp2|b2|db2)|lpno|ccs?d|cc[23]|cis|qcis|cepa|[na]?cpf|mp[34]|mp2\.5|"
    r"cas|nevpt|mr|fic|s?t?eom|adc|ice|dmrg|zindo|am1|pm3|mndo|gfn|xtb|native|bccd|oo-|autoci)|"
    r".*(-f12|\(t\))"
)
"""Methods without analytic forces, of another program, or which are no method of electrons."""


def _method(name: str, value: Any) -> None:
    word("ORCA").refuse(name, value)
    if _BEYOND.match(value.lower()):
        raise ParameterError(
            f"{name} cannot be {value!r}: quacc takes from ORCA what has analytic forces, "
            "Hartree-Fock, density functionals, MP2 and double hybrids."
        )


_TASKS = re.compile(
    r"(l|cart|z|c|copt|rigidbody|ts|ci-?|mecp-?|surfcross|tight|verytight|loose|normal)?opt\w*|"
    r"optts|scants|\w*freq|engrad|numgrad|sp|energy|gradient|md|irc|neb\S*|zoom-neb\S*|scan\S*|"
    r"compound|goat\S*|docker\S*|solvator|qm/?\S*|\S*oniom\S*|mm|extopt|properties\S*|"
    r"usesym|moread|(no)?autostart|pal\d+|nopal|ghost\S*|xyzfile|conformersearch|crystal\S*|"
    r"(tight|verytight|extreme|normal|strong|loose|sloppy)scf|scfconv\d*|ignoreconv|noiter|"
    r"(\w+-)*mp2|sthesh|vpt2|esd\S*|nmr|stda?|tddft|cis(\(d\))?|deltascf|fod|hf|rhf|uhf|rohf",
    re.IGNORECASE,
)
"""Words of the line ``!`` that are another task, or a keyword of quacc's."""


def _words(name: str, value: Any) -> None:
    if not isinstance(value, str) or not re.fullmatch(r"[\w.+\-*(),/\[\]:= ]*", value):
        raise ParameterError(
            f"{name} must be words of ORCA's line !, such as 'RIJCOSX def2/J', not {value!r}."
        )
    for one in value.split():
        if _TASKS.fullmatch(one) or _BEYOND.match(one.lower()):
            raise ParameterError(
                f"{name} cannot have {one}: quacc asks for one energy with its forces, and method, "
                "basis, convergence, maxiter, charge, spin, memory and cores are keywords of their "
                "own."
            )


_BLOCKS = ("scf", "method", "basis", "cpcm", "rel", "mp2", "elprop", "output")
_DECIDED = re.compile(
    r"\b(moinp|guess\s+moread|maxiter|hfmult|hftyp|convforced|ignoreconv|runtyp|numgrad|extrabasis|"
    r"autostart|do_?deltascf|nprocs|efield|readfragorbs|method\s|functional|dod[34]|d[34]|"
    r"gtoname|gtoauxname|fracocc|smeartemp|flipspin|finalms|constraints?)\b",
    re.IGNORECASE,
)


def _blocks(name: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise ParameterError(f"{name} must be {{block: its lines}}, not {value!r}.")
    for block, lines in value.items():
        if not isinstance(block, str) or block.lower() not in _BLOCKS:
            raise ParameterError(
                f"{name} cannot have %{block}, only {', '.join(_BLOCKS)}: relaxations, vibrations "
                "and dynamics are jobs of their own, memory and cores options."
            )
        if not isinstance(lines, str) or not re.fullmatch(r"[\w.+\-(),/\[\]:=\"{} \n]+", lines):
            raise ParameterError(
                f"{block} of {name} must be the lines between %{block} and end, not {lines!r}."
            )
        if found := _DECIDED.search(lines):
            raise ParameterError(
                f"{block} of {name} cannot set {found[0].strip()}: it is what quacc's keywords "
                "say, starts from another file, or makes the energy another one."
            )


def _slower(parameters: Mapping[str, Any], folder: Path) -> tuple[dict[str, Any], str]:
    more = {"words": f"{parameters['words']} SlowConv".strip(), "maxiter": 500}
    return {**parameters, **more}, "SlowConv and up to 500 iterations"


def _can_be_slower(folder: Path) -> bool:
    tried = "slowconv" in read(folder / "orca.inp").lower()
    return not tried and bool(_UNCONVERGED.search(read(folder / "orca.out")))


_UNCONVERGED = re.compile(
    r"SCF NOT CONVERGED AFTER|the SCF has not converged|avefunction (?:IS )?(?:NOT|not) "
    r"(?:FULLY |fully )?(?:CONVERGED|converged)"
)


class OrcaCode(Molecules):
    name = "orca"
    title = "ORCA (Hartree-Fock, density functional theory and MP2 of molecules)"
    keywords = {
        "method": Keyword(
            "PBE0",
            "the functional in ORCA's words, such as B3LYP/G, wB97X-D3, r2SCAN-3c or B2PLYP; HF; "
            "RI-MP2",
            Check("", _method),
        ),
        "basis": Keyword(
            None,
            "a basis set of ORCA's library; None: def2-SVP, and with a composite method such as "
            "r2SCAN-3c its own",
            word("ORCA"),
        ),
        "charge": Keyword(None, "None: the sum of the initial charges", whole),
        "multiplicity": MULTIPLICITY,
        "convergence": Keyword(
            "TightSCF",
            "of the SCF",
            one_of("NormalSCF", "StrongSCF", "TightSCF", "VeryTightSCF", "ExtremeSCF"),
        ),
        "maxiter": Keyword(125, "maximum number of SCF iterations", count),
        "words": Keyword(
            "",
            "anything else of the line !, such as 'RIJCOSX def2/J D4 CPCM(water) DefGrid3'",
            Check("", _words),
        ),
        "blocks": Keyword(
            {},
            "lines of the blocks scf, method, basis, cpcm, rel, mp2, elprop and output: "
            "{'scf': 'shift shift 0.3 erroff 0 end'}",
            Check("", _blocks),
        ),
    }
    options = {
        "memory": Keyword(None, "MB for each core (%maxcore); None: ORCA's own, 4096", count),
        "cores": CORES,
    }
    program = Program(
        "orca",
        "orca",
        r"Program Version\s+(\d\S*)",
        ask_with=("no_such_input",),
        restart=("orca.gbw",),
        scratch=("*.tmp", "*.tmp.*", "orca.gbw", "orca.densities*", "orca.ges", "orca.bibtex"),
    )
    handlers = (Handler("The SCF did not converge", _can_be_slower, _slower, most=1),)
    tested = "not run: input and parsing are tested against genuine files"
    install = "it comes with a licence of FAccTs or, for academic use, of its forum (orcaforum)"
    citation = """@article{Neese2025,
  author = {Neese, Frank},
  title = {Software Update: The {ORCA} Program System, Version 6.0},
  journal = {WIREs Computational Molecular Science}, volume = {15}, pages = {e70019}, year = {2025},
  doi = {10.1002/wcms.70019}
}"""

    def missing(self) -> str | None:
        if reason := super().missing():
            return reason
        for file, _, _ in self.program.files()[:1]:
            with open(file, "rb") as stream:
                head = stream.readline(200)
            if head.startswith(b"#!") and b"python" in head:
                return (
                    f"{file} is a Python script, such as the screen reader of GNOME, which has the "
                    "same name. Name ORCA with its whole path: `quacc settings set commands.orca "
                    "/path/to/orca`."
                )
        return None

    def resolve(self, atoms: Atoms, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Name charge, multiplicity and basis set."""
        found = super().resolve(atoms, parameters)
        composite = found["method"].lower().endswith("-3c")
        if composite and found["basis"] is not None:
            raise ParameterError(
                f"method={found['method']!r} has a basis set of its own, but basis="
                f"{found['basis']!r}. Leave it out."
            )
        if not composite and found["basis"] is None:
            found["basis"] = "def2-SVP"
        return found

    def merged(self, below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
        lower = {str(name).lower() for name in above}
        return {n: value for n, value in below.items() if str(n).lower() not in lower} | {**above}

    def check(self, atoms: Atoms, parameters: Mapping[str, Any]) -> list[str]:
        warnings = super().check(atoms, parameters)
        relativistic = re.search(r"(?i)\b(zora|dkh\d?|x2c)\b", parameters["words"])
        if parameters["basis"] and not relativistic and "rel" not in parameters["blocks"]:
            warnings += heavy_electrons(atoms, parameters["basis"])
        return warnings

    def uncorrected_functional(self, parameters: Mapping[str, Any]) -> str | None:
        words = parameters["words"].split()
        if some := [one for one in words if re.match(r"(?i)d[234]|(sc)?nl$|vv10", one)]:
            raise twice(self.title, f"{some[0]} in words")
        refuse_functional(self.title, parameters["method"])
        refuse_mp2(self.title, parameters["method"])
        changed = any(name.lower() == "method" for name in parameters["blocks"])
        return None if changed else str(parameters["method"])

    def build(self, parameters: Mapping[str, Any], place: Place) -> Calculator:
        calculator: Any = _Orca(
            template=_Template(place.options),
            profile=OrcaProfile(command=_whole_path(self.program.run_command())),
            directory=str(place.folder),
            parameters=dict(parameters),
        )
        return calculator

    def diagnose(self, directory: Path) -> str | None:
        output = read(directory / "orca.out")
        if _UNCONVERGED.search(output):
            return _NOT_CONVERGED
        return ended(self.name, directory / "orca.out", directory / "orca.err", _TELLING)


_NOT_CONVERGED = (
    "the SCF did not converge. Look at the structure, its charge and multiplicity; then try more "
    "maxiter, words='SlowConv', or blocks={'scf': 'shift shift 0.3 erroff 0 end'}"
)
_TELLING = re.compile(
    r".*multiplicity \(\d+\) is \w+ and number of electrons.*|There are no .*basis functions on .*|"
    r"The basis set was either not assigned.*|.*Not enough memory available.*|"
    r"Please increase MaxCore.*|OUT OF MEMORY.*|UNRECOGNIZED OR DUPLICATED KEYWORD.*|"
    r".*Unknown identifier.*|.*Invalid assignment.*|Zero distance between atoms.*|"
    r".*Number of processes \(\d+\) .*|.*could not find .*license.*|.*No space left on device.*|"
    r"ERROR: expect a .*|ORCA finished by error termination.*"
)
"""Lines in which ORCA tells why it ends."""


def _whole_path(command: str) -> str:
    """Return a command with the program's path, links followed: ORCA starts its parts from there.

    On several cores it does not run without.
    """
    program, *rest = shlex.split(command)
    found = shutil.which(program)
    return shlex.join([os.path.realpath(found) if found else program, *rest])


class _Orca(GenericFileIOCalculator):
    """As ASE's, with another template; see there."""

    def calculate(
        self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = ()
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        self.atoms = atoms.copy()


class _Template(OrcaTemplate):
    """Input and output as ASE has them, but for what would be wrong.

    ASE's writer asks for no forces, takes a singlet of charge 0 for whatever the structure says,
    and atoms with the tag 71 for ghosts; its reader takes the forces of an earlier run, if this one
    left none.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__()
        self._options = options
        self._asked: tuple[Atoms, Mapping[str, Any]] | None = None

    def write_input(
        self, profile: Any, directory: Any, atoms: Any, parameters: Any, properties: Any
    ) -> None:
        folder = Path(directory)
        # Output of an earlier run must not be taken for that of one which died without a word.
        for name in (self.outputname, self.errorname, "orca.engrad"):
            (folder / name).unlink(missing_ok=True)
        (folder / self.inputname).write_text(orca_inp(atoms, parameters, self._options))
        self._asked = atoms.copy(), parameters

    def read_results(self, directory: Any) -> dict[str, Any]:
        assert self._asked is not None
        folder = Path(directory)
        if _cut_off(output := read(folder / self.outputname)):
            raise CalculationError(f"ORCA did not come to its end: {CODE.diagnose(folder)}.")
        return read_results(output, read(folder / "orca.engrad"), *self._asked)


def _cut_off(output: str) -> bool:
    return "ORCA TERMINATED NORMALLY" not in "".join(output.splitlines()[-5:])


def orca_inp(
    atoms: Atoms, parameters: Mapping[str, Any], options: Mapping[str, Any] | None = None
) -> str:
    """Return the input, by ASE's writer, of the positions alone."""
    words = ["method", "basis", "convergence", "words"]
    line = " ".join(["EnGrad", *(parameters[one] for one in words if parameters[one])])
    blocks = {"scf": f"maxiter {parameters['maxiter']}"}
    for block, lines in parameters["blocks"].items():
        lower = block.lower()
        blocks[lower] = f"{blocks[lower]}\n  {lines.strip()}" if lower in blocks else lines.strip()
    text = [f"%{block}\n  {lines}\nend" for block, lines in blocks.items()]
    chosen = options or {}
    if chosen.get("cores"):
        text.append(f"%pal nprocs {chosen['cores']} end")
    if chosen.get("memory"):
        text.append(f"%maxcore {chosen['memory']}")
    written = StringIO()
    said = {"charge": parameters["charge"], "mult": parameters["multiplicity"]}
    write_orca(
        written,
        Atoms(atoms.numbers, atoms.positions),
        {**said, "orcasimpleinput": line, "orcablocks": "\n".join(text)},
    )
    return written.getvalue()


def read_results(
    output: str, engrad: str, atoms: Atoms, parameters: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the results of a run, from its output and its file of forces.

    The energy is ORCA's "final single point energy", with everything that was asked for in it.

    Raises
    ------
    CalculationError
        ORCA did not come to its end, its SCF did not converge, something is missing, or it computed
        another molecule than it was told.
    """
    if _cut_off(output):
        raise CalculationError("ORCA did not come to its end: its output is cut off or empty.")
    if _UNCONVERGED.search(output):
        raise CalculationError(f"ORCA came to its end, but {_NOT_CONVERGED}.")
    lines = output.splitlines()
    if (energies := output.count("FINAL SINGLE POINT ENERGY")) != 1:
        raise CalculationError(
            f"ORCA printed {energies} final energies, but was asked for one. Look at its output."
        )
    numbers = re.findall(r"(?m)^ +(\d+)((?: +-?\d+\.\d+){3}) *$", engrad)
    printed = re.search(r"current total energy in Eh\s*#?\s*(-?\d+\.\d+)", engrad)
    if not numbers or printed is None:
        raise CalculationError("ORCA printed no forces: its file orca.engrad is missing or empty.")
    try:
        energy = read_energy(lines)
        forces = read_orca_engrad(StringIO(engrad))
        bohr = [[float(one) for one in row.split()] for _, row in numbers]
    except (ValueError, IndexError, TypeError) as error:
        raise CalculationError(f"The output of ORCA cannot be read: {error}.") from error
    charge = re.search(r"Total Charge +Charge +\.+ +(-?\d+)", output)
    multiplicity = re.search(r"Multiplicity +Mult +\.+ +(\d+)", output)
    found = Computed(
        Atoms([int(number) for number, _ in numbers]).get_chemical_symbols(),
        np.array(bohr) * Bohr,
        int(charge[1]) if charge else None,
        int(multiplicity[1]) if multiplicity else None,
    )
    check_computed("ORCA", atoms, parameters, found, _PRINTED)
    if energy is None or abs(energy / Hartree - float(printed[1])) > 1e-8:
        raise CalculationError(
            "The energy in ORCA's output is not that in its file of forces, which is of another "
            "run. Look at both."
        )
    if np.shape(forces) != (len(atoms), 3):
        raise CalculationError("ORCA printed forces of another number of atoms.")
    results = {"energy": energy, "forces": forces}
    # The dipole of an ion depends on the origin.
    if not parameters["charge"] and (dipole := read_dipole(lines)) is not None:
        results["dipole"] = dipole
    return results


_PRINTED = 1e-5
"""How far positions as ORCA prints them, with 7 digits, may be from those of the input (Å)."""

CODE = OrcaCode()
