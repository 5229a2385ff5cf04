"""What quacc has to know about a code."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from numpy.typing import NDArray

from quacc.calculators.dispersion import DISPERSION
from quacc.calculators.files import content_of
from quacc.calculators.keyword import Keyword
from quacc.calculators.program import Program
from quacc.calculators.recovery import Handler
from quacc.errors import MissingProgramError, ParameterError, StructureError, plain, suggest
from quacc.extras import charge_of, check_collinear, check_spin, unpaired_of

UNKNOWN = "unknown"
"""The version of a program that does not tell it."""

HANDLES = {
    "partial occupancy": "refused",
    "pbc": "honoured",
    "charges": "",
    "moments": "",
    "masses": "honoured; refused unless above zero",
    "constraints": "honoured",
    "velocities": "honoured by `md_job`",
}
"""What a structure may say, and what is done with it where a code does nothing else."""

NO_ELECTRONS = {
    "charges": "refused, unless their sum is zero, which a warning says does not count",
    "moments": "without meaning, which a warning says",
}
"""What a code without electrons does with charges and moments."""


@dataclass(frozen=True)
class Place:
    """Where and how a calculation runs; nothing here decides a number."""

    folder: Path | None = None
    """For a code that writes files: where it does."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """All of the code's options, defaults included."""


@dataclass(frozen=True)
class Spectrum:
    """The energies of the one-electron states of a crystal."""

    energies: NDArray[Any]
    """(spins, k-points, bands), eV."""
    kpoints: NDArray[Any]
    """(k-points, 3), parts of the reciprocal vectors."""
    weights: NDArray[Any]
    """(k-points,), of the sum 1."""
    fermi_energies: NDArray[Any]
    """(spins,), up to which states are filled (eV)."""
    occupied: list[int] | None
    """How many bands of each spin are full at every k-point; None where only the Fermi
    energies tell."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Slice:
    """How far a linear response has come in the time that it was given."""

    done: bool
    first: float | None
    """When the first iteration ended, from the start (s); None if none did."""


@dataclass(frozen=True)
class LinearResponse:
    """The response of a crystal to displacements and, if it is an insulator, to a field."""

    force_constants: NDArray[Any]
    """(atoms, atoms, 3, 3) of phonopy's supercell, as they were computed (eV/Å²)."""
    born_charges: NDArray[Any] | None
    """(atoms of the cell, 3, 3), as they were computed (e)."""
    dielectric_tensor: NDArray[Any] | None
    """(3, 3), of the electrons."""
    warnings: tuple[str, ...] = ()


