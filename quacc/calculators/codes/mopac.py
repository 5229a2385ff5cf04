"""MOPAC: semi-empirical quantum chemistry, an external program that writes files.

ASE takes MOPAC's final heat of formation as the energy, which is what MOPAC minimises;
energies are therefore relative to the elements in their standard states at 298 K. The methods are
fitted to measured heats of formation, so that zero-point and thermal energy are in it already
(http://openmopac.net/manual/calc_of_hof.html).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.calculators.mopac import MOPAC

from quacc.calculators.code import Code, Place
from quacc.calculators.dispersion import twice
from quacc.calculators.files import read
from quacc.calculators.keyword import Keyword, one_of, positive, whole
from quacc.calculators.program import Program
from quacc.errors import ParameterError, StructureError
from quacc.extras import unpaired_of


class MopacCode(Code):
    name = "mopac"
    title = "MOPAC (semi-empirical quantum chemistry)"
    keywords = {
        "method": Keyword("PM7", "the parametrisation", one_of(*MOPAC.methods)),
        "task": Keyword("1SCF GRADIENTS", "MOPAC's own keywords"),
        "charge": Keyword(None, "None: the sum of the initial charges", whole),
        "relscf": Keyword(
            0.0001,
            "how much tighter than MOPAC's default the SCF converges: less is tighter",
            positive,
        ),
    }
    program = Program("mopac", "mopac", r"version\s+(\S+)", ask_with=("--version",))
    properties = ("energy", "forces")
    energy_is_enthalpy = True
    one_spin = True
    handles = {
        "pbc": "honoured: chains, layers and crystals",
        "charges": "honoured: their sum, refused unless it is a whole number",
        "moments": "honoured: their sum, up to four unpaired electrons; without any, the lowest "
        "spin; impossible ones and vectors are refused",
    }
    install = "`apt-get install mopac` or `conda install -c conda-forge mopac`"
    citation = """@article{Stewart2013,
  author = {Stewart, James J. P.},
  title = {Optimization of parameters for semiempirical methods {VI}: more modifications to the
    {NDDO} approximations and re-optimization of parameters},
  journal = {Journal of Molecular Modeling}, volume = {19}, pages = {1--32}, year = {2013},
  doi = {10.1007/s00894-012-1667-x}
}"""

    def build(self, parameters: Mapping[str, Any], place: Place) -> Calculator:
        # Output of an earlier run must not be taken for that of one which died without a word.
        command = f"rm -f PREFIX.out; {self.program.run_command()} PREFIX.mop > PREFIX.log 2>&1"
        return MOPAC(label=f"{place.folder}/mopac", command=command, **parameters)

    def check(self, atoms: Atoms, parameters: Mapping[str, Any]) -> list[str]:
        warnings = super().check(atoms, parameters)
        task = parameters["task"]
        total = self.charge(atoms, parameters)
        if not abs(total) <= atoms.numbers.sum():
            raise ParameterError(
                f"charge must not exceed the number of protons, {atoms.numbers.sum()}, either way, "
                f"but it is {total!r}."
            )
        if not isinstance(task, str) or not {"1SCF", "GRADIENTS"} <= {*task.split()}:
            raise ParameterError(
                f"task must be MOPAC keywords with 1SCF and GRADIENTS among them, not {task!r}: "
                "without 1SCF MOPAC relaxes the structure itself, and without GRADIENTS it prints "
                "no forces."
            )
        if "CHARGE=" in task.upper():
            raise ParameterError("task cannot hold CHARGE: pass charge=… instead.")
        if self.spin(parameters) is None and (unpaired_of(atoms) or 0) > 4:
            raise StructureError(
                f"The magnetic moments say {unpaired_of(atoms)} unpaired electrons; MOPAC takes up "
                "to four from them. Remove the moments, and name the spin in task, such as "
                "'1SCF GRADIENTS UHF SEXTET'."
            )
        return warnings

    def spin(self, parameters: Mapping[str, Any]) -> float | None:
        words = str(parameters["task"]).upper().split()
        return next((half / 2 for half, name in enumerate(_SPINS) if name in words), None)

    def uncorrected_functional(self, parameters: Mapping[str, Any]) -> str | None:
        words = f"{parameters['method']} {parameters['task']}".upper().split()
        if some := [one for one in words if re.match(r"PM6-|PM7|PM8|PM6ORG", one)]:
            raise twice(self.title, f"the method {some[0]}")
        return str(parameters["method"])

    def diagnose(self, directory: Path) -> str | None:
        output = read(directory / "mopac.out")
        box = output.partition(_TITLE)[2].partition("\n ***")[0]
        messages = [line for line in _lines(box) if line != "JOB ENDED NORMALLY"]
        messages += [line for line in _lines(output) if re.search(_TELLING, line)]
        # What the shell, the queueing system or the Fortran library says.
        log = [line for line in _lines(read(directory / "mopac.log")) if _ENDED not in line]
        messages = list(dict.fromkeys(messages))[:4] or log[-3:]
        # The log is there once the program was started.
        silent = not output and (directory / "mopac.log").is_file()
        return "; ".join(messages) or (_SILENT if silent else None)


_SPINS = (
    *("SINGLET", "DOUBLET", "TRIPLET", "QUARTET", "QUINTET"),
    *("SEXTET", "SEPTET", "OCTET", "NONET"),
)

_TITLE = "Error and normal termination messages reported in this calculation     *\n"
_TELLING = "ERROR|UNRECOGNIZED|FAILED|NOT ALLOWED|IMPOSSIBLE|MISSING"
_SILENT = "it wrote no output; check that the setting commands.mopac starts it"
_ENDED = '.mop" ended normally on'


def _lines(text: str) -> list[str]:
    """Return the lines without the frame around them, nor the full stop at their end."""
    return [line for raw in text.splitlines() if (line := raw.strip(" *\t").rstrip("."))]


CODE = MopacCode()
