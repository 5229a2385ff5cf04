"""Campaigns written as classes: a runner holds pipelines, a pipeline holds components."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

from quacc.campaigns.located import Key, Located
from quacc.errors import InputError, suggest
from quacc.ownfiles import read_trusted

_ORCHESTRATORS = {"PrefectOrchestrator": "quacc.deploy.orchestrator.PrefectOrchestrator"}


class Part:
    """A runner, pipeline or component of a campaign.

    Its public methods are what a campaign is made of. Those of a campaign that is decorated are
    replaced, on the object, by what the orchestrator makes of them.

    Parameters
    ----------
    config
        What the campaign's file has under ``config``.
    """

    integration: ClassVar[str]
    holds: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        self.config = dict(config or {})


class Component(Part):
    """What computes; its methods become tasks."""

    integration = "component"


class Pipeline(Part):
    """Calls components, which are its attributes; its methods become flows."""

    integration = "pipeline"
    holds = ("component",)


class Runner(Part):
    """Calls pipelines, and components, which are its attributes; its methods become flows.

    Parameters
    ----------
    conf
        The campaign's YAML file.
    decorated
        Whether ``decorators`` in the file are applied. Without, nothing but Python runs it.

    Raises
    ------
    InputError
        The file is wrong; each mistake is told with its line, and what to do.
    """

    integration = "runner"
    holds = ("pipeline", "component")

    def __init__(self, conf: str | Path, *, decorated: bool = True) -> None:
        file = _File(Path(conf))
        super().__init__(file.read_runner(type(self)).config)
        file.fill(self)
        orchestrator = file.orchestrator() if decorated else None
        file.located.raise_mistakes()
        if orchestrator is not None:
            decorate(self, orchestrator)


class Orchestrator(Protocol):
    """Makes something else of the methods of a campaign."""

    @property
    def config(self) -> Mapping[str, Any]:
        """Has ``decorator_method``, a name, and ``integration_types``, what it is applied to."""


def load(file: str | Path, *, decorated: bool = True) -> Runner:
    """Return the runner of a campaign's file, of the class that it names; see :class:`Runner`."""
    located = _File(Path(file))
    cls: Any = located.read_runner(None).cls
    located.located.raise_mistakes()
    runner: Runner = cls(file, decorated=decorated)
    return runner


def parts(part: Part) -> Iterator[tuple[str, Part]]:
    """Yield a part and all that it holds, with their names, such as "surfaces.relaxer"."""

    def inside(one: Part, name: str) -> Iterator[tuple[str, Part]]:
        yield name, one
        for attribute, value in vars(one).items():
            if isinstance(value, Part):
                yield from inside(value, f"{name}.{attribute}".lstrip("."))

    yield from inside(part, "")


def methods(part: Part) -> dict[str, Callable[..., Any]]:
    """Return the public methods of a part, as they are bound to it."""
    names = dir(type(part))
    known = {name for cls in (Runner, Pipeline, Component) for name in dir(cls)}
    return {
        name: getattr(type(part), name).__get__(part)
        for name in names
        if not name.startswith("_")
        and name not in known
        and inspect.isfunction(inspect.getattr_static(type(part), name))
    }


def decorate(runner: Part, orchestrator: Orchestrator) -> None:
    """Replace the methods of a runner, and of all that it holds, each once."""
    decorator = getattr(orchestrator, orchestrator.config["decorator_method"])
    for _, part in list(parts(runner)):
        if part.integration in orchestrator.config["integration_types"]:
            for name, method in methods(part).items():
                setattr(part, name, decorator(method, type(part)))


class _Described(NamedTuple):
    """What a file says of a part."""

    cls: type[Part] | None
    config: Mapping[str, Any]


