"""What follows an SCF of pw.x in the same folder: bands, and densities of states."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray

from quacc.calculators.code import Spectrum
from quacc.errors import CalculationError, MissingProgramError

_XML = Path("out") / "pwscf.save" / "data-file-schema.xml"
_PROJECTED = re.compile(r"pdos\.pdos_atm#(\d+)\(.*\)_wfc#(\d+)\((\w)(?:_j([\d.]+))?\)")
_STEP = 0.02
"""Between two energies of a density of states (eV)."""

PROGRAMS = {
    "dos": "dos.x",
    "projected dos": "projwfc.x",
    "potential": "pp.x",
    "response": "ph.x",
    "force constants": "q2r.x",
}
"""What is computed after an SCF, and by which program."""


@dataclass(frozen=True)
class Hubbard:
    """Hubbard U, in the words of this version of pw.x."""

    shells: Mapping[str, float]
    """Such as {"Fe-3d": 4.0} (eV)."""
    projectors: str
    as_card: bool
    """Since version 7.1; before, keywords of numbered species, whose shells pw.x knows."""

    def into(self, parameters: dict[str, Any], atoms: Atoms) -> None:
        """Add it to what ASE's writer is given."""
        labels = species(atoms, parameters["input_data"]["system"])
        found = [
            (number, label, shell, energy)
            for number, (label, symbol) in enumerate(labels, 1)
            for shell, energy in self.shells.items()
            if shell.partition("-")[0] == symbol
        ]
        if self.as_card:
            rows = [f"U {label}-{shell.partition('-')[2]} {u}" for _, label, shell, u in found]
            parameters["additional_cards"] = [f"HUBBARD ({self.projectors})", *rows]
            return
        system = parameters["input_data"]["system"]
        system |= {"lda_plus_u": True, "u_projection_type": self.projectors}
        system |= {f"hubbard_u({number})": energy for number, _, _, energy in found}

    def require_used(self, output: str) -> None:
        """Raise a CalculationError if pw.x has taken other shells than these, or none."""
        table = output.partition("atomic species    L")[2].partition("\n\n")[0]
        rows = re.findall(r"(?m)^ +([A-Z][a-z]?)\d* +(\d) +\S+", table)
        used = {f"{symbol}-{'spdf'[int(momentum)]}" for symbol, momentum in rows}
        asked = {re.sub(r"\d", "", shell) for shell in self.shells}
        if not self.as_card and used != asked:
            raise CalculationError(
                f"This version of pw.x puts the Hubbard U on {', '.join(sorted(used)) or 'none'}, "
                f"and not on {', '.join(sorted(asked))}: it knows one shell of each element. Take "
                "that, or version 7.1 or newer."
            )


