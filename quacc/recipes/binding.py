"""Every workflow for every calculator, without a file for each pair.

``quacc.recipes.emt.eos`` is ``quacc/recipes/workflows/eos.py`` with the jobs of
``quacc.recipes.emt.core``, and ``quacc.recipes.emt.prefect.eos`` is that as a Prefect flow. Both
are made when they are imported. A file of that name takes precedence.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, spec_from_loader
from types import ModuleType
from typing import Any

_RECIPES = "quacc.recipes"
_PREFECT = "prefect"


class Finder(MetaPathFinder):
    """Finds what is bound when it is imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(f"{_RECIPES}."):
            return None
        code, *rest = fullname.split(".")[2:]
        if (
            code in ("workflows", "tools")
            or not rest
            or find_spec(f"{_RECIPES}.{code}.core") is None
        ):
            return None
        if rest == [_PREFECT]:
            return spec_from_loader(fullname, _Package(), is_package=True)
        name = rest[-1]
        loader: Loader = _Serial() if len(rest) == 1 else _Tracked()
        if len(rest) > 2 or (len(rest) == 2 and rest[0] != _PREFECT):
            return None
        if find_spec(f"{_RECIPES}.workflows.{name}") is None:
            return None
        return spec_from_loader(fullname, loader)


class _Package(Loader):
    def exec_module(self, module: ModuleType) -> None:
        module.__doc__ = "Workflows in which every job is a Prefect task run."


class _Serial(Loader):
    def exec_module(self, module: ModuleType) -> None:
        *_, code, name = module.__name__.split(".")
        common = importlib.import_module(f"{_RECIPES}.workflows.{name}")
        flows = flows_in(common)
        if not flows:
            raise ModuleNotFoundError(f"No module named {module.__name__!r}", name=module.__name__)
        core = importlib.import_module(f"{_RECIPES}.{code}.core")
        module.__doc__ = common.__doc__
        for flow in flows:
            setattr(module, flow, bind(getattr(common, flow), core, module.__name__))


class _Tracked(Loader):
    def exec_module(self, module: ModuleType) -> None:
        serial = importlib.import_module(module.__name__.replace(f".{_PREFECT}.", "."))
        as_flow = importlib.import_module("quacc.prefect").as_flow  # the door to floor 7
        module.__doc__ = serial.__doc__
        for flow in flows_in(serial):
            setattr(module, flow, as_flow(getattr(serial, flow)))


def flows_in(module: ModuleType) -> list[str]:
    """Return the names of the workflows that a module defines."""
    return [
        name
        for name, value in vars(module).items()
        if name.endswith("_flow") and getattr(value, "__module__", None) == module.__name__
    ]


def bind(workflow: Callable[..., Any], core: ModuleType, module: str) -> Callable[..., Any]:
    """Return a workflow whose jobs are a calculator's, unless others are given.

    Raises
    ------
    ImportError
        The calculator lacks one of them.
    """
    from quacc.recipes.tools.workflow import OfCode

    signature = inspect.signature(workflow)
    jobs: dict[str, Callable[..., Any]] = {}
    for name, parameter in signature.parameters.items():
        if isinstance(parameter.default, OfCode):
            job = getattr(core, parameter.default.name, None)
            if job is None:
                raise ImportError(
                    f"{core.__name__} has no {parameter.default.name}, which "
                    f"{workflow.__name__} needs.",
                    name=module,
                )
            jobs[name] = job

    @functools.wraps(workflow)
    def bound(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs).arguments
        return workflow(*args, **kwargs, **{name: jobs[name] for name in jobs.keys() - given})

    bound.__module__ = module
    bound.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[
            parameter.replace(default=jobs.get(name, parameter.default))
            for name, parameter in signature.parameters.items()
        ]
    )
    return bound
