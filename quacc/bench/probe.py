"""``probe``: energies and forces of many structures, which need not make sense.

For what is asked of a model and not of a material: curves, symmetries, times. Nothing of it goes to
the database of results; the record of the pair has it.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, cast

import numpy as np
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress
from numpy.typing import NDArray

from quacc.atoms.check import check_structure
from quacc.calculators import get_code
from quacc.calculators.code import Code
from quacc.calculators.isolated import process_of
from quacc.cluster.transport import pack, unpack
from quacc.errors import CalculationError, ParameterError
from quacc.recipes.tools.verbs import submit
from quacc.runners.calculation import Calculation
from quacc.settings import overrides


class Probed(TypedDict):
    """What a model says of each structure."""

    energies: NDArray[Any]
    """(structures,), eV."""
    forces: list[NDArray[Any]]
    """(atoms, 3) each, eV/Å."""
    stresses: list[NDArray[Any] | None]
    """(6,) each, eV/Å³; None where there is none."""
    seconds: NDArray[Any]
    """(structures,), of the calculation alone."""
    memory: float
    """Largest resident memory so far of the process that computes (MiB); of a program, of all that
    this process has started."""


class ProbedAfresh(Probed):
    """What a model says in a process that was started for it."""

    start: float
    """Seconds from the start of the process to the first energy."""
    together: float | None
    """Seconds for each of many structures that are computed in one call; None where a code
    computes one after the other."""


def probe(structures: Sequence[Atoms], *, calculator: Mapping[str, Any]) -> Probed:
    """Compute all structures, one after the other, with one calculator.

    Parameters
    ----------
    structures
        Atoms may be at any distance.
    calculator
        Its name and its parameters.

    Raises
    ------
    CalculationError
        The code failed, or returned numbers that are not finite.
    """
    energies, forces, stresses, seconds, memory = [], [], [], [], 0.0
    for atoms in structures:
        check_structure(atoms, overlap=False)
        calculation = _calculation(atoms, calculator)
        with calculation.run(steps=False) as copy:
            begun = time.perf_counter()
            calculation.evaluate(copy)
            seconds.append(time.perf_counter() - begun)
            found: dict[str, Any] = copy.calc.results
            energies.append(float(found["energy"]))
            forces.append(np.array(found["forces"]))
            stress = found.get("stress") if atoms.pbc.all() else None
            stresses.append(None if stress is None else _six(np.array(stress)))
        memory = _memory(calculation.code)
    return {
        "energies": np.array(energies),
        "forces": forces,
        "stresses": stresses,
        "seconds": np.array(seconds),
        "memory": memory,
    }


def probe_afresh(
    structures: Sequence[Atoms], *, calculator: Mapping[str, Any], at_once: int = 1
) -> ProbedAfresh:
    """Compute all structures in a new process, which has imported and loaded nothing yet.

    See :func:`probe`, whose errors it raises.

    Parameters
    ----------
    at_once
        Copies of the first structure that are then computed in one call, if there are several.
    """
    call = pack(overrides(), _begun, (list(structures), dict(calculator), at_once), {})
    with tempfile.TemporaryDirectory() as folder:
        asked, answer = Path(folder, "call"), Path(folder, "answer")
        asked.write_bytes(call)
        begun = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, str(asked), str(answer)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
        )
        if done.returncode != 0:
            raise CalculationError(
                f"A process of its own ended with exit status {done.returncode}: "
                f"{done.stderr.strip()[-_LAST:] or 'it said nothing'}"
            )
        found, first, together = unpack(answer.read_bytes())
    return cast(ProbedAfresh, {**found, "start": first - begun, "together": together})


_PROGRAM = """
import sys
from pathlib import Path
from quacc.cluster.transport import run_packed
Path(sys.argv[2]).write_bytes(run_packed(Path(sys.argv[1]).read_bytes()))
"""

_LAST = 500
"""Characters that an error has of what a process said."""


def _begun(
    structures: list[Atoms], calculator: Mapping[str, Any], at_once: int
) -> tuple[Probed, float, float | None]:
    """Return what :func:`probe` does, when the first structure was computed, and what many take.

    The time is that of ``time.monotonic()``, which all processes of a machine share.
    """
    first = probe(structures[:1], calculator=calculator)
    when = time.monotonic()
    found = first
    if len(structures) > 1:
        others = probe(structures[1:], calculator=calculator)
        found = {
            "energies": np.concatenate([first["energies"], others["energies"]]),
            "forces": first["forces"] + others["forces"],
            "stresses": first["stresses"] + others["stresses"],
            "seconds": np.concatenate([first["seconds"], others["seconds"]]),
            "memory": others["memory"],
        }
    together = _together(structures[0], calculator, at_once) if at_once > 1 else None
    return found, when, together


def _together(atoms: Atoms, calculator: Mapping[str, Any], at_once: int) -> float | None:
    """Return the seconds for each of some copies in one call, the second one."""
    calculation = _calculation(atoms, calculator)
    if "at_once" not in calculation.code.options:
        return None
    seconds = 0.0
    with calculation.run(steps=False) as copy:
        wanted = [one for one in calculation.code.properties if one != "stress" or atoms.pbc.all()]
        for _ in range(2):
            begun = time.perf_counter()
            calculation.code.evaluate(copy.calc, [atoms] * at_once, wanted)
            seconds = time.perf_counter() - begun
    return seconds / at_once


def check_probe(atoms: Atoms, calculator: Any) -> None:
    """Refuse what a probe of a sensible structure would be refused for.

    Raises
    ------
    InputError, MissingProgramError
    """
    if not isinstance(calculator, Mapping):
        raise ParameterError(f"A probe needs the calculator's name and parameters, {calculator!r}.")
    _calculation(atoms, calculator).check()


def has_stress(atoms: Atoms, calculator: Any) -> bool:
    """Return whether a probe finds a stress."""
    return bool(atoms.pbc.all()) and "stress" in get_code(calculator["name"]).properties


def submit_probe(job: Any, structures: Sequence[Atoms], calculator: Any, **options: Any) -> Any:
    """Start a probe; return its future."""
    return submit(job, list(structures), calculator=dict(calculator), **options)


def _calculation(atoms: Atoms, calculator: Mapping[str, Any]) -> Calculation[Any]:
    parameters = {name: value for name, value in calculator.items() if name != "name"}
    code = get_code(calculator["name"])
    return Calculation(atoms, code, parameters, _no_body, recipe="probe", parameters={})


def _no_body(calculation: Calculation[Any]) -> None:
    raise NotImplementedError


def _six(stress: NDArray[Any]) -> NDArray[Any]:
    """Return Voigt's components, which some calculators leave to ASE."""
    return full_3x3_to_voigt_6_stress(stress) if stress.shape == (3, 3) else stress


def _memory(code: Code) -> float:
    """Return the largest resident memory so far of the process that computes (MiB)."""
    if code.program is not None:
        return _rusage(resource.RUSAGE_CHILDREN)
    python = getattr(code, "python", None)
    pid = os.getpid() if python is None else process_of(python, code.name).pid
    try:  # which forgets what the process was before it was this program
        status = Path(f"/proc/{pid}/status").read_text("utf-8")
    except OSError:  # no Linux
        return _rusage(resource.RUSAGE_SELF)
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return float(peak.split()[1]) / 2**10


def _rusage(whose: int) -> float:
    return resource.getrusage(whose).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
