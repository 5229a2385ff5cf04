"""One SCF of VASP: its input, its start, and what may be read of its output.

ASE's calculator writes the structure and the k-points, and reads vasprun.xml. INCAR and POTCAR are
written here, since ASE's rounds numbers to six digits or fewer and looks for POTCARs by environment
variables; so is the check of the results, since ASE's takes files of an earlier run, and numbers of
an SCF that did not converge.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_changes
from ase.calculators.vasp import Vasp

from quacc.calculators import vaspfaults
from quacc.calculators.files import read
from quacc.calculators.vaspsets import KEYWORDS, functional_tags, mesh, read_potcar, spelled
from quacc.errors import CalculationError

_OUTPUTS = (
    *("OUTCAR", "vasprun.xml", "OSZICAR", "CONTCAR", "EIGENVAL", "DOSCAR", "IBZKPT", "vasp.out"),
    *("vasp.err", "KPOINTS", "XDATCAR", "PROCAR", "STOPCAR"),
)
"""Files of the run before, none of which may be taken for this one's."""


class VaspRun(Vasp):
    """One SCF: VASP moves nothing, and starts from the wave functions of the step before."""

    def __init__(
        self,
        given: Mapping[str, Any],
        potcars: Mapping[str, Path],
        charge: Callable[[Atoms], int],
        options: Mapping[str, Any],
        gamma: str | None,
        **more: Any,
    ) -> None:
        points = {} if given["kpts"] is None else {"kpts": tuple(given["kpts"])}
        spacing = {} if given["kspacing"] is None else {"kspacing": float(given["kspacing"])}
        super().__init__(
            pp="lda" if given["xc"] == "lda" else "pbe",
            gamma=bool(given["gamma"]),
            ignore_constraints=True,  # it is told of no constraint, so that all forces are there
            **points,
            **spacing,
            **more,
        )
        self._given = given
        self._potcars = potcars
        self._charge = charge
        self._options = options
        self._gamma = gamma

    def _build_pp_list(self, atoms: Any, setups: Any = None, special_setups: Any = ()) -> list[str]:
        # ASE's looks where environment variables say.
        return [str(self._potcars[symbol]) for symbol, _ in self.symbol_count]

    def copy_vdw_kernel(self, directory: Any = ".") -> None:
        # ASE's looks where an environment variable says.
        kernel = next(iter(self._potcars.values())).parents[2] / "vdw_kernel.bindat"
        if self.tags(self.atoms).get("LUSE_VDW") and kernel.is_file():
            shutil.copyfile(kernel, Path(directory) / kernel.name)

    def tags(self, atoms: Atoms) -> dict[str, Any]:
        """Return the INCAR."""
        given = self._given
        tags: dict[str, Any] = {
            tag: given[keyword]
            for keyword, tag in KEYWORDS.items()
            if keyword not in ("kspacing", "gamma")
        }
        if given["kspacing"] is not None:
            tags |= {"KSPACING": given["kspacing"], "KGAMMA": given["gamma"]}
        tags |= functional_tags(given["xc"])
        tags |= {tag: value for tag, value in given["incar"].items() if value is not None}
        tags |= {"NSW": 0, "IBRION": -1, "ISIF": 2, "ISTART": int(self._has("WAVECAR"))}
        if not tags["ISTART"] and self._has("CHGCAR"):
            tags["ICHARG"] = 1  # a first density, which the SCF changes
        tags.setdefault("LCHARG", False)
        if given["ispin"] == 2:
            tags.setdefault("LORBIT", 11)
            moments = atoms.get_initial_magnetic_moments()
            if not moments.any():
                moments = np.array([given["magmom"].get(str(one), 0.0) for one in atoms.symbols])
            if moments.any():
                tags["MAGMOM"] = _runs(moments[self.sort])
        if given["ldau_luj"]:
            none = {"L": -1, "U": 0.0, "J": 0.0}
            rows = [given["ldau_luj"].get(symbol, none) for symbol, _ in self.symbol_count]
            tags |= {"LDAU": True, "LDAUTYPE": tags.get("LDAUTYPE", 2)}
            tags |= {f"LDAU{letter}": [row[letter] for row in rows] for letter in "LUJ"}
        if charge := self._charge(atoms):
            neutral = sum(
                number * read_potcar(self._potcars[symbol]).electrons
                for symbol, number in self.symbol_count
            )
            tags["NELECT"] = neutral - charge
        for option, value in self._options.items():
            if value is not None:
                tags[option.upper()] = value
        return dict(sorted(tags.items()))

    def _has(self, name: str) -> bool:
        file = Path(self.directory) / name
        return file.is_file() and file.stat().st_size > 0

    def write_incar(self, atoms: Any, directory: Any = ".", **more: Any) -> None:
        # ASE's rounds to six digits, and some lists to three or four.
        lines = [f"{tag} = {spelled(value)}\n" for tag, value in self.tags(atoms).items()]
        (Path(directory) / "INCAR").write_text("".join(lines))

    def write_input(self, atoms: Any, properties: Any = None, changes: Any = None) -> None:
        for name in _OUTPUTS:
            (Path(self.directory) / name).unlink(missing_ok=True)
        super().write_input(atoms, properties, changes)

    def calculate(
        self, atoms: Any = None, properties: Any = ("energy",), changes: Any = all_changes
    ) -> None:
        box = atoms.copy()
        box.pbc = True  # what that means has been checked
        points = self._given["kpts"] or mesh(box, self._given["kspacing"])
        only_gamma = list(points) == [1, 1, 1] and self._given["gamma"]
        if only_gamma and self._gamma:
            self.command = self._gamma
        super().calculate(box, properties, changes)
        self._atoms = atoms.copy()

    def _run(self, command: Any = None, out: Any = None, directory: Any = None) -> tuple[int, str]:
        # ASE's keeps the output in memory until the end, and loses it where it is killed.
        with (Path(self.directory) / "vasp.err").open("wb") as errors:
            done = subprocess.run(
                command,
                shell=True,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=errors,
                check=False,
            )
        return done.returncode, f"in {self.directory}/vasp.err"

    def read_results(self) -> None:
        self.results = read_results(Path(self.directory), self.atoms_sorted, self._given["ispin"])
        for name in ("forces", "magmoms"):
            if name in self.results:
                self.results[name] = self.results[name][self.resort]


