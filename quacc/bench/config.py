"""``models.yml`` and ``tasks.yml``: what there is to compare, and on what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from quacc.errors import InputError, suggest
from quacc.locations import home
from quacc.ownfiles import read_trusted

_SHIPPED = Path(__file__).with_name("shipped")

TaskType = Literal["reference", "physics", "cost"]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelEntry(_Entry):
    """One model, as ``models.yml`` describes it."""

    title: str
    calculator: str
    """Name of a calculator."""
    parameters: dict[str, Any] = {}
    """Its keywords and options."""
    family: str
    """Such as ``embedded atom`` or ``graph network``."""
    functional: str = ""
    """What its energies are to be; empty if it was fitted to experiments."""
    trained_on: list[str] = []
    """Names of data, so that a task with the same is marked."""
    licence: str
    citation: str = ""
    """BibTeX; empty: the calculator's."""
    environment: str | None = None
    """Path of the Python that it lives in; None: as the settings say."""
    elements: list[str] | None = None
    """Those that it is for; None: as the calculator says."""
    skip: list[str] = []
    """Tasks that it is not run on."""


class DataEntry(_Entry):
    """The data of a task: a collection that quacc knows, or a file."""

    name: str
    """Such as ``dcdft``; of a file, its format, such as ``structures``."""
    file: str | None = None
    """Path, relative to that of the entry."""
    sha256: str | None = None
    """The file's; of another one, the task is refused."""
    licence: str | None = None
    citation: str = ""
    """BibTeX."""
    level: str | None = None
    """Level of theory of the reference values."""
    source: str = ""
    """Where it comes from, as models' ``trained_on`` names it."""
    only: list[str] = []
    """Names of cases; empty for all."""


class MetricEntry(_Entry):
    """A metric of a task with a workflow of quacc's: the mean error of one of its numbers."""

    value: str
    """Name of the number in the workflow's result."""
    unit: str = ""
    per_atom: bool = False
    relative: bool = False
    """In percent of the reference."""


class TaskEntry(_Entry):
    """One task, as ``tasks.yml`` describes it."""

    title: str
    type: TaskType
    workflow: str
    """One of :mod:`quacc.bench.kinds`, or a workflow such as ``elastic``."""
    parameters: dict[str, Any] = {}
    data: DataEntry
    metrics: dict[str, MetricEntry] = {}
    """Where the workflow is one of quacc's, whatever is compared with the data."""
    tags: list[str] = []
    time_limit: PositiveFloat = Field(default=3600.0)
    """Of a pair (s)."""


_E = TypeVar("_E", bound=_Entry)


def read_entries(
    kind: Literal["models", "tasks"], files: Iterable[str | Path] = ()
) -> dict[str, tuple[Any, Path]]:
    """Return all entries by name, each with the file it is from.

    Those that come with quacc, those of ``~/.config/quacc/models.yml`` or ``tasks.yml``, and those
    of the files; where several have the same name, the later one counts.

    Raises
    ------
    InputError
        A file cannot be read, or has a name or value that makes no sense.
    """
    entry = ModelEntry if kind == "models" else TaskEntry
    own = home() / ".config" / "quacc" / f"{kind}.yml"
    every: list[Path] = [_SHIPPED / f"{kind}.yml", *([own] if own.is_file() else [])]
    found: dict[str, tuple[Any, Path]] = {}
    for file in [*every, *map(Path, files)]:
        for name, one in _read(file, entry).items():
            found[name] = one, file
    return found


def _read(file: Path, entry: type[_E]) -> dict[str, _E]:
    try:
        # It may name a Python, which is run.
        own = file.parent == home() / ".config" / "quacc"
        text = read_trusted(file, anyones=not own).decode()
        content = YAML(typ="safe", pure=True).load(text)
    except (OSError, UnicodeError, YAMLError) as error:
        raise InputError(f"{file} cannot be read: {error}") from None
    content = {} if content is None else content
    if not isinstance(content, dict) or not all(isinstance(one, dict) for one in content.values()):
        raise InputError(f"{file}: a file of names, each followed by what it is, is expected.")
    found = {}
    for name, value in content.items():
        try:
            found[str(name)] = entry.model_validate(value)
        except ValidationError as error:
            raise InputError(f"{file}, {name}: {_in_words(error, entry)}") from None
    return found


def _in_words(error: ValidationError, entry: type[BaseModel]) -> str:
    texts = []
    for one in error.errors(include_url=False):
        where = ".".join(map(str, one["loc"]))
        if one["type"] == "extra_forbidden":
            known = [*_fields(entry, one["loc"][:-1])]
            texts.append(
                f"there is no {where!r}.{suggest(str(one['loc'][-1]), known)} "
                f"There are {', '.join(known)}."
            )
        elif one["type"] == "missing":
            texts.append(f"{where} is missing.")
        else:
            texts.append(f"{where} = {one['input']!r}: {one['msg']}.")
    return " ".join(texts)


def _fields(entry: type[BaseModel], path: Sequence[str | int]) -> Iterable[str]:
    if not path:
        return entry.model_fields
    return DataEntry.model_fields if path[0] == "data" else MetricEntry.model_fields


def select(what: str, names: Sequence[str] | None, every: dict[str, tuple[Any, Path]]) -> list[str]:
    """Return the names that are asked for; all if there are none.

    Raises
    ------
    InputError
        There is no such name.
    """
    for name in names or ():
        if name not in every:
            raise InputError(
                f"There is no {what} {name!r}.{suggest(name, every)} There are {', '.join(every)}."
            )
    return list(dict.fromkeys(names)) if names else list(every)
