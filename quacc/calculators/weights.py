"""Potentials whose weights are a file that the user has: where it is, and whether to trust it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ase import Atoms

from quacc.calculators.code import Code
from quacc.calculators.files import sha256
from quacc.calculators.keyword import Check, Keyword, one_of
from quacc.calculators.potential import Potential
from quacc.calculators.potential_file import find, one_file
from quacc.errors import ParameterError, StructureError
from quacc.ownfiles import is_foreign, why_unsafe

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
    keywords = {
        "model": Keyword(
            None,
            "the file of the weights; a name is looked for in the folder of the setting "
            "potentials_dir, and nothing is downloaded",
            one_file,
        )
    }
    options = {
        **Potential.options,
        "about": Keyword(
            None,
            "for the record: functional, data (of the training) and licence of the weights",
            Check("a dictionary", _is_about),
        ),
    }

    @abstractmethod
    def read(self, file: Path) -> dict[str, Any]:
        """Return what a file says, ``elements`` at least.

        Raises
        ------
        ParameterError
            It holds no model of this kind.
        """

    def weights(self, package: Path, parameters: Mapping[str, Any]) -> Path:
        (file,) = self.files(parameters)
        return file

    def files(self, parameters: Mapping[str, Any]) -> list[Path]:
        if parameters["model"] is None:
            meaning = self.keywords["model"].meaning
            raise ParameterError(f"{self.title} needs weights: pass model='…', {meaning}.")
        return [find(parameters["model"], _folders())]

    def sent(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        (file,) = self.files(parameters)
        return {**parameters, "model": str(file.absolute())}

    def described(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        (file,) = self.files(parameters)
        require_trusted(file)
        return _read(self, str(file), sha256(file))

    def resolve(self, atoms: Atoms, parameters: Mapping[str, Any]) -> dict[str, Any]:
        for file in self.files(parameters):
            require_trusted(file)
        return super().resolve(atoms, parameters)

    def check(self, atoms: Atoms, parameters: Mapping[str, Any]) -> list[str]:
        warnings = Code.check(self, atoms, parameters)
        known = self.described(parameters)["elements"]
        if unknown := sorted({*atoms.symbols}.difference(known)):
            raise StructureError(
                f"The model {parameters['model']} of {self.title} has no "
                f"{', '.join(unknown)}. It has {', '.join(known)}."
            )
        return warnings

    def about(self, parameters: Mapping[str, Any]) -> dict[str, str]:
        known = self.described(parameters)
        said = dict.fromkeys(sorted(_ABOUT), UNTOLD) | known.get("about", {})
        return {"elements": " ".join(known["elements"]), **said}


@lru_cache(8)
def _read(code: Weights, file: str, content: str) -> dict[str, Any]:
    return code.read(Path(file))


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


DTYPE = Keyword(
    "float64",
    "precision of the numbers; float32 is quicker, and energies have 7 digits then",
    one_of("float64", "float32"),
)