class Code(ABC):
    """One code: what it accepts, whether it is here, and how to build its calculator."""

    name: ClassVar[str]
    title: ClassVar[str]
    """One line for people."""
    keywords: ClassVar[Mapping[str, Keyword]] = {}
    """What decides the numbers: in the key, the documentation of the jobs, and their checks."""
    options: ClassVar[Mapping[str, Keyword]] = {}
    """What decides no number, such as a device; never in a key."""
    elements: ClassVar[frozenset[str] | None] = None
    """Elements with parameters; None for all."""
    properties: ClassVar[tuple[str, ...]] = ("energy", "forces", "stress")
    """What one calculation yields; stress only for cells periodic in three directions."""
    energy_is_enthalpy: ClassVar[bool] = False
    """Whether the energy is an enthalpy at 298.15 K, such as a heat of formation: zero-point and
    thermal energy are in it, and thermochemistry must not add them again."""
    program: ClassVar[Program | None] = None
    """The external program; None for codes that run inside Python, in memory."""
    own_files: ClassVar[bool] = False
    """Whether the user names its files, so that they are found, and may change, without it."""
    package: ClassVar[str | None] = None
    """The Python package that it is, where that is an extra."""
    reuse: ClassVar[bool] = False
    """Whether one calculator serves all calculations of a thread that have the same parameters,
    since building one takes long. It must give the same numbers as a new one."""
    handlers: ClassVar[tuple[Handler, ...]] = ()
    """What is tried when the program fails."""
    electrons: ClassVar[bool] = True
    """Whether it knows electrons, so that charges and magnetic moments mean something."""
    site_moments: ClassVar[bool] = False
    """Whether the SCF starts from the magnetic moment of each atom, and not only from their sum."""
    converging: ClassVar[frozenset[str]] = frozenset()
    """Keywords with which energies converge, such as k-points: energies of two values of one may be
    compared, while those of two values of any other have different zeros."""
    either: ClassVar[tuple[frozenset[str], ...]] = ()
    """Keywords of which only one of each group counts."""
    one_spin: ClassVar[bool] = False
    """Whether a molecule has one number of unpaired electrons, so that an impossible one is refused
    and an odd number of electrons is a doublet."""
    tested: ClassVar[str] = "run, with its own program or weights"
    """What quacc's tests do with it."""
    handles: ClassVar[Mapping[str, str]] = {}
    """What it does with what a structure says, where that differs from :data:`HANDLES`."""
    install: ClassVar[str]
    citation: ClassVar[str]
    """BibTeX."""

    def __init_subclass__(cls) -> None:
        if "keywords" in cls.__dict__:
            cls.keywords = {**cls.keywords, "dispersion": DISPERSION}

    def require_programs(self, what: str) -> None:
        """Raise a MissingProgramError where a program is missing beside the code's own.

        Parameters
        ----------
        what
            It is for: ``dos``, ``projected dos``, ``potential``, ``response`` or
            ``force constants``.
        """
        raise NotImplementedError

    def check_bands(self, parameters: Mapping[str, Any], densities: str | None) -> None:
        """Refuse bands, and densities of states, that the code cannot compute.

        Parameters
        ----------
        densities
            ``dos`` or ``projected dos``; None for bands alone.
        """
        raise NotImplementedError

    def bands(
        self,
        parameters: Mapping[str, Any],
        place: Place,
        atoms: Atoms,
        kpoints: NDArray[Any],
        empty: int,
    ) -> Spectrum:
        """Return the bands at k-points, after a calculation in the same place.

        Parameters
        ----------
        kpoints
            (n, 3), parts of the reciprocal vectors.
        empty
            Bands above those that hold the electrons.
        """
        raise NotImplementedError

    def density_of_states(
        self,
        parameters: Mapping[str, Any],
        place: Place,
        atoms: Atoms,
        kspacing: float,
        empty: int,
        projected: bool,
    ) -> tuple[Spectrum, dict[str, Any]]:
        """Return bands on a mesh, and densities of states, after a calculation in the same place.

        The latter are ``energies`` (eV), ``dos`` (spins, energies), and ``pdos`` if projected: a
        row with ``atom``, ``shell``, ``orbital``, ``j`` and ``dos`` for each shell of each atom.
        """
        raise NotImplementedError

    def potential(
        self, parameters: Mapping[str, Any], place: Place
    ) -> tuple[NDArray[Any], NDArray[Any], float]:
        """Return the electrostatic potential, after a calculation in the same place.

        Heights (n,) along the third cell vector (Å), the mean potential of an electron in the plane
        at each (n,) (eV), and the Fermi energy on the same scale (eV).
        """
        raise NotImplementedError

    def for_response(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return a job's keyword arguments with what a linear response needs, where none say it."""
        return dict(given)

    def check_response(
        self, atoms: Atoms, parameters: Mapping[str, Any], given: Mapping[str, Any]
    ) -> None:
        """Refuse what the code has no linear response of.

        Parameters
        ----------
        given
            The program's own keywords.
        """
        raise NotImplementedError

    def respond(
        self,
        parameters: Mapping[str, Any],
        place: Place,
        qpoints: Sequence[int],
        threshold: float,
        given: Mapping[str, Any],
        seconds: float,
        recover: bool,
    ) -> Slice:
        """Compute the linear response for some time, after a calculation in the same place.

        Parameters
        ----------
        qpoints
            Three numbers of q-points along the reciprocal vectors.
        threshold
            Of self-consistency, as the program defines it.
        given
            The program's own keywords.
        seconds
            After which it stops, so that it can be continued.
        recover
            Whether to continue what is in the place.
        """
        raise NotImplementedError

    def response(self, parameters: Mapping[str, Any], place: Place, atoms: Atoms) -> LinearResponse:
        """Return the linear response, after :meth:`respond` is done."""
        raise NotImplementedError

    @abstractmethod
    def build(self, parameters: Mapping[str, Any], place: Place) -> Calculator:
        """Return ASE's calculator; codes that write files do so in the place's folder."""

    def evaluate(
        self, calculator: Any, structures: Sequence[Atoms], properties: Sequence[str]
    ) -> list[dict[str, Any]]:
        """Compute many structures at once; for codes with the option ``at_once``.

        Parameters
        ----------
        calculator
            One of :meth:`build`.

        Returns
        -------
        list[dict]
            What the calculator's ``results`` would be after each of them.
        """
        raise NotImplementedError

    def version(self) -> str:
        """Return the code's version.

        Raises
        ------
        MissingProgramError
            It is not on this machine.
        """
        from importlib.metadata import PackageNotFoundError, version

        if self.program is not None:
            return self.program.version() or UNKNOWN
        try:
            return f"{self.package} {version(self.package or '')}"
        except PackageNotFoundError:
            self.require_here()
            raise

    def files(self, parameters: Mapping[str, Any]) -> list[Path]:
        """Return the files that decide the numbers, such as pseudopotentials; in the key."""
        return []

    def sent(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters as this code takes them in another Python, without settings."""
        return dict(parameters)

    def described(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return what its files say that only its own package can read; as JSON has it."""
        return {}

    def missing(self) -> str | None:
        """Return why the code cannot be used here, or None if it can."""
        if self.package is not None and find_spec(self.package) is None:
            return f"The Python package {self.package} is not installed: {self.install}."
        return None if self.program is None else self.program.missing(self.install)

    def require_here(self) -> None:
        """Raise a MissingProgramError if the code cannot be used here."""
        if reason := self.missing():
            raise MissingProgramError(f"{self.title} cannot be used here. {reason}")

    @property
    def defaults(self) -> dict[str, Any]:
        """The defaults of all keywords."""
        return {name: keyword.default for name, keyword in self.keywords.items()}

    def complete(self, given: Mapping[str, Any], also: Iterable[str] = ()) -> dict[str, Any]:
        """Return the keywords' values after defaults; refuse what is unknown or makes no sense.

        ``also`` are the job's own keywords, so that a typo in one of those is recognised.
        """
        known = {**self.keywords, **self.options}
        for name in given:
            if name not in known:
                accepted = sorted({*known, *also})
                raise ParameterError(
                    f"Unknown keyword {name!r}.{suggest(name, accepted)} "
                    f"Accepted: {', '.join(accepted)}."
                )
        values = {name: plain(value) for name, value in given.items()}
        for name, value in values.items():
            known[name].require(name, value)
        for group in self.either:
            chosen = [
                name
                for name in sorted(group)
                if values.get(name) not in (None, known[name].default)  # records have defaults
            ]
            if len(chosen) > 1:
                raise ParameterError(
                    f"Only one of {' and '.join(chosen)} counts, but each is given: "
                    f"{', '.join(f'{name}={values[name]}' for name in chosen)}. Leave one out, or "
                    "make it None."
                )
        return {name: values.get(name, word.default) for name, word in self.keywords.items()}

    def merged(self, below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
        """Return both values of a keyword that is a dictionary; what is above wins."""
        return {**below, **above}

    def chosen(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options' values after defaults."""
        return {name: given.get(name, word.default) for name, word in self.options.items()}

    def resolve(self, atoms: Atoms, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters, with those that depend on the structure filled in."""
        return dict(parameters)

    def check(self, atoms: Atoms, parameters: Mapping[str, Any]) -> list[str]:
        """Refuse what the code cannot compute; return warnings about what it can.

        Raises
        ------
        MissingProgramError, StructureError, ParameterError
        """
        self.require_here()
        if self.elements is not None:
            without = sorted({*atoms.symbols} - self.elements)
            if without:
                raise StructureError(
                    f"{self.title} has no parameters for {', '.join(without)}. "
                    f"It has them for {', '.join(sorted(self.elements))}."
                )
        if self.electrons:
            return []
        ignored = {
            "charges": atoms.get_initial_charges(),
            "magnetic moments": atoms.get_initial_magnetic_moments(),
        }
        return [
            f"{self.title} knows no electrons: the initial {name} of the structure do not count."
            for name, values in ignored.items()
            if values.any()
        ]

    def check_options(
        self, atoms: Atoms, parameters: Mapping[str, Any], options: Mapping[str, Any]
    ) -> list[str]:
        """Refuse options that do not fit the structure or the parameters; return warnings."""
        return []

    def keep(self, parameters: Mapping[str, Any], place: Place, atoms: Atoms) -> list[str]:
        """Keep of the files in a place what the options ask for, at the end; return warnings."""
        return []

    def check_state(self, atoms: Atoms, parameters: Mapping[str, Any]) -> None:
        """Refuse a charge, spin or periodicity that the code would not compute.

        Also where a stored result is looked for, which may be from a time when it was not refused.

        Raises
        ------
        StructureError, ParameterError
        """
        if not self.electrons:
            if charge := charge_of(atoms):
                raise StructureError(
                    f"The initial charges add up to {charge:+d}, but {self.title} knows no charge: "
                    "remove them with atoms.set_initial_charges(), or take another calculator."
                )
            return
        check_collinear(atoms)
        electrons = self.electron_count(atoms, parameters)
        if self.one_spin and not atoms.pbc.any():
            unpaired = self.unpaired(atoms, parameters)
            if unpaired is not None:
                check_spin(electrons, unpaired, atoms.get_chemical_formula())

    def assumptions(self, atoms: Atoms, given: Mapping[str, Any]) -> list[str]:
        """Return warnings about what neither the structure nor the given parameters say."""
        if not self.one_spin or atoms.pbc.any() or self.unpaired(atoms, given) is not None:
            return []
        electrons = self.electron_count(atoms, given)
        return [doublet(atoms, electrons)] if electrons % 2 else []

    def charge(self, atoms: Atoms, parameters: Mapping[str, Any]) -> int:
        """Return the total charge that is computed.

        Raises
        ------
        StructureError, ParameterError
            The parameters contradict the initial charges, or these add up to no whole number.
        """
        named = parameters.get("charge")
        charges = atoms.arrays.get("initial_charges")
        if named is None or charges is None or not charges.any():
            return charge_of(atoms) if named is None else int(named)
        if (found := charge_of(atoms)) != named:
            raise ParameterError(
                f"The charge {named} contradicts the initial charges of the structure, which add "
                f"up to {found}. Correct one of them."
            )
        return found

    def electron_count(self, atoms: Atoms, parameters: Mapping[str, Any]) -> int:
        """Return the number of electrons, core electrons included."""
        return int(atoms.numbers.sum()) - self.charge(atoms, parameters)

    def unpaired(self, atoms: Atoms, parameters: Mapping[str, Any]) -> int | None:
        """Return the number of unpaired electrons; None where nothing says it."""
        spin = self.spin(parameters)
        return unpaired_of(atoms) if spin is None else round(2 * spin)

    def spin(self, parameters: Mapping[str, Any]) -> float | None:
        """Return the total electronic spin that the parameters name, before magnetic moments."""
        return None

    def uncorrected_functional(self, parameters: Mapping[str, Any]) -> str | None:
        """Return the functional that is computed, for a correction of its dispersion energy.

        None where nothing names it.

        Raises
        ------
        ParameterError
            The energies have dispersion in them already, or that cannot be told.
        """
        reason = (
            "quacc cannot tell whether it has dispersion in its energy already"
            if self.electrons
            else "its parameters were fitted to whole energies, with dispersion in them, while D3 "
            "and D4 correct density functionals"
        )
        raise ParameterError(f"{self.title} takes no dispersion: {reason}. Leave it out.")

    def reach(self, calculator: Calculator) -> float | None:
        """Return the distance beyond which no atoms interact (Å), after a calculation.

        None where they always do.
        """
        return None

    def fingerprint(self, parameters: Mapping[str, Any]) -> str:
        """Return what decides the numbers beside the parameters."""
        version = self.version()
        if version == UNKNOWN and self.program:  # then it, or the script around it, is all we know
            version = self.program.contents()
        return " ".join([self.name, version, *map(content_of, self.files(parameters))])

    def about(self, parameters: Mapping[str, Any]) -> dict[str, str]:
        """Return what a result's record has about the model, such as its licence."""
        return {}

    def cite(self, parameters: Mapping[str, Any]) -> str:
        """Return the BibTeX entries of the method, with these parameters."""
        return self.citation

    def diagnose(self, directory: Path) -> str | None:
        """Return what the code's own output says about a failure, if anything."""
        return None


def doublet(atoms: Atoms, electrons: int) -> str:
    """Return the warning about a molecule whose spin is assumed."""
    return (
        f"{atoms.get_chemical_formula()} has an odd number of electrons, {electrons}, and nothing "
        "says its spin: it is taken for a doublet, S = 1/2. Say it with "
        "atoms.set_initial_magnetic_moments()."
    )


class QuickCheck(Calculator):
    """Mixin, before the class of a calculator that runs in memory.

    ASE compares all arrays with tolerances, which takes as long as a force call of a cheap
    potential on a few atoms. Bytes that are the same need no tolerance.
    """

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """Return what has changed since the last calculation."""
        if self.atoms is not None and _bytes(self.atoms) == _bytes(atoms):
            return []
        changes: list[str] = super().check_state(atoms, tol)
        return changes


def _bytes(atoms: Atoms) -> list[bytes | None]:
    arrays = {**atoms.arrays, "cell": atoms.cell.array, "pbc": atoms.pbc}
    return [arrays[name].tobytes() if name in arrays else None for name in all_changes]
