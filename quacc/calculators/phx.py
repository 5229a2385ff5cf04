"""What ph.x and q2r.x compute after an SCF of pw.x in the same folder: the linear response."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units

from quacc.calculators.code import LinearResponse, Slice
from quacc.calculators.files import read
from quacc.calculators.pwscf import companion, complaints, no_band_is_partly_filled
from quacc.errors import CalculationError, ParameterError, suggest

_OUTPUT = "ph.out"
_MATRICES = "dyn"
"""The dynamical matrices are out/dyn1, out/dyn2, …: with what ph.x is continued from."""

_DECIDED = frozenset(
    [
        *("outdir", "prefix", "fildyn", "ldisp", "trans", "epsil", "zeu", "recover", "max_seconds"),
        *("tr2_ph", "nq1", "nq2", "nq3", "qplot", "q_in_band_form", "q2d", "asr", "amass"),
        *("start_q", "last_q", "start_irr", "last_irr", "nat_todo", "modenum", "only_init"),
        *("lshift_q", "ldiag", "lqdir", "electron_phonon", "nogg", "lrpa", "lnoloc", "fpol"),
        *("nk1", "nk2", "nk3", "k1", "k2", "k3", "low_directory_check", "ldvscf_interpolate"),
    ]
)
"""Keywords of ph.x that are not the user's: they make another question, or name files."""

_NO_RESPONSE = {
    "assume_isolated": "the response would be that of the repeated cells",
    "tefield": "the response of the dipole layer, or of the field, is left out",
    "dipfield": "the response of the dipole layer is left out",
    "lelfield": "the response is that without a field",
    "gate": "the response of the gate is left out",
}
"""Keywords of pw.x that ph.x does not read, so that its numbers would be of another crystal."""

_UNSET = (False, "none", "no", None)


def check_keywords(given: Mapping[str, Any]) -> None:
    """Refuse keywords of ph.x that it does not have, or that are not the user's."""
    from ase.io.espresso_namelist.keys import ALL_KEYS

    known = ALL_KEYS["ph"]["inputph"]
    for name in given:
        plain = str(name).lower().partition("(")[0]
        if plain in _DECIDED:
            raise ParameterError(
                f"input_ph cannot set {name}, which follows from the other parameters: q-points "
                "are those of qpoints, Born charges are computed where occupations are fixed, and "
                "quacc knows where its files are."
            )
        if plain not in known:
            raise ParameterError(f"ph.x has no keyword {name!r}.{suggest(plain, known)}")


def check_ground_state(data: Mapping[str, Any]) -> None:
    """Refuse keywords of pw.x with which ph.x would compute something else.

    Parameters
    ----------
    data
        Keywords of pw.x without their sections, in lower case.
    """
    for name, why in _NO_RESPONSE.items():
        value = data.get(name)
        if (value.lower() if isinstance(value, str) else value) not in _UNSET:
            raise ParameterError(
                f"ph.x knows no {name}={value!r}: {why}. Leave it out, or take phonon_flow, which "
                "moves the atoms."
            )
    occupations = str(data.get("occupations", "smearing")).lower()
    if occupations not in ("fixed", "smearing", "tetrahedra_lin", "tetrahedra_opt"):
        raise ParameterError(
            f"ph.x has no response of occupations={occupations!r}. Take 'fixed' for an insulator, "
            "'smearing' or 'tetrahedra_opt' for a metal."
        )


def respond(
    calculator: Any,
    qpoints: Sequence[int],
    tr2_ph: float,
    more: Mapping[str, Any],
    *,
    insulator: bool,
    seconds: float,
    recover: bool,
) -> Slice:
    """Run ph.x for some time; see :meth:`quacc.calculators.code.Code.respond`."""
    from ase.io.espresso import write_espresso_ph

    folder = Path(calculator.directory)
    data = {
        **more,
        "outdir": "out",
        "fildyn": f"out/{_MATRICES}",
        "ldisp": True,
        "tr2_ph": tr2_ph,
        "max_seconds": max(1, round(seconds)),
        "recover": recover,
        "epsil": insulator,
        **{f"nq{axis}": int(number) for axis, number in enumerate(qpoints, 1)},
    }
    with (folder / "ph.in").open("w") as stream:
        stream.write("phonons\n")  # its first line is a title
        write_espresso_ph(stream, data)
    command = companion(calculator.profile.command, "ph.x")
    status = _start(calculator, command, folder, "ph")
    output = read(folder / _OUTPUT)
    first = re.search(r"iter #\s*\d+ total cpu time\s*:\s*(\S+) secs", output)
    began = float(first.group(1)) if first else None
    words = "; ".join(dict.fromkeys(complaints(output + read(folder / "CRASH"))))
    if not words and "Maximum CPU time exceeded" in output:
        return Slice(done=False, first=began)
    if words or status or "JOB DONE" not in output or "No convergence" in output:
        raise CalculationError(f"ph.x {_reason(status, words, output, folder)}.")
    missing = [str(number) for number in _numbers(folder) if not _complete(folder, number)]
    if missing:
        raise CalculationError(
            f"ph.x ended without the dynamical matrices of q-points {', '.join(missing)}: of "
            f"out/{_MATRICES}N, they are missing or incomplete."
        )
    return Slice(done=True, first=began)


