"""MOPAC: semi-empirical quantum chemistry, an external program that writes files.

ASE takes MOPAC's final heat of formation as the energy, which is what MOPAC minimises;
energies are therefore relative to the elements in their standard states at 298 K.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.calculators.mopac import MOPAC

from quacc.calculators.base import Code
from quacc.errors import ParameterError, require_choice, require_positive


class MopacCode(Code):
    """``method`` (PM7, PM6, AM1, …), ``charge`` (None: sum of the initial charges),
    ``relscf`` (how much tighter than MOPAC's default to converge the SCF: smaller is
    tighter), ``task`` (MOPAC's own keywords)."""

    name = "mopac"
    title = "MOPAC (semi-empirical quantum chemistry)"
    defaults = {"method": "PM7", "task": "1SCF GRADIENTS", "charge": None, "relscf": 0.0001}
    properties = ("energy", "forces")
    command = "mopac"
    install = "`apt-get install mopac` or `conda install -c conda-forge mopac`"
    citation = """@article{Stewart2013,
  author = {Stewart, James J. P.},
  title = {Optimization of parameters for semiempirical methods {VI}: more modifications to the
    {NDDO} approximations and re-optimization of parameters},
  journal = {Journal of Molecular Modeling}, volume = {19}, pages = {1--32}, year = {2013},
  doi = {10.1007/s00894-012-1667-x}
}"""

    def version(self) -> str:
        return _version(self.start_command())

    def build(self, parameters: Mapping[str, Any], directory: Path | None) -> Calculator:
        assert directory is not None
        command = f"{self.start_command()} PREFIX.mop > PREFIX.log 2>&1"
        return MOPAC(label=str(directory / "mopac"), command=command, **parameters)

    def check(self, atoms: Atoms, parameters: Mapping[str, Any]) -> list[str]:
        warnings = super().check(atoms, parameters)
        require_choice("method", parameters["method"], MOPAC.methods)
        require_positive(relscf=parameters["relscf"])
        charge, task = parameters["charge"], parameters["task"]
        if charge is not None and (isinstance(charge, bool) or not isinstance(charge, int)):
            raise ParameterError(f"charge must be a whole number or None, not {charge!r}.")
        if not isinstance(task, str) or "GRADIENTS" not in task.split():
            raise ParameterError(
                f"task must be MOPAC keywords with GRADIENTS among them, not {task!r}: without "
                "it MOPAC prints no forces."
            )
        return warnings

    def diagnose(self, directory: Path) -> str | None:
        output = directory / "mopac.out"
        if not output.is_file():
            return None
        lines = [line.strip(" *\n") for line in output.open(errors="replace")]
        told = [
            line
            for line in lines
            if re.search(r"ERROR|UNRECOGNIZED|FAILED|NOT ALLOWED|IMPOSSIBLE|MISSING", line)
        ]
        return "; ".join(dict.fromkeys(told[:4])) or None


@cache
def _version(command: str) -> str:
    reply = subprocess.run(
        [*shlex.split(command), "--version"],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    found = re.search(r"version\s+(\S+)", reply.stdout)
    return found.group(1) if found else "unknown"


CODE = MopacCode()
