"""Settings: where files are kept, which database is filled, how programs are started.

Strongest first: :func:`change_settings`, environment variables (``QUACC_RESULTS_DIR``,
``QUACC_COMMANDS__MOPAC``), the file ``~/.quacc.yaml``, the defaults. Nothing is read at
import: a mistake in the file is an error when a setting is first used, not before.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, StringConstraints, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    SettingsConfigDict,
)

from quacc import glance
from quacc.errors import SettingsError, suggest
from quacc.locations import check_location, expand_user, home, is_url, redact, require_text
from quacc.ownfiles import read_trusted

R = TypeVar("R")


def _absolute(value: Any) -> Any:
    if not isinstance(value, str | os.PathLike):
        return value  # pydantic complains
    path = expand_user(os.path.expandvars(value))
    if unset := re.search(r"\$(\w+|\{.*?\})", path):
        raise ValueError(f"the environment variable {unset.group()} is not set here")
    if not os.path.isabs(path):  # workers and child processes start in other folders
        raise ValueError("write an absolute path, or one that starts with ~ or a $VARIABLE")
    return require_text(path)


def _database(value: Any) -> Any:
    # A URL is not expanded: a password may contain a $.
    location = value if is_url(value) else _absolute(value)
    return str(check_location(location)) if isinstance(location, str) else value


_Folder = Annotated[Path, BeforeValidator(_absolute)]
_Program = Annotated[str, StringConstraints(min_length=1, to_lower=True)]  # as from QUACC_…
_Command = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Settings(BaseSettings):
    """All settings, checked. Use :func:`get_settings`."""

    model_config = SettingsConfigDict(
        env_prefix="QUACC_",
        env_nested_delimiter="__",
        env_nested_max_split=1,
        env_ignore_empty=True,
        frozen=True,
        hide_input_in_errors=True,  # it may hold a password
        use_attribute_docstrings=True,
    )

    results_dir: _Folder = Path("~/quacc_results")
    """Folder for the files of finished calculations and the results database."""
    scratch_dir: _Folder | None = None
    """Folder where calculations that write files run ($SCRATCH or the system's, if not set)."""
    store: Annotated[str, BeforeValidator(_database)] | None = Field(default=None, repr=False)
    """SQLite file (*.db) or postgresql:// URL of the database (results.db in results_dir, else)."""
    trust: Literal["all", "own"] = "all"
    """Whose stored results are served: all, or only your own, which are signed then."""
    compress: bool = True
    """Gzip the files of finished calculations."""
    checkpoint_interval: _Seconds = 60.0
    """Seconds between two checkpoints of a calculation."""
    walltime_margin: _Seconds = 30.0
    """Seconds before the end of its batch job when a calculation stops with a checkpoint."""
    calculator: str | None = None
    """Name of the calculator of workflows that are called without one, such as emt."""
    notify: _Folder | None = None
    """File of addresses to tell of deployed runs that failed, one a line, of Apprise."""
    commands: dict[_Program, _Command] = {}
    """How to start external programs, each under its own name such as commands.mopac."""
    pseudopotentials: dict[_Program, _Folder] = {}
    """Folder of each program's pseudopotentials, such as pseudopotentials.espresso."""
    potentials_dir: _Folder | None = None
    """Folder of interatomic potentials that calculators read from a file, such as EAM."""
    presets_dir: _Folder | None = None
    """Folder of presets that a group or a site shares; your own are in ~/.config/quacc/presets."""
    environments: dict[_Program, _Folder] = {}
    """The Python that a calculator lives in, if it is not this one, such as environments.tblite."""
    environments_timeout: _Seconds = 3600.0
    """Seconds that a calculator in another Python may take for one energy."""
    launcher: Annotated[str, StringConstraints(strip_whitespace=True)] = ""
    """What starts parallel programs, such as srun -n 64; a site's profile sets it for its jobs."""

    @classmethod
    def settings_customise_sources(cls, *_: Any, **standard: Any) -> tuple[Any, ...]:
        """Return the sources, strongest first; values given to ``Settings(...)`` stand alone."""
        if standard["init_settings"].init_kwargs:
            return (standard["init_settings"],)
        layers = reversed(_layers(read_file()).values())
        return tuple(InitSettingsSource(cls, layer) for layer in layers)

    @property
    def scratch(self) -> Path:
        """``scratch_dir``, or what stands in for it."""
        return self.scratch_dir or Path(os.environ.get("SCRATCH") or tempfile.gettempdir())

    @property
    def database(self) -> str:
        """``store``, or what stands in for it."""
        return self.store or str(self.results_dir / "results.db")


def get_settings() -> Settings:
    """Return the settings that hold here and now; a SettingsError lists all mistakes."""
    with _lock:
        try:
            return Settings()
        except (SettingsError, ValidationError):
            raise SettingsError("\n".join(inspect()[2])) from None


def environment_of(name: str) -> tuple[str, float] | None:
    """Return the settings ``environments.<name>`` and ``environments_timeout``.

    None where the first is not set. Quick, since every calculation asks for it.
    """
    own = _own.get()
    changes = [one for one in (_active if own is None else [own]) if one]
    elsewhere = glance.environments()
    if elsewhere is None and not any("environments" in one for one in changes):
        return None
    now = repr((elsewhere, changes))
    known, found = _environments.get(name, ("", None))
    if known != now:
        settings = get_settings()
        python = settings.environments.get(name)
        found = None if python is None else (str(python), settings.environments_timeout)
        _environments[name] = now, found
    return found


_environments: dict[str, tuple[str, Any]] = {}


# A thread sees its own changes, or else those of all threads. Child processes get the
# latter through an environment variable of its own: the QUACC_* ones stay as the person set
# them, so that call_with can put other changes in the place of inherited ones.
_VARIABLE = glance.CHANGED
_active: list[dict[str, Any]] = [json.loads(os.environ.get(_VARIABLE, "{}"))]
_own: ContextVar[dict[str, Any] | None] = ContextVar("quacc_settings", default=None)
_ONLY_HERE = {"store"}  # workers never open the database, and its URL may hold a password
_lock = threading.Lock()  # held for pydantic-settings, too: no variable may go while it reads them
os.register_at_fork(  # no child may start with a lock that another thread held
    before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release
)


@contextmanager
def change_settings(**changes: Any) -> Iterator[None]:
    """Change settings inside a ``with`` block, for all threads and new child processes.

    ``commands``, ``pseudopotentials`` and ``environments`` add to those that are set already.
    Threads that are inside a block of their own, or in :func:`call_with`, keep what they have.
    ``store`` is changed in this process only.

    Raises
    ------
    SettingsError
        Before the block runs: a name is unknown or a value is wrong.
    """
    before = _own.get()
    with _lock:
        checked = _merge(*(check(name, value) for name, value in changes.items()))
        entry = _merge(before or {}, checked)
        _own.set(_merge(_changes(), checked))
        _active.append(entry)
        _mirror()
    try:
        yield
    finally:
        _own.set(before)  # not reset(token): an async fixture ends in another context
        with _lock:
            _active[:] = [other for other in _active if other is not entry]
            _mirror()


def overrides() -> dict[str, Any]:
    """Return what ``change_settings`` sets here and now for workers, as plain JSON values.

    The results database, ``store``, is not among it.
    """
    return _travelling(_changes())


def call_with(changes: Mapping[str, Any], fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> R:
    """Call a function under exactly these :func:`overrides`, in this thread only.

    Made for workers: the changes travel with the job, and ``store`` stays what it is where
    the function runs. Threads and processes that the function starts are reached once it
    enters ``change_settings``.
    """
    here = {name: value for name, value in _changes().items() if name in _ONLY_HERE}
    token = _own.set(_merge(here, changes))
    try:
        return fn(*args, **kwargs)
    finally:
        _own.reset(token)


def as_environment() -> dict[str, str]:
    """Return what the settings file and environment variables set, as environment variables.

    Values are as they were written: ``~`` and variables are for the machine that reads them. The
    results database, ``store``, is not among them.
    """
    found = {
        f"QUACC_{name.replace('.', '__')}".upper(): (
            value if isinstance(value, str) else json.dumps(value, default=str)
        )
        for name, value in _flat(read_file())
        if value is not None
    }
    found |= {name: text for name, text in os.environ.items() if name.startswith("QUACC_")}
    return {name: text for name, text in sorted(found.items()) if name != "QUACC_STORE"}


def inherit() -> None:
    """Take over the changes that the environment holds, in a copy of a process that had others."""
    with _lock:
        _active[:] = [json.loads(os.environ.get(_VARIABLE, "{}"))]


def _changes() -> dict[str, Any]:
    own = _own.get()
    return _merge(*_active) if own is None else _merge(own)


def _travelling(changes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in changes.items() if name not in _ONLY_HERE}


def _mirror() -> None:
    if merged := _travelling(_merge(*_active)):
        os.environ[_VARIABLE] = json.dumps(merged)
    else:
        os.environ.pop(_VARIABLE, None)


def _merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            if isinstance(value, Mapping) and isinstance(merged.setdefault(name, {}), dict):
                merged[name].update(value)
            else:
                merged[name] = value
    return merged


def settings_file() -> Path:
    """Return the path of the settings file; it need not exist."""
    return home() / ".quacc.yaml"


def read_file() -> dict[Any, Any]:
    """Return the settings file's content, unchecked."""
    try:
        return parse(read_trusted(settings_file()))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"Cannot read {settings_file()}: {error}. Correct it in a text editor."
        ) from None


def parse(content: bytes) -> dict[Any, Any]:
    """Return the settings in a file's content; a ValueError names the line that is wrong."""
    from ruamel import yaml  # slow to import

    try:
        text = content.decode()
        settings = yaml.YAML(typ="safe").load(text)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line} holds bytes that are no text (UTF-8)") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ValueError(f"line {line} holds the character {chr(error.character)!r}") from None
    except yaml.error.MarkedYAMLError as error:
        why = f"line {error.problem_mark.line + 1}: {redact(error.problem)}"
        if error.context and error.context_mark:
            why += f" {error.context} that begins in line {error.context_mark.line + 1}"
        raise ValueError(why) from None
    if isinstance(settings, dict | None):
        return settings or {}
    raise ValueError("line 1: it must hold lines such as 'compress: false'")


