"""Potentials whose weights are a file that the user has: where it is, and whether to trust it."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from quacc.calculators.code import Code, Place
from quacc.calculators.files import sha256
from quacc.calculators.keyword import Check, Keyword, one_of
from quacc.calculators.potential import InVacuum, Potential
from quacc.calculators.potential_file import find, one_file
from quacc.errors import ParameterError, StructureError
from quacc.extras import charge_of, check_collinear, check_spin, unpaired_of
from quacc.ownfiles import is_foreign, why_unsafe


def _is_name(name: str, value: Any) -> None:
    if not isinstance(value, str) or not value:
        raise ParameterError(
            f"{name} must be the name of one of the model's {name}s, not {value!r}."
        )


LEVEL = Keyword(
    None,
    "the level of theory, for models with several, whose energies have different zeros",
    Check("a name", _is_name),
)

UNTOLD = "unknown: the file does not say it; the option about is for it"

_ABOUT = {"functional", "data", "licence"}


def _is_about(name: str, value: Any) -> None:
    if (
        not isinstance(value, Mapping)
        or not {*value} <= _ABOUT
        or not all(isinstance(text, str) for text in value.values())
    ):
        raise ParameterError(
            f"{name} must be a dictionary of texts under {', '.join(sorted(_ABOUT))}, not "
            f"{value!r}."
        )


class Weights(Potential):
    """A potential with weights in the file that the keyword ``model`` names; never downloaded."""

    own_files = True
    elements = None
    trainings = {}
    parts: ClassVar[tuple[str, ...]] = ()
    """Names of its files, where a model is a folder."""
    runs: ClassVar[bool] = True
    """Whether reading the weights may run what is in them."""
    said_by: ClassVar[tuple[str, ...]] = ("model",)
    """Keywords on which what a model says depends."""
    boxed: ClassVar[bool] = True
    """Whether a molecule goes to the package in a periodic box, as layers and chains do."""
    keywords = {
        "model": Keyword(
            None,
            "the file of the weights; a name is looked for in the folder of the setting "
            "potentials_dir, and nothing is downloaded",
            one_file,
        ),
        "dtype": Keyword(
            "float64",
            "precision of the numbers; float32 is quicker, and energies have 7 digits then",
            one_of("float64", "float32"),
        ),
    }
    options = {
        **Potential.options,
        "about": Keyword(
            None,
            "for the record: functional, data (of the training) and licence of the weights",
            Check("a dictionary", _is_about),
        ),
    }
    handles = {
        **Potential.handles,
        "charges": "honoured by models that take a total charge: their sum, refused unless it is a "
        "whole number; with others refused, unless their sum is zero, which a warning says does "
        "not count",
        "moments": "honoured by models that take a spin: their sum, which must be given where the "
        "number of electrons is odd; with others without meaning, which a warning says",
    }

    @abstractmethod
    def read(self, where: Path, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a model says, for JSON.

        ``elements``, unless it does not say them; ``state``, which of ``charge`` and ``spin``
        (2S + 1) it takes; ``ranges`` of these, where there are any; and what the code needs.

        Raises
        ------
        ParameterError
            It holds no model of this kind.
        """

    def where(self, parameters: Mapping[str, Any]) -> Path:
        """Return the path of the model."""
        if parameters["model"] is None:
            meaning = self.keywords["model"].meaning
            raise ParameterError(f"{self.title} needs weights: pass model='…', {meaning}.")
        return find(parameters["model"], _folders(), self.parts)

    def weights(self, package: Path, parameters: Mapping[str, Any]) -> Path:
        return self.where(parameters)

    def files(self, parameters: Mapping[str, Any]) -> list[Path]:
        where = self.where(parameters)
        return [where / part for part in self.parts] or [where]

    def sent(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        return {**parameters, "model": str(self.where(parameters).absolute())}

    def described(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        files = self.files(parameters)
        self._require_trusted(files)
        given = self.sent(parameters)
        said_by = json.dumps({name: given[name] for name in self.said_by})
        return _read(self, said_by, tuple(map(sha256, files)))

    def resolve(self, atoms: Atoms, parameters: Mapping[str, Any]) -> dict[str, Any]:
        self._require_trusted(self.files(parameters))
        return super().resolve(atoms, parameters)

    def _require_trusted(self, files: Sequence[Path]) -> None:
        if self.runs:
            for file in files:
                require_trusted(file)

    def check_state(self, atoms: Atoms, parameters: Mapping[str, Any]) -> None:
        known = self.described(parameters)
        if not known["state"]:
            super().check_state(atoms, parameters)
            return
        check_collinear(atoms)
        charge, unpaired = charge_of(atoms), unpaired_of(atoms)
        electrons = int(atoms.numbers.sum()) - charge
        if charge and "charge" not in known["state"]:
            raise StructureError(f"The model {parameters['model']} takes a spin, but no charge.")
        if "spin" in known["state"]:
            if unpaired is None and electrons % 2:
                raise StructureError(
                    f"{atoms.get_chemical_formula()} has an odd number of electrons, {electrons}, "
                    "and nothing says its spin, which the model takes. Say it with "
                    "atoms.set_initial_magnetic_moments()."
                )
            if unpaired is not None:
                check_spin(electrons, unpaired, atoms.get_chemical_formula())
        for name, value in _state(atoms).items():
            low, high = known.get("ranges", {}).get(name) or (value, value)
            if not low <= value <= high:
                raise StructureError(
                    f"The model {parameters['model']} takes a {name} from {low} to {high}, not "
                    f"{value}."
                )

    def check(self, atoms: Atoms, parameters: Mapping[str, Any]) -> list[str]:
        known = self.described(parameters)
        bare = atoms.copy()
        if "charge" in known["state"]:
            bare.set_initial_charges(None)
        if "spin" in known["state"]:
            bare.set_initial_magnetic_moments(None)
        warnings = Code.check(self, bare, parameters)
        has = known.get("elements", [*atoms.symbols])
        if unknown := sorted({*atoms.symbols}.difference(has)):
            raise StructureError(
                f"The model {parameters['model']} of {self.title} has no "
                f"{', '.join(unknown)}. It has {', '.join(has)}."
            )
        return warnings

    def about(self, parameters: Mapping[str, Any]) -> dict[str, str]:
        known = self.described(parameters)
        said = dict.fromkeys(sorted(_ABOUT), UNTOLD) | known.get("about", {})
        return {"elements": " ".join(known.get("elements", [])) or UNTOLD, **said}

    def build(self, parameters: Mapping[str, Any], place: Place) -> Calculator:
        told = bool(self.described(parameters)["state"])
        with _precision(parameters["dtype"]):
            inner, cutoff = self.load(parameters, self.device(place.options["device"]))
        return _Stated(inner, cutoff, parameters["dtype"], told, self.boxed)


class _Stated(InVacuum):
    """Tells the package's calculator the charge and spin in the way that such packages read them.

    Of the structure nothing else goes there than elements, positions, cell and periodicity.
    """

    def __init__(
        self, inner: Calculator, cutoff: float, dtype: str, told: bool, boxed: bool
    ) -> None:
        super().__init__(inner, cutoff)
        self._dtype, self._told, self._boxed = dtype, told, boxed

    def given(self, atoms: Atoms) -> Atoms:
        box = super().given(atoms) if self._boxed or atoms.pbc.any() else atoms
        info = _state(atoms) if self._told else {}
        return Atoms(box.numbers, box.positions, cell=box.cell, pbc=box.pbc, info=info)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        with _precision(self._dtype):
            super().calculate(atoms, properties, system_changes)


def _state(atoms: Atoms) -> dict[str, int]:
    return {"charge": charge_of(atoms), "spin": (unpaired_of(atoms) or 0) + 1}


def level(parameters: Mapping[str, Any], keyword: str, known: Sequence[str]) -> str:
    """Return the level of theory that a keyword names, or the only one of the model.

    Raises
    ------
    ParameterError
        It names none that the model has, or the model has several.
    """
    named = known[0] if parameters[keyword] is None and len(known) == 1 else parameters[keyword]
    if named not in known:
        raise ParameterError(
            f"The model {parameters['model']} has the {keyword}s {', '.join(known)}: pass one as "
            f"{keyword}, not {named!r}."
        )
    return str(named)


@contextmanager
def _precision(dtype: str) -> Iterator[None]:
    """Make it PyTorch's default, which some packages compute in."""
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@lru_cache(8)
def _read(code: Weights, parameters: str, contents: tuple[str, ...]) -> dict[str, Any]:
    given = json.loads(parameters)
    with _precision("float32"):
        return code.read(Path(given["model"]), given)


def require_trusted(file: Path) -> None:
    """Refuse weights that somebody else may have written: reading them may run what is in them.

    Raises
    ------
    ParameterError
    """
    file = file.resolve()
    reason = why_unsafe(file.parent)
    if is_foreign(file):
        reason = f"it belongs to another user (number {file.stat().st_uid})"
    elif file.stat().st_mode & 0o022:
        reason = "other users may write to it: run chmod go-w"
    if reason is not None:
        raise ParameterError(
            f"The weights {file} may hold programs, which run when they are read, and {reason}. "
            "Take a copy that is yours or root's alone."
        )


def _folders() -> list[Path]:
    try:
        from quacc.settings import get_settings
    except ImportError:  # in another Python, without the packages that settings need
        return []
    own = get_settings().potentials_dir
    return [] if own is None else [own]
