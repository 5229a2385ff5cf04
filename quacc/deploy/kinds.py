"""The kinds of fields: what a form shows for a parameter of this type, and what it becomes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from quacc.calculators import code_names
from quacc.deploy import values
from quacc.deploy.fields import menu, number
from quacc.recipes.report import jobs_of


@dataclass(frozen=True)
class Kind:
    """What a form shows, as JSON Schema; what that becomes; and help about how to fill it in."""

    schema: dict[str, Any]
    value: Callable[[Any], Any] = lambda given: given
    help: str = ""


PYTHON_ONLY = ("CopyFiles | None", "Sequence[Sequence[float]] | NDArray[Any] | None")
"""Types of parameters that no form has."""

LINES = "One KEY=VALUE each, such as fmax=0.01 or kpts=[4, 4, 4]."

_TEXT: dict[str, Any] = {"type": "string", "minLength": 1}
_STRUCTURE = (
    "A name such as Cu or H2O, the path of a file where the flow runs, or the text of a CIF or "
    "POSCAR file."
)


def kind_of(owner: str, parameter: inspect.Parameter) -> Kind:
    """Return the kind of field for a parameter of a workflow or a job."""
    return _KINDS[str(parameter.annotation)](owner, parameter)


def texts(one: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the schema of a list of texts."""
    return {"type": "array", "items": dict(one or _TEXT)}


def _number(owner: str, parameter: inspect.Parameter) -> Kind:
    whole = "int" in str(parameter.annotation)
    bounds = number(owner, parameter.name)
    title = (
        f"{title_of(parameter.name)} ({bounds.unit})" if bounds.unit else title_of(parameter.name)
    )
    kind = "integer" if whole else "number"
    return Kind({"title": title, "type": kind, **bounds.schema()})


def _text(owner: str, parameter: inspect.Parameter) -> Kind:
    choices = menu(owner, parameter.name)
    return Kind({"enum": [*choices], "type": "string"} if choices else dict(_TEXT))


def _texts(owner: str, parameter: inspect.Parameter) -> Kind:
    choices = menu(owner, parameter.name)
    return Kind(texts({"type": "string", "enum": [*choices]} if choices else None))


def _three(owner: str, parameter: inspect.Parameter) -> Kind:
    whole = "int" in str(parameter.annotation)
    item: dict[str, Any] = {"type": "integer" if whole else "number"}
    if parameter.name == "supercell" or parameter.name == "qpoints":
        item["minimum"] = 1
    return Kind({"type": "array", "items": item, "minItems": 3, "maxItems": 3})


def _cell(owner: str, parameter: inspect.Parameter) -> Kind:
    return Kind({"enum": [*(menu(owner, parameter.name) or ())]})


def _job(owner: str, parameter: inspect.Parameter) -> Kind:
    """Return a menu: the job of the form's calculator, or that of any other."""
    default = parameter.default
    name = default if isinstance(default, str) else "relax_job"
    if parameter.name == "job":  # any
        return Kind({"type": "string", "enum": sorted(_all_jobs())})
    own = [] if default is parameter.empty else [name]
    others = [f"{code}.{name}" for code in code_names() if name in jobs_of(code)]
    optional = [values.NONE] if "None" in str(parameter.annotation) else []
    return Kind({"type": "string", "enum": [*own, *optional, *others]}, values.job)


def _all_jobs() -> set[str]:
    """Return the names of the jobs that take one structure and nothing else."""
    found = {name for code in code_names() for name in jobs_of(code)}
    return found - {"neb_job"}


def title_of(name: str) -> str:
    """Return a name in words, such as Min thickness."""
    return name.replace("_", " ").capitalize()


_Kinds = dict[str, Callable[[str, inspect.Parameter], Kind]]

_KINDS: _Kinds = {
    "StructureLike": lambda owner, one: Kind(dict(_TEXT), values.structure, _STRUCTURE),
    "Sequence[StructureLike]": lambda owner, one: Kind(texts(), values.structures, _STRUCTURE),
    "str | os.PathLike[str] | Sequence[StructureLike]": lambda owner, one: Kind(
        texts(), values.source, "One folder or file, or a list of structures."
    ),
    "Mapping[str, StructureLike] | None": lambda owner, one: Kind(
        texts(), values.named_structures, f"One NAME=STRUCTURE each. {_STRUCTURE}"
    ),
    "Mapping[str, float] | None": lambda owner, one: Kind(
        texts(), values.keywords, "One ELEMENT=NUMBER each, such as Ni=2."
    ),
    "Mapping[str, str | Sequence[str]] | None": lambda owner, one: Kind(
        texts(), values.keywords, "One ELEMENT=ELEMENTS each, such as Cu=Au or Cu=[Au, Pd]."
    ),
    "Mapping[str, Any] | None": lambda owner, one: Kind(texts(), values.keywords, LINES),
    "Job": _job,
    "bool": lambda owner, one: Kind({"type": "boolean"}),
    "bool | str | Sequence[bool]": _cell,
    "str": _text,
    "float": _number,
    "int": _number,
    "Sequence[str]": _texts,
    "Sequence[int]": _three,
    "Sequence[float]": _three,
}
_KINDS |= {f"{name} | None": kind for name, kind in _KINDS.items() if "None" not in name}
