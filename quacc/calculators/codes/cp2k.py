"""CP2K (Quickstep): Gaussians and plane waves with GTH pseudopotentials, an external program.

ASE's calculator talks to a shell of CP2K that stays. It is not taken, since it

- returns energies of an SCF that did not converge, of which CP2K only warns;
- passes on no magnetic moments, but for a multiplicity;
- may stall on more than a hundred atoms under MPI, as it warns itself; and
- keeps the processors of a launcher between calculations: several images of a path would each
  hold all of them, or wait for the others for ever.

Here each calculation is a run of the program. It starts from the wave functions of the one before.
Energies are CP2K's ``Total FORCE_EVAL energy``, with the electronic entropy if occupations are
smeared, whose derivatives the forces are. Units are converted with the constants that CP2K uses
(CODATA 2006), so that energy and forces match.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress
from ase.units import create_units

from quacc.calculators.code import Code, Place
from quacc.calculators.dispersion import refuse_functional, twice
from quacc.calculators.files import read
from quacc.calculators.keyword import (
    Check,
    Keyword,
    count,
    one_of,
    or_none,
    positive,
    three_counts,
    whole,
)
from quacc.calculators.program import Program
from quacc.calculators.recovery import Handler
from quacc.errors import CalculationError, ParameterError, StructureError, suggest
from quacc.extras import check_spin, unpaired_of

_UNITS = create_units("2006")


def _names(name: str, value: Any) -> None:
    names = value.values() if isinstance(value, Mapping) else [value]
    for one in names:
        if not isinstance(one, str) or not re.fullmatch(r"\S+", one):
            raise ParameterError(
                f"{name} must be a name, or {{element: name}}, without spaces, not {value!r}."
            )


def _file_names(name: str, value: Any) -> None:
    names = [value] if isinstance(value, str) else value
    if (
        not isinstance(names, Sequence)
        or not names
        or not all(isinstance(one, str) and re.fullmatch(_PLAIN, one) for one in names)
    ):
        raise ParameterError(f"{name} must be a file name, or several, not {value!r}.")


def _sections(name: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise ParameterError(f"{name} must be sections of CP2K's input, not {value!r}.")
    _upper(value)


def _other_minimizer(parameters: Mapping[str, Any], folder: Path) -> tuple[dict[str, Any], str]:
    steps = max(2 * parameters["max_scf"], 20)
    if _is_metallic(folder):
        scf: dict[str, Any] = {"MIXING": {"ALPHA": 0.05, "NBUFFER": 8}}
        words = f"a mixing of 0.05 and {steps} steps"
    else:
        scf = {
            "OT": {"PRECONDITIONER": "FULL_SINGLE_INVERSE", "MINIMIZER": "CG"},
            "OUTER_SCF": {"EPS_SCF": parameters["eps_scf"], "MAX_SCF": 5},
        }
        words = f"orbital transformation (OT) and up to 6 times {steps} steps"
    data = _merge(parameters["input_data"], {"FORCE_EVAL": {"DFT": {"SCF": scf}}})
    return {**parameters, "input_data": data, "max_scf": steps}, words


def _is_metallic(folder: Path) -> bool:
    """Return whether the input is one that OT cannot take."""
    return re.search(r"(?m)^\s*&(KPOINTS|SMEAR)\b", read(folder / "cp2k.inp")) is not None


_SCF = Handler(
    "The SCF of CP2K did not converge",
    # What the user has chosen is not changed.
    seen=lambda folder: (
        _not_converged(read(folder / "cp2k.out"))
        and re.search(r"(?m)^\s*(&OT|&OUTER_SCF|NBUFFER)\b", read(folder / "cp2k.inp")) is None
    ),
    change=_other_minimizer,
    most=1,
)


class CP2KCode(Code):
    name = "cp2k"
    title = "CP2K (Quickstep: Gaussians and plane waves)"
    keywords = {
        "xc": Keyword(
            "PBE",
            "functional; None: the XC section of input_data says it",
            or_none(one_of("PBE", "PADE", "BLYP", "BP", "OLYP", "HCTH120")),
        ),
        "basis_set": Keyword("DZVP-MOLOPT-SR-GTH", "name, or {element: name}", Check("", _names)),
        "potential": Keyword(
            None,
            "name of the pseudopotential, or {element: name}; None: GTH- and the functional",
            Check("", _names),
        ),
        "cutoff": Keyword(400.0, "of the finest grid (Ry)", positive),
        "rel_cutoff": Keyword(60.0, "of the grid for a Gaussian of exponent 1 (Ry)", positive),
        "kspacing": Keyword(
            0.04,
            "distance of k-points around Γ (1/Å, without 2π, as in ASE); None: Γ alone",
            or_none(positive),
        ),
        "kpts": Keyword(None, "instead of a distance", three_counts),
        "electronic_temperature": Keyword(
            None, "of Fermi-Dirac occupations (K), which a metal needs; None: whole ones", positive
        ),
        "charge": Keyword(None, "None: the sum of the initial charges", whole),
        "multiplicity": Keyword(
            None,
            "2S + 1; None: from the initial magnetic moments; 2 for a molecule without any that "
            "has an odd number of electrons",
            count,
        ),
        "eps_scf": Keyword(1e-6, "threshold of the SCF", positive),
        "max_scf": Keyword(100, "steps of the SCF", count),
        "basis_set_file": Keyword(
            "BASIS_MOLOPT", "in the folder of CP2K's data; or several", Check("", _file_names)
        ),
        "potential_file": Keyword(
            "GTH_POTENTIALS", "in the folder of CP2K's data; or several", Check("", _file_names)
        ),
        "input_data": Keyword(
            {},
            "anything else of CP2K, sections as dictionaries, such as "
            "{'FORCE_EVAL': {'DFT': {'SCF': {'OT': {}}}}}; '_' is a section's own parameter",
            Check("", _sections),
        ),
    }
    program = Program(
        "cp2k",
        "cp2k.psmp",
        r"CP2K version\s+(\S+)",
        ask_with=("--version",),
        parallel=True,
        restart=("cp2k-RESTART.*",),
        scratch=("cp2k-RESTART.*", "*/cp2k-RESTART.*"),
    )
    converging = frozenset({"kspacing", "kpts"})
    either = (converging,)
    handlers = (_SCF,)
    one_spin = True
    site_moments = True
    handles = {
        "pbc": "honoured: all three, or none in a box (Martyna-Tuckerman); one or two are refused",
        "charges": "honoured: their sum, refused unless it is a whole number",
        "moments": "honoured as the start of the SCF; their sum is kept, but in a crystal with "
        "smeared occupations; without any, no spin; impossible ones are refused; so are vectors",
    }
    install = "`apt-get install cp2k cp2k-data` or `conda install -c conda-forge cp2k`"
    citation = """@article{Kuhne2020,
  author = {K{\\"u}hne, Thomas D. and Iannuzzi, Marcella and Del Ben, Mauro and others},
  title = {{CP2K}: An electronic structure and molecular dynamics software package -- {Quickstep}:
    Efficient and accurate electronic structure calculations},
  journal = {The Journal of Chemical Physics}, volume = {152}, pages = {194103}, year = {2020},
  doi = {10.1063/5.0007045}
}
@article{VandeVondele2005,
  author = {VandeVondele, Joost and Krack, Matthias and Mohamed, Fawzi and Parrinello, Michele and
    Chassaing, Thomas and Hutter, J{\\"u}rg},
  title = {{QUICKSTEP}: Fast and accurate density functional calculations using a mixed {Gaussian}
    and plane waves approach},
  journal = {Computer Physics Communications}, volume = {167}, pages = {103--128}, year = {2005},
  doi = {10.1016/j.cpc.2004.12.014}
}"""

    def missing(self) -> str | None:
        reason = super().missing()
        if reason is None and not self.folder().is_dir():
            reason = (
                f"There is no folder {str(self.folder())!r} of CP2K's basis sets and "
                "pseudopotentials. Set the setting pseudopotentials.cp2k, or CP2K_DATA_DIR."
            )
        return reason

    def folder(self) -> Path:
        """Return the folder of basis sets and pseudopotentials.

        That of the setting, of the variable CP2K_DATA_DIR, or beside the program.
        """
        from quacc.settings import get_settings

        named = get_settings().pseudopotentials.get(self.name) or os.environ.get("CP2K_DATA_DIR")
        if named:
            return Path(named)
        programs = [
            Path(path).resolve()
            for word in shlex.split(self.program.start_command())
            if (path := shutil.which(word))
        ]
        places = [one.parents[1] / "share" / "cp2k" for one in programs if len(one.parents) > 1]
        places += [one / "data" for one in places]
        places += [one.parents[2] / "data" for one in programs if len(one.parents) > 2]
        return next((one for one in places if (one / "GTH_POTENTIALS").is_file()), Path(_FOLDER))

    def resolve(self, atoms: Atoms, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Name basis set and pseudopotential of each element, charge and spin.

        Raises
        ------
        ParameterError
            There is no such basis set, or no such pseudopotential.
        """
        found = dict(parameters)
        for name in ("basis_set_file", "potential_file"):
            value = found[name]
            found[name] = [value] if isinstance(value, str) else list(value)
        found["input_data"] = _upper(found["input_data"])
        usual = found["potential"]
        if usual is None:
            if found["xc"] is None:
                raise ParameterError(
                    "Without xc nothing says the pseudopotential: pass potential='GTH-PBE' or the "
                    "like."
                )
            usual = f"GTH-{found['xc']}"
        symbols = sorted({*atoms.symbols})
        for name, value in (("basis_set", found["basis_set"]), ("potential", usual)):
            files = [self._path(one) for one in found[f"{name}_file"]]
            found[name] = {symbol: _entry(name, symbol, value, files) for symbol in symbols}
        found["charge"] = self.charge(atoms, found)
        if found["multiplicity"] is None and not atoms.pbc.any():
            unpaired = unpaired_of(atoms)
            if unpaired is None and self.electron_count(atoms, found) % 2:
                unpaired = 1
            found["multiplicity"] = None if unpaired is None else unpaired + 1
        if found["multiplicity"] is not None:
            found["multiplicity"] = int(found["multiplicity"])
        return found

    def merged(self, below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
        if any(isinstance(one, Mapping) for one in (*below.values(), *above.values())):
            return _merge(_upper(below), _upper(above))
        return {**below, **above}

    def files(self, parameters: Mapping[str, Any]) -> list[Path]:
        named = [*parameters["basis_set_file"], *parameters["potential_file"]]
        others = [one for _, one in _data_files(parameters["input_data"], self.folder())]
        return [*map(self._path, named), *others]

    def _path(self, name: str) -> Path:
        path = self.folder() / name
        if not path.is_file():
            raise ParameterError(
                f"There is no file {name!r} in {str(self.folder())!r}, the folder of CP2K's data. "
                "The setting pseudopotentials.cp2k names another folder."
            )
        return path

    def check(self, atoms: Atoms, parameters: Mapping[str, Any]) -> list[str]:
        warnings = super().check(atoms, parameters)
        if not re.fullmatch(_PLAIN, str(self.folder())):
            raise ParameterError(
                f"CP2K cannot read the name of the folder {str(self.folder())!r} of its data. Set "
                "the setting pseudopotentials.cp2k to one without spaces and signs."
            )
        _refuse_decided(parameters)
        if atoms.cell.rank < 3:
            raise StructureError(
                "CP2K needs a cell, but the structure has none along some directions. Put vacuum "
                "around it: atoms.center(vacuum=4)."
            )
        for symbol, potential in parameters["potential"].items():
            basis = parameters["basis_set"][symbol]
            ours, theirs = (
                _valences(name, symbol, value, [self._path(one) for one in files])
                for name, value, files in (
                    ("basis_set", basis, parameters["basis_set_file"]),
                    ("potential", potential, parameters["potential_file"]),
                )
            )
            if ours and theirs and not ours & theirs:
                raise ParameterError(
                    f"The basis set {basis} of {symbol} is for {_words(ours)} valence electrons, "
                    f"the pseudopotential {potential} for {_words(theirs)}. Choose others with "
                    "basis_set={…} or potential={…}."
                )
        if xc := parameters["xc"]:
            own = f"GTH-{xc}"
            others = sorted(
                {
                    one
                    for one in parameters["potential"].values()
                    if one.startswith("GTH-") and one != own and not one.startswith(f"{own}-")
                }
            )
            if others:
                warnings.append(
                    f"The pseudopotential {', '.join(others)} was made for another functional than "
                    f"{xc}."
                )
        solver = _solver(parameters)
        if not atoms.pbc.any() and solver != "MT":
            places = atoms.cell.scaled_positions(atoms.positions) * _heights(atoms)
            nearest = min(places.min(), (_heights(atoms) - places).min())
            if nearest < _TAIL / 2:
                raise StructureError(
                    f"With the Poisson solver {solver}, a molecule must lie inside its box, but an "
                    f"atom is {nearest:.1f} Å from its side. Center it: atoms.center()."
                )
        if not atoms.pbc.any() and solver != "WAVELET":
            extent = np.ptp(atoms.positions, axis=0).max(initial=0.0)
            needed = 2 * (extent + _TAIL)
            width = _heights(atoms).min()
            if width < needed:
                warnings.append(
                    f"The box is {width:.1f} Å wide. It must be twice as wide as the molecule with "
                    f"its electrons, about {needed:.1f} Å, for its images not to count: see that "
                    "the energy does not change with the vacuum."
                )
        return warnings

    def check_state(self, atoms: Atoms, parameters: Mapping[str, Any]) -> None:
        super().check_state(atoms, parameters)
        if atoms.pbc.any() and not atoms.pbc.all():
            raise StructureError(
                f"CP2K is given all three directions as periodic, or none, but the structure has "
                f"pbc={atoms.pbc.tolist()}: its energy would depend on the vacuum in the cell. Set "
                "atoms.pbc = True with a vacuum so wide that it does not."
            )
        named, unpaired = parameters["multiplicity"], unpaired_of(atoms)
        if named is not None and unpaired is not None and named != unpaired + 1:
            raise ParameterError(
                f"multiplicity={named} contradicts the initial magnetic moments of the structure, "
                f"which add up to {unpaired}. Correct one of them."
            )
        if not atoms.pbc.any():
            return
        electrons = self.electron_count(atoms, parameters)
        whole_ones = parameters["electronic_temperature"] is None
        if named is not None:
            check_spin(electrons, named - 1, atoms.get_chemical_formula())
        elif whole_ones and (electrons - (unpaired or 0)) % 2:
            raise StructureError(
                f"{atoms.get_chemical_formula()} has {electrons} electrons in its cell, and its "
                f"magnetic moments say {unpaired or 0} unpaired ones, which cannot be with whole "
                "occupations. Give a metal an electronic_temperature (K), or correct the moments."
            )
        if named is not None and not whole_ones and _mesh(atoms, parameters) != (1, 1, 1):
            raise ParameterError(
                "CP2K keeps no multiplicity of a crystal with k-points and smeared occupations: "
                "leave multiplicity out, and give magnetic moments that the SCF starts from."
            )

    def uncorrected_functional(self, parameters: Mapping[str, Any]) -> str | None:
        found = [parameters["xc"]]
        for path, name, value in _words_in(parameters["input_data"]):
            if name in ("VDW_POTENTIAL", "DISPERSION", "MULTIPLE_FORCE_EVALS"):
                raise twice(self.title, f"{'/'.join([*path, name])} of input_data")
            if path[-1:] == ["QS"] and name == "METHOD" and str(value).upper() not in _OF_DFT:
                raise ParameterError(
                    f"{self.title} takes no dispersion with the METHOD {value} of QS in "
                    "input_data, of which quacc does not know whether it has some. Leave it out."
                )
            if "XC_FUNCTIONAL" in (*path, name):
                refuse_functional(
                    self.title, f"{name} {'' if isinstance(value, Mapping) else value}"
                )
                found = [None]
        return found[0]

    def spin(self, parameters: Mapping[str, Any]) -> float | None:
        multiplicity = parameters["multiplicity"]
        return None if multiplicity is None else float(multiplicity - 1) / 2

    def cite(self, parameters: Mapping[str, Any]) -> str:
        names = str([parameters.get("basis_set"), parameters.get("potential"), ""])
        found = [self.citation]
        if "MOLOPT" in names:
            found.append(_MOLOPT)
        if "GTH" in names or parameters.get("potential") is None:
            found.append(_GTH)
        return "\n".join(found)

    def build(self, parameters: Mapping[str, Any], place: Place) -> Calculator:
        folder = place.folder or Path()
        return _CP2K(
            lambda atoms, again: input_text(self, atoms, parameters, again),
            shlex.split(self.program.run_command()),
            folder,
        )

    def diagnose(self, directory: Path) -> str | None:
        outputs = sorted(directory.rglob("cp2k.out"), key=lambda file: file.stat().st_mtime)
        folder = outputs[-1].parent if outputs else directory
        output, log = read(folder / "cp2k.out"), read(folder / "cp2k.log")
        messages = _complaints(output + log)
        if not messages and (found := _unconverged(output)):
            messages = [found]
        if not messages and (killed := re.search(r"Killed|signal 9|exit status (-9|137)\b", log)):
            messages = [
                f"it was killed ({killed.group()}), as systems do when memory runs out or time ends"
            ]
        if not messages:
            lines = [one.strip(" *-") for one in log.splitlines()]
            messages = [one for one in lines if one and not re.search(_NOISE, one)][:4]
        if messages:
            return "; ".join(dict.fromkeys(messages))
        if last := [line.strip() for line in output.splitlines() if line.strip()][-3:]:
            return f"it wrote no error; its last lines are: {' / '.join(last)}"
        # The log is there once the program was started.
        return _SILENT if (folder / "cp2k.log").is_file() else None


def input_text(code: CP2KCode, atoms: Atoms, parameters: Mapping[str, Any], again: bool) -> str:
    """Return the input file.

    Parameters
    ----------
    again
        Whether there are wave functions to start from.
    """
    folder = code.folder()
    moments, given = atoms.get_initial_magnetic_moments(), parameters["multiplicity"]
    temperature = parameters["electronic_temperature"]
    unpaired = given - 1 if given is not None else (unpaired_of(atoms) or 0)
    spins = bool(moments.any()) or unpaired > 0
    periodic = bool(atoms.pbc.all())
    free = periodic and temperature is not None and given is None
    if free:  # only where the SCF starts from
        unpaired += (code.electron_count(atoms, parameters) - unpaired) % 2
    dft: dict[str, Any] = {
        "BASIS_SET_FILE_NAME": [[str(folder / one)] for one in parameters["basis_set_file"]],
        "POTENTIAL_FILE_NAME": [[str(folder / one)] for one in parameters["potential_file"]],
        "CHARGE": parameters["charge"],
        "QS": {"EPS_DEFAULT": 1e-12},
        "MGRID": {"CUTOFF": parameters["cutoff"], "REL_CUTOFF": parameters["rel_cutoff"]},
        "SCF": {
            "EPS_SCF": parameters["eps_scf"],
            "MAX_SCF": parameters["max_scf"],
            "SCF_GUESS": "RESTART" if again else "ATOMIC",
            "PRINT": {"RESTART": {"BACKUP_COPIES": 0}},
        },
    }
    if spins:
        dft |= {"UKS": True, "MULTIPLICITY": unpaired + 1}
    if parameters["xc"] is not None:
        dft["XC"] = {"XC_FUNCTIONAL": {"_": parameters["xc"]}}
    if not periodic:
        dft["POISSON"] = {"PERIODIC": "NONE", "POISSON_SOLVER": "MT"}
    mesh = _mesh(atoms, parameters)
    if mesh != (1, 1, 1):
        dft["KPOINTS"] = {
            "SCHEME": "GENERAL",
            "UNITS": "B_VECTOR",
            "KPOINT": [[*point, weight] for point, weight in _points(mesh)],
        }
    if temperature is not None:
        dft["SCF"] |= {
            "ADDED_MOS": [-1, -1] if spins else -1,
            "SMEAR": {
                "_": "ON",
                "METHOD": "FERMI_DIRAC",
                "ELECTRONIC_TEMPERATURE": ["[K]", temperature],
                **({} if free or not spins else {"FIXED_MAGNETIC_MOMENT": unpaired}),
            },
        }
    if mesh != (1, 1, 1) or temperature is not None:
        dft["SCF"]["MIXING"] = {"METHOD": "BROYDEN_MIXING", "ALPHA": 0.2}
    kinds, labels = _kinds(atoms, moments)
    given_kinds = parameters["input_data"].get("FORCE_EVAL", {}).get("SUBSYS", {}).get("KIND", [])
    more = {str(one["_"]).upper(): one for one in _several(given_kinds)}
    sections: dict[str, Any] = {
        "GLOBAL": {"PROJECT": "cp2k", "RUN_TYPE": "ENERGY_FORCE", "PRINT_LEVEL": "MEDIUM"},
        "FORCE_EVAL": {
            "METHOD": "QUICKSTEP",
            **({"STRESS_TENSOR": "ANALYTICAL"} if periodic else {}),
            "DFT": dft,
            "PRINT": {
                "FORCES": {"_": "ON", "NDIGITS": 14},
                **({"STRESS_TENSOR": {"_": "ON"}} if periodic else {}),
            },
            "SUBSYS": {
                "CELL": {
                    **dict(zip("ABC", atoms.cell.tolist(), strict=True)),
                    "PERIODIC": "XYZ" if periodic else "NONE",
                },
                "COORD": {
                    "*": [
                        [label, *place]
                        for label, place in zip(labels, atoms.positions.tolist(), strict=True)
                    ]
                },
            },
        },
    }
    data = _set_absolute(parameters["input_data"], folder)
    if "SUBSYS" in data.get("FORCE_EVAL", {}):
        data["FORCE_EVAL"]["SUBSYS"].pop("KIND", None)
    sections = _merge(sections, data)
    sections["FORCE_EVAL"]["SUBSYS"]["KIND"] = [
        {
            "_": label,
            "ELEMENT": symbol,
            **({"MAGNETIZATION": moment} if spins else {}),
            "BASIS_SET": [
                [parameters["basis_set"][symbol]],
                *([one] for one in _several(more.get(symbol.upper(), {}).get("BASIS_SET", []))),
            ],
            "POTENTIAL": parameters["potential"][symbol],
            **{
                name: value
                for name, value in more.get(symbol.upper(), {}).items()
                if name not in ("_", "BASIS_SET")
            },
        }
        for label, (symbol, moment) in kinds.items()
    ]
    return "\n".join(_lines(sections)) + "\n"


_OF_DFT = ("GPW", "GAPW", "GAPW_XC", "LRIGPW", "RIGPW")


def _words_in(
    sections: Mapping[str, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[list[str], str, Any]]:
    """Yield the sections around it, the name and the value of each section and keyword."""
    for name, value in sections.items():
        for one in _several(value):
            yield [*path], name, one
            if isinstance(one, Mapping):
                yield from _words_in(one, (*path, name))


class _CP2K(Calculator):
    """One run of the program for each calculation."""

    implemented_properties = ["energy", "free_energy", "forces", "stress", "magmom", "magmoms"]

    def __init__(
        self, text: Callable[[Atoms, bool], str], command: Sequence[str], folder: Path
    ) -> None:
        super().__init__()
        self._text = text
        self._command = command
        self._folder = folder

    def write_inputfiles(self, atoms: Atoms, properties: Sequence[str]) -> None:
        """Write the input, to start from the wave functions that are in the folder."""
        saved = [self._folder / f"cp2k-RESTART.{ending}" for ending in ("wfn", "kp")]
        again = any(file.is_file() for file in saved)
        (self._folder / "cp2k.inp").write_text(self._text(atoms, again))

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Run CP2K, and read what it prints."""
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        folder, output = self._folder, self._folder / "cp2k.out"
        self.write_inputfiles(self.atoms, properties)
        output.unlink(missing_ok=True)  # CP2K appends
        with (folder / "cp2k.log").open("w") as log:
            command = [*self._command, "-i", "cp2k.inp", "-o", "cp2k.out"]
            status = subprocess.run(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                check=False,
            ).returncode
            log.write(f"exit status {status}\n")
        if status:
            raise subprocess.CalledProcessError(status, command)
        text = read(output)
        if problem := _unconverged(text):
            raise RuntimeError(problem)  # diagnosed by name
        self.results = _results(text, len(self.atoms), bool(self.atoms.pbc.all()))


def _results(text: str, natoms: int, periodic: bool) -> dict[str, Any]:
    """Return what CP2K prints, in ASE's units.

    Raises
    ------
    CalculationError
        Something is missing.
    """
    energies = re.findall(r"ENERGY\| Total FORCE_EVAL \( QS \) energy \[\S+\]:?\s+(\S+)", text)
    forces = re.search(
        r"ATOMIC FORCES in \[a\.u\.\].*?\n"
        r"((?:\s+\d+\s+\d+\s+\S+(?:\s+-?[\d.]+(?:E[+-]\d+)?){3}\n)+)"
        r"|FORCES\| Atomic forces \[hartree/bohr\].*?\n((?:\s*FORCES\|\s+\d+\s.*\n)+)",
        text,
        re.S,
    )
    if len(energies) != 1 or forces is None:
        raise CalculationError("CP2K came to an end, but printed no energy, or no forces.")
    rows = (forces.group(1) or forces.group(2)).replace("FORCES|", "").splitlines()
    start = 3 if forces.group(1) else 1
    found = np.array([row.split()[start : start + 3] for row in rows], float)
    if found.shape != (natoms, 3):
        raise CalculationError(f"CP2K printed forces on {len(found)} atoms of {natoms}.")
    energy = float(energies[0]) * _UNITS["Hartree"]
    results: dict[str, Any] = {
        "energy": energy,
        "free_energy": energy,
        "forces": found * _UNITS["Hartree"] / _UNITS["Bohr"],
    }
    if periodic:
        results["stress"] = _stress(text)
    total = re.search(r"# Total charge and spin((?:\s+-?[\d.]+){4})", text)
    sites = re.findall(r"(?m)^\s+\d+\s+[A-Z][a-z]?\s+\d+((?:\s+-?[\d.]+){4})\s*$", text)[:natoms]
    if total and len(sites) == natoms:  # Mulliken's, in units of Bohr magnetons
        results["magmom"] = float(total.group(1).split()[3])
        results["magmoms"] = np.array([float(one.split()[3]) for one in sites])
    return results


def _stress(text: str) -> Any:
    found = re.search(
        r"STRESS\| Analytical stress tensor \[(\S+)\]\n.*\n"
        r"\s*STRESS\|\s+x((?:\s+\S+){3})\n\s*STRESS\|\s+y((?:\s+\S+){3})\n"
        r"\s*STRESS\|\s+z((?:\s+\S+){3})\n",
        text,
    )
    unit = {"GPa": _UNITS["GPa"], "bar": 1e-4 * _UNITS["GPa"]}.get(found.group(1) if found else "")
    if found is None or unit is None:
        raise CalculationError("CP2K came to an end, but printed no stress in GPa or bar.")
    tensor = np.array([row.split() for row in found.groups()[1:]], float)
    return full_3x3_to_voigt_6_stress(-unit * tensor)  # a pressure is positive there


def _not_converged(text: str) -> bool:
    """Return whether the SCF did not converge, which CP2K before 2024.1 only warns of."""
    # An outer loop counts, where there is one.
    outer = re.findall(r"outer SCF loop (converged|FAILED)", text)
    inner = re.findall(r"SCF run (converged|NOT converged)", text)
    return bool(inner) and (outer or inner)[-1] != "converged"


def _unconverged(text: str) -> str | None:
    """Return what there is to say about an SCF that did not converge; None if it did."""
    if _not_converged(text):
        return (
            "the SCF did not converge; raise max_scf, give a metal an electronic_temperature (K), "
            "or an insulator input_data={'FORCE_EVAL': {'DFT': {'SCF': {'OT': {}}}}} with "
            "kspacing=None"
        )
    if "PROGRAM ENDED" in text and "SCF run converged" not in text:
        return "nothing in its output says that the SCF converged"
    return None


def _complaints(text: str) -> list[str]:
    """Return the messages in the boxes of CP2K's errors."""
    found = []
    for box in re.findall(r"\[ABORT\](.*?)\n \*{79}", text, re.S):
        words = re.sub(r"\S+\.F:\d+|\\___/|O/\||/\| \||/ \\|[*|]", " ", box)
        found.append(" ".join(words.split()))
    return [one for one in found if one]


def _mesh(atoms: Atoms, parameters: Mapping[str, Any]) -> tuple[int, int, int]:
    """Return how many k-points there are along each reciprocal vector."""
    if not atoms.pbc.all():
        return 1, 1, 1
    if parameters["kpts"]:
        first, second, third = map(int, parameters["kpts"])
        return first, second, third
    if parameters["kspacing"] is None:
        return 1, 1, 1
    lengths = np.linalg.norm(atoms.cell.reciprocal().array, axis=1)
    first, second, third = np.ceil(lengths / parameters["kspacing"] - 1e-6).astype(int).tolist()
    return max(first, 1), max(second, 1), max(third, 1)


def _points(mesh: tuple[int, int, int]) -> list[tuple[list[float], float]]:
    """Return the points of a mesh around Γ, of k and -k one, with their weights."""
    counts: dict[tuple[int, ...], int] = {}
    for point in product(*map(range, mesh)):
        other = tuple(-one % size for one, size in zip(point, mesh, strict=True))
        counts[min(point, other)] = counts.get(min(point, other), 0) + 1
    total = int(np.prod(mesh))
    return [
        (
            [
                (one if 2 * one <= size else one - size) / size
                for one, size in zip(point, mesh, strict=True)
            ],
            number / total,
        )
        for point, number in counts.items()
    ]


def _kinds(atoms: Atoms, moments: Any) -> tuple[dict[str, tuple[str, float]], list[str]]:
    """Return CP2K's kinds of atoms, one for each moment of an element, and that of each atom."""
    pairs = [(str(one), float(moment)) for one, moment in zip(atoms.symbols, moments, strict=True)]
    known = list(dict.fromkeys(pairs))
    several = len(known) > len({symbol for symbol, _ in known})
    names = {
        pair: f"{pair[0]}{[one for one in known if one[0] == pair[0]].index(pair) + 1}"
        if several
        else pair[0]
        for pair in known
    }
    return {names[pair]: pair for pair in known}, [names[pair] for pair in pairs]


def _heights(atoms: Atoms) -> Any:
    return 1 / np.linalg.norm(np.linalg.inv(atoms.cell.array), axis=0)


def _solver(parameters: Mapping[str, Any]) -> str:
    """Return the Poisson solver of a molecule."""
    section = parameters["input_data"].get("FORCE_EVAL", {}).get("DFT", {}).get("POISSON", {})
    return str(section.get("POISSON_SOLVER", section.get("PSOLVER", "MT"))).upper()


def _upper(data: Mapping[str, Any], path: str = "input_data") -> dict[str, Any]:
    """Return sections with names in upper case; refuse what CP2K would read as something else."""
    found: dict[str, Any] = {}
    for name, value in data.items():
        if not isinstance(name, str) or not re.fullmatch(r"_|[A-Za-z][\w+-]*", name):
            raise ParameterError(f"{path} has the name {name!r}, which no section or keyword has.")
        if name.upper() in found:
            raise ParameterError(f"{path} has {name.upper()} twice.")
        where = f"{path}/{name.upper()}"
        if isinstance(value, Mapping):
            found[name.upper()] = _upper(value, where)
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            found[name.upper()] = [_upper(one, where) for one in value]
        else:
            for one in _flat(value):
                if not isinstance(one, str | bool | int | float) or (
                    isinstance(one, str) and re.search(r"[\n\r@$&!#]", one)
                ):
                    raise ParameterError(f"{where} cannot be {value!r}.")
            found[name.upper()] = value
    return found


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for one in value:
            yield from _flat(one)
    else:
        yield value


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(below)
    for name, value in above.items():
        old = found.get(name)
        nested = isinstance(value, Mapping) and isinstance(old, Mapping)
        found[name] = _merge(old or {}, value) if nested else value
    return found


def _lines(data: Mapping[str, Any]) -> Iterator[str]:
    for name, value in data.items():
        if name == "_":
            continue
        sections = [one for one in _several(value) if isinstance(one, Mapping)]
        for one in sections:
            yield f"&{name} {_word(one['_'])}" if "_" in one else f"&{name}"
            yield from (f"  {line}" for line in _lines(one))
            yield f"&END {name}"
        if sections:
            continue
        rows = (
            value if isinstance(value, list) and value and isinstance(value[0], list) else [value]
        )
        for row in rows:
            words = " ".join(map(_word, row if isinstance(row, list | tuple) else [row]))
            yield words if name == "*" else f"{name} {words}"


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "T" if value else "F"
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def _data_files(data: Mapping[str, Any], folder: Path) -> Iterator[tuple[str, Path]]:
    """Return the files of CP2K's data folder that keywords name, such as dftd3.dat."""
    for name, value in data.items():
        for one in _several(value):
            if isinstance(one, Mapping):
                yield from _data_files(one, folder)
            elif name.endswith("FILE_NAME") and isinstance(one, str) and (folder / one).is_file():
                yield one, folder / one


def _set_absolute(data: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the sections with full paths of the files of CP2K's data folder, which are hashed."""

    def full(name: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            return _set_absolute(value, folder)
        if isinstance(value, list):
            return [full(name, one) for one in value]
        is_name = name.endswith("FILE_NAME") and isinstance(value, str)
        return str(folder / value) if is_name and (folder / value).is_file() else value

    return {name: full(name, value) for name, value in data.items()}


_DECIDED = {
    "": "GLOBAL FORCE_EVAL",
    "GLOBAL": "PROJECT PROJECT_NAME RUN_TYPE PRINT_LEVEL IOLEVEL",
    "FORCE_EVAL": "METHOD STRESS_TENSOR",
    "FORCE_EVAL/DFT": "BASIS_SET_FILE_NAME POTENTIAL_FILE_NAME CHARGE MULTIPLICITY MULTIP UKS LSD "
    "UNRESTRICTED_KOHN_SHAM SPIN_POLARIZED WFN_RESTART_FILE_NAME RESTART_FILE_NAME KPOINTS",
    "FORCE_EVAL/DFT/MGRID": "CUTOFF REL_CUTOFF RELATIVE_CUTOFF",
    "FORCE_EVAL/DFT/SCF": "EPS_SCF MAX_SCF SCF_GUESS RESTART SMEAR IGNORE_CONVERGENCE_FAILURE",
    "FORCE_EVAL/DFT/POISSON": "PERIODIC",
    "FORCE_EVAL/PRINT": "FORCES STRESS_TENSOR",
    "FORCE_EVAL/SUBSYS": "CELL COORD TOPOLOGY VELOCITY",
    "FORCE_EVAL/SUBSYS/KIND": "ELEMENT ELEMENT_SYMBOL POTENTIAL POT MAGNETIZATION GHOST",
}
"""By section, what is not the user's; at the top, what alone is."""


def _refuse_decided(parameters: Mapping[str, Any]) -> None:
    data = parameters["input_data"]
    if other := sorted(data.keys() - {*_DECIDED[""].split()}):
        raise ParameterError(
            f"input_data cannot have the section {other[0]}: quacc moves the atoms, one SCF at a "
            "time, and relaxations and dynamics are jobs of their own."
            f"{suggest(other[0], ['GLOBAL', 'FORCE_EVAL'])}"
        )
    decided = {path: {*names.split()} for path, names in _DECIDED.items() if path}
    if parameters["xc"] is not None:
        decided["FORCE_EVAL/DFT/XC"] = {"XC_FUNCTIONAL", "HF"}
    _refuse(data, decided, "")
    kinds = data.get("FORCE_EVAL", {}).get("SUBSYS", {}).get("KIND", [])
    for kind in _several(kinds):
        if not isinstance(kind, Mapping) or "_" not in kind:
            raise ParameterError("Each KIND of input_data names its element: {'_': 'Fe', …}.")
        symbol = str(kind["_"]).capitalize()
        if symbol not in parameters["basis_set"]:
            raise ParameterError(f"input_data has a KIND {symbol}, but the structure has none.")
        for basis in _several(kind.get("BASIS_SET", [])):
            words = str(basis).split()
            if len(words) < 2 or words[0].upper() == "ORB":
                raise ParameterError(
                    "BASIS_SET of a KIND in input_data is an auxiliary one, such as 'AUX_FIT "
                    f"cFIT3', not {basis!r}: that of the orbitals is the keyword basis_set."
                )


def _refuse(data: Mapping[str, Any], decided: Mapping[str, set[str]], path: str) -> None:
    for name, value in data.items():
        if name in decided.get(path, ()):
            raise ParameterError(
                f"input_data cannot set {name} of {path}: the structure or a keyword of the job "
                "says it. Relaxations and dynamics are jobs of their own."
            )
        for one in _several(value):
            if isinstance(one, Mapping):
                _refuse(one, decided, f"{path}/{name}".strip("/"))


def _entry(what: str, symbol: str, value: Any, files: Sequence[Path]) -> str:
    """Return the name of an element's basis set or pseudopotential, which is in the files."""
    given = value.get(symbol) if isinstance(value, Mapping) else value
    known = sorted({name for file in files for entry in _table(file, symbol) for name in entry})
    if given in known:
        return str(given)
    words = what.replace("_", " ").replace("potential", "pseudopotential")
    asked = f"no {words} {given!r}" if given else f"nothing in {what} that names the {words}"
    where = " and ".join(file.name for file in files)
    raise ParameterError(
        f"There is {asked} for {symbol}. {where} in {str(files[0].parent)!r} "
        f"{'has' if len(files) == 1 else 'have'} {', '.join(known) or 'none'}. Choose with "
        f"{what}={{{symbol!r}: …}}, or another file with {what}_file=…."
    )


def _valences(what: str, symbol: str, value: str, files: Sequence[Path]) -> set[int]:
    """Return for how many valence electrons it is, where its names say it."""
    names = next(entry for file in files for entry in _table(file, symbol) if value in entry)
    return {int(found.group(1)) for name in names if (found := re.search(r"-q(\d+)$", name))}


def _words(numbers: set[int]) -> str:
    return " or ".join(map(str, sorted(numbers)))


def _table(file: Path, symbol: str) -> tuple[tuple[str, ...], ...]:
    return _entries(file, os.stat(file).st_mtime_ns).get(symbol.upper(), ())


@cache
def _entries(file: Path, changed: int) -> dict[str, tuple[tuple[str, ...], ...]]:
    """Return the names of each basis set or pseudopotential in a file, by element."""
    found: dict[str, tuple[tuple[str, ...], ...]] = {}
    for line in file.read_text("utf-8", "replace").splitlines():
        if match := re.match(r"\s*([A-Z][A-Za-z]?)\s+([A-Za-z][^#!]*)", line):
            symbol = match.group(1).upper()
            found[symbol] = (*found.get(symbol, ()), tuple(match.group(2).split()))
    return found


_FOLDER = "/usr/share/cp2k"  # of Debian's cp2k-data
_PLAIN = r"[\w./+~,=-]+"
_TAIL = 2.5
"""How far electrons reach beyond the nuclei of a molecule, both sides together (Å)."""
_SILENT = "it wrote no output; check that the setting commands.cp2k starts it"
_NOISE = (
    "MPI_ABORT|MPI_COMM|[Ee]rrorcode|^[-=*]+$|mpirun|prterun|You may or may not|^NOTE:|exactly when"
    "|exit status 0|IEEE_"
)
"""What launchers add to an error of the program."""


_MOLOPT = """@article{VandeVondele2007,
  author = {VandeVondele, Joost and Hutter, J{\\"u}rg},
  title = {Gaussian basis sets for accurate calculations on molecular systems in gas and condensed
    phases},
  journal = {The Journal of Chemical Physics}, volume = {127}, pages = {114105}, year = {2007},
  doi = {10.1063/1.2770708}
}"""
_GTH = """@article{Goedecker1996,
  author = {Goedecker, S. and Teter, M. and Hutter, J.},
  title = {Separable dual-space {Gaussian} pseudopotentials},
  journal = {Physical Review B}, volume = {54}, pages = {1703--1710}, year = {1996},
  doi = {10.1103/PhysRevB.54.1703}
}
@article{Krack2005,
  author = {Krack, M.},
  title = {Pseudopotentials for {H} to {Kr} optimized for gradient-corrected exchange-correlation
    functionals},
  journal = {Theoretical Chemistry Accounts}, volume = {114}, pages = {145--152}, year = {2005},
  doi = {10.1007/s00214-005-0655-y}
}"""

CODE = CP2KCode()