class _File:
    """A campaign's file."""

    def __init__(self, file: Path) -> None:
        self.located = Located(file)
        self.content: dict[str, Any] = self._mapping((), self.located.content)
        self._known((), self.content, ("runner", "decorators", "orchestrator"))

    def read_runner(self, cls: type[Runner] | None) -> _Described:
        if "runner" not in self.content:
            self.located.add((), "runner is missing: the class of the campaign, FILE.py:Class.")
            return _Described(cls, {})
        return self._described(("runner",), self.content["runner"], Runner, cls)

    def fill(self, runner: Runner) -> None:
        self._fill(("runner",), runner, self.content.get("runner"))

    def orchestrator(self) -> Orchestrator | None:
        key: Key = ("decorators",)
        decorators = self._mapping(key, self.content.get("decorators"))
        self._known(key, decorators, ("orchestrator",))
        if "orchestrator" not in decorators:
            return None
        name = decorators["orchestrator"]
        if isinstance(name, str):
            name = _ORCHESTRATORS.get(name, name)
        cls = self._class((*key, "orchestrator"), name)
        key = ("orchestrator",)
        given = self._mapping(key, self.content.get("orchestrator"))
        self._known(key, given, ("config",))
        config = self._mapping((*key, "config"), given.get("config"))
        if cls is None:
            return None
        try:
            made: Orchestrator = cls(config)
        except InputError as error:
            where = self.located.inside((*key, "config"), list(getattr(error, "names", ())))
            self.located.add(where, str(error))
            return None
        return made

    def _fill(self, key: Key, part: Part, given: Any) -> None:
        given = given if isinstance(given, dict) else {}
        for kind in part.holds:
            inner = (*key, kind)
            for name, one in self._mapping(inner, given.get(kind)).items():
                base: type[Part] = Pipeline if kind == "pipeline" else Component
                described = self._described((*inner, name), one, base, None)
                if not str(name).isidentifier() or hasattr(part, name):
                    self.located.add(
                        (*inner, name),
                        f"{name!r} cannot be the name of an attribute: it is none of Python's "
                        "names, or is taken. Take another.",
                    )
                elif described.cls is not None:
                    held = described.cls(described.config)
                    setattr(part, name, held)
                    self._fill((*inner, name), held, one)

    def _described(
        self, key: Key, given: Any, base: type[Part], expected: type[Part] | None
    ) -> _Described:
        where: Key = (*key, "class")
        if isinstance(given, str):
            given, where = {"class": given}, key
        given = self._mapping(key, given)
        self._known(key, given, ("class", "config", *base.holds))
        config = self._mapping((*key, "config"), given.get("config"))
        if expected is not None:  # the class was called with the file
            return _Described(expected, config)
        if "class" not in given:
            self.located.add(key, "class is missing: FILE.py:Class, or module.Class.")
            return _Described(None, config)
        cls = self._class(where, given["class"])
        if cls is not None and not issubclass(cls, base):
            self.located.add(
                where, f"{given['class']} is no {base.__name__}: let it inherit from that class."
            )
            cls = None
        return _Described(cls, config)

    def _class(self, key: Key, name: Any) -> Any:
        try:
            found = _find(name, self.located.file.parent)
        except InputError as error:
            self.located.add(key, str(error))
            return None
        if not isinstance(found, type):
            self.located.add(key, f"{name} is no class.")
            return None
        return found

    def _mapping(self, key: Key, given: Any) -> dict[str, Any]:
        if given is None:
            return {}
        if not isinstance(given, dict):
            self.located.add(key, f"{given!r} must be keys with values.")
            return {}
        return given

    def _known(self, key: Key, given: Mapping[str, Any], names: tuple[str, ...]) -> None:
        for name in given:
            if name not in names:
                hint = suggest(str(name), names) or f" It may have {', '.join(names)}."
                self.located.add((*key, name), f"unknown key {name!r}.{hint}")


def _find(name: Any, folder: Path) -> Any:
    """Return what has a name such as "FILE.py:Class" or "module.Class"."""
    if not isinstance(name, str):
        raise InputError(f"{name!r} is no class: take FILE.py:Class, or module.Class.")
    if ":" in name:
        file, _, attribute = name.rpartition(":")
        module = _module_of((folder / file).resolve())
    else:
        place, _, attribute = name.rpartition(".")
        if not place:
            raise InputError(f"{name!r} is no class: take FILE.py:Class, or module.Class.")
        try:
            module = importlib.import_module(place)
        except ImportError as error:
            raise InputError(f"{name} cannot be imported: {error}.") from error
    if not hasattr(module, attribute):
        classes = [one for one, value in vars(module).items() if isinstance(value, type)]
        raise InputError(
            f"there is no {attribute!r} in {name[: -len(attribute) - 1]}."
            f"{suggest(attribute, classes)}"
        )
    return getattr(module, attribute)


def _module_of(file: Path) -> Any:
    """Return the module of a file, executed once as long as the file stays as it is."""
    try:
        source = read_trusted(file, anyones=True)
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error}.") from error
    content = sha256(source).hexdigest()
    name = f"quacc_campaign_{sha256(bytes(file) + content.encode()).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None:
        raise InputError(f"{file} is no file of Python: its name ends with .py.")
    module = importlib.util.module_from_spec(spec)
    vars(module)["__source_hash__"] = content
    sys.modules[name] = module  # its hints are looked up there
    try:
        # What was checked, and nothing that lies beside it, such as compiled files.
        exec(compile(source, file, "exec"), vars(module))
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, Exception):
            raise InputError(
                f"{file} could not be executed: {type(error).__name__}: {error}."
            ) from error
        raise
    return module