def _runs(values: Any) -> str:
    """Return numbers in the INCAR's short form, such as ``4*5.0 8*0.6``."""
    runs: list[list[Any]] = []
    for value in values.tolist():
        if runs and runs[-1][1] == value:
            runs[-1][0] += 1
        else:
            runs.append([1, value])
    return " ".join(f"{number}*{value!r}" for number, value in runs)


def read_results(folder: Path, atoms: Atoms, ispin: int) -> dict[str, Any]:
    """Return the results of a run, in VASP's order of the atoms.

    The energy is the free energy (TOTEN), of which the forces are the derivative, as with the
    other calculators; ``energy_zero`` is extrapolated to no smearing, ``energy(sigma->0)``.

    Raises
    ------
    CalculationError
        VASP did not come to its end, its SCF did not converge, its highest band is not empty, or it
        computed another structure or spin than it was told.
    """
    from ase.io import read as read_atoms

    file = folder / "vasprun.xml"
    text = read(file)
    if not text.rstrip().endswith("</modeling>"):
        said = vaspfaults.diagnose(folder)
        what = "is cut off" if text else "was not written"
        raise CalculationError(
            f"VASP did not come to its end: vasprun.xml {what}{f'; {said}' if said else ''}."
        )
    if reason := vaspfaults.unconverged(folder):
        raise CalculationError(
            f"The SCF of VASP did not converge ({reason}). Pass another algo, a larger nelm or "
            "sigma, or look at the structure and its magnetic moments."
        )
    if found := vaspfaults.too_few_bands(folder):
        raise CalculationError(
            f"The highest of the {found[0]} bands of VASP is filled to {found[1]:.2g}, so that "
            "electrons may be missing above it. Give incar a larger NBANDS."
        )
    try:
        computed: Any = read_atoms(file, index=-1, format="vasp-xml")
    except ElementTree.ParseError as error:
        raise CalculationError(f"vasprun.xml of VASP cannot be read: {error}.") from error
    there = computed.calc.results
    says = computed.calc.parameters
    _same_structure(computed, atoms)
    if int(says["ispin"]) != ispin or int(says["nsw"]) > 1:
        raise CalculationError(
            f"VASP computed with ISPIN = {says['ispin']} and NSW = {says['nsw']}, and not what its "
            "INCAR says. Look at its output."
        )
    if there.get("forces") is None:
        raise CalculationError("VASP wrote no forces into vasprun.xml. Look at its output.")
    results: dict[str, Any] = {
        "energy": float(there["free_energy"]),
        "free_energy": float(there["free_energy"]),
        "energy_zero": float(there["energy"]),
        "forces": there["forces"],
    }
    if there.get("stress") is not None:
        results["stress"] = there["stress"]
    if ispin == 2:
        results |= read_moments(read(folder / "OUTCAR"), len(atoms))
    return results


def _same_structure(computed: Atoms, told: Atoms) -> None:
    moved = (
        computed.get_scaled_positions() - told.get_scaled_positions()
        if len(computed) == len(told)
        else np.array([[np.inf]])
    )
    same = (
        computed.get_chemical_symbols() == told.get_chemical_symbols()
        and np.abs(computed.cell.array - told.cell.array).max() < 1e-4
        and np.abs(moved - np.rint(moved)).max() < 1e-5
    )
    if not same:
        raise CalculationError(
            "vasprun.xml is of another structure than the one that was given to VASP. Look at its "
            "POSCAR and its output."
        )


def read_moments(output: str, natoms: int) -> dict[str, Any]:
    """Return the magnetic moments of an OUTCAR: total, and of the atoms where LORBIT is set."""
    found: dict[str, Any] = {}
    if total := re.findall(r"number of electron\s+\S+\s+magnetization\s+(-?[\d.]+)", output):
        found["magmom"] = float(total[-1])
    block = output.rpartition("magnetization (x)")[2] if "magnetization (x)" in output else ""
    table = re.search(r"-{10,}\n(.*?)\n-{10,}", block, re.S)  # of the last step; the sum is below
    rows = [line.split() for line in table.group(1).splitlines()] if table else []
    if len(rows) == natoms:
        found["magmoms"] = np.array([float(row[-1]) for row in rows])
    return found
