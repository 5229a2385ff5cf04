"""ABINIT: plane waves and pseudopotentials or PAW, the external program abinit."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.calculators.abinit import AbinitProfile, AbinitTemplate
from ase.calculators.calculator import Calculator
from ase.calculators.genericfileio import GenericFileIOCalculator
from numpy.typing import NDArray

from quacc.calculators import abieig
from quacc.calculators.code import Place, Spectrum
from quacc.calculators.dispersion import refuse_functional, twice
from quacc.calculators.files import read
from quacc.calculators.keyword import Keyword, positive, whole
from quacc.calculators.planewaves import (
    PlaneWaves,
    keywords_of,
    last_lines,
    messages_in,
)
from quacc.calculators.program import Program
from quacc.calculators.recovery import Handler
from quacc.errors import CalculationError, ParameterError, StructureError

_UNCONVERGED = re.compile(r"nstep=\s*(\d+) was not enough SCF cycles to converge")
_CONVERGED = re.compile(r"At SCF step\s*\d+.*\bconverged\b")


def _more_steps(parameters: Mapping[str, Any], folder: Path) -> tuple[dict[str, Any], str]:
    data = _lower(parameters["input_data"])
    steps, mix = 2 * int(data.get("nstep", _STEPS)), float(data.get("diemix", 0.7)) / 2
    changed = {**data, "nstep": steps, "diemix": mix}
    return {**parameters, "input_data": changed}, f"nstep={steps} and diemix={mix:g}"


_STEPS = 60

_SCF = Handler(
    "The SCF of abinit did not converge",
    seen=lambda folder: _UNCONVERGED.search(read(folder / "abinit.abo")) is not None,
    change=_more_steps,
)


class AbinitCode(PlaneWaves):
    name = "abinit"
    title = "ABINIT"
    keywords = {
        "ecut": Keyword(40.0, "cutoff of the wave functions (Ha)", positive),
        "pawecutdg": Keyword(
            None, "cutoff of the fine grid of PAW (Ha); None: twice ecut", positive
        ),
        **keywords_of("abinit", "ABINIT"),
        "charge": Keyword(None, "None: the sum of the initial charges", whole),
    }
    program = Program(
        "abinit",
        "abinit",
        r"(\d+\.\d\S*)",
        ask_with=("--version",),
        parallel=True,
        restart=("abinito_DEN",),
        scratch=("abiniti_*", "abinito_DEN", "abinito_WFK", "*o_*.nc", "*o_*.agr"),
    )
    handlers = (_SCF,)
    debian_folder = "/usr/share/abinit/psp/Pseudodojo_nc_sr_04_pbe_standard_psp8"
    debian_package = "abinit-data"
    handles = {
        "pbc": "honoured: all three; fewer are refused, but for neutral molecules in a box, with "
        "a warning",
        "charges": "honoured: their sum is `cellcharge`, refused unless it is a whole number",
        "moments": "honoured as the start of the SCF (`spinat`); vectors are refused",
    }
    install = "`apt-get install abinit abinit-data` or `conda install -c conda-forge abinit`"
    citation = """@article{Gonze2020,
  author = {Gonze, Xavier and Amadon, Bernard and Antonius, Gabriel and others},
  title = {The {ABINIT} project: Impact, environment and recent developments},
  journal = {Computer Physics Communications}, volume = {248}, pages = {107042}, year = {2020},
  doi = {10.1016/j.cpc.2019.107042}
}
@article{Romero2020,
  author = {Romero, Aldo H. and Allan, Douglas C. and Amadon, Bernard and others},
  title = {{ABINIT}: Overview and focus on selected capabilities},
  journal = {Journal of Chemical Physics}, volume = {152}, pages = {124102}, year = {2020},
  doi = {10.1063/1.5144261}
}"""

    def candidates(self, folder: Path, symbol: str) -> list[str]:
        name = re.compile(rf"(\d+[-_]?)?{symbol}([._-].*)?\.({_FORMATS})", re.I)
        return sorted(
            file.name
            for file in (folder.iterdir() if folder.is_dir() else [])
            if name.fullmatch(file.name) and not file.name.endswith(".corewf.xml")
        )

    def functional(self, file: Path) -> str | None:
        return header(file).functional

    def resolve(self, atoms: Atoms, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Name pseudopotentials and charge, and the fine grid of PAW.

        Raises
        ------
        ParameterError, StructureError
            A pseudopotential is missing, cannot be read, or is another element's.
        """
        chosen = self.choose(atoms, parameters["pseudopotentials"])
        headers = {symbol: header(self.folder() / name) for symbol, name in chosen.items()}
        for number, symbol in zip(atoms.numbers, atoms.symbols, strict=True):
            if headers[symbol].number != number:
                raise ParameterError(
                    f"{chosen[symbol]!r} is no pseudopotential of {symbol}: it is for the atomic "
                    f"number {headers[symbol].number:g}."
                )
        paw = any(one.paw for one in headers.values())
        fine = parameters["pawecutdg"]
        if fine is not None and (not paw or fine < parameters["ecut"]):
            raise ParameterError(
                f"pawecutdg must be at least ecut ({parameters['ecut']:g} Ha), not {fine:g}."
                if paw
                else "pawecutdg is of PAW, and none of the pseudopotentials is: leave it out."
            )
        return {
            **parameters,
            "pseudopotentials": chosen,
            "pawecutdg": (fine or 2 * parameters["ecut"]) if paw else None,
            "charge": self.charge(atoms, parameters),
            "input_data": _lower(parameters["input_data"]),
        }

    def check(self, atoms: Atoms, parameters: Mapping[str, Any]) -> list[str]:
        warnings = super().check(atoms, parameters)
        data = parameters["input_data"]
        _check_own(data)
        warnings += self.check_cell(atoms, parameters)
        if atoms.cell.handedness < 0:
            raise StructureError(
                "The cell vectors are left-handed, which ABINIT refuses. Exchange two of them, "
                "such as with atoms.set_cell(atoms.cell[[1, 0, 2]]), which moves no atom."
            )
        self.check_functionals(parameters)
        if "ixc" in data:
            warnings.append(
                f"ixc={data['ixc']} of input_data replaces the functional of the pseudopotentials, "
                f"{self.functional(self.files(parameters)[0])}."
            )
        if len(str(self.folder())) > _LONGEST or '"' in str(self.folder()):
            raise ParameterError(
                f"ABINIT cannot read the name of the folder of pseudopotentials, which must have "
                f'less than {_LONGEST} characters and no ": {str(self.folder())!r}. Make a link '
                "with a shorter name, and set pseudopotentials.abinit to it."
            )
        return warnings

    def check_state(self, atoms: Atoms, parameters: Mapping[str, Any]) -> None:
        super().check_state(atoms, parameters)
        data = _lower(parameters["input_data"])
        moments = atoms.get_initial_magnetic_moments().any()
        target = _number(data.get("spinmagntarget", _UNSET)) > _UNSET / 2
        if target and not moments:
            raise ParameterError(
                "spinmagntarget needs a start for the SCF: set magnetic moments with "
                "atoms.set_initial_magnetic_moments()."
            )
        if moments and _number(data.get("nspinor", 1)) == 2:
            raise ParameterError(
                "nspinor=2 is without magnetic moments here: ABINIT would take them for vectors. "
                "Remove them with atoms.set_initial_magnetic_moments(), or leave nspinor out."
            )
        if moments and _number(data.get("occopt", 7)) == 1 and not target:
            raise ParameterError(
                "With occopt=1, ABINIT does not change how many electrons have each spin. Name "
                "their difference with spinmagntarget in input_data, or let it be found with "
                "occopt=7."
            )

    def uncorrected_functional(self, parameters: Mapping[str, Any]) -> str | None:
        data = parameters["input_data"]
        if _number(data.get("vdw_xc", 0)) != 0:
            raise twice(self.title, f"vdw_xc={data['vdw_xc']} of input_data")
        if "ixc" in data:
            code = _number(data["ixc"])
            return _FUNCTIONALS.get(int(code)) if code == code else None
        found = self.functional(self.files(parameters)[0])
        refuse_functional(self.title, found or "")
        return found

    def build(self, parameters: Mapping[str, Any], place: Place) -> Calculator:
        calculator: Any = _Abinit(
            template=_Template(),
            profile=AbinitProfile(self.program.run_command()),
            directory=place.folder,
            parameters={**parameters, "folder": self.folder()},
        )
        return calculator

    def check_bands(self, parameters: Mapping[str, Any], densities: str | None) -> None:
        occopt = parameters["input_data"].get("occopt", 7)
        if _number(occopt) not in (1, *_SMEARING):
            raise ParameterError(
                f"occopt={occopt!r} lists occupations for the bands of the SCF, and bands and "
                "densities of states have more: take 1, for an insulator, or 3 to 8."
            )

    def bands(
        self, parameters: Mapping[str, Any], place: Place, atoms: Atoms, kpoints: Any, empty: int
    ) -> Spectrum:
        points = {"kptopt": 0, "nkpt": len(kpoints), "kpt": np.asarray(kpoints)}
        states = self._states(parameters, place, atoms)
        levels, _, _, warnings = self._again(
            parameters, place, atoms, states, "bands", empty, points
        )
        weights = np.full(len(kpoints), 1 / len(kpoints))
        # On a path there are no electrons to count.
        fermi = abieig.fermi_energies(_folder(place), len(levels))
        return abieig.checked(
            Spectrum(levels, np.asarray(kpoints), weights, fermi, states.occupied, warnings), empty
        )

    def density_of_states(
        self,
        parameters: Mapping[str, Any],
        place: Place,
        atoms: Atoms,
        kspacing: float,
        empty: int,
        projected: bool,
    ) -> tuple[Spectrum, dict[str, Any]]:
        from ase.io.espresso import kspacing_to_grid

        mesh = np.array(kspacing_to_grid(atoms, kspacing))
        points = {"ngkpt": mesh, "nshiftk": 1, "shiftk": [0, 0, 0]}
        points |= {"prtdos": 3 if projected else 2, "dosdeltae": _STEP}
        states, folder = self._states(parameters, place, atoms), _folder(place)
        levels, kpoints, weights, warnings = self._again(
            parameters, place, atoms, states, "dos", empty, points
        )
        spins, cells = len(levels), int(np.prod(mesh))
        file = folder / ("doso_DOS_TOTAL" if projected else "doso_DOS")
        energies, columns = abieig.density(file, spins)
        fermi = states.fermi_energies(energies, columns[:, 1])
        spectrum = Spectrum(
            levels,
            # Of both, the program writes few decimals.
            np.round(kpoints * mesh) / mesh,
            np.round(weights * cells) / cells,
            fermi,
            states.occupied,
            warnings,
        )
        found: dict[str, Any] = {"energies": energies, "dos": columns[:, 0] / units.Hartree}
        if projected:
            found["pdos"] = abieig.projected(folder, "doso", len(atoms), spins)
        return abieig.checked(spectrum, empty), found

    def _states(self, parameters: Mapping[str, Any], place: Place, atoms: Atoms) -> abieig.States:
        """Return how the electrons of the SCF in a place are distributed."""
        data = parameters["input_data"]
        target = _number(data.get("spinmagntarget", _UNSET))
        polarised = bool(atoms.get_initial_magnetic_moments().any())
        moment = 0.0
        if polarised:
            moment = _moments(read(_folder(place) / "abinit.abo"), len(atoms))["magmom"]
        return abieig.States(
            electrons=_electrons(atoms, {**parameters, "folder": self.folder()}),
            moment=target if target > _UNSET / 2 else moment,
            spins=2 if polarised else 1,
            single=_number(data.get("nspinor", 1)) == 2,
            smeared=_number(data.get("occopt", 7)) in _SMEARING,
            fixed_moment=polarised and target > _UNSET / 2,
        )

    def _again(
        self,
        parameters: Mapping[str, Any],
        place: Place,
        atoms: Atoms,
        states: abieig.States,
        name: str,
        empty: int,
        points: Mapping[str, Any],
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], tuple[str, ...]]:
        """Run abinit from the density of the SCF in a place; return what it says of the states.

        Energies (spins, k-points, bands) in eV, k-points, weights, and warnings.
        """
        folder, given = _folder(place), {**parameters, "folder": self.folder()}
        bands = states.filled + empty
        if states.smeared:  # bands above the Fermi energy may dip below it elsewhere
            bands = max(bands, _bands(atoms, given), int(1.2 * states.filled) + empty)
        spare = max(4, bands // 10)
        variables = {
            variable: value
            for variable, value in _variables(atoms, given, known=False).items()
            if variable not in _OF_SCF | _TOLERANCES
        }
        variables |= {"iscf": -2, "tolwfr": _RESIDUAL, "nstep": 100, "enunit": 1}
        variables |= {"nband": bands + spare, "nbdbuf": spare, "prtwf": 0, "prtden": 0, **points}
        lines = ['getden_filepath "abinito_DEN"']
        _write(folder / f"{name}.in", atoms, given, variables, lines)
        for file in folder.glob(f"{name}o_*"):  # not to be taken for this run's
            file.unlink()
        try:
            AbinitProfile(self.program.run_command()).run(
                folder, f"{name}.in", f"{name}.log", errorfile=f"{name}.err"
            )
        except subprocess.CalledProcessError as error:
            log = read(folder / f"{name}.log")
            told = "; ".join(dict.fromkeys(_errors(log))) or last_lines(log)
            raise CalculationError(
                f"abinit ended with exit status {error.returncode} after the SCF. It says: {told}"
            ) from error
        output = read(folder / f"{name}.abo")
        if "Calculation completed" not in output:
            told = "; ".join(dict.fromkeys(_errors(read(folder / f"{name}.log"))))
            raise CalculationError(f"abinit did not come to its end after the SCF. It says: {told}")
        levels, kpoints, weights = abieig.energies(folder / f"{name}o_EIG", states.spins)
        warnings = []
        if found := re.search(r"maximum residual=\s*(\S+) exceeds tolwfr", output):
            residual = float(found.group(1))
            warnings.append(
                f"Some states have not converged: the energies are wrong by up to "
                f"{np.sqrt(residual) * units.Hartree:.2g} eV. Take a larger ecut, or another "
                "wfoptalg in input_data."
            )
        return levels[:, :, :bands], kpoints, weights, tuple(warnings)

    def diagnose(self, directory: Path) -> str | None:
        output, log = read(directory / "abinit.abo"), read(directory / "abinit.log")
        if found := _UNCONVERGED.search(output):
            return (
                f"the SCF did not converge in {found.group(1)} steps; pass input_data with a "
                "larger nstep, more bands (nband), a smaller diemix, or a diemac that suits it "
                "(about 10 for an insulator or a molecule)"
            )
        messages = _errors(log + read(directory / "__ABI_MPIABORTFILE__"))
        if messages:
            return "; ".join(dict.fromkeys(messages))
        if "Calculation completed" in output:
            return None if _CONVERGED.search(output) else "it does not say that the SCF converged"
        words = "; ".join(messages_in(read(directory / "abinit.err")))
        if last := last_lines(log):
            return (
                "it ended without a word of its own, as it does when it is killed or memory runs "
                f"out{words and f' ({words})'}; its last lines are: {last}"
            )
        if words:
            return words
        return _SILENT if (directory / "abinit.log").is_file() else None


@dataclass(frozen=True)
class Header:
    """What the first lines of a pseudopotential tell."""

    number: float
    """Atomic number."""
    valence: float
    """Electrons that are not in the core."""
    functional: str | None
    paw: bool


def header(file: Path) -> Header:
    """Return the header of a pseudopotential, read once as long as it stays as it is.

    Raises
    ------
    ParameterError
        It has none of ABINIT's own formats, nor that of PAW-XML.
    """
    return _header(file, file.stat().st_mtime_ns)


@cache
def _header(file: Path, changed: int) -> Header:
    with file.open(encoding="utf-8", errors="replace") as stream:
        text = stream.read(_HEADER)
    atom = re.search(r"<atom\s([^>]*)>", text)
    if "<paw_" in text and atom:
        values = dict(re.findall(r'(\w+)\s*=\s*"\s*([^"]*?)\s*"', atom.group(1)))
        name = re.search(r'<xc_functional[^>]*\bname\s*=\s*"([^"]*)"', text)
        functional = _NAMES.get(name.group(1), name.group(1)) if name else None
        return Header(float(values["Z"]), float(values["valence"]), functional, paw=True)
    try:
        _, second, third, *_ = text.splitlines()
        number, valence = (float(word.replace("D", "E")) for word in second.split()[:2])
        code, functional_code = (int(word) for word in third.split()[:2])
    except ValueError:
        raise ParameterError(
            f"{file.name!r} is no pseudopotential that quacc reads: neither of ABINIT's own "
            "formats, such as psp8, nor PAW-XML."
        ) from None
    name_of = _FUNCTIONALS.get(functional_code, f"ixc={functional_code}")
    return Header(number, valence, name_of, paw=code in (7, 17))


_HEADER = 20_000
"""Characters at the beginning of a pseudopotential in which its header is."""
_FORMATS = "psp8|fhi|pspnc|hgh|hgh\\.k|pspgth|psp|paw|xml|drh|pspfhi"
_FUNCTIONALS = {1: "LDA (Teter)", 7: "LDA (PW)", -1012: "LDA (PW)", 11: "PBE", -101130: "PBE"}
_FUNCTIONALS |= {-116133: "PBEsol", 2: "LDA (PZ)", -1009: "LDA (PZ)"}
_NAMES = {"PW": "LDA (PW)", "PBESOL": "PBEsol"}
"""Of PAW-XML."""
_LONGEST = 240
_STEP = 0.0005
"""Between two energies of a density of states (Ha)."""
_RESIDUAL = 1e-12
"""Of states (Ha²); its root, 3e-5 eV, is a bound of the errors of their energies."""
_OF_SCF = frozenset(
    [
        *("iscf", "nstep", "nband", "fband", "nbdbuf", "ngkpt", "nshiftk", "shiftk", "irdden"),
        *("enunit", "prtden", "prtwf", "prteig", "prtdos", "dosdeltae", "diemix", "diemac"),
    ]
)
"""Variables of the SCF that others take the place of when its density is known."""
_UNSET = -99.99
"""Value of spinmagntarget that stands for none."""
_SILENT = "it wrote no output; check that the setting commands.abinit starts it"


def _lower(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return ABINIT's variables in lower case; their names must be words."""
    for name in data:
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z]\w*", name):
            raise ParameterError(
                f"input_data must be {{variable of ABINIT: value}}: {name!r} is no variable. "
                "ABINIT's data sets are not known here."
            )
    return {name.lower(): value for name, value in data.items()}


def _check_own(data: Mapping[str, Any]) -> None:
    """Refuse variables of ABINIT that are not the user's, and values that are none."""
    for name, value in data.items():
        base = name.rstrip("0123456789")
        if base in _DECIDED or name in _DECIDED or re.match(_OTHER_JOBS, name):
            raise ParameterError(
                f"input_data cannot set {name}: cell, atoms, charge and spin are those of the "
                "structure, cutoffs and k-points are keywords, quacc moves the atoms, one SCF at a "
                "time, and knows where its files are. Relaxations and dynamics are jobs of their "
                "own."
            )
        if name == "iscf" and _number(value) < 2:
            raise ParameterError(f"iscf must be 2 or more, for an SCF, not {value!r}.")
        if name == "kptopt" and _number(value) not in (1, 2, 3, 4):
            raise ParameterError(f"kptopt must be 1, 2, 3 or 4, for a mesh, not {value!r}.")
        _spell(name, value)
    if len(given := sorted(data.keys() & _TOLERANCES)) > 1:
        raise ParameterError(
            f"ABINIT takes one criterion of convergence, but there are {', '.join(given)}."
        )


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


_TOLERANCES = frozenset(["toldfe", "toldff", "tolrff", "tolvrs", "tolwfr"])
_DECIDED = frozenset(
    [
        *("natom", "ntypat", "typat", "znucl", "acell", "rprim", "angdeg", "scalecart"),
        *("xred", "xcart", "xangst", "xyzfile", "natrd", "nobj", "spgroup", "nimage", "imgmov"),
        *("nsppol", "nspden", "spinat", "charge", "cellcharge", "nzchempot", "chkprim", "chkexit"),
        *("ecut", "pawecutdg", "ngkpt", "kptrlatt", "kptrlen", "nkpt", "kpt", "kptnrm"),
        *("kptbounds", "ndivk", "ndivsm", "optdriver", "ionmov", "optcell", "ntime", "geoopt"),
        *("moldyn", "ndtset", "jdtset", "udtset", "optforces", "optstress", "usewvl", "icoulomb"),
        *("pseudos", "pp_dirpath", "include", "outdata_prefix", "indata_prefix", "structure"),
        *("tmpdata_prefix", "output_file", "prtden", "positron"),
    ]
)
"""Variables of ABINIT that are not the user's."""
_OTHER_JOBS = r"(rf|get|ird|gw|bs_|eph_|dmft|rttddft)\w*|d3e_\w*"
"""Those of other calculations than one of the ground state, or that read other files."""

_UNITS = "ha|hartree|ev|ry|rydberg|k|bohr|au|angstr|angstrom|tesla|t"


def _spell(name: str, value: Any) -> list[str]:
    """Return a value in the lines of ABINIT's input, each less than 264 characters long."""
    if isinstance(value, bool | np.bool_):
        return [str(int(value))]
    if isinstance(value, int | float | np.number) and np.isfinite(value):
        return [repr(value.item() if isinstance(value, np.generic) else value)]
    if isinstance(value, str) and re.fullmatch(
        rf"\s*(?:[-+*/\d.]+(?:[eEdD][-+]?\d+)?\s+)*[-+*/\d.]+(?:[eEdD][-+]?\d+)?(?:\s+(?:{_UNITS}))?\s*",
        value,
        re.I,
    ):
        return value.split() if len(value) > 80 else [" ".join(value.split())]
    if isinstance(value, Sequence | np.ndarray) and not isinstance(value, str) and len(value):
        return [line for one in value for line in _spell(name, one)]
    raise ParameterError(
        f"{name} of input_data must be a number, a list of numbers, or a text of them such as "
        f"'0.1 eV', not {value!r}."
    )


class _Abinit(GenericFileIOCalculator):
    """As ASE's, with another template; see there."""

    def calculate(
        self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = ()
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        self.atoms = atoms.copy()


class _Template(AbinitTemplate):
    """Input and output as ASE has them, but for what would be wrong.

    ASE's own guesses the file names of pseudopotentials and the functional from a keyword, shifts
    even meshes of k-points, which breaks the symmetry of hexagonal and face-centred lattices, takes
    energies in eV where the manual has Ha, and reads an SCF that did not converge as if it had.
    """

    def write_input(
        self, profile: Any, directory: Any, atoms: Any, parameters: Any, properties: Any
    ) -> None:
        folder = Path(directory)
        # Output of an earlier run must not be taken for that of one which died without a word.
        for name in ("abinit.abo", "abinito_EIG", "__ABI_MPIABORTFILE__"):
            (folder / name).unlink(missing_ok=True)
        known = folder / "abiniti_DEN"
        if (before := folder / "abinito_DEN").is_file():
            before.replace(known)
        variables = _variables(atoms, parameters, known.is_file())
        _write(folder / self.inputname, atoms, parameters, variables)

    def read_results(self, directory: Any) -> dict[str, Any]:
        from ase.io.abinit import read_abinit_outputs

        output = read(Path(directory) / "abinit.abo")
        if _UNCONVERGED.search(output) or not _CONVERGED.search(output):
            raise RuntimeError("The output of abinit does not say that the SCF converged.")
        found = read_abinit_outputs(directory, self._label)
        _check_bands(found, output)
        # Of PAW, ASE takes the direct sum, which converges more slowly than ABINIT's own energy.
        energy = float(re.findall(r"(?m)^ ETOT\s*\d+\s+(\S+)", output)[-1]) * units.Hartree
        results = {"energy": energy, "free_energy": energy}
        results |= {name: found[name] for name in ("forces", "stress")}
        return results | _moments(output, len(found["forces"]))


def _write(
    file: Path,
    atoms: Atoms,
    parameters: Mapping[str, Any],
    variables: Mapping[str, Any],
    more: Sequence[str] = (),
) -> None:
    """Write an input; ``more`` are lines of variables that are texts."""
    from ase.io.abinit import write_abinit_in

    lines = [f"{name} " + "\n  ".join(_spell(name, value)) for name, value in variables.items()]
    lines += [f'pp_dirpath "{parameters["folder"]}"', *more]
    numbers = sorted(set(atoms.numbers))
    names = dict(zip(atoms.numbers, atoms.symbols, strict=True))
    with file.open("w") as stream:
        write_abinit_in(
            stream,
            atoms,
            # So called, the functional is that of the pseudopotentials.
            param={"pps": "pawxml", "raw": lines},
            species=numbers,
            pseudos=[parameters["pseudopotentials"][names[number]] for number in numbers],
        )


def _variables(atoms: Atoms, parameters: Mapping[str, Any], known: bool) -> dict[str, Any]:
    """Return ABINIT's variables, but for the structure."""
    from ase.io.espresso import kspacing_to_grid

    data = dict(parameters["input_data"])
    mesh = parameters["kpts"]
    if not mesh:
        periodic = atoms.pbc.any()
        mesh = kspacing_to_grid(atoms, parameters["kspacing"]) if periodic else [1, 1, 1]
    found: dict[str, Any] = {
        "ecut": parameters["ecut"],
        "ecutsm": 0.5,
        "ngkpt": list(mesh),
        "occopt": 7,
        "nstep": _STEPS,
        "chksymbreak": 0,
        "chksymtnons": 0,
    }
    if not data.keys() & {"nshiftk", "shiftk"}:
        found |= {"nshiftk": 1, "shiftk": [0, 0, 0]}
    if not data.keys() & _TOLERANCES:
        found["tolvrs"] = 1e-10
    if parameters["pawecutdg"]:
        found["pawecutdg"] = parameters["pawecutdg"]
    if parameters["charge"]:
        found["cellcharge"] = parameters["charge"]
    if known:
        found["irdden"] = 1
    if _number(data.get("occopt", 7)) in _SMEARING:
        found["tsmear"] = 0.005
        if not data.keys() & {"nband", "fband"}:
            found["nband"] = _bands(atoms, parameters)
    return found | data


_SMEARING = (3, 4, 5, 6, 7, 8)
_FERMI_DIRAC = 3


def _bands(atoms: Atoms, parameters: Mapping[str, Any]) -> int:
    """Return the number of bands for smeared occupations; as pw.x, a fifth more, and at least four.

    ABINIT's own number leaves silicon one, with which its SCF does not converge.
    """
    electrons = _electrons(atoms, parameters)
    electrons += abs(float(atoms.get_initial_magnetic_moments().sum()))
    pairs = electrons * (1 if parameters["input_data"].get("nspinor") == 2 else 0.5)
    return int(np.ceil(max(1.2 * pairs, pairs + 4)))


def _electrons(atoms: Atoms, parameters: Mapping[str, Any]) -> float:
    """Return the number of electrons that are not in the cores."""
    files, folder = parameters["pseudopotentials"], parameters["folder"]
    electrons = sum(header(folder / files[symbol]).valence for symbol in atoms.symbols)
    return float(electrons - parameters["charge"])


def _folder(place: Place) -> Path:
    assert place.folder is not None
    return place.folder


def _check_bands(found: Mapping[str, Any], output: str) -> None:
    """Raise a CalculationError where smeared electrons fill the highest band."""
    electrons = re.search(r"occopt:\s+(\S+), tsmear:\s+(\S+),", output)
    occopt, tsmear = map(float, electrons.groups()) if electrons else (1.0, 0.0)
    if occopt not in _SMEARING or "fermilevel" not in found:
        return
    above = found["eigenvalues"][:, :, -1].min() - found["fermilevel"]
    reach = tsmear * units.Hartree * (5.3 if occopt == _FERMI_DIRAC else 1.83)
    if above < reach:
        raise CalculationError(
            f"The highest of the {found['eigenvalues'].shape[2]} bands of abinit reaches down to "
            f"{above:.2f} eV from the Fermi energy and is not empty, so that electrons are missing "
            "above it, and the energy is wrong. Give input_data a larger nband."
        )


def _moments(output: str, natoms: int) -> dict[str, Any]:
    """Return the magnetic moments at the end of the SCF: total, and inside spheres of the atoms."""
    found: dict[str, Any] = {}
    if total := re.findall(r"Total magnetization \(exact up - dn\):\s*(\S+)", output):
        found["magmom"] = float(total[-1])
    table = output.rpartition("Atom    Radius    up_density   dn_density")[2]
    rows = re.findall(r"(?m)^\s*\d+(?:\s+-?\d+\.\d+){4}\s+(-?\d+\.\d+)", table)[:natoms]
    if total and len(rows) == natoms:
        found["magmoms"] = np.array(rows, dtype=float)
    return found


def _errors(log: str) -> list[str]:
    """Return the messages of errors and bugs that abinit writes into its log."""
    blocks = re.findall(r"--- !(?:ERROR|BUG)\n.*?message: \|\n(.*?)\n\.\.\.", log, re.S)
    messages = [" ".join(block.split()) for block in blocks]
    return [one for one in messages if not one.startswith(_SUMMARY)] or messages


_SUMMARY = "Checking consistency of input data against itself gave"

CODE = AbinitCode()
