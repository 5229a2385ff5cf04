"""What VASP writes when it fails: what that means, and what is tried again.

VASP tells little by its exit status, so that its messages are looked for. Most of them, and what
helps, are known from VASP's documentation and from custodian (Ong et al., Comput. Mater. Sci. 68,
314 (2013)). Only what changes how the same numbers are found is tried here: other algorithms, a
new start, the search for symmetry. What would change the numbers, such as k-points, smearing or
projectors, is the user's to decide, and the diagnosis names it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from quacc.calculators.files import read
from quacc.calculators.recovery import Handler


@dataclass(frozen=True)
class Fault:
    """What VASP writes, and what it means."""

    written: str
    """A regular expression; a box may break its lines, so blanks match any of them."""
    meaning: str


SYMMETRY = (
    Fault(
        r"rotation matrix was not found|non-integer element in rotation matrix|SGRCON|"
        r"group operation missing|not all point group operations|POSMAP|RHOSYG|"
        r"Inconsistent Bravais lattice|internal error in subroutine PRICEL|"
        r"internal error in subroutine IBZKPT|current lattice and primitive lattice are "
        r"incommensurate|determination of the symmetry of your systems shows a strong",
        "VASP did not find a consistent symmetry, as with atoms that are almost on symmetric "
        "sites: symmetrize the structure, or pass incar={'SYMPREC': 1e-8} or {'ISYM': 0}",
    ),
)
DIAGONALISATION = (
    Fault(
        r"Call to (?:routine )?[ZD][HS][EY][EG]VX? ?\w* failed|EDDDAV: Call to ZHEGV failed|"
        r"EDDRMM: call to ZHEGV failed|EDDIAG: call to ZHEEV|Routine ZPOTRF|LAPACK: Routine \w+ "
        r"failed|ERROR in subspace rotation P[SD]SYEVX|gradient is not orthogonal|CNORMN: search "
        r"vector ill defined",
        "the diagonalisation failed: look at the distances between atoms first, then pass another "
        "algo",
    ),
)
RESTART = (
    Fault(
        r"while reading WAVECAR|while reading plane|number of k-points has changed.{0,200}ERROR",
        "the WAVECAR does not fit this input",
    ),
)
MIXING = (
    Fault(
        r"BRMIX: very serious problems",
        "charge was lost in the mixing: look at the structure, the charge and NBANDS, or pass "
        "incar={'IMIX': 1}",
    ),
)
BANDS = (
    Fault(
        r"TOO FEW BANDS|number of bands is not sufficient to hold all electrons|"
        r"NBANDS too small|number of bands is not sufficient",
        "there are too few bands: pass incar with a larger NBANDS",
    ),
)
OTHERS = (
    Fault(
        r"[Tt]etrahedron method fails|Routine TETIRR needs special values|BZINTS|DENTET",
        "the tetrahedron method (ismear=-5) needs more k-points: pass more, or ismear=0 and a "
        "sigma, which gives other numbers",
    ),
    Fault(
        r"Fatal error detecting k-mesh|unable to match k-point|Could not get correct shifts|"
        r"HNFORM: k-point generating|Reciprocal lattice and k-lattice belong to different class",
        "the mesh of k-points does not have the symmetry of the lattice: pass gamma=True, or "
        "incar={'ISYM': 0}",
    ),
    Fault(
        r"REAL_OPTLAY: internal error|REAL_OPT: internal ERROR|ERROR RSPHER",
        "the projection in real space failed: pass lreal=False, which gives other numbers",
    ),
    Fault(
        r"the triple product of the basis vectors",
        "the cell vectors are left-handed: exchange two of them",
    ),
    Fault(
        r"SBESSELITER ?: nicht konvergent|internal error in SET_CORE_WF|"
        r"supplied exchange-correlation table",
        "the density ran away: two atoms are probably too near to each other",
    ),
    Fault(
        r"distance between some ions is very small",
        "two atoms are too near to each other",
    ),
    Fault(
        r"Error reading item|Error code was IERR ?= ?5",
        "VASP cannot read a line of the INCAR: look at the values in incar",
    ),
    Fault(
        r"Supported values of IALGO|Unknown algorithm|invalid value of ALGO",
        "VASP does not know this algo",
    ),
    Fault(
        r"KPAR>1 not implemented|PEAD routines do not work for NCORE|remove the tag NPAR",
        "this input cannot be spread so: leave out kpar and ncore",
    ),
    Fault(
        r"number of ionic? types? .{0,40}(?:POTCAR|POSCAR)|POTCAR.{0,60}incompatible|"
        r"non matching number of ions",
        "POSCAR and POTCAR do not belong together",
    ),
    Fault(
        r"vasp_gam|gamma[- ]only version|compiled with the gamma-only|NGZhalf",
        "the Γ-only program was given other k-points: check the setting commands.vasp_gamma",
    ),
    Fault(
        r"(?i)out of memory|oom-kill|insufficient virtual memory|cannot allocate memory",
        "it ran out of memory: take more nodes, or another kpar or ncore",
    ),
    Fault(
        r"(?i)segmentation fault|SIGSEGV",
        "it ended with a segmentation fault, often for want of stack or memory: try `ulimit -s "
        "unlimited` in the job script",
    ),
    Fault(
        r"(?i)due to time limit|signal 15|SIGTERM|terminated by signal|\bKilled\b|signal 9\b",
        "it was killed",
    ),
    Fault(
        r"(?i)licen[cs]e (?:is not|has|was|file|check).{0,80}",
        "it complains about its licence",
    ),
)

_LAST = 3
_NOISE = "MPI_ABORT|MPI_COMM|[Ee]rrorcode|^[-=*|]+$|mpirun|prterun|You may or may not"
"""What launchers add to an error of the program."""


def said(folder: Path) -> str:
    """Return what VASP wrote on the screen and at the end of its OUTCAR, without frames."""
    texts = [
        read(folder / "vasp.out"),
        read(folder / "vasp.err"),
        read(folder / "OUTCAR")[-20_000:],
    ]
    return " ".join(re.sub(r"[|\s]+", " ", text) for text in texts)


def seen(folder: Path, faults: tuple[Fault, ...]) -> Fault | None:
    """Return the first of these faults that VASP wrote of."""
    text = said(folder)
    return next((fault for fault in faults if re.search(fault.written, text)), None)


def unconverged(folder: Path) -> str | None:
    """Return why the SCF of a run that came to its end has not converged; None if it has.

    The OUTCAR has a line at the end of the SCF, which VASP 5 leaves out where it reached NELM; then
    the number of steps in vasprun.xml tells.
    """
    ends = re.findall(r"aborting loop ([^\n]*?)\s*-{3,}", read(folder / "OUTCAR"))
    if ends:
        return None if "EDIFF is reached" in ends[-1] else ends[-1].strip()
    text = read(folder / "vasprun.xml")
    steps = text.rpartition("<calculation>")[2].count("<scstep>")
    limit = re.search(r'<i type="int" name="NELM">\s*(\d+)', text.partition("<parameters>")[2])
    if limit and steps >= int(limit.group(1)):
        return f"EDIFF was not reached in {steps} steps"
    return None


def diagnose(folder: Path) -> str | None:
    """Return what VASP's own output says about a failure, if anything."""
    every = (*SYMMETRY, *DIAGONALISATION, *RESTART, *MIXING, *BANDS, *OTHERS)
    text = said(folder)
    found = [
        f"{fault.meaning} (VASP: {match.group().strip()!r})"
        for fault in every
        if (match := re.search(fault.written, text))
    ]
    if found:
        return "; ".join(found[:3])
    if reason := unconverged(folder):
        return f"the SCF did not converge ({reason})"
    errors = re.findall(r"(?:ERROR|Error|error)\b[^\n]*", read(folder / "vasp.out"))[:3]
    lines = [line.strip() for line in read(folder / "vasp.err").splitlines()]
    errors = errors or [line for line in lines if line and not re.search(_NOISE, line)][:4]
    if errors:
        return "; ".join(dict.fromkeys(errors))
    if last := [line.strip() for line in read(folder / "vasp.out").splitlines() if line.strip()]:
        return f"it wrote no error; its last lines are: {' / '.join(last[-_LAST:])}"
    # The file is there once the program was started.
    return SILENT if (folder / "vasp.out").is_file() else None