def _layers(content: Mapping[Any, Any]) -> dict[str, dict[str, Any]]:
    """Return what each place sets, weakest first."""
    known = Settings.model_fields
    written = (_nested(n, v) for n, v in _flat(content) if v is not None or n not in known)
    layers = {str(settings_file()): _merge(*written)}
    source = EnvSettingsSource(Settings)
    for variable, text in sorted(source.env_vars.items()):
        if variable.startswith("quacc_"):
            source.env_vars = {variable: text}  # alone, to know what it sets
            place = f"environment variable {variable.upper()}"
            layers[place] = {variable[6:]: text}  # refused, if pydantic-settings knows no better
            with suppress(ValueError):  # no JSON
                layers[place] = source() or layers[place]
    return layers | {"change_settings": _changes()}


def inspect() -> tuple[Settings, dict[str, tuple[Any, str]], list[str]]:
    """Return the settings, what is set (name: value, place), and what is wrong instead."""
    mistakes, content = [], {}
    try:
        content = read_file()
    except SettingsError as error:
        mistakes.append(str(error))
    layers = _layers(content).items()
    found = {name: (value, place) for place, layer in layers for name, value in _flat(layer)}
    values: dict[str, Any] = {name: {} for name in BY_PROGRAM}
    for name, (value, place) in list(found.items()):
        try:
            values = _merge(values, check(name, value, place))
        except SettingsError as error:
            mistakes.append(str(error))
            del found[name]
    return Settings(**values), found, mistakes