def response(calculator: Any, atoms: Atoms, *, insulator: bool) -> LinearResponse:
    """Return force constants, Born charges and dielectric tensor of ph.x's dynamical matrices."""
    from phonopy.interface.qe import PH_Q2R
    from phonopy.structure.atoms import PhonopyAtoms

    folder = Path(calculator.directory)
    names = [f"{_MATRICES}{number}" for number in (0, *_numbers(folder))]
    # With them, q2r.x would take the dipoles' part out of the force constants, which phonopy wants
    # in them.
    plain = folder / "plain"
    plain.mkdir(exist_ok=True)
    for name in names:
        shutil.copy2(folder / "out" / name, folder / name)
        text = read(folder / name)
        before, found, after = text.partition("     Dielectric Tensor:")
        mark = "     Diagonalizing the dynamical matrix"
        if found and mark not in after:
            raise CalculationError(f"{name} of ph.x has no end after its dielectric tensor.")
        rest = mark + after.partition(mark)[2] if found else ""
        (plain / name).write_text(before + rest)
    _q2r(calculator, _MATRICES, "force_constants")
    _q2r(calculator, f"plain/{_MATRICES}", "plain/force_constants")
    cell = PhonopyAtoms(
        numbers=atoms.numbers,
        cell=atoms.cell.array,
        scaled_positions=atoms.get_scaled_positions(),
    )
    whole, polar = (PH_Q2R(folder / part / "force_constants") for part in ("plain", "."))
    whole.run(cell, is_full_fc=True)
    polar.run(cell, parse_fc=False)
    shutil.rmtree(plain)
    assert whole.fc is not None
    born, dielectric = polar.borns, polar.epsilon
    constants = np.array(whole.fc) * units.Rydberg / units.Bohr**2
    parts = [one for one in (constants, born, dielectric) if one is not None]
    if not all(np.isfinite(one).all() for one in parts):
        raise CalculationError("ph.x has written numbers that are not finite.")
    if insulator and (born is None or dielectric is None):
        raise CalculationError("ph.x has written no Born charges, though it is an insulator.")
    told = "" if insulator or not no_band_is_partly_filled(folder) else _SMEARED
    return LinearResponse(constants, born, dielectric, (told,) if told else ())


_SMEARED = (
    "No band is partly filled, as in an insulator, but occupations are smeared, so that there are "
    "no Born charges, no dielectric tensor, and no splitting of optical modes. Pass "
    "input_data={'occupations': 'fixed'}, or take the preset insulator."
)


def _q2r(calculator: Any, matrices: str, constants: str) -> None:
    folder = Path(calculator.directory)
    (folder / "q2r.in").write_text(
        f"&input\n fildyn='{matrices}', zasr='no', flfrc='{constants}'\n/\n"
    )
    status = _start(calculator, companion(calculator.profile.command, "q2r.x"), folder, "q2r")
    output = read(folder / "q2r.out")
    words = "; ".join(dict.fromkeys(complaints(output)))
    if status or words or not (folder / constants).is_file():
        raise CalculationError(f"q2r.x {_reason(status, words, output, folder)}.")


def _start(calculator: Any, command: str, folder: Path, name: str) -> int:
    """Run a program; return its exit status, which ph.x also has where it was told to stop."""
    (folder / "CRASH").unlink(missing_ok=True)
    try:
        profile = type(calculator.profile)(command, "")
        profile.run(folder, f"{name}.in", f"{name}.out", errorfile=f"{name}.err")
    except subprocess.CalledProcessError as error:
        return error.returncode
    return 0


def _reason(status: int, words: str, output: str, folder: Path) -> str:
    if words:
        advice = [help_ for seen, help_ in _HELP if re.search(seen, words)]
        return "; ".join([f"says: {words}", *advice])
    if status < 0 or status in (137, 143):
        number = -status if status < 0 else status - 128
        return (
            f"was killed by {signal.Signals(number).name}, as for want of memory or at the end of "
            "a batch job. The same call goes on from its last checkpoint"
        )
    counts = re.findall(r"iter #\s*(\d+) total cpu time.*\n.*ddv_scf\|\^2 =\s*(\S+)", output)
    if counts and ("No convergence" in output or "JOB DONE" in output):
        number, left = counts[-1]
        return (
            f"did not converge in {number} iterations, after which |ddv_scf|^2 was {left}: pass "
            "input_ph with a smaller alpha_mix(1) such as 0.3, or a larger niter_ph; see that the "
            "SCF is accurate (a smaller conv_thr), and that a metal is smeared"
        )
    errors = read(folder / "ph.err").strip()[-300:]
    last = " / ".join([line.strip() for line in output.splitlines() if line.strip()][-3:])
    return f"ended with exit status {status}. Its last lines are: {errors or last or 'none'}"


_HELP = (
    (
        "U_projection_type|lda_plus_u_kind",
        "this version has the response of hubbard_projectors='atomic', if any",
    ),
    ("elec. field with metals", "Born charges are of insulators, with occupations='fixed'"),
    ("not yet available|not available yet|not implemented", "phonon_flow moves the atoms instead"),
)


def _numbers(folder: Path) -> range:
    """Return the numbers of the q-points, from the list that ph.x writes first."""
    words = read(folder / "out" / f"{_MATRICES}0").split()
    if len(words) < 4:
        raise CalculationError(f"ph.x has not written its list of q-points, out/{_MATRICES}0.")
    return range(1, int(words[3]) + 1)


def _complete(folder: Path, number: int) -> bool:
    text = read(folder / "out" / f"{_MATRICES}{number}")
    return "Diagonalizing the dynamical matrix" in text and "freq (" in text