SILENT = "it wrote no output; check that the setting commands.vasp starts it"


def _incar(parameters: Mapping[str, Any], **tags: Any) -> dict[str, Any]:
    return {**parameters, "incar": {**parameters["incar"], **tags}}


def _given(parameters: Mapping[str, Any], tag: str) -> Any:
    return parameters["incar"].get(tag)


def _restart(folder: Path) -> None:
    for name in ("WAVECAR", "CHGCAR"):
        (folder / name).unlink(missing_ok=True)


def _converge(parameters: Mapping[str, Any], folder: Path) -> tuple[dict[str, Any], str]:
    # The algorithms of one band or one step at a time are no method for tetrahedra.
    algo = "Normal" if parameters["ismear"] < -1 else "All"
    nelm = 2 * parameters["nelm"]
    return {**parameters, "algo": algo, "nelm": nelm}, f"algo={algo!r} and nelm={nelm}"


def _diagonalise(parameters: Mapping[str, Any], folder: Path) -> tuple[dict[str, Any], str]:
    _restart(folder)
    safe = "Normal" if parameters["ismear"] < -1 else "All"
    quick = str(parameters["algo"]).lower()[:1] in ("f", "v")
    algo = "Normal" if quick else ("Fast" if safe == "Normal" else safe)
    return {**parameters, "algo": algo}, f"algo={algo!r}, from new wave functions"