BY_PROGRAM = ("commands", "pseudopotentials", "environments")
"""Settings that hold a value for each program."""


def _flat(layer: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in layer.items():
        name = str(key).lower()
        if name in BY_PROGRAM and isinstance(value, Mapping):
            yield from ((f"{name}.{program}".lower(), value[program]) for program in value)
        else:
            yield name, value


def _nested(name: str, value: Any) -> dict[str, Any]:
    head, _, program = name.partition(".")
    return {head: {program: value}} if program and head in BY_PROGRAM else {name: value}


def check(name: str, value: Any, place: str = "change_settings") -> dict[str, Any]:
    """Return {name: value} of one setting, checked; ``commands.mopac`` is a name, too."""
    nested = _nested(name, value)
    [head] = nested
    if head not in Settings.model_fields:
        known = [*Settings.model_fields, "commands." + re.split("[._]", name)[-1]]
        if place.startswith("environment"):
            name, *known = (f"QUACC_{n.upper().replace('.', '__')}" for n in [name, *known])
        hint = suggest(name, known) or f" The settings are {', '.join(known[:-1])}."
        raise SettingsError(f"{name!r} ({place}) is not a setting.{hint}")
    try:
        return Settings(**nested).model_dump(mode="json", include={head})
    except ValidationError as error:
        why = error.errors()[0]["msg"].removeprefix("Value error, ")
        what = f"{name} = {redact(repr(value))} ({place}) is wrong: {why}."
        raise SettingsError(f"{what} {head}: {Settings.model_fields[head].description}") from None
