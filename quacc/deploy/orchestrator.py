"""``PrefectOrchestrator``: the methods of a campaign as flows and tasks of Prefect."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import ase
import prefect
import psutil
from dask.tokenize import tokenize
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext, TaskRunContext, use_profile
from prefect.settings import (
    PREFECT_LOCAL_STORAGE_PATH,
    Settings,
    load_profiles,
    temporary_settings,
)

from quacc import __version__
from quacc.errors import InputError, suggest
from quacc.locations import redact
from quacc.ownfiles import is_foreign, why_untrusted
from quacc.prefect.lifecycle.server import prefect_api
from quacc.settings import get_settings

_KINDS = ("runner", "pipeline", "component")

_DEFAULTS: dict[str, Any] = {
    "decorator_method": "decorator",
    "integration_types": list(_KINDS),
    "prefect_profile": None,
    "prefect_settings": {},
    "prefect_flow_integration": ["runner", "pipeline"],
    "prefect_task_integration": ["component"],
    "flow_kwargs": {"log_prints": True},
    "task_kwargs": {},
    "cache_tasks": True,
}


class ConfigError(InputError):
    """A configuration that is wrong; ``names`` says where."""

    def __init__(self, names: tuple[str, ...], message: str) -> None:
        super().__init__(message)
        self.names = names


class PrefectOrchestrator:
    """Makes flows and tasks of a campaign's methods.

    Parameters
    ----------
    config
        ``prefect_profile``: the profile of Prefect's whose settings hold during a call; the
        active one, if not given. ``prefect_settings``: settings above it, without secrets.
        ``prefect_flow_integration``, ``prefect_task_integration``: of which classes, among
        "runner", "pipeline" and "component", methods become flows, and tasks. ``flow_kwargs``,
        ``task_kwargs``: what `prefect.flow` and `prefect.task` take. ``cache_tasks``: whether
        what a task has returned is returned again, where its code, the configuration and the
        state of its object, its arguments, and the settings are the same. ``integration_types``:
        the classes that are decorated at all; ``decorator_method``: by which method of this one.

    Raises
    ------
    InputError
        Something in it is unknown, or makes no sense.
    """

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        given = dict(config or {})
        if "task-kwargs" in given:
            if "task_kwargs" in given:
                raise ConfigError(("task-kwargs",), "task-kwargs and task_kwargs are the same.")
            given["task_kwargs"] = given.pop("task-kwargs")
        for name in given:
            if name not in _DEFAULTS:
                hint = suggest(str(name), _DEFAULTS) or f" There are {', '.join(_DEFAULTS)}."
                raise ConfigError((name,), f"unknown key {name!r}.{hint}")
        self.config: dict[str, Any] = {**_DEFAULTS, **given}
        self._check()
        self._settings = {
            _setting(name, value): value for name, value in self.config["prefect_settings"].items()
        }

    def decorator(self, func: Callable[..., Any], cls: type) -> Callable[..., Any]:
        """Return a flow or a task of a method, to be called as the method is.

        Parameters
        ----------
        func
            The method of an object, whose ``self`` is no parameter of the run.
        cls
            The object's class, which says by ``integration`` whether it becomes a flow or a task;
            neither, if nothing is said of it.
        """
        name = f"{cls.__name__}.{func.__name__}"
        made: Any
        if cls.integration in self.config["prefect_flow_integration"]:  # type: ignore[attr-defined]
            options = {"name": name, "validate_parameters": False, **self.config["flow_kwargs"]}
            made = prefect.flow(func, **options)
        elif cls.integration in self.config["prefect_task_integration"]:  # type: ignore[attr-defined]
            options = {"name": name, **self._caching(func, cls), **self.config["task_kwargs"]}
            made = prefect.task(func, **options)
        else:
            return func
        if inspect.iscoroutinefunction(func):

            @functools.wraps(func)
            async def call_async(*args: Any, **kwargs: Any) -> Any:
                with self._prefect():
                    return await made(*args, **kwargs)

            return call_async

        @functools.wraps(func)
        def call(*args: Any, **kwargs: Any) -> Any:
            with self._prefect():
                return made(*args, **kwargs)

        return call

    @contextmanager
    def _prefect(self) -> Iterator[None]:
        """Let profile and settings hold, and an API be there, for a call that no run makes."""
        if FlowRunContext.get() or TaskRunContext.get():
            yield
            return
        with ExitStack() as stack:
            if profile := self.config["prefect_profile"]:
                stack.enter_context(use_profile(profile))
            stack.enter_context(temporary_settings(self._settings))
            stack.enter_context(prefect_api())
            yield

    def _caching(self, func: Callable[..., Any], cls: type) -> dict[str, Any]:
        if "cache_policy" in self.config["task_kwargs"]:
            return {}
        if not self.config["cache_tasks"]:
            return {"cache_policy": NO_CACHE, "persist_result": False}
        source = _source(cls)

        def key(_: Any, arguments: dict[str, Any]) -> str | None:
            folder = Path(PREFECT_LOCAL_STORAGE_PATH.value())
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if source is None or why_untrusted(folder):  # results are pickles
                return None
            state = {
                name: value
                for name, value in vars(func.__self__).items()  # type: ignore[attr-defined]
                if not inspect.isfunction(inspect.getattr_static(cls, name, None))
            }
            settings = get_settings().model_dump(mode="json")
            versions = [__version__, ase.__version__, prefect.__version__]
            asked = [func.__qualname__, source, state, arguments, settings, versions]
            try:
                found: str = tokenize(asked, ensure_deterministic=True)
            except Exception:  # a value's own: who could say whether it is the same?
                return None
            return None if is_foreign(folder / found) else found

        return {"cache_key_fn": key, "persist_result": True}

    def _check(self) -> None:
        for name, default in _DEFAULTS.items():
            value = self.config[name]
            kind = str if default is None else type(default)
            if not isinstance(value, kind) and not (default is None and value is None):
                words = {str: "a text", list: "a list", dict: "keys with values", bool: "a boolean"}
                raise ConfigError((name,), f"{name} must be {words[kind]}, not {value!r}.")
        for name in ("integration_types", "prefect_flow_integration", "prefect_task_integration"):
            for kind in self.config[name]:
                if kind not in _KINDS:
                    raise ConfigError(
                        (name,),
                        f"{name} has {kind!r}.{suggest(str(kind), _KINDS)} There are "
                        f"{', '.join(_KINDS)}.",
                    )
        both = {*self.config["prefect_flow_integration"]} & {
            *self.config["prefect_task_integration"]
        }
        if both:
            raise ConfigError(
                ("prefect_task_integration",),
                f"{', '.join(sorted(both))} cannot be flows and tasks: take one of the two out.",
            )
        if not hasattr(self, self.config["decorator_method"]):
            raise ConfigError(
                ("decorator_method",),
                f"there is no method {self.config['decorator_method']!r}: take 'decorator'.",
            )
        functions: dict[str, Any] = {"flow_kwargs": prefect.flow, "task_kwargs": prefect.task}
        for name, function in functions.items():
            known = {one for one in inspect.signature(function).parameters if "__fn" not in one}
            for option in self.config[name]:
                if option not in known:
                    hint = suggest(str(option), known)
                    raise ConfigError((str(option),), f"unknown key {option!r}.{hint}")
            try:
                function(**self.config[name])(lambda: None)
            except (TypeError, ValueError) as error:
                raise ConfigError((name,), f"Prefect refuses {name}: {error}") from error
        profile = self.config["prefect_profile"]
        if profile is not None and profile not in (names := sorted(load_profiles().names)):
            raise ConfigError(
                ("prefect_profile",),
                f"Prefect has no profile {profile!r}: there are {', '.join(names)}; `prefect "
                f"profile create {profile}` makes it.",
            )


_SECRET = (
    "KEY",
    "AUTH_STRING",
    "PASSWORD",
    "CONNECTION_URL",
    "CUSTOM_HEADERS",
    "TOKEN",
    "SECRET",
)


def _setting(name: str, value: Any) -> Any:
    """Return a setting of Prefect's by its name, such as PREFECT_API_URL, which takes a value."""
    from prefect.settings.legacy import _get_settings_fields

    known = _get_settings_fields(Settings)
    if name not in known:
        raise ConfigError((name,), f"Prefect has no setting {name!r}.{suggest(str(name), known)}")
    if name.endswith(_SECRET) or redact(str(value)) != str(value):
        raise ConfigError(
            (name,),
            f"{name} is a secret, which does not belong in a campaign's file: `prefect config set "
            "--profile NAME` keeps it in a profile, which prefect_profile names; or set it in the "
            "environment.",
        )
    try:
        with temporary_settings({known[name]: value}):
            return known[name]
    except ValueError as error:
        raise ConfigError((name,), f"Prefect refuses {name}: {error}") from error


def _source(cls: type) -> list[str] | None:
    """Return hashes of the files of a class, and of those that it inherits from.

    None where it is not sure that what was loaded is what the file has now.
    """
    found = set()
    started = psutil.Process().create_time()
    for one in cls.__mro__[:-1]:
        read = getattr(sys.modules.get(one.__module__), "__source_hash__", None)
        if read is None:
            try:
                file = Path(inspect.getfile(one))
                changed = file.stat().st_mtime
            except (TypeError, OSError):  # of a notebook
                return None
            if changed > started:
                return None
            read = sha256(file.read_bytes()).hexdigest()
        found.add(read)
    return sorted(found)