def _symmetrise(parameters: Mapping[str, Any], folder: Path) -> tuple[dict[str, Any], str]:
    _restart(folder)
    if _given(parameters, "SYMPREC") is None:
        return _incar(parameters, SYMPREC=1e-8), "SYMPREC=1e-8"
    return _incar(parameters, ISYM=0), "ISYM=0"


def _more_bands(parameters: Mapping[str, Any], folder: Path) -> tuple[dict[str, Any], str]:
    _restart(folder)
    more = (number_of_bands(folder) or 8) * 5 // 4 + 4
    return _incar(parameters, NBANDS=more), f"NBANDS={more}"


def number_of_bands(folder: Path) -> int | None:
    """Return the number of bands of a run."""
    found = re.findall(r"NBANDS\s*=\s*(\d+)", read(folder / "OUTCAR"))
    return int(found[-1]) if found else None


def too_few_bands(folder: Path) -> tuple[int, float] | None:
    """Return the number of bands, and how far the highest is filled, if that is not empty."""
    try:
        root = ElementTree.parse(folder / "vasprun.xml").getroot()
    except (OSError, ElementTree.ParseError):
        return None
    filled: list[float] = []
    count = 0
    for point in root.findall("calculation[last()]/eigenvalues/array/set/set/set"):
        rows = point.findall("r")
        count = len(rows)
        filled.append(abs(float((rows[-1].text or "").split()[1])) if rows else 0.0)
    highest = max(filled, default=0.0)  # negative ones are of Methfessel and Paxton's smearing
    return (count, highest) if highest > EMPTY else None


def _begin_anew(parameters: Mapping[str, Any], folder: Path) -> tuple[dict[str, Any], str]:
    _restart(folder)
    return dict(parameters), "new wave functions"


def _mix(parameters: Mapping[str, Any], folder: Path) -> tuple[dict[str, Any], str]:
    _restart(folder)
    return _incar(parameters, IMIX=1), "IMIX=1, Kerker's mixing"


def _set_by_user(folder: Path, tag: str) -> bool:
    return re.search(rf"(?m)^\s*{tag}\s*=", read(folder / "INCAR")) is not None


HANDLERS = (
    Handler(
        "The SCF of VASP did not converge",
        lambda folder: unconverged(folder) is not None,
        _converge,
    ),
    Handler(
        "The WAVECAR did not fit",
        lambda folder: seen(folder, RESTART) is not None and (folder / "WAVECAR").is_file(),
        _begin_anew,
        most=1,
    ),
    Handler(
        "VASP did not find a consistent symmetry",
        lambda folder: seen(folder, SYMMETRY) is not None and not _set_by_user(folder, "ISYM"),
        _symmetrise,
    ),
    Handler(
        "The diagonalisation of VASP failed",
        lambda folder: seen(folder, DIAGONALISATION) is not None,
        _diagonalise,
    ),
    Handler(
        "The highest band of VASP was not empty",
        # What the user has chosen is not changed.
        lambda folder: (
            (seen(folder, BANDS) is not None or too_few_bands(folder) is not None)
            and not _set_by_user(folder, "NBANDS")
        ),
        _more_bands,
        most=1,
    ),
    Handler(
        "Charge was lost in the mixing of VASP",
        lambda folder: seen(folder, MIXING) is not None and not _set_by_user(folder, "IMIX"),
        _mix,
        most=1,
    ),
)

EMPTY = 0.005
"""An occupation up to which a band counts as empty."""