def species(atoms: Atoms, system: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return label and element of pw.x's species, as ASE's writer orders and names them."""
    moments = atoms.get_initial_magnetic_moments()
    split = moments.any() or system.get("nspin", 1) == 2 or system.get("noncolin")
    kinds = dict.fromkeys(
        (symbol, moment if split else 0.0)
        for symbol, moment in zip(atoms.symbols, moments, strict=True)
    )
    counts: Counter[str] = Counter()
    found = []
    for symbol, _ in kinds:
        found.append((f"{symbol}{counts[symbol] or ''}", symbol))
        counts[symbol] += 1
    return found


def complaints(output: str) -> list[str]:
    """Return the lines of errors, which stand between two lines of %."""
    boxes = re.findall(r"%{20,}\n(.*?)\n\s*%{20,}", output, re.S)
    return [" ".join(line.split()) for box in boxes for line in box.splitlines()]


def companion(command: str, program: str) -> str:
    """Return the command of another program of the same installation, such as dos.x.

    Raises
    ------
    MissingProgramError
        The command does not say where pw.x is.
    """
    if "pw.x" not in command:
        raise MissingProgramError(
            f"{program} is looked for beside pw.x, but the command {command!r} does not name it. "
            "Set the setting commands.espresso to the path of pw.x."
        )
    return program.join(command.rsplit("pw.x", 1))


def require_companion(command: str, program: str) -> None:
    """Raise a MissingProgramError where :func:`companion` cannot be started."""
    words = shlex.split(companion(command, program))
    path = next(word for word in reversed(words) if program in word)
    if shutil.which(path) is None:
        raise MissingProgramError(
            f"{program} is not beside pw.x, where it was looked for: {path!r}."
        )


def bands(calculator: Any, atoms: Atoms, kpoints: NDArray[Any], empty: int) -> Spectrum:
    """Return the bands at k-points (n, 3), as parts of the reciprocal vectors."""
    weighted = np.column_stack([kpoints, np.ones(len(kpoints))])
    return _again(calculator, atoms, "bands", empty, kpts=weighted, kspacing=None)


def mesh(calculator: Any, atoms: Atoms, kspacing: float, empty: int) -> Spectrum:
    """Return the bands on a mesh, its Fermi energy by the tetrahedron method.

    Of Kawamura et al., Phys. Rev. B 89, 094515 (2014).
    """
    return _again(
        calculator,
        atoms,
        "nscf",
        empty,
        {"occupations": "tetrahedra_opt"},
        kpts=None,
        kspacing=kspacing,
    )


def densities(calculator: Any, projected: bool) -> dict[str, Any]:
    """Return densities of states (1/eV) after :func:`mesh`, by atom and orbital if projected."""
    program = PROGRAMS["projected dos" if projected else "dos"]
    name = program.removesuffix(".x")
    out = "filpdos='pdos'" if projected else "fildos='dos.dat'"
    folder = Path(calculator.directory)
    text = f"&{name}\n outdir='out', {out}, DeltaE={_STEP}\n/\n"
    (folder / f"{name}.in").write_text(text)
    _run_companion(calculator, name, program)
    total = np.loadtxt(folder / ("pdos.pdos_tot" if projected else "dos.dat"))
    spins = _spins(_xml(folder))
    found: dict[str, Any] = {"energies": total[:, 0], "dos": total[:, 1 : 1 + spins].T.copy()}
    if projected:
        found["pdos"] = []
        for file in sorted(folder.glob("pdos.pdos_atm#*")):
            match = _PROJECTED.fullmatch(file.name)
            if match is None:
                raise CalculationError(f"projwfc.x wrote a file of an unknown name, {file.name!r}.")
            atom, shell, orbital, total_j = match.groups()
            found["pdos"].append(
                {
                    "atom": int(atom) - 1,
                    "shell": int(shell),
                    "orbital": orbital,
                    "j": float(total_j) if total_j else None,
                    "dos": _of_shell(file, spins),
                }
            )
        found["pdos"].sort(key=lambda one: (one["atom"], one["shell"], one["j"] or 0.0))
    return found


def potential(calculator: Any) -> tuple[NDArray[Any], NDArray[Any], float]:
    """Return heights (Å), the mean bare and Hartree potential there (eV), and the Fermi energy."""
    from ase.io.cube import read_cube

    folder = Path(calculator.directory)
    (folder / "pp.in").write_text(
        "&inputpp\n outdir='out', filplot='potential', plot_num=11\n/\n"
        "&plot\n iflag=3, output_format=6, fileout='potential.cube'\n/\n"
    )
    _run_companion(calculator, "pp", PROGRAMS["potential"])
    with (folder / "potential.cube").open() as stream:
        found = read_cube(stream)
    for name in ("potential", "potential.cube"):
        (folder / name).unlink()  # large, and nobody needs them
    means = found["data"].mean(axis=(0, 1)) * units.Rydberg
    length = found["atoms"].cell.lengths()[2]
    heights = np.arange(len(means)) / len(means) * length
    names = ("fermi_energy", "highestOccupiedLevel")
    return heights, means, float(_text(_xml(folder), *names)) * units.Hartree


def highest_occupation(folder: Path) -> tuple[int, float] | None:
    """Return the number of bands of an SCF, and how far the highest is filled (0 to 1).

    None where occupations are fixed, or there is no output.
    """
    try:
        output = _xml(folder)
    except (OSError, ElementTree.ParseError):
        return None
    if output.findtext("band_structure/occupations_kind") in (None, "fixed", "from_input"):
        return None
    halves = np.split(_of_points(output, "occupations"), _spins(output), axis=1)
    # Negative ones are of Methfessel and Paxton's smearing.
    return halves[0].shape[1], max(float(np.abs(half[:, -1]).max()) for half in halves)


def no_band_is_partly_filled(folder: Path) -> bool:
    """Return whether, in an SCF, each band is full or empty."""
    filled = _of_points(_xml(folder), "occupations")
    return bool((np.minimum(np.abs(filled), np.abs(filled - 1)) < _WHOLE).all())


_WHOLE = 1e-3
"""How far from full or empty a band may be."""


def _of_shell(file: Path, spins: int) -> NDArray[Any]:
    """Return (spins, energies); noncollinear states are split by projwfc.x, and are added here."""
    with file.open() as stream:
        split = "ldosdw" in stream.readline()
    columns = np.loadtxt(file)[:, 1 : 3 if split else 2].T
    return columns.copy() if len(columns) == spins else columns.sum(axis=0, keepdims=True)


def _again(
    calculator: Any,
    atoms: Atoms,
    what: str,
    empty: int,
    system: Mapping[str, Any] | None = None,
    **points: Any,
) -> Spectrum:
    """Run pw.x from the density of the SCF before it."""
    from ase.io import write

    folder = Path(calculator.directory)
    scf = _xml(folder)
    occupied = _occupied(scf)
    parameters = deepcopy(calculator.parameters)
    data = parameters["input_data"]
    data["control"] |= {"calculation": what, "pseudo_dir": calculator.profile.pseudo_dir}
    for name in ("tprnfor", "tstress"):
        data["control"].pop(name, None)
    number = _filled(scf) + empty
    if occupied is None:  # of a metal, bands above the Fermi energy may dip below it elsewhere
        number = max(number, int(_text(scf, "nbnd", "nbnd_up")), int(1.2 * _filled(scf)) + empty)
    if calculator.hubbard:
        calculator.hubbard.into(parameters, atoms)
    data["system"] |= {"nbnd": max(number, data["system"].get("nbnd", 0)), **(system or {})}
    write(folder / f"{what}.in", atoms, format="espresso-in", **{**parameters, **points})
    _run(calculator.profile, folder, what, "pw.x")
    found = _xml(folder)
    energies, kpoints, weights = _energies(found, atoms)
    # On a path there are no electrons to count. A given magnetization makes two levels.
    names = ("fermi_energy", "two_fermi_energies", "highestOccupiedLevel")
    levels = np.array(_text(found if system else scf, *names).split(), float) * units.Hartree
    fermi = np.resize(levels, len(energies))
    lowest = energies[:, :, -1].min(axis=1)
    if occupied is None and (lowest <= fermi).any():
        raise CalculationError(
            f"The highest of the {energies.shape[2]} bands reaches down to {lowest.min():.2f} eV, "
            f"below the Fermi energy of {fermi.max():.2f} eV, so that states are missing. Ask for "
            f"more: empty={2 * empty + 4}."
        )
    said = (folder / f"{what}.out").read_text("utf-8", "replace")
    missed = sum(map(int, re.findall(r"c_bands:\s*(\d+) eigenvalues not converged", said)))
    told = f"{missed} eigenvalues have not converged: pass input_data with another diagonalization."
    warnings = (told,) if missed else ()
    return Spectrum(energies, kpoints, weights, fermi, occupied, warnings)


def _run_companion(calculator: Any, name: str, program: str) -> None:
    command = companion(calculator.profile.command, program)
    _run(type(calculator.profile)(command, ""), Path(calculator.directory), name, program)


def _run(profile: Any, folder: Path, name: str, program: str) -> None:
    try:
        profile.run(folder, f"{name}.in", f"{name}.out", errorfile=f"{name}.err")
    except subprocess.CalledProcessError as error:
        said = (folder / f"{name}.out").read_text("utf-8", "replace")
        words = "; ".join(dict.fromkeys(complaints(said))) or said.strip()[-500:]
        raise CalculationError(
            f"{program} ended with exit status {error.returncode} after the SCF. It says: {words}"
        ) from error


def _xml(folder: Path) -> ElementTree.Element:
    output = ElementTree.parse(folder / _XML).getroot().find("output")
    assert output is not None
    return output


def _text(output: ElementTree.Element, *names: str) -> str:
    for name in names:
        if found := output.findtext(f"band_structure/{name}"):
            return found
    raise CalculationError(f"pw.x wrote none of {', '.join(names)} into {_XML}.")


def _spins(output: ElementTree.Element) -> int:
    return 2 if _text(output, "lsda") == "true" else 1


def _filled(output: ElementTree.Element) -> int:
    """Return how many bands hold the electrons, of one spin if there are two."""
    electrons = float(_text(output, "nelec"))
    single = _text(output, "noncolin") == "true"
    if _spins(output) == 2:
        moment = abs(float(output.findtext("magnetization/total") or 0.0))
        return int(np.ceil((electrons + moment) / 2 - 1e-6))
    return int(np.ceil(electrons / (1 if single else 2) - 1e-6))


def _occupied(output: ElementTree.Element) -> list[int] | None:
    """Return how many bands of each spin are full, where occupations are fixed; else None."""
    if output.findtext("band_structure/occupations_kind") != "fixed":
        return None
    rows = _of_points(output, "occupations")
    halves = np.split(rows, _spins(output), axis=1)
    return [round(float(half[0].sum())) for half in halves]


def _energies(
    output: ElementTree.Element, atoms: Atoms
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    energies = np.stack(np.split(_of_points(output, "eigenvalues"), _spins(output), axis=1))
    points = output.findall("band_structure/ks_energies/k_point")
    weights = np.array([float(point.attrib["weight"]) for point in points])
    places = np.array([(point.text or "").split() for point in points], float)
    structure = output.find("atomic_structure")
    assert structure is not None
    lattice = float(structure.attrib["alat"]) * units.Bohr
    scaled = places / lattice @ atoms.cell.array.T
    return energies * units.Hartree, scaled, weights / weights.sum()


def _of_points(output: ElementTree.Element, name: str) -> NDArray[Any]:
    found = output.findall(f"band_structure/ks_energies/{name}")
    return np.array([(one.text or "").split() for one in found], float)
